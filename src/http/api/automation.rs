//! The API for policies and for what they did.

use actix_web::{delete, get, post, put, web};
use serde::{Deserialize, Serialize};

use crate::automation::{self, NewPolicy, Policy, Run, Trial, policy, recovery_run, run};
use crate::base::id::{IncidentId, PolicyId};
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::answer::{Created, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;
use crate::operators::overdue;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(get_one)
        .service(replace)
        .service(delete_one)
        .service(attempt)
        .service(runs)
        .service(of_incident)
        .service(hold)
        .service(release);
}

/// Creates a policy. When an incident opens, the first enabled policy that matches it decides what happens.
#[utoipa::path(tag = "Automation", security(("token" = ["admin"])))]
#[post("/automation/policies")]
async fn create(app: web::Data<App>, by: By, body: Json<NewPolicy>) -> Answer<Created<Policy>> {
    let policy = app.db.write(&by.0, move |tx| policy::create(tx, body.0)).await?;
    Ok(Created(policy))
}

/// The answer with all policies.
#[derive(Serialize, utoipa::ToSchema)]
struct Policies {
    /// The policies, in the order in which they are tried.
    items: Vec<Policy>,
    /// Always null, because all policies are on one page.
    next_cursor: Option<String>,
}

/// Returns all policies, in the order in which they are tried.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])))]
#[get("/automation/policies")]
async fn list(app: web::Data<App>) -> Answer<Json<Policies>> {
    let items = app.db.read(policy::list).await?;
    Ok(Json(Policies {
        items,
        next_cursor: None,
    }))
}

/// Returns a policy.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])))]
#[get("/automation/policies/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<PolicyId>) -> Answer<Json<Policy>> {
    Ok(Json(app.db.read(move |conn| policy::get(conn, &id)).await?))
}

/// Replaces a policy. Fields that are left out get their defaults, but the position stays unchanged.
#[utoipa::path(tag = "Automation", security(("token" = ["admin"])))]
#[put("/automation/policies/{id}")]
async fn replace(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<PolicyId>,
    body: Json<NewPolicy>,
) -> Answer<Json<Policy>> {
    let policy = app
        .db
        .write(&by.0, move |tx| policy::replace(tx, &id, body.0))
        .await?;
    Ok(Json(policy))
}

/// Deletes a policy. What still waits for it is not done.
#[utoipa::path(tag = "Automation", security(("token" = ["admin"])))]
#[delete("/automation/policies/{id}")]
async fn delete_one(app: web::Data<App>, by: By, InPath(id): InPath<PolicyId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| policy::delete(tx, &id)).await?;
    Ok(NoContent)
}

/// What a policy is tested with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct TryPolicy {
    /// The ID of the incident that the policy is tested with.
    incident: IncidentId,
}

/// Shows what a policy would do about an incident if it opened now. Nothing is stored.
#[utoipa::path(tag = "Automation", security(("token" = ["operator"])))]
#[post("/automation/policies/{id}/try")]
async fn attempt(
    app: web::Data<App>,
    InPath(id): InPath<PolicyId>,
    body: Json<TryPolicy>,
) -> Answer<Json<Trial>> {
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let trial = app
        .db
        .read(move |conn| automation::attempt(conn, &id, &body.0.incident, &sending, now))
        .await?;
    Ok(Json(trial))
}

/// Returns what policies did and wait to do, the newest incident first.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])), params(Paging))]
#[get("/automation/runs")]
async fn runs(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Run>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<(String, i64, i64)> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| {
            let before = before
                .as_ref()
                .map(|(incident, episode, place)| (incident.as_str(), *episode, *place));
            automation::runs::list(conn, before, limit.probe())
        })
        .await?;
    Ok(Json(page(rows, limit, |run| {
        (run.incident.to_string(), run.episode, run.place)
    })))
}

/// The run of a policy for an incident.
#[derive(Serialize, utoipa::ToSchema)]
struct IncidentAutomation {
    /// The run of the policy about detections. Null if no policy matches the incident.
    run: Option<Run>,
    /// The run of the policy about recoveries that waits, or else the last one. Null if there is none.
    recovery: Option<Run>,
    /// When the next update to the customers is due: the time that the last notice promised, or otherwise
    /// `CANDOR_UPDATE_EVERY` after it. Null if no customer was notified, or if the incident is resolved.
    update_due_at: Option<Timestamp>,
}

/// Returns what a policy did or will do about an incident.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/automation")]
async fn of_incident(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
) -> Answer<Json<IncidentAutomation>> {
    let every = app.update_every;
    let view = app
        .db
        .read(move |conn| {
            let run = run::of_incident(conn, &id)?;
            let update_due_at = overdue::due_at(conn, &id, every)?;
            Ok(IncidentAutomation {
                run,
                recovery: recovery_run::of_incident(conn, &id)?,
                update_due_at,
            })
        })
        .await?;
    Ok(Json(view))
}

/// Holds the policy that waits to act about an incident. It does nothing until it is released.
#[utoipa::path(tag = "Automation", security(("token" = ["operator"])))]
#[post("/incidents/{id}/automation/hold")]
async fn hold(app: web::Data<App>, by: By, InPath(id): InPath<IncidentId>) -> Answer<Json<Run>> {
    let run = app.db.write(&by.0, move |tx| automation::hold(tx, &id)).await?;
    Ok(Json(run))
}

/// Releases a policy that is held. It acts when its wait is over, or at once if it is over already.
#[utoipa::path(tag = "Automation", security(("token" = ["operator"])))]
#[post("/incidents/{id}/automation/release")]
async fn release(app: web::Data<App>, by: By, InPath(id): InPath<IncidentId>) -> Answer<Json<Run>> {
    let run = app
        .db
        .write(&by.0, move |tx| automation::release(tx, &id))
        .await?;
    Ok(Json(run))
}
