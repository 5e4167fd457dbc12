//! The fields of the form for a policy, and the way between the form and the input of the API.

use serde_json::{Value, json};

use super::field::Field;
use super::form::Form;
use crate::audience::{Collaborators, Rule};
use crate::automation::{NewPolicy, Policy};
use crate::base::error::{Error, FieldError, Result, misfit};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;

/// The form for a policy.
pub const POLICY: &[Field] = &[
    Field::text("name", "Name", "Timelines show this name."),
    Field::flag("enabled", "State", "", "On: the policy is tried", "Off: the policy is not tried").beside(),
    Field::choice(
        "phase",
        "What it is about",
        "",
        &[
            ("detection", "Detections: an incident is opened"),
            ("recovery", "Recoveries: everything of people is restored"),
        ],
        "must be detection or recovery",
    ),
    Field::number(
        "every_minutes",
        "Minutes between two recoveries",
        "Only for recoveries, from 5 to 1440: at most one notice about an incident in this time.",
        (5, 1_440, 1),
        "must be a whole number from 5 to 1440",
    )
    .beside(),
    Field::choice(
        "action",
        "What it does",
        "If several policies match an incident, the first one decides.",
        &[
            ("draft", "It drafts a notice, which a person checks and sends"),
            ("send", "It sends a notice within the limits below"),
            ("nothing", "Nothing, and later policies are not tried"),
        ],
        "must be draft, send or nothing",
    ),
    Field::number(
        "wait_seconds",
        "Wait, in seconds",
        "Time between the opening of the incident, or the evidence, and the action: more resources can become affected or restored, and a person can act first.",
        (0, 3_600, 1),
        "must be a whole number of seconds from 0 to 3600 (an hour)",
    )
    .beside(),
    Field::number(
        "position",
        "Position",
        "Policies are tried from the lowest. If empty, a new policy comes last.",
        (0, 1_000_000, 1),
        "must be a whole number from 0 to 1000000",
    )
    .beside(),
    Field::set(
        "severities",
        "Severities",
        "If none is chosen, the policy applies to all severities.",
        &[("critical", "Critical"), ("major", "Major"), ("minor", "Minor")],
        true,
    ),
    Field::set(
        "integrations",
        "Integrations",
        "The policy applies to incidents that alerts of these opened. If none is chosen, all. A policy about detections never applies to an incident that a person opened.",
        &[],
        true,
    ),
    Field::long_text(
        "message",
        "Message to customers",
        "What they read, such as: Some of your files cannot be opened. We are working on it. It never contains a text from an alert.",
    )
    .optional(),
    Field::text("subject", "Subject", "If empty, the emails have the usual subject.").optional(),
    Field::choice(
        "customer_action",
        "What the customer must do",
        "",
        &[
            ("unsaid", "The notice does not say it"),
            ("none", "Nothing: no action needed"),
            ("needed", "The customer must do this:"),
        ],
        "must be unsaid, none or needed",
    ),
    Field::text("to_do", "To do", "Only if the customer must do something.").optional().beside(),
    Field::number(
        "limits.audience_at_most",
        "Largest number of people",
        "Above it, the notice stays a draft. A policy that sends needs it. The limits on all notices apply too.",
        (1, 100_000_000, 1),
        "must be a whole number from 1",
    ),
    Field::own(
        "limits.per_account_per_hour",
        "Notices to one account within an hour",
        "From 1 to 60. If empty, there is no such limit.",
        read_rate,
        write_rate,
    )
    .one_line()
    .beside(),
    Field::text("limits.hours.from", "Sends only from", "A time of the day such as 08:00. If empty, at any time.").optional(),
    Field::text("limits.hours.until", "until", "Such as 18:00. Earlier than the start means over midnight.").optional().beside(),
    Field::text("limits.hours.time_zone", "in the time zone", "Such as Europe/Berlin.").optional().beside(),
    Field::lines("roles", "Roles of members", "Who in the owning account is notified, one role on each line."),
    Field::choice(
        "collaborators",
        "Collaborators",
        "",
        &[
            ("all", "All collaborators"),
            ("none", "No collaborators"),
            ("roles", "Collaborators with these roles:"),
        ],
        "must be all, none or roles",
    ),
    Field::lines("collaborator_roles", "Roles of collaborators", "Only with the last choice, one role on each line.").beside(),
    Field::lines("contacts", "Contacts of the account", "shared, operations, security or billing, one on each line. If empty, none."),
];

fn read_rate(text: &str) -> std::result::Result<Value, Vec<String>> {
    match (text, text.parse::<u32>()) {
        ("", _) => Ok(Value::Null),
        (_, Ok(number)) => Ok(json!(number)),
        _ => Err(vec!["must be a whole number from 1 to 60, or empty".to_owned()]),
    }
}

fn write_rate(stored: &Value) -> String {
    stored.to_string()
}

/// A new form with the values that most policies have.
pub fn fresh() -> Form {
    Form::new(POLICY)
        .with("phase", "detection")
        .with("wait_seconds", "180")
        .with("limits.per_account_per_hour", "1")
        .with("roles", "owner")
        .with("contacts", "shared\noperations")
}

/// The form of a stored policy. None if a form cannot represent it.
pub fn form_of(policy: &Policy, now: Timestamp) -> Result<Option<Form>> {
    let mut flat = serde_json::to_value(policy)?;
    let action = policy.says.customer_action.as_ref();
    flat["to_do"] = json!(action.and_then(|action| action.text.clone()));
    flat["customer_action"] = json!(match action {
        None => "unsaid",
        Some(action) if action.required => "needed",
        Some(_) => "none",
    });
    let rule = policy.says.audience.clone().unwrap_or_default();
    flat["roles"] = json!(rule.roles);
    flat["contacts"] = json!(rule.contacts);
    let (word, roles) = match rule.collaborators {
        Collaborators::All(true) => ("all", Vec::new()),
        Collaborators::All(false) => ("none", Vec::new()),
        Collaborators::Roles(roles) => ("roles", roles),
    };
    flat["collaborators"] = json!(word);
    flat["collaborator_roles"] = json!(roles);
    Ok(Form::of(POLICY, &flat, now))
}

/// Puts what was typed into the input of the API.
///
/// # Errors
/// `Invalid` with the fields of the form that do not fit together.
pub fn input(mut body: Value) -> Result<NewPolicy> {
    let mut take = |name: &str| body.as_object_mut().and_then(|fields| fields.remove(name));
    let word = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let (action, to_do) = (word(take("customer_action")), word(take("to_do")));
    let (roles, contacts, which, named) = (
        take("roles"),
        take("contacts"),
        word(take("collaborators")),
        take("collaborator_roles"),
    );
    let action = match (action.as_deref(), to_do) {
        (Some("needed"), text) => Some(json!({"required": true, "text": text})),
        (Some("none"), text) => Some(json!({"required": false, "text": text})),
        (_, Some(text)) => Some(json!({"required": false, "text": text})),
        (_, None) => None,
    };
    if let Some(mut action) = action {
        if action["text"].is_null()
            && let Some(fields) = action.as_object_mut()
        {
            fields.remove("text");
        }
        body["customer_action"] = action;
    }
    let collaborators = match which.as_deref() {
        Some("none") => json!(false),
        Some("roles") => named.unwrap_or_else(|| json!([])),
        _ => json!(true),
    };
    let rule: Rule = read(json!({
        "roles": roles.unwrap_or_else(|| json!([])), "collaborators": collaborators,
        "contacts": contacts.unwrap_or_else(|| json!([])),
    }))
    .map_err(at_fields)?;
    if rule != Rule::default() {
        body["audience"] = serde_json::to_value(&rule)?;
    }
    let sends = body["action"] == json!("send");
    limits(&mut body, sends)?;
    read(body)
}

/// Leaves out limits that say nothing, and checks that those that are given are whole.
fn limits(body: &mut Value, sends: bool) -> Result<()> {
    let given = body.pointer("/limits/audience_at_most").is_some();
    let missing = |name: &str| FieldError::at(format!("/limits/{name}"), "must not be empty");
    if !given {
        if sends {
            return Err(Error::fields(vec![missing("audience_at_most")]));
        }
        // Without it there are no limits, and what was typed in the other fields would be lost.
        let others = body.pointer("/limits").and_then(Value::as_object);
        if others.is_some_and(|limits| limits.values().any(|value| !value.is_null())) {
            let detail = "must not be empty, because the other limits need it";
            return Err(Error::fields(vec![FieldError::at(
                "/limits/audience_at_most",
                detail,
            )]));
        }
        if let Some(fields) = body.as_object_mut() {
            fields.remove("limits");
        }
        return Ok(());
    }
    if let Some(hours) = body.pointer("/limits/hours") {
        let wrong: Vec<FieldError> = ["from", "until", "time_zone"]
            .into_iter()
            .filter(|name| hours.get(*name).is_none())
            .map(|name| missing(&format!("hours/{name}")))
            .collect();
        if !wrong.is_empty() {
            return Err(Error::fields(wrong));
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| misfit(&error))
}

/// Moves the errors of the domain to the fields of the form.
pub fn at_fields(error: Error) -> Error {
    let moved = |error: FieldError| {
        let pointer = error.pointer.as_deref().map(|at| match at {
            "/customer_action/text" => "/to_do".to_owned(),
            "/limits" => "/limits/audience_at_most".to_owned(),
            at => {
                let at = at.strip_prefix("/audience").unwrap_or(at);
                at.replace("/collaborators", "/collaborator_roles")
            }
        });
        FieldError { pointer, ..error }
    };
    match error {
        Error::Invalid { errors, .. } => Error::fields(errors.into_iter().map(moved).collect()),
        Error::Coded(code, inner) => Error::Coded(code, Box::new(at_fields(*inner))),
        other => other,
    }
}

/// The roles of a rule in words.
pub fn audience_words(rule: &Rule) -> String {
    let list = |roles: &[ExternalId]| {
        roles
            .iter()
            .map(ExternalId::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let members = list(&rule.roles);
    match &rule.collaborators {
        Collaborators::All(true) => format!("{members}, and all collaborators"),
        Collaborators::All(false) => members,
        Collaborators::Roles(roles) => format!("{members}, and collaborators who are {}", list(roles)),
    }
}
