//! The report of an incident, for each of its audiences.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::head::Reader;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin::incident_report;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/incidents/{id}/report", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/report"]);
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let mut reader = Reader::new(&app);
    let (head, reports) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let reports = incident_report::versions(conn, &head.incident)?;
            Ok((head, reports))
        })
        .await?;
    let report = incident_report::section(&head.incident, &reports, head.local(&by).as_ref());
    let data = json!({"report": report});
    head.page(
        &app,
        &by,
        ("admin/incident/report-tab", "Report"),
        StatusCode::OK,
        data,
    )
}
