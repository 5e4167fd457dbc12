//! The page that shows a secret once, as the answer to the form that made it. No other page shows it again.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::frame::Frame;
use super::signed_in::SignedIn;
use crate::base::shown_once::ShownOnce;
use crate::http::App;
use crate::http::problem::Answer;

/// What the page shows.
pub struct Once<'a> {
    /// The part of the navigation.
    pub part: &'a str,
    /// The title of the page, which says what was created or added, for example `The token is created`.
    pub title: &'a str,
    /// What to do with the secret.
    pub text: &'a str,
    /// The secret, or the URL that contains it.
    pub secret: &'a ShownOnce,
    /// Texts to paste elsewhere, each with a label. They can contain the secret.
    pub snippets: Vec<(&'a str, String)>,
    /// The label and the path of the page that comes next.
    pub next: (&'a str, String),
}

/// Answers with the page.
///
/// # Errors
/// `Internal` if the page does not fit its data.
pub fn page(app: &App, by: &SignedIn, once: Once<'_>) -> Answer<HttpResponse> {
    let snippets = once.snippets.iter().enumerate();
    let snippets: Vec<Value> = snippets
        .map(|(index, (label, text))| json!({"id": format!("snippet-{index}"), "label": label, "text": text}))
        .collect();
    app.pages.answer(
        "admin/once",
        &json!({
            "page": Frame::new(app, by, once.title, once.part),
            "title": once.title,
            "text": once.text,
            "secret": once.secret.reveal(),
            "snippets": snippets,
            "next": {"label": once.next.0, "path": once.next.1},
        }),
    )
}
