//! How a subscription begins and ends: it is asked for, confirmed, and ended by the person, by an operator or by what happens to an email.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::outbox;
use super::subscriber::{self, Subscriber, stops};
use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::status_subscribers as s;
use crate::delivery::opt_out::{self, SuppressionReason};
use crate::directory::{check_address, normal_address};

/// An address that did not confirm is asked again at the earliest after this time, however often somebody types it.
const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// How long an address is kept that did not confirm.
const UNCONFIRMED: Duration = Duration::from_secs(7 * 24 * 3_600);

word_enum! {
    /// Why a subscription ended.
    EndReason, "a reason" {
        /// The person used the link in an email.
        Link = "link",
        /// Somebody ended it in Candor.
        Operator = "operator",
        /// An email bounced permanently.
        Bounced = "bounced",
        /// The person reported an email as spam, or unsubscribed at the provider.
        Complained = "complained",
        /// The address was never confirmed.
        NotConfirmed = "not_confirmed",
        /// The person was erased.
        Erased = "erased",
    }
}

/// Asks an address to confirm a subscription, unless it is subscribed, was asked a moment ago, or gets no emails at all. The caller does
/// not learn which of these it is.
///
/// # Errors
/// `Invalid` at `/address`, if it is not an email address.
pub fn ask(tx: &mut Tx<'_>, address: &str, language: Language) -> Result<()> {
    check_address(address).map_err(|reason| Error::invalid("/address", reason))?;
    let address = normal_address(address);
    let suppressed = opt_out::of(tx.conn, &address)?;
    if suppressed.is_some_and(|one| stops(one.reason, one.at, None)) {
        return Ok(());
    }
    let added = on_backend!(&mut *tx.conn, c => diesel::insert_into(s::table)
        .values((
            s::address.eq(&address),
            s::language.eq(language.as_str()),
            s::created_at.eq(tx.now),
            s::asked_at.eq(tx.now),
        ))
        .on_conflict(s::address)
        .do_nothing()
        .execute(c))?;
    let asked = match added {
        0 => diesel::update(
            s::table
                .filter(s::address.eq(&address))
                .filter(s::confirmed_at.is_null())
                .filter(s::asked_at.le(tx.now.minus(ASK_AGAIN))),
        )
        .set((s::asked_at.eq(tx.now), s::language.eq(language.as_str())))
        .execute(tx.conn)?,
        added => added,
    };
    if asked == 0 {
        return Ok(());
    }
    let id: i64 = s::table
        .filter(s::address.eq(&address))
        .select(s::id)
        .first(tx.conn)?;
    outbox::put_question(tx, id)?;
    tx.record(
        Event::new(
            Action::StatusSubscriptionAsked,
            "status_subscriber",
            id.to_string(),
        )
        .after(json!({"language": language})),
    );
    Ok(())
}

/// Confirms a subscription. Calling it again changes nothing.
///
/// # Errors
/// `NotFound` if the subscription ended.
pub fn confirm(tx: &mut Tx<'_>, id: i64) -> Result<Subscriber> {
    let confirmed = diesel::update(s::table.find(id).filter(s::confirmed_at.is_null()))
        .set(s::confirmed_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    if confirmed > 0 {
        tx.record(Event::new(
            Action::StatusSubscriptionConfirmed,
            "status_subscriber",
            id.to_string(),
        ));
    }
    subscriber::get(tx.conn, id)
}

/// Ends a subscription, and removes the address. Emails that were not sent yet are not sent. Returns whether there was one.
///
/// # Errors
/// An error of the database.
pub fn end(tx: &mut Tx<'_>, id: i64, why: EndReason) -> Result<bool> {
    if diesel::delete(s::table.find(id)).execute(tx.conn)? == 0 {
        return Ok(false);
    }
    outbox::stop(tx.conn, id, tx.now)?;
    tx.record(
        Event::new(
            Action::StatusSubscriptionEnded,
            "status_subscriber",
            id.to_string(),
        )
        .before(json!({"reason": why})),
    );
    Ok(true)
}

/// Ends the subscription of an address, and suppresses the address, because of a report about an email to a subscriber.
///
/// # Errors
/// An error of the database.
pub fn end_suppressed(tx: &mut Tx<'_>, id: i64, reason: SuppressionReason) -> Result<bool> {
    let address: Option<String> = s::table.find(id).select(s::address).first(tx.conn).optional()?;
    let Some(address) = address else {
        return Ok(false);
    };
    let why = match reason {
        SuppressionReason::Bounced => EndReason::Bounced,
        SuppressionReason::Complained => EndReason::Complained,
        // Whoever stops these emails at the provider did not opt out of notices.
        SuppressionReason::OptedOut => return end(tx, id, EndReason::Link),
    };
    opt_out::suppress_subscriber(tx, &address, reason, id)?;
    end(tx, id, why)
}

/// Removes addresses that did not confirm in time. Returns whether there were any.
///
/// # Errors
/// An error of the database.
pub fn prune(tx: &mut Tx<'_>) -> Result<usize> {
    let old: Vec<i64> = unconfirmed_before(tx.conn, tx.now)?;
    for id in &old {
        end(tx, *id, EndReason::NotConfirmed)?;
    }
    Ok(old.len())
}

/// Returns those that did not confirm in time: some of them, the oldest first.
fn unconfirmed_before(conn: &mut Conn, now: Timestamp) -> Result<Vec<i64>> {
    Ok(s::table
        .filter(s::confirmed_at.is_null())
        .filter(s::asked_at.lt(now.minus(UNCONFIRMED)))
        .order(s::asked_at)
        .limit(100)
        .select(s::id)
        .load(conn)?)
}

/// Returns whether there is work for [`prune`].
///
/// # Errors
/// An error of the database.
pub fn any_unconfirmed(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    Ok(!unconfirmed_before(conn, now)?.is_empty())
}
