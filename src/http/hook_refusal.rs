//! The answer to a request to a hook that does not prove who sent it.

use actix_web::HttpRequest;
use serde_json::json;

use super::problem::Problem;
use super::refusals::{Counted, RefusalKind};
use crate::alert::integration::Integration;
use crate::audit::{Action, Actor, Event};
use crate::base::error::Error;
use crate::http::App;

/// Returns the actor for an integration.
pub(super) fn actor(integration: &Integration) -> Actor {
    Actor::integration(integration.id.as_str(), &integration.name)
}

/// Records that a request was refused and returns the answer, which does not tell the reason. The first
/// refusals of an address in a minute are one event each. The others are summarised after the minute.
pub(super) async fn refuse(
    app: &App,
    req: &HttpRequest,
    integration: &Integration,
    reason: &'static str,
) -> Result<Problem, Error> {
    let id = integration.id.to_string();
    let source = app.refusals.source(req);
    let door = RefusalKind::Integration(id.clone());
    match app.refusals.count(source, door, reason, app.clock().now()) {
        Counted::Above(seconds) => return Ok(Problem::TooManyRefusals(seconds)),
        Counted::Within { record: false } => {}
        Counted::Within { record: true } => {
            let address = source.map(|source| source.to_string());
            app.db
                .write(&Actor::anonymous(), move |tx| {
                    let event = Event::new(Action::HookRefused, "integration", id);
                    tx.record(event.after(json!({"reason": reason, "address": address})));
                    Ok(())
                })
                .await?;
        }
    }
    Ok(Problem::Unproven(
        "the request does not prove that it knows the secret",
    ))
}
