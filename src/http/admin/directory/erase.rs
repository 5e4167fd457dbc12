//! The pages for forgetting: the confirmation of an erasure in words, the download of all that is held about a person, and the erasures
//! that were made, with the check of an address.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::{ErasureId, ExternalId};
use crate::directory::person;
use crate::forgetting::{self, Claim, Erasure, ErasureReason, Left, Rows};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::frame::Frame;
use crate::http::admin::params::{Form as Parameters, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{ROWS, When, count, grouped, link, person_path};
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory/people/{id}/erase", Role::Admin, show)
        .does(&["GET /api/v1/people/{person}/erasure"])
        .send("/directory/people/{id}/erase", Role::Admin, erase)
        .does(&["POST /api/v1/people/{person}/erase"])
        .show("/directory/people/{id}/export", Role::Admin, download)
        .does(&["GET /api/v1/people/{person}/export"])
        .search(LIST, Role::Admin, list)
        .does(&["GET /api/v1/erasures", "GET /api/v1/erasures/{id}"])
        .send("/directory/erasures/check", Role::Operator, check)
        .does(&["POST /api/v1/erasures/check"])
        .send("/directory/erasures/{id}/allow", Role::Admin, allow)
        .does(&["POST /api/v1/erasures/{id}/allow"]);
}

const LIST: &str = "/directory/erasures";
const PATH: &str = "/admin/directory/erasures";

const ERASE: &[Field] = &[
    Field::text(
        "reason",
        "Reason",
        "For the audit trail, such as the number of the request. The name and the addresses of the person are removed from it.",
    ),
    Field::text("confirmation", "Confirmation", "Type the words above exactly."),
];

/// What the form sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    reason: String,
    confirmation: String,
}

/// The words that confirm an erasure.
fn words(total: i64) -> String {
    format!("erase {total} rows")
}

/// The kinds of rows, with the words for people.
fn kinds(rows: &Rows) -> Vec<Value> {
    [
        (
            rows.directory,
            "the entry in the directory, memberships, roles and what sources noted",
        ),
        (rows.recipients, "recipients of notices, with their deliveries"),
        (rows.replies, "replies of mail servers"),
        (rows.reports, "bounces, complaints and replies"),
        (rows.answers, "answers"),
        (rows.users_of_errors, "users of errors"),
        (rows.audit_events, "events of the audit trail, whose hashes stay"),
        (
            rows.others,
            "suppressions, values of drafts, saved requests, kept answers and uploaded listings",
        ),
        (rows.texts, "texts that mention the person"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| json!({"count": grouped(n), "what": what}))
    .collect()
}

fn left(places: &[Left]) -> Vec<Value> {
    places
        .iter()
        .map(|one| {
            json!({"table": one.table, "column": one.column, "rows": count(usize::try_from(one.rows).unwrap_or_default(), "row", "rows")})
        })
        .collect()
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    confirm(&app, &by, Form::new(ERASE), id).await
}

async fn confirm(app: &App, by: &SignedIn, form: Form, id: ExternalId) -> Answer<HttpResponse> {
    let status = form.status();
    let wanted = id.clone();
    let (name, preview) = app
        .db
        .read(move |conn| {
            let preview = forgetting::preview(conn, &wanted)?;
            Ok((person::get(conn, wanted.as_str())?.name, preview))
        })
        .await?;
    let path = person_path(id.as_str());
    let at = Use {
        action: format!("{path}/erase"),
        button: "Erase the person",
        within: (&name, path.clone()),
    };
    let data = json!({
        "page": Frame::new(app, by, "Erase a person", "People"),
        "person": name, "path": path, "total": grouped(preview.total), "words": words(preview.total),
        "rows": kinds(&preview.rows), "left": left(&preview.left), "export": format!("{path}/export"),
        "form": form.shown(&at),
    });
    app.pages.answer_with(status, "admin/erase", &data)
}

async fn erase(app: web::Data<App>, sent: Filled, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ERASE, sent.fields)?);
    let (actor, who) = (by.0.actor(), id.clone());
    let store = async |typed: Confirmed| {
        let number = typed
            .confirmation
            .strip_prefix("erase ")
            .and_then(|rest| rest.strip_suffix(" rows"))
            .and_then(|number| number.parse::<i64>().ok());
        let Some(expected) = number else {
            let wanted = who.clone();
            let preview = app
                .db
                .read(move |conn| forgetting::preview(conn, &wanted))
                .await?;
            let detail = format!("must be \u{201c}{}\u{201d}", words(preview.total));
            return Err(Error::invalid("/confirmation", detail));
        };
        let reason = ErasureReason { reason: typed.reason };
        let outbox = app.outbox_folder.as_deref();
        forgetting::erase(&app.db, outbox, &actor, who, reason, Some(expected)).await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(erased) => {
            app.wake.due();
            let mut text = format!(
                "The person is erased: {} were changed.",
                count(
                    usize::try_from(erased.erasure.rows.total()).unwrap_or_default(),
                    "row",
                    "rows"
                )
            );
            if !erased.left.is_empty() {
                let places = count(erased.left.len(), "place", "places");
                text.push_str(&format!(
                    " {places} that cannot be changed still mention the person; the event of the erasure lists them."
                ));
            }
            Ok(done(&app, PATH, &text))
        }
        Saved::Again(form) => confirm(&app, &by, form, id).await,
    }
}

async fn download(app: web::Data<App>, by: SignedIn, InPath(id): InPath<ExternalId>) -> Answer<HttpResponse> {
    let actor = by.0.actor();
    let export = app
        .db
        .write(&actor, move |tx| forgetting::export(tx, &id))
        .await?;
    let body = serde_json::to_vec_pretty(&export).map_err(Error::internal)?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(("content-disposition", "attachment; filename=\"person.json\""))
        .insert_header(("cache-control", "no-store"))
        .body(body))
}

async fn list(app: web::Data<App>, by: SignedIn, params: Parameters<Paged>) -> Answer<HttpResponse> {
    let nothing = Claim {
        address: None,
        person: None,
    };
    listed(&app, &by, params.0.cursor, &nothing, None).await
}

/// Shows the erasures, with what was typed into the form that checks an address and why it was refused.
async fn listed(
    app: &App,
    by: &SignedIn,
    at: Option<String>,
    claim: &Claim,
    wrong: Option<&str>,
) -> Answer<HttpResponse> {
    let before: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| forgetting::list(conn, before.as_deref(), ROWS.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |erasure| erasure.id.to_string());
    let path = |cursor: Option<&str>| link(PATH, &[("cursor", cursor)]);
    let status = match wrong {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    app.pages.answer_with(
        status,
        "admin/erasures",
        &json!({
            "page": Frame::new(app, by, "Erasures", "People"),
            "address": claim.address, "person": claim.person, "wrong": wrong,
            "rows": items.iter().map(row).collect::<Vec<_>>(),
            "first": at.is_some().then(|| path(None)),
            "next": next_cursor.map(|next| path(Some(&next))),
        }),
    )
}

fn row(one: &Erasure) -> Value {
    let may_allow = one.kind == "request" && one.allowed_at.is_none();
    json!({
        "at": When::utc(one.at), "by": one.by, "reason": one.reason, "asked": one.kind == "request",
        "total": grouped(one.rows.total()), "cleaned": When::maybe(one.cleaned_at, None),
        "allowed": When::maybe(one.allowed_at, None), "allowed_by": one.allowed_by,
        "placeholder": one.placeholder,
        "allow": may_allow.then(|| json!({
            "label": "Allow again …", "button": "Allow the person again",
            "text": "A source, an import or a form can store the person again, as somebody new. What was erased stays erased.",
            "action": format!("{PATH}/{}/allow", one.id), "fields": [],
        })),
    })
}

async fn allow(app: web::Data<App>, sent: Filled, InPath(id): InPath<ErasureId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| forgetting::allow(tx, &id)).await?;
    let text = "The person is allowed again. The next sync, an import or a form can store the person.";
    Ok(done(&app, PATH, text))
}

async fn check(app: web::Data<App>, mut sent: Filled) -> Answer<HttpResponse> {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let claim = Claim {
        address: given(sent.fields.take("address")),
        person: given(sent.fields.take("person")),
    };
    sent.fields.finish()?;
    let wanted = claim.clone();
    let checked = match app.db.read(move |conn| forgetting::check(conn, &wanted)).await {
        Ok(checked) => checked,
        Err(Error::Invalid { .. }) => {
            let wrong = Some("Enter an address, or the ID of a person.");
            return listed(&app, &sent.by, None, &claim, wrong).await;
        }
        Err(error) => return Err(error.into()),
    };
    let recipients = checked.recipients.iter().map(|one| {
        json!({
            "path": format!("/admin/notices/{}", one.notice), "phase": one.phase, "recipient": one.recipient,
            "state": one.state, "sent": When::maybe(one.sent_at, None),
        })
    });
    app.pages.answer(
        "admin/erasure-check",
        &json!({
            "page": Frame::new(&app, &sent.by, "Check an address", "People"),
            "address": claim.address, "person": claim.person,
            "recipients": recipients.collect::<Vec<_>>(),
            "rows": checked.erasures.iter().map(row).collect::<Vec<_>>(),
        }),
    )
}
