//! Adds to the rows of a page what became of them: the attempts, the bounce, the answer and the correction. Each is read for all
//! rows at once.

use std::collections::HashMap;

use diesel::prelude::*;

use super::entry::HistoryEntry;
use super::{answers, corrected};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{delivery_attempts as da, feedback as f};
use crate::notice::delivery_state::DeliveryState;

/// The number of deliveries in one statement.
const CHUNK: usize = 500;
/// The effect of a report that came before the outcome of its attempt was recorded.
const EARLY: &str = "early";

/// Adds the details. With a person, only answers and corrections of this person count.
///
/// # Errors
/// An error of the database.
pub(super) fn add(conn: &mut Conn, entries: &mut [HistoryEntry], person: Option<&str>) -> Result<()> {
    let deliveries: Vec<i64> = entries.iter().filter_map(|entry| entry.delivery).collect();
    let mut attempts = attempts(conn, &deliveries)?;
    let mut bounces = bounces(conn, &deliveries)?;
    for entry in &mut *entries {
        let Some(delivery) = entry.delivery else { continue };
        if let Some(Tried {
            number,
            at,
            reply,
            relay,
        }) = attempts.remove(&delivery)
        {
            entry.attempts = number;
            entry.reply = Some(reply);
            entry.relay = relay;
            entry.at = entry.at.max(at);
        }
        if let Some(bounce) = bounces.remove(&delivery)
            // A report that came before the outcome of its attempt has an effect only if that attempt was the last one.
            && (!bounce.is_early || entry.state == DeliveryState::Bounced)
        {
            entry.bounced_at = Some(bounce.at);
            entry.bounce = Some(bounce.text);
        }
    }
    answers::add(conn, entries, person)?;
    corrected::add(conn, entries, person)
}

/// The number of attempts of a delivery, with the time, the reply and the mail server of the last one.
struct Tried {
    number: i64,
    at: Timestamp,
    reply: String,
    relay: Option<String>,
}

/// Returns the attempts of each delivery.
fn attempts(conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, Tried>> {
    let mut found: HashMap<i64, Tried> = HashMap::new();
    for chunk in deliveries.chunks(CHUNK) {
        let rows: Vec<(i64, Timestamp, String, Option<String>)> = da::table
            .filter(da::delivery_id.eq_any(chunk))
            .order((da::delivery_id, da::attempt))
            .select((da::delivery_id, da::at, da::reply, da::relay))
            .load(conn)?;
        for (delivery, at, reply, relay) in rows {
            let number = found.get(&delivery).map_or(0, |tried| tried.number) + 1;
            found.insert(
                delivery,
                Tried {
                    number,
                    at,
                    reply,
                    relay,
                },
            );
        }
    }
    Ok(found)
}

/// A report that says that an email bounced.
struct Bounce {
    at: Timestamp,
    text: String,
    /// Whether it came before the outcome of its attempt was recorded.
    is_early: bool,
}

/// Returns the last report of each delivery that says that it bounced.
fn bounces(conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, Bounce>> {
    let mut found = HashMap::new();
    for chunk in deliveries.chunks(CHUNK) {
        let ids: Vec<Option<i64>> = chunk.iter().copied().map(Some).collect();
        let rows: Vec<(Option<i64>, Timestamp, String, String)> = f::table
            .filter(f::delivery_id.eq_any(ids))
            .filter(f::effect.eq_any(["bounced", EARLY]))
            .order(f::id)
            .select((f::delivery_id, f::at, f::diagnostic, f::effect))
            .load(conn)?;
        for (id, at, text, effect) in rows {
            let Some(id) = id else { continue };
            let is_early = effect == EARLY;
            found.insert(id, Bounce { at, text, is_early });
        }
    }
    Ok(found)
}
