//! `/admin/status-page/subscribers`: who gets an email for each post on the status page, and how a subscription is ended.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::done::done;
use super::filled::Filled;
use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{ROWS, When, grouped, link};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::time::Timestamp;
use crate::delivery::opt_out::SuppressionReason;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, SubscriberNumber};
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::subscription::subscribing::{self, EndReason};
use crate::subscription::{Subscriber, subscriber};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/status-page/subscribers", Role::Viewer, list)
        .does(&[
            "GET /api/v1/status-subscribers",
            "GET /api/v1/status-subscribers/counts",
        ])
        .send("/status-page/subscribers/{id}/end", Role::Operator, end)
        .does(&["DELETE /api/v1/status-subscribers/{id}"]);
}

const PATH: &str = "/admin/status-page/subscribers";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    address: Option<String>,
    cursor: Option<String>,
}

/// Says why a confirmed address gets no posts.
fn why(reason: SuppressionReason) -> &'static str {
    match reason {
        SuppressionReason::OptedOut => "The person unsubscribed from updates afterwards.",
        SuppressionReason::Bounced => "An email to it bounced permanently.",
        SuppressionReason::Complained => "The person reported an email as spam.",
    }
}

/// Says whether a subscriber gets posts, and the tone of it.
fn state(one: &Subscriber) -> (&'static str, &'static str, Option<&'static str>) {
    match (one.confirmed_at, one.suppressed) {
        (None, _) => (
            "not confirmed",
            "neutral",
            Some("It gets posts when the person confirms."),
        ),
        (Some(_), Some(reason)) => ("suppressed", "warn", Some(why(reason))),
        (Some(_), None) => ("gets posts", "good", None),
    }
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let ListParams { address, cursor: at } = params.0;
    let after: Option<(Timestamp, i64)> = cursor(at.as_deref())?;
    let wanted = address.clone();
    let (rows, counts) = app
        .db
        .read(move |conn| {
            let rows = subscriber::list(conn, wanted.as_deref(), after, ROWS.probe())?;
            Ok((rows, subscriber::counts(conn)?))
        })
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |one| (one.created_at, one.id));
    let may_end = by.0.role.covers(Role::Operator);
    let row = |one: &Subscriber| {
        let (word, tone, why) = state(one);
        json!({
            "address": one.address, "word": word, "tone": tone, "why": why, "language": one.language.own_name(),
            "since": When::utc(one.confirmed_at.unwrap_or(one.created_at)),
            "end": may_end.then(|| json!({
                "label": "End …", "button": "End 1 subscription", "action": format!("{PATH}/{}/end", one.id), "fields": [],
                "text": "The address is deleted here and gets no more emails about posts. Notices to the person are not changed.",
            })),
        })
    };
    let path = |cursor: Option<&str>| link(PATH, &[("address", address.as_deref()), ("cursor", cursor)]);
    app.pages.answer(
        "admin/subscribers",
        &json!({
            "page": Frame::new(&app, &by, "Subscribers", "Status page"), "address": address,
            "get_posts": grouped(counts.get_posts), "suppressed": grouped(counts.suppressed),
            "unconfirmed": grouped(counts.unconfirmed), "may_end": may_end,
            "rows": items.iter().map(row).collect::<Vec<_>>(),
            "first": at.is_some().then(|| path(None)),
            "next": next_cursor.map(|next| path(Some(&next))),
        }),
    )
}

async fn end(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<SubscriberNumber>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db
        .write(&actor, move |tx| {
            match subscribing::end(tx, id.0, EndReason::Operator)? {
                true => Ok(()),
                false => Err(Error::NotFound(format!("subscriber {}", id.0))),
            }
        })
        .await?;
    Ok(done(&app, PATH, "The subscription is ended."))
}
