//! `/admin/incidents/{id}/merge`: merges one incident into another one, and undoes it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::words::{moves, named, reasons};
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::Filled;
use crate::http::admin::incident::Reader;
use crate::http::admin::incident_forms::find;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{count, cut, link};
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::Incident;
use crate::incident::merge::{self, Merged};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    /// The number of the incident that it is merged into.
    into: Option<String>,
    reason: Option<String>,
}

/// What the page says about the incident that was named.
enum Looked {
    Nothing,
    Allowed(Box<Incident>, Merged),
    Refused(Vec<String>),
}

fn look(conn: &mut Conn, from: &Incident, into: &str) -> Result<Looked> {
    let looked = named(conn, "into", into).and_then(|into| {
        let merged = merge::preview(conn, &from.id, &into.id)?;
        Ok(Looked::Allowed(Box::new(into), merged))
    });
    match looked {
        Err(error) => Ok(Looked::Refused(reasons(error)?)),
        found => found,
    }
}

pub(super) async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    given: Form<Given>,
) -> Answer<HttpResponse> {
    page(&app, &by, name, given.0, None).await
}

async fn page(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    given: Given,
    refused: Option<Vec<String>>,
) -> Answer<HttpResponse> {
    let mut reader = Reader::new(app);
    let into = given.into.clone();
    let (head, looked, alike) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let looked = match (refused, into) {
                (Some(reasons), _) => Looked::Refused(reasons),
                (None, Some(into)) => look(conn, &head.incident, &into)?,
                (None, None) => Looked::Nothing,
            };
            let alike = merge::alike_to(conn, &head.incident.id)?;
            Ok((head, looked, alike))
        })
        .await?;
    let (base, from) = (format!("{}/merge", head.base()), &head.incident);
    let status = match &looked {
        Looked::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Looked::Nothing | Looked::Allowed(..) => StatusCode::OK,
    };
    let (plan, wrong) = match looked {
        Looked::Nothing => (None, Vec::new()),
        Looked::Refused(reasons) => (None, reasons),
        Looked::Allowed(into, merged) => (
            Some(json!({
                "into": into.number,
                "title": into.title,
                "path": format!("/admin/incidents/{}", into.number),
                "moves": moves(&merged.moved),
                "button": format!("Merge #{} into #{}", from.number, into.number),
            })),
            Vec::new(),
        ),
    };
    let data = json!({
        "base": base,
        "into": given.into,
        "reason": given.reason,
        "wrong": wrong,
        "plan": plan,
        "alike": alike.iter().map(|one| json!({
            "number": one.number, "title": one.title, "shares": one.shares.join(", "),
            "path": link(&base, &[("into", Some(&one.number.to_string()))]),
        })).collect::<Vec<_>>(),
    });
    head.page(app, by, ("admin/incident/merge", "Merge"), status, data)
}

pub(super) async fn send(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let given = Given {
        into: Some(fields.take("into")),
        reason: Some(fields.take("reason")).filter(|reason| !reason.is_empty()),
    };
    fields.finish()?;
    let (target, into, reason) = (
        name.clone(),
        given.into.clone().unwrap_or_default(),
        given.reason.clone(),
    );
    let merged = app
        .db
        .write(&actor, move |tx| {
            let from = find(tx.conn, &target)?;
            let into = named(tx.conn, "into", &into)?;
            merge::merge(tx, &from.id, &into.id, reason.as_deref())?;
            Ok((from, into))
        })
        .await;
    match merged {
        Ok((from, into)) => {
            let text = format!(
                "#{} \u{201c}{}\u{201d} is merged into this incident. Customers were not notified by this.",
                from.number,
                cut(&from.title, 80)
            );
            Ok(done(&app, &format!("/admin/incidents/{}", into.number), &text))
        }
        Err(error) => {
            let reasons = reasons(error)?;
            page(&app, &by, name, given, Some(reasons)).await
        }
    }
}

pub(super) async fn undo(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let id = incident.id.clone();
    let undone = app.db.write(&actor, move |tx| merge::unmerge(tx, &id)).await;
    let back = format!("/admin/incidents/{}", incident.number);
    let text = match undone {
        Ok(undone) => format!(
            "The merge is undone. This incident is {} again, with {}.",
            undone.incident.status,
            count(
                usize::try_from(undone.moved.alerts).unwrap_or_default(),
                "alert",
                "alerts"
            )
        ),
        // Somebody was faster.
        Err(error) => match error.coded().0 {
            Error::Conflict(detail) => format!("Nothing was changed: {detail}."),
            _ => return Err(error.into()),
        },
    };
    Ok(done(&app, &back, &text))
}
