//! How a subscription begins and ends: it is asked for, confirmed, and ended by the person, by an operator or by what happens to an email.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::outbox;
use super::subscriber::{self, Subscriber};
use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::random::random_number;
use crate::db::dialect::on_backend;
use crate::db::schema::status_subscribers as s;
use crate::delivery::opt_out::{self, SuppressionReason};
use crate::directory::{check_address, normal_address};

/// An address that did not confirm is asked again at the earliest after this time, however often somebody types it.
const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// How often an address is asked before it is confirmed or deleted, however often somebody types it.
const QUESTIONS: i64 = 3;
/// How long an address is kept that did not confirm.
const UNCONFIRMED: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The number of rows that are removed at once.
const STEP: i64 = 500;

word_enum! {
    /// Why a subscription ended.
    EndReason, "a reason" {
        /// The person used the link in an email.
        Link = "link",
        /// Somebody ended it in Candor.
        Operator = "operator",
        /// An email bounced permanently.
        Bounced = "bounced",
        /// The person reported an email as spam.
        Complained = "complained",
        /// The person unsubscribed at the provider.
        Unsubscribed = "unsubscribed",
        /// The address was never confirmed.
        NotConfirmed = "not_confirmed",
        /// The person was erased.
        Erased = "erased",
    }
}

/// Asks an address to confirm a subscription, unless it gets posts already, was asked a moment ago or often, or gets no emails at all. The
/// caller does not learn which of these it is.
///
/// # Errors
/// `Invalid` at `/address`, if it is not an email address.
pub fn ask(tx: &mut Tx<'_>, address: &str, language: Language) -> Result<()> {
    check_address(address).map_err(|reason| Error::invalid("/address", reason))?;
    let address = normal_address(address);
    let suppressed = opt_out::of(tx.conn, &address)?;
    if suppressed.is_some_and(|one| one.reason != SuppressionReason::OptedOut) {
        return Ok(());
    }
    let added = on_backend!(&mut *tx.conn, c => diesel::insert_into(s::table)
        .values((
            s::id.eq(random_number()?),
            s::address.eq(&address),
            s::language.eq(language.as_str()),
            s::created_at.eq(tx.now),
            s::asked_at.eq(tx.now),
            s::questions.eq(1_i64),
        ))
        .on_conflict(s::address)
        .do_nothing()
        .execute(c))?;
    let Some(subscriber) = subscriber::of_address(tx.conn, &address)? else {
        // Another request ended the subscription in the meantime.
        return Ok(());
    };
    if added == 0 {
        // Whoever confirmed and then opted out of all optional emails can confirm again.
        if subscriber.gets_posts() {
            return Ok(());
        }
        let asked = diesel::update(
            s::table
                .find(subscriber.id)
                .filter(s::asked_at.le(tx.now.minus(ASK_AGAIN)))
                .filter(s::questions.lt(QUESTIONS)),
        )
        .set((
            s::asked_at.eq(tx.now),
            s::questions.eq(s::questions + 1),
            s::language.eq(language.as_str()),
        ))
        .execute(tx.conn)?;
        if asked == 0 {
            return Ok(());
        }
    }
    outbox::put_question(tx, subscriber.id)?;
    tx.record(
        Event::new(
            Action::StatusSubscriptionAsked,
            "status_subscriber",
            subscriber.id.to_string(),
        )
        .after(json!({"language": language})),
    );
    Ok(())
}

/// Confirms a subscription. Calling it again changes nothing, unless the person opted out of optional emails in the meantime: then they
/// want posts again.
///
/// # Errors
/// `NotFound` if the subscription ended.
pub fn confirm(tx: &mut Tx<'_>, id: i64) -> Result<Subscriber> {
    if subscriber::get(tx.conn, id)?.gets_posts() {
        return subscriber::get(tx.conn, id);
    }
    let confirmed = diesel::update(s::table.find(id))
        .set((s::confirmed_at.eq(Some(tx.now)), s::questions.eq(0_i64)))
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
    ended(tx, id, why)?;
    Ok(true)
}

fn ended(tx: &mut Tx<'_>, id: i64, why: EndReason) -> Result<()> {
    outbox::stop(tx.conn, id, tx.now)?;
    tx.record(
        Event::new(
            Action::StatusSubscriptionEnded,
            "status_subscriber",
            id.to_string(),
        )
        .before(json!({"reason": why})),
    );
    Ok(())
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
        SuppressionReason::OptedOut => return end(tx, id, EndReason::Unsubscribed),
    };
    opt_out::suppress_subscriber(tx, &address, reason, id)?;
    end(tx, id, why)
}

/// Removes some addresses that did not confirm in time, and what is kept of old emails. Returns whether there may be more.
///
/// # Errors
/// An error of the database.
pub fn prune(tx: &mut Tx<'_>) -> Result<bool> {
    let before = tx.now.minus(UNCONFIRMED);
    let old: Vec<i64> = s::table
        .filter(s::confirmed_at.is_null())
        .filter(s::created_at.lt(before))
        .order(s::created_at)
        .limit(STEP)
        .select(s::id)
        .load(tx.conn)?;
    for id in &old {
        // The person may confirm at this moment.
        let unconfirmed = s::table.find(*id).filter(s::confirmed_at.is_null());
        if diesel::delete(unconfirmed).execute(tx.conn)? > 0 {
            ended(tx, *id, EndReason::NotConfirmed)?;
        }
    }
    let emails = outbox::prune(tx.conn, tx.now, STEP)?;
    Ok(old.len() as i64 == STEP || emails as i64 == STEP)
}
