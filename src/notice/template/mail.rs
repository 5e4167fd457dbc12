//! What an email can show. Nothing in it is interpreted as a template.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::sentences::Voice;
use crate::base::language::Language;

/// All data that an email can show. Nothing in it is interpreted as a template.
#[derive(Clone, Debug, Serialize)]
pub struct MailContext {
    /// The phase: detection, update, recovery, resolution, report, correction or maintenance.
    pub phase: Phase,
    /// The incident, without its internal title. In the phase `maintenance`, its number is that of the maintenance.
    pub incident: MailIncident,
    /// The subject that the operator wrote, if there is one.
    pub subject: Option<String>,
    /// What is affected for the recipient, for sentences such as "a problem with …".
    pub what: String,
    /// The person or the people who get the email.
    pub recipient: MailRecipient,
    /// What the incident is about, in the words of the operator. Not every notice has it.
    pub headline: Option<String>,
    /// The number of the update, from 1, in the phase `update`.
    pub update: Option<i64>,
    /// The time until which the next update is promised, in the time zone of the recipient and in UTC.
    pub next_update: Option<String>,
    /// The page where customers get help, if it is set.
    pub support_url: Option<String>,
    /// The values of the recipient's own, by key.
    pub values: BTreeMap<String, String>,
    /// The paragraphs of the operator's message.
    pub paragraphs: Vec<String>,
    /// The action that customers need to take.
    pub action: Option<MailAction>,
    /// The first of the affected resources of the recipient.
    pub resources: Vec<MailResource>,
    /// The number of further resources that are not listed.
    pub more_resources: usize,
    /// The times of the incident that are known, for example when it started.
    pub times: Vec<MailTime>,
    /// The report, in the phase `report`.
    pub report: Option<MailReport>,
    /// The name of the company that sends the email.
    pub sender: String,
    /// One sentence that says why the recipient gets the email.
    pub reason: String,
    /// Whether the recipient can opt out of it.
    pub optional: bool,
    /// The URL for opting out.
    pub unsubscribe_url: String,
    /// The URL of the page of the recipient: what affects them, what they were told, and their preferences.
    pub mine_url: String,
    /// The links with which the recipient answers. Empty in a report and in a correction, which do not ask.
    pub answers: Option<MailAnswers>,
    /// Set if other people were notified before, and this is the first email about the incident to the recipient.
    pub late: Option<MailLate>,
    /// The wrong email, in the phase `correction`.
    pub corrects: Option<MailCorrects>,
    /// How much of what the incident affects of the recipient is restored. Empty if the incident has no recovery states, or affects
    /// no resource of the recipient.
    pub recovery: Option<MailRecovery>,
    /// The language of the fixed sentences.
    pub language: Language,
    /// The direction of the language, `ltr` or `rtl`.
    pub direction: &'static str,
    /// Whether the language is written from right to left.
    pub rtl: bool,
    /// The language of the message, if it is another one than that of the fixed sentences.
    pub message_language: Option<Language>,
    /// The fixed sentences in the language of the reader, by key.
    pub t: BTreeMap<String, String>,
    /// Whether the email is part of a drill. Candor marks every email of a drill, whatever its template shows.
    pub drill: bool,
    /// The brand of the sender, if it has more than a name and a page for help.
    pub brand: Option<MailBrand>,
    /// The planned maintenance, in the phase `maintenance`.
    pub maintenance: Option<MailMaintenance>,
}

/// A planned maintenance in an email.
#[derive(Clone, Debug, Serialize)]
pub struct MailMaintenance {
    /// What the email says about it: announced, moved, cancelled, begun or over.
    pub change: &'static str,
    /// The title of the maintenance, which says in words for customers what is maintained.
    pub title: String,
    /// When it starts, in the time zone of the recipient and in UTC.
    pub starts: String,
    /// When it ends, in the time zone of the recipient and in UTC.
    pub ends: String,
    /// When it was to start before it was moved. Empty if it was not.
    pub was_starts: Option<String>,
    /// When it was to end before it was moved. Empty if it was not.
    pub was_ends: Option<String>,
    /// The IDs of the components of the status page that it affects.
    pub components: Vec<String>,
}

/// The brand in an email.
#[derive(Clone, Debug, Serialize)]
pub struct MailBrand {
    /// The colour, such as `#0b5cad`. White text on it can be read.
    pub color: Option<String>,
    /// The https URL of the logo.
    pub logo: Option<String>,
    /// The lines of the postal address.
    pub postal_address: Vec<String>,
    /// The lines of the footer.
    pub footer: Vec<String>,
}

impl MailContext {
    /// Fills in the fixed sentences. A value that the email does not have is empty in them.
    pub fn fill_sentences(&mut self, voice: &Voice) {
        let (number, count) = (
            self.incident.number.to_string(),
            self.language.number(self.more_resources),
        );
        let update = self.update.map(|update| update.to_string());
        let planned = self.maintenance.as_ref();
        let values = [
            ("count", count.as_str()),
            ("name", self.recipient.name.as_str()),
            ("sender", self.sender.as_str()),
            ("what", self.what.as_str()),
            ("headline", self.headline.as_deref().unwrap_or_default()),
            ("number", number.as_str()),
            ("update", update.as_deref().unwrap_or_default()),
            ("next_update", self.next_update.as_deref().unwrap_or_default()),
            ("began", self.late.as_ref().map_or("", |late| late.began.as_str())),
            ("title", planned.map_or("", |planned| planned.title.as_str())),
            ("starts", planned.map_or("", |planned| planned.starts.as_str())),
            ("ends", planned.map_or("", |planned| planned.ends.as_str())),
            (
                "was_starts",
                planned
                    .and_then(|planned| planned.was_starts.as_deref())
                    .unwrap_or_default(),
            ),
            (
                "was_ends",
                planned
                    .and_then(|planned| planned.was_ends.as_deref())
                    .unwrap_or_default(),
            ),
        ];
        self.t = voice.sentences(self.language, self.more_resources, &values);
    }
}

/// What an email to a recipient who was found late says in addition.
#[derive(Clone, Debug, Serialize)]
pub struct MailLate {
    /// When the incident began, in UTC and in the time zone of the recipient.
    pub began: String,
}

/// How much of what the incident affects of the recipient is restored. The numbers are texts, as an email shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailRecovery {
    /// The number of restored resources, such as `12`.
    pub restored: String,
    /// The number of affected resources, restored or not, such as `1,259`.
    pub affected: String,
    /// The number of resources that are not restored. Empty if there are none.
    pub left: String,
    /// All of it in one sentence: "12 of your 40 affected files are restored so far."
    pub summary: String,
}

/// The email that a correction is about.
#[derive(Clone, Debug, Serialize)]
pub struct MailCorrects {
    /// The subject of the wrong email. Empty if it is not known any more.
    pub subject: String,
    /// When the wrong notice was sent, in UTC and in the time zone of the recipient.
    pub sent_at: String,
}

/// The links of an email with which the recipient answers whether the service works.
#[derive(Clone, Debug, Serialize)]
pub struct MailAnswers {
    /// The link for "Works for me".
    pub works: String,
    /// The link for "Still broken".
    pub broken: String,
    /// The link for "I need help".
    pub help: String,
}

impl MailAnswers {
    /// Returns the three links to the page with this URL.
    pub fn at(url: &str) -> Self {
        let choosing = |answer: &str| format!("{url}?answer={answer}");
        MailAnswers {
            works: choosing("works"),
            broken: choosing("broken"),
            help: choosing("help"),
        }
    }
}

/// The incident in an email.
#[derive(Clone, Debug, Serialize)]
pub struct MailIncident {
    /// The number of the incident.
    pub number: i64,
    /// The severity: critical, major or minor.
    pub severity: String,
}

/// The recipient in an email.
#[derive(Clone, Debug, Serialize)]
pub struct MailRecipient {
    /// The name of the recipient.
    pub name: String,
}

/// The action that customers need to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailAction {
    /// Whether customers need to do anything.
    pub required: bool,
    /// What customers need to do. The text is empty if they need to do nothing.
    pub text: String,
}

/// An affected resource in an email.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MailResource {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource.
    pub id: String,
    /// The description of the resource for people.
    pub label: String,
    /// The name of the account, or an empty text.
    pub account: String,
    /// What a comparison found about the resource, in words for customers. Empty if no comparison found it, or if it is restored.
    #[serde(default)]
    pub finding: String,
    /// Whether the resource is restored.
    #[serde(default)]
    pub restored: bool,
}

/// A time in an email.
#[derive(Clone, Debug, Serialize)]
pub struct MailTime {
    /// The label of the time.
    pub label: String,
    /// The time in UTC and in the time zone of the recipient.
    pub text: String,
}

/// A report in an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailReport {
    /// The title of the report.
    pub title: String,
    /// The sections of the report.
    pub sections: Vec<MailSection>,
}

/// A section of a report in an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailSection {
    /// The heading of the section.
    pub heading: String,
    /// The paragraphs of the section.
    pub paragraphs: Vec<String>,
}
