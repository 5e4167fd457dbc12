//! Requests that would change a merged incident are refused before their handler runs, so that every one of them has the same answer.
//! The pages of a merged incident can be read, and have no forms: whoever looks at them sees what a viewer sees.
//!
//! That a merged incident takes nothing new does not depend on this. The audit trail checks it for every change (`audit::lineage`).

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web;

use super::admin_page::SCOPE;
use super::auth::configured;
use super::problem::Answer;
use super::routes::PREFIX;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::db::Conn;
use crate::http::App;
use crate::incident::{self, lineage};
use crate::notice;

/// What the path of a request names.
enum Named {
    Incident(IncidentId),
    Number(i64),
    Notice(NoticeId),
    Delivery(i64),
}

/// Returns what a path names, if the request could change it. What stops emails is always possible.
fn named(path: &str) -> Option<Named> {
    let behind = path.strip_prefix(PREFIX).or_else(|| path.strip_prefix(SCOPE))?;
    let mut parts = behind.strip_prefix('/')?.split('/');
    let (what, id) = (parts.next()?, parts.next()?);
    let rest: Vec<&str> = parts.collect();
    let last = rest.last().copied().unwrap_or_default();
    match what {
        // What the public reads can always be corrected or taken back.
        "incidents" if matches!(rest.as_slice(), ["posts", _, ..]) => None,
        "incidents" if matches!(last, "merge" | "unmerge") => None,
        "incidents" => match id.parse() {
            Ok(number) => Some(Named::Number(number)),
            Err(_) => IncidentId::parse(id).ok().map(Named::Incident),
        },
        "notices" if matches!(last, "stop" | "hold") => None,
        "notices" => NoticeId::parse(id).ok().map(Named::Notice),
        "deliveries" => id.parse().ok().map(Named::Delivery),
        _ => None,
    }
}

/// Returns the incident that a request is about. `None` if it does not exist, which the handler says.
fn of(conn: &mut Conn, named: Named) -> Result<Option<IncidentId>> {
    Ok(match named {
        Named::Incident(id) => Some(id),
        Named::Number(number) => match incident::by_number(conn, number) {
            Ok(incident) => Some(incident.id),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        },
        Named::Notice(id) => notice::incident_of(conn, &id)?,
        Named::Delivery(id) => notice::incident_of_delivery(conn, id)?,
    })
}

/// Checks that the incident that a request is about is not merged.
///
/// # Errors
/// `Conflict` with the code `merged`.
pub(super) async fn check(app: &App, path: &str) -> Answer<()> {
    let Some(named) = named(path) else { return Ok(()) };
    Ok(app
        .db
        .read(move |conn| match of(conn, named)? {
            Some(incident) => lineage::check_not_merged(conn, &incident),
            None => Ok(()),
        })
        .await?)
}

/// The guard around every request below `/api/v1` that changes something.
pub(super) async fn guard(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> std::result::Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if req.method() != Method::GET
        && let Err(problem) = refuse(&req).await
    {
        return Ok(req.error_response(problem));
    }
    Ok(next.call(req).await?.map_into_boxed_body())
}

async fn refuse(req: &ServiceRequest) -> Answer<()> {
    let app: web::Data<App> = configured(req)?;
    check(&app, req.match_info().as_str()).await
}
