//! `/admin/search`: incidents, people, accounts and resources by a part of a name.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::directory::history::SEARCH;
use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{account_path, link, person_path, resource_path};
use crate::auth::Role;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;
use crate::search::{self, SearchKind, SearchResult};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/search", Role::Viewer, show)
        .does(&["GET /api/v1/search"]);
}

/// The number of rows of each kind.
const EACH: i64 = 10;
/// The number of rows if one kind is shown.
const ALONE: i64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    q: Option<String>,
    kind: Option<SearchKind>,
}

async fn show(app: web::Data<App>, by: SignedIn, asked: Form<Asked>) -> Answer<HttpResponse> {
    let Asked { q, kind } = asked.0;
    let q = q.unwrap_or_default();
    let limit = if kind.is_some() { ALONE } else { EACH };
    let found = match q.as_str() {
        "" => None,
        text => {
            let text = text.to_owned();
            let kinds = kind.map_or_else(|| SearchKind::ORDER.to_vec(), |kind| vec![kind]);
            let found = app
                .db
                .read(move |conn| search::search(conn, &text, &kinds, limit))
                .await?;
            Some(found)
        }
    };
    let title = match q.as_str() {
        "" => "Search".to_owned(),
        text => format!("Search: {text}"),
    };
    let stopped = found.as_ref().is_some_and(|found| !found.stopped.is_empty());
    let mut groups = Vec::new();
    if let Some(found) = &found {
        for one in SearchKind::ORDER {
            let rows = rows(one, found);
            if !rows.is_empty() {
                let more = found.more.contains(&one);
                groups.push(json!({
                    "kind": one, "title": heading(one), "rows": rows,
                    "more": (more && kind.is_none()).then(|| link("/admin/search", &[("q", Some(&q)), ("kind", Some(one.as_str()))])),
                    "cut": more && kind.is_some(),
                }));
            }
        }
    }
    app.pages.answer(
        "admin/search",
        &json!({
            "page": Frame::new(&app, &by, &super::view::cut(&title, 80), ""),
            "emails": q.contains('@').then(|| link(SEARCH, &[("address", Some(&q))])),
            "q": q, "groups": groups, "asked": found.is_some(), "stopped": stopped,
            "all": kind.map(|_| link("/admin/search", &[("q", Some(&q))])),
        }),
    )
}

fn heading(kind: SearchKind) -> &'static str {
    match kind {
        SearchKind::Incidents => "Incidents",
        SearchKind::Accounts => "Accounts",
        SearchKind::People => "People",
        SearchKind::Resources => "Resources",
    }
}

fn rows(kind: SearchKind, found: &SearchResult) -> Vec<Value> {
    let archived = |archived: bool| archived.then_some("archived");
    match kind {
        SearchKind::Incidents => found
            .incidents
            .iter()
            .map(|one| {
                json!({
                    "path": format!("/admin/incidents/{}", one.id), "label": format!("#{} {}", one.number, one.title),
                    "note": null, "badges": [one.severity.as_str(), one.status.as_str()],
                })
            })
            .collect(),
        SearchKind::Accounts => found
            .accounts
            .iter()
            .map(|one| {
                json!({
                    "path": account_path(&one.id), "label": one.name, "note": one.id,
                    "badges": archived(one.archived).into_iter().collect::<Vec<_>>(),
                })
            })
            .collect(),
        SearchKind::People => found
            .people
            .iter()
            .map(|one| {
                let note = match one.email.as_str() {
                    "" => one.id.clone(),
                    email => format!("{} · {}", crate::base::mailbox::readable(email), one.id),
                };
                json!({
                    "path": person_path(&one.id), "label": one.name, "note": note,
                    "badges": archived(one.archived).into_iter().collect::<Vec<_>>(),
                })
            })
            .collect(),
        SearchKind::Resources => found
            .resources
            .iter()
            .map(|one| {
                let named = format!("{} {}", one.type_, one.id);
                json!({
                    "path": resource_path(&one.type_, &one.id), "label": one.name.as_deref().unwrap_or(&named),
                    "note": one.name.is_some().then_some(named.as_str()),
                    "badges": archived(one.archived).into_iter().collect::<Vec<_>>(),
                })
            })
            .collect(),
    }
}
