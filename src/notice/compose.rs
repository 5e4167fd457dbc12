//! Makes the content of one email from frozen data. This module does no I/O. The frozen data of the notice
//! and of the recipient decides every word. So the preview shows exactly what is sent, and the digest over
//! both covers every rendered text.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::branding::FrozenBrand;
use super::planned_mail::{Attachment, FrozenMaintenance};
use super::progress;
use crate::audience::{OWNER, Reason};
use crate::base::id::NoticeId;
use crate::base::language::Language;
use crate::base::text::undirected;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::directory::contact::ContactKind;
use crate::incident::recovery::State;
use crate::notice::template::{
    FIGURES, MailAction, MailAnswers, MailContext, MailCorrects, MailIncident, MailLate, MailRecipient,
    MailRecovery, MailReport, MailResource, MailSection, MailTime, Phase, Voice, expand,
};
use crate::words::Texts;

/// The names of times in frozen data. An email shows them in the language of its reader.
pub(super) const STARTED: &str = "Started";
pub(super) const DETECTED: &str = "Detected";
pub(super) const RESOLVED: &str = "Resolved";
pub(super) const STARTS: &str = "Starts";
pub(super) const ENDS: &str = "Ends";

/// The number of resources that an email lists by name.
const LISTED: usize = 25;

/// The content that is the same in every email of a notice. It is frozen when the notice is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The phase of the notice.
    pub phase: Phase,
    /// The number of the incident.
    pub number: i64,
    /// The severity of the incident.
    pub severity: String,
    /// The subject that the operator wrote, if there is one.
    pub subject: Option<String>,
    /// The message of the operator.
    pub message: String,
    /// What the customer must do.
    pub action: Option<MailAction>,
    /// Important times, each with its label.
    pub times: Vec<(String, Timestamp)>,
    /// The version of the report for customers.
    pub report: Option<MailReport>,
    /// The name of the company that sends the notice.
    pub sender: String,
    /// The wrong notice, if this is a correction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<CorrectedNotice>,
    /// Whether the notice is part of a drill.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
    /// The headline of the notice, or of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// The number of the update, from 1. Only an update has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<i64>,
    /// The time until which the next update is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_update: Option<Timestamp>,
    /// The page where customers get help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
    /// The keys of the values of one's own that the texts and the template use, and the figures of the recovery that the texts use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Whether the emails to those whose own resources are not all restored say so. Only a resolution says it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledges_impaired: bool,
    /// The language of the subject, the headline, the message and the action.
    #[serde(default, skip_serializing_if = "Language::is_english")]
    pub language: Language,
    /// The same texts in other languages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub translations: BTreeMap<Language, TranslatedTexts>,
    /// What the emails show of the brand, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<FrozenBrand>,
    /// The planned maintenance, in the phase `maintenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<FrozenMaintenance>,
}

/// The texts of the operator in one language. What is not there is not shown: an email in another language is no better with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TranslatedTexts {
    /// The subject, if there is one in this language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The headline, if there is one in this language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// The message in this language, in plain text. Empty lines separate paragraphs.
    pub message: String,
    /// What the customer must do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<MailAction>,
}

/// The texts of the operator that one reader gets.
pub(super) struct Said<'a> {
    /// The language of these texts.
    pub language: Language,
    pub subject: Option<&'a str>,
    pub headline: Option<&'a str>,
    pub message: &'a str,
    pub action: Option<&'a MailAction>,
}

impl Content {
    /// Returns the file that the emails have besides their texts, if there is one.
    pub fn attachment(&self) -> Option<Attachment> {
        // The file is the same for everybody, so it shows no message with values of the recipients.
        let message = Some(self.message.as_str()).filter(|_| self.values.is_empty());
        self.maintenance.as_ref()?.calendar(&self.sender, message)
    }

    /// Returns the language in which a reader of these languages gets the texts of the operator: the first one that they are written in,
    /// or else the language of the notice.
    pub fn language_for(&self, (language, second): (Language, Option<Language>)) -> Language {
        let written =
            |language: &Language| *language == self.language || self.translations.contains_key(language);
        let wanted = [Some(language), second].into_iter().flatten();
        wanted.into_iter().find(written).unwrap_or(self.language)
    }

    fn said(&self, own: &RecipientContext) -> Said<'_> {
        self.said_in(self.language_for((own.language, own.second_language)))
    }

    /// Returns the texts of the operator in a language, or else in the language of the notice.
    pub(super) fn said_in(&self, language: Language) -> Said<'_> {
        match self.translations.get(&language) {
            Some(texts) if language != self.language => Said {
                language,
                subject: texts.subject.as_deref(),
                headline: texts.headline.as_deref(),
                message: &texts.message,
                action: texts.action.as_ref(),
            },
            _ => Said {
                language: self.language,
                subject: self.subject.as_deref(),
                headline: self.headline.as_deref(),
                message: &self.message,
                action: self.action.as_ref(),
            },
        }
    }

    /// Returns the languages of an email, as its header `Content-Language` names them.
    pub fn languages(&self, own: &RecipientContext) -> String {
        match self.said(own).language {
            language if language == own.language => language.to_string(),
            language => format!("{}, {language}", own.language),
        }
    }
}

/// The notice that a correction is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrectedNotice {
    /// The ID of the wrong notice.
    pub notice: NoticeId,
    /// When the wrong notice was queued.
    pub sent_at: Timestamp,
}

/// The data of one recipient. It is frozen when the notice is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipientContext {
    /// The IDs of the people with this address.
    pub people: Vec<String>,
    /// The name of the person, or the names of all people with this address.
    pub name: String,
    /// The IANA time zone in which times are shown.
    pub time_zone: Option<String>,
    /// The first of the affected resources of the recipient.
    pub resources: Vec<MailResource>,
    /// The number of further resources that are not listed.
    pub more_resources: usize,
    /// What is affected, for sentences such as "a problem with …".
    pub what: String,
    /// Why the recipient gets the notice.
    pub reason: String,
    /// Whether other people were notified before, and this is the first email about the incident to the recipient.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The subject of the wrong email, if this is a correction and the subject is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_subject: Option<String>,
    /// The values of the recipient's own, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// How much of the recipient's own is restored. `None` if the incident has no recovery states, or affects no resource of the
    /// recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<MailRecovery>,
    /// The language of the fixed sentences, and of the message if it is written in it.
    #[serde(default, skip_serializing_if = "Language::is_english")]
    pub language: Language,
    /// The language of the account, if it is another one. A message that is not written in `language` is shown in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_language: Option<Language>,
}

impl RecipientContext {
    /// Makes the data of a recipient from the reasons for which the person is in the audience. The languages are that of the person, and
    /// that of the account if it is another one.
    pub fn new(
        people: Vec<String>,
        name: String,
        time_zone: Option<String>,
        (language, second_language): (Language, Option<Language>),
        reasons: &[Reason],
    ) -> Self {
        let mut resources: Vec<MailResource> = reasons
            .iter()
            .filter_map(|reason| mail_resource(reason, language))
            .collect();
        resources.sort();
        resources.dedup();
        tell_apart(&mut resources);
        let what = what(reasons, &resources, language);
        let recovery = progress::of(reasons, &resources, language);
        // Those that are not restored come first, so that a reader sees them.
        resources.sort_by_key(|resource| resource.restored);
        let more_resources = resources.len().saturating_sub(LISTED);
        resources.truncate(LISTED);
        RecipientContext {
            people,
            name: undirected(&name).into_owned(),
            time_zone,
            resources,
            more_resources,
            what: undirected(&what).into_owned(),
            reason: undirected(&why(reasons, language)).into_owned(),
            late: false,
            wrong_subject: None,
            values: BTreeMap::new(),
            recovery,
            language,
            second_language,
        }
    }

    /// Returns a figure of the recovery, as an email shows it. `None` if there is no recovery.
    pub fn figure(&self, name: &str) -> Option<&str> {
        let recovery = self.recovery.as_ref()?;
        Some(match name {
            "recovery.restored" => &recovery.restored,
            "recovery.affected" => &recovery.affected,
            // A message shows a number, where a template tests whether there is one.
            "recovery.left" if recovery.left.is_empty() => "0",
            "recovery.left" => &recovery.left,
            "recovery.summary" => &recovery.summary,
            _ => return None,
        })
    }

    /// Adds another person with the same address.
    pub fn add_person(&mut self, id: &str, name: &str) {
        let name = &*undirected(name);
        self.people.push(id.to_owned());
        if !self.name.split(", ").any(|other| other == name) {
            self.name = format!("{}, {name}", self.name);
        }
    }
}

fn mail_resource(reason: &Reason, language: Language) -> Option<MailResource> {
    let ResourceRef { type_, id } = reason.resource.as_ref()?;
    let restored = reason.recovery == Some(State::Recovered);
    let finding = reason
        .finding_for_customers
        .filter(|_| !restored)
        .and_then(|key| Texts::of_phrases().text(key, language));
    Some(MailResource {
        type_: type_.to_string(),
        id: id.to_string(),
        label: match &reason.name {
            Some(name) => undirected(name).into_owned(),
            None => format!("{type_} {id}"),
        },
        account: undirected(reason.account_name.as_deref().unwrap_or_default()).into_owned(),
        finding: finding.unwrap_or_default().to_owned(),
        restored,
    })
}

/// Adds the type and ID to resources whose names are not different.
fn tell_apart(resources: &mut [MailResource]) {
    let mut named: HashMap<(String, String), usize> = HashMap::new();
    let name = |resource: &MailResource| (resource.label.clone(), resource.account.clone());
    for resource in &*resources {
        *named.entry(name(resource)).or_default() += 1;
    }
    for resource in resources {
        if named.get(&name(resource)).is_some_and(|count| *count > 1) {
            resource.label = format!("{} ({} {})", resource.label, resource.type_, resource.id);
        }
    }
}

fn phrase(key: &str, language: Language) -> String {
    Texts::of_phrases().with(key, language, &[])
}

fn what(reasons: &[Reason], resources: &[MailResource], language: Language) -> String {
    let counted = |things: &str| {
        Texts::of_phrases().counted("what_count", language, resources.len(), &[("things", things)])
    };
    match resources {
        // No resource of the person is affected. The person used the service while it had the error, or is affected
        // as a user of the service.
        [] if reasons
            .iter()
            .any(|reason| reason.seen.is_some() || reason.named.is_some()) =>
        {
            phrase("what_service", language)
        }
        [] => phrase("what_resources", language),
        [one] => reasons
            .iter()
            .find_map(|reason| reason.name.as_deref().map(str::to_owned))
            .unwrap_or_else(|| one.label.clone()),
        [first, rest @ ..] if rest.iter().all(|other| other.type_ == first.type_) => {
            counted(&progress::things(Some(&first.type_), language))
        }
        _ => counted(&progress::things(None, language)),
    }
}

/// Returns the key of the phrase that says that a recipient is a contact of this kind.
fn contact_phrase(kind: ContactKind) -> &'static str {
    match kind {
        ContactKind::Shared => "reason_contact_shared",
        ContactKind::Operations => "reason_contact_operations",
        ContactKind::Security => "reason_contact_security",
        ContactKind::Billing => "reason_contact_billing",
    }
}

fn why(reasons: &[Reason], language: Language) -> String {
    let by_account = |owner: bool| {
        let mut names: Vec<&str> = reasons
            .iter()
            .filter(|reason| reason.by_account && (*reason.role == *OWNER) == owner)
            .filter(|reason| ContactKind::of_role(&reason.role).is_none())
            .filter_map(|reason| reason.account_name.as_deref())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (owned, joined) = (by_account(true), by_account(false));
    let contact = |kind: ContactKind| {
        let mut names: Vec<&str> = reasons
            .iter()
            .filter(|reason| reason.by_account && *reason.role == *kind.role())
            .filter_map(|reason| reason.account_name.as_deref())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let mut shared: Vec<String> = reasons
        .iter()
        .filter(|reason| !reason.by_account)
        .filter_map(|reason| match (&reason.through, &reason.name) {
            (None, Some(name)) => Some(undirected(name).into_owned()),
            (through, _) => Some(through.as_ref().or(reason.resource.as_ref())?.to_string()),
        })
        .collect();
    shared.sort_unstable();
    shared.dedup();
    let more = phrase("list_more", language);
    let shared = first(&shared, &more);
    let mut parts = Vec::new();
    let contacts: Vec<(&str, Vec<&str>)> = ContactKind::KINDS
        .into_iter()
        .map(|kind| (contact_phrase(kind), contact(kind)))
        .collect();
    let mut named = vec![("reason_owner", &owned), ("reason_member", &joined)];
    named.extend(contacts.iter().map(|(key, names)| (*key, names)));
    for (key, names) in named {
        if !names.is_empty() {
            let names = and(names, language);
            parts.push(Texts::of_phrases().with(key, language, &[("names", &names)]));
        }
    }
    if !shared.is_empty() {
        let names = and(&shared, language);
        parts.push(Texts::of_phrases().with("reason_works_on", language, &[("names", &names)]));
    }
    if reasons.iter().any(|reason| reason.seen.is_some()) {
        parts.push(phrase("reason_error", language));
    }
    if reasons.iter().any(|reason| reason.named.is_some()) {
        parts.push(phrase("reason_named", language));
    }
    if parts.is_empty() {
        return phrase("reason_notified", language);
    }
    let reasons = parts.join(&phrase("reason_and", language));
    Texts::of_phrases().with("reason", language, &[("reasons", &reasons)])
}

/// Returns the first names for a sentence. The email lists the rest.
fn first<'a>(names: &'a [String], more: &'a str) -> Vec<&'a str> {
    let mut first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    if names.len() > 3 {
        first.push(more);
    }
    first
}

fn and(names: &[&str], language: Language) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [start @ .., last] => {
            let start = start.join(&phrase("list_comma", language));
            format!("{start}{}{last}", phrase("list_and", language))
        }
    }
}

/// Splits plain text into paragraphs, which are separated by empty lines. White space at their ends is
/// removed.
pub fn paragraphs(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut paragraphs: Vec<String> = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !line.trim().is_empty() {
            current.push(line.trim_end());
        } else if !current.is_empty() {
            paragraphs.push(current.join("\n"));
            current.clear();
        }
    }
    paragraphs
}

/// Returns the sections of a report, for an email.
pub fn mail_report(report: crate::incident::report::Report) -> MailReport {
    MailReport {
        title: report.title,
        sections: report
            .sections
            .into_iter()
            .map(|section| MailSection {
                heading: section.heading,
                paragraphs: paragraphs(&section.text),
            })
            .collect(),
    }
}

/// The URLs of the pages for the recipient of one email. Each is signed for the delivery.
#[derive(Clone, Debug)]
pub struct Urls {
    /// The page for opting out.
    pub unsubscribe: String,
    /// The page for answering, without the chosen answer.
    pub answers: String,
    /// The page of the recipient: what affects them, what they were told, and their preferences.
    pub mine: String,
}

impl Urls {
    /// Returns the URLs that a preview shows. They lead to no page, because there is no delivery yet.
    pub fn without_token(public_url: &str) -> Self {
        Urls {
            unsubscribe: format!("{public_url}/unsubscribe/…"),
            answers: format!("{public_url}/answers/…"),
            mine: format!("{public_url}/mine/link/…"),
        }
    }
}

/// Returns the recovery of a recipient if the email says that the incident is over although not everything of the recipient is
/// restored, and if the notice acknowledges this.
fn impaired<'a>(content: &Content, recipient: &'a RecipientContext) -> Option<&'a MailRecovery> {
    let recovery = recipient.recovery.as_ref()?;
    (content.acknowledges_impaired && !recovery.left.is_empty()).then_some(recovery)
}

/// Returns the values with the figures of the recovery that the texts use.
fn with_figures<'a>(
    values: &'a BTreeMap<String, String>,
    content: &Content,
    recipient: &RecipientContext,
) -> Cow<'a, BTreeMap<String, String>> {
    if !content.values.iter().any(|key| FIGURES.contains(&key.as_str())) {
        return Cow::Borrowed(values);
    }
    let mut all = values.clone();
    for figure in FIGURES {
        let shown = recipient.figure(figure).unwrap_or_default();
        all.insert(figure.to_owned(), shown.to_owned());
    }
    Cow::Owned(all)
}

/// Returns all data that a template can show in one email.
pub fn context(
    content: &Content,
    recipient: &RecipientContext,
    optional: bool,
    urls: Urls,
    voice: &Voice,
) -> MailContext {
    let language = recipient.language;
    let said = content.said(recipient);
    // A time zone that was valid when it was stored may not be valid any more. Then only UTC is shown.
    let zone = recipient
        .time_zone
        .as_deref()
        .and_then(|name| crate::base::time::time_zone(name).ok());
    let began = content.times.iter().find(|(label, _)| label == STARTED);
    // A notice is only sent if nobody lacks a value. A preview shows an empty text for a value that is missing.
    let mut values = recipient.values.clone();
    for key in content
        .values
        .iter()
        .filter(|key| !FIGURES.contains(&key.as_str()))
    {
        values.entry(key.clone()).or_default();
    }
    let figures = with_figures(&values, content, recipient);
    let mut paragraphs: Vec<String> = paragraphs(said.message)
        .iter()
        .map(|paragraph| expand(paragraph, &figures))
        .collect();
    if let Some(recovery) = impaired(content, recipient) {
        // The message is in every email, whatever its template shows.
        let key = match recovery.restored.as_str() {
            "0" => "impaired_nothing",
            _ => "impaired_part",
        };
        paragraphs.insert(0, format!("{} {}", voice.text(key, language), recovery.summary));
    }
    let moment = |at: Timestamp| voice.moment(language, at, zone.as_ref());
    let mut mail = MailContext {
        phase: content.phase,
        incident: MailIncident {
            number: content.number,
            severity: content.severity.clone(),
        },
        subject: said.subject.map(str::to_owned),
        what: recipient.what.clone(),
        recipient: MailRecipient {
            name: recipient.name.clone(),
        },
        headline: said.headline.map(str::to_owned),
        update: content.update,
        next_update: content.next_update.map(moment),
        support_url: content.support_url.clone(),
        paragraphs,
        action: said.action.map(|action| MailAction {
            required: action.required,
            text: expand(&action.text, &figures),
        }),
        recovery: recipient.recovery.clone(),
        resources: recipient.resources.clone(),
        more_resources: recipient.more_resources,
        times: content
            .times
            .iter()
            .map(|(label, at)| MailTime {
                label: time_label(label, language, voice),
                text: moment(*at),
            })
            .collect(),
        report: content.report.clone(),
        sender: content.sender.clone(),
        reason: recipient.reason.clone(),
        optional,
        answers: content.phase.asks().then(|| MailAnswers::at(&urls.answers)),
        unsubscribe_url: urls.unsubscribe,
        mine_url: urls.mine,
        late: began.filter(|_| recipient.late).map(|(_, began)| MailLate {
            began: moment(*began),
        }),
        corrects: content.corrects.as_ref().map(|wrong| MailCorrects {
            subject: recipient.wrong_subject.clone().unwrap_or_default(),
            sent_at: moment(wrong.sent_at),
        }),
        drill: content.drill,
        values,
        language,
        direction: language.direction(),
        rtl: language.direction() == "rtl",
        message_language: (said.language != language).then_some(said.language),
        t: BTreeMap::new(),
        brand: content.brand.as_ref().map(FrozenBrand::for_mail),
        maintenance: content
            .maintenance
            .as_ref()
            .map(|planned| planned.for_mail(moment)),
    };
    mail.fill_sentences(voice);
    mail
}

/// Returns the name of a time in the language of a reader.
fn time_label(frozen: &str, language: Language, voice: &Voice) -> String {
    let key = match frozen {
        STARTED => "time_started",
        DETECTED => "time_detected",
        RESOLVED => "time_resolved",
        STARTS => "time_starts",
        ENDS => "time_ends",
        other => return other.to_owned(),
    };
    voice.text(key, language).to_owned()
}
