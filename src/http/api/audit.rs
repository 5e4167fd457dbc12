//! The API for the audit trail.

use actix_web::{HttpResponse, get, web};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::audit::{self, EventView, Filter, Verification};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::extract::{Json, Params};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(verify).service(export).service(list);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only events of this incident.
    incident: Option<IncidentId>,
    /// Only events of the actor with this ID or name.
    actor: Option<String>,
    /// Only events with this action.
    action: Option<String>,
    /// Only events on the subject with this ID, or with this `type/id`.
    subject: Option<String>,
    /// Only events at or after this time.
    from: Option<Timestamp>,
    /// Only events before this time.
    to: Option<Timestamp>,
}

/// Returns who did what to which subject, when, and the state before and after, newest first.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])), params(AuditParams))]
#[get("/audit")]
async fn list(app: web::Data<App>, params: Params<AuditParams>) -> Answer<Json<Page<EventView>>> {
    let p = params.0;
    let before: Option<i64> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let filter = Filter {
        incident: p.incident,
        actor: p.actor,
        action: p.action,
        subject: p.subject,
        from: p.from,
        to: p.to,
    };
    let rows = app
        .db
        .read(move |conn| audit::list(conn, &filter, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |event| event.seq)))
}

/// Verifies the whole audit trail, and says which ranges of it are anchored by what.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])))]
#[get("/audit/verify")]
async fn verify(app: web::Data<App>) -> Answer<Json<Verification>> {
    let trust = app.authorities.trust.clone();
    Ok(Json(
        audit::verify_with(&app.db, trust, Vec::new()).await?.verification,
    ))
}

/// Returns every event in the order of the chain, as NDJSON.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])), responses((status = 200, description = "One event on each line", content_type = "application/x-ndjson")))]
#[get("/audit/export")]
async fn export(app: web::Data<App>) -> Answer<Declared> {
    Ok(Declared(exported(app)))
}

/// Answers with every event in the order of the chain, one on each line, without holding them all in memory.
pub(in crate::http) fn exported(app: web::Data<App>) -> HttpResponse {
    const STEP: i64 = 1_000;
    let pages = stream::try_unfold(Some(0_i64), move |after| {
        let app = app.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let events = app
                .db
                .read(move |conn| audit::page(conn, after, STEP))
                .await
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            let mut text = Vec::new();
            for event in &events {
                serde_json::to_writer(&mut text, event)?;
                text.push(b'\n');
            }
            let next = events
                .last()
                .filter(|_| events.len() as i64 == STEP)
                .map(|event| event.seq);
            Ok::<_, std::io::Error>(Some((web::Bytes::from(text), next)))
        }
    });
    HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .streaming(Box::pin(pages))
}
