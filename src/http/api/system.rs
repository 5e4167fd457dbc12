//! The API for the state of Candor itself.

use actix_web::{get, web};

use crate::base::error::Error;
use crate::http::App;
use crate::http::extract::Json;
use crate::http::metrics::ready;
use crate::http::problem::{Answer, Problem};
use crate::system::{self, Health, Process, System};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(read);
}

/// Returns the state of Candor: version, database, queue, mail server, background work and sizes. The sizes are approximate, and what
/// is said about the mail server and the services is what this process knows.
#[utoipa::path(tag = "Operation", security(("token" = ["admin"])))]
#[get("/system")]
async fn read(app: web::Data<App>) -> Answer<Json<System>> {
    Ok(Json(state(&app).await?))
}

/// Returns the state of Candor, for the API and the page.
///
/// # Errors
/// An error of the database.
pub(in crate::http) async fn state(app: &App) -> Result<System, Error> {
    let health = match ready(app).await {
        Ok(_) => Health {
            ready: true,
            reason: None,
        },
        Err(problem) => Health {
            ready: false,
            reason: Some(match problem {
                Problem::Domain(Error::Unavailable(reason)) => reason,
                _ => "the state cannot be determined; the log says why".to_owned(),
            }),
        },
    };
    let process = Process {
        started_at: app.started_at,
        delivers: app.delivers,
        health,
        relays: app
            .relays
            .as_ref()
            .map(crate::delivery::smtp::Relays::standing)
            .unwrap_or_default(),
        services: app.work_stats.standing(),
        kept: app.kept,
        backups: app.backup_settings.clone(),
    };
    let (url, now) = (app.db.url().clone(), app.clock().now());
    app.db
        .read(move |conn| system::read(conn, &url, process, now))
        .await
}
