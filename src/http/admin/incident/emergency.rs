//! The messages that were sent from the copy of the contacts while the database was away, and the form that imports their record.

use std::io::Read;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::head::Reader;
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::EmergencyId;
use crate::emergency::import::{self, EmergencyNotice, State};
use crate::emergency::record::{Content, LARGEST};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::incident_forms::find;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::upload::Upload;
use crate::http::admin::view::{When, grouped, link, segment};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/emergency-notices", Role::Viewer, show)
        .does(&[
            "GET /api/v1/incidents/{id}/emergency-notices",
            "GET /api/v1/emergency-notices/{id}/recipients",
        ])
        .send("/incidents/{id}/emergency-notices", Role::Operator, send)
        .does(&["POST /api/v1/incidents/{id}/emergency-notices"]);
}

/// The number of people on one page.
const ROWS: Limit = Limit(50);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    /// The notice whose people are shown.
    notice: Option<String>,
    cursor: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    shown(&app, &by, name, params.0, None).await
}

async fn shown(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    params: ShowParams,
    wrong: Option<String>,
) -> Answer<HttpResponse> {
    let at = params.cursor;
    let after: Option<String> = cursor(at.as_deref())?;
    let chosen = params
        .notice
        .map(|id| EmergencyId::parse(&id))
        .transpose()
        .map_err(|_| Error::NotFound("an emergency notice with this ID".to_owned()))?;
    let mut reader = Reader::new(app);
    let wanted = chosen.clone();
    let (head, notices, people) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let notices = import::list(conn, &head.incident.id)?;
            let people = match &wanted {
                Some(id) => import::recipients(conn, id, after.as_deref(), ROWS.probe())?,
                None => Vec::new(),
            };
            Ok((head, notices, people))
        })
        .await?;
    let base = format!("{}/emergency-notices", head.base());
    let one = chosen
        .as_ref()
        .and_then(|id| notices.iter().find(|one| one.id == *id));
    if chosen.is_some() && one.is_none() {
        return Err(Error::NotFound("an emergency notice with this ID".to_owned()).into());
    }
    let people = page(people, ROWS, |person| person.person.clone());
    let id = one.map(|one| one.id.to_string());
    let data = json!({
        "base": base,
        "wrong": wrong,
        "may": by.0.role.covers(Role::Operator),
        "notices": notices.iter().map(|one| notice(one, &base)).collect::<Vec<_>>(),
        "chosen": one.map(|one| json!({
            "subject": one.subject,
            "paragraphs": crate::notice::compose::paragraphs(&one.message),
            "people": people.items.iter().map(|person| json!({
                "id": person.person, "name": person.name,
                "path": format!("/admin/directory/people/{}", segment(&person.person)),
                "accounts": person.accounts.join(", "), "at": When::utc(person.at),
                "state": word(person.state), "good": person.state == State::Accepted, "bad": person.state == State::Refused,
            })).collect::<Vec<_>>(),
        })),
        "first": (at.is_some() && id.is_some()).then(|| link(&base, &[("notice", id.as_deref())])),
        "next": people.next_cursor.as_deref().map(|next| link(&base, &[("notice", id.as_deref()), ("cursor", Some(next))])),
    });
    let status = match wrong {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    head.page(
        app,
        by,
        ("admin/incident/emergency", "Emergency notices"),
        status,
        data,
    )
}

fn word(state: State) -> &'static str {
    match state {
        State::Accepted => "accepted",
        State::Refused => "refused",
        State::NotYet => "not accepted yet",
        State::Unknown => "not known",
    }
}

fn notice(one: &EmergencyNotice, base: &str) -> serde_json::Value {
    json!({
        "subject": one.subject,
        "path": link(base, &[("notice", Some(one.id.as_str()))]),
        "began": When::utc(one.began_at),
        "ended": When::utc(one.ended_at),
        "by": one.imported_by,
        "imported": When::utc(one.imported_at),
        "people": grouped(one.counts.people),
        "accepted": grouped(one.counts.accepted),
        "refused": grouped(one.counts.refused),
        "not_yet": grouped(one.counts.not_yet),
        "unknown": grouped(one.counts.unknown),
    })
}

async fn send(app: web::Data<App>, sent: Upload, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let actor = sent.by.0.actor();
    let is_empty = !sent.has("file");
    let (by, content) = sent.content("file")?;
    if is_empty {
        let wrong = Some("Choose the record that candor emergency-notify wrote.".to_owned());
        return shown(&app, &by, name, ShowParams::default(), wrong).await;
    }
    let read = web::block(move || {
        let mut bytes = Vec::new();
        content
            .take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(Error::internal)?;
        Content::read(&bytes)
    })
    .await
    .map_err(Error::internal)?;
    let of = name.clone();
    let incident = app.db.read(move |conn| find(conn, &of)).await?;
    let id = incident.id.clone();
    let imported = match read {
        Ok(content) => {
            app.db
                .write(&actor, move |tx| import::import(tx, &id, &content))
                .await
        }
        Err(error) => Err(error),
    };
    match imported {
        Ok(imported) => {
            let text = format!(
                "The record is imported: {} people, {} accepted.",
                grouped(imported.counts.people),
                grouped(imported.counts.accepted)
            );
            let path = format!("/admin/incidents/{}/emergency-notices", incident.number);
            Ok(done(&app, &path, &text))
        }
        Err(error) => {
            let wrong = match error.coded().0 {
                Error::Invalid { detail, .. } | Error::Conflict(detail) => Some(detail.clone()),
                _ => None,
            };
            match wrong {
                Some(wrong) => shown(&app, &by, name, ShowParams::default(), Some(wrong)).await,
                None => Err(error.into()),
            }
        }
    }
}
