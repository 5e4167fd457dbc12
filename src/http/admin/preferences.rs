//! `/admin/preferences`: what an operator chose for the pages.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::signed_in::SignedIn;
use crate::auth::{Role, preferences};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/preferences", Role::Viewer, show)
        .does(&["GET /api/v1/preferences"])
        .send("/preferences", Role::Viewer, save)
        .does(&["PUT /api/v1/preferences"]);
}

const PATH: &str = "/admin/preferences";
const FIELDS: &[Field] = &[Field::text(
    "time_zone",
    "Your time zone",
    "Such as Europe/Berlin or Africa/Nairobi. Pages then show times in it, and in UTC beside it. If empty, pages show UTC.",
)
.optional()];

fn page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let explained = format!(
        "You are signed in as {} with the role {}. What you choose here applies to all tokens of your person.",
        by.0.name, by.0.role
    );
    let at = Use {
        action: PATH.to_owned(),
        button: "Save",
        within: ("Settings", "/admin/settings".to_owned()),
    };
    form.page(app, by, ("Preferences", "Preferences"), &explained, &at)
}

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let token = by.0.id.to_string();
    let chosen = app.db.read(move |conn| preferences::of(conn, &token)).await?;
    let form = Form::of(FIELDS, &json!(chosen), app.clock().now()).unwrap_or_else(|| Form::new(FIELDS));
    page(&app, &by, form)
}

async fn save(app: web::Data<App>, filled: Filled) -> Answer<HttpResponse> {
    let actor = filled.actor();
    let Filled { by, fields } = filled;
    let token = by.0.id.to_string();
    let form = Form::read(FIELDS, fields)?;
    let saved = form
        .save(app.clock().now(), async |chosen| {
            app.db
                .write(&actor, move |tx| preferences::replace(tx, &token, &chosen))
                .await
        })
        .await?;
    match saved {
        Saved::Done(_) => Ok(done(&app, PATH, "Your preferences are saved.")),
        Saved::Again(form) => page(&app, &by, form),
    }
}
