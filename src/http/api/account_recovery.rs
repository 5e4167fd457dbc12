//! The API for the recovery of one account, in all open incidents.

use std::collections::HashMap;

use actix_web::{get, web};
use serde::Serialize;

use crate::base::error::Result;
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::account;
use crate::http::App;
use crate::http::audience_cache::{AudienceCache, Cached};
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::incident::{self, Severity, Status};
use crate::notice::{self, OfAccount};

/// The number of the newest open incidents that are looked at.
const INCIDENTS: i64 = 50;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(show);
}

/// How far the recovery of an account is in one incident.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct AccountIncident {
    /// The ID of the incident.
    pub incident: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident, for the people who work on it. Customers do not see it.
    pub title: String,
    /// The severity of the incident: `critical`, `major` or `minor`.
    pub severity: Severity,
    /// The state of the work.
    pub status: Status,
    /// When customers began to be affected.
    pub started_at: Timestamp,
    /// The numbers of the account's resources and people in this incident.
    #[serde(flatten)]
    pub of: OfAccount,
}

/// The recovery of an account.
#[derive(Serialize, utoipa::ToSchema)]
struct AccountRecoveryPage {
    /// The open incidents that affect the account and have recovery states, newest first. Of more than 50 such incidents, the newest 50 are
    /// looked at.
    items: Vec<AccountIncident>,
    /// Always null, because all incidents are on one page.
    next_cursor: Option<String>,
}

/// Returns how far the recovery of each account is in an incident, from the cache if nothing has changed since.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub(in crate::http) fn by_account(
    conn: &mut Conn,
    cache: &AudienceCache,
    incident: &IncidentId,
    now: Timestamp,
) -> Result<Cached<HashMap<String, OfAccount>>> {
    cache.get_or_compute(conn, incident, "recovery of accounts", now, |conn| {
        notice::by_account(conn, incident)
    })
}

/// Returns how far the recovery of an account is in the open incidents that affect it.
///
/// # Errors
/// An error of the database.
pub(in crate::http) fn of_account(
    conn: &mut Conn,
    cache: &AudienceCache,
    account: &str,
    now: Timestamp,
) -> Result<Vec<AccountIncident>> {
    let mut items = Vec::new();
    for id in notice::incidents_in_recovery(conn, INCIDENTS)? {
        let accounts = by_account(conn, cache, &id, now)?;
        let accounts: &HashMap<String, OfAccount> = &accounts.value;
        let Some(of) = accounts.get(account) else {
            continue;
        };
        let incident = incident::get(conn, &id)?;
        items.push(AccountIncident {
            incident: incident.id,
            number: incident.number,
            title: incident.title,
            severity: incident.severity,
            status: incident.status,
            started_at: incident.started_at,
            of: *of,
        });
    }
    Ok(items)
}

/// Returns how far the recovery of the resources of an account is, in each open incident that affects it.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])))]
#[get("/accounts/{account}/recovery")]
async fn show(app: web::Data<App>, InPath(id): InPath<ExternalId>) -> Answer<Json<AccountRecoveryPage>> {
    let (cache, now) = (app.audience_cache.clone(), app.clock().now());
    let items = app
        .db
        .read(move |conn| {
            account::get(conn, id.as_str())?;
            of_account(conn, &cache, id.as_str(), now)
        })
        .await?;
    Ok(Json(AccountRecoveryPage {
        items,
        next_cursor: None,
    }))
}
