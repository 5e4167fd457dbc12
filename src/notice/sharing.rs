//! The number of people behind the emails of a notice. People who share an address get one email together, and
//! each of them counts.
//!
//! Most emails go to one person. Only the others are listed, in the frozen content of the notice, so that a
//! million recipients need not be read when a notice is shown.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::compose::Content;
use super::counts::DeliveryCounts;
use super::delivery_state::{DeliveryState, resumable};
use super::recipients::Recipients;
use super::row::Row;
use crate::base::error::Result;
use crate::db::Conn;
use crate::db::schema::deliveries as d;

/// The name of the field. The frozen content of most notices does not contain it.
const FIELD: &str = "\"shared\":";

/// The content of a notice, as it is frozen.
#[derive(Serialize)]
struct Frozen<'a> {
    #[serde(flatten)]
    content: &'a Content,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shared: Vec<(i64, i64)>,
}

/// The emails that go to several people: the position of the email, and the number of people after the first.
/// A notice of an earlier version does not contain them, so each of its emails counts as one person.
#[derive(Deserialize)]
struct Sharing {
    #[serde(default)]
    shared: Vec<(i64, i64)>,
}

/// Returns the frozen content of a notice to these recipients.
///
/// # Errors
/// Only if it cannot be written as JSON.
pub(super) fn frozen(content: &Content, recipients: &Recipients) -> Result<String> {
    let shared = (1..).zip(recipients.iter()).filter_map(|(ordinal, packed)| {
        let more = i64::from(packed.people()) - 1;
        (more > 0).then_some((ordinal, more))
    });
    Ok(serde_json::to_string(&Frozen {
        content,
        shared: shared.collect(),
    })?)
}

/// Returns the people of a notice by the state of the email to them.
///
/// # Errors
/// An error of the database.
pub(super) fn by_state(conn: &mut Conn, row: &Row, mails: DeliveryCounts) -> Result<DeliveryCounts> {
    let mut people = mails;
    let frozen = row.frozen.as_deref().unwrap_or_default();
    if !frozen.contains(FIELD) {
        return Ok(people);
    }
    let Sharing { shared } = serde_json::from_str(frozen)?;
    // An email that is not in the queue waits, or will never be sent.
    let otherwise = row.state()?.of_unqueued();
    for chunk in shared.chunks(500) {
        let ordinals: Vec<i64> = chunk.iter().map(|(ordinal, _)| *ordinal).collect();
        let states: HashMap<i64, DeliveryState> = d::table
            .filter(d::notice_id.eq(row.id.as_str()))
            .filter(d::ordinal.eq_any(&ordinals))
            .select((d::ordinal, d::state))
            .load(conn)?
            .into_iter()
            .collect();
        // These are stopped and will be sent, because the notice was resumed.
        let again: HashSet<i64> = match row.state()?.is_being_sent() {
            true => d::table
                .filter(d::notice_id.eq(row.id.as_str()))
                .filter(d::ordinal.eq_any(&ordinals))
                .filter(resumable())
                .select(d::ordinal)
                .load(conn)?
                .into_iter()
                .collect(),
            false => HashSet::new(),
        };
        for (ordinal, more) in chunk {
            let state = match again.contains(ordinal) {
                true => DeliveryState::Pending,
                false => states.get(ordinal).copied().unwrap_or(otherwise),
            };
            *people.of_mut(state) += more;
        }
    }
    Ok(people)
}
