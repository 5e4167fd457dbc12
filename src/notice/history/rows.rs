//! Reads the rows of a page: the frozen recipient, the notice, the incident and the delivery.

use std::borrow::Cow;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use serde::Deserialize;

use super::entry::{HistoryEntry, HistoryIncident, Place};
use super::keys::{self, Source, Window};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement};
use crate::directory::endpoint::{self, EndpointOwner};
use crate::notice::delivery_state::DeliveryState;
use crate::notice::row::EMAIL;
use crate::notice::sms::SMS;
use crate::notice::state::NoticeState;
use crate::notice::template::Phase;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    notice_id: NoticeId,
    #[diesel(sql_type = BigInt)]
    ordinal: i64,
    #[diesel(sql_type = Text)]
    person_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    channel: String,
    #[diesel(sql_type = Text)]
    context: String,
    #[diesel(sql_type = Bool)]
    optional: bool,
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = Text)]
    notice_state: String,
    #[diesel(sql_type = BigInt)]
    queued_at: Timestamp,
    #[diesel(sql_type = Text)]
    incident_id: IncidentId,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = Bool)]
    drill: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    delivery: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    sent_at: Option<Timestamp>,
}

/// The part of the frozen data of a recipient that a history shows. The data of an endpoint has neither field.
#[derive(Deserialize)]
struct Frozen<'a> {
    #[serde(borrow, default)]
    people: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

/// Returns the people in the frozen data of a recipient. Empty for an endpoint.
pub(super) fn people_of(context: &str) -> Result<Vec<String>> {
    let frozen: Frozen<'_> = serde_json::from_str(context)?;
    Ok(frozen.people.into_iter().map(Cow::into_owned).collect())
}

impl Row {
    fn entry(self) -> Result<HistoryEntry> {
        let frozen: Frozen<'_> = serde_json::from_str(&self.context)?;
        let is_mail = self.channel == EMAIL;
        let state = match &self.state {
            Some(state) => DeliveryState::parse(state).map_err(Error::internal)?,
            None => NoticeState::parse(&self.notice_state)
                .map_err(Error::internal)?
                .of_unqueued(),
        };
        let reason = match self.channel.as_str() {
            EMAIL => frozen.reason.into_owned(),
            SMS => "This is a short message to the phone of the person, beside the email.".to_owned(),
            _ => format!("This is an endpoint of the account {}.", self.name),
        };
        Ok(HistoryEntry {
            people: frozen.people.into_iter().map(Cow::into_owned).collect(),
            reason,
            optional: self.optional,
            sent_at: self.sent_at,
            phase: Phase::parse(&self.phase).map_err(Error::internal)?,
            incident: HistoryIncident {
                id: self.incident_id,
                number: self.number,
                title: self.title,
            },
            notice: self.notice_id,
            reminder: false,
            drill: self.drill,
            name: self.name,
            endpoint: (!is_mail).then_some(self.person_id),
            channel: self.channel,
            address: self.address,
            delivery: self.delivery,
            state,
            at: self.sent_at.unwrap_or(self.queued_at),
            queued_at: self.queued_at,
            attempts: 0,
            reply: None,
            relay: None,
            bounced_at: None,
            bounce: None,
            answer: None,
            corrected: None,
            corrects: None,
            ordinal: self.ordinal,
            context: self.context,
        })
    }
}

/// Returns the rows of a page without what `details` adds, and the place of the last row that was read.
pub(super) fn read(
    conn: &mut Conn,
    source: &Source,
    window: Window<'_>,
) -> Result<(Vec<HistoryEntry>, Option<Place>)> {
    let mut statement = Statement::default();
    statement.push(
        "SELECT k.notice_id, k.ordinal, r.person_id, r.name, r.address, r.channel, r.context, r.optional, n.phase, n.state AS notice_state, \
             COALESCE(n.queued_at, n.created_at) AS queued_at, n.incident_id, i.number, i.title, i.drill, \
             d.id AS delivery, d.state, d.sent_at FROM (",
    );
    keys::push(&mut statement, source, window);
    statement.push(
        ") k JOIN notice_recipients r ON r.notice_id = k.notice_id AND r.ordinal = k.ordinal \
             JOIN notices n ON n.id = k.notice_id JOIN incidents i ON i.id = n.incident_id \
             LEFT JOIN deliveries d ON d.notice_id = k.notice_id AND d.ordinal = k.ordinal \
         ORDER BY k.notice_id DESC, k.ordinal DESC",
    );
    let rows: Vec<Row> = statement.finish().load(conn)?;
    let last = rows.last().map(|row| (row.notice_id.clone(), row.ordinal));
    let mut entries = rows.into_iter().map(Row::entry).collect::<Result<Vec<_>>>()?;
    name_owners_of_phones(conn, &mut entries)?;
    Ok((entries, last))
}

/// Adds to whom the short messages went. Their frozen data has only the endpoint.
fn name_owners_of_phones(conn: &mut Conn, entries: &mut [HistoryEntry]) -> Result<()> {
    let phones = entries.iter().filter(|entry| entry.channel == SMS);
    let phones: Vec<&str> = phones.filter_map(|entry| entry.endpoint.as_deref()).collect();
    if phones.is_empty() {
        return Ok(());
    }
    let owners = endpoint::owners_of(conn, &phones)?;
    for entry in entries {
        let owner = entry.endpoint.as_ref().and_then(|id| owners.get(id));
        if let Some(EndpointOwner {
            person: Some(person),
            name,
            ..
        }) = owner
        {
            entry.people = vec![person.clone()];
            entry.name.clone_from(name);
        }
    }
    Ok(())
}
