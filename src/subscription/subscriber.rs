//! The subscribers: who asked for an email for each post, and who gets one. This file only reads.

use diesel::prelude::*;
use serde::Serialize;

use super::outbox;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{opt_outs as o, status_subscribers as s};
use crate::delivery::opt_out::SuppressionReason;
use crate::directory::normal_address;

/// Somebody who asked for an email for each post on the status page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = StatusSubscriber)]
pub struct Subscriber {
    /// The ID of the subscription: a random number.
    pub id: i64,
    /// The email address in its normal form.
    pub address: String,
    /// The language of the emails: that of the page on which the person subscribed.
    pub language: Language,
    /// When the person subscribed first.
    pub created_at: Timestamp,
    /// When the person confirmed the subscription. Null if the person did not: then the address gets no posts.
    pub confirmed_at: Option<Timestamp>,
    /// Why the address gets no posts even if the subscription is confirmed. Null if nothing is against it.
    pub suppressed: Option<SuppressionReason>,
}

impl Subscriber {
    /// Returns whether the address gets posts.
    pub fn gets_posts(&self) -> bool {
        self.confirmed_at.is_some() && self.suppressed.is_none()
    }
}

/// How many subscribers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = StatusSubscriberCounts)]
pub struct Counts {
    /// How many get an email for a new post.
    pub get_posts: i64,
    /// How many confirmed, and get no email because their address is suppressed.
    pub suppressed: i64,
    /// How many did not confirm yet.
    pub unconfirmed: i64,
}

type Row = (
    (i64, String, String, Timestamp, Option<Timestamp>),
    Option<(Timestamp, String)>,
);

fn view(row: Row) -> Result<Subscriber> {
    let ((id, address, language, created_at, confirmed_at), suppression) = row;
    let suppressed = match suppression {
        Some((at, reason)) => {
            let reason = SuppressionReason::parse(&reason).map_err(Error::internal)?;
            Some(reason).filter(|reason| stops(*reason, at, confirmed_at))
        }
        None => None,
    };
    Ok(Subscriber {
        id,
        address,
        language: Language::parse(&language).map_err(Error::internal)?,
        created_at,
        confirmed_at,
        suppressed,
    })
}

/// Returns whether a suppression keeps an address from getting posts. A person who confirmed after opting out of notices wants them.
fn stops(reason: SuppressionReason, at: Timestamp, confirmed_at: Option<Timestamp>) -> bool {
    reason != SuppressionReason::OptedOut || confirmed_at.is_some_and(|confirmed| confirmed <= at)
}

macro_rules! rows {
    () => {
        s::table
            .left_join(o::table.on(o::address.eq(s::address)))
            .select((
                (s::id, s::address, s::language, s::created_at, s::confirmed_at),
                (o::at, o::reason).nullable(),
            ))
            .into_boxed::<crate::db::Backend>()
    };
}

/// Returns a subscriber.
///
/// # Errors
/// `NotFound` if there is none: the subscription ended.
pub fn get(conn: &mut Conn, id: i64) -> Result<Subscriber> {
    let row: Option<Row> = rows!().filter(s::id.eq(id)).first(conn).optional()?;
    view(row.ok_or_else(|| Error::NotFound(format!("subscriber {id} of the status page")))?)
}

/// Returns the subscriptions of these addresses, which are in their normal form.
///
/// # Errors
/// An error of the database.
pub fn of_addresses(conn: &mut Conn, addresses: &[&str]) -> Result<Vec<Subscriber>> {
    let rows: Vec<Row> = rows!()
        .filter(s::address.eq_any(addresses.to_vec()))
        .order(s::id)
        .load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Returns the subscribers after a position, in the order in which they subscribed, or the one with an address.
///
/// # Errors
/// An error of the database.
pub fn list(
    conn: &mut Conn,
    address: Option<&str>,
    after: Option<(Timestamp, i64)>,
    limit: i64,
) -> Result<Vec<Subscriber>> {
    let mut query = rows!();
    if let Some((at, id)) = after {
        query = query.filter(s::created_at.gt(at).or(s::created_at.eq(at).and(s::id.gt(id))));
    }
    if let Some(address) = address {
        query = query.filter(s::address.eq(normal_address(address)));
    }
    let rows: Vec<Row> = query.order((s::created_at, s::id)).limit(limit).load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Returns the subscription of an address, which is in its normal form.
///
/// # Errors
/// An error of the database.
pub fn of_address(conn: &mut Conn, address: &str) -> Result<Option<Subscriber>> {
    Ok(of_addresses(conn, &[address])?.into_iter().next())
}

/// Returns how many subscribers there are.
///
/// # Errors
/// An error of the database.
pub fn counts(conn: &mut Conn) -> Result<Counts> {
    let unconfirmed: i64 = s::table
        .filter(s::confirmed_at.is_null())
        .count()
        .get_result(conn)?;
    let confirmed: i64 = s::table
        .filter(s::confirmed_at.is_not_null())
        .count()
        .get_result(conn)?;
    let get_posts = outbox::readers(conn)?;
    Ok(Counts {
        get_posts,
        suppressed: confirmed - get_posts,
        unconfirmed,
    })
}
