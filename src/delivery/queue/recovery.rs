//! Stores what a dead worker sent and did not store. It reads the outcome records of this worker.
//!
//! A record counts only for the claim that it was written for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use diesel::dsl::{exists, not};
use diesel::prelude::*;

use super::finish::{Finish, Handover, finish, note_first_notified};
use crate::audit::Tx;
use crate::base::error::Result;
use crate::db::Conn;
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{deliveries as d, delivery_receipts as dr};
use crate::delivery::outcome_record::OutcomeRecord;
use crate::delivery::task::Claimed;
use crate::notice::delivery_state::{Changes, DeliveryState};

/// Looks at due deliveries whose lease has ended. If their dead worker left an outcome record, this stores
/// the outcome and removes the delivery from `due`.
pub(super) fn settle_left_behind(
    tx: &mut Tx<'_>,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    due: &mut Vec<dialect::Due>,
) -> Result<()> {
    let leases: HashSet<&str> = due.iter().filter_map(|row| row.lease.as_deref()).collect();
    if leases.is_empty() {
        return Ok(());
    }
    let bodies: Vec<String> = dr::table
        .filter(dr::lease.eq_any(leases))
        .select(dr::body)
        .load(tx.conn)?;
    let mut records: HashMap<(i64, i64), OutcomeRecord> = HashMap::new();
    for body in bodies {
        for record in serde_json::from_str::<Vec<OutcomeRecord>>(&body)? {
            records.insert((record.delivery, record.attempt), record);
        }
    }
    let mut left: Vec<OutcomeRecord> = Vec::new();
    due.retain(|row| {
        let record = records
            .get(&(row.id, row.attempt))
            .filter(|record| Some(&record.lease) == row.lease.as_ref());
        left.extend(record.cloned());
        record.is_none()
    });
    settle(tx, schedules, left)?;
    Ok(())
}

/// Stores the outcomes of records, each for the claim that it was written for. Returns how many there were.
///
/// # Errors
/// An error of the database.
pub fn settle(
    tx: &mut Tx<'_>,
    schedules: &HashMap<&'static str, Vec<Duration>>,
    records: Vec<OutcomeRecord>,
) -> Result<usize> {
    let mut by_lease: BTreeMap<String, Vec<OutcomeRecord>> = BTreeMap::new();
    for record in records {
        by_lease.entry(record.lease.clone()).or_default().push(record);
    }
    let mut groups: Vec<(String, Vec<(Claimed, Finish)>)> = Vec::new();
    for (lease, records) in by_lease {
        let ids: Vec<i64> = records.iter().map(|record| record.delivery).collect();
        let mut held: HashMap<(i64, i64), Claimed> = dialect::held(tx.conn, &ids, &lease)?
            .into_iter()
            .map(|claimed| ((claimed.id, claimed.attempt), claimed))
            .collect();
        let group: Vec<(Claimed, Finish)> = records
            .into_iter()
            .filter_map(|record| {
                let claimed = held.remove(&(record.delivery, record.attempt))?;
                let handover = Handover {
                    mail: record.mail,
                    relay: record.relay.map(Into::into),
                };
                Some((claimed, Finish::Attempt(record.outcome, handover)))
            })
            .collect();
        groups.push((lease, group));
    }
    note_first_notified(tx, groups.iter().flat_map(|(_, group)| group))?;
    let mut settled = 0;
    let mut changes = Changes::default();
    for (lease, group) in groups.iter().filter(|(_, group)| !group.is_empty()) {
        settled += group.len();
        finish(tx, lease, schedules, group, &mut changes)?;
    }
    changes.store(tx.conn)?;
    Ok(settled)
}

/// Writes outcome records. Writing the same row again changes nothing.
///
/// # Errors
/// An error of the database.
pub fn write_records(conn: &mut Conn, lease: &str, row: i64, body: &str) -> Result<()> {
    on_backend!(conn, c => diesel::insert_into(dr::table)
        .values((dr::lease.eq(lease), dr::seq.eq(row), dr::body.eq(body)))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Removes the outcome records of workers that have no claims any more, and returns how many rows it removed.
/// Such a worker died, and other workers have stored its outcomes. A live worker removes its own rows.
///
/// This is one statement, so it sees one moment: whoever sees a record also sees the claim that it belongs to.
///
/// # Errors
/// An error of the database.
pub fn clear_records(conn: &mut Conn) -> Result<usize> {
    let claimed = d::table
        .filter(d::state.eq(DeliveryState::Pending))
        .filter(d::lease.eq(dr::lease.nullable()));
    Ok(diesel::delete(dr::table.filter(not(exists(claimed)))).execute(conn)?)
}
