//! The people: the list with its search, and the page of one person with the emails that did not arrive.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{address, delete, history, shown};
use crate::auth::Role;
use crate::delivery::opt_out;
use crate::directory::endpoint;
use crate::directory::erased::is_placeholder;
use crate::directory::line::LineKind;
use crate::directory::member::{self, HeldRole};
use crate::directory::partial::{self, Kind};
use crate::directory::person;
use crate::directory::{Archived, ResourceRef, dependants};
use crate::evidence;
use crate::feedback::corrected_address::not_arrived;
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::incident::evidence::{SHOWN, links};
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{ROWS, When, account_path, link, person_path, zone};
use crate::http::admin_page::Pages;
use crate::http::page::{Page, cursor, encode, page};
use crate::http::problem::Answer;
use crate::notice::history as told;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/people", Role::Viewer, list)
        .does(&["GET /api/v1/people"])
        .show("/directory/people/{id}", Role::Viewer, show)
        .does(&[
            "GET /api/v1/people/{person}",
            "GET /api/v1/people/{person}/not-arrived",
            "GET /api/v1/people/{person}/endpoints",
        ]);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    q: Option<String>,
    email: Option<String>,
    cursor: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let ListParams { q, email, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let (rows, next) = match q.clone() {
        Some(part) => {
            let (rows, upto) = app
                .db
                .read(move |conn| {
                    let after = after.map(|id| (String::new(), id));
                    let found = partial::find(conn, Kind::Person, &part, after.as_ref(), ROWS.0 as usize)?;
                    let ids: Vec<&str> = found.ids.iter().map(|(_, id)| id.as_str()).collect();
                    Ok((person::some(conn, &ids)?, found.upto))
                })
                .await?;
            (rows, upto.map(|(_, id)| encode(&id)))
        }
        None => {
            let wanted = email.clone();
            let rows = app
                .db
                .read(move |conn| {
                    let (wanted, after) = (wanted.as_deref(), after.as_deref());
                    person::list(conn, Archived::Shown, wanted, after, ROWS.probe())
                })
                .await?;
            let Page { items, next_cursor } = page(rows, ROWS, |person| person.id.clone());
            (items, next_cursor)
        }
    };
    let path = |cursor: Option<&str>| {
        let parameters = [
            ("q", q.as_deref()),
            ("email", email.as_deref()),
            ("cursor", cursor),
        ];
        link("/admin/directory/people", &parameters)
    };
    app.pages.answer(
        "admin/people",
        &json!({
            "page": Frame::new(&app, &by, "People", "People"),
            "may_change": by.0.role.covers(Role::Operator),
            "may_erase": by.0.role.covers(Role::Admin),
            "q": q, "email": email, "searched": q.is_some() || email.is_some(),
            "people": rows.iter().map(shown::person).collect::<Vec<_>>(),
            "first": at.is_some().then(|| path(None)),
            "next": next.map(|next| path(Some(&next))),
        }),
    )
}

async fn show(app: web::Data<App>, by: SignedIn, id: web::Path<String>) -> Answer<HttpResponse> {
    let id = id.into_inner();
    let now = app.clock().now();
    let (person, phones, origin, depends, suppressed, lost, (accounts, resources), (incidents, told)) = app
        .db
        .read(move |conn| {
            let person = person::get(conn, &id)?;
            let phones = endpoint::list_of_person(conn, &id)?;
            let suppressed = match person.email.is_empty() {
                true => None,
                false => opt_out::of(conn, &person.email)?,
            };
            let origin = shown::origin(conn, LineKind::Person, &[&id])?;
            let depends = dependants::of_person(conn, &id)?;
            let lost = not_arrived(conn, &id, None, now)?;
            let accounts = member::accounts_of(conn, &id, ROWS.0)?;
            let resources = member::resources_of(conn, &id, ROWS.0)?;
            let records = (
                evidence::incidents_of_person(conn, &id, SHOWN)?,
                told::list(conn, &history::person_wanted(&id), None, history::ROWS.0)?,
            );
            Ok((
                person,
                phones,
                origin,
                depends,
                suppressed,
                lost,
                (accounts, resources),
                records,
            ))
        })
        .await?;
    let account = |held: &HeldRole<String>| json!({"id": held.on, "path": account_path(&held.on), "name": held.name, "role": held.role});
    let resource = |held: &HeldRole<ResourceRef>| json!({"at": shown::reference(&held.on), "name": held.name, "role": held.role});
    let may_change = by.0.role.covers(Role::Operator);
    let path = person_path(&person.id);
    let text = format!(
        "Candor does not notify this person any more. {} is a member of {} and a collaborator on {}. The history stays.",
        person.name,
        delete::number(depends.members, "account", "accounts"),
        delete::number(depends.resources, "resource", "resources"),
    );
    app.pages.answer(
        "admin/person",
        &json!({
            "page": Frame::new(&app, &by, &person.name, "People"),
            "person": shown::person(&person),
            "phones": phones.iter().map(shown::endpoint).collect::<Vec<_>>(),
            "may_add_phone": may_change && person.gone_at.is_none() && phones.is_empty(),
            "origin": origin,
            "usable": crate::directory::check_address(&person.email).is_ok(),
            "suppressed": suppressed.map(|one| json!({
                "reason": super::suppressions::why(one.reason), "at": When::utc(one.at),
            })),
            "lost": lost.iter().map(address::row).collect::<Vec<_>>(),
            "may_change": may_change && person.gone_at.is_none(),
            "may_restore": may_change && person.gone_at.is_some() && !is_placeholder(&person.id),
            "may_erase": by.0.role.covers(Role::Admin) && !is_placeholder(&person.id),
            "delete": delete::ask("Delete person", &text, &path),
            "accounts": accounts.iter().map(account).collect::<Vec<_>>(),
            "resources": resources.iter().map(resource).collect::<Vec<_>>(),
            "evidence": may_change.then(|| links(&incidents, ("person", &person.id))),
            "history": history::section(&told, &path, false, zone(by.zone()).as_ref()),
        }),
    )
}
