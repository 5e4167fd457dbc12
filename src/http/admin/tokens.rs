//! `/admin/tokens`: the API tokens with their last use, a form for a new one, and a button that revokes one.
//!
//! A token is shown only once, as the answer to the form that creates it.

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
use crate::auth::{self, NewToken, Role, TokenView};
use crate::base::id::TokenId;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/tokens", Role::Admin, list)
        .does(&["GET /api/v1/tokens", "GET /api/v1/tokens/{id}"])
        .show("/tokens/new", Role::Admin, fresh)
        .send("/tokens", Role::Admin, create)
        .does(&["POST /api/v1/tokens"])
        .send("/tokens/{id}/revoke", Role::Admin, revoke)
        .does(&["DELETE /api/v1/tokens/{id}"]);
}

const PATH: &str = "/admin/tokens";
const PART: &str = "Tokens";

const TOKEN: &[Field] = &[
    Field::text(
        "name",
        "Name",
        "The name of the person or the program that gets the token. The audit trail shows it.",
    ),
    Field::choice(
        "role",
        "Role",
        "Each role includes the roles before it.",
        &[
            ("viewer", "Viewer: reads everything except tokens"),
            ("operator", "Operator: also writes, and sends within the limits"),
            ("approver", "Approver: also approves notices"),
            ("admin", "Admin: also manages tokens, integrations and templates"),
        ],
        "must be viewer, operator, approver or admin",
    ),
    Field::text(
        "person",
        "Person",
        "Who uses the token, such as an email address. Tokens of one person are one person wherever two people are needed. If empty, the token is its own person.",
    )
    .optional(),
    Field::clock(
        "expires_at",
        "Expires",
        "From then on the token is refused. If empty, it works until somebody revokes it.",
    ),
    Field::zone(),
];

async fn list(
    app: web::Data<App>,
    by: SignedIn,
    params: params::Form<params::Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let mut rows = app
        .db
        .read(move |conn| auth::list(conn, after.as_deref(), ROWS.probe()))
        .await?;
    app.token_uses.complete(&mut rows);
    let Page { items, next_cursor } = page(rows, ROWS, |token| token.id.to_string());
    let now = app.clock().now();
    app.pages.answer(
        "admin/tokens",
        &json!({
            "page": Frame::new(&app, &by, "Tokens", PART),
            "tokens": items.iter().map(|token| row(token, &by, now)).collect::<Vec<_>>(),
            "first": at.is_some().then_some(PATH),
            "next": next_cursor.map(|next| link(PATH, &[("cursor", Some(&next))])),
        }),
    )
}

fn row(token: &TokenView, by: &SignedIn, now: Timestamp) -> Value {
    let own = token.id == by.0.id;
    let text = if own {
        "You are signed in with this token. Revoking it ends this session at once."
    } else {
        "It stops working at once, and sessions that were started with it end. This cannot be undone."
    };
    json!({
        "name": token.name,
        "role": token.role,
        "person": token.person,
        "own": own,
        "used": When::maybe(token.last_used_at, None),
        "expires": When::maybe(token.expires_at, None),
        "expired": token.expires_at.is_some_and(|at| at <= now),
        "created": When::utc(token.created_at),
        "revoke": {
            "label": "Revoke", "text": format!("Revoke the token \u{201c}{}\u{201d}? {text}", token.name),
            "button": "Revoke token", "action": format!("{PATH}/{}/revoke", token.id), "fields": [],
        },
    })
}

fn form_page(app: &App, by: &SignedIn, form: Form) -> Answer<HttpResponse> {
    let explained = "A token lets a person sign in here, and a program use the API. It is shown only once.";
    let at = Use {
        action: PATH.to_owned(),
        button: "Create token",
        within: (PART, PATH.to_owned()),
    };
    form.page(app, by, ("New token", PART), explained, &at)
}

async fn fresh(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    form_page(&app, &by, Form::new(TOKEN).zoned(&by, None))
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(TOKEN, sent.fields)?);
    let actor = by.0.actor();
    let store = async |new: NewToken| app.db.write(&actor, move |tx| auth::create(tx, &new)).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Again(form) => form_page(&app, &by, form),
        Saved::Done(created) => once::page(
            &app,
            &by,
            Once {
                part: PART,
                title: "The token is created",
                text: "A person signs in with it. A program sends it with each request.",
                snippets: vec![(
                    "For a program",
                    format!("Authorization: Bearer {}", created.token.reveal()),
                )],
                secret: &created.token,
                next: ("Back to the tokens", PATH.to_owned()),
            },
        ),
    }
}

async fn revoke(app: web::Data<App>, sent: Filled, InPath(id): InPath<TokenId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| auth::revoke(tx, &id)).await?;
    Ok(done(&app, PATH, "The token is revoked."))
}
