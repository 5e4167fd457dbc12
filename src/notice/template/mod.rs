//! Mail templates: parse, check, render. Pure: no database, no clock, no network.
//!
//! Two registries: one that escapes HTML for the HTML bodies, one that escapes nothing for subjects and text.
//! A template that comes in is rendered on samples of every case before it is accepted.
//!
//! What may not happen: unescaped HTML, a line break in a subject, a template that fails only when it is sent, or one
//! that ends or holds the process. `scan` bounds the nesting of a text before it is parsed, `allow` judges what was
//! parsed, and `budget` bounds the rendering.

mod allow;
mod budget;
mod scan;

use std::collections::BTreeMap;

use handlebars::{Context, Handlebars, TemplateError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::text::{hex, one_line};

word_enum! {
    /// What a notice is about.
    Phase, "a phase" {
        /// We know of it.
        Detection = "detection",
        /// News of it.
        Update = "update",
        /// It is over.
        Resolution = "resolution",
        /// What it was.
        Report = "report",
    }
}

impl Phase {
    /// All phases, in the order in which they happen.
    pub const ALL: [Phase; 4] = [Phase::Detection, Phase::Update, Phase::Resolution, Phase::Report];

    /// Whether a person may opt out of it. The others say "you are affected", and always go out.
    pub fn optional(self) -> bool {
        self == Phase::Update
    }
}

/// The three parts of a mail's template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TemplateSource)]
pub struct Source {
    /// One line.
    pub subject: String,
    /// The text body.
    pub text: String,
    /// The HTML body.
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

/// Partials that templates may use, by name.
const PARTIALS: [(&str, &str); 8] = [
    (
        "layout.html",
        include_str!("../../../templates/email/layout.html.hbs"),
    ),
    (
        "paragraphs.txt",
        include_str!("../../../templates/email/paragraphs.txt.hbs"),
    ),
    (
        "paragraphs.html",
        include_str!("../../../templates/email/paragraphs.html.hbs"),
    ),
    (
        "footer.txt",
        include_str!("../../../templates/email/footer.txt.hbs"),
    ),
    (
        "resources.txt",
        include_str!("../../../templates/email/resources.txt.hbs"),
    ),
    (
        "resources.html",
        include_str!("../../../templates/email/resources.html.hbs"),
    ),
    (
        "action.txt",
        include_str!("../../../templates/email/action.txt.hbs"),
    ),
    (
        "action.html",
        include_str!("../../../templates/email/action.html.hbs"),
    ),
];

/// The names of everything in a [`MailContext`], of the mail and of what lies in its lists and parts.
const NAMES: [&str; 27] = [
    "phase",
    "incident",
    "number",
    "severity",
    "subject",
    "what",
    "recipient",
    "name",
    "paragraphs",
    "action",
    "required",
    "text",
    "resources",
    "type",
    "id",
    "label",
    "account",
    "more_resources",
    "times",
    "report",
    "title",
    "sections",
    "heading",
    "sender",
    "reason",
    "optional",
    "unsubscribe_url",
];

/// Longest subject, in characters.
const SUBJECT: usize = 200;
/// Largest part of a template, in bytes.
const MAX_SIZE: usize = 64 * 1024;

impl Source {
    /// The template that Candor comes with.
    pub fn builtin(phase: Phase) -> Source {
        let (subject, text, html) = match phase {
            Phase::Detection => builtin!("detection"),
            Phase::Update => builtin!("update"),
            Phase::Resolution => builtin!("resolution"),
            Phase::Report => builtin!("report"),
        };
        Source {
            subject: subject.to_owned(),
            text: text.to_owned(),
            html: html.to_owned(),
        }
    }

    /// Names the content: the same for the same phase, parts and partials.
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

/// Everything that a mail can say. All of it is data: nothing in it is a template.
#[derive(Clone, Debug, Serialize)]
pub struct MailContext {
    /// detection, update, resolution or report.
    pub phase: Phase,
    /// The incident, without its internal title.
    pub incident: MailIncident,
    /// The operator's own subject.
    pub subject: Option<String>,
    /// What of the recipient's is affected, for sentences such as "a problem with …".
    pub what: String,
    /// Whom it is written to.
    pub recipient: MailRecipient,
    /// The operator's message.
    pub paragraphs: Vec<String>,
    /// What the customer has to do.
    pub action: Option<MailAction>,
    /// The recipient's affected resources, the first ones.
    pub resources: Vec<MailResource>,
    /// How many more there are.
    pub more_resources: usize,
    /// Times worth knowing.
    pub times: Vec<MailTime>,
    /// The report, in phase report.
    pub report: Option<MailReport>,
    /// The name of the company that writes.
    pub sender: String,
    /// One sentence: why they get it.
    pub reason: String,
    /// Whether they can opt out of it.
    pub optional: bool,
    /// Where.
    pub unsubscribe_url: String,
}

/// An incident in a mail.
#[derive(Clone, Debug, Serialize)]
pub struct MailIncident {
    /// Its number.
    pub number: i64,
    /// critical, major or minor.
    pub severity: String,
}

/// A recipient in a mail.
#[derive(Clone, Debug, Serialize)]
pub struct MailRecipient {
    /// Name.
    pub name: String,
}

/// What the customer has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailAction {
    /// Whether anything.
    pub required: bool,
    /// What; empty where nothing.
    pub text: String,
}

/// An affected resource in a mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MailResource {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Id.
    pub id: String,
    /// For people.
    pub label: String,
    /// The account's name, or empty.
    pub account: String,
}

/// A time in a mail.
#[derive(Clone, Debug, Serialize)]
pub struct MailTime {
    /// Which.
    pub label: String,
    /// In UTC and in the recipient's zone.
    pub text: String,
}

/// A report in a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailReport {
    /// Title.
    pub title: String,
    /// Sections.
    pub sections: Vec<MailSection>,
}

/// A section of a report in a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailSection {
    /// Heading.
    pub heading: String,
    /// Paragraphs.
    pub paragraphs: Vec<String>,
}

/// A rendered mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The text body.
    pub text: String,
    /// The HTML body.
    pub html: String,
}

/// A template that was parsed and checked.
pub struct Template {
    plain: Handlebars<'static>,
    html: Handlebars<'static>,
    shows_only: bool,
}

impl Template {
    /// Parses a template and renders it on samples of every case.
    ///
    /// # Errors
    /// `Invalid`, naming the part and the line.
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
        let template = Self::parse(source).map_err(|(pointer, detail)| Error::invalid(pointer, detail))?;
        for sample in samples(phase).into_iter().chain([largest(phase)]) {
            template
                .render_parts(&sample)
                .map_err(|(pointer, detail)| Error::invalid(pointer, detail))?;
        }
        Ok(template)
    }

    fn parse(source: &Source) -> std::result::Result<Template, (&'static str, String)> {
        let mut plain = Handlebars::new();
        let mut html = Handlebars::new();
        for registry in [&mut plain, &mut html] {
            registry.set_strict_mode(true);
            for (name, text) in PARTIALS {
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
            }
        }
        for registry in [&mut plain, &mut html] {
            for (name, _) in PARTIALS {
                if let Some(parsed) = registry.get_template(name) {
                    allow::check(parsed, true, true).map_err(|why| ("", format!("{name}: {why}")))?;
                }
            }
            budget::count_steps(registry).map_err(|why| ("", why))?;
        }
        let parts = [&source.subject, &source.text, &source.html].map(String::as_str);
        let partials = PARTIALS.iter().map(|(_, text)| *text);
        let shows_only = parts.into_iter().chain(partials).all(only_shows);
        Ok(Template {
            plain,
            html,
            shows_only,
        })
    }

    /// Whether the template does no more with what differs between recipients than to show it, or to ask whether it is
    /// empty. Then a mail can be put together from pieces.
    pub fn shows_only(&self) -> bool {
        self.shows_only
    }

    /// Renders a mail.
    ///
    /// # Errors
    /// `Internal`: a checked template fails only by a fault of ours.
    pub fn render(&self, context: &MailContext) -> Result<Rendered> {
        self.render_parts(context)
            .map_err(|(pointer, detail)| Error::internal(format!("template {pointer}: {detail}")))
    }

    /// Renders a mail for somebody who looks at it before it is sent.
    ///
    /// # Errors
    /// `Invalid` with the code `limit_reached`: this mail takes more than rendering may.
    pub fn render_to_show(&self, context: &MailContext) -> Result<Rendered> {
        self.render_parts(context).map_err(|(pointer, detail)| {
            Error::fields(vec![
                FieldError::at(format!("/template{pointer}"), detail).code(Code::LimitReached),
            ])
        })
    }

    /// Renders a mail whose subject is not finished yet (see [`finish_subject`]).
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_raw(&self, context: &MailContext) -> Result<Rendered> {
        self.render_unfinished(context)
            .map_err(|(pointer, detail)| Error::internal(format!("template {pointer}: {detail}")))
    }

    fn render_parts(&self, context: &MailContext) -> std::result::Result<Rendered, (&'static str, String)> {
        let mut rendered = self.render_unfinished(context)?;
        rendered.subject = one_line(&rendered.subject, SUBJECT);
        if rendered.subject.is_empty() {
            return Err(("/subject", "comes out empty".to_owned()));
        }
        Ok(rendered)
    }

    fn render_unfinished(
        &self,
        context: &MailContext,
    ) -> std::result::Result<Rendered, (&'static str, String)> {
        let context =
            Context::wraps(context).map_err(|error| ("", format!("the values cannot be used: {error}")))?;
        let part = |registry: &Handlebars<'static>, name: &str| {
            budget::render(registry, name, &context).map_err(|why| (pointer_of(name), why))
        };
        let subject = part(&self.plain, "subject")?;
        let text = part(&self.plain, "text")?;
        let html = part(&self.html, "html")?;
        Ok(Rendered { subject, text, html })
    }
}

/// A rendered subject as it goes into the mail: one line, not too long.
///
/// # Errors
/// `Internal` where nothing is left of it: templates are checked for that.
pub fn finish_subject(rendered: &str) -> Result<String> {
    let subject = one_line(rendered, SUBJECT);
    if subject.is_empty() {
        return Err(Error::internal("template /subject: comes out empty"));
    }
    Ok(subject)
}

/// What of a [`MailContext`] differs between the recipients of a notice, and the words that can mean any of it.
const PERSONAL: [&str; 14] = [
    "recipient",
    "name",
    "what",
    "reason",
    "unsubscribe_url",
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

/// Whether a template's source does no more with personal values than to show them or to ask whether they are empty.
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
            ["#if" | "#unless" | "#each" | ">" | "#>" | "^", one] | ["else", "if" | "unless", one] => {
                !one.starts_with('(')
            }
            // These too ask no more than whether something is empty.
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
                    // The whole context, by its other names.
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
        return Err("holds a NUL character".to_owned());
    }
    if text.len() > MAX_SIZE {
        return Err(format!("is larger than {MAX_SIZE} bytes"));
    }
    scan::scan(text, pointer == "/html")
}

/// The field of a template's source that a part comes from.
fn pointer_of(name: &str) -> &'static str {
    match name {
        "subject" => "/subject",
        "text" => "/text",
        _ => "/html",
    }
}

/// Says where a part cannot be read, and how tags are written.
fn unreadable(error: &TemplateError) -> String {
    let place = error.pos().map_or(String::new(), |(line, column)| {
        format!("line {line}, column {column}: ")
    });
    format!(
        "{place}this cannot be read as a template; tags are {{{{name}}}}, {{{{#if name}}}} … {{{{else}}}} … {{{{/if}}}}, \
         {{{{#each list}}}} … {{{{/each}}}} and {{{{> partial}}}}"
    )
}

/// A mail with much in it: a template whose rendering grows out of bounds shows it when it is saved.
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

/// The built-in templates, checked.
///
/// # Errors
/// `Invalid`, naming the phase: then the program does not start.
pub fn check_builtin() -> Result<BTreeMap<&'static str, Template>> {
    Phase::ALL
        .into_iter()
        .map(|phase| {
            let template = Template::compile(phase, &Source::builtin(phase)).map_err(|error| {
                Error::invalid(
                    "",
                    format!("the built-in template for {phase} is broken: {error}"),
                )
            })?;
            Ok((phase.as_str(), template))
        })
        .collect()
}

/// One mail of every shape that can occur: a template that renders them all does not fail when it is sent.
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
    };
    let base = MailContext {
        phase,
        incident: MailIncident {
            number: 1,
            severity: "major".to_owned(),
        },
        subject: None,
        what: "Launch film".to_owned(),
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
            text: "14 March 2024, 06:51 UTC (09:51 EAT)".to_owned(),
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
    };
    let many = MailContext {
        subject: Some("A subject of the operator's own".to_owned()),
        action: Some(MailAction {
            required: true,
            text: "Please accept the invitation.".to_owned(),
        }),
        resources: (1..=25).map(resource).collect(),
        more_resources: 131,
        times: Vec::new(),
        optional: !phase.optional(),
        ..base.clone()
    };
    let bare = MailContext {
        action: None,
        resources: Vec::new(),
        paragraphs: Vec::new(),
        report: None,
        ..base.clone()
    };
    [base, many, bare]
}
