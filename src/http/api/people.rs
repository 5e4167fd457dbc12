//! The API to correct the address of a person, and to send what did not arrive at the old one.

use actix_web::{get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::{ExternalId, IncidentId};
use crate::feedback::corrected_address::{self, CorrectAddress, Corrected, NotArrived};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::notice;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(list).service(correct_address);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NotArrivedParams {
    /// An incident whose last notice counts too if there was no address to send it to.
    incident: Option<IncidentId>,
}

/// The notices that did not arrive.
#[derive(Serialize, utoipa::ToSchema)]
struct NotArrivedList {
    /// The notices, oldest first. They are few: at most one for each incident and phase.
    items: Vec<NotArrived>,
}

/// Returns the notices that did not arrive at a person: of open incidents, and the last ones of incidents that ended in the last seven
/// days.
#[utoipa::path(tag = "Directory", security(("token" = ["viewer"])), params(NotArrivedParams))]
#[get("/people/{person}/not-arrived")]
async fn list(
    app: web::Data<App>,
    InPath(id): InPath<ExternalId>,
    params: Params<NotArrivedParams>,
) -> Answer<Json<NotArrivedList>> {
    let (now, incident) = (app.clock().now(), params.0.incident);
    let items = app
        .db
        .read(move |conn| corrected_address::not_arrived(conn, id.as_str(), incident.as_ref(), now))
        .await?;
    Ok(Json(NotArrivedList { items }))
}

/// Stores another address of a person, lifts its suppression after a bounce, and sends the named notices to it. A notice that would go
/// to other people too stays a draft.
#[utoipa::path(tag = "Directory", security(("token" = ["operator"])), params(NotArrivedParams))]
#[post("/people/{person}/correct-address")]
async fn correct_address(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ExternalId>,
    params: Params<NotArrivedParams>,
    body: Json<CorrectAddress>,
) -> Answer<Json<Corrected>> {
    Ok(Json(correct(&app, &by.0, id, body.0, params.0.incident).await?))
}

/// Corrects the address, and tells the workers what is to be sent.
///
/// # Errors
/// The errors of [`corrected_address::correct`].
pub async fn correct(
    app: &App,
    by: &Actor,
    id: ExternalId,
    new: CorrectAddress,
    incident: Option<IncidentId>,
) -> Result<Corrected> {
    let (sending, lifetime) = (app.sending.clone(), app.lifetime);
    let (corrected, stopped) = app
        .db
        .write(by, move |tx| {
            let corrected = corrected_address::correct(tx, &id, &new, incident.as_ref(), lifetime, &sending)?;
            let mut stopped = Vec::new();
            for one in corrected.sent.iter().filter(|one| one.by != one.notice) {
                stopped.extend(notice::stopped_before(tx.conn, &one.by)?);
            }
            Ok((corrected, stopped))
        })
        .await?;
    for resolution in stopped {
        app.wake.stopped(resolution);
    }
    app.wake.due();
    Ok(corrected)
}
