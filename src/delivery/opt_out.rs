//! The addresses that get no optional notices, because the recipient used the link in an email, because of a
//! permanent bounce, or because of a complaint.
//!
//! A mandatory notice is always sent, also to these addresses.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::opt_outs as o;
use crate::directory::erased::{MarkOf, Marks, is_placeholder};
use crate::directory::{normal_address, person};

word_enum! {
    /// Why an address gets no optional notices.
    SuppressionReason, "a reason" {
        /// The person unsubscribed by the link in an email or at the provider.
        OptedOut = "opted_out",
        /// An email to the address bounced permanently.
        Bounced = "bounced",
        /// The person reported an email as spam.
        Complained = "complained",
    }
}

impl SuppressionReason {
    /// Returns the priority of a reason. A reason that the person gave is not replaced by one that a server
    /// gave.
    fn rank(self) -> u8 {
        match self {
            SuppressionReason::OptedOut => 2,
            SuppressionReason::Complained => 1,
            SuppressionReason::Bounced => 0,
        }
    }
}

/// An address that gets no optional notices, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Suppression {
    /// The email address in its normal form, in which all spellings of one mailbox are equal.
    pub address: String,
    /// Why the address gets no optional notices.
    pub reason: SuppressionReason,
    /// When the address was suppressed.
    pub at: Timestamp,
}

/// Returns the address of a delivery in its normal form. If the email is so old that its address was removed, it is the present address
/// of the person. `None` if the person was erased.
fn address_of(conn: &mut Conn, delivery: i64) -> Result<Option<String>> {
    let delivery = super::get(conn, delivery)?;
    if !is_placeholder(&delivery.address) {
        return Ok(Some(normal_address(&delivery.address)));
    }
    let person = match &delivery.person {
        Some(recipient) => person::among(conn, &[recipient.id.as_str()])?.remove(&recipient.id),
        None => None,
    };
    Ok(person
        .map(|person| normal_address(&person.email))
        .filter(|address| !address.is_empty()))
}

/// Suppresses the address of a delivery. Calling it again changes nothing.
///
/// # Errors
/// `NotFound` if the delivery does not exist.
pub fn opt_out(tx: &mut Tx<'_>, delivery: i64) -> Result<()> {
    let Some(address) = address_of(tx.conn, delivery)? else {
        return Ok(());
    };
    if put(tx, &address, SuppressionReason::OptedOut)? {
        tx.record(Event::new(Action::OptedOut, "delivery", delivery.to_string()));
    }
    Ok(())
}

/// Lets the address of a delivery get optional notices again, if its person opted out. Calling it again changes nothing. An
/// address that bounced, or whose person reported an email as spam, stays suppressed until an operator lifts it.
///
/// # Errors
/// `NotFound` if the delivery does not exist.
pub fn opt_in(tx: &mut Tx<'_>, delivery: i64) -> Result<()> {
    let Some(address) = address_of(tx.conn, delivery)? else {
        return Ok(());
    };
    let lifted = diesel::delete(
        o::table
            .find(&address)
            .filter(o::reason.eq(SuppressionReason::OptedOut.as_str())),
    )
    .execute(tx.conn)?;
    if lifted > 0 {
        tx.record(
            Event::new(Action::OptedIn, "delivery", delivery.to_string())
                .before(json!({"reason": SuppressionReason::OptedOut})),
        );
    }
    Ok(())
}

/// Sets whether a person gets optional notices at their present address. An address that bounced, or whose person reported an email as
/// spam, stays suppressed until an operator lifts it.
///
/// # Errors
/// `NotFound` if the person does not exist.
pub fn choose(tx: &mut Tx<'_>, person: &str, wants: bool) -> Result<()> {
    let address = normal_address(&person::get(tx.conn, person)?.email);
    if address.is_empty() {
        return Ok(());
    }
    let stored = of(tx.conn, &address)?.map(|one| one.reason);
    match (wants, stored) {
        (false, None) => {
            put(tx, &address, SuppressionReason::OptedOut)?;
            tx.record(Event::new(Action::OptedOut, "person", person));
        }
        // The time of the last choice counts.
        (false, Some(SuppressionReason::OptedOut)) => {
            put(tx, &address, SuppressionReason::OptedOut)?;
        }
        (true, Some(SuppressionReason::OptedOut)) => {
            diesel::delete(o::table.find(&address)).execute(tx.conn)?;
            tx.record(
                Event::new(Action::OptedIn, "person", person)
                    .before(json!({"reason": SuppressionReason::OptedOut})),
            );
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether the person of a delivery has opted out of optional notices.
///
/// # Errors
/// `NotFound` if the delivery does not exist.
pub fn is_opted_out(conn: &mut Conn, delivery: i64) -> Result<bool> {
    let Some(address) = address_of(conn, delivery)? else {
        return Ok(false);
    };
    let stored: Option<String> = o::table.find(&address).select(o::reason).first(conn).optional()?;
    Ok(stored.as_deref() == Some(SuppressionReason::OptedOut.as_str()))
}

/// Suppresses an address because of a report about the given delivery. Returns whether this changed anything.
///
/// # Errors
/// An error of the database.
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

/// Suppresses the address of a subscriber of the status page, because of what happened to an email to them.
///
/// # Errors
/// An error of the database.
pub fn suppress_subscriber(
    tx: &mut Tx<'_>,
    address: &str,
    reason: SuppressionReason,
    subscriber: i64,
) -> Result<()> {
    if put(tx, address, reason)? {
        tx.record(
            Event::new(
                Action::AddressSuppressed,
                "status_subscriber",
                subscriber.to_string(),
            )
            .after(json!({"reason": reason})),
        );
    }
    Ok(())
}

/// Stores a suppression. Returns whether anything changed, which means that the address is new or that its
/// reason has a higher priority.
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
    let stored = SuppressionReason::parse(&stored).map_err(Error::internal)?;
    if stored == reason && reason == SuppressionReason::OptedOut {
        // A person who opts out again may have subscribed to the status page in between, and the later choice counts.
        diesel::update(o::table.find(address))
            .set(o::at.eq(tx.now))
            .execute(tx.conn)?;
        return Ok(false);
    }
    if stored.rank() >= reason.rank() {
        return Ok(false);
    }
    diesel::update(o::table.find(address))
        .set((o::reason.eq(reason.as_str()), o::at.eq(tx.now)))
        .execute(tx.conn)?;
    Ok(true)
}

/// Returns the suppressed addresses after the given one, in alphabetical order.
///
/// # Errors
/// An error of the database.
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

/// Removes the suppression of an address, so that it gets optional notices again.
///
/// # Errors
/// `NotFound` if the address is not suppressed.
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
    let mark = Marks::of(tx.conn)?.mark(MarkOf::Address, &address);
    tx.record(Event::new(Action::SuppressionLifted, "address", mark).before(json!({"reason": reason})));
    Ok(())
}

/// Returns why an address is suppressed. None if it is not.
///
/// # Errors
/// An error of the database.
pub fn of(conn: &mut Conn, address: &str) -> Result<Option<Suppression>> {
    let address = normal_address(address);
    let stored: Option<(String, Timestamp, String)> = o::table.find(&address).first(conn).optional()?;
    stored
        .map(|(address, at, reason)| {
            Ok(Suppression {
                address,
                reason: SuppressionReason::parse(&reason).map_err(Error::internal)?,
                at,
            })
        })
        .transpose()
}

/// Removes the suppression of an address if it is there because of a bounce. A suppression that the person asked for stays.
/// Returns whether there was one.
///
/// # Errors
/// An error of the database.
pub fn lift_bounced(tx: &mut Tx<'_>, address: &str) -> Result<bool> {
    match of(tx.conn, address)? {
        Some(one) if one.reason == SuppressionReason::Bounced => {
            lift(tx, address)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
