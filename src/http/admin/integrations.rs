//! `/admin/integrations`: the integrations, their last requests, and a button that replays a saved request.
//!
//! The URL of a hook and a signing secret are never shown here, because they are shown only once, when the
//! integration is created. A request is never replayed for a caller who could not do it through the API.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::filled::Filled;
use super::frame::Frame;
use super::params::{Form, Paged};
use super::signed_in::SignedIn;
use super::view::{When, cut, grouped, link};
use crate::alert::integration::{self, Integration};
use crate::alert::saved_requests::{self, HookRequest};
use crate::alert::{self, provider, source, trial};
use crate::auth::Role;
use crate::base::id::IntegrationId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{BodyNumber, InPath};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::watch;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/integrations", Role::Viewer, list)
        .does(&["GET /api/v1/integrations"])
        .search("/integrations/{id}", Role::Viewer, show)
        .does(&[
            "GET /api/v1/integrations/{id}",
            "GET /api/v1/integrations/{id}/bodies",
            "GET /api/v1/integrations/{id}/requests",
        ])
        .send("/integrations/{id}/bodies/{body}/replay", Role::Admin, replay)
        .does(&["POST /api/v1/integrations/{id}/bodies/{body}/replay"]);
}

const ROWS: Limit = Limit(25);
/// The largest number of firing alerts that is counted.
const COUNTED: i64 = 1_000;
/// The number of requests of each integration in the list.
const LAST: i64 = 3;
/// The number of characters of a body that are shown. The API returns all of it.
const BODY: usize = 20_000;

async fn list(app: web::Data<App>, by: SignedIn, params: Form<Paged>) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let (rows, next) = app
        .db
        .read(move |conn| {
            let rows = integration::list(conn, after.as_deref(), ROWS.probe())?;
            let Page { items, next_cursor } = page(rows, ROWS, |integration| integration.id.to_string());
            let rows = items
                .into_iter()
                .map(|one| Ok((saved_requests::list(conn, &one.id, None, LAST)?, one)))
                .collect::<Result<Vec<_>, crate::base::error::Error>>()?;
            Ok((rows, next_cursor))
        })
        .await?;
    app.pages.answer(
        "admin/integrations",
        &json!({
            "page": Frame::new(&app, &by, "Integrations", "Integrations"),
            "integrations": rows.iter().map(|(requests, one)| view(one, requests)).collect::<Vec<_>>(),
            "may_change": by.0.role.covers(Role::Admin),
            "first": at.is_some().then_some("/admin/integrations"),
            "next": next.map(|next| link("/admin/integrations", &[("cursor", Some(&next))])),
        }),
    )
}

fn view(one: &Integration, requests: &[HookRequest]) -> Value {
    let watched = is_watched(one);
    json!({
        "id": one.id,
        "path": format!("/admin/integrations/{}", one.id),
        "name": one.name,
        "source": one.source,
        "signed": one.signed,
        "reports": provider::is_one(&one.source),
        "opens": one.open_incident,
        "groups": matches!(one.source.as_str(), "alertmanager" | "grafana"),
        "gone": When::maybe(one.gone_at, None),
        "created": When::utc(one.created_at),
        "rules": one.resource_rules.iter().map(|rule| json!({
            "field": rule.field, "type": rule.type_, "pattern": rule.pattern,
        })).collect::<Vec<_>>(),
        // Only Candor sends alerts to the integrations of its own checks.
        "watched": watched,
        "names_itself": !watched && source::named(&one.source).is_some_and(|source| source.names_resources),
        "mapping": one.mapping.as_ref().and_then(|mapping| serde_json::to_string_pretty(mapping).ok()),
        "requests": requests.iter().map(|request| json!({
            "at": When::utc(request.received_at),
            "accepted": request.accepted,
            "detail": request.detail,
            "body": cut(&request.body, BODY),
            "replay": format!("/admin/integrations/{}/bodies/{}/replay", one.id, request.id),
            "try": format!("/admin/integrations/{}/try?body={}", one.id, request.id),
        })).collect::<Vec<_>>(),
    })
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<IntegrationId>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<i64> = cursor(at.as_deref())?;
    let (firing, one, requests) = app
        .db
        .read(move |conn| {
            let requests = saved_requests::list(conn, &id, before, ROWS.probe())?;
            let firing = alert::firing_of(conn, &id, COUNTED)?;
            Ok((
                firing,
                integration::get(conn, &id)?,
                page(requests, ROWS, |request| request.id),
            ))
        })
        .await?;
    let path = format!("/admin/integrations/{}", one.id);
    let may_change = by.0.role.covers(Role::Admin) && one.gone_at.is_none() && !is_watched(&one);
    app.pages.answer(
        "admin/integration",
        &json!({
            "page": Frame::new(&app, &by, &one.name, "Integrations"),
            "integration": view(&one, &requests.items),
            "may_replay": may_change && !provider::is_one(&one.source),
            "alerts": link("/admin/alerts", &[("integration", Some(one.id.as_str()))]),
            "change": may_change.then(|| changes(&one, &path, firing)),
            "first": at.is_some().then_some(&path),
            "next": requests.next_cursor.map(|next| link(&path, &[("cursor", Some(&next))])),
        }),
    )
}

/// What an admin can do with an integration.
fn changes(one: &Integration, path: &str, firing: i64) -> Value {
    let open = match firing {
        0 => "It has no firing alerts.".to_owned(),
        COUNTED => format!(
            "It has at least {} firing alerts, which stay as they are.",
            grouped(firing)
        ),
        1 => "It has 1 firing alert, which stays as it is.".to_owned(),
        _ => format!(
            "It has {} firing alerts, which stay as they are.",
            grouped(firing)
        ),
    };
    json!({
        "change": format!("{path}/change"),
        "secrets": format!("{path}/secrets"),
        "try": (!provider::is_one(&one.source)).then(|| format!("{path}/try")),
        "delete": {
            "label": "Delete", "button": "Delete integration", "action": format!("{path}/delete"), "fields": [],
            "text": format!("Delete \u{201c}{}\u{201d}? Its URL answers 404 from then on, and its secrets are removed. {open} This cannot be undone.", one.name),
        },
    })
}

/// Returns whether only Candor sends alerts to an integration: those of its own checks.
fn is_watched(one: &Integration) -> bool {
    [watch::Kind::HttpCheck, watch::Kind::Heartbeat]
        .iter()
        .any(|kind| kind.source() == one.source)
}

/// Replays a saved request.
async fn replay(
    app: web::Data<App>,
    sent: Filled,
    InPath((id, body)): InPath<(IntegrationId, BodyNumber)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let page = format!("/admin/integrations/{id}");
    trial::replay(&app.conditions, &actor, &id, body.0).await?;
    Ok(done(
        &app,
        &page,
        "The request is replayed. The first line of the requests shows the result.",
    ))
}
