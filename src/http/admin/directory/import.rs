//! The import of a directory: a file or a pasted text, as lines of JSON or as a table. The result stands on the same page: what was imported, or what is wrong in
//! which line.

use std::io::BufReader;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use crate::auth::Role;
use crate::base::error::{Error, FieldError};
use crate::directory::import::{self, Counts};
use crate::directory::source::table::{self, Columns, Format};
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::upload::Upload;
use crate::http::admin::view::grouped;
use crate::http::admin_page::Pages;
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/import", Role::Operator, show)
        .send("/directory/import", Role::Operator, send)
        .does(&["POST /api/v1/directory/import"]);
}

/// What was typed beside the file.
#[derive(Default)]
struct Typed {
    format: String,
    kind: String,
    columns: String,
    text: String,
}

const FORMATS: [(&str, &str); 3] = [
    ("ndjson", "Lines of JSON (NDJSON)"),
    ("csv", "A table, separated by commas (CSV)"),
    ("tsv", "A table, separated by tabs (TSV)"),
];
const KINDS: [(&str, &str); 6] = [
    ("", "Only for a table"),
    ("account", "Accounts"),
    ("person", "People"),
    ("resource", "Resources"),
    ("member", "Members of accounts"),
    ("collaborator", "Collaborators on resources"),
];

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    page(&app, &by, &Typed::default(), Value::Null, &[])
}

fn page(app: &App, by: &SignedIn, typed: &Typed, done: Value, errors: &[FieldError]) -> Answer<HttpResponse> {
    let options = |list: &[(&str, &str)], chosen: &str| {
        let one = |(value, label): &(&str, &str)| json!({"value": value, "label": label, "selected": *value == chosen});
        list.iter().map(one).collect::<Vec<_>>()
    };
    let status = match errors.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let data = json!({
        "page": Frame::new(app, by, "Import", "Customers"),
        "formats": options(&FORMATS, &typed.format), "kinds": options(&KINDS, &typed.kind),
        "columns": typed.columns, "text": typed.text, "done": done,
        "failed": !errors.is_empty(),
        "errors": errors.iter().map(|error| json!({
            "line": error.line.map(|line| grouped(i64::try_from(line).unwrap_or(i64::MAX))),
            "detail": match error.pointer.as_deref() {
                Some("?kind") => format!("Rows of the table {}", error.detail),
                Some("?columns") => format!("Columns {}", error.detail),
                _ => error.detail.clone(),
            },
        })).collect::<Vec<_>>(),
        "many": errors.len() >= 100,
    });
    app.pages.answer_with(status, "admin/import", &data)
}

fn counted(counts: &Counts) -> Value {
    let parts = [
        (counts.accounts, "account", "accounts"),
        (counts.people, "person", "people"),
        (counts.resources, "resource", "resources"),
        (counts.members, "member", "members"),
        (counts.collaborators, "collaborator", "collaborators"),
    ];
    let shown: Vec<String> = parts
        .into_iter()
        .filter(|(n, ..)| *n > 0)
        .map(|(n, one, many)| {
            format!(
                "{} {}",
                grouped(i64::try_from(n).unwrap_or(i64::MAX)),
                if n == 1 { one } else { many }
            )
        })
        .collect();
    match shown.is_empty() {
        true => json!("The file has no lines, so nothing was imported."),
        false => json!(format!("Imported: {}.", shown.join(", "))),
    }
}

async fn send(app: web::Data<App>, mut sent: Upload) -> Answer<HttpResponse> {
    let mut typed = Typed {
        format: sent.text("format")?,
        kind: sent.text("kind")?,
        columns: sent.text("columns")?,
        text: String::new(),
    };
    let field = match sent.has("file") {
        true => "file",
        false => "text",
    };
    // A short pasted text is shown again, so that it can be corrected.
    if field == "text" {
        typed.text = sent.text("text").unwrap_or_default();
    }
    let actor = sent.by.0.actor();
    let is_empty = !sent.has(field);
    let (by, content) = sent.content(field)?;
    if is_empty {
        let error = FieldError::at("", "Choose a file, or paste its content.");
        return page(&app, &by, &typed, Value::Null, &[error]);
    }
    let columns = Some(typed.columns.as_str()).filter(|columns| !columns.is_empty());
    let kind = Some(typed.kind.as_str()).filter(|kind| !kind.is_empty());
    let table = match typed.format.as_str() {
        "ndjson" if kind.is_some() || columns.is_some() => {
            let detail =
                "Leave out the rows and the columns of a table: in NDJSON, each line has its own kind.";
            return page(&app, &by, &typed, Value::Null, &[FieldError::at("", detail)]);
        }
        "ndjson" => None,
        "csv" | "tsv" => {
            let format = if typed.format == "csv" {
                Format::Csv
            } else {
                Format::Tsv
            };
            match Columns::parse(kind, columns) {
                Ok(columns) => Some((format, columns)),
                Err(error) => return wrong(&app, &by, &typed, error),
            }
        }
        _ => {
            let error = FieldError::at("", "Choose one of the formats.");
            return page(&app, &by, &typed, Value::Null, &[error]);
        }
    };
    let imported = app
        .db
        .write(&actor, move |tx| match &table {
            None => import::import(tx, BufReader::new(content)),
            Some((format, columns)) => table::import(tx, content, *format, columns),
        })
        .await;
    match imported {
        Ok(counts) => page(&app, &by, &Typed::default(), counted(&counts), &[]),
        Err(error) => wrong(&app, &by, &typed, error),
    }
}

fn wrong(app: &App, by: &SignedIn, typed: &Typed, error: Error) -> Answer<HttpResponse> {
    match error {
        Error::Coded(_, inner) => wrong(app, by, typed, *inner),
        Error::Invalid { errors, .. } => page(app, by, typed, Value::Null, &errors),
        Error::Conflict(detail) => page(app, by, typed, Value::Null, &[FieldError::at("", detail)]),
        other => Err(Problem::Domain(other)),
    }
}
