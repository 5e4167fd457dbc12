//! `/admin/feedback`: what mail servers and providers reported about emails, also about emails that Candor does not know. One report
//! is shown with its source text.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{ROWS, When, link, zone};
use crate::auth::Role;
use crate::base::id::{IncidentId, NoticeId};
use crate::feedback::{Feedback, Filter, ReportKind, stored};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{FeedbackNumber, InPath};
use crate::http::page::{cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/feedback", Role::Viewer, list)
        .does(&["GET /api/v1/feedback"])
        .show("/feedback/{id}", Role::Viewer, show)
        .does(&["GET /api/v1/feedback/{id}"]);
}

const PATH: &str = "/admin/feedback";
const TITLE: &str = "Bounces and other reports";
const PART: &str = "Suppressions";

const KINDS: [(ReportKind, &str); 8] = [
    (ReportKind::Hard, "Permanent bounce"),
    (ReportKind::Soft, "Temporary bounce"),
    (ReportKind::Delayed, "Delayed, the server still tries"),
    (ReportKind::Complaint, "Reported as spam"),
    (ReportKind::Unsubscribed, "Unsubscribed at the provider"),
    (ReportKind::Delivered, "Delivered"),
    (ReportKind::AutoReply, "Answer of a program"),
    (ReportKind::Other, "Something else"),
];

fn label(kind: ReportKind) -> &'static str {
    let found = KINDS.iter().find(|(one, _)| *one == kind);
    found.map_or("Something else", |(_, label)| label)
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    kind: Option<ReportKind>,
    matched: Option<bool>,
    delivery: Option<i64>,
    notice: Option<NoticeId>,
    incident: Option<IncidentId>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let before: Option<i64> = cursor(p.cursor.as_deref())?;
    let filter = Filter {
        kind: p.kind,
        matched: p.matched,
        delivery: p.delivery,
        notice: p.notice.clone(),
        incident: p.incident.clone(),
    };
    let rows = app
        .db
        .read(move |conn| stored::list(conn, &filter, before, ROWS.probe()))
        .await?;
    let reports = page(rows, ROWS, |report| report.id);
    let zone = zone(by.zone());
    let (matched, delivery) = (
        p.matched.map(|yes| yes.to_string()),
        p.delivery.map(|id| id.to_string()),
    );
    let path = |cursor: Option<&str>| {
        link(
            PATH,
            &[
                ("kind", p.kind.map(ReportKind::as_str)),
                ("matched", matched.as_deref()),
                ("delivery", delivery.as_deref()),
                ("notice", p.notice.as_ref().map(NoticeId::as_str)),
                ("incident", p.incident.as_ref().map(IncidentId::as_str)),
                ("cursor", cursor),
            ],
        )
    };
    let option =
        |value: &str, label: &str, chosen: bool| json!({"value": value, "label": label, "selected": chosen});
    let kinds = KINDS
        .iter()
        .map(|(kind, label)| option(kind.as_str(), label, p.kind == Some(*kind)));
    let kept = [
        ("delivery", delivery.clone()),
        ("notice", p.notice.as_ref().map(ToString::to_string)),
        ("incident", p.incident.as_ref().map(ToString::to_string)),
    ];
    let kept: Vec<Value> = kept
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| json!({"name": name, "value": value})))
        .collect();
    let filtered = p.kind.is_some() || p.matched.is_some() || !kept.is_empty();
    app.pages.answer(
        "admin/feedback",
        &json!({
            "page": Frame::new(&app, &by, TITLE, PART),
            "reports": reports.items.iter().map(|report| row(report, zone.as_ref())).collect::<Vec<_>>(),
            "kinds": std::iter::once(option("", "any", p.kind.is_none())).chain(kinds).collect::<Vec<_>>(),
            "found": [
                option("", "any", p.matched.is_none()),
                option("true", "found", p.matched == Some(true)),
                option("false", "not found", p.matched == Some(false)),
            ],
            "kept": kept,
            "filtered": filtered,
            "first": p.cursor.is_some().then(|| path(None)),
            "next": reports.next_cursor.as_deref().map(|next| path(Some(next))),
        }),
    )
}

fn row(report: &Feedback, zone: Option<&jiff::tz::TimeZone>) -> Value {
    json!({
        "path": format!("{PATH}/{}", report.id),
        "kind": label(report.kind),
        "at": When::new(report.at, zone),
        "received": When::new(report.received_at, zone),
        "source": report.source,
        "address": report.address,
        "status": report.status,
        "diagnostic": report.diagnostic,
        "notice": report.notice.as_ref().map(|id| format!("/admin/notices/{id}")),
        "incident": report.incident.as_ref().map(|id| format!("/admin/incidents/{id}")),
        "effect": match report.effect.as_str() {
            "bounced" => "The email counts as bounced.",
            "suppressed" => "The address is suppressed.",
            "early" => "It is applied as soon as the attempt to send is recorded.",
            _ => "It changed nothing.",
        },
    })
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<FeedbackNumber>) -> Answer<HttpResponse> {
    let (report, raw) = app.db.read(move |conn| stored::get(conn, id.0)).await?;
    let title = format!("{}, report {}", label(report.kind), report.id);
    app.pages.answer(
        "admin/feedback-report",
        &json!({
            "page": Frame::new(&app, &by, &title, PART),
            "title": title,
            "report": row(&report, zone(by.zone()).as_ref()),
            "source_text": String::from_utf8_lossy(&raw),
        }),
    )
}
