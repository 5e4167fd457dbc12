//! Which lost emails are left out when they are sent again.
//!
//! An email is frozen, so it would go to its old address even if the person has another one now. And nobody gets a notice twice: whoever
//! got it by another email, such as a catch-up to a corrected address, does not get the lost one too.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::delivery_state::{DeliveryState, exceptions};
use super::notified::People;
use super::resume::others;
use super::row::{EMAIL, row};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_recipients as nr};
use crate::directory::{normal_address, person};

/// The number of deliveries that are read at once.
const AT_ONCE: usize = 500;

/// Why a lost email is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its people got the notice by another email. For a reminder: they have answered.
    Reached,
    /// None of its people who still miss the notice has this address now.
    OldAddress,
}

impl LeftOut {
    /// Returns the reason as the second part of a sentence.
    pub fn why(self) -> &'static str {
        match self {
            LeftOut::Reached => "the person got this notice by another email, or has answered",
            LeftOut::OldAddress => {
                "the person has another address now; correct the address on the page of the person"
            }
        }
    }
}

/// Returns which of these deliveries of a notice are left out, and why. Calls to endpoints are never left out.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn left_out(conn: &mut Conn, notice: &NoticeId, deliveries: &[i64]) -> Result<HashMap<i64, LeftOut>> {
    let mut left_out = HashMap::new();
    if deliveries.is_empty() {
        return Ok(left_out);
    }
    let row = row(conn, notice)?;
    let others = others(conn, &row)?;
    for ids in deliveries.chunks(AT_ONCE) {
        let emails: Vec<(i64, String, String)> = d::table
            .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
            .filter(d::id.eq_any(ids))
            .filter(d::notice_id.eq(notice.as_str()))
            .filter(d::channel.eq(EMAIL))
            .select((d::id, nr::address, nr::context))
            .load(conn)?;
        let mut missing = Vec::with_capacity(emails.len());
        for (id, address, context) in emails {
            match others.cover(&address, &context)? {
                true => drop(left_out.insert(id, LeftOut::Reached)),
                false => missing.push((id, normal_address(&address), People::of(&context)?.people)),
            }
        }
        let ids: Vec<&str> = missing
            .iter()
            .flat_map(|(_, _, people)| people.iter().map(|id| &**id))
            .collect();
        let known = person::among(conn, &ids)?;
        for (id, address, people) in &missing {
            // The recipients of a drill are not in the directory.
            let mut in_directory = people.iter().filter(|one| known.contains_key(&***one)).peekable();
            let is_of_directory = in_directory.peek().is_some();
            let is_theirs = in_directory.any(|one| {
                !others.reached(one)
                    && known
                        .get(&**one)
                        .is_some_and(|one| normal_address(&one.email) == *address)
            });
            if is_of_directory && !is_theirs {
                left_out.insert(*id, LeftOut::OldAddress);
            }
        }
    }
    Ok(left_out)
}

/// The lost emails of a notice that are left out.
#[derive(Default)]
pub struct LostLeftOut {
    /// Why each of them is left out, by the ID of the delivery.
    pub why: HashMap<i64, LeftOut>,
    /// The IDs of those that failed. The others bounced.
    pub failed: HashSet<i64>,
}

/// Returns which of all emails of a notice that failed or bounced are left out.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn lost_left_out(conn: &mut Conn, notice: &NoticeId) -> Result<LostLeftOut> {
    let lost: Vec<(i64, DeliveryState)> = d::table
        .filter(d::notice_id.eq(notice.as_str()))
        .filter(d::state.eq_any([DeliveryState::Failed, DeliveryState::Bounced]))
        .filter(exceptions())
        .filter(d::channel.eq(EMAIL))
        .select((d::id, d::state))
        .load(conn)?;
    let ids: Vec<i64> = lost.iter().map(|(id, _)| *id).collect();
    let why = left_out(conn, notice, &ids)?;
    let failed = lost
        .into_iter()
        .filter(|(id, state)| *state == DeliveryState::Failed && why.contains_key(id))
        .map(|(id, _)| id)
        .collect();
    Ok(LostLeftOut { why, failed })
}
