//! The API for policies and for what they did.

use actix_web::{HttpResponse, delete, get, post, put, web};
use serde::{Deserialize, Serialize};

use crate::automation::{self, NewPolicy, Policy, Run, Trial, policy, run};
use crate::base::id::{IncidentId, PolicyId};
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::own;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::{Answer, ProblemDocument};
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
        .service(of_incident);
}

fn policy_id(text: &str) -> Answer<PolicyId> {
    own("policy", PolicyId::parse(text))
}

/// Creates a policy. When an incident opens, the first enabled policy that matches it decides what happens.
#[utoipa::path(tag = "Automation", security(("token" = ["admin"])), request_body = NewPolicy,
    responses((status = 201, body = Policy), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/automation/policies")]
async fn create(app: web::Data<App>, by: By, body: Body<NewPolicy>) -> Answer<HttpResponse> {
    let policy = app.db.write(&by.0, move |tx| policy::create(tx, body.0)).await?;
    Ok(HttpResponse::Created().json(policy))
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
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])), responses((status = 200, body = Policies)))]
#[get("/automation/policies")]
async fn list(app: web::Data<App>) -> Answer<HttpResponse> {
    let items = app.db.read(policy::list).await?;
    Ok(HttpResponse::Ok().json(Policies {
        items,
        next_cursor: None,
    }))
}

/// Returns a policy.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])), responses((status = 200, body = Policy), (status = 404, body = ProblemDocument)))]
#[get("/automation/policies/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = policy_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| policy::get(conn, &id)).await?))
}

/// Replaces a policy. Fields that are left out get their defaults, but the position stays unchanged.
#[utoipa::path(tag = "Automation", security(("token" = ["admin"])), request_body = NewPolicy,
    responses((status = 200, body = Policy), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[put("/automation/policies/{id}")]
async fn replace(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<NewPolicy>,
) -> Answer<HttpResponse> {
    let id = policy_id(&id)?;
    let policy = app
        .db
        .write(&by.0, move |tx| policy::replace(tx, &id, body.0))
        .await?;
    Ok(HttpResponse::Ok().json(policy))
}

/// Deletes a policy. What still waits for it is not done.
#[utoipa::path(tag = "Automation", security(("token" = ["admin"])), responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/automation/policies/{id}")]
async fn delete_one(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = policy_id(&id)?;
    app.db.write(&by.0, move |tx| policy::delete(tx, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What a policy is tested with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct TryPolicy {
    /// The ID of the incident that the policy is tested with.
    incident: IncidentId,
}

/// Shows what a policy would do about an incident if it opened now. Nothing is stored.
#[utoipa::path(tag = "Automation", security(("token" = ["operator"])), request_body = TryPolicy,
    responses((status = 200, body = Trial), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/automation/policies/{id}/try")]
async fn attempt(app: web::Data<App>, id: web::Path<String>, body: Body<TryPolicy>) -> Answer<HttpResponse> {
    let id = policy_id(&id)?;
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let trial = app
        .db
        .read(move |conn| automation::attempt(conn, &id, &body.0.incident, &sending, now))
        .await?;
    Ok(HttpResponse::Ok().json(trial))
}

/// Returns what policies did, newest first.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])), params(Paging), responses((status = 200, body = Page<Run>)))]
#[get("/automation/runs")]
async fn runs(app: web::Data<App>, params: Params<Paging>) -> Answer<HttpResponse> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<(String, i64)> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| {
            let before = before
                .as_ref()
                .map(|(incident, episode)| (incident.as_str(), *episode));
            run::list(conn, before, limit.probe())
        })
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |run| (run.incident.to_string(), run.episode))))
}

/// The run of a policy for an incident.
#[derive(Serialize, utoipa::ToSchema)]
struct IncidentAutomation {
    /// The run of the policy. Null if no policy matches the incident.
    run: Option<Run>,
    /// When the next update to the customers is due (`CANDOR_UPDATE_EVERY` after the last notice). Null if no
    /// customer was notified, or if the incident is resolved.
    update_due_at: Option<Timestamp>,
}

/// Returns what a policy did or will do about an incident.
#[utoipa::path(tag = "Automation", security(("token" = ["viewer"])), responses((status = 200, body = IncidentAutomation), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/automation")]
async fn of_incident(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = own("incident", IncidentId::parse(&id))?;
    let every = app.update_every;
    let view = app
        .db
        .read(move |conn| {
            let run = run::of_incident(conn, &id)?;
            let update_due_at = match every {
                Some(every) => overdue::due_at(conn, &id, every)?,
                None => None,
            };
            Ok(IncidentAutomation { run, update_due_at })
        })
        .await?;
    Ok(HttpResponse::Ok().json(view))
}
