//! The API for reports after an incident. A report is one text with versions for three audiences.

use actix_web::{HttpResponse, get, post, put, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::base::id::IncidentId;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Body, Params};
use crate::http::ids::own;
use crate::http::problem::{Answer, ProblemDocument};
use crate::incident::report::{self, Audience, Report, ReportInput};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(put_report).service(get_report).service(publish);
}

fn incident_id(text: &str) -> Answer<IncidentId> {
    own("incident", IncidentId::parse(text))
}

/// Writes the whole report.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])), request_body = ReportInput,
    responses((status = 200, body = Report), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[put("/incidents/{id}/report")]
async fn put_report(
    app: web::Data<App>,
    by: By,
    id: web::Path<String>,
    body: Body<ReportInput>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    Ok(HttpResponse::Ok().json(
        app.db
            .write(&by.0, move |tx| report::put(tx, &id, &body.0))
            .await?,
    ))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportParams {
    /// The audience: internal, customer or public. The default is internal.
    audience: Option<Audience>,
}

/// Returns the report for one audience.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])), params(ReportParams),
    responses((status = 200, body = Report), (status = 404, body = ProblemDocument)))]
#[get("/incidents/{id}/report")]
async fn get_report(
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<ReportParams>,
) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    let reader = params.0.audience.unwrap_or(Audience::Internal);
    Ok(HttpResponse::Ok().json(app.db.read(move |conn| report::get(conn, &id, reader)).await?))
}

/// Publishes the current public version.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])),
    responses((status = 200, body = Report), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
#[post("/incidents/{id}/report/publish")]
async fn publish(app: web::Data<App>, by: By, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = incident_id(&id)?;
    Ok(HttpResponse::Ok().json(app.db.write(&by.0, move |tx| report::publish(tx, &id)).await?))
}
