//! The API for evidence: one file about an incident that can be verified without Candor.

use std::io::Read as _;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, get, web};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::evidence::{self, Exported, Request};
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::auth::By;
use crate::http::extract::Params;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(export);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EvidenceParams {
    /// Only what concerns the person with this ID. The file contains nothing about anybody else.
    person: Option<String>,
    /// Only what concerns the members and the systems of the account with this ID. The file contains nothing about other customers.
    account: Option<String>,
}

/// Returns the evidence about an incident as one zip, which anybody can verify without Candor.
///
/// It contains a page to read, the data, the emails as they were sent, and the audit events with the proofs.
/// `candor audit verify --evidence FILE` verifies it.
///
/// The audit trail records that the file was made, with the hash of its manifest. The emails contain the links of their recipients:
/// whoever has them can answer and unsubscribe for the recipients.
#[utoipa::path(tag = "Evidence", security(("token" = ["operator"])), params(EvidenceParams),
    responses((status = 200, description = "The files of the evidence", content_type = "application/zip")))]
#[get("/incidents/{id}/evidence")]
async fn export(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    params: Params<EvidenceParams>,
) -> Answer<Declared> {
    let EvidenceParams { person, account } = params.0;
    let request = Request {
        incident: id,
        person,
        account,
    };
    Ok(Declared(answer(made(&app, &by.0, request).await?)))
}

/// Makes a file of evidence.
///
/// # Errors
/// The errors of [`evidence::export`].
pub(in crate::http) async fn made(app: &App, by: &Actor, request: Request) -> Result<Exported> {
    evidence::export(&app.db, by, request, &app.authorities.key, &app.sending).await
}

/// The number of bytes that are read at once.
const PART: usize = 64 * 1024;

/// Answers with a file of evidence, without holding it in memory.
pub(in crate::http) fn answer(exported: Exported) -> HttpResponse {
    let Exported { file, bytes, name } = exported;
    let parts = stream::try_unfold(file, move |mut file| async move {
        let read = web::block(move || {
            let mut part = vec![0_u8; PART];
            let count = file.read(&mut part)?;
            part.truncate(count);
            Ok::<_, std::io::Error>((part, file))
        });
        let (part, file) = read.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>((!part.is_empty()).then(|| (web::Bytes::from(part), file)))
    });
    HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .no_chunking(bytes)
        .streaming(Box::pin(parts))
}
