//! The words of a notice that do not come from its message: the headline, and the number of an update.

use diesel::prelude::*;

use super::delivery_state::DeliveryState;
use super::reminders;
use super::row::{Row, row};
use super::state::NoticeState;
use crate::base::error::Result;
use crate::base::text::undirected;
use crate::db::Conn;
use crate::db::schema::{delivery_counts as dc, notices as n};
use crate::incident::Incident;
use crate::notice::template::Phase;

/// Returns the headline of a notice: its own, or that of the incident.
pub(super) fn headline(row: &Row, incident: &Incident) -> Option<String> {
    let headline = row.headline.as_deref().or(incident.headline.as_deref())?;
    Some(undirected(headline).into_owned())
}

/// Returns the number of an update among the updates of the incident, from 1. `None` for another phase. A catch-up has the number of
/// the notice that it repeats. A reminder counts as no update, and has the number of the last one.
pub(super) fn update_number(conn: &mut Conn, of: &Row, phase: Phase) -> Result<Option<i64>> {
    if phase != Phase::Update {
        return Ok(None);
    }
    let before = match &of.catch_up_of {
        Some(original) => row(conn, original)?.queued_at,
        None => None,
    };
    let mut sent = n::table
        .filter(n::incident_id.eq(of.incident_id.as_str()))
        .filter(n::phase.eq(Phase::Update.as_str()))
        .filter(n::state.ne(NoticeState::Draft))
        .filter(n::catch_up_of.is_null())
        .filter(n::id.ne(of.id.as_str()))
        // An update that was stopped before anybody got it was no update.
        .filter(
            n::state.ne(NoticeState::Stopped).or(diesel::dsl::exists(
                dc::table
                    .filter(dc::notice_id.eq(n::id))
                    .filter(dc::state.eq_any([DeliveryState::Sent, DeliveryState::Bounced]))
                    .filter(dc::count.gt(0)),
            )),
        )
        .select(n::id)
        .into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        sent = sent.filter(n::queued_at.lt(before));
    }
    let sent: Vec<String> = sent.load(conn)?;
    let ids: Vec<&str> = sent.iter().map(String::as_str).collect();
    let reminders = reminders::among(conn, &ids)?.len();
    let updates = sent.len().saturating_sub(reminders) as i64;
    Ok(Some(match reminders::is_one(conn, &of.id)? {
        true => updates.max(1),
        false => updates + 1,
    }))
}
