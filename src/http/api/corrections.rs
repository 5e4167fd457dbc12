//! The API for the correction of a notice that reached the wrong people.

use actix_web::{post, web};
use serde::Deserialize;

use crate::base::id::NoticeId;
use crate::http::App;
use crate::http::answer::Created;
use crate::http::auth::By;
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::notice::{Notice, correct};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(draft_correction);
}

/// What the correction of a notice says.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCorrection {
    /// The message in plain text. Empty lines separate paragraphs. Without it, Candor writes one.
    #[serde(default)]
    message: Option<String>,
}

/// Drafts the correction of a notice that was sent or stopped. It is for the people whom the notice reached and whom the incident
/// does not affect now. Nothing is sent.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])), responses((status = 409)))]
#[post("/notices/{id}/correction")]
async fn draft_correction(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<NoticeId>,
    body: Json<NewCorrection>,
) -> Answer<Created<Notice>> {
    let own = app.sending.language;
    let notice = app
        .db
        .write(&by.0, move |tx| {
            correct::correct(tx, &id, body.0.message.as_deref(), own)
        })
        .await?;
    Ok(Created(notice))
}
