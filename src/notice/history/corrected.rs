//! Which notices of a page were corrected, for the same recipient.

use std::collections::HashSet;

use diesel::prelude::*;

use super::entry::{HistoryCorrection, HistoryEntry};
use super::rows::people_of;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_corrections as c, notice_recipients as nr, notices as n};
use crate::notice::delivery_state::DeliveryState;
use crate::notice::row::EMAIL;
use crate::notice::state::NoticeState;
use crate::notice::{corrections, reminders};

/// A recipient of a correction.
struct Told {
    corrects: NoticeId,
    channel: String,
    address: String,
    /// The people of an email. Empty for an endpoint.
    people: Vec<String>,
    shown: HistoryCorrection,
}

/// Adds what each notice corrects, which ones are reminders, and the corrections. With a person, only a correction that is for this
/// person counts.
pub(super) fn add(conn: &mut Conn, entries: &mut [HistoryEntry], person: Option<&str>) -> Result<()> {
    let notices: HashSet<&str> = entries.iter().map(|entry| entry.notice.as_str()).collect();
    let notices: Vec<&str> = notices.into_iter().collect();
    let corrects = corrections::among(conn, &notices)?;
    let reminders = reminders::among(conn, &notices)?;
    let told = recipients(conn, &notices, entries)?;
    for entry in entries {
        entry.reminder = reminders.contains(entry.notice.as_str());
        entry.corrects = corrects.get(entry.notice.as_str()).cloned();
        let is_for_them = |one: &&Told| {
            one.corrects == entry.notice
                && one.channel == entry.channel
                && match (person, one.channel == EMAIL) {
                    (Some(person), true) => one.people.iter().any(|id| id == person),
                    (None, true) => entry.people.iter().any(|id| one.people.contains(id)),
                    (_, false) => one.address == entry.address,
                }
        };
        let last = told.iter().filter(is_for_them).max_by_key(|one| one.shown.at);
        entry.corrected = last.map(|one| one.shown.clone());
    }
    Ok(())
}

/// Returns the recipients of the corrections of these notices who are at an address, or are a person, of the page.
fn recipients(conn: &mut Conn, notices: &[&str], entries: &[HistoryEntry]) -> Result<Vec<Told>> {
    let mut corrections: Vec<(NoticeId, NoticeId)> = Vec::new();
    for chunk in notices.chunks(500) {
        let rows: Vec<(NoticeId, NoticeId)> = c::table
            .filter(c::corrects.eq_any(chunk))
            .select((c::notice_id, c::corrects))
            .load(conn)?;
        corrections.extend(rows);
    }
    let mut told = Vec::new();
    for (correction, wrong) in corrections {
        let of_it = entries.iter().filter(|entry| entry.notice == wrong);
        let of_it: Vec<&HistoryEntry> = of_it.collect();
        for chunk in of_it.chunks(500) {
            let addresses: Vec<&str> = chunk.iter().map(|entry| entry.address.as_str()).collect();
            let people: Vec<&str> = chunk
                .iter()
                .flat_map(|entry| entry.people.iter().map(String::as_str))
                .collect();
            type Row = (
                (String, String, String, String),
                Option<Timestamp>,
                (Option<DeliveryState>, Option<Timestamp>),
            );
            let rows: Vec<Row> = nr::table
                .inner_join(n::table.on(n::id.eq(nr::notice_id)))
                .left_join(d::table.on(d::notice_id.eq(nr::notice_id).and(d::ordinal.eq(nr::ordinal))))
                .filter(nr::notice_id.eq(correction.as_str()))
                .filter(nr::address.eq_any(addresses).or(nr::person_id.eq_any(people)))
                .select((
                    (nr::channel, nr::address, nr::context, n::state),
                    n::queued_at,
                    (d::state.nullable(), d::sent_at.nullable()),
                ))
                .load(conn)?;
            for ((channel, address, context, state), queued_at, (delivery, sent_at)) in rows {
                let unqueued = NoticeState::parse(&state).map_err(Error::internal)?.of_unqueued();
                let Some(at) = sent_at.or(queued_at) else {
                    continue;
                };
                told.push(Told {
                    corrects: wrong.clone(),
                    people: people_of(&context)?,
                    channel,
                    address,
                    shown: HistoryCorrection {
                        notice: correction.clone(),
                        state: delivery.unwrap_or(unqueued),
                        at,
                    },
                });
            }
        }
    }
    Ok(told)
}
