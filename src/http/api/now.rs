//! The API for what goes on now.

use actix_web::{get, web};

use crate::http::App;
use crate::http::extract::Json;
use crate::http::now::{CachedNumbers, settings};
use crate::http::problem::Answer;
use crate::now::{self, Now};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(show);
}

/// Returns what goes on now: what is wrong with Candor itself, what will be sent by itself, what needs a person, the open
/// incidents, what is being sent, and what was resolved lately.
#[utoipa::path(tag = "Now", security(("token" = ["viewer"])))]
#[get("/now")]
async fn show(app: web::Data<App>) -> Answer<Json<Now>> {
    let (settings, mut numbers) = (settings(&app), CachedNumbers::new(&app));
    let now = app
        .db
        .read(move |conn| now::read(conn, &settings, &mut numbers))
        .await?;
    Ok(Json(now))
}
