//! The API for reports after an incident. A report is one text with versions for three audiences.

use actix_web::{get, post, put, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::base::id::IncidentId;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::incident::report::{self, Audience, Report, ReportInput};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(put_report).service(get_report).service(publish);
}

/// Writes the whole report.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])))]
#[put("/incidents/{id}/report")]
async fn put_report(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<ReportInput>,
) -> Answer<Json<Report>> {
    Ok(Json(
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
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])), params(ReportParams))]
#[get("/incidents/{id}/report")]
async fn get_report(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ReportParams>,
) -> Answer<Json<Report>> {
    let reader = params.0.audience.unwrap_or(Audience::Internal);
    Ok(Json(
        app.db.read(move |conn| report::get(conn, &id, reader)).await?,
    ))
}

/// Publishes the current public version.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])))]
#[post("/incidents/{id}/report/publish")]
async fn publish(app: web::Data<App>, by: By, InPath(id): InPath<IncidentId>) -> Answer<Json<Report>> {
    Ok(Json(
        app.db.write(&by.0, move |tx| report::publish(tx, &id)).await?,
    ))
}
