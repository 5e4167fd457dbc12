//! Addresses that get no optional notices: by the link in a mail, after a hard bounce, or after a complaint.
//!
//! Must never happen here: a mandatory notice ("you are affected") that is kept from somebody by any of these.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::opt_outs as o;
use crate::directory::{address_mark, normal_address};

word_enum! {
    /// Why an address gets no optional notices.
    SuppressionReason, "a reason" {
        /// The person asked for it.
        OptedOut = "opted_out",
        /// Mails to it came back for good.
        Bounced = "bounced",
        /// The person said that a mail was spam.
        Complained = "complained",
    }
}

impl SuppressionReason {
    /// A person's own word is not replaced by what a server said.
    fn rank(self) -> u8 {
        match self {
            SuppressionReason::OptedOut => 2,
            SuppressionReason::Complained => 1,
            SuppressionReason::Bounced => 0,
        }
    }
}

/// An address that gets no optional notices, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Suppression {
    /// In the form in which two spellings of one mailbox are equal.
    pub address: String,
    /// Why.
    pub reason: SuppressionReason,
    /// Since when.
    pub at: Timestamp,
}

/// Takes the address of a delivery out of optional notices. Doing it again changes nothing.
///
/// # Errors
/// `NotFound` where there is no such delivery.
pub fn opt_out(tx: &mut Tx<'_>, delivery: i64) -> Result<()> {
    let address = normal_address(&super::get(tx.conn, delivery)?.address);
    if put(tx, &address, SuppressionReason::OptedOut)? {
        tx.record(Event::new(Action::OptedOut, "delivery", delivery.to_string()));
    }
    Ok(())
}

/// Takes an address out of optional notices, as was reported of that delivery. Answers whether that is new.
///
/// # Errors
/// What the database answers.
pub fn suppress(tx: &mut Tx<'_>, address: &str, reason: SuppressionReason, delivery: i64) -> Result<bool> {
    let changed = put(tx, address, reason)?;
    if changed {
        tx.record(
            Event::new(Action::AddressSuppressed, "delivery", delivery.to_string())
                .after(json!({"reason": reason})),
        );
    }
    Ok(changed)
}

/// Answers whether anything changed: the address is new, or its reason a stronger one.
fn put(tx: &mut Tx<'_>, address: &str, reason: SuppressionReason) -> Result<bool> {
    let added = crate::db::dialect::on_backend!(&mut *tx.conn, c => diesel::insert_into(o::table)
        .values((o::address.eq(address), o::at.eq(tx.now), o::reason.eq(reason.as_str())))
        .on_conflict(o::address)
        .do_nothing()
        .execute(c))?;
    if added > 0 {
        return Ok(true);
    }
    let stored: String = o::table.find(address).select(o::reason).first(tx.conn)?;
    if SuppressionReason::parse(&stored).map_err(Error::internal)?.rank() >= reason.rank() {
        return Ok(false);
    }
    diesel::update(o::table.find(address))
        .set((o::reason.eq(reason.as_str()), o::at.eq(tx.now)))
        .execute(tx.conn)?;
    Ok(true)
}

/// Suppressed addresses, in their order, after the given one.
///
/// # Errors
/// What the database answers.
pub fn list(
    conn: &mut Conn,
    reason: Option<SuppressionReason>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Suppression>> {
    let mut query = o::table.into_boxed::<crate::db::Backend>();
    if let Some(reason) = reason {
        query = query.filter(o::reason.eq(reason.as_str()));
    }
    let rows: Vec<(String, Timestamp, String)> = query
        .filter(o::address.gt(after.unwrap_or("")))
        .order(o::address)
        .limit(limit)
        .load(conn)?;
    rows.into_iter()
        .map(|(address, at, reason)| {
            Ok(Suppression {
                address,
                reason: SuppressionReason::parse(&reason).map_err(Error::internal)?,
                at,
            })
        })
        .collect()
}

/// Lets an address have optional notices again.
///
/// # Errors
/// `NotFound` where it is not suppressed.
pub fn lift(tx: &mut Tx<'_>, address: &str) -> Result<()> {
    let address = normal_address(address);
    let missing = || Error::NotFound("a suppression of this address".to_owned());
    let stored: Option<String> = o::table
        .find(&address)
        .select(o::reason)
        .first(tx.conn)
        .optional()?;
    let reason = stored.ok_or_else(missing)?;
    if diesel::delete(o::table.find(&address)).execute(tx.conn)? == 0 {
        return Err(missing());
    }
    tx.record(
        Event::new(Action::SuppressionLifted, "address", address_mark(&address))
            .before(json!({"reason": reason})),
    );
    Ok(())
}
