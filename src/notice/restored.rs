//! How far the recovery of each person and of each account is, and who was told of it.

use std::collections::{HashMap, HashSet};

use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;

use super::overview::Overview;
use super::relapses::{Impaired, is_complete};
use crate::audience::{Addressee, At, Progress};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::db::schema::{incidents as i, recovery_states as s};
use crate::incident::{OPEN, recovery};

/// How far the recovery of a person is, and what the person was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restoration {
    /// Something of the person is not restored.
    Impaired,
    /// The person was told that everything is restored, and something is impaired again.
    Relapsed,
    /// The same, and a notice after it told the person that the incident affects the person.
    RelapsedAndTold,
    /// Everything of the person is restored, and the person was not told so.
    Restored,
    /// Everything of the person is restored, and the person was told so.
    RestoredAndTold,
}

/// The restoration of the people of an overview.
pub struct Restorations {
    impaired: Impaired,
}

impl Restorations {
    /// Reads what became impaired since people of the overview were told that everything is restored.
    ///
    /// # Errors
    /// An error of the database.
    pub fn read(conn: &mut Conn, incident: &IncidentId, overview: &Overview) -> Result<Restorations> {
        let first = overview
            .reached
            .values()
            .filter_map(|reached| reached.told_restored)
            .min();
        Ok(Restorations {
            impaired: Impaired::since(conn, incident, first)?,
        })
    }

    /// Returns the restoration of a person. `None` if the incident has no recovery states, or affects no resource of the person.
    pub fn of(&self, overview: &Overview, addressee: &Addressee) -> Option<Restoration> {
        addressee.reasons.progress()?;
        let reached = overview.reached.get(&addressee.person.id);
        let told = reached.and_then(|reached| reached.told_restored);
        let since = told.filter(|at| !self.impaired.is_any_after(&addressee.reasons, *at));
        Some(match (is_complete(addressee), told, since) {
            (true, _, Some(_)) => Restoration::RestoredAndTold,
            (true, ..) => Restoration::Restored,
            (false, Some(told), _) => match reached.and_then(|reached| reached.told_affected) {
                Some(affected) if affected > told => Restoration::RelapsedAndTold,
                _ => Restoration::Relapsed,
            },
            (false, None, _) => Restoration::Impaired,
        })
    }
}

/// How far the recovery of an account is in one incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AccountRestoration)]
pub struct OfAccount {
    /// The numbers of its affected resources.
    #[serde(flatten)]
    pub progress: Progress,
    /// The number of people whom the incident affects through the account.
    pub people: i64,
    /// The number of them whom a notice told that all of their resources are restored, and who have none that is impaired since.
    pub notified: i64,
}

/// Returns how far the recovery of each account is, by the ID of the account. Empty if the incident has no recovery states.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn by_account(conn: &mut Conn, incident: &IncidentId) -> Result<HashMap<String, OfAccount>> {
    if !recovery::in_use(conn, incident)? {
        return Ok(HashMap::new());
    }
    let overview = Overview::read(conn, incident, At::Now)?;
    let restorations = Restorations::read(conn, incident, &overview)?;
    let mut found: HashMap<String, OfAccount> = overview
        .audience
        .progress_of_accounts()
        .into_iter()
        .map(|(account, progress)| {
            let of = OfAccount {
                progress,
                ..OfAccount::default()
            };
            (account, of)
        })
        .collect();
    for addressee in &overview.audience.people {
        let told = restorations.of(&overview, addressee) == Some(Restoration::RestoredAndTold);
        let accounts: HashSet<&str> = addressee.reasons.accounts().map(|account| &**account).collect();
        for account in accounts {
            if let Some(of) = found.get_mut(account) {
                of.people += 1;
                of.notified += i64::from(told);
            }
        }
    }
    Ok(found)
}

/// Returns the newest open incidents with recovery states.
///
/// # Errors
/// An error of the database.
pub fn incidents_in_recovery(conn: &mut Conn, limit: i64) -> Result<Vec<IncidentId>> {
    Ok(i::table
        .filter(sql::<Bool>(OPEN))
        .filter(exists(s::table.filter(s::incident_id.eq(i::id))))
        .order(i::number.desc())
        .limit(limit)
        .select(i::id)
        .load(conn)?)
}
