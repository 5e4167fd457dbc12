//! What a link in an email leads to: the delivery, its notice and incident, and what was answered by it before.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::Deserialize;

use super::Choice;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    answers as a, deliveries as d, incidents as i, notice_recipients as nr, notices as n,
};

/// The delivery that a link belongs to.
#[derive(Clone)]
pub struct Asking {
    /// The ID of the incident that the notice is about.
    pub incident: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The ID of the notice that the email belongs to.
    pub notice: NoticeId,
    /// The address of the email.
    pub address: String,
    /// The people who read this mailbox.
    pub people: Vec<String>,
    /// What is affected, as the email says it.
    pub what: String,
    /// The language of the email.
    pub language: Language,
}

/// The last answer by the links of one email.
pub struct Previous {
    /// What was chosen: `works`, `broken` or `help`.
    pub choice: Choice,
    /// When it was given.
    pub at: Timestamp,
}

/// The part of the frozen data of a recipient that is needed here.
#[derive(Deserialize)]
struct Frozen {
    people: Vec<String>,
    what: String,
    #[serde(default)]
    language: Language,
}

type Row = (i64, IncidentId, i64, NoticeId, String, String);

/// Returns the emails with these IDs, by ID. A delivery that does not exist, or is not an email that asks, is left out.
pub(super) fn askings(conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, Asking>> {
    let mut found = HashMap::new();
    for chunk in deliveries.chunks(500) {
        let rows: Vec<Row> = d::table
            .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
            .inner_join(n::table.on(n::id.eq(d::notice_id)))
            .inner_join(i::table.on(i::id.eq(n::incident_id)))
            .filter(d::id.eq_any(chunk))
            .filter(d::channel.eq(crate::notice::EMAIL))
            .select((d::id, i::id, i::number, n::id, d::address, nr::context))
            .load(conn)?;
        for (id, incident, number, notice, address, context) in rows {
            let Frozen {
                people,
                what,
                language,
            } = serde_json::from_str(&context)?;
            let asking = Asking {
                incident,
                number,
                notice,
                address,
                people,
                what,
                language,
            };
            found.insert(id, asking);
        }
    }
    Ok(found)
}

/// Returns the language of an email. `None` if the delivery is not known, for example because an older backup was restored.
///
/// # Errors
/// An error of the database, or `Internal` if the frozen data is damaged.
pub fn language_of(conn: &mut Conn, delivery: i64) -> Result<Option<Language>> {
    /// The part of the frozen data that is needed here.
    #[derive(Deserialize)]
    struct Reader {
        #[serde(default)]
        language: Language,
    }
    let context: Option<String> = d::table
        .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
        .filter(d::id.eq(delivery))
        .filter(d::channel.eq(crate::notice::EMAIL))
        .select(nr::context)
        .first(conn)
        .optional()?;
    let reader = context.map(|context| serde_json::from_str::<Reader>(&context));
    Ok(reader.transpose()?.map(|reader| reader.language))
}

/// Returns what the links of an email lead to, and the last answer by them.
///
/// # Errors
/// `NotFound` if the delivery does not exist, for example because an older backup was restored.
pub fn of(conn: &mut Conn, delivery: i64) -> Result<(Asking, Option<Previous>)> {
    let asking = askings(conn, &[delivery])?
        .remove(&delivery)
        .ok_or_else(|| Error::NotFound("the email of this link".to_owned()))?;
    let last: Option<(Option<String>, Timestamp)> = a::table
        .filter(a::delivery_id.eq(delivery))
        .filter(a::answer.is_not_null())
        .order(a::id.desc())
        .select((a::answer, a::at))
        .first(conn)
        .optional()?;
    let previous = last.and_then(|(choice, at)| {
        let choice = Choice::parse(&choice?).ok()?;
        Some(Previous { choice, at })
    });
    Ok((asking, previous))
}
