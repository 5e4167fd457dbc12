//! Email templates: parsing, checking and rendering. This module uses no database, no clock and no network.
//!
//! There are two registries. The one for HTML bodies escapes HTML. The one for subjects and text escapes
//! nothing. A new template is rendered with samples of every case before it is accepted.
//!
//! - HTML is always escaped, and a value is allowed only where escaping protects the reader (`html`).
//! - A subject never contains a line break.
//! - A template never fails for the first time when it is sent.
//! - A template never ends or blocks the process. `scan` limits the nesting of a text before it is parsed,
//!   `allow` checks the parsed template, and `budget` limits the rendering.

mod allow;
mod breaks;
mod budget;
mod drill;
mod fields;
mod html;
mod names;
mod partials;
mod scan;
mod sentences;
mod values;
mod wrap;

use std::collections::{BTreeMap, BTreeSet};

use handlebars::{Context, Handlebars, TemplateError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::language::Language;
use crate::base::text::{hex, one_line};
pub use drill::mark_as_test;
use partials::PARTIALS;
pub use partials::{are_current, partial_texts, partials};
pub use sentences::Voice;
pub use values::{FIGURES, expand, hide, is_key, message_keys, template_keys};
pub use wrap::wrapped;

word_enum! {
    /// The phase of a notice.
    Phase, "a phase" {
        /// The incident was detected.
        Detection = "detection",
        /// There is news about the incident.
        Update = "update",
        /// Everything of the recipient that the incident affected is restored.
        Recovery = "recovery",
        /// The incident is resolved.
        Resolution = "resolution",
        /// The report after the incident.
        Report = "report",
        /// A notice reached people whom the incident does not affect, and this one tells them so.
        Correction = "correction",
        /// A planned maintenance is announced, moved, cancelled, has begun or is over.
        Maintenance = "maintenance",
    }
}

impl Phase {
    /// All phases, in the order in which they happen. A correction can happen at any time, and a maintenance is no incident.
    pub const ALL: [Phase; 7] = [
        Phase::Detection,
        Phase::Update,
        Phase::Recovery,
        Phase::Resolution,
        Phase::Report,
        Phase::Correction,
        Phase::Maintenance,
    ];

    /// Returns whether a person may opt out of the notices of this phase. Notices of the other phases are
    /// always sent.
    pub fn optional(self) -> bool {
        self == Phase::Update
    }

    /// Returns whether the emails of this phase ask whether the service works for the recipient. A report does not ask, because
    /// it comes after the end of the incident. A correction does not ask, because the incident does not affect its readers, and a
    /// maintenance is no problem that somebody works on.
    pub fn asks(self) -> bool {
        match self {
            Phase::Detection | Phase::Update | Phase::Recovery | Phase::Resolution => true,
            Phase::Report | Phase::Correction | Phase::Maintenance => false,
        }
    }
}

/// The three parts of an email template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TemplateSource)]
pub struct Source {
    /// The subject, which is one line.
    pub subject: String,
    /// The template of the plain text body: at most 65,536 bytes, and not empty.
    pub text: String,
    /// The template of the HTML body: at most 65,536 bytes, and not empty.
    pub html: String,
}

macro_rules! builtin {
    ($phase:literal) => {
        (
            include_str!(concat!("../../../templates/email/", $phase, "/subject.txt.hbs")),
            include_str!(concat!("../../../templates/email/", $phase, "/body.txt.hbs")),
            include_str!(concat!("../../../templates/email/", $phase, "/body.html.hbs")),
        )
    };
}

/// The largest length of a subject, in characters.
const SUBJECT: usize = 200;
/// The largest size of one part of a template, in bytes.
const MAX_SIZE: usize = 64 * 1024;

impl Source {
    /// Returns the built-in template of a phase.
    pub fn builtin(phase: Phase) -> Source {
        let (subject, text, html) = match phase {
            Phase::Detection => builtin!("detection"),
            Phase::Update => builtin!("update"),
            Phase::Recovery => builtin!("recovery"),
            Phase::Resolution => builtin!("resolution"),
            Phase::Report => builtin!("report"),
            Phase::Correction => builtin!("correction"),
            Phase::Maintenance => builtin!("maintenance"),
        };
        Source {
            subject: subject.to_owned(),
            text: text.to_owned(),
            html: html.to_owned(),
        }
    }

    /// Returns an ID that depends only on the phase, the parts and the partials.
    pub fn id(&self, phase: Phase) -> String {
        let mut hasher = Sha256::new();
        for part in [phase.as_str(), &self.subject, &self.text, &self.html] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        for (name, text) in PARTIALS {
            hasher.update(name);
            hasher.update(text);
        }
        hex(&hasher.finalize())
    }
}

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

/// The texts of an email, after the template was filled with the data of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The subject, which is one line.
    pub subject: String,
    /// The plain text body, as it is sent.
    pub text: String,
    /// The HTML body, as it is sent.
    pub html: String,
}

/// A template that was parsed and checked.
pub struct Template {
    plain: Handlebars<'static>,
    html: Handlebars<'static>,
    shows_only: bool,
    unsafe_place: Option<String>,
    values: BTreeSet<String>,
}

impl Template {
    /// Parses a template and renders it with samples of every case. A value at an unsafe place of the HTML is no error here,
    /// because notices that are queued with such a template must still be sent: see [`Template::unsafe_place`].
    ///
    /// # Errors
    /// `Invalid` with the part and the line.
    pub fn compile(phase: Phase, source: &Source) -> Result<Template> {
        let parts = [
            ("/subject", &source.subject),
            ("/text", &source.text),
            ("/html", &source.html),
        ];
        let mut errors: Vec<FieldError> = Vec::new();
        for (pointer, text) in parts {
            if let Err(detail) = check_source(pointer, text) {
                errors.push(FieldError::at(pointer, detail));
            }
        }
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        let template =
            Self::parse(source, &PARTIALS).map_err(|(pointer, detail)| Error::invalid(pointer, detail))?;
        for sample in template
            .samples(phase)
            .into_iter()
            .chain([template.filled(largest(phase))])
        {
            template
                .render_parts(&sample)
                .map_err(|failed| Error::invalid(failed.pointer, failed.detail))?;
        }
        Ok(template)
    }

    /// Parses a template of an email that was already sent, with the partials that it had then.
    ///
    /// # Errors
    /// `Invalid` if this version of Candor cannot parse it any more.
    pub fn with_partials(source: &Source, partials: &[(String, String)]) -> Result<Template> {
        let partials: Vec<(&str, &str)> = partials
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        Self::parse(source, &partials).map_err(|(pointer, detail)| Error::invalid(pointer, detail))
    }

    fn parse(
        source: &Source,
        partials: &[(&str, &str)],
    ) -> std::result::Result<Template, (&'static str, String)> {
        let mut plain = Handlebars::new();
        let mut html = Handlebars::new();
        let mut unsafe_place = None;
        for registry in [&mut plain, &mut html] {
            registry.set_strict_mode(true);
            registry.register_helper(breaks::NAME, Box::new(breaks::Breaks));
            for (name, text) in partials {
                registry
                    .register_partial(name, text)
                    .map_err(|error| ("", format!("{name}: {error}")))?;
            }
        }
        plain.register_escape_fn(handlebars::no_escape);
        for (name, text) in [
            ("subject", &source.subject),
            ("text", &source.text),
            ("html", &source.html),
        ] {
            let pointer = pointer_of(name);
            let registry = if name == "html" { &mut html } else { &mut plain };
            registry
                .register_template_string(name, text)
                .map_err(|error| (pointer, unreadable(&error)))?;
            if let Some(parsed) = registry.get_template(name) {
                allow::check(parsed, name == "html", false).map_err(|why| (pointer, why))?;
                if name == "html" {
                    unsafe_place = html::check(parsed).err();
                }
            }
        }
        for registry in [&mut plain, &mut html] {
            for (name, _) in partials {
                if let Some(parsed) = registry.get_template(name) {
                    allow::check(parsed, true, true).map_err(|why| ("", format!("{name}: {why}")))?;
                    if name.ends_with(".html") {
                        html::check(parsed).map_err(|why| ("", format!("{name}: {why}")))?;
                    }
                }
            }
            budget::count_steps(registry).map_err(|why| ("", why))?;
        }
        let parts = [&source.subject, &source.text, &source.html].map(String::as_str);
        let partials = partials.iter().map(|(_, text)| *text);
        let shows_only = parts.into_iter().chain(partials).all(only_shows);
        let values = parts.into_iter().flat_map(values::template_keys).collect();
        Ok(Template {
            plain,
            html,
            shows_only,
            unsafe_place,
            values,
        })
    }

    /// Returns the [`samples`] of a phase with the values that the template shows.
    pub fn samples(&self, phase: Phase) -> [MailContext; 3] {
        samples(phase).map(|sample| self.filled(sample))
    }

    fn filled(&self, mut sample: MailContext) -> MailContext {
        let value = |key: &String| (key.clone(), "A-1234".to_owned());
        sample.values.extend(self.values.iter().map(value));
        sample
    }

    /// Returns the first place of the HTML part where a customer's value is not safe, with line and column, and what to do.
    /// None if all values are safe.
    pub fn unsafe_place(&self) -> Option<&str> {
        self.unsafe_place.as_deref()
    }

    /// Returns whether the template does no more with the values of a recipient than show them or test
    /// whether they are empty. Then emails can be built from prepared pieces.
    pub fn shows_only(&self) -> bool {
        self.shows_only
    }

    /// Renders an email.
    ///
    /// # Errors
    /// `Invalid` with the part of the template, and with the code `limit_reached` if this email exceeds the limits for
    /// rendering.
    pub fn render(&self, context: &MailContext) -> Result<Rendered> {
        self.render_parts(context).map_err(Failed::into_error)
    }

    /// Renders an email whose subject is not finished yet (see [`finish_subject`]), and whose lines are not [`wrapped`].
    ///
    /// # Errors
    /// The same as [`Template::render`].
    pub fn render_raw(&self, context: &MailContext) -> Result<Rendered> {
        self.render_unfinished(context).map_err(Failed::into_error)
    }

    fn render_parts(&self, context: &MailContext) -> std::result::Result<Rendered, Failed> {
        let mut rendered = self.render_unfinished(context)?;
        rendered.subject = one_line(&rendered.subject, SUBJECT);
        rendered.text = wrapped(&rendered.text);
        if rendered.subject.is_empty() {
            return Err(Failed::new("/subject", "produces an empty text"));
        }
        Ok(rendered)
    }

    fn render_unfinished(&self, mail: &MailContext) -> std::result::Result<Rendered, Failed> {
        let context = Context::wraps(mail)
            .map_err(|error| Failed::new("", format!("the values cannot be used: {error}")))?;
        let part = |registry: &Handlebars<'static>, name: &str| {
            budget::render(registry, name, &context).map_err(|unrendered| Failed {
                pointer: pointer_of(name),
                detail: unrendered.detail,
                over_limit: unrendered.over_limit,
            })
        };
        let mut subject = part(&self.plain, "subject")?;
        let mut text = part(&self.plain, "text")?;
        let mut html = part(&self.html, "html")?;
        if mail.drill {
            drill::mark(&mut subject, &mut text, &mut html);
        }
        Ok(Rendered { subject, text, html })
    }

    /// Renders the subject alone.
    ///
    /// # Errors
    /// The same as [`Template::render`].
    pub fn subject(&self, context: &MailContext) -> Result<String> {
        let wrapped = Context::wraps(context).map_err(Error::internal)?;
        let rendered = budget::render(&self.plain, "subject", &wrapped).map_err(|unrendered| {
            Failed {
                pointer: pointer_of("subject"),
                detail: unrendered.detail,
                over_limit: unrendered.over_limit,
            }
            .into_error()
        })?;
        finish_subject(&rendered)
    }
}

/// Why an email could not be rendered.
struct Failed {
    /// The part of the template.
    pointer: &'static str,
    detail: String,
    over_limit: bool,
}

impl Failed {
    fn new(pointer: &'static str, detail: impl Into<String>) -> Self {
        Failed {
            pointer,
            detail: detail.into(),
            over_limit: false,
        }
    }

    fn into_error(self) -> Error {
        let error = FieldError::at(format!("/template{}", self.pointer), self.detail);
        Error::fields(vec![if self.over_limit {
            error.code(Code::LimitReached)
        } else {
            error
        }])
    }
}

/// Returns a rendered subject as one line of limited length.
///
/// # Errors
/// `Invalid` if the result is empty, which the check of a template rules out.
pub fn finish_subject(rendered: &str) -> Result<String> {
    let subject = one_line(rendered, SUBJECT);
    if subject.is_empty() {
        return Err(Failed::new("/subject", "produces an empty text").into_error());
    }
    Ok(subject)
}

/// The parts of a [`MailContext`] that differ between the recipients of a notice, and all names that can
/// refer to them. Of the recovery, these are its fields: its name is also that of a phase, which a template may compare.
const PERSONAL: [&str; 29] = [
    "t",
    "values",
    "restored",
    "affected",
    "left",
    "summary",
    "finding",
    "recipient",
    "name",
    "what",
    "reason",
    "unsubscribe_url",
    "mine_url",
    "answers",
    "works",
    "broken",
    "help",
    "late",
    "corrects",
    "began",
    "resources",
    "type",
    "id",
    "label",
    "account",
    "this",
    "lookup",
    "with",
    "@root",
];

/// Returns whether the source of a template does no more with the values of a recipient than show them or
/// test whether they are empty.
fn only_shows(source: &str) -> bool {
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let tag = &rest[start + 2..];
        let (close, skip) = if tag.trim_start_matches('~').starts_with("!--") {
            ("--}}", 4)
        } else {
            ("}}", 2)
        };
        let Some(end) = tag.find(close) else { return false };
        let inner = tag[..end].trim_matches(['~', '{', '}', ' ', '\n', '\t', '&']);
        rest = &tag[end + skip..];
        if inner.starts_with('!') {
            continue;
        }
        let words: Vec<&str> = inner.split_whitespace().collect();
        let plain = match words.as_slice() {
            [] | [_] => true,
            [breaks::NAME, _] => true,
            ["#if" | "#unless" | "#each" | ">" | "#>" | "^", one] | ["else", "if" | "unless", one] => {
                !one.starts_with('(')
            }
            // These also test only whether something is empty.
            ["#if" | "#unless", rest @ ..] | ["else", "if" | "unless", rest @ ..]
                if rest
                    .iter()
                    .filter_map(|word| word.strip_prefix('('))
                    .all(|helper| matches!(helper.trim_start_matches('('), "or" | "and" | "not")) =>
            {
                true
            }
            words => !words
                .iter()
                .flat_map(|word| {
                    let bare = word.trim_matches(['(', ')']);
                    // These are other names for the whole context.
                    if bare == "." || bare.contains("..") {
                        "this"
                    } else {
                        word
                    }
                    .split(['.', '/', '(', ')', '[', ']', '=', '|', '"', '\''])
                })
                .filter(|part| !part.is_empty())
                .any(|part| PERSONAL.contains(&part)),
        };
        if !plain {
            return false;
        }
    }
    true
}

fn check_source(pointer: &str, text: &str) -> std::result::Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    if text.len() > MAX_SIZE {
        return Err(format!("is larger than {MAX_SIZE} bytes"));
    }
    scan::scan(text, pointer == "/html")
}

/// Returns the field of a template's source that a part comes from.
fn pointer_of(name: &str) -> &'static str {
    match name {
        "subject" => "/subject",
        "text" => "/text",
        _ => "/html",
    }
}

/// Returns where a part cannot be parsed, and how tags are written.
fn unreadable(error: &TemplateError) -> String {
    let place = error.pos().map_or(String::new(), |(line, column)| {
        format!("line {line}, column {column}: ")
    });
    format!(
        "{place}this cannot be read as a template; tags are {{{{name}}}}, {{{{#if name}}}} … {{{{else}}}} … {{{{/if}}}}, \
         {{{{#each list}}}} … {{{{/each}}}} and {{{{> partial}}}}"
    )
}

/// Returns a large email. A template whose output grows too much fails with it when it is saved.
fn largest(phase: Phase) -> MailContext {
    let [_, mut mail, _] = samples(phase);
    mail.paragraphs = (1..=500).map(|n| format!("Paragraph {n}.")).collect();
    if let Some(report) = &mut mail.report {
        report.sections = (1..=20)
            .map(|n| MailSection {
                heading: format!("Section {n}"),
                paragraphs: vec!["A paragraph.".to_owned(); 20],
            })
            .collect();
    }
    mail
}

/// Returns one email of every kind that can occur. A template that renders all of them does not fail when it
/// is sent.
pub fn samples(phase: Phase) -> [MailContext; 3] {
    let resource = |n: usize| MailResource {
        type_: "media".to_owned(),
        id: format!("m{n}"),
        label: format!("Launch film {n} (media m{n})"),
        account: if n.is_multiple_of(2) {
            "Acme".to_owned()
        } else {
            String::new()
        },
        // In a recovery, everything is restored.
        finding: match phase != Phase::Recovery && n.is_multiple_of(3) {
            true => "The stored file is empty.".to_owned(),
            false => String::new(),
        },
        restored: phase == Phase::Recovery || n.is_multiple_of(5),
    };
    let recovery = |restored: usize, affected: usize| MailRecovery {
        restored: restored.to_string(),
        affected: affected.to_string(),
        left: match affected - restored {
            0 => String::new(),
            left => left.to_string(),
        },
        summary: match affected - restored {
            0 => format!("All of your {affected} affected files are restored."),
            _ => format!("{restored} of your {affected} affected files are restored so far."),
        },
    };
    let maintenance = |change: &'static str| {
        let was = |text: &str| (change == "moved").then(|| text.to_owned());
        (phase == Phase::Maintenance).then(|| MailMaintenance {
            change,
            title: "Maintenance of the database".to_owned(),
            starts: "21 March 2024, 01:00 (Africa/Nairobi), 20 March 2024, 22:00 UTC".to_owned(),
            ends: "21 March 2024, 03:00 (Africa/Nairobi), 00:00 UTC".to_owned(),
            was_starts: was("20 March 2024, 01:00 (Africa/Nairobi), 19 March 2024, 22:00 UTC"),
            was_ends: was("20 March 2024, 03:00 (Africa/Nairobi), 00:00 UTC"),
            components: vec!["uploads".to_owned()],
        })
    };
    let base = MailContext {
        phase,
        incident: MailIncident {
            number: 1,
            severity: "major".to_owned(),
        },
        subject: None,
        what: "Launch film".to_owned(),
        headline: None,
        update: (phase == Phase::Update).then_some(1),
        next_update: None,
        support_url: None,
        values: BTreeMap::new(),
        recipient: MailRecipient {
            name: "Ann".to_owned(),
        },
        paragraphs: vec![
            "We are looking into it.".to_owned(),
            "A second paragraph\nof two lines.".to_owned(),
        ],
        action: Some(MailAction {
            required: false,
            text: String::new(),
        }),
        resources: vec![resource(1)],
        more_resources: 0,
        times: vec![MailTime {
            label: "Started".to_owned(),
            text: "14 March 2024, 09:51 EAT (06:51 UTC)".to_owned(),
        }],
        report: (phase == Phase::Report).then(|| MailReport {
            title: "What happened on 14 March".to_owned(),
            sections: vec![MailSection {
                heading: "Cause".to_owned(),
                paragraphs: vec!["A handler was missing.".to_owned()],
            }],
        }),
        sender: "Quickbyte".to_owned(),
        reason: "You receive this because you own Acme, to which the affected resources belong.".to_owned(),
        optional: phase.optional(),
        unsubscribe_url: "https://candor.example.com/unsubscribe/sample".to_owned(),
        mine_url: "https://candor.example.com/mine/link/sample".to_owned(),
        answers: phase
            .asks()
            .then(|| MailAnswers::at("https://candor.example.com/answers/sample")),
        late: None,
        corrects: (phase == Phase::Correction).then(|| MailCorrects {
            subject: "We are working on a problem with Launch film".to_owned(),
            sent_at: "14 March 2024, 09:56 EAT (06:56 UTC)".to_owned(),
        }),
        recovery: match phase {
            Phase::Recovery => Some(recovery(1, 1)),
            _ => None,
        },
        drill: false,
        language: Language::En,
        direction: Language::En.direction(),
        rtl: false,
        message_language: None,
        t: BTreeMap::new(),
        brand: None,
        maintenance: maintenance("announced"),
    };
    let many = MailContext {
        subject: Some("A subject of the operator's own".to_owned()),
        headline: Some("Some files cannot be opened".to_owned()),
        next_update: matches!(phase, Phase::Detection | Phase::Update)
            .then(|| "14 March 2024, 12:30 EAT (09:30 UTC)".to_owned()),
        support_url: Some("https://support.example.com".to_owned()),
        action: Some(MailAction {
            required: true,
            text: "Please accept the invitation.".to_owned(),
        }),
        resources: (1..=25).map(resource).collect(),
        more_resources: 131,
        recovery: match phase {
            Phase::Recovery => Some(recovery(156, 156)),
            Phase::Correction | Phase::Maintenance => None,
            _ => Some(recovery(12, 156)),
        },
        times: Vec::new(),
        optional: !phase.optional(),
        late: matches!(phase, Phase::Detection | Phase::Update | Phase::Recovery).then(|| MailLate {
            began: "14 March 2024, 09:51 EAT (06:51 UTC)".to_owned(),
        }),
        brand: Some(MailBrand {
            color: Some("#0b5cad".to_owned()),
            logo: Some("https://candor.example.com/brand/logo/sample".to_owned()),
            postal_address: vec!["1 High Street".to_owned(), "Nairobi".to_owned()],
            footer: vec!["Quickbyte Ltd, registered in Kenya".to_owned()],
        }),
        maintenance: maintenance("moved"),
        ..base.clone()
    };
    let bare = MailContext {
        action: None,
        resources: Vec::new(),
        paragraphs: Vec::new(),
        report: None,
        recovery: None,
        maintenance: maintenance("cancelled"),
        corrects: base.corrects.clone().map(|corrects| MailCorrects {
            subject: String::new(),
            ..corrects
        }),
        ..base.clone()
    };
    let voice = Voice::current();
    [base, many, bare].map(|mut mail| {
        mail.fill_sentences(&voice);
        mail
    })
}
