//! The page with the result of a test of a source: what the first rows of each query would become, and how a sync would end.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::sources::{changes, error_row};
use crate::directory::source::Source;
use crate::directory::source::run::State;
use crate::directory::source::trial::{Trial, TriedQuery, TriedRow};
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{count, cut};
use crate::http::problem::Answer;

/// The number of rows of each query that are shown.
const ROWS: usize = 10;

pub(super) fn page(app: &App, by: &SignedIn, source: &Source, trial: &Trial) -> Answer<HttpResponse> {
    let path = format!("/admin/directory/sources/{}", source.id);
    let sync = trial.sync.as_ref().map(|sync| {
        let text = match sync.state {
            State::Done => "A sync would succeed.",
            State::NeedsConfirmation => {
                "A sync would wait for a confirmation, because it would archive many entries."
            }
            _ => "A sync would fail.",
        };
        json!({
            "text": text, "good": sync.state == State::Done, "changes": changes(sync.changes.as_ref()),
            "errors": sync.errors.iter().map(error_row).collect::<Vec<_>>(),
        })
    });
    let data = json!({
        "page": Frame::new(app, by, "Test of the source", "Sources"),
        "name": source.name, "path": path, "ok": trial.ok, "error": trial.error, "warnings": trial.warnings,
        "queries": trial.queries.iter().map(query).collect::<Vec<_>>(), "sync": sync,
    });
    app.pages.answer("admin/source-test", &data)
}

fn query(query: &TriedQuery) -> Value {
    json!({
        "kind": query.kind.plural(), "error": query.error,
        "total": query.total.map(|total| count(usize::try_from(total).unwrap_or(usize::MAX), "row", "rows")),
        "rows": query.rows.iter().take(ROWS).map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &TriedRow) -> Value {
    json!({
        "row": row.row,
        "becomes": row.becomes.as_ref().map(in_words),
        "errors": row.errors.iter().map(|error| json!({"column": error.column, "detail": error.detail})).collect::<Vec<_>>(),
    })
}

/// Returns a line of an import as `name: value` pairs.
fn in_words(line: &Value) -> String {
    let fields = line.as_object().into_iter().flatten();
    let pairs: Vec<String> = fields
        .filter(|(name, _)| *name != "kind")
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}: {text}"),
            None => format!("{name}: {value}"),
        })
        .collect();
    cut(&pairs.join(" · "), 300)
}
