//! The API for incidents: the lifecycle, the timeline, the affected resources, the metrics, the next steps,
//! and the people who could not be reached.

use actix_web::{delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::alert::lookup::{self, Wanted};
use crate::base::id::{IncidentId, NextStepId};
use crate::directory::ResourceRef;
use crate::feedback::unreached::{self, Unreached, UnreachedCounts};
use crate::http::App;
use crate::http::answer::{Accepted, Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::{self, AddAffected, Added, Affected, RemoveAffected, Removed, Unresolved};
use crate::incident::metrics::{self, Metrics};
use crate::incident::next_step::{self, NewStep, NextStep, OpenStep, StepPatch};
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
        .service(list_open_steps)
        .service(list_all_steps)
        .service(change_step);
}

/// Opens an incident.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents")]
async fn open(app: web::Data<App>, by: By, body: Json<NewIncident>) -> Answer<Created<Incident>> {
    incident::drill::check(&body.0, &app.sending.drill_to)?;
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
    Ok(Created(incident))
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
    /// Only open incidents, which are neither resolved nor merged, or only resolved ones.
    open: Option<bool>,
    /// Only drills, or only real incidents.
    drill: Option<bool>,
    /// Only incidents with this owner.
    owner: Option<String>,
    /// Only incidents that have an owner, or only those that nobody leads.
    owned: Option<bool>,
}

/// Returns the incidents, newest first.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(IncidentParams))]
#[get("/incidents")]
async fn list(app: web::Data<App>, params: Params<IncidentParams>) -> Answer<Json<Page<Incident>>> {
    let p = params.0;
    let below: Option<i64> = cursor(p.cursor.as_deref())?;
    let filter = incident::Filter {
        status: p.status,
        open: p.open,
        severity: p.severity,
        drill: p.drill,
        owner: p.owner,
        owned: p.owned,
    };
    let rows = app
        .db
        .read(move |conn| incident::list(conn, &filter, below, p.limit.probe()))
        .await?;
    Ok(Json(page(rows, p.limit, |incident| incident.number)))
}

/// Returns an incident.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])))]
#[get("/incidents/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Json<Incident>> {
    Ok(Json(app.db.read(move |conn| incident::get(conn, &id)).await?))
}

/// Changes the given fields of an incident.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[patch("/incidents/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<IncidentPatch>,
) -> Answer<Json<Incident>> {
    let incident = app
        .db
        .write(&by.0, move |tx| incident::change(tx, &id, &body.0))
        .await?;
    Ok(Json(incident))
}

/// Changes the status of an incident. Customers are not notified by this.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/status")]
async fn set_status(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<StatusChange>,
) -> Answer<Json<Incident>> {
    let incident = app
        .db
        .write(&by.0, move |tx| incident::set_status(tx, &id, &body.0))
        .await?;
    Ok(Json(incident))
}

/// Adds a timeline entry with its own time and time zone. This is also possible afterwards.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/timeline")]
async fn add_entry(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewEntry>,
) -> Answer<Created<Entry>> {
    let entry = app
        .db
        .write(&by.0, move |tx| timeline::add(tx, &id, &body.0))
        .await?;
    Ok(Created(entry))
}

/// Returns the timeline, ordered by the times of the entries.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(Paging))]
#[get("/incidents/{id}/timeline")]
async fn list_entries(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Entry>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<(crate::base::time::Timestamp, i64)> = cursor(at.as_deref())?;
    let mut rows = app.db.read(move |conn| timeline::list(conn, &id)).await?;
    if let Some(after) = after {
        rows.retain(|entry| (entry.at, entry.id) > after);
    }
    Ok(Json(page(rows, limit, |entry| (entry.at, entry.id))))
}

/// Adds affected resources from a list or with a selector.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/affected")]
async fn add_affected(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<AddAffected>,
) -> Answer<Json<Added>> {
    let added = app
        .db
        .write(&by.0, move |tx| affected::add_requested(tx, &id, &body.0))
        .await?;
    Ok(Json(added))
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AffectedParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only resources whose type, ID or name contains this text.
    q: Option<String>,
}

/// Returns the affected resources.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(AffectedParams))]
#[get("/incidents/{id}/affected")]
async fn list_affected(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<AffectedParams>,
) -> Answer<Json<AffectedPage>> {
    let AffectedParams { limit, cursor: at, q } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let (rows, unresolved) = app
        .db
        .read(move |conn| {
            Ok((
                affected::list(conn, &id, q.as_deref(), after, limit.probe())?,
                affected::unresolved(conn, &id)?,
            ))
        })
        .await?;
    let Page { items, next_cursor } = page(rows, limit, |affected| affected.key);
    Ok(Json(AffectedPage {
        items,
        next_cursor,
        unresolved,
    }))
}

/// Searches the unmatched IDs again: at once in the directory, and soon after at the service of the product.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/resolve-references")]
async fn resolve_references(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
) -> Answer<Accepted<Wanted>> {
    let wanted = app.db.write(&by.0, move |tx| lookup::want(tx, &id)).await?;
    app.lookups.notify_one();
    Ok(Accepted(wanted))
}

/// Removes an affected resource. People who were already notified are still notified of the end.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[delete("/incidents/{id}/affected/{type}/{resource}")]
async fn remove_affected(
    app: web::Data<App>,
    by: By,
    InPath((id, at)): InPath<(IncidentId, ResourceRef)>,
) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| affected::remove(tx, &id, &at))
        .await?;
    Ok(NoContent)
}

/// Removes affected resources, from a list or with a selector. People who were already notified are still notified of
/// the end.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/affected/remove")]
async fn remove_several(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<RemoveAffected>,
) -> Answer<Json<Removed>> {
    let removed = app
        .db
        .write(&by.0, move |tx| affected::remove_requested(tx, &id, &body.0))
        .await?;
    Ok(Json(removed))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MetricsParams {
    /// The IANA time zone in which the times are shown too.
    time_zone: Option<String>,
}

/// Returns how long it took to detect, notify, mitigate and resolve, in seconds.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(MetricsParams))]
#[get("/incidents/{id}/metrics")]
async fn get_metrics(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<MetricsParams>,
) -> Answer<Json<Metrics>> {
    let zone = params.0.time_zone;
    Ok(Json(
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
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(Paging))]
#[get("/incidents/{id}/unreached")]
async fn get_unreached(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<Paging>,
) -> Answer<Json<UnreachedPage>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let (counts, rows) = app
        .db
        .read(move |conn| unreached::list(conn, &id, after.as_deref(), limit.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, limit, |one| one.person.id.clone());
    Ok(Json(UnreachedPage {
        counts,
        items,
        next_cursor,
    }))
}

/// Adds a next step. It stays open when the incident is closed.
#[utoipa::path(tag = "Next steps", security(("token" = ["operator"])))]
#[post("/incidents/{id}/next-steps")]
async fn add_step(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewStep>,
) -> Answer<Created<NextStep>> {
    let step = app
        .db
        .write(&by.0, move |tx| next_step::add(tx, &id, &body.0))
        .await?;
    Ok(Created(step))
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

async fn steps(app: &App, incident: Option<IncidentId>, p: StepParams) -> Answer<Json<Page<NextStep>>> {
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let done = p.status.map(|status| matches!(status, StepStatus::Done));
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| next_step::list(conn, incident.as_ref(), done, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |step| step.id.to_string())))
}

/// Returns the next steps of an incident.
#[utoipa::path(tag = "Next steps", security(("token" = ["viewer"])), params(StepParams))]
#[get("/incidents/{id}/next-steps")]
async fn list_steps(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<StepParams>,
) -> Answer<Json<Page<NextStep>>> {
    steps(&app, Some(id), params.0).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OpenParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only the steps of this owner.
    owner: Option<String>,
}

/// Returns the open steps of all incidents by due date: what is overdue comes first, and what has no date last.
#[utoipa::path(tag = "Next steps", security(("token" = ["viewer"])), params(OpenParams))]
#[get("/next-steps/open")]
async fn list_open_steps(app: web::Data<App>, params: Params<OpenParams>) -> Answer<Json<Page<OpenStep>>> {
    let p = params.0;
    let after: Option<(String, String)> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| next_step::open_by_due(conn, p.owner.as_deref(), after.as_ref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, OpenStep::place)))
}

/// Returns the next steps of all incidents.
#[utoipa::path(tag = "Next steps", security(("token" = ["viewer"])), params(StepParams))]
#[get("/next-steps")]
async fn list_all_steps(app: web::Data<App>, params: Params<StepParams>) -> Answer<Json<Page<NextStep>>> {
    steps(&app, None, params.0).await
}

/// Changes a step, or marks it as done or as open.
#[utoipa::path(tag = "Next steps", security(("token" = ["operator"])))]
#[patch("/next-steps/{id}")]
async fn change_step(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NextStepId>,
    body: Json<StepPatch>,
) -> Answer<Json<NextStep>> {
    let step = app
        .db
        .write(&by.0, move |tx| next_step::change(tx, &id, &body.0))
        .await?;
    Ok(Json(step))
}
