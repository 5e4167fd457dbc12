//! Reads the frozen recipients of a notice and their deliveries, in parts.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::audit::frozen::FrozenRecipient;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_recipients as nr};
use crate::notice::{DeliveryState, EMAIL};

/// The number of recipients that are read at once.
const STEP: i64 = 500;

/// A frozen recipient, as it is stored.
#[derive(Queryable)]
pub(super) struct Row {
    pub ordinal: i64,
    pub person: String,
    pub name: String,
    pub address: String,
    pub optional: bool,
    pub context: String,
    pub channel: String,
    pub domain: String,
}

/// A delivery of a recipient.
#[derive(Queryable)]
pub(super) struct Delivery {
    pub id: i64,
    pub ordinal: i64,
    pub state: DeliveryState,
    pub sent_at: Option<Timestamp>,
    pub reason: Option<String>,
    pub message_id: String,
}

/// Returns the next recipients of a notice after a position.
///
/// # Errors
/// An error of the database.
pub(super) fn read(conn: &mut Conn, notice: &NoticeId, after: i64) -> Result<Vec<Row>> {
    Ok(nr::table
        .filter(nr::notice_id.eq(notice.as_str()))
        .filter(nr::ordinal.gt(after))
        .order(nr::ordinal)
        .limit(STEP)
        .select((
            nr::ordinal,
            nr::person_id,
            nr::name,
            nr::address,
            nr::optional,
            nr::context,
            nr::channel,
            nr::domain,
        ))
        .load(conn)?)
}

/// Returns the recipient exactly as it was hashed.
///
/// # Errors
/// `Internal` if the JSON cannot be written.
pub(super) fn line(row: &Row) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&FrozenRecipient {
        ordinal: row.ordinal,
        person: &row.person,
        name: &row.name,
        address: &row.address,
        optional: row.optional,
        context: &row.context,
        channel: &row.channel,
        domain: &row.domain,
    })?)
}

/// Whether the data of the recipient was erased. Then a placeholder that is no address stands in its place.
pub(super) fn is_erased(row: &Row) -> bool {
    row.channel == EMAIL && row.address.starts_with("erased-") && !row.address.contains('@')
}

/// Returns the deliveries of some recipients of a notice, by their positions.
///
/// # Errors
/// An error of the database.
pub(super) fn deliveries(
    conn: &mut Conn,
    notice: &NoticeId,
    ordinals: &[i64],
) -> Result<HashMap<i64, Delivery>> {
    let rows: Vec<Delivery> = d::table
        .filter(d::notice_id.eq(notice.as_str()))
        .filter(d::ordinal.eq_any(ordinals))
        .select((d::id, d::ordinal, d::state, d::sent_at, d::reason, d::message_id))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|delivery| (delivery.ordinal, delivery))
        .collect())
}
