//! The API for incidents: the lifecycle, the timeline, the affected resources, the metrics, the next steps,
//! and the people who could not be reached.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::alert::lookup::{self, Wanted};
use crate::base::id::{IncidentId, NextStepId};
use crate::directory::ResourceRef;
use crate::feedback::unreached::{self, Unreached, UnreachedCounts};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::{external, own};
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::{Answer, ProblemDocument};
use crate::incident::affected::{self, AddAffected, Added, Affected, RemoveAffected, Removed, Unresolved};
use crate::incident::metrics::{self, Metrics};
use crate::incident::next_step::{self, NewStep, NextStep, StepPatch};
use crate::incident::timeline::{self, Entry, NewEntry};
use crate::incident::{self, Incident, IncidentPatch, NewIncident, Severity, Status, StatusChange};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(open)
        .service(list)
        .service(get_one)
        .service(change)
        .service(set_status)
        .service(add_entry)
        .service(list_entries)
        .service(add_affected)
        .service(list_affected)
        .service(resolve_references)
        .service(remove_affected)
        .service(remove_several)
        .service(get_metrics)
        .service(get_unreached)
        .service(add_step)
        .service(list_steps)
        .service(list_all_steps)
        .service(change_step);
}

pub(super) fn incident_id(text: &str) -> Answer<IncidentId> {
    own("incident", IncidentId::parse(text))
}

/// Opens an incident.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), request_body = NewIncident,
    responses((status = 201, body = Incident), (status = 422, body = ProblemDocument)))]
#[post("/incidents")]
async fn open(app: web::Data<App>, by: By, body: Body<NewIncident>) -> Answer<HttpResponse> {
    let incident = app
        .db
        .write(&by.0, move |tx| {
            let incident = incident::open(tx, &body.0)?;
            if body.0.started_at.is_some() {
                incident::window::hold(tx, &incident.id)?;
            }
            Ok(incident)
        })
        .await?;
    Ok(HttpResponse::Created().json(incident))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct IncidentParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only incidents with this status.
    status: Option<Status>,
    /// Only incidents with this severity.
    severity: Option<Severity>,
}

/// Returns the incidents, newest first.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(IncidentParams), responses((status = 200, body = Page<Incident>)))]
#[get("/incidents")]
async fn list(app: web::Data<App>, params: Params<IncidentParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let below: Option<i64> = cursor(p.cursor.as_deref())?;
    let rows = app
        .db
        .read(move |conn| incident::list(conn, p.status, p.severity, below, p.limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, p.limit, |incident| incident.number)))
}

/// Returns an incident.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), responses((status = 200, body = Incident), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| incident::get(conn, &id)).await?))
}

/// Changes the given fields of an incident.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), request_body = IncidentPatch,
    responses((status = 200, body = Incident), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[patch("/incidents/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<IncidentPatch>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let incident = app
        .db
        .write(&by.0, move |tx| incident::change(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(incident))
}

/// Changes the status of an incident. Customers are not notified by this.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), request_body = StatusChange,
    responses((status = 200, body = Incident), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/status")]
async fn set_status(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<StatusChange>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let incident = app
        .db
        .write(&by.0, move |tx| incident::set_status(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(incident))
}

/// Adds a timeline entry with its own time and time zone. This is also possible afterwards.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), request_body = NewEntry,
    responses((status = 201, body = Entry), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/timeline")]
async fn add_entry(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<NewEntry>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let entry = app
        .db
        .write(&by.0, move |tx| timeline::add(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Created().json(entry))
}

/// Returns the timeline, ordered by the times of the entries.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = Page<Entry>), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/timeline")]
async fn list_entries(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<Paging>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let Paging { limit, cursor: at } = params.0;
    let after: Option<(crate::base::time::Timestamp, i64)> = cursor(at.as_deref())?;
    let mut rows = app.db.read(move |conn| timeline::list(conn, &id)).await?;
    if let Some(after) = after {
        rows.retain(|entry| (entry.at, entry.id) > after);
    }
    Ok(HttpResponse::Ok().json(page(rows, limit, |entry| (entry.at, entry.id))))
}

/// Adds affected resources from a list or with a selector.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), request_body = AddAffected,
    responses((status = 200, body = Added), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/affected")]
async fn add_affected(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<AddAffected>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let added = app
        .db
        .write(&by.0, move |tx| affected::add_requested(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(added))
}

/// The affected resources and the unmatched IDs.
#[derive(Serialize, utoipa::ToSchema)]
struct AffectedPage {
    /// The resources on this page.
    items: Vec<Affected>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
    /// The unmatched IDs, which alerts contain and the directory does not.
    unresolved: Vec<Unresolved>,
}

/// Returns the affected resources.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = AffectedPage), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/affected")]
async fn list_affected(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<Paging>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let Paging { limit, cursor: at } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let (rows, unresolved) = app
        .db
        .read(move |conn| {
            Ok((
                affected::list(conn, &id, after, limit.probe())?,
                affected::unresolved(conn, &id)?,
            ))
        })
        .await?;
    let Page { items, next_cursor } = page(rows, limit, |affected| affected.key);
    Ok(HttpResponse::Ok().json(AffectedPage {
        items,
        next_cursor,
        unresolved,
    }))
}

/// Searches the unmatched IDs again: at once in the directory, and soon after at the service of the product.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), responses((status = 202, body = Wanted), (status = 404, body = ProblemDocument)))]
#[post("/incidents/{id}/resolve-references")]
async fn resolve_references(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let wanted = app.db.write(&by.0, move |tx| lookup::want(tx, &id)).await?;
    app.lookups.notify_one();
    Ok(HttpResponse::Accepted().json(wanted))
}

/// Removes an affected resource. People who were already notified are still notified of the end.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/incidents/{id}/affected/{type}/{resource}")]
async fn remove_affected(
    app: web::Data<App>,
    by: By,
    path: web::Path<(String, String, String)>,
) -> Answer<HttpResponse> {
    let id = incident_id(&path.0)?;
    let at = ResourceRef {
        type_: external("type", &path.1)?,
        id: external("resource", &path.2)?,
    };
    app.db
        .write(&by.0, move |tx| affected::remove(tx, &id, &at))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Removes affected resources, from a list or with a selector. People who were already notified are still notified of
/// the end.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])), request_body = RemoveAffected,
    responses((status = 200, body = Removed), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/affected/remove")]
async fn remove_several(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<RemoveAffected>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let removed = app
        .db
        .write(&by.0, move |tx| affected::remove_requested(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(removed))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MetricsParams {
    /// The IANA time zone in which the times are shown too.
    time_zone: Option<String>,
}

/// Returns how long it took to detect, notify, mitigate and resolve, in seconds.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(MetricsParams),
    responses((status = 200, body = Metrics), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/metrics")]
async fn get_metrics(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<MetricsParams>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let zone = params.0.time_zone;
    Ok(HttpResponse::Ok().json(
        app.db
            .read(move |conn| metrics::metrics(conn, &id, zone.as_deref()))
            .await?,
    ))
}

/// The people who could not be reached.
#[derive(Serialize, utoipa::ToSchema)]
struct UnreachedPage {
    /// The numbers for all pages together.
    counts: UnreachedCounts,
    /// The people on this page, with other people of their accounts who could be notified instead.
    items: Vec<Unreached>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
}

/// Returns the people who could not be reached, why, and who else of the same account could be notified.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(Paging),
    responses((status = 200, body = UnreachedPage), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/unreached")]
async fn get_unreached(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<Paging>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let (counts, rows) = app
        .db
        .read(move |conn| unreached::of(conn, &id, after.as_deref(), limit.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, limit, |one| one.person.id.clone());
    Ok(HttpResponse::Ok().json(UnreachedPage {
        counts,
        items,
        next_cursor,
    }))
}

/// Adds a next step. It stays open when the incident is closed.
#[utoipa::path(tag = "Next steps", security(("token" = ["operator"])), request_body = NewStep,
    responses((status = 201, body = NextStep), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/next-steps")]
async fn add_step(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<NewStep>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let step = app
        .db
        .write(&by.0, move |tx| next_step::add(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Created().json(step))
}

#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum StepStatus {
    Open,
    Done,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StepParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only open steps, or only done steps.
    #[param(inline)]
    status: Option<StepStatus>,
}

async fn steps(app: &App, incident: Option<IncidentId>, p: StepParams) -> Answer<HttpResponse> {
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let done = p.status.map(|status| matches!(status, StepStatus::Done));
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| next_step::list(conn, incident.as_ref(), done, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |step| step.id.to_string())))
}

/// Returns the next steps of an incident.
#[utoipa::path(tag = "Next steps", security(("token" = ["viewer"])), params(StepParams),
    responses((status = 200, body = Page<NextStep>), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/next-steps")]
async fn list_steps(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<StepParams>,
) -> Answer<HttpResponse> {
    steps(&app, Some(incident_id(&id)?), params.0).await
}

/// Returns the next steps of all incidents.
#[utoipa::path(tag = "Next steps", security(("token" = ["viewer"])), params(StepParams), responses((status = 200, body = Page<NextStep>)))]
#[get("/next-steps")]
async fn list_all_steps(app: web::Data<App>, params: Params<StepParams>) -> Answer<HttpResponse> {
    steps(&app, None, params.0).await
}

/// Marks a step as done or as open.
#[utoipa::path(tag = "Next steps", security(("token" = ["operator"])), request_body = StepPatch,
    responses((status = 200, body = NextStep), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
#[patch("/next-steps/{id}")]
async fn change_step(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<StepPatch>,
) -> Answer<HttpResponse> {
    let id = own("next step", NextStepId::parse(&id))?;
    let step = app
        .db
        .write(&by.0, move |tx| next_step::change(tx, &id, &body.0))
        .await?;
    Ok(HttpResponse::Ok().json(step))
}
