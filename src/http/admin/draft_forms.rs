//! The forms with which a notice is written: a new one for an incident, its change, and the values of its recipients. They do what the
//! API does, with the same role. Nothing is sent by them. [`super::write`] is the page that they are on.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::field::{Field, ZONE};
use super::form::Form;
use super::translations;
use super::version;
use super::view::zone;
use crate::audience::{Collaborators, Rule};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::directory::contact::ContactKind;
use crate::incident::{Incident, Status};
use crate::notice::template::Phase;
use crate::notice::values::{self, PersonValues};
use crate::notice::{CustomerAction, NewNotice, Notice, NoticePatch, Translation, Translations};

const HEADLINE: Field = Field::text(
    "headline",
    "Headline",
    "What the subject and the title say, such as: Some files cannot be opened. If empty, it is the headline of the incident.",
)
.optional();
const MESSAGE: Field = Field::long_text(
    "message",
    "Message",
    "Plain text. Empty lines separate paragraphs. {{values.code}} shows a value that you upload for each recipient.",
);
const ACTION: Field = Field::choice(
    "customer_action",
    "What the customer must do",
    "A recovery and a resolution must say it.",
    &[
        ("unsaid", "The notice does not say it"),
        ("none", "Nothing: no action needed"),
        ("needed", "The customer must do this:"),
    ],
    "must be unsaid, none or needed",
);
const TODO: Field = Field::long_text("to_do", "To do", "Only if the customer must do something.").optional();
const NEXT: Field = Field::choice(
    "next_update",
    "Next update",
    "Customers are promised an update until then, even if there is no news.",
    &[
        ("at", "At the time beside"),
        ("PT30M", "In 30 minutes"),
        ("PT1H", "In 1 hour"),
        ("PT2H", "In 2 hours"),
        ("PT4H", "In 4 hours"),
        ("P1D", "In 1 day"),
    ],
    "must be at, PT30M, PT1H, PT2H, PT4H or P1D",
);
const DUE: Field = Field::clock(
    "next_update_due_at",
    "Next update by",
    "If empty, nothing is promised.",
)
.beside();
const ROLES: Field = Field::lines(
    "roles",
    "Roles of members",
    "Roles in the owning account, one on each line.",
);
const COLLABORATORS: Field = Field::lines(
    "collaborators",
    "Collaborators",
    "all, none, or their roles, one on each line.",
)
.beside();
const CONTACTS: Field = Field::lines(
    "contacts",
    "Contacts of the account",
    "shared, operations, security or billing, one on each line. If empty, none.",
)
.beside();

/// A field of a translation. Its name is that of the API, but for the action, which has one field as in the notice itself.
macro_rules! in_language {
    ($code:literal, $name:literal, headline) => {
        Field::text(
            concat!("translations.", $code, ".headline"),
            concat!("Headline in ", $name),
            "If empty, the email in this language has none.",
        )
        .optional()
    };
    ($code:literal, $name:literal, message) => {
        Field::long_text(
            concat!("translations.", $code, ".message"),
            concat!("Message in ", $name),
            "",
        )
        .optional()
    };
    ($code:literal, $name:literal, to_do) => {
        Field::long_text(
            concat!("translations.", $code, ".to_do"),
            concat!("To do in ", $name),
            "Only if the customer must do something.",
        )
        .optional()
    };
}

/// The fields of a form with those of each translation between them.
macro_rules! with_translations {
    ([$($before:expr),+ $(,)?], [$($after:expr),+ $(,)?]) => {
        &[
            $($before,)+
            in_language!("de", "German", headline), in_language!("de", "German", message), in_language!("de", "German", to_do),
            in_language!("fr", "French", headline), in_language!("fr", "French", message), in_language!("fr", "French", to_do),
            in_language!("es", "Spanish", headline), in_language!("es", "Spanish", message), in_language!("es", "Spanish", to_do),
            in_language!("pt", "Portuguese", headline), in_language!("pt", "Portuguese", message), in_language!("pt", "Portuguese", to_do),
            in_language!("ja", "Japanese", headline), in_language!("ja", "Japanese", message), in_language!("ja", "Japanese", to_do),
            in_language!("sw", "Swahili", headline), in_language!("sw", "Swahili", message), in_language!("sw", "Swahili", to_do),
            in_language!("ar", "Arabic", headline), in_language!("ar", "Arabic", message), in_language!("ar", "Arabic", to_do),
            in_language!("en", "English", headline), in_language!("en", "English", message), in_language!("en", "English", to_do),
            $($after,)+
        ]
    };
}

pub(super) const WRITE: &[Field] = with_translations!(
    [
        Field::choice(
            "phase",
            "Kind of notice",
            "",
            &[
                ("detection", "Detection: we found a problem"),
                ("update", "Update: there is news"),
                ("recovery", "Recovery: everything of theirs is restored"),
                ("resolution", "Resolution: the incident is over"),
                ("report", "Report: what happened"),
            ],
            "must be detection, update, recovery, resolution or report",
        ),
        HEADLINE,
        MESSAGE,
        ACTION,
        TODO,
        NEXT,
        DUE,
        Field::zone(),
    ],
    [ROLES, COLLABORATORS, CONTACTS]
);

pub(super) const CHANGE: &[Field] = with_translations!(
    [HEADLINE, MESSAGE, ACTION, TODO, NEXT, DUE, Field::zone(),],
    [ROLES, COLLABORATORS, CONTACTS, version::FIELD]
);

pub(super) const VALUES: &[Field] = &[Field::own(
    "values",
    "Or paste the values of the recipients",
    "CSV whose first line names the columns, such as person,code. Or lines of JSON, such as {\"person\": \"ann\", \"values\": \
     {\"code\": \"A-1234\"}}. They replace all values of this notice.",
    |text| Ok(json!(text)),
    |_| String::new(),
)];

/// A notice as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    phase: Option<Phase>,
    headline: Option<String>,
    message: String,
    customer_action: Action,
    to_do: Option<String>,
    next_update: String,
    next_update_due_at: Option<Timestamp>,
    roles: Vec<ExternalId>,
    collaborators: Vec<ExternalId>,
    contacts: Vec<ContactKind>,
    #[serde(default)]
    translations: BTreeMap<Language, WrittenTranslation>,
}

/// The texts in one language as they were typed. A language without any text has no translation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTranslation {
    headline: Option<String>,
    message: Option<String>,
    to_do: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Unsaid,
    None,
    Needed,
}

impl Written {
    fn action(&self) -> Option<CustomerAction> {
        let action = |required: bool| CustomerAction {
            required,
            text: self.to_do.clone(),
        };
        match (self.customer_action, &self.to_do) {
            (Action::Unsaid, None) => None,
            // A text without the choice is an error at the text, as in the API.
            (Action::Unsaid | Action::None, _) => Some(action(false)),
            (Action::Needed, _) => Some(action(true)),
        }
    }

    /// The translations. A subject that was written through the API stays as it is.
    fn translations(&mut self, before: Option<&Translations>) -> Result<Translations> {
        let needed = matches!(self.customer_action, Action::Needed);
        let mut translations = Translations::new();
        for (language, written) in std::mem::take(&mut self.translations) {
            let WrittenTranslation {
                headline,
                message,
                to_do,
            } = written;
            let Some(message) = message else {
                if headline.is_some() || to_do.is_some() {
                    let detail = "is missing; a translation needs a message";
                    return Err(Error::invalid(
                        format!("/translations/{language}/message"),
                        detail,
                    ));
                }
                continue;
            };
            let of = Translation {
                subject: before
                    .and_then(|before| before.get(&language))
                    .and_then(|before| before.subject.clone()),
                headline,
                message,
                // A text without the choice is an error at the text, as in the API.
                customer_action: (needed || to_do.is_some()).then_some(CustomerAction {
                    required: needed,
                    text: to_do,
                }),
            };
            translations.insert(language, of);
        }
        Ok(translations)
    }

    fn rule(&self) -> Rule {
        let words: Vec<&str> = self.collaborators.iter().map(ExternalId::as_str).collect();
        Rule {
            roles: self.roles.clone(),
            collaborators: match words.as_slice() {
                ["all"] => Collaborators::All(true),
                ["none"] => Collaborators::All(false),
                _ => Collaborators::Roles(self.collaborators.clone()),
            },
            contacts: self.contacts.clone(),
        }
    }

    /// The time until which an update is promised.
    fn due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let minutes = match self.next_update.as_str() {
            "PT30M" => 30,
            "PT1H" => 60,
            "PT2H" => 120,
            "PT4H" => 240,
            "P1D" => 24 * 60,
            _ => return Ok(self.next_update_due_at),
        };
        if self.next_update_due_at.is_some() {
            let detail = "must be empty, because the field beside says when the next update is";
            return Err(Error::invalid("/next_update_due_at", detail));
        }
        Ok(Some(now.plus(Duration::from_secs(minutes * 60))))
    }

    /// The new notice. `phase` is that of a draft that is changed.
    pub(super) fn new_notice(mut self, phase: Option<Phase>, now: Timestamp) -> Result<NewNotice> {
        let next_update_due_at = self.due(now)?;
        let phase = self
            .phase
            .or(phase)
            .ok_or_else(|| Error::invalid("/phase", "is missing"))?;
        let translations = self.translations(None)?;
        Ok(NewNotice {
            phase,
            customer_action: self.action(),
            audience: Some(self.rule()),
            message: self.message,
            subject: None,
            headline: self.headline,
            next_update_due_at,
            // The page of a notice has the form for its correction.
            corrects: None,
            // The page on which a draft is checked has the box for it.
            acknowledge_impaired: false,
            translations,
        })
    }

    /// The change of a draft. What is as before is left out, so that a reminder, whose audience is fixed, can be changed.
    pub(super) fn patch(mut self, before: &Notice, now: Timestamp) -> Result<NoticePatch> {
        let due = self.due(now)?;
        let (action, rule) = (self.action(), self.rule());
        if action.is_none() && before.customer_action.is_some() {
            let detail = "the notice already says what the customer must do: choose one of the others";
            return Err(Error::invalid("/customer_action", detail));
        }
        let translations = self.translations(Some(&before.translations))?;
        Ok(NoticePatch {
            message: Some(self.message),
            subject: None,
            headline: Some(self.headline),
            next_update_due_at: Some(due).filter(|due| *due != before.next_update_due_at),
            customer_action: action,
            audience: Some(rule).filter(|rule| *rule != before.audience),
            acknowledge_impaired: None,
            translations: Some(translations),
        })
    }
}

/// Moves the errors of the domain to the fields of the form.
pub(super) fn at_fields(error: Error) -> Error {
    let moved = |error: FieldError| {
        let pointer = error.pointer.as_deref().map(|at| match at {
            "/customer_action/text" => "/to_do".to_owned(),
            at if at.starts_with("/translations/") => match at.split_once("/customer_action") {
                Some((translation, _)) => format!("{translation}/to_do"),
                None => at.to_owned(),
            },
            at => at.strip_prefix("/audience").unwrap_or(at).to_owned(),
        });
        FieldError { pointer, ..error }
    };
    match error {
        Error::Invalid { errors, .. } => Error::fields(errors.into_iter().map(moved).collect()),
        Error::Coded(code, inner) => Error::Coded(code, Box::new(at_fields(*inner))),
        other => other,
    }
}

/// Fills the fields of the translations.
fn with_written(mut form: Form, translations: &Translations) -> Form {
    for field in CHANGE
        .iter()
        .filter(|field| field.name.starts_with(translations::PREFIX))
    {
        let names = field.name[translations::PREFIX.len()..].split_once('.');
        let (code, name) = names.unwrap_or_default();
        let Some(of) = Language::parse(code)
            .ok()
            .and_then(|language| translations.get(&language))
        else {
            continue;
        };
        let text = match name {
            "headline" => of.headline.as_deref(),
            "message" => Some(of.message.as_str()),
            _ => of
                .customer_action
                .as_ref()
                .and_then(|action| action.text.as_deref()),
        };
        form = form.with(field.name, text.unwrap_or_default());
    }
    form
}

fn with_audience(form: Form, rule: &Rule) -> Form {
    let lines = |roles: &[ExternalId]| {
        roles
            .iter()
            .map(ExternalId::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    };
    form.with("roles", lines(&rule.roles))
        .with(
            "collaborators",
            match &rule.collaborators {
                Collaborators::All(true) => "all".to_owned(),
                Collaborators::All(false) => "none".to_owned(),
                Collaborators::Roles(roles) => lines(roles),
            },
        )
        .with("contacts", contact_lines(&rule.contacts))
}

fn contact_lines(contacts: &[ContactKind]) -> String {
    contacts
        .iter()
        .map(|kind| kind.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The phase that is next for an incident. `begun` is whether a notice was sent since it was opened or reopened.
pub(super) fn next_phase(incident: &Incident, begun: bool) -> Phase {
    match (incident.status, begun) {
        (Status::Resolved, _) => Phase::Resolution,
        (_, true) => Phase::Update,
        (_, false) => Phase::Detection,
    }
}

/// A new notice of this phase. `own_zone` is the time zone of the person who writes it.
pub(super) fn new_form(phase: Phase, incident: &Incident, own_zone: Option<&str>, message: &str) -> Form {
    let name = own_zone.or(incident.time_zone.as_deref()).unwrap_or("UTC");
    let action = match phase {
        // A resolution must say it, and in most cases there is nothing to do.
        Phase::Recovery | Phase::Resolution => "none",
        _ => "unsaid",
    };
    let form = Form::new(WRITE)
        .with("phase", phase.as_str())
        .with("message", message)
        .with("customer_action", action)
        .with(ZONE, name)
        .within("notice");
    with_audience(form, &Rule::default())
}

/// The form that changes a draft, with everything that it says.
pub(super) fn change_form(notice: &Notice, incident: &Incident, own_zone: Option<&str>) -> Form {
    let name = own_zone
        .or(incident.time_zone.as_deref())
        .filter(|name| zone(Some(name)).is_some());
    let shown_in = zone(name).unwrap_or(jiff::tz::TimeZone::UTC);
    let (action, to_do) = match &notice.customer_action {
        None => ("unsaid", None),
        Some(CustomerAction { required: false, .. }) => ("none", None),
        Some(CustomerAction { text, .. }) => ("needed", text.as_deref()),
    };
    let due = notice.next_update_due_at.map(|due| due.clock_in(&shown_in));
    let form = with_written(Form::new(CHANGE), &notice.translations)
        .with("headline", notice.headline.as_deref().unwrap_or_default())
        .with("message", notice.message.as_str())
        .with("customer_action", action)
        .with("to_do", to_do.unwrap_or_default())
        .with("next_update_due_at", due.unwrap_or_default())
        .with(ZONE, name.unwrap_or("UTC"))
        .within("notice");
    with_audience(form, &notice.audience)
}

/// Reads lines of JSON or CSV.
pub(super) fn read_values(text: &str) -> Result<Vec<(u64, PersonValues)>> {
    if text.trim_start().starts_with('{') || text.trim().is_empty() {
        return values::parse(text.as_bytes());
    }
    values::parse_csv(text)
}

/// The largest file with values, in bytes. The API takes as much.
const MAX_VALUES: u64 = 64 * 1024 * 1024;

/// Reads a file with lines of JSON or CSV.
pub(super) fn read_values_file(file: impl Read) -> Result<Vec<(u64, PersonValues)>> {
    let mut bytes = Vec::new();
    file.take(MAX_VALUES + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::internal)?;
    if bytes.len() as u64 > MAX_VALUES {
        return Err(Error::invalid("/values", "is larger than 64 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::invalid("/values", "is not UTF-8"))?;
    // Some programs put a mark for the order of bytes before a table.
    read_values(text.strip_prefix('\u{feff}').unwrap_or(&text))
}

/// Moves errors of lines to the field, with the number of the line.
pub(super) fn with_lines(error: Error) -> Error {
    let moved = |error: FieldError| match error.line {
        Some(line) => FieldError::at("/values", format!("line {line}: {}", error.detail)),
        None => error,
    };
    match error {
        Error::Invalid { errors, .. } => Error::fields(errors.into_iter().map(moved).collect()),
        other => other,
    }
}
