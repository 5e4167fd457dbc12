//! The notices of a reader, as the feed shows them.

use serde::Serialize;

use super::phase_words::title;
use super::reader::Reader;
use crate::auth::Links;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::choices;
use crate::incident::planned::incident_number;
use crate::notice::compose::{self, Urls};
use crate::notice::history::{self, Place, ToldNotice};
use crate::notice::payload::{PayloadAction, PayloadReport};
use crate::notice::template::{MailContext, Phase, Voice};

/// A notice to the reader.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedNotice {
    /// The ID of the notice. It can be the `up_to` of a mark.
    pub id: NoticeId,
    /// The number of the incident. Null for a planned maintenance.
    pub incident: Option<i64>,
    /// The phase of the notice.
    pub phase: Phase,
    /// One line that says what the notice is about, in the language of the reader: the subject that an operator wrote, or the headline, or
    /// a sentence for the phase.
    pub title: String,
    /// What the incident is about, in the words of an operator.
    pub headline: Option<String>,
    /// The subject that an operator wrote.
    pub subject: Option<String>,
    /// The message, as plain text. Empty lines separate paragraphs.
    pub message: String,
    /// What the customer must do. Null if the notice does not say it.
    pub customer_action: Option<PayloadAction>,
    /// The report, if the phase is `report`.
    pub report: Option<PayloadReport>,
    /// When the mail server accepted the email. Marking as read compares this time.
    pub at: Timestamp,
    /// Whether the reader has read it.
    pub read: bool,
    /// Whether the reader cannot opt out of notices of this kind.
    pub mandatory: bool,
    /// Whether the notice is a reminder to answer.
    pub reminder: bool,
    /// The affected resources of the reader, as the notice named them.
    pub resources: FeedResources,
    /// Until when the next update is promised.
    pub next_update_at: Option<Timestamp>,
    /// Why the reader got the notice.
    pub reason: String,
    /// The notice that this one corrects, if it is a correction.
    pub corrects: Option<NoticeId>,
    /// The correction of this notice. Null if it was not corrected.
    pub corrected: Option<FeedCorrection>,
    /// The page on which the reader answers whether the service works. Null if the notice does not ask, and if several people share the
    /// mailbox.
    pub answer_url: Option<String>,
}

/// The affected resources of a reader.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedResources {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub items: Vec<FeedResource>,
}

/// An affected resource of a reader.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedResource {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource.
    pub id: String,
    /// The name that the notice used.
    pub name: String,
    /// The name of the account. Empty if it has none.
    pub account: String,
    /// Whether it was restored when the notice was sent.
    pub restored: bool,
}

/// The correction of a notice.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedCorrection {
    /// The notice that corrects it.
    pub notice: NoticeId,
    /// When the correction was sent.
    pub at: Timestamp,
}

/// A page of the feed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeedPage {
    /// The notices, the one that was drafted last first.
    pub items: Vec<FeedNotice>,
    /// Send this value as `cursor` to get the next page. Null on the last page. A page that is not full can have a next one.
    pub next_cursor: Option<String>,
    /// The number of all notices that the reader has not read.
    pub unread: i64,
}

/// Returns the texts of an email as data.
pub(super) fn texts(told: &ToldNotice) -> MailContext {
    // Only the texts are used, so the links lead nowhere.
    let urls = Urls::without_token("");
    compose::context(&told.content, &told.own, told.optional, urls, &Voice::current())
}

/// Returns what the feed shows of a notice.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn shown(
    told: &ToldNotice,
    language: Language,
    read_up_to: Timestamp,
    links: &Links,
) -> Result<FeedNotice> {
    let texts = texts(told);
    let entry = &told.entry;
    let alone = entry.people.len() == 1;
    let asked = entry
        .delivery
        .filter(|_| alone && told.content.phase.asks())
        .map(|delivery| links.answers(delivery));
    Ok(FeedNotice {
        id: entry.notice.clone(),
        incident: incident_number(entry.incident.number),
        phase: entry.phase,
        title: title(&texts, language)?,
        message: texts.paragraphs.join("\n\n"),
        customer_action: texts.action.as_ref().map(PayloadAction::from),
        report: texts.report.as_ref().map(PayloadReport::from),
        headline: texts.headline,
        subject: texts.subject,
        at: told.at,
        read: told.at <= read_up_to,
        mandatory: !told.optional,
        reminder: entry.reminder,
        resources: FeedResources {
            count: texts.resources.len() + texts.more_resources,
            items: texts
                .resources
                .into_iter()
                .map(|one| FeedResource {
                    type_: one.type_,
                    id: one.id,
                    name: one.label,
                    account: one.account,
                    restored: one.restored,
                })
                .collect(),
        },
        next_update_at: told.content.next_update,
        reason: entry.reason.clone(),
        corrects: entry.corrects.clone(),
        corrected: entry.corrected.as_ref().map(|one| FeedCorrection {
            notice: one.notice.clone(),
            at: one.at,
        }),
        answer_url: asked,
    })
}

/// Returns a page of the feed of a reader, and the place after which the next one begins.
///
/// # Errors
/// An error of the database.
pub fn page(
    conn: &mut Conn,
    reader: &Reader,
    links: &Links,
    before: Option<&Place>,
    limit: i64,
) -> Result<(Vec<FeedNotice>, Option<Place>, i64)> {
    let language = choices::applied(conn, reader.key)?.language;
    let read_up_to = super::read::mark(conn, reader.key)?;
    let (told, next) = history::told(conn, &reader.person, before, limit)?;
    let unread = history::tally(conn, &reader.person, read_up_to)?.after;
    let items = told
        .iter()
        .map(|one| shown(one, language, read_up_to, links))
        .collect::<Result<Vec<_>>>()?;
    Ok((items, next, unread))
}
