//! Everything that is held about one person, for the person. It comes from the same search as an erasure, so that nothing is erased
//! that an export would not have shown.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::erase::{Rows, find};
use super::texts::Left;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, alert_people as ap, alerts as al, answers as an, audit_events as ae, collaborators as c,
    deliveries as d, delivery_attempts as da, emergency_notices as me, emergency_recipients as mr,
    feedback as f, hook_requests as h, incident_people as ip, incidents as i, members as m,
    notice_recipients as nr, notice_values as nv, notices as n, opt_outs as oo, resources as r,
};
use crate::directory::choices::{self, Choices};
use crate::directory::endpoint::{self, HeldNumber};
use crate::directory::person::{self, Person};
use crate::directory::{forget, normal_address};
use crate::subscription::Subscriber;
use crate::subscription::subscriber;

/// Everything that is held about a person.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PersonExport)]
pub struct Export {
    /// When the export was made.
    pub exported_at: Timestamp,
    /// The entry in the directory.
    pub person: Person,
    /// The memberships of accounts, also those that ended: `account`, `name`, `role`, `ended_at`.
    pub accounts: Vec<Value>,
    /// The roles on resources, also those that ended: `resource`, `name`, `role`, `ended_at`.
    pub resources: Vec<Value>,
    /// The notices to the person, oldest first: the incident, the phase, the address, the data of the email, the state, each attempt with
    /// the reply of the server.
    pub notices: Vec<Value>,
    /// The emergency notices to the person, which were sent without the database: the incident, the subject, the text, the state.
    pub emergency_notices: Vec<Value>,
    /// What came back for these emails: bounces, complaints and replies.
    pub reports: Vec<Value>,
    /// The answers of the person.
    pub answers: Vec<Value>,
    /// What the person chose on their page: the language and the time zone.
    pub choices: Choices,
    /// The phone numbers of the person, with how the person agreed to get messages.
    pub phones: Vec<HeldNumber>,
    /// The suppressed addresses of the person.
    pub suppressions: Vec<Value>,
    /// The subscriptions of these addresses to the status page.
    pub subscriptions: Vec<Subscriber>,
    /// The incidents that the person was added to directly.
    pub named_in_incidents: Vec<Value>,
    /// The errors that the person was seen to hit.
    pub errors: Vec<Value>,
    /// The values of drafts that are for the person.
    pub values: Vec<Value>,
    /// The events of the audit trail about the person.
    pub audit_events: Vec<Value>,
    /// The saved requests of hooks that mention the person, as text.
    pub saved_requests: Vec<Value>,
    /// How many rows an erasure would change, by kind.
    pub rows: Rows,
    /// Other places that mention the person and that an erasure could not change.
    pub mentioned: Vec<Left>,
}

/// Returns everything that is held about a person, and writes to the audit trail that it was exported.
///
/// # Errors
/// `NotFound` if there is no such person, `Conflict` if the entry stands for somebody who was erased.
pub fn export(tx: &mut Tx<'_>, id: &ExternalId) -> Result<Export> {
    let id = id.as_str();
    let found = find(tx.conn, id)?;
    let person = person::get(tx.conn, id)?;
    let key = forget::key_of(tx.conn, id)?;
    let conn = &mut *tx.conn;
    let export = Export {
        exported_at: tx.now,
        accounts: accounts(conn, key)?,
        resources: resources(conn, key)?,
        notices: notices(conn, &found)?,
        emergency_notices: emergencies(conn, id)?,
        reports: reports(conn, &found.report_ids())?,
        answers: answers(conn, id)?,
        choices: choices::of(conn, key)?,
        phones: endpoint::numbers_of_person(conn, key)?,
        suppressions: suppressions(conn, &found)?,
        subscriptions: subscriptions(conn, &found)?,
        named_in_incidents: named(conn, key)?,
        errors: errors(conn, key)?,
        values: values(conn, id)?,
        audit_events: events(conn, &found.event_numbers())?,
        saved_requests: requests(conn, found.request_ids())?,
        rows: found.preview().rows,
        mentioned: found.preview().left,
        person,
    };
    tx.record(Event::new(Action::PersonExported, "person", id).after(json!({"rows": export.rows})));
    Ok(export)
}

fn accounts(conn: &mut Conn, key: i64) -> Result<Vec<Value>> {
    let rows: Vec<(String, String, String, Option<Timestamp>)> = m::table
        .inner_join(a::table)
        .filter(m::person_key.eq(key))
        .order(a::id)
        .select((a::id, a::name, m::role, m::gone_at))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(account, name, role, ended_at)| {
            json!({"account": account, "name": name, "role": role, "ended_at": ended_at})
        })
        .collect())
}

fn resources(conn: &mut Conn, key: i64) -> Result<Vec<Value>> {
    type Held = (String, String, Option<String>, String, Option<Timestamp>);
    let rows: Vec<Held> = c::table
        .inner_join(r::table)
        .filter(c::person_key.eq(key))
        .order((r::type_, r::id))
        .select((r::type_, r::id, r::name, c::role, c::gone_at))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(type_, id, name, role, ended_at)| {
            json!({"resource": {"type": type_, "id": id}, "name": name, "role": role, "ended_at": ended_at})
        })
        .collect())
}

fn notices(conn: &mut Conn, found: &super::erase::Found) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for (notice, ordinal) in found.recipient_places() {
        type Head = (i64, String, Option<Timestamp>);
        let (number, phase, queued_at): Head = n::table
            .inner_join(i::table)
            .filter(n::id.eq(notice.as_str()))
            .select((i::number, n::phase, n::queued_at))
            .first(conn)?;
        let (name, address, context): (String, String, String) = nr::table
            .find((notice.as_str(), ordinal))
            .select((nr::name, nr::address, nr::context))
            .first(conn)?;
        let delivery: Option<(i64, String, Option<Timestamp>)> = d::table
            .filter(d::notice_id.eq(notice.as_str()))
            .filter(d::ordinal.eq(ordinal))
            .select((d::id, d::state, d::sent_at))
            .first(conn)
            .optional()?;
        let attempts: Vec<(Timestamp, String, String)> = match &delivery {
            Some((id, ..)) => da::table
                .filter(da::delivery_id.eq(id))
                .order(da::attempt)
                .select((da::at, da::outcome, da::reply))
                .load(conn)?,
            None => Vec::new(),
        };
        let attempts: Vec<Value> = attempts
            .into_iter()
            .map(|(at, outcome, reply)| json!({"at": at, "outcome": outcome, "reply": reply}))
            .collect();
        all.push((
            queued_at,
            json!({
                "incident": number, "notice": notice, "phase": phase, "queued_at": queued_at,
                "name": name, "address": address,
                "data": serde_json::from_str::<Value>(&context).unwrap_or_default(),
                "state": delivery.as_ref().map(|(_, state, _)| state),
                "sent_at": delivery.as_ref().and_then(|(_, _, at)| *at),
                "attempts": attempts,
            }),
        ));
    }
    all.sort_by_key(|(queued_at, _)| *queued_at);
    Ok(all.into_iter().map(|(_, value)| value).collect())
}

fn emergencies(conn: &mut Conn, id: &str) -> Result<Vec<Value>> {
    type Row = (i64, String, String, String, String, Timestamp);
    let rows: Vec<Row> = mr::table
        .inner_join(me::table.on(me::id.eq(mr::notice_id)))
        .inner_join(i::table.on(i::id.eq(me::incident_id)))
        .filter(mr::person_id.eq(id))
        .order(me::began_at)
        .select((
            i::number,
            mr::notice_id,
            me::subject,
            me::message,
            mr::state,
            mr::at,
        ))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(number, notice, subject, message, state, at)| {
            json!({
                "incident": number, "notice": notice, "subject": subject, "message": message, "state": state, "at": at,
            })
        })
        .collect())
}

fn reports(conn: &mut Conn, ids: &[i64]) -> Result<Vec<Value>> {
    type Row = (
        i64,
        Timestamp,
        String,
        String,
        String,
        Option<String>,
        String,
        Vec<u8>,
    );
    let mut all = Vec::new();
    for ids in ids.chunks(500) {
        let rows: Vec<Row> = f::table
            .filter(f::id.eq_any(ids))
            .order(f::id)
            .select((
                f::id,
                f::at,
                f::source,
                f::kind,
                f::address,
                f::status,
                f::diagnostic,
                f::raw,
            ))
            .load(conn)?;
        all.extend(rows.into_iter().map(|row| {
            let (id, at, source, kind, address, status, diagnostic, raw) = row;
            json!({
                "id": id, "at": at, "source": source, "kind": kind, "address": address, "status": status,
                "diagnostic": diagnostic, "raw": String::from_utf8_lossy(&raw),
            })
        }));
    }
    Ok(all)
}

fn answers(conn: &mut Conn, id: &str) -> Result<Vec<Value>> {
    type Row = (i64, Timestamp, String, Option<String>, String, String);
    let rows: Vec<Row> = an::table
        .inner_join(i::table.on(i::id.eq(an::incident_id)))
        .filter(an::person_id.eq(id))
        .order(an::id)
        .select((i::number, an::at, an::address, an::answer, an::text, an::source))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(number, at, address, answer, text, source)| {
            json!({
                "incident": number, "at": at, "address": address, "answer": answer, "text": text, "by": source,
            })
        })
        .collect())
}

fn suppressions(conn: &mut Conn, found: &super::erase::Found) -> Result<Vec<Value>> {
    let addresses: Vec<String> = found
        .addresses()
        .iter()
        .map(|address| normal_address(address))
        .collect();
    let rows: Vec<(String, Timestamp, String)> = oo::table
        .filter(oo::address.eq_any(&addresses))
        .order(oo::address)
        .select((oo::address, oo::at, oo::reason))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(address, at, reason)| json!({"address": address, "at": at, "reason": reason}))
        .collect())
}

fn subscriptions(conn: &mut Conn, found: &super::erase::Found) -> Result<Vec<Subscriber>> {
    let addresses = found.addresses().iter();
    let addresses: Vec<String> = addresses.map(|address| normal_address(address)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    subscriber::of_addresses(conn, &addresses)
}

fn named(conn: &mut Conn, key: i64) -> Result<Vec<Value>> {
    let rows: Vec<(i64, String, Timestamp, Option<Timestamp>)> = ip::table
        .inner_join(i::table.on(i::id.eq(ip::incident_id)))
        .filter(ip::person_key.eq(key))
        .order(i::number)
        .select((i::number, i::title, ip::added_at, ip::removed_at))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(number, title, added_at, removed_at)| {
            json!({"incident": number, "title": title, "added_at": added_at, "removed_at": removed_at})
        })
        .collect())
}

fn errors(conn: &mut Conn, key: i64) -> Result<Vec<Value>> {
    let rows: Vec<(String, String, i64, Timestamp, Timestamp)> = ap::table
        .inner_join(al::table.on(al::id.eq(ap::alert_id)))
        .filter(ap::person_key.eq(Some(key)))
        .order(al::id)
        .select((al::id, al::title, ap::events, ap::first_seen_at, ap::last_seen_at))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(alert, title, events, first, last)| {
            json!({"alert": alert, "title": title, "events": events, "first_seen_at": first, "last_seen_at": last})
        })
        .collect())
}

fn values(conn: &mut Conn, id: &str) -> Result<Vec<Value>> {
    let rows: Vec<(String, String)> = nv::table
        .filter(nv::person_id.eq(id))
        .order(nv::notice_id)
        .select((nv::notice_id, nv::given))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(notice, given)| {
            json!({"notice": notice, "values": serde_json::from_str::<Value>(&given).unwrap_or_default()})
        })
        .collect())
}

fn events(conn: &mut Conn, seqs: &[i64]) -> Result<Vec<Value>> {
    type Row = (i64, Timestamp, String, String, Option<String>, Option<String>);
    let mut all = Vec::new();
    for seqs in seqs.chunks(500) {
        let rows: Vec<Row> = ae::table
            .filter(ae::seq.eq_any(seqs))
            .order(ae::seq)
            .select((
                ae::seq,
                ae::at,
                ae::action,
                ae::subject_id,
                ae::before_json,
                ae::after_json,
            ))
            .load(conn)?;
        let state = |text: Option<String>| {
            text.and_then(|text| serde_json::from_str::<Value>(&text).ok())
                .unwrap_or_default()
        };
        all.extend(rows.into_iter().map(|(seq, at, action, subject, before, after)| {
            json!({
                "seq": seq, "at": at, "action": action, "subject": subject, "before": state(before), "after": state(after),
            })
        }));
    }
    Ok(all)
}

fn requests(conn: &mut Conn, ids: &[i64]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for ids in ids.chunks(100) {
        let rows: Vec<(i64, Timestamp, Vec<u8>)> = h::table
            .filter(h::id.eq_any(ids))
            .order(h::id)
            .select((h::id, h::received_at, h::body))
            .load(conn)?;
        all.extend(rows.into_iter().map(
            |(id, at, body)| json!({"id": id, "received_at": at, "body": String::from_utf8_lossy(&body)}),
        ));
    }
    Ok(all)
}
