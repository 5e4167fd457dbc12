//! `/admin/integrations`: the integrations, their last requests, and a button that replays a saved request.
//!
//! The URL of a hook and a signing secret are never shown here, because they are shown only once, when the
//! integration is created. A request is never replayed for a caller who could not do it through the API.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::filled::{Filled, back_to};
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{Frame, When, call, cut, link};
use crate::alert::integration::{self, Integration};
use crate::alert::saved_requests::{self, HookRequest};
use crate::alert::{provider, source, trial};
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
        .search("/integrations/{id}", Role::Viewer, show)
        .send("/integrations/{id}/bodies/{body}/replay", Role::Admin, replay);
}

const ROWS: Limit = Limit(25);
/// The number of requests of each integration in the list.
const LAST: i64 = 3;
/// The number of characters of a body that are shown. The API returns all of it.
const BODY: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
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
    let example = json!({
        "name": "Alertmanager", "source": "alertmanager",
        "resource_rules": [{"field": "labels.project_id", "type": "project"}],
    });
    app.pages.answer(
        "admin/integrations",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Integrations", "Integrations"),
            "integrations": rows.iter().map(|(requests, one)| view(&app, one, requests)).collect::<Vec<_>>(),
            "command": call(&app, "POST", "/integrations", Some(&example)),
            "first": at.is_some().then_some("/admin/integrations"),
            "next": next.map(|next| link("/admin/integrations", &[("cursor", Some(&next))])),
        }),
    )
}

fn view(app: &App, one: &Integration, requests: &[HookRequest]) -> Value {
    let watched = [watch::Kind::HttpCheck, watch::Kind::Heartbeat]
        .iter()
        .any(|kind| kind.source() == one.source);
    json!({
        "id": one.id,
        "path": format!("/admin/integrations/{}", one.id),
        "name": one.name,
        "source": one.source,
        "signed": one.signed,
        "reports": provider::is_one(&one.source),
        "opens": one.open_incident,
        "groups": matches!(one.source.as_str(), "alertmanager" | "grafana"),
        "grouping": call(app, "POST", "/alert-rules", Some(&json!({
            "name": format!("{}, by service", one.name), "integration": one.id, "policy": "open",
            "group_by": ["labels.service"], "reopen_within": 600,
        }))),
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
        })).collect::<Vec<_>>(),
    })
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<IntegrationId>,
    params: Form<ListParams>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<i64> = cursor(at.as_deref())?;
    let (one, requests) = app
        .db
        .read(move |conn| {
            let requests = saved_requests::list(conn, &id, before, ROWS.probe())?;
            Ok((
                integration::get(conn, &id)?,
                page(requests, ROWS, |request| request.id),
            ))
        })
        .await?;
    let path = format!("/admin/integrations/{}", one.id);
    app.pages.answer(
        "admin/integration",
        &json!({
            "page": Frame::with_forms(&app, &by, &one.name, "Integrations"),
            "integration": view(&app, &one, &requests.items),
            "may_replay": by.0.role.covers(Role::Admin) && one.gone_at.is_none() && !provider::is_one(&one.source),
            "first": at.is_some().then_some(&path),
            "next": requests.next_cursor.map(|next| link(&path, &[("cursor", Some(&next))])),
        }),
    )
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
    // The page shows the result in its first line.
    Ok(back_to(&page))
}
