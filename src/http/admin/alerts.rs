//! `/admin/alerts`: all alerts, newest first, with filters.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::choices::{self, Choices};
use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{When, cut, grouped, link, outward};
use crate::alert::{self, AlertView, Filter, Status};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::{IncidentId, IntegrationId};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, Page, cursor, page_until};
use crate::http::problem::Answer;
use crate::incident;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/alerts", Role::Viewer, list)
        .does(&["GET /api/v1/alerts"]);
}

const PATH: &str = "/admin/alerts";
const ROWS: Limit = Limit(50);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    cursor: Option<String>,
    status: Option<Status>,
    integration: Option<IntegrationId>,
    /// The number of an incident.
    incident: Option<i64>,
    severity: Option<String>,
    q: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let before: Option<String> = cursor(p.cursor.as_deref())?;
    let now = app.clock().now();
    let (status, integration, number) = (p.status, p.integration.clone(), p.incident);
    let (severity, title) = (p.severity.clone(), p.q.clone());
    let (found, integrations, numbers, unknown) = app
        .db
        .read(move |conn| {
            let integrations = choices::integrations(conn)?;
            let incident: Option<Result<IncidentId, ()>> = match number {
                None => None,
                Some(number) => Some(match incident::by_number(conn, number) {
                    Ok(incident) => Ok(incident.id),
                    Err(Error::NotFound(_)) => Err(()),
                    Err(error) => return Err(error),
                }),
            };
            let (incident, unknown) = match incident {
                Some(Err(())) => (None, true),
                Some(Ok(id)) => (Some(id), false),
                None => (None, false),
            };
            let filter = Filter {
                integration,
                incident,
                status,
                severity,
                title,
            };
            let (items, next) = if unknown {
                (Vec::new(), None)
            } else {
                alert::search(conn, &filter, before.as_deref(), ROWS.0, now)?
            };
            let of: Vec<&str> = items
                .iter()
                .filter_map(|alert| alert.incident.as_ref().map(IncidentId::as_str))
                .collect();
            let numbers = incident::numbers(conn, &of)?;
            Ok((page_until(items, next.as_ref()), integrations, numbers, unknown))
        })
        .await?;
    let Page { items, next_cursor } = found;
    let number = p.incident.map(|number| number.to_string());
    let filters = |cursor: Option<&str>| {
        link(
            PATH,
            &[
                ("status", p.status.map(Status::as_str)),
                ("integration", p.integration.as_ref().map(IntegrationId::as_str)),
                ("incident", number.as_deref()),
                ("severity", p.severity.as_deref()),
                ("q", p.q.as_deref()),
                ("cursor", cursor),
            ],
        )
    };
    let filtered = [
        p.status.is_some(),
        p.integration.is_some(),
        p.incident.is_some(),
        p.severity.is_some(),
        p.q.is_some(),
    ];
    let option = |value: &str, label: &str, chosen: Option<&str>| json!({"value": value, "label": label, "selected": chosen.unwrap_or_default() == value});
    let status = p.status.map(Status::as_str);
    let chosen = p.integration.as_ref().map(IntegrationId::as_str);
    let mut listed = vec![option("", "All", chosen)];
    listed.extend(integrations.iter().map(|(id, name)| option(id, name, chosen)));
    app.pages.answer(
        "admin/alerts",
        &json!({
            "page": Frame::new(&app, &by, "All alerts", "All alerts").live(Some(15)),
            "statuses": [option("", "All", status), option("firing", "Firing", status), option("resolved", "Resolved", status)],
            "integrations": listed,
            "incident": number,
            "severity": p.severity,
            "q": p.q,
            "filtered": filtered.contains(&true),
            "unknown": unknown,
            "alerts": items.iter().map(|alert| row(alert, &integrations, &numbers)).collect::<Vec<_>>(),
            "first": p.cursor.is_some().then(|| filters(None)),
            "next": next_cursor.as_deref().map(|next| filters(Some(next))),
            "may_create": by.0.role.covers(Role::Admin),
        }),
    )
}

fn row(alert: &AlertView, integrations: &Choices, numbers: &[(IncidentId, i64)]) -> Value {
    let of = |id: &IntegrationId| {
        integrations
            .iter()
            .find(|(known, _)| known.as_str() == id.as_str())
    };
    let name = of(&alert.integration).map_or_else(|| "integration".to_owned(), |(_, name)| name.clone());
    let number = alert
        .incident
        .as_ref()
        .and_then(|id| numbers.iter().find(|(known, _)| known == id));
    let number = number.map(|(_, number)| *number);
    json!({
        "title": cut(&alert.title, 200),
        "text": cut(&alert.text, 300),
        "status": alert.status,
        "severity": alert.severity,
        "started": When::utc(alert.started_at),
        "ended": When::maybe(alert.ended_at, None),
        "silent": When::maybe(alert.no_word_since, None),
        "repeats": (alert.repeats > 0).then(|| grouped(alert.repeats)),
        "link": outward(alert.link.as_deref()),
        "integration": {"name": name, "path": format!("/admin/integrations/{}", alert.integration)},
        "incident": number.map(|number| json!({"number": number, "path": format!("/admin/incidents/{number}")})),
        "recorded": alert.recorded_why,
    })
}
