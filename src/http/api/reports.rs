//! The API for reports after an incident. A report is one text with versions for three audiences.

use actix_web::{HttpResponse, get, post, put, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::id::IncidentId;
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::auth::By;
use crate::http::extract::{Json, OptionalJson, Params};
use crate::http::ids::{InPath, VersionNumber};
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::pages::report_file;
use crate::http::problem::Answer;
use crate::incident;
use crate::incident::report::{
    self, Audience, Publish, Report, ReportDiff, ReportInput, ReportVersion, Section,
};
use crate::incident::reports_due::{self, ReportsDue};
use crate::notice::report_draft;
use crate::operators::report::{self as own_report, MailReport, MailedReports};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(put_report)
        .service(get_report)
        .service(publish)
        .service(unpublish)
        .service(due)
        .service(draft)
        .service(versions)
        .service(one_version)
        .service(diff)
        .service(mail);
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

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum ReportFormat {
    /// JSON, with the sections.
    #[default]
    Json,
    /// Markdown, as one text with the title and the sections.
    Md,
    /// One HTML file that needs nothing else, to be printed or passed on.
    Html,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportParams {
    /// The audience: internal, customer or public. The default is internal.
    audience: Option<Audience>,
    /// The format: json, md or html. The default is json.
    #[serde(default)]
    #[param(inline)]
    format: ReportFormat,
}

/// Returns the report for one audience, as JSON, as Markdown or as an HTML file.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])), params(ReportParams),
    responses((status = 200, content((Report = "application/json"), (String = "text/markdown"), (String = "text/html")))))]
#[get("/incidents/{id}/report")]
async fn get_report(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ReportParams>,
) -> Answer<Declared> {
    let reader = params.0.audience.unwrap_or(Audience::Internal);
    Ok(Declared(as_format(&app, id, reader, params.0.format).await?))
}

/// Returns the report of an incident for an audience in a format.
///
/// # Errors
/// `NotFound` if the incident does not exist or has no report.
pub(in crate::http) async fn as_format(
    app: &App,
    id: IncidentId,
    reader: Audience,
    format: ReportFormat,
) -> Answer<HttpResponse> {
    let (report, incident) = app
        .db
        .read(move |conn| Ok((report::get(conn, &id, reader)?, incident::get(conn, &id)?)))
        .await?;
    let company = &app.company();
    let name = format!("report-{}-{}", incident.number, reader.as_str());
    Ok(match format {
        ReportFormat::Json => HttpResponse::Ok().json(report),
        ReportFormat::Md => HttpResponse::Ok()
            .content_type("text/markdown; charset=utf-8")
            .insert_header((
                "content-disposition",
                format!("attachment; filename=\"{name}.md\""),
            ))
            .body(report::markdown(&report, &incident, company)),
        ReportFormat::Html => report_file(&name, report::html(&report, &incident, company)),
    })
}

/// Publishes the current public version. A note says what is corrected, if a report that was published before contained a mistake.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])), request_body = Option<Publish>)]
#[post("/incidents/{id}/report/publish")]
async fn publish(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: OptionalJson<Publish>,
) -> Answer<Json<Report>> {
    let report = app
        .db
        .write(&by.0, move |tx| own_report::publish(tx, &id, &body.0))
        .await?;
    Ok(Json(report))
}

/// Takes the published version back. The report itself stays, and can be published again.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])))]
#[post("/incidents/{id}/report/unpublish")]
async fn unpublish(app: web::Data<App>, by: By, InPath(id): InPath<IncidentId>) -> Answer<Json<Report>> {
    Ok(Json(
        app.db.write(&by.0, move |tx| report::unpublish(tx, &id)).await?,
    ))
}

/// Returns the reports that are left to do: written and not published, or not written at all.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])))]
#[get("/reports/due")]
async fn due(app: web::Data<App>) -> Answer<Json<ReportsDue>> {
    let now = app.clock().now();
    Ok(Json(app.db.read(move |conn| reports_due::read(conn, now)).await?))
}

/// A report that is prefilled from the record of an incident. It has the form in which a report is written.
#[derive(Serialize, utoipa::ToSchema)]
struct ReportDraft {
    /// The title of the report, which is the headline of the incident. Without a headline, it is the title of the incident.
    title: String,
    /// The sections. What the record does not know is empty.
    sections: Vec<Section>,
}

/// Returns a report that is prefilled from the record: the impact, the timeline, the detection and the action items. Nothing is stored.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/report/draft")]
async fn draft(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Json<ReportDraft>> {
    let ReportInput { title, sections } = app
        .db
        .read(move |conn| report_draft::prefilled(conn, &id))
        .await?;
    Ok(Json(ReportDraft { title, sections }))
}

/// Returns the versions of the report, newest first.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])), params(Paging))]
#[get("/incidents/{id}/report/versions")]
async fn versions(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<Paging>,
) -> Answer<Json<Page<ReportVersion>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| report::list(conn, &id, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.number)))
}

/// Returns one version of the report, with all its sections.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])))]
#[get("/incidents/{id}/report/versions/{version}")]
async fn one_version(
    app: web::Data<App>,
    InPath((id, number)): InPath<(IncidentId, VersionNumber)>,
) -> Answer<Json<ReportVersion>> {
    let version = app
        .db
        .read(move |conn| report::version(conn, &id, number.0))
        .await?;
    Ok(Json(version))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffParams {
    /// The number of the earlier version.
    from: i64,
    /// The number of the later version.
    to: i64,
}

/// Returns the difference between two versions of the report, line by line.
#[utoipa::path(tag = "Reports", security(("token" = ["viewer"])), params(DiffParams))]
#[get("/incidents/{id}/report/diff")]
async fn diff(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<DiffParams>,
) -> Answer<Json<ReportDiff>> {
    let DiffParams { from, to } = params.0;
    let found = app.db.read(move |conn| report::diff(conn, &id, from, to)).await?;
    Ok(Json(found))
}

/// Emails the internal report to addresses of our own side. It never goes to a customer.
#[utoipa::path(tag = "Reports", security(("token" = ["operator"])))]
#[post("/incidents/{id}/report/mail")]
async fn mail(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<MailReport>,
) -> Answer<Json<MailedReports>> {
    let sending = app.sending.clone();
    let outgoing = app
        .db
        .write(&by.0, move |tx| own_report::begin(tx, &id, &body.0, &sending))
        .await?;
    Ok(Json(
        own_report::send(&app.mailer, &outgoing, app.clock().now()).await?,
    ))
}
