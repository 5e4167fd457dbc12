//! Listings are read as programs really write them: rclone, sha256sum, an S3 Inventory, a database. They come from an upload, a
//! URL, a query or a file of the command. What is cut or damaged changes nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use candor::base::text::hex;
use candor::egress::Policy;
use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::comparisons::{created, directory, found, of_files, ran, uploaded};
use crate::support::receiver::{Receiver, Reply};
use crate::support::shop::{ASSETS, Shop, made};
use crate::support::{Binary, Env, Http, TestApp, on_both_databases, on_one_database};

on_both_databases!(
    listings_of_rclone_are_compared,
    listings_of_sha256sum_are_compared,
    an_inventory_is_compared_by_its_manifest,
    a_cut_or_damaged_listing_changes_nothing,
    a_query_of_a_source_is_a_listing,
    the_command_compares_files,
);
on_one_database!(
    a_listing_is_downloaded_within_the_rules,
    listings_are_taken_on_pages,
    a_manifest_is_given_on_the_page,
);

const FILES: [(&str, &str); 2] = [("a.txt", "acme"), ("big file.mov", "acme")];

async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env)
        .config(|config| config.listing_allow = Policy::Private)
        .start()
        .await;
    app.import(directory(&FILES)).await.expect(200);
    let incident = app.incident([]).await;
    (app, incident)
}

/// Writes two folders that differ, and returns their paths.
fn folders(env: &Env) -> (String, String) {
    let write = |side: &str, files: &[(&str, &str)]| {
        let root = env.directory.join(side);
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root.display().to_string()
    };
    let expected = write(
        "expected",
        &[
            ("a.txt", "hello"),
            ("big file.mov", "0123456789"),
            ("sub/ü.txt", "x"),
            ("gone.txt", "y"),
            ("sub/changed.txt", "abc"),
        ],
    );
    let observed = write(
        "observed",
        &[
            ("a.txt", "hello"),
            ("big file.mov", ""),
            ("sub/ü.txt", "x"),
            ("extra.txt", "z"),
            ("sub/changed.txt", "abd"),
        ],
    );
    (expected, observed)
}

fn output(program: &str, arguments: &[&str], folder: &str) -> String {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect(program);
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// What rclone writes about the two folders: both listings, and the result of its check.
struct Rclone {
    expected: String,
    observed: String,
    check: String,
}

/// The same as rclone 1.60 writes it, but written by hand.
fn rclone_by_hand() -> Rclone {
    let line = |path: &str, size: i64, md5: &str| {
        format!(
            r#"{{"Path":"{path}","Name":"x","Size":{size},"MimeType":"text/plain; charset=utf-8","ModTime":"2017-02-22T10:00:00.123456789Z","IsDir":false,"Hashes":{{"md5":"{md5}","sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}}}"#
        )
    };
    let folder = r#"{"Path":"sub","Name":"sub","Size":-1,"MimeType":"inode/directory","ModTime":"2017-02-22T10:00:00.123456789Z","IsDir":true}"#;
    let array = |lines: &[String]| format!("[\n{folder},\n{}\n]\n", lines.join(",\n"));
    let md5 = |text: &str| hex(&Md5::digest(text));
    Rclone {
        expected: array(&[
            line("a.txt", 5, &md5("hello")),
            line("big file.mov", 10, &md5("0123456789")),
            line("gone.txt", 1, &md5("y")),
            line("sub/changed.txt", 3, &md5("abc")),
            line("sub/ü.txt", 1, &md5("x")),
        ]),
        observed: array(&[
            line("a.txt", 5, &md5("hello")),
            line("big file.mov", 0, &md5("")),
            line("extra.txt", 1, &md5("z")),
            line("sub/changed.txt", 3, &md5("abd")),
            line("sub/ü.txt", 1, &md5("x")),
        ]),
        check: "* big file.mov\n= a.txt\n+ gone.txt\n- extra.txt\n* sub/changed.txt\n= sub/ü.txt\n"
            .to_owned(),
    }
}

/// What the real rclone writes. None if it is not installed.
fn rclone(env: &Env) -> Option<Rclone> {
    if Command::new("rclone").arg("version").output().is_err() {
        eprintln!("rclone is not installed: only listings in its format are compared");
        return None;
    }
    let (expected, observed) = folders(env);
    let config = env.directory.join("rclone.conf").display().to_string();
    let combined = env.directory.join("combined.txt");
    let listing = |folder: &str| {
        output(
            "rclone",
            &["--config", &config, "lsjson", "-R", "--hash", folder],
            folder,
        )
    };
    let to = combined.display().to_string();
    output(
        "rclone",
        &[
            "--config",
            &config,
            "check",
            &expected,
            &observed,
            "--combined",
            &to,
        ],
        &expected,
    );
    Some(Rclone {
        expected: listing(&expected),
        observed: listing(&observed),
        check: std::fs::read_to_string(combined).expect("the result of rclone check"),
    })
}

/// Compares two listings and returns the counts of findings: equal, missing, differs, unexpected.
async fn counted(
    app: &Http,
    incident: &str,
    body: Value,
    expected: &str,
    observed: &str,
) -> ([u64; 4], String) {
    let path = created(app, incident, body).await;
    for (side, listing) in [("expected", expected), ("observed", observed)] {
        let done = uploaded(app, &path, side, listing).await.expect(200);
        assert_eq!(done["rejected"], 0, "{done}");
    }
    let counts = ran(app, &path).await;
    let of = |name: &str| counts[name].as_u64().expect("a count");
    (["equal", "missing", "differs", "unexpected"].map(of), path)
}

async fn listings_of_rclone_are_compared(env: Env) {
    let (app, incident) = started(&env).await;
    for listings in [Some(rclone_by_hand()), rclone(&env)].into_iter().flatten() {
        let lsjson = json!({
            "name": "rclone lsjson", "resource": {"type": "file"}, "key": "Path",
            "compare": ["Size", {"column": "Hashes.md5", "kind": "checksum"}],
            "expected": {"format": "rclone_lsjson"}, "observed": {"format": "rclone_lsjson"},
        });
        let (counts, path) = counted(&app, &incident, lsjson, &listings.expected, &listings.observed).await;
        assert_eq!(counts, [2, 1, 2, 1], "{}", listings.expected);
        let keys = |found: Vec<(String, Option<String>, Option<String>)>| {
            found.into_iter().map(|(key, _, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(
            keys(found(&app, &path, "differs").await),
            ["big file.mov", "sub/changed.txt"]
        );
        assert_eq!(keys(found(&app, &path, "missing").await), ["gone.txt"]);
        let check = json!({
            "name": "rclone check", "resource": {"type": "file"}, "key": "path", "compare": ["content"],
            "expected": {"format": "rclone_check"},
            "observed": {"format": "rclone_check", "side": "destination"},
        });
        let (counts, path) = counted(&app, &incident, check, &listings.check, &listings.check).await;
        assert_eq!(counts, [2, 1, 2, 1], "{}", listings.check);
        assert_eq!(keys(found(&app, &path, "unexpected").await), ["extra.txt"]);
    }
    app.finish().await;
}

async fn listings_of_sha256sum_are_compared(env: Env) {
    let (app, incident) = started(&env).await;
    let (expected, observed) = folders(&env);
    std::fs::write(Path::new(&expected).join("new\nline\\.txt"), "n").expect("a file");
    std::fs::write(Path::new(&observed).join("new\nline\\.txt"), "n").expect("a file");
    let sums = |folder: &str, options: &str| {
        output(
            "sh",
            &[
                "-c",
                &format!("find . -type f -print0 | xargs -0 sha256sum {options}"),
            ],
            folder,
        )
    };
    let body = json!({
        "name": "sha256sum", "resource": {"type": "file"}, "key": "name", "compare": ["checksum"],
        "expected": {"format": "sha256sum"}, "observed": {"format": "sha256sum"},
    });
    for (ours, theirs) in [("", ""), ("--binary", "--tag")] {
        let (counts, path) = counted(
            &app,
            &incident,
            body.clone(),
            &sums(&expected, ours),
            &sums(&observed, theirs),
        )
        .await;
        assert_eq!(counts, [3, 1, 2, 1]);
        assert_eq!(found(&app, &path, "missing").await[0].0, "./gone.txt");
    }
    app.finish().await;
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("gzip");
    encoder.finish().expect("gzip")
}

/// An inventory as S3 writes it: the manifest, and the files by their keys.
fn inventory() -> (Value, Vec<(String, Vec<u8>)>) {
    let row = |key: &str, size: u64, etag: &str| {
        format!("\"files\",\"{key}\",\"{size}\",\"2017-02-22T10:00:00.000Z\",\"{etag}\"\n")
    };
    let same = "5d41402abc4b2a76b9719d911017c592";
    let one = gzip(&(row("a.txt", 5, same) + &row("big+file.mov", 0, "d41d8cd98f00b204e9800998ecf8427e")));
    let two = gzip(
        &(row("sub/%C3%BC.txt", 1, "9dd4e461268c8034f5c8564e155c67a6-2") + &row("extra%2Bmore.txt", 1, same)),
    );
    let files = vec![
        ("inventory/files/all/data/one.csv.gz".to_owned(), one),
        ("inventory/files/all/data/two.csv.gz".to_owned(), two),
    ];
    let listed: Vec<Value> = files
        .iter()
        .map(|(key, bytes)| json!({"key": key, "size": bytes.len(), "MD5checksum": hex(&Md5::digest(bytes))}))
        .collect();
    let manifest = json!({
        "sourceBucket": "files",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1487757600000",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag",
        "files": listed,
    });
    (manifest, files)
}

const CATALOGUE: &str = "identifier,size,md5\n\
                         a.txt,5,XUFAKrxLKna5cZ2REBfFkg==\n\
                         big file.mov,10,5d41402abc4b2a76b9719d911017c592\n\
                         sub/ü.txt,1,9dd4e461268c8034f5c8564e155c67a6\n\
                         gone.txt,1,9dd4e461268c8034f5c8564e155c67a6\n";

async fn an_inventory_is_compared_by_its_manifest(env: Env) {
    let (app, incident) = started(&env).await;
    let (manifest, files) = inventory();
    let body = json!({
        "name": "inventory", "resource": {"type": "file"}, "key": "identifier", "compare": ["size", "md5"],
        "expected": {"format": "csv"},
        "observed": {
            "format": "s3_inventory", "manifest": manifest,
            "mapping": {"identifier": "Key", "size": "Size", "md5": "ETag"},
        },
    });
    let path = created(&app, &incident, body).await;
    uploaded(&app, &path, "expected", CATALOGUE).await.expect(200);
    let [one, two] = [&files[0].1, &files[1].1];
    // A file that is damaged, in the wrong order or missing is refused.
    for wrong in [
        [two.clone(), one.clone()].concat(),
        one.clone(),
        [one.clone(), two[1..].to_vec()].concat(),
    ] {
        uploaded(&app, &path, "observed", wrong).await.expect_problem(422);
    }
    let done = uploaded(&app, &path, "observed", [one.clone(), two.clone()].concat())
        .await
        .expect(200);
    assert_eq!((&done["rows"], &done["rejected"]), (&json!(4), &json!(0)));
    let counts = ran(&app, &path).await;
    let of = |name: &str| counts[name].as_u64();
    assert_eq!(
        ["equal", "missing", "differs", "unexpected", "incomparable"].map(of),
        [1, 1, 1, 1, 1].map(Some),
        "{counts}"
    );
    assert_eq!(found(&app, &path, "incomparable").await[0].0, "sub/ü.txt");
    assert_eq!(found(&app, &path, "unexpected").await[0].0, "extra+more.txt");
    app.finish().await;
}

async fn a_manifest_is_given_on_the_page(env: Env) {
    let (app, _) = started(&env).await;
    let browser = Browser::signed_in(&app, &app.token("operator").await).await;
    let (manifest, files) = inventory();
    let list = "/admin/incidents/1/comparisons";
    let fields = |manifest: String| {
        let fields = [
            ("name", "inventory"),
            ("expected.format", "csv"),
            ("observed.format", "s3_inventory"),
            ("observed.mapping", "identifier=Key, size=Size, md5=ETag"),
            ("key", "identifier"),
            ("compare", "size, md5"),
            ("resource.type", "file"),
            ("time_zone", "UTC"),
        ];
        let mut fields: Vec<(&str, String)> = fields.map(|(name, value)| (name, value.to_owned())).to_vec();
        fields.push(("observed.manifest", manifest));
        fields
    };
    let send = async |manifest: String| {
        let fields = fields(manifest);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        browser.send_from(list, list, &fields).await
    };
    for (wrong, said) in [
        ("{\"files\": []".to_owned(), "the manifest is not valid"),
        (
            json!({"fileFormat": "ORC", "fileSchema": "a", "files": [{"key": "a", "size": 1}]}).to_string(),
            "only inventories in CSV can be read",
        ),
    ] {
        let refused = send(wrong.clone()).await.expect(422);
        assert!(refused.text.contains(said), "{}", refused.text);
    }
    let made = send(manifest.to_string()).await.expect(303);
    let page = made.header("location").to_owned();
    assert!(browser.page(&page).await.contains("Its manifest lists 2 files"));
    let path = page.rsplit('/').next().expect("an id");
    let path = format!("/api/v1/comparisons/{path}");
    let all = files
        .iter()
        .flat_map(|(_, bytes)| bytes.clone())
        .collect::<Vec<u8>>();
    let done = uploaded(&app, &path, "observed", all).await.expect(200);
    assert_eq!(done["rows"], 4);
    app.finish().await;
}

async fn a_cut_or_damaged_listing_changes_nothing(env: Env) {
    let (app, incident) = started(&env).await;
    let path = created(&app, &incident, of_files()).await;
    let good = "a.txt\t5\nbig file.mov\t10\n";
    let sha256 = uploaded(&app, &path, "observed", good).await.expect(200)["sha256"].clone();
    let long: String = (0..50_000).map(|n| format!("file-{n}\t{n}\n")).collect();
    let packed = gzip(&long);
    let frames = zstd::encode_all(long.as_bytes(), 3).expect("zstd");
    for wrong in [
        packed[..packed.len() / 2].to_vec(),
        packed[..packed.len() - 4].to_vec(),
        frames[..frames.len() - 10].to_vec(),
        [packed.clone(), b"tail".to_vec()].concat(),
        b"a.txt\t5\n\"big file.mov\t10\n".to_vec(),
        b"\xff\xfea\0".to_vec(),
        Vec::new(),
        b"<html>\n<body>\n".to_vec(),
    ] {
        uploaded(&app, &path, "observed", wrong).await.expect_problem(422);
        let stored = app.get(&path).await.expect(200);
        assert_eq!(stored["listings"]["observed"]["sha256"], sha256);
    }
    // Without a header, both are recognised; with one, the body must be what it says.
    for packed in [packed, frames] {
        let done = uploaded(&app, &path, "observed", packed.clone())
            .await
            .expect(200);
        assert_eq!(done["rows"], 50_000);
    }
    app.request(Method::PUT, &format!("{path}/observed"))
        .header("content-encoding", "zstd")
        .body("text/tab-separated-values", good)
        .send()
        .await
        .expect_problem(422);
    app.finish().await;
}

async fn a_query_of_a_source_is_a_listing(env: Env) {
    let (app, incident) = started(&env).await;
    let shop = Shop::sqlite(&env);
    made(&app, &shop.source()).await;
    let name = shop.source()["name"].as_str().expect("a name").to_owned();
    let mut body = of_files();
    body["observed"] = json!({"format": "ndjson", "mapping": {"identifier": "id"}});
    let path = created(&app, &incident, body).await;
    let query = format!("{path}/observed/query");
    let sql = "SELECT id, 7 AS size FROM assets";
    let done = app
        .post(&query, json!({"source": name, "sql": sql}))
        .await
        .expect(200);
    assert_eq!((&done["rows"], &done["rejected"]), (&json!(ASSETS), &json!(0)));
    for (place, source, sql) in [
        ("/source", "nobody", sql),
        (
            "/sql",
            name.as_str(),
            "SELECT project_id AS id, 7 AS size FROM assets",
        ),
        ("/sql", name.as_str(), "SELECT nothing FROM nowhere"),
        (
            "/sql",
            name.as_str(),
            "DELETE FROM assets RETURNING id, 7 AS size",
        ),
        ("/sql", name.as_str(), " "),
    ] {
        let answer = app.post(&query, json!({"source": source, "sql": sql})).await;
        answer.expect_invalid(place);
    }
    // The format of the other side has no place for a query.
    app.post(
        &format!("{path}/expected/query"),
        json!({"source": name, "sql": sql}),
    )
    .await
    .expect_invalid("/sql");
    let operator = app.as_new("operator").await;
    operator
        .post(&query, json!({"source": name, "sql": sql}))
        .await
        .expect_problem(403);
    app.finish().await;
}

/// Answers one request with these bytes, and closes the connection.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request);
        stream.write_all(bytes).expect("an answer");
    });
    format!("http://127.0.0.1:{port}/listing.tsv")
}

async fn a_listing_is_downloaded_within_the_rules(env: Env) {
    let (mut app, incident) = started(&env).await;
    let path = created(&app, &incident, of_files()).await;
    let fetch = format!("{path}/observed/fetch");
    let server = Receiver::answering(|_, request| match request.path.as_str() {
        "/listing.tsv" => Reply::of(200).body("a.txt\t5\nbig file.mov\t0\n"),
        "/moved" => Reply::of(302).header("location", "/listing.tsv"),
        "/inside" => Reply::of(302).header("location", "http://169.254.169.254/latest/meta-data/"),
        "/file" => Reply::of(302).header("location", "file:///etc/passwd"),
        "/again" => Reply::of(302).header("location", "/again"),
        _ => Reply::of(404),
    });
    for from in ["/listing.tsv", "/moved"] {
        let done = app
            .post(&fetch, json!({"url": server.url(from)}))
            .await
            .expect(200);
        assert_eq!(done["rows"], 2, "{done}");
    }
    let asked = server.received().len();
    let sha256 = app.get(&path).await.expect(200)["listings"]["observed"]["sha256"].clone();
    let cut = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na.txt\t5\n");
    let chunked = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\na.txt\t5\n\r\n");
    for url in [
        server.url("/inside"),
        server.url("/file"),
        server.url("/again"),
        server.url("/missing"),
        "http://169.254.169.254/latest".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://user:secret@127.0.0.1/listing.tsv".to_owned(),
        cut,
        chunked,
    ] {
        let answer = app.post(&fetch, json!({"url": url})).await;
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        answer.expect_invalid("/url");
        let stored = app.get(&path).await.expect(200);
        assert_eq!(stored["listings"]["observed"]["sha256"], sha256, "{url}");
    }
    assert!(server.received().len() > asked);
    // The URL may contain a signature.
    let trail = app.get("/api/v1/audit/export").await.expect(200);
    assert!(!trail.text.contains("/listing.tsv"), "{}", trail.text);
    app.stop().await;

    // By default, only public addresses with https are allowed.
    let public = TestApp::start(&env).await;
    public
        .post(&fetch, json!({"url": server.url("/listing.tsv")}))
        .await
        .expect_invalid("/url");
    public.finish().await;
}

async fn listings_are_taken_on_pages(env: Env) {
    let (app, _) = started(&env).await;
    let shop = Shop::sqlite(&env);
    made(&app, &shop.source()).await;
    let name = shop.source()["name"].as_str().expect("a name").to_owned();
    let server = Receiver::answering(|_, request| match request.path.as_str() {
        "/listing" => Reply::of(200).body("a.txt\t5\nbig file.mov\t10\nno size\n"),
        _ => Reply::of(404),
    });
    let browser = Browser::signed_in(&app, &app.token("admin").await).await;
    let list = "/admin/incidents/1/comparisons";
    let fields = [
        ("name", "Stored files"),
        ("expected.format", "tsv"),
        ("expected.columns", "path, size"),
        ("expected.mapping", "identifier=path"),
        ("observed.format", "ndjson"),
        ("observed.mapping", "identifier = id"),
        ("key", "identifier"),
        ("compare", "size"),
        ("resource.type", "file"),
        ("time_zone", "UTC"),
    ];
    let made = browser.send_from(list, list, &fields).await.expect(303);
    let page = made.header("location").to_owned();
    let (fetch, query) = (format!("{page}/fetch"), format!("{page}/query"));
    let shown = browser.page(&page).await;
    assert!(shown.contains(&fetch) && shown.contains(&query), "{shown}");
    let url = server.url("/missing");
    let wrong = browser
        .send_from(
            &fetch,
            &fetch,
            &[("side", "expected"), ("url", &url), ("time_zone", "UTC")],
        )
        .await;
    let wrong = wrong.expect(422).text;
    assert!(wrong.contains("404") && wrong.contains(&url), "{wrong}");
    let url = server.url("/listing");
    let taken = browser
        .send_from(
            &fetch,
            &fetch,
            &[("side", "expected"), ("url", &url), ("time_zone", "UTC")],
        )
        .await;
    assert_eq!(taken.expect(303).header("location"), page);
    let sql = "SELECT id, 7 AS size FROM assets";
    let asked = [
        ("side", "observed"),
        ("source", name.as_str()),
        ("sql", sql),
        ("time_zone", "UTC"),
    ];
    browser.send_from(&query, &query, &asked).await.expect(303);
    let shown = browser.page(&page).await;
    assert!(
        shown.contains("1 line was not read") && shown.contains("1,100"),
        "{shown}"
    );
    // An operator may download, and not query.
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let shown = operator.page(&page).await;
    assert!(shown.contains(&fetch) && !shown.contains(&query), "{shown}");
    operator.open(&query).await.expect(403);
    app.finish().await;
}

async fn the_command_compares_files(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    candor.import(directory(&FILES)).await.expect(200);
    let incident = candor.incident([]).await;
    let number = candor
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200)["number"]
        .to_string();
    let write = |name: &str, bytes: &[u8]| {
        let path = env.directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    };
    let expected = write(
        "pharos.tsv.gz",
        &gzip(
            "a.txt\tu1\t5\tfalse\t2017-03-01 10:00:00 UTC\t2017-03-01 10:00:00 UTC\n\
             big file.mov\tu2\t642111856\tfalse\t2017-03-01 10:00:00 UTC\t2017-03-01 10:00:00 UTC\n\
             gone.txt\tu3\t1\ttrue\t2017-03-01 10:00:00 UTC\t2017-03-01 10:00:00 UTC\n\
             early.txt\tu4\t1\tfalse\t2017-02-21 23:59:59 UTC\t2017-03-01 10:00:00 UTC\n",
        ),
    );
    let observed = write("audit.tsv", b"a.txt\t5\nbig file.mov\t842354926880\nno size\n");
    let arguments = [
        "compare",
        "--incident",
        &number,
        "--expected",
        &expected,
        "--expected-columns",
        "identifier,uuid,size,gone,created_at,updated_at",
        "--gone",
        "gone=true",
        "--written-at",
        "created_at",
        "--window-from",
        "2017-02-22T00:00:00Z",
        "--window-to",
        "2017-04-18T00:00:00Z",
        "--observed",
        &observed,
        "--observed-columns",
        "identifier,size",
        "--key",
        "identifier",
        "--compare",
        "size",
        "--resource-type",
        "file",
        "--resource-id",
        "identifier",
    ];
    let done = candor.run(arguments).await.expect(0);
    for words in [
        "expected: 4 rows, 0 lines not read",
        "observed: 2 rows, 1 line not read",
        "1 equal, 0 missing, 1 differ",
        "1 gone, 1 outside the window",
        "differs big file.mov size: expected 642111856, observed 842354926880",
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    assert!(done.stderr.contains("observed line 3: "), "{}", done.stderr);

    let json = arguments
        .iter()
        .copied()
        .chain(["--json", "--apply", "missing,differs"]);
    let done = candor.run(json).await.expect(0);
    let shown: Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    assert_eq!(shown["applied"], json!({"added": 1, "already": 0, "unknown": 0}));
    assert_eq!(shown["comparison"]["counts"]["differs"], 1);
    assert_eq!(shown["findings"][0]["kind"], "differs");
    let affected = candor
        .all(&format!("/api/v1/incidents/{incident}/affected"))
        .await;
    assert_eq!(affected.len(), 1);

    // A later listing is the evidence.
    let id = shown["comparison"]["id"].as_str().expect("an id");
    let repaired = write("audit-2.tsv", b"a.txt\t5\nbig file.mov\t642111856\n");
    let again = ["compare", "--comparison", id, "--observed", &repaired, "--json"];
    let done = candor.run(again).await.expect(0);
    let shown: Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    assert_eq!(shown["comparison"]["counts"]["equal"], 2);

    // An inventory is found beside its manifest.
    let (manifest, files) = inventory();
    for (key, bytes) in &files {
        write(&format!("copy/{key}"), bytes);
    }
    let manifest = write(
        "copy/inventory/files/all/2017-02-22T01-00Z/manifest.json",
        manifest.to_string().as_bytes(),
    );
    let catalogue = write("catalogue.csv", CATALOGUE.as_bytes());
    let inventory = [
        "compare",
        "--incident",
        &incident,
        "--expected",
        &catalogue,
        "--observed",
        &manifest,
        "--observed-layout",
        r#"{"mapping": {"identifier": "Key", "size": "Size"}}"#,
        "--key",
        "identifier",
        "--compare",
        "size",
        "--resource-type",
        "file",
        "--json",
    ];
    let done = candor.run(inventory).await.expect(0);
    let shown: Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    let counts = &shown["comparison"]["counts"];
    let of = |name: &str| counts[name].as_u64();
    assert_eq!(
        ["equal", "missing", "differs", "unexpected"].map(of),
        [2, 1, 1, 1].map(Some),
        "{counts}"
    );

    // What is wrong is named.
    for (wrong, words) in [
        (vec!["compare", "--incident", "999"], "--expected"),
        (
            arguments
                .iter()
                .map(|word| if *word == "size" { "sise" } else { *word })
                .collect(),
            "sise",
        ),
        (
            arguments
                .iter()
                .map(|word| if *word == observed { "/nowhere.tsv" } else { *word })
                .collect(),
            "/nowhere.tsv",
        ),
        (
            arguments
                .iter()
                .map(|word| if *word == number { "999" } else { *word })
                .collect(),
            "999",
        ),
    ] {
        let done = candor.run(wrong).await;
        assert_ne!(done.code, Some(0));
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    candor.finish().await;
}
