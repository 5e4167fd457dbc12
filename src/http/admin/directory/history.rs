//! What was told to a person or to an account, on pages and as a file, and the search for the emails to an address.

use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Role;
use crate::directory::{account, person};
use crate::http::App;
use crate::http::admin::frame::Frame;
use crate::http::admin::notice_view::{name, path};
use crate::http::admin::params::{Form, Paged};
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, account_path, link, person_path, shown_url, zone};
use crate::http::admin_page::Pages;
use crate::http::api::history::file;
use crate::http::page::{Limit, cursor, encode};
use crate::http::problem::Answer;
use crate::notice::EMAIL;
use crate::notice::history::{self, HistoryEntry, Place, Told, Wanted};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/directory/people/{id}/history", Role::Viewer, of_person)
        .does(&["GET /api/v1/people/{person}/history"])
        .show("/directory/people/{id}/history.csv", Role::Viewer, person_file)
        .search("/directory/accounts/{id}/history", Role::Viewer, of_account)
        .does(&["GET /api/v1/accounts/{account}/history"])
        .show("/directory/accounts/{id}/history.csv", Role::Viewer, account_file)
        .search("/deliveries", Role::Viewer, search)
        .does(&["GET /api/v1/deliveries"]);
}

/// The number of rows on one page, and in the section of a person or an account.
pub(super) const ROWS: Limit = Limit(20);

/// The page of the search for the emails to an address.
pub(in crate::http::admin) const SEARCH: &str = "/admin/deliveries";

/// Whose history is wanted: of a person.
pub(super) fn person_wanted(id: &str) -> Wanted {
    Wanted {
        person: Some(id.to_owned()),
        ..Wanted::default()
    }
}

/// Whose history is wanted: of an account.
pub(super) fn account_wanted(id: &str) -> Wanted {
    Wanted {
        account: Some(id.to_owned()),
        ..Wanted::default()
    }
}

/// Returns the section with the newest rows, for the page of a person or an account at `path`. `with_people` says that each row
/// names who it is about.
pub(super) fn section(told: &Told, path: &str, with_people: bool, zone: Option<&TimeZone>) -> Value {
    let mut section = rows(told, with_people, zone);
    section["path"] = json!(format!("{path}/history"));
    section["download"] = json!(format!("{path}/history.csv"));
    section["more"] = json!(told.next.is_some());
    section["note"] = json!(match with_people {
        true =>
            "What was sent to people who were members of the account when the notice was queued, and to its endpoints.",
        false => "What was sent to this person. The address is the one that the email went to.",
    });
    section
}

fn rows(told: &Told, with_people: bool, zone: Option<&TimeZone>) -> Value {
    json!({
        "with_people": with_people,
        "rows": told.entries.iter().map(|one| row(one, with_people, zone)).collect::<Vec<_>>(),
    })
}

fn row(entry: &HistoryEntry, with_people: bool, zone: Option<&TimeZone>) -> Value {
    let is_mail = entry.channel == EMAIL;
    let people: Vec<Value> = entry
        .people
        .iter()
        .filter(|_| !entry.drill)
        .map(|id| json!({"id": id, "path": person_path(id)}))
        .collect();
    json!({
        "incident": format!("{} {}", name(&entry.incident.id, entry.incident.number), entry.incident.title),
        "incident_path": path(&entry.incident.id, entry.incident.number),
        "notice_path": format!("/admin/notices/{}", entry.notice),
        "phase": entry.phase,
        "reminder": entry.reminder,
        "drill": entry.drill,
        "name": entry.name,
        "with_people": with_people,
        "people": people,
        "channel": (!is_mail).then_some(&entry.channel),
        "address": match is_mail {
            true => entry.address.clone(),
            false => shown_url(&entry.address),
        },
        "state": entry.state,
        "at": When::new(entry.at, zone),
        "reply": entry.reply,
        "relay": entry.relay,
        "bounced": When::maybe(entry.bounced_at, zone),
        "bounce": entry.bounce,
        "answer": entry.answer.as_ref().map(|answer| json!({
            "word": answer.answer.as_deref().unwrap_or("replied"), "text": answer.text, "at": When::new(answer.at, zone),
        })),
        "corrected": entry.corrected.as_ref().map(|one| json!({
            "path": format!("/admin/notices/{}", one.notice), "state": one.state, "at": When::new(one.at, zone),
        })),
        "corrects": entry.corrects.as_ref().map(|wrong| format!("/admin/notices/{wrong}")),
        "reason": entry.reason,
        "mail": entry.delivery.filter(|_| is_mail).map(|id| format!("/admin/deliveries/{id}/mail")),
    })
}

/// What a page is about.
struct Subject {
    name: String,
    /// The path of the page of the person or the account.
    path: String,
    /// The part of the navigation.
    part: &'static str,
    with_people: bool,
}

async fn of_person(
    app: web::Data<App>,
    by: SignedIn,
    id: web::Path<String>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let id = id.into_inner();
    let (wanted, read) = (person_wanted(&id), id.clone());
    let person = app.db.read(move |conn| person::get(conn, &read)).await?;
    let subject = Subject {
        name: person.name,
        path: person_path(&id),
        part: "People",
        with_people: false,
    };
    page(&app, &by, wanted, subject, params.0.cursor).await
}

async fn of_account(
    app: web::Data<App>,
    by: SignedIn,
    id: web::Path<String>,
    params: Form<Paged>,
) -> Answer<HttpResponse> {
    let id = id.into_inner();
    let (wanted, read) = (account_wanted(&id), id.clone());
    let account = app.db.read(move |conn| account::get(conn, &read)).await?;
    let subject = Subject {
        name: account.name,
        path: account_path(&id),
        part: "Accounts",
        with_people: true,
    };
    page(&app, &by, wanted, subject, params.0.cursor).await
}

async fn page(
    app: &App,
    by: &SignedIn,
    wanted: Wanted,
    subject: Subject,
    at: Option<String>,
) -> Answer<HttpResponse> {
    let before: Option<Place> = cursor(at.as_deref())?;
    let told = app
        .db
        .read(move |conn| history::list(conn, &wanted, before.as_ref(), ROWS.0))
        .await?;
    let zone = zone(by.zone());
    let base = format!("{}/history", subject.path);
    app.pages.answer(
        "admin/history",
        &json!({
            "page": Frame::new(app, by, &format!("History of {}", subject.name), subject.part),
            "name": subject.name,
            "path": subject.path,
            "part": subject.part,
            "part_path": match subject.with_people {
                true => "/admin/directory/accounts",
                false => "/admin/directory/people",
            },
            "history": rows(&told, subject.with_people, zone.as_ref()),
            "download": format!("{base}.csv"),
            "unread": told.entries.is_empty() && told.next.is_some(),
            "first": at.is_some().then_some(&base),
            "next": told.next.map(|next| link(&base, &[("cursor", Some(&encode(&next)))])),
        }),
    )
}

async fn person_file(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    file(&app, person_wanted(&id), "history-of-person.csv").await
}

async fn account_file(app: web::Data<App>, id: web::Path<String>) -> Answer<HttpResponse> {
    file(&app, account_wanted(&id), "history-of-account.csv").await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchParams {
    address: Option<String>,
    person: Option<String>,
    account: Option<String>,
    cursor: Option<String>,
}

/// Shows the emails to an address. A person or an account makes the list shorter.
async fn search(app: web::Data<App>, by: SignedIn, params: Form<SearchParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let before: Option<Place> = cursor(p.cursor.as_deref())?;
    let wanted = Wanted {
        address: p.address.clone(),
        person: p.person.clone(),
        account: p.account.clone(),
    };
    let is_asked = p.address.is_some() || p.person.is_some() || p.account.is_some();
    let told = match is_asked {
        true => Some(
            app.db
                .read(move |conn| history::list(conn, &wanted, before.as_ref(), ROWS.0))
                .await?,
        ),
        false => None,
    };
    let path = |cursor: Option<&str>| {
        let parameters = [
            ("address", p.address.as_deref()),
            ("person", p.person.as_deref()),
            ("account", p.account.as_deref()),
            ("cursor", cursor),
        ];
        link(SEARCH, &parameters)
    };
    let zone = zone(by.zone());
    let next = told.as_ref().and_then(|told| told.next.as_ref());
    app.pages.answer(
        "admin/deliveries",
        &json!({
            "page": Frame::new(&app, &by, "Emails to an address", "Customers"),
            "address": p.address, "person": p.person, "account": p.account,
            "asked": is_asked,
            "history": told.as_ref().map(|told| rows(told, true, zone.as_ref())),
            "unread": told.as_ref().is_some_and(|told| told.entries.is_empty() && told.next.is_some()),
            "first": p.cursor.is_some().then(|| path(None)),
            "next": next.map(|next| path(Some(&encode(next)))),
        }),
    )
}
