//! The OpenAPI document is made from the handlers and describes what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Backend, Env, TestApp, run};

#[test]
fn every_documented_path_is_served() {
    run(Backend::Sqlite, served);
}

#[test]
fn the_document_is_sound() {
    run(Backend::Sqlite, sound);
}

/// Two types with one name become one schema in the document, and one of them would then be described
/// wrongly.
#[test]
fn no_two_schemas_share_a_name() {
    let mut files = Vec::new();
    source_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    let declared = Regex::new(
        r"(?x) (?: derive\([^)]*ToSchema[^)]*\)\] | word_enum!\s*\{ )
        (?<before> (?: \s* (?: \#\[[^\n]* | ///[^\n]* ) )* ) \s*
        (?: pub(?:\([a-z]+\))? \s+ )? (?: (?: struct | enum ) \s+ )? (?<name> [A-Z]\w* )",
    )
    .unwrap();
    let renamed = Regex::new(r"schema\((?:.*, )?as = (\w+)").unwrap();
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for found in declared.captures_iter(&text) {
            let name = renamed
                .captures(&found["before"])
                .map_or_else(|| found["name"].to_owned(), |renamed| renamed[1].to_owned());
            if let Some(other) = seen.insert(name.clone(), file.clone()) {
                panic!(
                    "the schema {name} is in {} and {}",
                    other.display(),
                    file.display()
                );
            }
        }
    }
    assert!(seen.len() > 100, "{seen:?}");
    for name in ["AlertRulePolicy", "Policy", "ProblemDocument", "IncidentStatus"] {
        assert!(seen.contains_key(name), "{name} is not found in the sources");
    }
}

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn a_page_shows_the_document() {
    run(Backend::Sqlite, page);
}

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

async fn served(env: Env) {
    let app = TestApp::start(&env).await;
    let document = app.get("/api/openapi.json").await.expect(200);
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item
            .as_object()
            .expect("operations")
            .keys()
            .filter(|name| METHODS.contains(&name.as_str()))
        {
            let filled = path.replace(['{', '}'], "x");
            let answer = app
                .request(
                    method.to_uppercase().parse::<Method>().expect("a method"),
                    &filled,
                )
                .send()
                .await;
            assert!(!answer.text.contains("this path does not exist"), "{answer}");
            assert!(answer.status < 500, "{method} {path}: {answer}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} operations");
    app.finish().await;
}

async fn sound(env: Env) {
    let app = TestApp::start(&env).await;
    let document = app.get("/api/openapi.json").await.expect(200);
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    // Every operation has a unique name, a summary, an answer, and the parameters of its path.
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{method} {path} has no name"));
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(
                operation["responses"]
                    .as_object()
                    .is_some_and(|answers| !answers.is_empty()),
                "{method} {path}"
            );
            let in_path: BTreeSet<String> = path
                .split('/')
                .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
                .collect();
            let declared: BTreeSet<String> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
                .collect();
            assert_eq!(declared, in_path, "{method} {path}");
        }
    }
    // Every reference has a target.
    let mut references = BTreeSet::new();
    collect_references(&document.json, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .expect("a reference into the document");
        assert!(document.json.pointer(pointer).is_some(), "{reference} is nowhere");
    }
    // No part of an `allOf` forbids the fields of the other parts.
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let mut parts = 0;
    for (name, schema) in schemas {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let of = part["$ref"]
                .as_str()
                .and_then(|reference| reference.rsplit('/').next());
            let part = of.map_or(part, |of| &schemas[of]);
            assert_ne!(part["additionalProperties"], false, "a part of {name}");
            parts += 1;
        }
    }
    assert!(parts > 20, "{parts} parts");
    // Everything in the contract is documented.
    for (path, method) in [
        ("/api/v1/tokens", "post"),
        ("/api/v1/directory/import", "post"),
        ("/api/v1/incidents/{id}/audience", "get"),
        ("/api/v1/incidents/{id}/affected/{type}/{resource}", "delete"),
        ("/api/v1/notices/{id}/catch-up", "post"),
        ("/api/v1/deliveries/{id}/resend", "post"),
        ("/api/v1/audit/export", "get"),
        ("/hooks/{token}", "post"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path}");
    }
    app.finish().await;
}

fn collect_references(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(reference) if name == "$ref" => {
                        references.insert(reference.clone());
                    }
                    value => collect_references(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        _ => {}
    }
}

async fn page(env: Env) {
    let app = TestApp::start(&env).await;
    let nobody = app.anonymous();
    let moved = nobody.get("/docs").await;
    assert!([301, 302, 307, 308].contains(&moved.status), "{moved}");
    assert_eq!(moved.header("location"), "/docs/");
    let page = nobody.get("/docs/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"), "{page}");
    // The page works without a network, so it loads only files of Candor.
    for (at, _) in page
        .text
        .match_indices("src=\"")
        .chain(page.text.match_indices("href=\""))
    {
        let link = page.text[at..].split('"').nth(1).expect("a link");
        assert!(!link.starts_with("http") && !link.starts_with("//"), "{link}");
        if !link.starts_with("data:") && !link.starts_with('#') {
            nobody
                .get(&format!("/docs/{}", link.trim_start_matches("./")))
                .await
                .expect(200);
        }
    }
    let settings = nobody.get("/docs/swagger-initializer.js").await.expect(200);
    assert!(settings.text.contains("/api/openapi.json"), "{settings}");
    app.finish().await;
}
