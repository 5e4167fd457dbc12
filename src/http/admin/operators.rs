//! `/admin/operators`: our own people on call, with forms to create, change, test and delete them, and their last messages.
//!
//! The URL of a webhook is never shown in full, because everybody who knows it can write to that channel.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::params;
use super::signed_in::SignedIn;
use super::view::{When, duration, link};
use crate::auth::Role;
use crate::base::error::{Error, Result, misfit};
use crate::base::id::OperatorId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::operators::outbox::{self, Filter};
use crate::operators::{Message, NewOperator, Operator, OperatorEvent, OperatorPatch, contact, test_message};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/operators", Role::Viewer, list)
        .does(&["GET /api/v1/operators", "GET /api/v1/operators/messages"])
        .show("/operators/new", Role::Admin, fresh)
        .send("/operators", Role::Admin, create)
        .does(&["POST /api/v1/operators"])
        .show("/operators/{id}", Role::Admin, show)
        .does(&["GET /api/v1/operators/{id}"])
        .send("/operators/{id}", Role::Admin, change)
        .does(&["PATCH /api/v1/operators/{id}"])
        .send("/operators/{id}/test", Role::Admin, test)
        .does(&["POST /api/v1/operators/{id}/test"])
        .send("/operators/{id}/delete", Role::Admin, delete)
        .does(&["DELETE /api/v1/operators/{id}"]);
}

const PATH: &str = "/admin/operators";
const PART: &str = "Operators";
const MESSAGES: Limit = Limit(50);

const NAME: Field = Field::text("name", "Name", "A person or an on-call rota.");
const EMAIL: Field = Field::text(
    "email",
    "Email address",
    "An operator needs an address, a webhook, or both.",
)
.optional();
const KIND: Field = Field::choice(
    "webhook.kind",
    "Webhook",
    "",
    &[
        ("", "No webhook"),
        (
            "slack",
            "Slack, or a service with the same format (Mattermost, Rocket.Chat)",
        ),
        ("teams", "Microsoft Teams (Workflows)"),
        ("ntfy", "ntfy"),
        ("generic", "Another service: JSON"),
    ],
    "must be slack, teams, ntfy or generic",
);
const EVENTS: Field = Field::set(
    "events",
    "Events",
    "The operator gets a message about each of these.",
    &[
        ("opened", "An incident was opened or reopened"),
        ("overdue", "An update to customers is overdue"),
        ("sent", "A notice was sent"),
        ("unreached", "Some people could not be reached"),
        (
            "drafted",
            "A notice waits for a person, or a policy could not act",
        ),
        (
            "answered",
            "Customers answered that it is still broken or that they need help",
        ),
        ("break_glass", "An admin used break glass"),
        ("relapsed", "Recovered resources are impaired again"),
        ("sync_failed", "A sync of a directory source failed"),
        ("sync_waiting", "A sync waits for a confirmation"),
    ],
    false,
);
const SEVERITIES: Field = Field::set(
    "severities",
    "Severities",
    "Only messages about incidents with these severities. If none is chosen, about all.",
    &[("critical", "Critical"), ("major", "Major"), ("minor", "Minor")],
    true,
);
const ENABLED: Field = Field::flag(
    "enabled",
    "Messages",
    "",
    "The operator gets messages",
    "The operator gets no messages for now",
);

const NEW: &[Field] = &[
    NAME,
    EMAIL,
    KIND,
    Field::secret(
        "webhook.url",
        "URL of the webhook",
        "Everybody who knows it can write to that channel, so it is not shown again.",
    )
    .beside(),
    EVENTS,
    SEVERITIES,
    ENABLED,
];

const CHANGE: &[Field] = &[
    NAME,
    EMAIL,
    KIND,
    Field::secret(
        "webhook.url",
        "New URL of the webhook",
        "If empty, the present URL stays. A new kind of webhook needs a new URL.",
    )
    .beside(),
    EVENTS,
    SEVERITIES,
    ENABLED,
];

async fn list(
    app: web::Data<App>,
    by: SignedIn,
    params: params::Form<params::Paged>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<String> = cursor(at.as_deref())?;
    let (operators, messages) = app
        .db
        .read(move |conn| {
            let messages = outbox::list(conn, &Filter::default(), before.as_deref(), MESSAGES.probe())?;
            Ok((contact::list(conn)?, messages))
        })
        .await?;
    let messages = page(messages, MESSAGES, |message| message.id.to_string());
    let may_change = by.0.role.covers(Role::Admin);
    app.pages.answer(
        "admin/operators",
        &json!({
            "page": Frame::new(&app, &by, "Operators", PART).live(Some(10)),
            "may_change": may_change,
            "operators": operators.iter().map(|one| row(one, may_change)).collect::<Vec<_>>(),
            "update_every": app.update_every.map(|every| duration(every.as_secs() as i64)),
            "messages": messages.items.iter().map(message_row).collect::<Vec<_>>(),
            "first": at.is_some().then_some(PATH),
            "next": messages.next_cursor.map(|next| link(PATH, &[("cursor", Some(&next))])),
        }),
    )
}

fn row(operator: &Operator, may_change: bool) -> Value {
    let words = |words: Vec<&str>| words.join(", ");
    json!({
        "name": operator.name,
        "enabled": operator.enabled,
        "email": operator.email,
        "webhook": operator.webhook.as_ref().map(|hook| json!({"kind": hook.kind, "url": hook.url})),
        "events": words(operator.events.iter().map(|event| event.as_str()).collect()).replace('_', " "),
        "severities": operator.severities.as_ref().map(|severities| {
            words(severities.iter().map(|severity| severity.as_str()).collect())
        }),
        "path": may_change.then(|| format!("{PATH}/{}", operator.id)),
        "test": (may_change && operator.enabled).then(|| format!("{PATH}/{}/test", operator.id)),
    })
}

fn message_row(message: &Message) -> Value {
    json!({
        "created": When::utc(message.created_at),
        "operator": message.operator_name,
        "channel": message.channel,
        "title": message.title,
        "state": message.state,
        "attempts": message.attempts,
        "next": When::maybe(message.next_attempt_at, None),
        "reply": message.reply,
        "path": (message.event != OperatorEvent::Test).then_some(&message.path),
    })
}

fn form_page(app: &App, by: &SignedIn, form: Form, of: Option<&Operator>) -> Answer<HttpResponse> {
    let title = of.map_or_else(|| "New operator".to_owned(), |operator| operator.name.clone());
    let at = Use {
        action: of.map_or_else(|| PATH.to_owned(), |operator| format!("{PATH}/{}", operator.id)),
        button: if of.is_some() {
            "Save operator"
        } else {
            "Create operator"
        },
        within: (PART, PATH.to_owned()),
    };
    let status = form.status();
    app.pages.answer_with(
        status,
        "admin/operator",
        &json!({
            "page": Frame::new(app, by, &title, PART),
            "title": title,
            "webhook": of.and_then(|operator| operator.webhook.as_ref()).map(|hook| hook.url.clone()),
            "form": form.shown(&at),
            "delete": of.map(|operator| json!({
                "label": "Delete", "button": "Delete operator", "action": format!("{PATH}/{}/delete", operator.id), "fields": [],
                "text": format!("Delete \u{201c}{}\u{201d}? Messages that still wait for this operator are not sent. This cannot be undone.", operator.name),
            })),
            "test": of.filter(|operator| operator.enabled).map(|operator| format!("{PATH}/{}/test", operator.id)),
        }),
    )
}

async fn fresh(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let all: Vec<&str> = OperatorEvent::ALL.iter().map(|event| event.as_str()).collect();
    form_page(&app, &by, Form::new(NEW).with("events", all.join("\n")), None)
}

async fn find(app: &App, id: OperatorId) -> Result<Operator> {
    app.db.read(move |conn| contact::get(conn, &id)).await
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<OperatorId>) -> Answer<HttpResponse> {
    let operator = find(&app, id).await?;
    let stored = serde_json::to_value(&operator).map_err(Error::internal)?;
    let Some(form) = Form::of(CHANGE, &stored, app.clock().now()) else {
        let why =
            "the form cannot show this operator without changing it; change the operator through the API";
        return Err(Error::Conflict(why.to_owned()).into());
    };
    form_page(&app, &by, form, Some(&operator))
}

/// Puts what was typed into the input of the API. `before` is the operator that is changed.
fn input<T: serde::de::DeserializeOwned>(mut body: Value, before: Option<&Operator>) -> Result<T> {
    let text = |body: &Value, pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (kind, url) = (text(&body, "/webhook/kind"), text(&body, "/webhook/url"));
    let had = before.and_then(|operator| operator.webhook.as_ref());
    match (&kind, &url, had) {
        (None, Some(_), _) => return Err(Error::invalid("/webhook/kind", "must be chosen for the URL")),
        (None, None, _) => {
            body["webhook"] = Value::Null;
        }
        // The URL of a webhook that stays is not known here, so the whole webhook is left out of the change.
        (Some(kind), None, Some(had)) if had.kind.as_str() == kind => {
            if let Value::Object(fields) = &mut body {
                fields.remove("webhook");
            }
        }
        (Some(_), None, _) => return Err(Error::invalid("/webhook/url", "must not be empty")),
        (Some(_), Some(_), _) => {}
    }
    if before.is_some()
        && let Value::Object(fields) = &mut body
    {
        // What is empty is removed.
        for name in ["email", "severities"] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    serde_path_to_error::deserialize(body).map_err(|error| misfit(&error))
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(NEW, sent.fields)?);
    let (actor, policy) = (by.0.actor(), app.callout_allow);
    let store = async |body: Value| {
        let new: NewOperator = input(body, None)?;
        app.db
            .write(&actor, move |tx| contact::create(tx, new, policy))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            PATH,
            "The operator is created. Send a test message to check that it arrives.",
        )),
        Saved::Again(form) => form_page(&app, &by, form, None),
    }
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<OperatorId>) -> Answer<HttpResponse> {
    let before = find(&app, id.clone()).await?;
    let (by, form) = (sent.by, Form::read(CHANGE, sent.fields)?);
    let (actor, policy) = (by.0.actor(), app.callout_allow);
    let store = async |body: Value| {
        let patch: OperatorPatch = input(body, Some(&before))?;
        app.db
            .write(&actor, move |tx| contact::change(tx, &id, patch, policy))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The operator is saved.")),
        Saved::Again(form) => form_page(&app, &by, form, Some(&before)),
    }
}

async fn test(app: web::Data<App>, sent: Filled, InPath(id): InPath<OperatorId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db
        .write(&actor, move |tx| test_message::test(tx, &id))
        .await?;
    let said = "A test message is on its way. The list of messages shows whether it was sent.";
    Ok(done(&app, &format!("{PATH}#messages"), said))
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<OperatorId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| contact::delete(tx, &id)).await?;
    Ok(done(&app, PATH, "The operator is deleted."))
}
