//! Every change of the state of one resource, with what says so.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::super::head::Reader;
use super::page::change;
use crate::directory::ResourceRef;
use crate::http::App;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::resource;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::recovery;

pub(super) async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath((name, at)): InPath<(IncidentName, ResourceRef)>,
) -> Answer<HttpResponse> {
    let mut reader = Reader::new(&app);
    let wanted = at.clone();
    let (head, changes) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let changes = recovery::history(conn, &head.incident.id, &wanted)?;
            Ok((head, changes))
        })
        .await?;
    let local = head.local(&by);
    let local = local.as_ref();
    let data = json!({
        "resource": resource(&at, None),
        "back": format!("{}/recovery", head.base()),
        // The newest first.
        "changes": changes.iter().rev().map(|one| change(one, local)).collect::<Vec<_>>(),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/recovery-history", "Recovery"),
        StatusCode::OK,
        data,
    )
}
