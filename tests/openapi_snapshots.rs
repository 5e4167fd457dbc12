//! The OpenAPI document is the one that was reviewed. There is one snapshot for each tag, so that changes in
//! different areas change different files. Texts for readers are left out, so that another wording changes no
//! snapshot.
//!
//! After a change: `INSTA_UPDATE=always cargo test openapi_snapshots`, then review the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::support::{Backend, Env, TestApp, run};

/// The folder of the snapshots, below `tests/`.
const FOLDER: &str = "snapshots/openapi";
/// The snapshot of the schemas that several tags use.
const SHARED: &str = "shared_schemas";
/// The snapshot of everything outside paths and schemas.
const REST: &str = "document";
/// The fields of the document that are only for readers.
const PROSE: [&str; 4] = ["description", "summary", "example", "examples"];
/// The fields of the document whose keys are names and not fields. For example, a property may have the name
/// `description`.
const MAPS: [&str; 9] = [
    "properties",
    "schemas",
    "responses",
    "paths",
    "content",
    "headers",
    "parameters",
    "securitySchemes",
    "mapping",
];
/// The fields of the document that contain a value of the API and not a part of the document.
const VALUES: [&str; 3] = ["const", "default", "enum"];
/// A value with at most this many characters is written on one line.
const WIDTH: usize = 120;

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    run(Backend::Sqlite, reviewed);
}

async fn reviewed(env: Env) {
    let app = TestApp::start(&env).await;
    let answer = app.anonymous().get("/api/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    // The version changes with every release, but clients do not rely on it.
    let mut document = answer.json.clone();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    document["info"]["version"] = Value::from("VERSION");

    let parts = split(&document);
    for (name, part) in &parts {
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            omit_expression => true,
            snapshot_path => FOLDER,
        }, {
            insta::assert_snapshot!(name.as_str(), shown(part));
        });
    }
    // The file of a tag that does not exist any more is deleted.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(FOLDER);
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the folder of the snapshots")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    let expected: BTreeSet<String> = parts.keys().map(|name| format!("{name}.snap")).collect();
    assert_eq!(
        files, expected,
        "files of tests/{FOLDER}, and the tags of the document"
    );
    app.finish().await;
}

#[test]
fn a_reworded_sentence_changes_no_snapshot() {
    let mut reworded = example();
    reworded["paths"]["/b"]["get"]["summary"] = json!("Other words");
    reworded["paths"]["/b"]["get"]["responses"]["200"]["description"] = json!("Other words");
    reworded["components"]["schemas"]["B"]["description"] = json!("Other words");
    reworded["components"]["schemas"]["B"]["properties"]["description"]["description"] = json!("Other words");
    assert_ne!(reworded, example());
    assert_eq!(split(&reworded), split(&example()));
}

#[test]
fn each_change_of_the_api_changes_the_snapshot_of_its_tag() {
    let change = |pointer: &str, value: Value| {
        let mut changed = example();
        let part = changed.pointer_mut(pointer).expect(pointer);
        assert_ne!(*part, value);
        *part = value;
        let (before, after) = (split(&example()), split(&changed));
        let touched: Vec<&str> = after
            .iter()
            .filter(|(name, part)| before.get(*name) != Some(*part))
            .map(|(name, _)| name.as_str())
            .collect();
        touched.join(" ")
    };
    let schema = "/components/schemas";
    // The name of a property or a value does not make it a text for readers.
    assert_eq!(
        change(
            &format!("{schema}/B/properties/description/type"),
            json!("integer")
        ),
        "tag_b"
    );
    assert_eq!(
        change(&format!("{schema}/B/properties/description"), json!({})),
        "tag_b"
    );
    assert_eq!(
        change(&format!("{schema}/B/default/description"), json!("y")),
        "tag_b"
    );
    assert_eq!(change(&format!("{schema}/Shared/type"), json!("integer")), SHARED);
    assert_eq!(change("/paths/~1a/get/operationId", json!("other")), "tag_a");
    assert_eq!(
        change("/paths/~1b/get/responses/200/content", json!({})),
        "shared_schemas tag_a tag_b"
    );
    assert_eq!(
        change("/components/securitySchemes/token/type", json!("apiKey")),
        REST
    );
}

/// Returns a document with two tags that share a schema, and one schema that only the second tag uses.
fn example() -> Value {
    let answer = |name: &str| {
        json!({"200": {"description": "What it is", "content": {"application/json": {"schema":
            {"$ref": format!("#/components/schemas/{name}")}}}}})
    };
    json!({
        "openapi": "3.1.0",
        "paths": {
            "/a": {"get": {"tags": ["Tag A"], "operationId": "a", "summary": "Reads", "responses": answer("Shared")}},
            "/b": {"get": {"tags": ["Tag B"], "operationId": "b", "summary": "Reads", "responses": answer("B")}},
        },
        "components": {
            "schemas": {
                "Shared": {"type": "string"},
                "B": {"type": "object", "description": "A thing", "default": {"description": "x"}, "properties": {
                    "description": {"type": "string", "description": "What is said"},
                    "shared": {"$ref": "#/components/schemas/Shared"},
                }},
            },
            "securitySchemes": {"token": {"type": "http"}},
        },
    })
}

/// Splits the document without its texts into parts: the operations of each tag with the schemas that only
/// they use, the schemas that several tags use, and the rest.
fn split(document: &Value) -> BTreeMap<String, Value> {
    let mut rest = without_prose(document);
    let paths = take(&mut rest, &["paths"]);
    let schemas = take(&mut rest, &["components", "schemas"]);
    let mut operations: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (path, item) in &paths {
        for (method, operation) in item.as_object().expect("operations") {
            let tags = operation["tags"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let [Value::String(tag)] = tags else {
                panic!("{method} {path} must have one tag, and has {tags:?}")
            };
            operations
                .entry(tag.to_lowercase().replace(' ', "_"))
                .or_default()
                .insert(format!("{} {path}", method.to_uppercase()), operation.clone());
        }
    }
    // The tags that use each schema, directly or through other schemas.
    let mut users: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (tag, operations) in &operations {
        let mut open: Vec<String> = operations.values().flat_map(references).collect();
        while let Some(name) = open.pop() {
            if users.entry(name.clone()).or_default().insert(tag) {
                open.extend(schemas.get(&name).into_iter().flat_map(references));
            }
        }
    }
    let mut parts: BTreeMap<String, Value> = operations
        .iter()
        .map(|(tag, operations)| (tag.clone(), json!({"operations": operations, "schemas": {}})))
        .collect();
    for (name, schema) in schemas {
        let tags = users.get(&name).cloned().unwrap_or_default();
        let part = match tags.first() {
            Some(tag) if tags.len() == 1 => (*tag).to_owned(),
            _ => SHARED.to_owned(),
        };
        parts.entry(part).or_default()["schemas"][name] = schema;
    }
    parts.insert(REST.to_owned(), rest);
    parts
}

/// Removes an object from the document and returns it.
fn take(document: &mut Value, fields: &[&str]) -> Map<String, Value> {
    let (last, before) = fields.split_last().expect("a field");
    let parent = before.iter().fold(document, |value, field| &mut value[*field]);
    match parent.as_object_mut().and_then(|parent| parent.remove(*last)) {
        Some(Value::Object(taken)) => taken,
        other => panic!("{fields:?} must be an object, and is {other:?}"),
    }
}

fn without_prose(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !PROSE.contains(&name.as_str()))
            .map(|(name, value)| {
                let value = match value {
                    value if VALUES.contains(&name.as_str()) => value.clone(),
                    Value::Object(named) if MAPS.contains(&name.as_str()) => named
                        .iter()
                        .map(|(name, value)| (name.clone(), without_prose(value)))
                        .collect(),
                    value => without_prose(value),
                };
                (name.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_prose).collect(),
        value => value.clone(),
    }
}

/// Returns the names of the schemas that this value refers to.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "$ref" => text
                    .strip_prefix("#/components/schemas/")
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                value => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Returns JSON in which a short value is on one line. It has a fifth of the lines, and each difference is
/// still easy to see.
fn shown(value: &Value) -> String {
    let mut text = String::new();
    show(value, 0, &mut text);
    text
}

fn show(value: &Value, depth: usize, text: &mut String) {
    let line = value.to_string();
    let (items, ends): (Vec<(String, &Value)>, _) = match value {
        Value::Object(fields) if depth < 2 || line.len() + depth > WIDTH => (
            fields
                .iter()
                .map(|(name, value)| (format!("{}: ", Value::from(name.as_str())), value))
                .collect(),
            ('{', '}'),
        ),
        Value::Array(items) if line.len() + depth > WIDTH => (
            items.iter().map(|item| (String::new(), item)).collect(),
            ('[', ']'),
        ),
        _ => return text.push_str(&line),
    };
    text.push(ends.0);
    for (at, (name, item)) in items.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\n{:depth$} {name}", "");
        show(item, depth + 1, text);
    }
    let _ = write!(text, "\n{:depth$}{}", "", ends.1);
}
