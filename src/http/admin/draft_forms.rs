//! The forms with which a notice is written: a draft on the page of an incident, its change, and the values of its recipients on the
//! page of the draft. They do what the API does, with the same role. Nothing is sent by them.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::field::{Field, ZONE};
use super::filled::{Filled, back_to};
use super::form::{Form, Saved, Use};
use super::incident_forms::find;
use super::view::zone;
use crate::audience::{Collaborators, Rule};
use crate::auth::Role;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{ExternalId, NoticeId};
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::{Incident, Status};
use crate::notice::template::Phase;
use crate::notice::values::{self, PersonValues};
use crate::notice::{self, CustomerAction, NewNotice, Notice, NoticePatch};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .send("/incidents/{id}/notices", Role::Operator, write)
        .send("/notices/{id}/change", Role::Operator, change)
        .send("/notices/{id}/values", Role::Operator, upload);
}

const PART: &str = "Incidents";

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
    "A resolution must say it.",
    &[
        ("unsaid", "The notice does not say it"),
        ("none", "Nothing: no action needed"),
        ("needed", "The customer must do this:"),
    ],
    "must be unsaid, none or needed",
);
const TODO: Field = Field::long_text("to_do", "To do", "Only if the customer must do something.").optional();
const DUE: Field = Field::clock(
    "next_update_due_at",
    "Next update by",
    "Customers are promised an update by this time, even if there is no news. If empty, nothing is promised.",
);
const ROLES: Field = Field::lines(
    "roles",
    "Roles of members",
    "Roles in the owning account, one on each line.",
);
const COLLABORATORS: Field = Field::lines(
    "collaborators",
    "Collaborators",
    "all, none, or their roles, one on each line.",
);

const WRITE: &[Field] = &[
    Field::choice(
        "phase",
        "Kind of notice",
        "",
        &[
            ("detection", "Detection: we found a problem"),
            ("update", "Update: there is news"),
            ("resolution", "Resolution: the incident is over"),
            ("report", "Report: what happened"),
        ],
        "must be detection, update, resolution or report",
    ),
    HEADLINE,
    MESSAGE,
    ACTION,
    TODO,
    DUE,
    Field::zone(),
    ROLES,
    COLLABORATORS,
];

const CHANGE: &[Field] = &[
    HEADLINE,
    MESSAGE,
    ACTION,
    TODO,
    DUE,
    Field::zone(),
    ROLES,
    COLLABORATORS,
];

const VALUES: &[Field] = &[Field::own(
    "values",
    "Values of the recipients",
    "CSV whose first line names the columns, such as person,code. Or lines of JSON, such as {\"person\": \"ann\", \"values\": \
     {\"code\": \"A-1234\"}}. They replace all values of this notice.",
    |text| Ok(json!(text)),
    |_| String::new(),
)];

/// A notice as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    phase: Option<Phase>,
    headline: Option<String>,
    message: String,
    customer_action: Action,
    to_do: Option<String>,
    next_update_due_at: Option<Timestamp>,
    roles: Vec<ExternalId>,
    collaborators: Vec<ExternalId>,
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

    fn rule(&self) -> Rule {
        let words: Vec<&str> = self.collaborators.iter().map(ExternalId::as_str).collect();
        Rule {
            roles: self.roles.clone(),
            collaborators: match words.as_slice() {
                ["all"] => Collaborators::All(true),
                ["none"] => Collaborators::All(false),
                _ => Collaborators::Roles(self.collaborators.clone()),
            },
        }
    }

    fn new_notice(self) -> Result<NewNotice> {
        let phase = self.phase.ok_or_else(|| Error::invalid("/phase", "is missing"))?;
        Ok(NewNotice {
            phase,
            customer_action: self.action(),
            audience: Some(self.rule()),
            message: self.message,
            subject: None,
            headline: self.headline,
            next_update_due_at: self.next_update_due_at,
            // The page of a notice has the form for its correction.
            corrects: None,
        })
    }

    /// The change of a draft. What is as before is left out, so that a reminder, whose audience is fixed, can be changed.
    fn patch(self, before: &Notice) -> Result<NoticePatch> {
        let (action, rule) = (self.action(), self.rule());
        if action.is_none() && before.customer_action.is_some() {
            let detail = "the notice already says what the customer must do: choose one of the others";
            return Err(Error::invalid("/customer_action", detail));
        }
        Ok(NoticePatch {
            message: Some(self.message),
            subject: None,
            headline: Some(self.headline),
            next_update_due_at: Some(self.next_update_due_at).filter(|due| *due != before.next_update_due_at),
            customer_action: action,
            audience: Some(rule).filter(|rule| *rule != before.audience),
        })
    }
}

/// Moves the errors of the domain to the fields of the form.
fn at_fields(error: Error) -> Error {
    let moved = |error: FieldError| {
        let pointer = error.pointer.as_deref().map(|at| match at {
            "/customer_action/text" => "/to_do".to_owned(),
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

fn with_audience(form: Form, rule: &Rule) -> Form {
    let lines = |roles: &[ExternalId]| {
        roles
            .iter()
            .map(ExternalId::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    };
    form.with("roles", lines(&rule.roles)).with(
        "collaborators",
        match &rule.collaborators {
            Collaborators::All(true) => "all".to_owned(),
            Collaborators::All(false) => "none".to_owned(),
            Collaborators::Roles(roles) => lines(roles),
        },
    )
}

fn of_incident(incident: &Incident) -> Use<'static> {
    let page = format!("/admin/incidents/{}", incident.number);
    Use {
        action: format!("{page}/notices"),
        button: "Write draft",
        within: ("Incident", page),
    }
}

fn of_draft(notice: &NoticeId, last: &str, button: &'static str) -> Use<'static> {
    let page = format!("/admin/notices/{notice}");
    Use {
        action: format!("{page}/{last}"),
        button,
        within: ("Notice", page),
    }
}

/// A form on the page that it belongs to.
fn here(form: Form, at: &Use<'_>) -> Value {
    let mut shown = form.shown(at);
    shown["back"] = Value::Null;
    shown
}

/// The form for the page of an incident. `notices` are those that it has.
pub(super) fn write_form(incident: &Incident, notices: &[Notice]) -> Value {
    let begun = notices
        .iter()
        .any(|notice| !notice.state.is_draft() && notice.episode == incident.episode);
    let phase = match (incident.status, begun) {
        (Status::Resolved, _) => Phase::Resolution,
        (_, true) => Phase::Update,
        (_, false) => Phase::Detection,
    };
    let form = Form::new(WRITE)
        .with("phase", phase.as_str())
        .with(
            ZONE,
            incident.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
        )
        .within("notice");
    here(with_audience(form, &Rule::default()), &of_incident(incident))
}

/// The forms for the page of a draft.
pub(super) fn draft_forms(notice: &Notice, incident: &Incident) -> Value {
    let name = incident
        .time_zone
        .as_deref()
        .filter(|name| zone(Some(name)).is_some());
    let shown_in = zone(name).unwrap_or(jiff::tz::TimeZone::UTC);
    let (action, to_do) = match &notice.customer_action {
        None => ("unsaid", None),
        Some(CustomerAction { required: false, .. }) => ("none", None),
        Some(CustomerAction { text, .. }) => ("needed", text.as_deref()),
    };
    let due = notice.next_update_due_at.map(|due| due.clock_in(&shown_in));
    let form = Form::new(CHANGE)
        .with("headline", notice.headline.as_deref().unwrap_or_default())
        .with("message", notice.message.as_str())
        .with("customer_action", action)
        .with("to_do", to_do.unwrap_or_default())
        .with("next_update_due_at", due.unwrap_or_default())
        .with(ZONE, name.unwrap_or("UTC"))
        .within("change");
    json!({
        "change": here(with_audience(form, &notice.audience), &of_draft(&notice.id, "change", "Change draft")),
        "values": here(Form::new(VALUES).within("values"), &of_draft(&notice.id, "values", "Replace values")),
    })
}

async fn write(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(WRITE, sent.fields)?);
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |written: Written| {
        let new = written.new_notice()?;
        let stored = app.db.write(&actor, move |tx| notice::draft(tx, &id, &new)).await;
        stored.map_err(at_fields)
    };
    let label = format!("#{} {}", incident.number, incident.title);
    let at = Use {
        within: (&label, format!("/admin/incidents/{}", incident.number)),
        ..of_incident(&incident)
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(notice) => Ok(back_to(&format!("/admin/notices/{}", notice.id))),
        Saved::Again(form) => form.page(&app, &by, ("Write to customers", PART), "", &at),
    }
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CHANGE, sent.fields)?);
    let of = id.clone();
    let before = app.db.read(move |conn| notice::get(conn, &of)).await?;
    let (actor, target) = (by.0.actor(), id.clone());
    let store = async |written: Written| {
        let patch = written.patch(&before)?;
        let stored = app
            .db
            .write(&actor, move |tx| notice::change(tx, &target, &patch))
            .await;
        stored.map_err(at_fields)
    };
    let at = of_draft(&id, "change", "Change draft");
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(back_to(&at.within.1)),
        Saved::Again(form) => form.page(&app, &by, ("Change the draft", PART), "", &at),
    }
}

/// The values as they were typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    values: String,
}

async fn upload(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(VALUES, sent.fields)?);
    let (actor, target) = (by.0.actor(), id.clone());
    let store = async |typed: Typed| {
        let lines = read_values(&typed.values).map_err(with_lines)?;
        let stored = app
            .db
            .write(&actor, move |tx| values::replace(tx, &target, &lines))
            .await;
        stored.map_err(with_lines)
    };
    let at = of_draft(&id, "values", "Replace values");
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(back_to(&at.within.1)),
        Saved::Again(form) => form.page(&app, &by, ("Replace the values", PART), "", &at),
    }
}

/// Reads lines of JSON or CSV.
fn read_values(text: &str) -> Result<Vec<(u64, PersonValues)>> {
    if text.trim_start().starts_with('{') || text.trim().is_empty() {
        return values::parse(text.as_bytes());
    }
    values::parse_csv(text)
}

/// Moves errors of lines to the field, with the number of the line.
fn with_lines(error: Error) -> Error {
    let moved = |error: FieldError| match error.line {
        Some(line) => FieldError::at("/values", format!("line {line}: {}", error.detail)),
        None => error,
    };
    match error {
        Error::Invalid { errors, .. } => Error::fields(errors.into_iter().map(moved).collect()),
        other => other,
    }
}
