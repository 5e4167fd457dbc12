//! `/admin/automation`: the policies and what they did, the operators, and their last messages.
//!
//! The URL of a webhook is never shown, because everybody who knows it can write to that channel.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{Frame, When, call, cut, duration, link};
use crate::auth::Role;
use crate::automation::policy::{self, Policy, PolicyAction};
use crate::automation::run::{self, Run};
use crate::base::error::Result;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident;
use crate::operators::outbox::{self, Filter};
use crate::operators::{Message, Operator, contact};

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/automation", Role::Viewer, show);
}

/// The number of the last runs that are listed.
const RUNS: i64 = 20;
const MESSAGES: Limit = Limit(50);
/// The number of characters of a policy's text that are shown.
const WORDS: usize = 2_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    cursor: Option<String>,
}

async fn show(app: web::Data<App>, by: SignedIn, params: Form<ShowParams>) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let before: Option<String> = cursor(at.as_deref())?;
    let (policies, operators, runs, messages) = app
        .db
        .read(move |conn| {
            let runs = run::list(conn, None, RUNS)?
                .into_iter()
                .map(|run| run_row(conn, &run))
                .collect::<Result<Vec<_>>>()?;
            let messages = outbox::list(conn, &Filter::default(), before.as_deref(), MESSAGES.probe())?;
            Ok((policy::list(conn)?, contact::list(conn)?, runs, messages))
        })
        .await?;
    let messages = page(messages, MESSAGES, |message| message.id.to_string());
    let new_policy = json!({
        "name": "Few files affected", "severities": ["critical"], "action": "send",
        "message": "Some of your files cannot be opened. We are working on it.",
        "limits": {"audience_at_most": 50, "hours": {"from": "08:00", "until": "18:00", "time_zone": "Europe/Berlin"}},
    });
    let new_operator = json!({
        "name": "On call", "email": "on-call@example.com",
        "webhook": {"kind": "slack", "url": "https://hooks.slack.com/services/…"},
    });
    app.pages.answer(
        "admin/automation",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Automation", "Automation"),
            "policies": policies.iter().map(policy_view).collect::<Vec<_>>(),
            "new_policy": call(&app, "POST", "/automation/policies", Some(&new_policy)),
            "runs": runs,
            "operators": operators.iter().map(operator_row).collect::<Vec<_>>(),
            "new_operator": call(&app, "POST", "/operators", Some(&new_operator)),
            "update_every": app.update_every.map(|every| duration(every.as_secs() as i64)),
            "messages": messages.items.iter().map(message_row).collect::<Vec<_>>(),
            "first": at.is_some().then_some("/admin/automation"),
            "next": messages.next_cursor.map(|next| link("/admin/automation", &[("cursor", Some(&next))])),
        }),
    )
}

fn policy_view(policy: &Policy) -> Value {
    let says = &policy.says;
    let words = |severities: &[incident::Severity]| {
        severities
            .iter()
            .map(|severity| severity.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut limits = Vec::new();
    if let Some(held) = says.limits.as_ref().filter(|_| says.action == PolicyAction::Send) {
        limits.push(format!("at most {} people", held.audience_at_most));
        limits.push(match held.per_account_per_hour {
            Some(1) => "at most 1 notice to an account in an hour".to_owned(),
            Some(n) => format!("at most {n} notices to an account in an hour"),
            None => "any number of notices to an account".to_owned(),
        });
        if let Some(hours) = &held.hours {
            limits.push(format!("only from {hours}"));
        }
    }
    json!({
        "id": policy.id,
        "position": policy.position,
        "name": says.name,
        "enabled": says.enabled,
        "action": match says.action {
            PolicyAction::Nothing => "does nothing",
            PolicyAction::Draft => "drafts",
            PolicyAction::Send => "sends",
        },
        "sends": says.action == PolicyAction::Send,
        "severities": says.severities.as_deref().map(words),
        "integrations": says.integrations.as_ref().map(|ids| ids.iter().map(|id| json!({
            "id": id, "path": format!("/admin/integrations/{id}"),
        })).collect::<Vec<_>>()),
        "wait": (says.wait_seconds > 0).then(|| duration(i64::from(says.wait_seconds))),
        "limits": limits,
        "subject": says.subject,
        "message": says.message.as_deref().map(|message| cut(message, WORDS)),
        "audience": says.audience.as_ref().map(ToString::to_string),
    })
}

fn run_row(conn: &mut Conn, run: &Run) -> Result<Value> {
    let incident = incident::get(conn, &run.incident)?;
    Ok(json!({
        "number": incident.number,
        "title": cut(&incident.title, 120),
        "path": format!("/admin/incidents/{}", incident.number),
        "policy": run.policy_name,
        "outcome": run.outcome.map_or("waiting", |outcome| outcome.as_str()),
        "reason": run.reason,
        "notice": run.notice.as_ref().map(|id| format!("/admin/notices/{id}")),
        "at": When::utc(run.decided_at.unwrap_or(run.due_at)),
    }))
}

fn operator_row(operator: &Operator) -> Value {
    json!({
        "name": operator.name,
        "enabled": operator.enabled,
        "email": operator.email,
        "webhook": operator.webhook.as_ref().map(|hook| json!({"kind": hook.kind, "url": hook.url})),
        "events": operator.events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", "),
        "severities": operator.severities.as_ref().map(|severities| {
            severities.iter().map(|severity| severity.as_str()).collect::<Vec<_>>().join(", ")
        }),
    })
}

fn message_row(message: &Message) -> Value {
    json!({
        "created": When::utc(message.created_at),
        "operator": message.operator_name,
        "channel": message.channel,
        "event": message.event,
        "title": message.title,
        "state": message.state,
        "attempts": message.attempts,
        "next": When::maybe(message.next_attempt_at, None),
        "reply": message.reply,
        "path": match &message.incident {
            Some(incident) => format!("/admin/incidents/{incident}"),
            None => "/admin/directory".to_owned(),
        },
    })
}
