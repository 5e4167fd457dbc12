//! `/admin/incidents`: the incidents with filters. Each row says how many people are affected, how many of them were notified, and
//! what is due next.
//!
//! A page reads a limited number of incidents, and never the deliveries of their notices.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::frame::Frame;
use super::now::open_row;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::link;
use crate::auth::Role;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::now::CachedNumbers;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::{self, Filter, Severity, Status};
use crate::now;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search(LIST, Role::Viewer, list)
        .does(&["GET /api/v1/incidents"]);
}

const LIST: &str = "/incidents";
/// The path of the page.
const PATH: &str = "/admin/incidents";
/// The number of incidents on one page.
const ROWS: Limit = Limit(50);

/// Whether real incidents or drills are listed.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Real,
    Drills,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shown {
    Open,
    Investigating,
    Identified,
    Monitoring,
    Resolved,
    Merged,
}

impl Shown {
    const ALL: [(Shown, &'static str); 6] = [
        (Shown::Open, "open"),
        (Shown::Investigating, "investigating"),
        (Shown::Identified, "identified"),
        (Shown::Monitoring, "monitoring"),
        (Shown::Resolved, "resolved"),
        (Shown::Merged, "merged"),
    ];

    fn as_str(self) -> &'static str {
        Shown::ALL
            .iter()
            .find(|(shown, _)| *shown == self)
            .map_or("", |(_, word)| word)
    }
}

/// Who leads the incidents that are listed.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Led {
    Nobody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    status: Option<Shown>,
    severity: Option<Severity>,
    kind: Option<Kind>,
    owner: Option<String>,
    /// `nobody`: only incidents without an owner.
    led_by: Option<Led>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let below: Option<i64> = cursor(p.cursor.as_deref())?;
    let filter = Filter {
        status: match p.status {
            Some(Shown::Investigating) => Some(Status::Investigating),
            Some(Shown::Identified) => Some(Status::Identified),
            Some(Shown::Monitoring) => Some(Status::Monitoring),
            Some(Shown::Resolved) => Some(Status::Resolved),
            Some(Shown::Merged) => Some(Status::Merged),
            Some(Shown::Open) | None => None,
        },
        open: (p.status == Some(Shown::Open)).then_some(true),
        severity: p.severity,
        drill: p.kind.map(|kind| kind == Kind::Drills),
        owner: p.owner.clone(),
        owned: p.led_by.map(|_| false),
    };
    let (mut numbers, every, now) = (CachedNumbers::new(&app), app.update_every, app.clock().now());
    let Page { items, next_cursor } = app
        .db
        .read(move |conn| {
            let found = incident::list(conn, &filter, below, ROWS.probe())?;
            let Page { items, next_cursor } = page(found, ROWS, |one| one.number);
            let items = now::rows(conn, items, every, &mut numbers)?;
            Ok(Page { items, next_cursor })
        })
        .await?;
    let kind = p
        .kind
        .map(|kind| if kind == Kind::Drills { "drills" } else { "real" });
    let severity = p.severity.map(Severity::as_str);
    let status = p.status.map(Shown::as_str);
    let owner = p.owner.as_deref();
    let led_by = p.led_by.map(|_| "nobody");
    let path = |status: Option<&str>, cursor: Option<&str>| {
        let all = [
            ("status", status),
            ("severity", severity),
            ("kind", kind),
            ("owner", owner),
            ("led_by", led_by),
            ("cursor", cursor),
        ];
        link(PATH, &all)
    };
    let mut tabs =
        vec![json!({"label": "all", "path": path(None, None), "current": status.is_none(), "count": null})];
    tabs.extend(Shown::ALL.iter().map(|(_, tab)| {
        json!({"label": tab, "path": path(Some(tab), None), "current": status == Some(tab), "count": null})
    }));
    let options = |words: &[(&str, &str)], chosen: Option<&str>| -> Vec<Value> {
        let option = |(value, label): &(&str, &str)| json!({"value": value, "label": label, "selected": chosen.unwrap_or("") == *value});
        words.iter().map(option).collect()
    };
    app.pages.answer(
        "admin/incidents",
        &json!({
            "page": Frame::new(&app, &by, "Incidents", "Incidents"),
            "may_open": by.0.role.covers(Role::Operator),
            "tabs": tabs,
            "status": status,
            "severities": options(&[("", "any"), ("critical", "critical"), ("major", "major"), ("minor", "minor")], severity),
            "kinds": options(&[("", "all"), ("real", "real incidents"), ("drills", "drills")], kind),
            "owner": owner,
            "led_by": led_by,
            "incidents": items.iter().map(|row| open_row(row, now, app.outbox)).collect::<Vec<_>>(),
            "filtered": status.is_some() || severity.is_some() || kind.is_some() || owner.is_some() || led_by.is_some() || p.cursor.is_some(),
            "first": p.cursor.is_some().then(|| path(status, None)),
            "next": next_cursor.map(|next| path(status, Some(&next))),
        }),
    )
}
