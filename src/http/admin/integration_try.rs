//! `/admin/integrations/{id}/try`: what would happen to a request, either a saved one or one that is pasted. Nothing is stored.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::field::Field;
use super::filled::{Filled, lines};
use super::form::{Form, Use};
use super::frame::Frame;
use super::params;
use super::rules::happens;
use super::signed_in::SignedIn;
use super::view::{When, cut};
use crate::alert::integration::{self, Integration};
use crate::alert::rehearsal::TriedAlert;
use crate::alert::trial::{self, Trial, Understood};
use crate::alert::{Status, provider};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::IntegrationId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/integrations/{id}/try", Role::Admin, show)
        .send("/integrations/{id}/try", Role::Admin, try_it)
        .does(&["POST /api/v1/integrations/{id}/try"]);
}

const PATH: &str = "/admin/integrations";
const PART: &str = "Integrations";
/// The number of alerts that are shown.
const TRIED: usize = 50;

const BODY: &[Field] = &[
    Field::long_text(
        "body",
        "Body of the request",
        "Paste what the sender sends: JSON, or a text for any other format.",
    ),
    Field::own(
        "headers",
        "Headers (if they say what the body is)",
        "On each line a name, a colon and a value, such as Sentry-Hook-Resource: issue.",
        read_headers,
        |_| String::new(),
    ),
    Field::text("query", "Query", "The part of the URL after the ?.").optional(),
    Field::choice(
        "method",
        "Method",
        "",
        &[("POST", "POST"), ("GET", "GET"), ("PUT", "PUT")],
        "must be POST, GET or PUT",
    )
    .beside(),
];

fn read_headers(text: &str) -> std::result::Result<Value, Vec<String>> {
    let mut headers = BTreeMap::new();
    for line in lines(text) {
        let Some((name, value)) = line.split_once(':') else {
            return Err(vec![format!(
                "\u{201c}{line}\u{201d} must be a name, a colon and a value"
            )]);
        };
        headers.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(json!(headers))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    body: Option<i64>,
}

async fn find(app: &App, id: IntegrationId) -> Result<Integration> {
    let one = app.db.read(move |conn| integration::get(conn, &id)).await?;
    if one.gone_at.is_some() || provider::is_one(&one.source) {
        return Err(Error::NotFound(format!("integration {} with alerts", one.id)));
    }
    Ok(one)
}

async fn attempt(app: &App, id: IntegrationId, trial: Trial) -> Result<Understood> {
    let now = app.clock().now();
    app.db.read(move |conn| trial::read(conn, &id, &trial, now)).await
}

fn page(
    app: &App,
    by: &SignedIn,
    one: &Integration,
    form: Form,
    tried: Option<Value>,
) -> Answer<HttpResponse> {
    let path = format!("{PATH}/{}", one.id);
    let at = Use {
        action: format!("{path}/try"),
        button: "Try the request",
        within: (&one.name, path.clone()),
    };
    let status = form.status();
    let mut shown = form.shown(&at);
    shown["back"] = Value::Null;
    app.pages.answer_with(
        status,
        "admin/integration-try",
        &json!({
            "page": Frame::new(app, by, "Try a request", PART),
            "name": one.name,
            "path": path,
            "form": shown,
            "tried": tried,
        }),
    )
}

/// Shows what would happen to a saved request, or only the form.
async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<IntegrationId>,
    params: params::Form<ShowParams>,
) -> Answer<HttpResponse> {
    let one = find(&app, id.clone()).await?;
    let tried = match params.0.body {
        None => None,
        Some(body) => {
            let trial: Trial = serde_json::from_value(json!({"body_id": body})).map_err(Error::internal)?;
            Some(view(&attempt(&app, id, trial).await?))
        }
    };
    page(&app, &by, &one, Form::new(BODY), tried)
}

/// Shows what would happen to a request that was pasted.
async fn try_it(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<IntegrationId>,
) -> Answer<HttpResponse> {
    let one = find(&app, id.clone()).await?;
    let (by, mut form) = (sent.by, Form::read(BODY, sent.fields)?);
    let input: Option<Value> = form.input(app.clock().now())?;
    let mut tried = None;
    if let Some(mut input) = input.filter(|_| !form.is_wrong()) {
        let text = input["body"].as_str().unwrap_or_default().to_owned();
        if text.is_empty() && input["query"].is_null() {
            form.refused(Error::invalid("/body", "must not be empty"))?;
        } else {
            // A text that is JSON is tried as JSON, as a sender would send it.
            if let Ok(body) = serde_json::from_str::<Value>(&text) {
                input["body"] = body;
            }
            let understood = match serde_json::from_value::<Trial>(input) {
                Ok(trial) => attempt(&app, id, trial).await,
                Err(error) => Err(Error::invalid("", error.to_string())),
            };
            match understood {
                Ok(understood) => tried = Some(view(&understood)),
                Err(error) => form.refused(error)?,
            }
        }
    }
    page(&app, &by, &one, form, tried)
}

fn view(understood: &Understood) -> Value {
    let refused = understood.refused.as_ref();
    json!({
        "refused": refused.map(|refused| json!({"pointer": refused.pointer, "detail": refused.detail})),
        "alerts": understood.alerts.iter().take(TRIED).map(row).collect::<Vec<_>>(),
        "more": understood.alerts.len().saturating_sub(TRIED),
        "ignored": understood.ignored,
        "truncated": (understood.truncated > 0).then_some(understood.truncated),
    })
}

fn row(alert: &TriedAlert) -> Value {
    let named = |affected: bool, known: bool| {
        let of = alert.references.iter();
        let of = of.filter(|one| one.affected == affected && one.known == known);
        let names: Vec<String> = of.map(|one| format!("{} {}", one.type_, one.id)).collect();
        Some(cut(&names.join(", "), 300)).filter(|names| !names.is_empty())
    };
    json!({
        "title": cut(&alert.title, 200),
        "firing": alert.status == Status::Firing,
        "severity": alert.incident_severity,
        "said": alert.severity,
        "started": When::maybe(alert.started_at, None),
        "happens": happens(&alert.would),
        "incident": alert.would.incident.as_ref().map(|incident| json!({
            "number": incident.number, "path": format!("/admin/incidents/{}", incident.number),
        })),
        "rule": alert.rule.as_ref().map(|rule| rule.name.clone()),
        "mute": alert.silence.as_ref().or(alert.maintenance_window.as_ref()).map(|mute| mute.name.clone()),
        "affected": named(true, true),
        "unknown": named(false, false),
        "notes": alert.notes,
    })
}
