//! The alerts of an incident, newest first.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::head::Reader;
use crate::alert::{self, AlertView};
use crate::auth::Role;
use crate::http::App;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count, cut, link, outward};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/alerts", Role::Viewer, show)
        .does(&["GET /api/v1/alerts"]);
}

/// The number of alerts on one page.
const ROWS: Limit = Limit(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    alerts_after: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let at = params.0.alerts_after;
    let before: Option<String> = cursor(at.as_deref())?;
    let (mut reader, now) = (Reader::new(&app), app.clock().now());
    let (head, alerts) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let alerts = alert::list(conn, None, Some(&id), None, before.as_deref(), ROWS.probe(), now)?;
            Ok((head, alerts))
        })
        .await?;
    let alerts = page(alerts, ROWS, |alert| alert.id.to_string());
    let local = head.local(&by);
    let (local, incident) = (local.as_ref(), &head.incident);
    let base = format!("{}/alerts", head.base());
    let number = |n: i64| usize::try_from(n).unwrap_or_default();
    let data = json!({
        "alerts": alerts.items.iter().map(|alert| alert_row(alert, local)).collect::<Vec<_>>(),
        "alerts_count": count(number(incident.alerts), "alert", "alerts"),
        "alerts_received": count(number(incident.alerts_received), "time", "times"),
        "split": by.0.role.covers(Role::Operator).then(|| format!("{}/split", head.base())),
        "first": at.is_some().then_some(&base),
        "next": alerts.next_cursor.as_deref().map(|next| link(&base, &[("alerts_after", Some(next))])),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/alerts", "Alerts"),
        StatusCode::OK,
        data,
    )
}

fn alert_row(alert: &AlertView, local: Option<&TimeZone>) -> Value {
    json!({
        "title": alert.title,
        "text": cut(&alert.text, 2_000),
        "severity": alert.severity,
        "status": alert.status,
        "times": alert.repeats + 1,
        "repeated": alert.repeats > 0,
        "first": When::new(alert.received_at, local),
        "last": When::new(alert.last_received_at, local),
        "link": outward(alert.link.as_deref()),
        "integration": format!("/admin/integrations/{}", alert.integration),
        "maintenance": alert.maintenance_window.is_some(),
        "silenced": alert.silence.is_some(),
        "no_word_since": When::maybe(alert.no_word_since, local),
        "late": (alert.late_events > 0).then_some(alert.late_events),
        "recorded_why": alert.recorded_why,
        "notes": alert.notes,
    })
}
