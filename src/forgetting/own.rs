//! Rows that are removed as a whole, because nothing of them is needed without the person: phone numbers, suppressions, values for templates, saved
//! requests, uploaded listings, and the bodies of repeated answers. And rows that have nothing but the ID of the person: who was told by an
//! emergency notice, and who else has the mailbox of a recipient. They get the placeholder.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::needles::{Needles, REMOVED};
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::ErasureId;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{
    comparison_blocks as cb, comparison_listings as cl, comparisons as c, emergency_recipients as mr,
    endpoints as e, erasure_marks as em, feed_reads as fr, hook_requests as h, idempotency_keys as ik,
    notice_values as nv, opt_outs as oo, people as p, person_choices as pc, shared_recipients as sr,
};
use crate::directory::erased::{MarkOf, Marks};
use crate::subscription::subscriber;
use crate::subscription::subscribing::{self, EndReason};

/// The number of bodies that are in memory at once.
const STEP: i64 = 20;
/// The number of blocks of listings that are in memory at once.
const BLOCKS: i64 = 200;

/// The rows that were found for one person.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// The addresses of the person that are suppressed.
    pub suppressed: Vec<String>,
    /// The values of drafts that are for the person, and those that contain the person.
    pub values: Vec<(String, String)>,
    /// The saved requests of hooks.
    pub requests: Vec<i64>,
    /// The answers to requests with an idempotency key.
    pub answers: Vec<String>,
    /// The uploaded listings of comparisons.
    pub listings: Vec<i64>,
    /// The emergency notices to the person.
    pub emergencies: Vec<String>,
    /// The recipients of which the person is one of the further people: the notice and the position.
    pub shared: Vec<(String, i64)>,
    /// What the person chose: the key of the person.
    pub chosen: Vec<i64>,
    /// Up to when the person has read the feed: the key of the person.
    pub read: Vec<i64>,
    /// The subscriptions of the person to the status page.
    pub subscriptions: Vec<i64>,
    /// The endpoints of the person that still have a phone number or a note about it.
    pub phones: Vec<String>,
}

impl Own {
    /// Returns the number of rows.
    pub fn rows(&self) -> i64 {
        [
            self.suppressed.len(),
            self.values.len(),
            self.requests.len(),
            self.answers.len(),
            self.listings.len(),
            self.emergencies.len(),
            self.shared.len(),
            self.chosen.len(),
            self.read.len(),
            self.subscriptions.len(),
            self.phones.len(),
        ]
        .into_iter()
        .sum::<usize>() as i64
    }
}

/// Searches these rows.
///
/// # Errors
/// An error of the database.
pub(super) fn find(conn: &mut Conn, needles: &Needles, own: &BTreeSet<String>) -> Result<Own> {
    let addresses: Vec<&str> = own.iter().map(String::as_str).collect();
    let suppressed = oo::table
        .filter(oo::address.eq_any(&addresses))
        .select(oo::address)
        .load(conn)?;
    let given: Vec<(String, String, String)> = nv::table
        .select((nv::notice_id, nv::person_id, nv::given))
        .load(conn)?;
    let values = given
        .into_iter()
        .filter(|(_, person, given)| *person == needles.id || needles.json(given).is_some())
        .map(|(notice, person, _)| (notice, person))
        .collect();
    let emergencies = mr::table
        .filter(mr::person_id.eq(&needles.id))
        .order(mr::notice_id)
        .select(mr::notice_id)
        .load(conn)?;
    let shared = sr::table
        .filter(sr::person_id.eq(&needles.id))
        .order((sr::notice_id, sr::ordinal))
        .select((sr::notice_id, sr::ordinal))
        .load(conn)?;
    let chosen = pc::table
        .inner_join(p::table)
        .filter(p::id.eq(&needles.id))
        .select(pc::person_key)
        .load(conn)?;
    let read = fr::table
        .inner_join(p::table)
        .filter(p::id.eq(&needles.id))
        .select(fr::person_key)
        .load(conn)?;
    let phones = e::table
        .inner_join(p::table)
        .filter(p::id.eq(&needles.id))
        .filter(e::secret.is_not_null().or(e::consent.is_not_null()))
        .order(e::id)
        .select(e::id)
        .load(conn)?;
    let subscriptions = subscriber::of_addresses(conn, &addresses)?;
    Ok(Own {
        subscriptions: subscriptions.into_iter().map(|one| one.id).collect(),
        phones,
        chosen,
        read,
        emergencies,
        shared,
        suppressed,
        values,
        requests: requests(conn, needles)?,
        answers: answers(conn, needles)?,
        listings: listings(conn, needles)?,
    })
}

fn requests(conn: &mut Conn, needles: &Needles) -> Result<Vec<i64>> {
    let (mut found, mut last) = (Vec::new(), i64::MIN);
    loop {
        let rows: Vec<(i64, String, Vec<u8>, String, String)> = h::table
            .filter(h::id.gt(last))
            .order(h::id)
            .limit(STEP)
            .select((h::id, h::detail, h::body, h::query, h::headers))
            .load(conn)?;
        let Some((id, ..)) = rows.last() else { break };
        last = *id;
        for (id, detail, body, query, headers) in rows {
            let texts = [detail, query, headers];
            let in_text = texts.iter().any(|text| needles.is_in(text.as_bytes()));
            if in_text || needles.is_in(&body) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

fn answers(conn: &mut Conn, needles: &Needles) -> Result<Vec<String>> {
    let (mut found, mut last) = (Vec::new(), String::new());
    loop {
        let rows: Vec<(String, Option<Vec<u8>>)> = ik::table
            .filter(ik::id.gt(&last))
            .order(ik::id)
            .limit(STEP)
            .select((ik::id, ik::body))
            .load(conn)?;
        let Some((id, _)) = rows.last() else { break };
        last.clone_from(id);
        for (id, body) in rows {
            if body.is_some_and(|body| needles.is_in(&body)) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

fn listings(conn: &mut Conn, needles: &Needles) -> Result<Vec<i64>> {
    let staged: Vec<i64> = cl::table.filter(cl::staged.eq(true)).select(cl::id).load(conn)?;
    let mut found = Vec::new();
    for listing in staged {
        let runs: Vec<i64> = cb::table
            .filter(cb::listing_id.eq(listing))
            .select(cb::sorted_run)
            .distinct()
            .load(conn)?;
        let mut contains = false;
        for run in runs {
            let mut last = i64::MIN;
            while !contains {
                let blocks: Vec<(i64, Vec<u8>)> = cb::table
                    .filter(cb::listing_id.eq(listing))
                    .filter(cb::sorted_run.eq(run))
                    .filter(cb::seq.gt(last))
                    .order(cb::seq)
                    .limit(BLOCKS)
                    .select((cb::seq, cb::content))
                    .load(conn)?;
                let Some((seq, _)) = blocks.last() else { break };
                last = *seq;
                contains = blocks.iter().any(|(_, content)| needles.is_in(content));
            }
        }
        if contains {
            found.push(listing);
        }
    }
    Ok(found)
}

/// Removes these rows.
///
/// # Errors
/// An error of the database.
pub(super) fn remove(tx: &mut Tx<'_>, own: &Own, needles: &Needles) -> Result<()> {
    for id in &own.subscriptions {
        subscribing::end(tx, *id, EndReason::Erased)?;
    }
    let (now, conn) = (tx.now, &mut *tx.conn);
    // The endpoint stays without its number, because frozen lists refer to it.
    diesel::update(
        e::table
            .filter(e::id.eq_any(&own.phones))
            .filter(e::gone_at.is_null()),
    )
    .set(e::gone_at.eq(Some(now)))
    .execute(conn)?;
    diesel::update(e::table.filter(e::id.eq_any(&own.phones)))
        .set((
            e::secret.eq(None::<String>),
            e::consent.eq(None::<String>),
            e::updated_at.eq(now),
        ))
        .execute(conn)?;
    for address in &own.suppressed {
        diesel::delete(oo::table.find(address)).execute(conn)?;
    }
    diesel::delete(pc::table.filter(pc::person_key.eq_any(&own.chosen))).execute(conn)?;
    diesel::delete(fr::table.filter(fr::person_key.eq_any(&own.read))).execute(conn)?;
    for (notice, person) in &own.values {
        diesel::delete(nv::table.find((notice, person))).execute(conn)?;
    }
    for ids in own.requests.chunks(500) {
        diesel::delete(h::table.filter(h::id.eq_any(ids))).execute(conn)?;
    }
    for id in &own.answers {
        let body: Option<Vec<u8>> = ik::table.find(id).select(ik::body).first(conn)?;
        let Some(body) = body else { continue };
        // The key stays, so that a repeated request does not do its work again.
        let text = String::from_utf8_lossy(&body);
        let without = needles.json(&text).unwrap_or_else(|| {
            if needles.is_in(&body) {
                format!("\"{REMOVED}\"")
            } else {
                text.clone().into_owned()
            }
        });
        diesel::update(ik::table.find(id))
            .set(ik::body.eq(Some(without.into_bytes())))
            .execute(conn)?;
    }
    for listing in &own.listings {
        // A listing without its rows must not be compared as if it were empty.
        diesel::update(cl::table.find(listing))
            .set((cl::state.eq("replaced"), cl::staged.eq(false)))
            .execute(conn)?;
        diesel::update(c::table.filter(c::expected_listing.eq(Some(*listing))))
            .set(c::expected_listing.eq(None::<i64>))
            .execute(conn)?;
        diesel::update(c::table.filter(c::observed_listing.eq(Some(*listing))))
            .set(c::observed_listing.eq(None::<i64>))
            .execute(conn)?;
        diesel::delete(cb::table.filter(cb::listing_id.eq(listing))).execute(conn)?;
    }
    for notice in &own.emergencies {
        diesel::update(mr::table.find((notice, &needles.id)))
            .set(mr::person_id.eq(&needles.placeholder))
            .execute(conn)?;
    }
    for (notice, ordinal) in &own.shared {
        diesel::update(sr::table.find((&needles.id, notice, ordinal)))
            .set(sr::person_id.eq(&needles.placeholder))
            .execute(conn)?;
    }
    Ok(())
}

/// Stores the keyed hashes of the ID and the addresses, with the suppressions, which must not be removed yet.
///
/// # Errors
/// An error of the database.
pub(super) fn mark(
    conn: &mut Conn,
    erasure: &ErasureId,
    id: &str,
    own: &BTreeSet<String>,
    blocks: bool,
) -> Result<()> {
    let marks = Marks::of(conn)?;
    let mut rows = Vec::new();
    if blocks {
        rows.push((
            em::erasure_id.eq(erasure.as_str()),
            em::mark.eq(marks.mark(MarkOf::Person, id)),
            em::kind.eq(MarkOf::Person.as_str()),
            em::suppression.eq(None::<String>),
            em::suppressed_at.eq(None::<i64>),
        ));
    }
    for address in own {
        let stored: Option<(i64, String)> = oo::table
            .find(address)
            .select((oo::at, oo::reason))
            .first(conn)
            .optional()?;
        if stored.is_none() && !blocks {
            continue;
        }
        rows.push((
            em::erasure_id.eq(erasure.as_str()),
            em::mark.eq(marks.mark(MarkOf::Address, address)),
            em::kind.eq(MarkOf::Address.as_str()),
            em::suppression.eq(stored.as_ref().map(|(_, reason)| reason.clone())),
            em::suppressed_at.eq(stored.map(|(at, _)| at)),
        ));
    }
    if !rows.is_empty() {
        on_backend!(&mut *conn, c => diesel::insert_into(em::table).values(&rows).execute(c))?;
    }
    Ok(())
}
