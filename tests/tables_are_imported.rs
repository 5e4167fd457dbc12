//! CSV and TSV: a table with rows of one kind and a mapping of its columns is imported completely or not at
//! all.

use std::fmt::Write as _;

use serde_json::json;

use crate::support::{Answer, Binary, Env, TestApp, on_both_databases};

on_both_databases!(
    a_table_is_imported_by_its_columns,
    quotes_line_ends_and_marks_are_understood,
    spreadsheets_are_read_as_they_are_saved,
    a_line_break_in_a_name_is_a_space_in_each_format,
    a_file_that_is_no_table_says_what_it_is,
    a_wrong_cell_is_named_by_line_and_column,
    a_table_must_be_one,
    the_command_imports_tables_too,
);

async fn table(app: &TestApp, query: &str, media: &str, text: &str) -> Answer {
    app.post_raw(
        &format!("/api/v1/directory/import?{query}"),
        media,
        text.as_bytes(),
    )
    .await
}

async fn a_table_is_imported_by_its_columns(env: Env) {
    let app = TestApp::start(&env).await;
    let accounts = table(
        &app,
        "kind=account",
        "text/csv",
        "id,name,label_plan\nacme,Acme,pro\nb,B,\n",
    )
    .await;
    assert_eq!(accounts.expect(200)["accounts"], 2);
    assert_eq!(
        app.get("/api/v1/accounts/acme").await.expect(200)["labels"],
        json!({"plan": "pro"})
    );
    let query = "kind=resource&columns=type:%3Dfile,id:file_id,account:owner,parent_type:%3Dfile,parent_id:folder,label_tier:tier";
    let text = "owner\tfile_id\tfolder\tsize\ttier\nacme\t1\t\t77\tgold\n\t2\t1\t78\t\n";
    let files = table(&app, query, "text/tab-separated-values; charset=utf-8", text).await;
    assert_eq!(files.expect(200)["resources"], 2);
    let file = app.get("/api/v1/resources/file/2").await.expect(200);
    assert_eq!(file["belongs_to"], "acme");
    assert_eq!(file["labels"], json!({}));
    assert_eq!(env.count("audit_events WHERE action = 'directory.imported'"), 2);
    app.finish().await;
}

async fn quotes_line_ends_and_marks_are_understood(env: Env) {
    let app = TestApp::start(&env).await;
    let text =
        "\u{feff}\"id\",name,email\r\n\"ann\",\"Ann \"\"A\"\", the first\",ann@example.com\r\nbob,Bób,\r\n";
    table(&app, "kind=person", "text/csv", text).await.expect(200);
    assert_eq!(
        app.get("/api/v1/people/ann").await.expect(200)["name"],
        "Ann \"A\", the first"
    );
    assert_eq!(app.get("/api/v1/people/bob").await.expect(200)["email"], "");
    app.finish().await;
}

async fn a_line_break_in_a_name_is_a_space_in_each_format(env: Env) {
    let app = TestApp::start(&env).await;
    let lines = json!({"kind": "account", "id": "a", "name": "Acme\nNairobi", "labels": {"plan": "pro\r\nyearly"}}).to_string()
        + "\n"
        + &json!({"kind": "person", "id": "p", "name": " Ann\r\n\nMaria \r Smith\n", "email": "p@example.com"}).to_string()
        + "\n"
        + &json!({"kind": "resource", "type": "file", "id": "r", "name": "\nx\ny", "account": "a", "labels": {"tier": "a\nb"}}).to_string();
    app.import(lines).await.expect(200);
    table(
        &app,
        "kind=account",
        "text/csv",
        "id,name,label_plan\na2,\"Acme\nNairobi\",\"pro\r\nyearly\"\n",
    )
    .await
    .expect(200);
    table(
        &app,
        "kind=person",
        "text/csv",
        "id,name,email\np2,\" Ann\r\n\nMaria \r Smith\n\",p2@example.com\n",
    )
    .await
    .expect(200);
    table(
        &app,
        "kind=resource",
        "text/csv",
        "type,id,name,account,label_tier\nfile,r2,\"\nx\ny\",a,\"a\nb\"\n",
    )
    .await
    .expect(200);
    for (one, other, name, labels) in [
        (
            "accounts/a",
            "accounts/a2",
            "Acme Nairobi",
            json!({"plan": "pro yearly"}),
        ),
        ("people/p", "people/p2", "Ann Maria Smith", json!(null)),
        (
            "resources/file/r",
            "resources/file/r2",
            "x y",
            json!({"tier": "a b"}),
        ),
    ] {
        for path in [one, other] {
            let found = app.get(&format!("/api/v1/{path}")).await.expect(200);
            assert_eq!(
                json!([found["name"], found["labels"]]),
                json!([name, labels]),
                "{path}"
            );
        }
    }
    // A name of line breaks alone is no name, and other control characters are refused in both.
    for name in ["\n\r\n", "a\u{7}b"] {
        let line = json!({"kind": "person", "id": "q", "name": name, "email": ""}).to_string();
        app.import(line).await.expect_problem(422);
        let text = format!("id,name,email\nq,\"{name}\",\n");
        table(&app, "kind=person", "text/csv", &text)
            .await
            .expect_problem(422);
    }
    app.finish().await;
}

async fn spreadsheets_are_read_as_they_are_saved(env: Env) {
    let app = TestApp::start(&env).await;
    let people = |id: &str| format!("/api/v1/people/{id}");
    type Case = (
        &'static str,
        &'static [u8],
        &'static [(&'static str, &'static str)],
    );
    let cases: [Case; 9] = [
        // Rows without any value, including rows of spaces, and rows before the header.
        (
            "text/csv",
            b",,\n\nid,name,email\na1,Ann,\n,,\n \t,  ,\n,\nb1,Bo,\n,,,,\n",
            &[("a1", "Ann"), ("b1", "Bo")],
        ),
        (
            "text/csv",
            b"id;name;email\r\na2;\"Ann; A\";\r\n;;\r\n",
            &[("a2", "Ann; A")],
        ),
        (
            "text/csv",
            b"id\tname\temail\na3\tAnn, A\t\n",
            &[("a3", "Ann, A")],
        ),
        (
            "text/tab-separated-values",
            b"id,name,email\na4,Ann,\n",
            &[("a4", "Ann")],
        ),
        (
            "text/csv",
            b"sep=;\r\nid;name;email\r\na5;Ann;\r\n",
            &[("a5", "Ann")],
        ),
        (
            "text/csv",
            b"\xef\xbb\xbfsep=;\nid;name;email\na6;\"Ann\r\nMaria\n\n Smith\";\n",
            &[("a6", "Ann Maria Smith")],
        ),
        // Spaces, quotes and a line break in the header, and a separator at the end of each line.
        (
            "text/csv",
            b"\" id \",\"name\n\",email ,\na7,Ann,ann7@example.com ,\nb7,Bo,,\n",
            &[("a7", "Ann"), ("b7", "Bo")],
        ),
        ("text/csv", b"id|name|email\na8|Ann|\n", &[("a8", "Ann")]),
        (
            "text/csv",
            b"id,name,email\ra9,Ann,\rb9,Bo,",
            &[("a9", "Ann"), ("b9", "Bo")],
        ),
    ];
    for (media, bytes, found) in cases {
        let shown = String::from_utf8_lossy(bytes);
        let answer = app
            .post_raw("/api/v1/directory/import?kind=person", media, bytes)
            .await;
        assert_eq!(answer.expect(200)["people"], found.len(), "{shown}");
        for (id, name) in found {
            assert_eq!(app.get(&people(id)).await.expect(200)["name"], *name, "{shown}");
        }
    }
    assert_eq!(
        app.get(&people("a7")).await.expect(200)["email"],
        "ann7@example.com"
    );
    app.finish().await;
}

async fn a_file_that_is_no_table_says_what_it_is(env: Env) {
    let app = TestApp::start(&env).await;
    let utf16: Vec<u8> = "id,name,email\na,Ann,\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut marked = vec![0xff, 0xfe];
    marked.extend(&utf16);
    let cases: [(&[u8], u64, &str); 9] = [
        (&marked, 1, "UTF-16"),
        (&utf16, 1, "UTF-16"),
        (b"PK\x03\x04\x14\0\0\0", 1, "spreadsheet"),
        (b"id;name;phone\na;Ann;1\n", 1, "semicolons"),
        (b"id,name,email\na,M\xfcller,\n", 2, "not UTF-8"),
        (b"id,name,email\na,An\0n,\n", 2, "control character"),
        (b"id,name,email,\na,Ann,,x\n", 2, "column 4"),
        (b"id,name,email\na,Ann,,x\n", 2, "4 cells"),
        (b" id ,name,email,id\n", 1, "'id' is there twice"),
    ];
    for (bytes, line, word) in cases {
        let answer = app
            .post_raw("/api/v1/directory/import?kind=person", "text/csv", bytes)
            .await
            .expect_problem(422);
        let error = &answer["errors"][0];
        assert_eq!(error["line"], line, "{word}: {error}");
        assert!(
            error["detail"].as_str().is_some_and(|said| said.contains(word)),
            "{word}: {error}"
        );
    }
    // The lines are counted from the first line of the file.
    let bytes = b"sep=;\nid;name;email\n\na;Ann;\nb;;\n";
    let answer = app
        .post_raw(
            "/api/v1/directory/import?kind=person",
            "text/csv",
            bytes.as_slice(),
        )
        .await
        .expect_problem(422);
    assert_eq!(answer["errors"][0]["line"], 5, "{answer}");
    assert_eq!(env.count("people"), 0);
    app.finish().await;
}

async fn a_wrong_cell_is_named_by_line_and_column(env: Env) {
    let app = TestApp::start(&env).await;
    let refused = |answer: Answer| {
        let answer = answer.expect_problem(422);
        let errors = answer["errors"].as_array().expect("errors").clone();
        errors
            .iter()
            .map(|error| {
                let line = error["line"].as_u64().unwrap_or(0);
                (line, error["detail"].as_str().unwrap_or_default().to_owned())
            })
            .collect::<Vec<_>>()
    };
    let text =
        "who,called,mail\nann,Ann,ann@example.com\nbob,,bob@example.com\n\"c\nd\",C,\neve,Eve,nowhere\nf,F\n";
    let errors = refused(
        table(
            &app,
            "kind=person&columns=id:who,name:called,email:mail",
            "text/csv",
            text,
        )
        .await,
    );
    let lines: Vec<u64> = errors.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 6, 7], "{errors:?}");
    assert!(errors[0].1.starts_with("column 'called': is empty"), "{errors:?}");
    assert!(errors[1].1.starts_with("column 'who': "), "{errors:?}");
    assert!(
        errors[2].1.starts_with("column 'mail': ") && !errors[2].1.contains("nowhere"),
        "{errors:?}"
    );
    assert!(errors[3].1.contains("2 cells"), "{errors:?}");
    assert_eq!(env.count("people"), 0);
    let errors = refused(
        table(
            &app,
            "kind=member",
            "text/csv",
            "account,person,role\nx,y,owner\n",
        )
        .await,
    );
    assert!(
        errors[0].0 == 2 && errors[0].1.contains("does not exist"),
        "{errors:?}"
    );
    for (query, text, word) in [
        ("kind=person", "id,name,phone\n", "phone"),
        ("kind=person", "name,email\n", "'id'"),
        ("kind=person", "id,id\n", "twice"),
        ("kind=person&columns=id:who,name:who", "x\n", "'who'"),
        ("kind=person", "", "the first row must contain"),
    ] {
        let errors = refused(table(&app, query, "text/csv", text).await);
        assert!(
            errors[0].0 == 1 && errors[0].1.contains(word),
            "{query}: {errors:?}"
        );
    }
    // After a quote that is never closed, the file is not read to its end.
    let errors = refused(
        table(
            &app,
            "kind=account",
            "text/csv",
            &format!("id,name\na,\"{}", "x\n".repeat(500_000)),
        )
        .await,
    );
    assert!(errors[0].1.contains("quote"), "{errors:?}");
    app.finish().await;
}

async fn a_table_must_be_one(env: Env) {
    let app = TestApp::start(&env).await;
    table(&app, "", "text/csv", "id\n").await.expect_invalid("?kind");
    table(&app, "kind=thing", "text/csv", "id\n")
        .await
        .expect_invalid("?kind");
    table(&app, "kind=person&columns=id", "text/csv", "id\n")
        .await
        .expect_invalid("?columns");
    table(&app, "kind=person&mapping=id", "text/csv", "id\n")
        .await
        .expect_invalid("?mapping");
    table(&app, "kind=person", "application/x-ndjson", "")
        .await
        .expect_invalid("?kind");
    table(&app, "kind=person", "text/plain", "id\n")
        .await
        .expect_problem(415);
    app.finish().await;
}

async fn the_command_imports_tables_too(env: Env) {
    let mut text = "number,title\n".to_owned();
    for n in 0..1_200 {
        writeln!(text, "{n},\"Account {n}\"").unwrap();
    }
    let file = env.directory.join("accounts.csv");
    std::fs::write(&file, &text).unwrap();
    let file = file.display().to_string();
    let candor = Binary::new(&env);
    let done = candor
        .run([
            "import",
            &file,
            "--kind",
            "account",
            "--columns",
            "id:number,name:title",
        ])
        .await
        .expect(0);
    assert!(done.stdout.contains("imported 1,200 accounts"), "{}", done.stdout);
    assert_eq!(env.count("accounts"), 1_200);
    let refused = candor.run(["import", &file]).await.expect(1);
    assert!(refused.stderr.contains("kind"), "{}", refused.stderr);
    candor.finish().await;
}
