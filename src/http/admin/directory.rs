//! `/admin/directory`: accounts, people, resources and sources. It has lists that are ordered by ID, and a
//! lookup of one exact ID or address.
//!
//! There is no search by parts of a name or an address. It would load data that no page needs. A wrong result
//! is worse than none if it decides who is notified.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{
    Frame, ROWS, When, account_path, call, grouped, link, person_path, resource_path, shown_url,
};
use crate::auth::Role;
use crate::base::check::Labels;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::directory::account::{self, Account};
use crate::directory::endpoint::{self, Endpoint};
use crate::directory::line::LineKind;
use crate::directory::member::{self, HeldRole, Membership};
use crate::directory::person::{self, Person};
use crate::directory::resource::{self, Filter, Resource};
use crate::directory::source::run::{RunError, State};
use crate::directory::source::status::{self, SourceStatus, how_long};
use crate::directory::{Archived, ResourceRef};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/directory", Role::Viewer, home)
        .search("/directory/find", Role::Viewer, find)
        .search("/directory/accounts", Role::Viewer, list_accounts)
        .search("/directory/accounts/{id}", Role::Viewer, show_account)
        .search("/directory/people", Role::Viewer, list_people)
        .show("/directory/people/{id}", Role::Viewer, show_person)
        .search("/directory/resources", Role::Viewer, list_resources)
        .search("/directory/resources/{type}/{id}", Role::Viewer, show_resource);
}

/// The number of rows of each kind on the first page.
const FIRST: Limit = Limit(8);
/// The largest number of ancestors of a resource that are shown. In a deeper tree, only the lowest ones are
/// shown.
const DEEPEST: usize = 100;

async fn home(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let (sources, accounts, people, resources) = app
        .db
        .read(move |conn| {
            Ok((
                status::directory(conn, now)?.sources,
                account::list(conn, Archived::Hidden, None, FIRST.0)?,
                person::list(conn, Archived::Hidden, None, None, FIRST.0)?,
                resource::list(conn, &Filter::default(), Archived::Hidden, None, FIRST.0)?,
            ))
        })
        .await?;
    let active = sources
        .iter()
        .any(|source| source.last_run.as_ref().is_some_and(|run| !run.state.over()));
    app.pages.answer(
        "admin/directory",
        &json!({
            // While a source is read, the page reloads to show the progress.
            "page": Frame::new(&app, Some(&by.0), "Directory", "Directory").refreshed(active.then_some(3)),
            "sources": sources.iter().map(|source| source_row(&app, source)).collect::<Vec<_>>(),
            "accounts": accounts.iter().map(account_row).collect::<Vec<_>>(),
            "people": people.iter().map(person_row).collect::<Vec<_>>(),
            "resources": resources.iter().map(resource_row).collect::<Vec<_>>(),
        }),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Account,
    Person,
    Resource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindParams {
    kind: Kind,
    #[serde(rename = "type")]
    type_: Option<String>,
    id: Option<String>,
    email: Option<String>,
}

/// Redirects to the entry with this ID, or to the people with this address.
async fn find(params: Form<FindParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let missing =
        |name: &str| Problem::Domain(Error::invalid(name, "must not be empty; enter the complete ID"));
    let path = match (&p.kind, &p.email, &p.id) {
        (Kind::Person, Some(email), None) => link("/admin/directory/people", &[("email", Some(email))]),
        (_, Some(_), _) => {
            return Err(Error::invalid(
                "?email",
                "is only for a search for a person by address; leave out the ID, the type and other kinds",
            )
            .into());
        }
        (_, None, None) => return Err(missing("?id")),
        (Kind::Account, None, Some(id)) => account_path(id),
        (Kind::Person, None, Some(id)) => person_path(id),
        (Kind::Resource, None, Some(id)) => {
            resource_path(p.type_.as_deref().ok_or_else(|| missing("?type"))?, id)
        }
    };
    Ok(HttpResponse::SeeOther().insert_header((LOCATION, path)).finish())
}

/// The number of skipped or invalid rows that are listed.
const SHOWN: usize = 5;

/// Returns the first errors and the last one.
fn some_of(errors: &[RunError]) -> Vec<&RunError> {
    let first = errors.iter().take(SHOWN);
    first.chain(errors.iter().skip(SHOWN).last()).collect()
}

fn error_row(error: &RunError) -> Value {
    json!({
        "kind": error.kind.map(LineKind::as_str), "row": error.row, "column": error.column, "detail": error.detail,
        "key": error.key.as_ref().map(|key| key.join(" / ")),
    })
}

/// Returns a source with the age of its data, its last run, and the API calls that change it.
fn source_row(app: &App, status: &SourceStatus) -> Value {
    let source = &status.source;
    let base = format!("/directory/sources/{}", source.id);
    let read = source.kind.engine().is_some();
    let mut calls = Vec::new();
    if read {
        calls.push(json!({"text": "Test: show its first rows, and store nothing:", "command": call(app, "POST", &format!("{base}/test"), None)}));
        calls.push(
            json!({"text": "Sync it now:", "command": call(app, "POST", &format!("{base}/sync"), None)}),
        );
    }
    let waiting = status.needs_confirmation.as_ref().map(|run| {
        json!({
            "command": call(app, "POST", &format!("{base}/runs/{run}/confirm"), None),
            "why": status.last_run.iter().flat_map(|run| &run.errors).map(|error| error.detail.as_str()).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": source.name,
        "kind": source.kind.as_str(),
        "url": source.url,
        "schedule": source.schedule,
        "read": read,
        "succeeded": When::maybe(source.last_success_at, None),
        "age": status.age_seconds.map(how_long),
        "stale": status.stale,
        "run": status.last_run.as_ref().map(|run| json!({
            "state": run.state.as_str().replace('_', " "),
            "bad": matches!(run.state, State::Failed | State::NeedsConfirmation),
            "active": !run.state.over(),
            "progress": (!run.state.over() && run.progress.total > 0).then(|| {
                format!("{} of {} rows", grouped(run.progress.done), grouped(run.progress.total))
            }),
            "at": When::new(run.finished_at.or(run.started_at).unwrap_or(run.created_at), None),
            "changes": run.changes.clone().map(|mut changes| LineKind::ALL.map(|kind| {
                let counts = *changes.kind_mut(kind);
                let some = counts.added + counts.changed + counts.gone + counts.left_out > 0;
                let shown = |n: u64| grouped(i64::try_from(n).unwrap_or(i64::MAX));
                some.then(|| json!({
                    "kind": kind.plural(), "added": shown(counts.added), "changed": shown(counts.changed),
                    "gone": shown(counts.gone), "left_out": (counts.left_out > 0).then(|| shown(counts.left_out)),
                }))
            }).into_iter().flatten().collect::<Vec<_>>()).unwrap_or_default(),
            "warnings": run.changes.iter().flat_map(|changes| &changes.warnings).collect::<Vec<_>>(),
            // The last error says why the run stopped. The errors before it are about rows.
            "errors": some_of(&run.errors).into_iter().map(error_row).collect::<Vec<_>>(),
            "left_out": run.changes.iter().flat_map(|changes| changes.left_out.iter().take(SHOWN)).map(error_row).collect::<Vec<_>>(),
        })),
        "waiting": waiting,
        "calls": calls,
    })
}

fn labels(labels: &Labels) -> Vec<Value> {
    labels
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

fn account_row(account: &Account) -> Value {
    json!({
        "id": account.id, "path": account_path(&account.id), "name": account.name,
        "time_zone": account.time_zone, "locale": account.locale, "labels": labels(&account.labels),
        "gone": When::maybe(account.gone_at, None),
    })
}

fn endpoint_row(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id, "channel": endpoint.channel, "url": shown_url(&endpoint.url), "enabled": endpoint.enabled,
        "disabled": When::maybe(endpoint.disabled_at, None), "reason": endpoint.disabled_reason,
        "created": When::utc(endpoint.created_at),
    })
}

fn person_row(person: &Person) -> Value {
    json!({
        "id": person.id, "path": person_path(&person.id), "name": person.name, "email": person.email,
        "time_zone": person.time_zone, "locale": person.locale, "gone": When::maybe(person.gone_at, None),
    })
}

fn resource_row(resource: &Resource) -> Value {
    json!({
        "type": resource.type_, "id": resource.id, "path": resource_path(&resource.type_, &resource.id),
        "name": resource.name,
        "account": resource.belongs_to.as_ref().map(|id| json!({"id": id, "path": account_path(id)})),
        "inherited": resource.account.is_none(),
        "parent": resource.parent.as_ref().map(reference),
        "labels": labels(&resource.labels),
        "gone": When::maybe(resource.gone_at, None),
    })
}

fn reference(at: &ResourceRef) -> Value {
    json!({"label": at.to_string(), "path": resource_path(at.type_.as_str(), at.id.as_str())})
}

fn role_row(membership: &Membership) -> Value {
    json!({
        "id": membership.person, "path": person_path(&membership.person), "name": membership.name,
        "role": membership.role, "owner": membership.role == "owner",
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsParams {
    cursor: Option<String>,
}

async fn list_accounts(
    app: web::Data<App>,
    by: SignedIn,
    params: Form<AccountsParams>,
) -> Answer<HttpResponse> {
    let at = params.0.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| account::list(conn, Archived::Shown, after.as_deref(), ROWS.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |account| account.id.clone());
    const PATH: &str = "/admin/directory/accounts";
    app.pages.answer(
        "admin/accounts",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Accounts", "Directory"),
            "accounts": items.iter().map(account_row).collect::<Vec<_>>(),
            "first": at.is_some().then_some(PATH),
            "next": next_cursor.map(|next| link(PATH, &[("cursor", Some(&next))])),
        }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountParams {
    members: Option<String>,
    resources: Option<String>,
}

async fn show_account(
    app: web::Data<App>,
    by: SignedIn,
    id: web::Path<String>,
    params: Form<AccountParams>,
) -> Answer<HttpResponse> {
    let id = id.into_inner();
    let p = params.0;
    let members_after: Option<String> = cursor(p.members.as_deref())?;
    let resources_after: Option<(String, String)> = cursor(p.resources.as_deref())?;
    let (account, endpoints, members, resources) = app
        .db
        .read(move |conn| {
            let account = account::get(conn, &id)?;
            let endpoints = endpoint::list(conn, &id, None, ROWS.0)?;
            let members = member::members(conn, &id, members_after.as_deref(), ROWS.probe())?;
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
            Ok((account, endpoints, members, resources))
        })
        .await?;
    let members = page(members, ROWS, |member| member.person.clone());
    let resources = page(resources, ROWS, |one| (one.type_.clone(), one.id.clone()));
    let path = account_path(&account.id);
    app.pages.answer(
        "admin/account",
        &json!({
            "page": Frame::new(&app, Some(&by.0), &account.name, "Directory"),
            "account": account_row(&account),
            "endpoints": endpoints.iter().map(endpoint_row).collect::<Vec<_>>(),
            "members": members.items.iter().map(role_row).collect::<Vec<_>>(),
            "members_next": members.next_cursor.map(|next| link(&path, &[("members", Some(&next))])),
            "members_first": p.members.is_some().then_some(&path),
            "resources": resources.items.iter().map(resource_row).collect::<Vec<_>>(),
            "resources_next": resources.next_cursor.map(|next| link(&path, &[("resources", Some(&next))])),
            "resources_first": p.resources.is_some().then_some(&path),
        }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeopleParams {
    email: Option<String>,
    cursor: Option<String>,
}

async fn list_people(app: web::Data<App>, by: SignedIn, params: Form<PeopleParams>) -> Answer<HttpResponse> {
    let PeopleParams { email, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let wanted = email.clone();
    let rows = app
        .db
        .read(move |conn| {
            person::list(
                conn,
                Archived::Shown,
                wanted.as_deref(),
                after.as_deref(),
                ROWS.probe(),
            )
        })
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |person| person.id.clone());
    let path = |cursor: Option<&str>| {
        link(
            "/admin/directory/people",
            &[("email", email.as_deref()), ("cursor", cursor)],
        )
    };
    app.pages.answer(
        "admin/people",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "People", "Directory"),
            "email": email,
            "people": items.iter().map(person_row).collect::<Vec<_>>(),
            "first": at.is_some().then(|| path(None)),
            "next": next_cursor.map(|next| path(Some(&next))),
        }),
    )
}

async fn show_person(app: web::Data<App>, by: SignedIn, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = id.into_inner();
    let (person, accounts, resources) = app
        .db
        .read(move |conn| {
            let person = person::get(conn, &id)?;
            Ok((
                person,
                member::accounts_of(conn, &id, ROWS.0)?,
                member::resources_of(conn, &id, ROWS.0)?,
            ))
        })
        .await?;
    let account = |held: &HeldRole<String>| json!({"id": held.on, "path": account_path(&held.on), "name": held.name, "role": held.role});
    let resource = |held: &HeldRole<ResourceRef>| json!({"at": reference(&held.on), "name": held.name, "role": held.role});
    app.pages.answer(
        "admin/person",
        &json!({
            "page": Frame::new(&app, Some(&by.0), &person.name, "Directory"),
            "person": person_row(&person),
            "usable": crate::directory::check_address(&person.email).is_ok(),
            "accounts": accounts.iter().map(account).collect::<Vec<_>>(),
            "resources": resources.iter().map(resource).collect::<Vec<_>>(),
        }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourcesParams {
    #[serde(rename = "type")]
    type_: Option<String>,
    label: Option<String>,
    cursor: Option<String>,
}

async fn list_resources(
    app: web::Data<App>,
    by: SignedIn,
    params: Form<ResourcesParams>,
) -> Answer<HttpResponse> {
    let p = params.0;
    let after: Option<(String, String)> = cursor(p.cursor.as_deref())?;
    let label = match &p.label {
        None => None,
        Some(label) => Some(
            label
                .split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .ok_or_else(|| Error::invalid("?label", "must be name=value"))?,
        ),
    };
    let filter = Filter {
        type_: p.type_.clone(),
        label,
        ..Filter::default()
    };
    let rows = app
        .db
        .read(move |conn| resource::list(conn, &filter, Archived::Shown, after.as_ref(), ROWS.probe()))
        .await?;
    let Page { items, next_cursor } = page(rows, ROWS, |one| (one.type_.clone(), one.id.clone()));
    let path = |cursor: Option<&str>| {
        let parameters = [
            ("type", p.type_.as_deref()),
            ("label", p.label.as_deref()),
            ("cursor", cursor),
        ];
        link("/admin/directory/resources", &parameters)
    };
    app.pages.answer(
        "admin/resources",
        &json!({
            "page": Frame::new(&app, Some(&by.0), "Resources", "Directory"),
            "given": {"type": p.type_, "label": p.label},
            "filtered": p.type_.is_some() || p.label.is_some(),
            "resources": items.iter().map(resource_row).collect::<Vec<_>>(),
            "first": p.cursor.is_some().then(|| path(None)),
            "next": next_cursor.map(|next| path(Some(&next))),
        }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceParams {
    collaborators: Option<String>,
    children: Option<String>,
}

async fn show_resource(
    app: web::Data<App>,
    by: SignedIn,
    path: web::Path<(String, String)>,
    params: Form<ResourceParams>,
) -> Answer<HttpResponse> {
    let (type_, id) = path.into_inner();
    let at = crate::http::ids::own(&type_, resource::at(&type_, &id))?;
    let p = params.0;
    let collaborators_after: Option<String> = cursor(p.collaborators.as_deref())?;
    let children_after: Option<(String, String)> = cursor(p.children.as_deref())?;
    let (one, above, collaborators, children) = app
        .db
        .read(move |conn| {
            let one = resource::get(conn, &at)?;
            let above = ancestors(conn, &one)?;
            // An archived resource has neither collaborators nor parts.
            if one.gone_at.is_some() {
                return Ok((one, above, Vec::new(), Vec::new()));
            }
            let collaborators =
                member::collaborators(conn, &at, collaborators_after.as_deref(), ROWS.probe())?;
            let filter = Filter {
                parent: Some(at),
                ..Filter::default()
            };
            let children = resource::list(
                conn,
                &filter,
                Archived::Hidden,
                children_after.as_ref(),
                ROWS.probe(),
            )?;
            Ok((one, above, collaborators, children))
        })
        .await?;
    let collaborators = page(collaborators, ROWS, |one| one.person.clone());
    let children = page(children, ROWS, |one| (one.type_.clone(), one.id.clone()));
    let path = resource_path(&one.type_, &one.id);
    app.pages.answer(
        "admin/resource",
        &json!({
            "page": Frame::new(&app, Some(&by.0), &format!("{} {}", one.type_, one.id), "Directory"),
            "resource": resource_row(&one),
            "above": above.iter().map(resource_row).collect::<Vec<_>>(),
            "collaborators": collaborators.items.iter().map(role_row).collect::<Vec<_>>(),
            "collaborators_next": collaborators.next_cursor.map(|next| link(&path, &[("collaborators", Some(&next))])),
            "collaborators_first": p.collaborators.is_some().then_some(&path),
            "children": children.items.iter().map(resource_row).collect::<Vec<_>>(),
            "children_next": children.next_cursor.map(|next| link(&path, &[("children", Some(&next))])),
            "children_first": p.children.is_some().then_some(&path),
        }),
    )
}

/// Returns the ancestors of a resource, the highest first.
fn ancestors(conn: &mut Conn, of: &Resource) -> Result<Vec<Resource>> {
    let mut above: Vec<Resource> = Vec::new();
    let mut next = of.parent.clone();
    while let Some(at) = next.filter(|_| above.len() < DEEPEST) {
        let one = resource::get(conn, &at)?;
        next = one.parent.clone();
        above.push(one);
    }
    above.reverse();
    Ok(above)
}
