//! The accounts: the list with its search, and the page of one account.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{contact_forms, delete, history, shown};
use crate::auth::Role;
use crate::directory::account;
use crate::directory::contact;
use crate::directory::endpoint;
use crate::directory::line::LineKind;
use crate::directory::member;
use crate::directory::partial::{self, Kind};
use crate::directory::resource::{self, Filter};
use crate::directory::{Archived, dependants};
use crate::evidence;
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::incident::evidence::{SHOWN, links};
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{ROWS, account_path, grouped, link, zone};
use crate::http::admin_page::Pages;
use crate::http::api::account_recovery::{AccountIncident, of_account};
use crate::http::page::{Page, cursor, encode, page};
use crate::http::problem::Answer;
use crate::notice::history as told;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/accounts", Role::Viewer, list)
        .does(&["GET /api/v1/accounts"])
        .search("/directory/accounts/{id}", Role::Viewer, show)
        .does(&[
            "GET /api/v1/accounts/{account}",
            "GET /api/v1/accounts/{account}/members",
            "GET /api/v1/accounts/{account}/members/{person}",
            "GET /api/v1/accounts/{account}/contacts",
            "GET /api/v1/accounts/{account}/endpoints",
            "GET /api/v1/accounts/{account}/recovery",
        ]);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    q: Option<String>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let ListParams { q, cursor: at } = params.0;
    let (rows, next) = match q.clone() {
        Some(part) => {
            let after: Option<String> = cursor(at.as_deref())?;
            let found = app
                .db
                .read(move |conn| {
                    let after = after.map(|id| (String::new(), id));
                    let found = partial::find(conn, Kind::Account, &part, after.as_ref(), ROWS.0 as usize)?;
                    let ids: Vec<&str> = found.ids.iter().map(|(_, id)| id.as_str()).collect();
                    Ok((account::some(conn, &ids)?, found.upto))
                })
                .await?;
            (found.0, found.1.map(|(_, id)| encode(&id)))
        }
        None => {
            let after: Option<String> = cursor(at.as_deref())?;
            let rows = app
                .db
                .read(move |conn| account::list(conn, Archived::Shown, after.as_deref(), ROWS.probe()))
                .await?;
            let Page { items, next_cursor } = page(rows, ROWS, |account| account.id.clone());
            (items, next_cursor)
        }
    };
    const PATH: &str = "/admin/directory/accounts";
    app.pages.answer(
        "admin/accounts",
        &json!({
            "page": Frame::new(&app, &by, "Accounts", "Accounts"),
            "may_change": by.0.role.covers(Role::Operator),
            "q": q, "searched": q.is_some(),
            "accounts": rows.iter().map(shown::account).collect::<Vec<_>>(),
            "first": at.is_some().then(|| link(PATH, &[("q", q.as_deref())])),
            "next": next.map(|next| link(PATH, &[("q", q.as_deref()), ("cursor", Some(&next))])),
        }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    members: Option<String>,
    resources: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    id: web::Path<String>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let id = id.into_inner();
    let p = params.0;
    let members_after: Option<String> = cursor(p.members.as_deref())?;
    let resources_after: Option<(String, String)> = cursor(p.resources.as_deref())?;
    let (cache, now) = (app.audience_cache.clone(), app.clock().now());
    let (account, recovery, origin, depends, endpoints, members, resources, (incidents, told, contacts)) =
        app.db
            .read(move |conn| {
                let account = account::get(conn, &id)?;
                let recovery = of_account(conn, &cache, &id, now)?;
                let origin = shown::origin(conn, LineKind::Account, &[&id])?;
                let depends = dependants::of_account(conn, &id)?;
                let endpoints = endpoint::list(conn, &id, None, ROWS.0)?;
                let members = member::members(conn, &id, members_after.as_deref(), ROWS.probe())?;
                let records = (
                    evidence::incidents_of_account(conn, &id, SHOWN)?,
                    told::list(conn, &history::account_wanted(&id), None, history::ROWS.0)?,
                    contact::list(conn, &id)?,
                );
                // Nothing belongs to an archived account.
                if account.gone_at.is_some() {
                    let none = Vec::new();
                    return Ok((
                        account, recovery, origin, depends, endpoints, members, none, records,
                    ));
                }
                let filter = Filter {
                    account: Some(id),
                    ..Filter::default()
                };
                let resources = resource::list(
                    conn,
                    &filter,
                    Archived::Hidden,
                    resources_after.as_ref(),
                    ROWS.probe(),
                )?;
                Ok((
                    account, recovery, origin, depends, endpoints, members, resources, records,
                ))
            })
            .await?;
    let members = page(members, ROWS, |member| member.person.clone());
    let resources = page(resources, ROWS, |one| (one.type_.clone(), one.id.clone()));
    let path = account_path(&account.id);
    let may_change = by.0.role.covers(Role::Operator);
    let text = format!(
        "Nobody is notified because of this account any more. It has {} and {}. Their own entries stay. Their history stays too.",
        delete::number(depends.members, "member", "members"),
        delete::number(depends.resources, "resource", "resources"),
    );
    app.pages.answer(
        "admin/account",
        &json!({
            "page": Frame::new(&app, &by, &account.name, "Accounts"),
            "account": shown::account(&account),
            "recovery": recovery.iter().map(recovery_row).collect::<Vec<_>>(),
            "origin": origin,
            "may_change": may_change && account.gone_at.is_none(),
            "may_restore": may_change && account.gone_at.is_some(),
            "delete": delete::ask("Delete account", &text, &path),
            "endpoints": endpoints.iter().map(shown::endpoint).collect::<Vec<_>>(),
            "contacts": contacts.iter().map(|one| contact_forms::shown(one, &path)).collect::<Vec<_>>(),
            "members": members.items.iter().map(|one| shown::role(one, &path, "members", "of this account")).collect::<Vec<_>>(),
            "members_next": members.next_cursor.map(|next| link(&path, &[("members", Some(&next))])),
            "members_first": p.members.is_some().then_some(&path),
            "resources": resources.items.iter().map(shown::resource).collect::<Vec<_>>(),
            "resources_next": resources.next_cursor.map(|next| link(&path, &[("resources", Some(&next))])),
            "resources_first": p.resources.is_some().then_some(&path),
            "evidence": may_change.then(|| links(&incidents, ("account", &account.id))),
            "history": history::section(&told, &path, true, zone(by.zone()).as_ref()),
        }),
    )
}

/// How far the recovery is in one incident.
fn recovery_row(one: &AccountIncident) -> Value {
    let number = |n: usize| grouped(n as i64);
    json!({
        "number": one.number, "title": one.title, "path": format!("/admin/incidents/{}", one.number),
        "severity": one.severity, "status": one.status,
        "text": format!("{} of {}", number(one.of.progress.restored), number(one.of.progress.affected)),
        "all": one.of.progress.is_complete(),
        "notified": format!("{} of {}", grouped(one.of.notified), grouped(one.of.people)),
    })
}
