//! The open incidents that concern a reader, as far as the reader was told of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::feed::texts;
use super::phase_words::title;
use super::reader::Reader;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::choices;
use crate::incident::{self, Severity, Status};
use crate::notice::history::{self, ToldNotice};
use crate::notice::payload::PayloadTimes;
use crate::notice::template::Phase;
use crate::words::{Area, Words};

/// The largest number of notices that are looked at for open incidents.
pub(super) const LOOKED_AT: i64 = 200;

/// What concerns a reader now.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedStatus {
    /// The number of notices that the reader has not read.
    pub unread: i64,
    /// The open incidents of which the reader was told, the newest first.
    pub incidents: Vec<FeedIncident>,
    /// The name of the company that sends the notices.
    pub company: String,
    /// The language of the reader.
    pub language: Language,
    /// The direction of the text: `ltr` or `rtl`.
    pub direction: String,
    /// The IANA time zone of the reader, if it is known.
    pub time_zone: Option<String>,
    /// The words of a page that shows the feed, in the language of the reader.
    pub words: BTreeMap<String, String>,
}

/// An open incident of which a reader was told.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedIncident {
    /// The number of the incident.
    pub number: i64,
    /// The severity that the incident has now: `critical`, `major` or `minor`.
    pub severity: Severity,
    /// One line that says what it is about.
    pub title: String,
    /// When customers began to be affected, as the last notice says.
    pub started_at: Option<Timestamp>,
    /// The last notice to the reader.
    pub notice: NoticeId,
    /// The phase of this notice.
    pub phase: Phase,
    /// When this notice was sent.
    pub at: Timestamp,
    /// Until when the next update is promised.
    pub next_update_at: Option<Timestamp>,
    /// The number of the reader's own affected resources.
    pub resources: usize,
}

/// An open incident with the last notice about it to a reader.
pub(super) struct Open {
    pub incident: incident::Incident,
    pub last: ToldNotice,
}

/// Returns the open incidents of which a person was told, the newest first. One that the last notice corrects does not concern the person.
pub(super) fn open(conn: &mut Conn, person: &str) -> Result<Vec<Open>> {
    let (told, _) = history::told(conn, person, None, LOOKED_AT)?;
    let mut latest: BTreeMap<i64, ToldNotice> = BTreeMap::new();
    for one in told {
        let number = one.entry.incident.number;
        if latest.get(&number).is_none_or(|other| other.at < one.at) {
            latest.insert(number, one);
        }
    }
    let mut open = Vec::new();
    for last in latest.into_values().rev() {
        if last.entry.phase == Phase::Correction {
            continue;
        }
        let incident = incident::get(conn, &last.entry.incident.id)?;
        if !matches!(incident.status, Status::Resolved | Status::Merged) {
            open.push(Open { incident, last });
        }
    }
    Ok(open)
}

/// Returns what concerns a reader now. `company` is the name of the sender.
///
/// # Errors
/// An error of the database.
pub fn of(conn: &mut Conn, reader: &Reader, company: &str) -> Result<FeedStatus> {
    let applied = choices::applied(conn, reader.key)?;
    let read_up_to = super::read::mark(conn, reader.key)?;
    let unread = history::tally(conn, &reader.person, read_up_to)?.after;
    let incidents = open(conn, &reader.person)?
        .iter()
        .map(|one| shown(one, applied.language))
        .collect::<Result<_>>()?;
    let words = Words::of(Area::Feed, applied.language)?;
    Ok(FeedStatus {
        unread,
        incidents,
        company: company.to_owned(),
        language: applied.language,
        direction: applied.language.direction().to_owned(),
        time_zone: applied.time_zone,
        words: words
            .all()
            .into_iter()
            .map(|(key, text)| (key.to_owned(), text.to_owned()))
            .collect(),
    })
}

pub(super) fn shown(open: &Open, language: Language) -> Result<FeedIncident> {
    let texts = texts(&open.last);
    Ok(FeedIncident {
        number: open.incident.number,
        severity: open.incident.severity,
        title: title(&texts, language)?,
        started_at: PayloadTimes::of(&open.last.content).started_at,
        notice: open.last.entry.notice.clone(),
        phase: open.last.entry.phase,
        at: open.last.at,
        next_update_at: open.last.content.next_update,
        resources: texts.resources.len() + texts.more_resources,
    })
}
