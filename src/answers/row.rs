//! Stores answers. This is the only place that writes them, so that each has its audit event.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{AnsweredBy, Choice};
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::many::insert_many;
use crate::db::schema::answers;

/// An answer that is to be stored, for each of the people who gave it.
pub(super) struct Given<'a> {
    pub incident: &'a IncidentId,
    pub people: &'a [String],
    pub address: &'a str,
    pub notice: Option<&'a NoticeId>,
    pub delivery: Option<i64>,
    pub choice: Option<Choice>,
    pub text: &'a str,
    pub at: Timestamp,
    pub by: AnsweredBy,
    pub recorded_by: Option<&'a str>,
    pub feedback: Option<i64>,
}

#[derive(Insertable)]
#[diesel(table_name = answers)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    incident_id: String,
    person_id: String,
    address: String,
    notice_id: Option<String>,
    delivery_id: Option<i64>,
    answer: Option<String>,
    text: String,
    at: Timestamp,
    received_at: Timestamp,
    source: String,
    recorded_by: Option<String>,
    feedback_id: Option<i64>,
}

/// Stores answers and their audit events. The events contain a hash of the text, which shows that it was not changed.
pub(super) fn store(tx: &mut Tx<'_>, given: &[Given<'_>]) -> Result<()> {
    let mut rows = Vec::with_capacity(given.len());
    for one in given {
        let digest = (!one.text.is_empty()).then(|| hex(&Sha256::digest(one.text)));
        for person in one.people {
            tx.record(
                Event::new(Action::AnswerRecorded, "person", person.clone())
                    .incident(one.incident)
                    .after(json!({
                        "answer": one.choice, "by": one.by, "notice": one.notice, "delivery": one.delivery, "at": one.at,
                        "text_sha256": digest,
                    })),
            );
            rows.push(Row {
                incident_id: one.incident.to_string(),
                person_id: person.clone(),
                address: one.address.to_owned(),
                notice_id: one.notice.map(ToString::to_string),
                delivery_id: one.delivery,
                answer: one.choice.map(|choice| choice.as_str().to_owned()),
                text: one.text.to_owned(),
                at: one.at,
                received_at: tx.now,
                source: one.by.as_str().to_owned(),
                recorded_by: one.recorded_by.map(str::to_owned),
                feedback_id: one.feedback,
            });
        }
    }
    insert_many!(tx.conn, answers::table, "answers", rows.as_slice(), {
        incident_id: Text = |row| row.incident_id.as_str(),
        person_id: Text = |row| row.person_id.as_str(),
        address: Text = |row| row.address.as_str(),
        notice_id: Nullable<Text> = |row| row.notice_id.as_deref(),
        delivery_id: Nullable<BigInt> = |row| row.delivery_id,
        answer: Nullable<Text> = |row| row.answer.as_deref(),
        text: Text = |row| row.text.as_str(),
        at: BigInt = |row| row.at,
        received_at: BigInt = |row| row.received_at,
        source: Text = |row| row.source.as_str(),
        recorded_by: Nullable<Text> = |row| row.recorded_by.as_deref(),
        feedback_id: Nullable<BigInt> = |row| row.feedback_id,
    });
    Ok(())
}
