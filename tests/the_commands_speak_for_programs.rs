//! Programs can read the output of the commands: only the token on the standard output, and each line of a
//! JSON log as JSON. Input can come from files and private authorities.

use std::fs;

use serde_json::Value;

use crate::support::{
    ADMIN_TOKEN, Backend, Binary, Certificate, Env, crowd, on_both_databases, run,
    smtp_script::{Act, SmtpScript},
};

on_both_databases!(
    a_new_token_is_alone_on_its_output,
    every_line_of_a_json_log_is_json,
    secrets_come_from_files,
    a_private_authority_vouches_for_the_mail_server,
);

async fn a_new_token_is_alone_on_its_output(env: Env) {
    let mut candor = Binary::new(&env);
    for format in ["text", "json"] {
        let command = Binary::new(&env).setting("log_format", format);
        let made = command
            .run(["token", "create", "--name", format, "--role", "viewer"])
            .await
            .expect(0);
        let lines: Vec<&str> = made.stdout.lines().collect();
        assert_eq!(lines.len(), 1, "{}", made.stdout);
        assert!(
            lines[0].starts_with("cnd_") && !lines[0].contains(' '),
            "{}",
            made.stdout
        );
        assert!(made.stderr.contains("which is shown only now"), "{}", made.stderr);
        assert!(!made.stderr.contains(lines[0]), "{}", made.stderr);
        candor.serve().await;
        candor
            .as_role(lines[0])
            .get("/api/v1/incidents")
            .await
            .expect(200);
        let listed = command.run(["token", "list"]).await.expect(0).stdout;
        assert!(
            listed
                .lines()
                .any(|line| line.ends_with(&format!("\t{format}")) && line.contains("\tviewer\t")),
            "{listed}"
        );
        assert!(!listed.contains("cnd_"), "{listed}");
        candor.terminate().await.expect(0);
    }
    candor.finish().await;
}

fn all_json(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

async fn every_line_of_a_json_log_is_json(env: Env) {
    let mut candor = Binary::new(&env).setting("log_format", "json");
    candor.serve().await;
    let ended = candor.terminate().await.expect(0);
    let said = all_json(&ended.stdout);
    assert!(said.iter().any(|line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.starts_with("listening on http://")
            && line["level"] == "INFO"
            && line["timestamp"].is_string()
    }));
    all_json(&ended.stderr);
    candor.work().await;
    let ended = candor.terminate().await.expect(0);
    all_json(&format!("{}{}", ended.stdout, ended.stderr));
    for arguments in [
        &["migrate"][..],
        &["audit", "verify"],
        &["backup", "copy.db"],
        // These are refused: the file exists already, is not a backup, or does not exist.
        &["backup", "copy.db"],
        &["restore", "nothing.db"],
        &["token", "revoke", "nonsense"],
        &["import", "nothing.ndjson"],
    ] {
        let output = candor.run(arguments).await;
        let lines = all_json(&format!("{}{}", output.stdout, output.stderr));
        assert!(!lines.is_empty(), "{arguments:?}");
    }
    // The same applies to a wrong setting in the environment or in the file.
    let wrong = Binary::new(&env)
        .setting("log_format", "json")
        .setting("listen", "x");
    let output = wrong.run(["serve"]).await.expect(1);
    assert_eq!(all_json(&output.stderr)[0]["level"], "ERROR");
    fs::write(
        env.directory.join("candor.toml"),
        "log_format = \"json\"\nlisten = \"nowhere\"\n",
    )
    .expect("a file");
    let output = Binary::new(&env).without("listen").run(["serve"]).await.expect(1);
    assert_eq!(all_json(&output.stderr)[0]["level"], "ERROR");
    fs::remove_file(env.directory.join("candor.toml")).expect("a file");
    candor.run(["audit", "verify"]).await.expect(0);
}

async fn secrets_come_from_files(env: Env) {
    let file = |name: &str, text: &str| {
        let path = env.directory.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let url = file("url", &format!("{}\n", env.database_url));
    let token = file("token", &format!("  {ADMIN_TOKEN}\n\n"));
    let key = file("key", "0123456789abcdef0123456789abcdef\n");
    let mail = file("mail", "smtp://user:hunter2hunter2@127.0.0.1:1\n");
    let from_files = || {
        Binary::new(&env)
            .without("database_url")
            .without("admin_token")
            .setting("database_url_file", &url)
            .setting("admin_token_file", &token)
            .setting("secret_key_file", &key)
            .setting("smtp_url_file", &mail)
    };
    let mut candor = from_files();
    candor.serve().await;
    candor.get("/api/v1/tokens").await.expect(200);
    assert!(
        !candor.log().contains("CANDOR_SMTP_URL is not set"),
        "{}",
        candor.log()
    );
    candor.terminate().await.expect(0);
    // The same works in `candor.toml`, and the environment has priority in both forms.
    let toml = env.directory.join("candor.toml");
    fs::write(
        &toml,
        format!("admin_token_file = \"{token}\"\nsmtp_url = \"smtp://localhost:1\"\n"),
    )
    .expect("a file");
    let mut candor = Binary::new(&env)
        .without("admin_token")
        .setting("smtp_url_file", &mail);
    candor.serve().await;
    candor.get("/api/v1/tokens").await.expect(200);
    candor.terminate().await.expect(0);
    fs::write(
        &toml,
        format!("admin_token = \"{ADMIN_TOKEN}\"\nadmin_token_file = \"{token}\"\n"),
    )
    .expect("a file");
    let both = Binary::new(&env)
        .without("admin_token")
        .run(["serve"])
        .await
        .expect(1);
    assert!(both.stderr.contains("admin_token"), "{}", both.stderr);
    fs::remove_file(&toml).expect("a file");
    let large = file("large", &"x".repeat(100_000));
    for (name, path, words) in [
        ("admin_token_file", "nowhere/at/all".to_owned(), "nowhere/at/all"),
        ("admin_token_file", env.directory.display().to_string(), "file"),
        ("admin_token_file", file("empty", " \n"), "no value"),
        ("admin_token_file", large, "bytes"),
        ("admin_token_file", file("short", "hunter2hunter2\n"), "short"),
        ("secret_key_file", file("short-key", "hunter2hunter2\n"), "short"),
        (
            "database_url_file",
            file("other", "mysql://root:hunter2hunter2@localhost/x"),
            "sqlite://",
        ),
        // A setting that is not a secret cannot be given as a file.
        ("listen_file", token.clone(), "unknown"),
        ("mail_from_file", token.clone(), "unknown"),
    ] {
        let mut candor = Binary::new(&env).setting(name, path);
        if let Some(setting) = name.strip_suffix("_file").filter(|name| *name != "listen") {
            candor = candor.without(setting);
        }
        let refused = candor.run(["serve"]).await.expect(1);
        let variable = format!("CANDOR_{}", name.to_uppercase());
        assert!(
            refused.stderr.contains(&variable) && refused.stderr.contains(words),
            "{name}: {}",
            refused.stderr
        );
        assert_eq!(refused.stderr.trim().lines().count(), 1, "{}", refused.stderr);
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
    let both = Binary::new(&env)
        .setting("admin_token_file", &token)
        .run(["serve"])
        .await
        .expect(1);
    assert!(
        both.stderr.contains("CANDOR_ADMIN_TOKEN_FILE") && both.stderr.contains("CANDOR_ADMIN_TOKEN is"),
        "{}",
        both.stderr
    );
}

async fn a_private_authority_vouches_for_the_mail_server(env: Env) {
    let (certificate, another) = (Certificate::new(), Certificate::new());
    let authority = certificate.trusted_by(&env.directory);
    let server = SmtpScript::builder().starttls(&certificate).start(|_| Act::Usual);
    let url = format!("smtp://localhost:{}?tls=required", server.port());
    let mut candor = Binary::new(&env)
        .setting("smtp_url", url)
        .setting("smtp_ca_file", authority.display());
    candor.serve().await;
    let (_, notice) = candor.tell_crowd(crowd(2)).await;
    assert_eq!(candor.done(&notice).await["counts"]["sent"], 2);
    candor.finish().await;
    // Several certificates in one file are accepted, and an invalid file makes the start fail.
    let one = fs::read_to_string(&authority).expect("a file");
    let two = fs::read_to_string(another.trusted_by(&env.directory)).expect("a file");
    for (text, word) in [
        (String::new(), "no certificate"),
        ("hello".to_owned(), "no certificate"),
        (one.replace("MII", "AAA"), "certificate 1"),
        (format!("{one}{}", two.replace("MII", "AAA")), "certificate 2"),
    ] {
        let file = env.directory.join("wrong.pem");
        fs::write(&file, text).expect("a file");
        let refused = Binary::new(&env)
            .setting("smtp_url", server.url())
            .setting("smtp_ca_file", file.display())
            .run(["serve"])
            .await
            .expect(1);
        assert!(
            refused.stderr.contains("smtp_ca_file") && refused.stderr.contains(word),
            "{word}: {}",
            refused.stderr
        );
        assert_eq!(refused.stderr.trim().lines().count(), 1, "{}", refused.stderr);
    }
    let refused = Binary::new(&env)
        .setting("smtp_url", server.url())
        .setting("smtp_ca_file", "nowhere.pem")
        .run(["serve"])
        .await
        .expect(1);
    assert!(refused.stderr.contains("nowhere.pem"), "{}", refused.stderr);
}

#[test]
fn the_demo_listens_where_it_is_told_to() {
    run(Backend::Sqlite, async |env: Env| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        // The port is in use, so the demo fails and does not use another one.
        let demo = || {
            Binary::new(&env)
                .without("database_url")
                .without("admin_token")
                .setting("listen", &address)
        };
        let refused = demo().run(["demo", "--exit"]).await.expect(1);
        assert!(refused.stderr.contains(&address), "{}", refused.stderr);
        drop(listener);
        let played = demo().run(["demo", "--exit"]).await.expect(0);
        assert!(played.stdout.contains(&address), "{}", played.stdout);
    });
}
