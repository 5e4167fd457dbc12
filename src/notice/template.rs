//! Mail templates: parse, check, render. Pure: no database, no clock, no network.
//!
//! Two registries: one that escapes HTML for the HTML bodies, one that escapes nothing for subjects and text.
//! A template that comes in is rendered on samples of every case before it is accepted.
//!
//! Must never happen here: unescaped HTML, a line break in a subject, a template that fails only when it is sent,
//! or a template that calls itself until the process dies.

use std::collections::BTreeMap;

use handlebars::Handlebars;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
            include_str!(concat!("../../templates/email/", $phase, "/subject.txt.hbs")),
            include_str!(concat!("../../templates/email/", $phase, "/body.txt.hbs")),
            include_str!(concat!("../../templates/email/", $phase, "/body.html.hbs")),
        )
    };
}

/// Partials that templates may use, by name.
const PARTIALS: [(&str, &str); 8] = [
    (
        "layout.html",
        include_str!("../../templates/email/layout.html.hbs"),
    ),
    (
        "paragraphs.txt",
        include_str!("../../templates/email/paragraphs.txt.hbs"),
    ),
    (
        "paragraphs.html",
        include_str!("../../templates/email/paragraphs.html.hbs"),
    ),
    ("footer.txt", include_str!("../../templates/email/footer.txt.hbs")),
    (
        "resources.txt",
        include_str!("../../templates/email/resources.txt.hbs"),
    ),
    (
        "resources.html",
        include_str!("../../templates/email/resources.html.hbs"),
    ),
    ("action.txt", include_str!("../../templates/email/action.txt.hbs")),
    (
        "action.html",
        include_str!("../../templates/email/action.html.hbs"),
    ),
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
        for sample in samples(phase) {
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
        plain
            .register_template_string("subject", &source.subject)
            .map_err(|e| ("/subject", e.to_string()))?;
        plain
            .register_template_string("text", &source.text)
            .map_err(|e| ("/text", e.to_string()))?;
        html.register_template_string("html", &source.html)
            .map_err(|e| ("/html", e.to_string()))?;
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
        let subject = self
            .plain
            .render("subject", context)
            .map_err(|e| ("/subject", e.to_string()))?;
        let text = self
            .plain
            .render("text", context)
            .map_err(|e| ("/text", e.to_string()))?;
        let html = self
            .html
            .render("html", context)
            .map_err(|e| ("/html", e.to_string()))?;
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
    let line_of = |position: usize| text[..position].matches('\n').count() + 1;
    // Inline partials could call themselves for ever; unescaped output could carry markup of strangers.
    let mut forbidden = vec![
        ("{{#*", "inline partials are not allowed"),
        ("{{*", "decorators are not allowed"),
    ];
    if pointer == "/html" {
        forbidden.push(("{{{", "unescaped output is not allowed"));
        forbidden.push(("{{&", "unescaped output is not allowed"));
    }
    let squeezed = text.replace("{{~", "{{");
    for (mark, why) in forbidden {
        if let Some(position) = squeezed.find(mark) {
            let line = squeezed[..position].matches('\n').count() + 1;
            return Err(format!("line {line}: {why}"));
        }
    }
    let mut rest = 0;
    while let Some(found) = text[rest..].find("{{") {
        let start = rest + found + 2;
        let tag = text[start..].trim_start_matches(['~', '#']);
        if let Some(name) = tag.trim_start().strip_prefix('>') {
            let name: String = name
                .trim_start()
                .chars()
                .take_while(|c| !c.is_whitespace() && *c != '}' && *c != '~')
                .collect();
            if !PARTIALS.iter().any(|(known, _)| *known == name) {
                let known: Vec<&str> = PARTIALS.iter().map(|(known, _)| *known).collect();
                return Err(format!(
                    "line {}: the partial '{name}' is not one of {}",
                    line_of(start),
                    known.join(", ")
                ));
            }
        }
        rest = start;
    }
    Ok(())
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
pub fn samples(phase: Phase) -> Vec<MailContext> {
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
    vec![base, many, bare]
}
