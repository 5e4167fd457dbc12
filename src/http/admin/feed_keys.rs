//! `/admin/feed-keys`: the keys with which products sign the tokens of their users, a form for a new one, and a button that revokes one.
//!
//! A secret is shown only once, as the answer to the form that creates the key.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::once::{self, Once};
use super::params;
use super::signed_in::SignedIn;
use super::view::{ROWS, When, link};
use crate::auth::Role;
use crate::base::id::FeedKeyId;
use crate::customer::keys::{self, FeedKey, NewFeedKey};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/feed-keys", Role::Admin, list)
        .does(&["GET /api/v1/feed-keys", "GET /api/v1/feed-keys/{id}"])
        .show("/feed-keys/new", Role::Admin, fresh)
        .send("/feed-keys", Role::Admin, create)
        .does(&["POST /api/v1/feed-keys"])
        .send("/feed-keys/{id}/revoke", Role::Admin, revoke)
        .does(&["DELETE /api/v1/feed-keys/{id}"]);
}

const PATH: &str = "/admin/feed-keys";
const PART: &str = "In the product";

const KEY: &[Field] = &[
    Field::text("name", "Name", "The name of the product that gets the key."),
    Field::lines(
        "origins",
        "Origins",
        "The origins whose pages may read the feed, one a line, such as https://app.example.com. If empty, no page in a browser can.",
    )
    .optional(),
];

async fn list(
    app: web::Data<App>,
    by: SignedIn,
    params: params::Form<params::Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| keys::list(conn, after.as_deref(), ROWS.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |key| key.id.to_string());
    app.pages.answer(
        "admin/feed-keys",
        &json!({
            "page": Frame::new(&app, &by, PART, PART),
            "script": script(&app),
            "keys": items.iter().map(row).collect::<Vec<_>>(),
            "first": at.is_some().then_some(PATH),
            "next": next_cursor.map(|next| link(PATH, &[("cursor", Some(&next))])),
        }),
    )
}

/// Returns what a page of the product contains.
fn script(app: &App) -> String {
    format!(
        "<script src=\"{}/embed.js\" data-candor-token-url=\"/candor-token\" defer></script>",
        app.sending.public_url
    )
}

fn row(key: &FeedKey) -> Value {
    json!({
        "name": key.name,
        "id": key.id,
        "origins": key.origins,
        "created": When::utc(key.created_at),
        "revoke": {
            "label": "Revoke",
            "text": format!(
                "Revoke the key \u{201c}{}\u{201d}? Its tokens stop working at once, and the product shows no notices. This cannot be undone.",
                key.name
            ),
            "button": "Revoke key", "action": format!("{PATH}/{}/revoke", key.id), "fields": [],
        },
    })
}

fn form_page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let explained = "The backend of a product signs a short-lived token for each of its users with the secret of a key. The secret is shown \
                     only once.";
    let at = Use {
        action: PATH.to_owned(),
        button: "Create key",
        within: (PART, PATH.to_owned()),
    };
    form.page(app, by, ("New feed key", "Settings"), explained, &at)
}

async fn fresh(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    form_page(&app, &by, Form::new(KEY))
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(KEY, sent.fields)?);
    let actor = by.0.actor();
    let store = async |new: NewFeedKey| app.db.write(&actor, move |tx| keys::create(tx, &new)).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Again(form) => form_page(&app, &by, form),
        Saved::Done(created) => once::page(
            &app,
            &by,
            Once {
                part: "Settings",
                title: "The feed key is created",
                text: "Store the secret in the backend of the product. It must never reach a browser.",
                snippets: vec![
                    ("The issuer of the tokens (iss)", created.key.id.to_string()),
                    ("In the pages of the product", script(&app)),
                ],
                secret: &created.secret,
                next: ("Back to the feed keys", PATH.to_owned()),
            },
        ),
    }
}

async fn revoke(app: web::Data<App>, sent: Filled, InPath(id): InPath<FeedKeyId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| keys::revoke(tx, &id)).await?;
    Ok(done(&app, PATH, "The feed key is revoked."))
}
