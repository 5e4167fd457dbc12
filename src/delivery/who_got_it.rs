//! Who of the list of a notice got it, and who did not, for a file: one row for each email, read in parts.
//!
//! An email counts as delivered if a mail server accepted it and it did not bounce. Whoever has no delivery yet has not got it.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_recipients as nr};
use crate::notice::{DeliveryState, EMAIL};

/// A recipient of a notice.
pub struct Recipient {
    /// The position in the frozen list.
    pub ordinal: i64,
    /// The ID of the person, or of the first person with the address.
    pub person: String,
    /// The name, or the names of all people with the address.
    pub name: String,
    /// The email address from the frozen list.
    pub address: String,
    /// The state of the delivery. `None` if there is none yet.
    pub state: Option<DeliveryState>,
    /// When a mail server accepted the email.
    pub sent_at: Option<Timestamp>,
    /// Why it was not sent.
    pub reason: Option<String>,
}

/// Returns the recipients after a position who got a notice, or those who did not.
///
/// # Errors
/// An error of the database.
pub fn who_got_it(
    conn: &mut Conn,
    notice: &NoticeId,
    got: bool,
    after: i64,
    limit: i64,
) -> Result<Vec<Recipient>> {
    type Row = (
        (i64, String, String, String),
        (Option<DeliveryState>, Option<Timestamp>, Option<String>),
    );
    let which = match got {
        true => "deliveries.state = 'sent'",
        false => "(deliveries.state IS NULL OR deliveries.state <> 'sent')",
    };
    let rows: Vec<Row> = nr::table
        .left_join(d::table.on(d::notice_id.eq(nr::notice_id).and(d::ordinal.eq(nr::ordinal))))
        .filter(nr::notice_id.eq(notice.as_str()))
        .filter(nr::channel.eq(EMAIL))
        .filter(nr::ordinal.gt(after))
        .filter(sql::<Bool>(which))
        .order(nr::ordinal)
        .limit(limit)
        .select((
            (nr::ordinal, nr::person_id, nr::name, nr::address),
            (d::state.nullable(), d::sent_at.nullable(), d::reason.nullable()),
        ))
        .load(conn)?;
    let rows =
        rows.into_iter().map(
            |((ordinal, person, name, address), (state, sent_at, reason))| Recipient {
                ordinal,
                person,
                name,
                address,
                state,
                sent_at,
                reason,
            },
        );
    Ok(rows.collect())
}
