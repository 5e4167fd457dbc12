//! A wrong or unknown setting ends the start with one clear line that repeats no secret.

use std::fs;

use serde_json::json;

use crate::support::{Backend, Binary, Env, run, run_on_empty};

#[test]
fn a_wrong_setting_ends_the_start() {
    run(Backend::Sqlite, wrong_settings);
}

#[test]
fn a_wrong_file_ends_the_start() {
    run(Backend::Sqlite, wrong_files);
}

#[test]
fn every_command_checks_the_settings() {
    run_on_empty(Backend::Sqlite, every_command);
}

#[test]
fn the_environment_wins_over_the_file() {
    run(Backend::Sqlite, environment_and_file);
}

/// A secret in values that must not be repeated.
const SECRET: &str = "hunter2hunter2";

/// Starts the program and expects it to end with one line on standard error that contains these words.
async fn refused(candor: &Binary, arguments: &[&str], words: &[&str]) {
    let output = candor.run(arguments).await;
    let shown = format!(
        "{arguments:?}: {:?}\nstdout: {}\nstderr: {}",
        output.code, output.stdout, output.stderr
    );
    assert!(output.code.is_some_and(|code| code != 0), "{shown}");
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "one line: {shown}");
    assert!(!output.stdout.contains("listening"), "{shown}");
    for word in words {
        assert!(output.stderr.contains(word), "no '{word}': {shown}");
    }
    for part in [SECRET, &SECRET[..7]] {
        assert!(
            !output.stderr.contains(part) && !output.stdout.contains(part),
            "a secret: {shown}"
        );
    }
}

async fn wrong_settings(env: Env) {
    for (name, value, words) in [
        ("colour", "red".to_owned(), vec!["CANDOR_COLOUR", "unknown"]),
        (
            "smtp_ur",
            format!("smtp://user:{SECRET}@localhost"),
            vec!["CANDOR_SMTP_UR", "smtp_url"],
        ),
        (
            "candor_listen",
            "127.0.0.1:0".to_owned(),
            vec!["CANDOR_CANDOR_LISTEN", "unknown"],
        ),
        (
            "database_url",
            format!("mysql://root:{SECRET}@localhost/candor"),
            vec!["CANDOR_DATABASE_URL", "sqlite://", "postgres://"],
        ),
        (
            "database_url",
            "candor.db".to_owned(),
            vec!["CANDOR_DATABASE_URL"],
        ),
        (
            "database_url",
            "sqlite://".to_owned(),
            vec!["CANDOR_DATABASE_URL"],
        ),
        (
            "database_url",
            "sqlite://file:candor.db".to_owned(),
            vec!["CANDOR_DATABASE_URL"],
        ),
        (
            "database_url",
            "sqlite://:memory:".to_owned(),
            vec!["CANDOR_DATABASE_URL"],
        ),
        (
            "database_url",
            "sqlite:///nowhere/at/all/candor.db".to_owned(),
            vec!["database"],
        ),
        (
            "database_url",
            format!("postgres://candor:{SECRET}@127.0.0.1:1/candor"),
            vec!["database"],
        ),
        // If TLS is not built in, the setting is an error and is not ignored.
        (
            "database_url",
            format!("postgres://candor:{SECRET}@127.0.0.1:1/candor?sslmode=require"),
            if cfg!(feature = "postgres-tls") {
                vec!["database"]
            } else {
                vec!["CANDOR_DATABASE_URL", "postgres-tls"]
            },
        ),
        // libpq would repeat a URL that it cannot parse.
        (
            "database_url",
            format!("postgres://candor:{SECRET}@[::1/candor"),
            vec!["database"],
        ),
        (
            "database_url",
            format!("postgres://candor:{SECRET}%zz@localhost/candor"),
            vec!["database"],
        ),
        (
            "database_url",
            format!("postgres://localhost/candor?pasword={SECRET}&x"),
            vec!["database"],
        ),
        (
            "update_every",
            "59s".to_owned(),
            vec!["CANDOR_UPDATE_EVERY", "off"],
        ),
        (
            "update_every",
            "hourly".to_owned(),
            vec!["CANDOR_UPDATE_EVERY", "1h"],
        ),
        (
            "body_retention",
            "59m".to_owned(),
            vec!["CANDOR_BODY_RETENTION", "off"],
        ),
        ("listen", "8080".to_owned(), vec!["CANDOR_LISTEN"]),
        ("listen", "127.0.0.1:http".to_owned(), vec!["CANDOR_LISTEN"]),
        ("listen", "203.0.113.1:80".to_owned(), vec!["203.0.113.1:80"]),
        (
            "public_url",
            "candor.example.com".to_owned(),
            vec!["CANDOR_PUBLIC_URL"],
        ),
        (
            "public_url",
            "ftp://candor.example.com".to_owned(),
            vec!["CANDOR_PUBLIC_URL"],
        ),
        (
            "public_url",
            "https://candor.example.com/?a=b".to_owned(),
            vec!["CANDOR_PUBLIC_URL"],
        ),
        (
            "smtp_url",
            format!("https://user:{SECRET}@localhost"),
            vec!["CANDOR_SMTP_URL", "smtp://"],
        ),
        (
            "smtp_url",
            format!("user:{SECRET}@localhost"),
            vec!["CANDOR_SMTP_URL"],
        ),
        (
            "smtp_url",
            format!("smtp://user:{SECRET}@localhost?tls=perhaps"),
            vec!["CANDOR_SMTP_URL", "tls"],
        ),
        (
            "smtp_url",
            format!("smtp://user:{SECRET}%zz@localhost"),
            vec!["CANDOR_SMTP_URL"],
        ),
        ("smtp_url", "smtp://".to_owned(), vec!["CANDOR_SMTP_URL"]),
        (
            "smtp_url_2",
            format!("smtp://user:{SECRET}@localhost?tls=perhaps"),
            vec!["CANDOR_SMTP_URL_2", "tls"],
        ),
        (
            "smtp_url_2",
            format!("smtp://user:{SECRET}@localhost"),
            vec!["CANDOR_SMTP_URL is needed too"],
        ),
        ("mail_from", "nobody".to_owned(), vec!["CANDOR_MAIL_FROM"]),
        (
            "mail_from",
            "Candor <a@example.com>, Other <b@example.com>".to_owned(),
            vec!["CANDOR_MAIL_FROM"],
        ),
        ("reply_to", "nobody".to_owned(), vec!["CANDOR_REPLY_TO"]),
        (
            "support_url",
            "support.example.com".to_owned(),
            vec!["CANDOR_SUPPORT_URL"],
        ),
        (
            "support_url",
            "javascript:alert(1)".to_owned(),
            vec!["CANDOR_SUPPORT_URL"],
        ),
        (
            "admin_token",
            // The token is one character too short.
            format!("{SECRET}x"),
            vec!["CANDOR_ADMIN_TOKEN", "short"],
        ),
        (
            "secret_key",
            SECRET.to_owned(),
            vec!["CANDOR_SECRET_KEY", "short"],
        ),
        (
            "send_concurrency",
            "0".to_owned(),
            vec!["CANDOR_SEND_CONCURRENCY"],
        ),
        (
            "send_concurrency",
            "many".to_owned(),
            vec!["CANDOR_SEND_CONCURRENCY"],
        ),
        ("max_audience", "-1".to_owned(), vec!["CANDOR_MAX_AUDIENCE"]),
        (
            "max_audience",
            String::new(),
            vec!["CANDOR_MAX_AUDIENCE", "empty"],
        ),
        (
            "drill_to",
            "drill@example.com, nobody".to_owned(),
            vec!["CANDOR_DRILL_TO", "nobody"],
        ),
        (
            "drill_to",
            "drill@example.com,DRILL@example.com".to_owned(),
            vec!["CANDOR_DRILL_TO", "twice"],
        ),
        ("retry_schedule", "soon".to_owned(), vec!["CANDOR_RETRY_SCHEDULE"]),
        ("retry_schedule", "5ü".to_owned(), vec!["CANDOR_RETRY_SCHEDULE"]),
        (
            "webhook_allow",
            "everything".to_owned(),
            vec!["CANDOR_WEBHOOK_ALLOW", "private"],
        ),
        ("log_format", "xml".to_owned(), vec!["CANDOR_LOG_FORMAT"]),
    ] {
        let candor = Binary::new(&env).setting(name, value);
        refused(&candor, &["serve"], &words).await;
    }
}

async fn wrong_files(env: Env) {
    let file = env.directory.join("candor.toml");
    for (text, words) in [
        ("colour = \"red\"".to_owned(), vec!["candor.toml", "colour"]),
        (
            "CANDOR_LISTEN = \"127.0.0.1:0\"".to_owned(),
            vec!["candor.toml", "CANDOR_LISTEN"],
        ),
        (
            format!("smtp_url = \"https://user:{SECRET}@localhost\""),
            vec!["candor.toml", "smtp_url"],
        ),
        (
            "max_audience = true".to_owned(),
            vec!["candor.toml", "max_audience"],
        ),
        (
            "max_audience = -5".to_owned(),
            vec!["candor.toml", "max_audience"],
        ),
        (
            "[smtp]\nurl = \"smtp://localhost\"".to_owned(),
            vec!["candor.toml", "smtp"],
        ),
        (format!("secret_key = \"{SECRET}"), vec!["candor.toml"]),
        (format!("secret_key = {SECRET}"), vec!["candor.toml"]),
    ] {
        fs::write(&file, text).expect("a file");
        refused(&Binary::new(&env), &["serve"], &words).await;
    }
}

async fn every_command(env: Env) {
    let candor = Binary::new(&env).setting("colour", "red");
    for arguments in [
        &["serve"][..],
        &["serve", "--no-workers"],
        &["worker"],
        &["migrate"],
        &["import", "directory.ndjson"],
        &["token", "create", "--name", "x", "--role", "viewer"],
        &["audit", "verify"],
        &["backup", "copy.db"],
        &["restore", "copy.db"],
    ] {
        refused(&candor, arguments, &["CANDOR_COLOUR"]).await;
    }
    // The command ended before it created anything.
    assert_eq!(fs::read_dir(&env.directory).expect("a directory").count(), 0);
}

async fn environment_and_file(env: Env) {
    let file = env.directory.join("candor.toml");
    fs::write(
        &file,
        "public_url = \"https://file.example.com/\"\nmax_audience = 0\nlisten = \"203.0.113.1:80\"\n",
    )
    .expect("a file");
    let hook_url = async |candor: &Binary| {
        let integration = json!({"name": "x", "source": "generic"});
        let made = candor.post("/api/v1/integrations", integration).await.expect(201);
        made["hook_url"].as_str().expect("a URL").to_owned()
    };
    // `listen` is set in both places, and `public_url` only in the file.
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let url = hook_url(&candor).await;
    assert!(url.starts_with("https://file.example.com/hooks/"), "{url}");
    candor.terminate().await.expect(0);

    let mut candor = Binary::new(&env).setting("public_url", "https://environment.example.com");
    candor.serve().await;
    let url = hook_url(&candor).await;
    assert!(url.starts_with("https://environment.example.com/hooks/"), "{url}");
    assert!(
        !candor.log().contains(crate::support::ADMIN_TOKEN),
        "{}",
        candor.log()
    );
    candor.finish().await;
}
