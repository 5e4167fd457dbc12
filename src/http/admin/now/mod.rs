//! `/admin`: what goes on now. It shows what `GET /api/v1/now` returns.
//!
//! Each row that needs a person has one button, which leads to the page where it is done.

mod rows;
mod urgent;

use actix_web::{HttpResponse, web};
use serde_json::json;

pub(super) use rows::{open_row, rounded};
pub(super) use urgent::{Deed, automatic, deed, next_thing, sentence, write_path};

use super::done::done;
use super::filled::Filled;
use super::frame::Frame;
use super::incident_forms::find;
use super::signed_in::SignedIn;
use super::view::{count, grouped};
use crate::auth::Role;
use crate::automation;
use crate::base::error::Error;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::now::{CachedNumbers, settings};
use crate::http::problem::Answer;
use crate::now;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("", Role::Viewer, show)
        .does(&["GET /api/v1/now"])
        .send("/incidents/{id}/automation/hold", Role::Operator, hold)
        .does(&["POST /api/v1/incidents/{id}/automation/hold"])
        .send("/incidents/{id}/automation/release", Role::Operator, release)
        .does(&["POST /api/v1/incidents/{id}/automation/release"]);
}

/// The seconds between two refreshes, and while something is sent.
const LIVE: u32 = 5;
const LIVE_SENDING: u32 = 2;

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let (settings, mut numbers) = (settings(&app), CachedNumbers::new(&app));
    let now = app
        .db
        .read(move |conn| now::read(conn, &settings, &mut numbers))
        .await?;
    let may = by.0.role.covers(Role::Operator);
    let live = if now.sending.is_empty() {
        LIVE
    } else {
        LIVE_SENDING
    };
    let needs: Vec<_> = now.needs.iter().map(|need| urgent::need(need, may)).collect();
    let quiet = now.faults.is_empty()
        && now.automatic.is_empty()
        && now.needs.is_empty()
        && now.open.is_empty()
        && now.sending.is_empty();
    let mut frame = Frame::new(&app, &by, "Now", "Now").live(Some(live));
    if let Some(first) = needs.first()
        && let (Some(label), Some(path)) = (first["first"].as_str(), first["path"].as_str())
    {
        frame = frame.primary(label, path);
    }
    app.pages.answer(
        "admin/now",
        &json!({
            "page": frame,
            "may_change": may,
            "quiet": quiet,
            "faults": now.faults.iter().map(|fault| urgent::fault(fault, by.0.role)).collect::<Vec<_>>(),
            "automatic": now.automatic.iter().map(|one| urgent::automatic(one, may)).collect::<Vec<_>>(),
            "needs": needs,
            "more_needs": (now.more_needs > 0).then(|| count(now.more_needs, "further task is", "further tasks are")),
            "not_examined": (now.not_examined > 0).then(|| {
                count(number(now.not_examined), "more incident is", "more incidents are")
            }),
            "more_resolved": (now.more_resolved > 0).then(|| grouped(now.more_resolved)),
            "open": now.open.iter().map(|one| open_row(one, now.at, app.outbox)).collect::<Vec<_>>(),
            "more_open": now.more_open,
            "sending": now.sending.iter().map(|one| rows::sending(one, may)).collect::<Vec<_>>(),
            "resolved": now.resolved.iter().map(rows::named).collect::<Vec<_>>(),
            "newest": now.newest.as_ref().map(rows::named),
            "alike": now.alike.iter().filter(|_| may).map(super::alike::proposal).collect::<Vec<_>>(),
            "at": super::view::When::utc(now.at),
        }),
    )
}

fn number(n: i64) -> usize {
    usize::try_from(n).unwrap_or_default()
}

async fn hold(app: web::Data<App>, sent: Filled, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    change(&app, sent, name, true).await
}

async fn release(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    change(&app, sent, name, false).await
}

/// Holds or releases, and goes back to the page with the form: `now`, or the page of the incident.
async fn change(app: &App, mut sent: Filled, name: IncidentName, hold: bool) -> Answer<HttpResponse> {
    let from = sent.fields.take("from");
    let actor = sent.actor();
    sent.fields.finish()?;
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let id = incident.id.clone();
    let changed = app
        .db
        .write(&actor, move |tx| match hold {
            true => automation::hold(tx, &id),
            false => automation::release(tx, &id),
        })
        .await;
    let back = match from.as_str() {
        "incident" => format!("/admin/incidents/{}", incident.number),
        _ => "/admin".to_owned(),
    };
    let message = match changed {
        Ok(run) if hold => format!(
            "Policy “{}” is held. It does nothing until somebody releases it.",
            run.policy_name
        ),
        Ok(run) => format!("Policy “{}” is released.", run.policy_name),
        // Somebody was faster, or the policy has acted. The page shows the present state.
        Err(error) => match error.coded().0 {
            Error::Conflict(detail) => format!("Nothing was changed: {detail}."),
            _ => return Err(error.into()),
        },
    };
    Ok(done(app, &back, &message))
}
