//! The form on the page of a notice that drafts its correction.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::view::count;
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::notice::template::Phase;
use crate::notice::{self, Notice, correct};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/notices/{id}/correction", Role::Operator, draft)
        .does(&["POST /api/v1/notices/{id}/correction"]);
}

const CORRECTION: &[Field] = &[Field::long_text(
    "message",
    "Message",
    "The email also names the wrong email, and says that the incident does not affect the reader and that nothing needs to be done. If you leave this text as it is, the draft has it in every language.",
)];

const BUTTON: &str = "Draft the correction";

/// What the form is read as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    message: String,
}

fn at(notice: &NoticeId) -> Use<'static> {
    let page = format!("/admin/notices/{notice}");
    Use {
        action: format!("{page}/correction"),
        button: BUTTON,
        within: ("Notice", page),
    }
}

/// Returns the section of the page of a notice, if a correction would reach somebody. `may_draft` is whether the caller may draft
/// one.
pub(super) fn section(app: &App, notice: &Notice, correctable: usize, may_draft: bool) -> Result<Value> {
    if correctable == 0 {
        return Ok(Value::Null);
    }
    let message = notice::suggested(Phase::Correction, app.sending.language)?;
    let form = may_draft.then(|| {
        let form = Form::new(CORRECTION)
            .with("message", message)
            .within("correction");
        let mut shown = form.shown(&at(&notice.id));
        // The page that it belongs to is the one that it is on.
        shown["back"] = Value::Null;
        shown
    });
    Ok(json!({
        "people": count(correctable, "person", "people"),
        "are": if correctable == 1 { "is" } else { "are" },
        "form": form,
    }))
}

async fn draft(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CORRECTION, sent.fields)?);
    let (actor, wrong, own) = (by.0.actor(), id.clone(), app.sending.language);
    let store = async |new: Typed| {
        app.db
            .write(&actor, move |tx| {
                correct::correct(tx, &wrong, Some(&new.message), own)
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(notice) => Ok(done(
            &app,
            &format!("/admin/notices/{}", notice.id),
            "The correction is drafted. Nothing is sent yet.",
        )),
        Saved::Again(form) => form.page(&app, &by, ("Draft a correction", "Incidents"), "", &at(&id)),
    }
}
