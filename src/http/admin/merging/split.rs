//! `/admin/incidents/{id}/split`: splits alerts and affected resources out of an incident into a new one.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::words::reasons;
use crate::alert;
use crate::base::error::{Error, Result};
use crate::base::id::AlertId;
use crate::directory::{ResourceRef, resource};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::Filled;
use crate::http::admin::incident::Reader;
use crate::http::admin::incident_forms::find;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::When;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::affected;
use crate::incident::merge::{self, Split};

/// The number of alerts and of resources that the page lists.
const ROWS: i64 = 200;
/// What the names of the check boxes begin with.
const ALERT: &str = "alert.";
const RESOURCE: &str = "resource.";

/// What the form contains: the title of the new incident, the IDs of alerts, and resources as `TYPE ID`.
#[derive(Default)]
struct Chosen {
    title: String,
    alerts: Vec<String>,
    resources: Vec<String>,
}

pub(super) async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    page(&app, &by, name, Chosen::default(), Vec::new()).await
}

async fn page(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    chosen: Chosen,
    wrong: Vec<String>,
) -> Answer<HttpResponse> {
    let (mut reader, now) = (Reader::new(app), app.clock().now());
    let (head, alerts, resources) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let alerts = alert::list(conn, None, Some(&id), None, None, ROWS, now)?;
            let resources = affected::list(conn, &id, None, None, ROWS)?;
            Ok((head, alerts, resources))
        })
        .await?;
    let local = head.local(by);
    let alerts: Vec<Value> = alerts
        .iter()
        .map(|one| {
            json!({
                "box": format!("{ALERT}{}", one.id), "checked": chosen.alerts.contains(&one.id.to_string()),
                "title": one.title, "severity": one.severity, "status": one.status,
                "first": When::new(one.received_at, local.as_ref()),
            })
        })
        .collect();
    let resources: Vec<Value> = resources
        .iter()
        .map(|one| {
            let at = one.resource.to_string();
            json!({
                "box": format!("{RESOURCE}{at}"), "checked": chosen.resources.contains(&at),
                "label": at, "name": one.name,
            })
        })
        .collect();
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let data = json!({
        "action": format!("{}/split", head.base()),
        "title": chosen.title,
        "alerts": alerts,
        "resources": resources,
        "wrong": wrong,
    });
    head.page(app, by, ("admin/incident/split", "Split"), status, data)
}

fn request(chosen: &Chosen) -> Result<Split> {
    let alerts: Result<Vec<AlertId>> = chosen
        .alerts
        .iter()
        .map(|id| AlertId::parse(id).map_err(|detail| Error::invalid("/alerts", detail)))
        .collect();
    let resources: Result<Vec<ResourceRef>> = chosen
        .resources
        .iter()
        .map(|text| {
            text.split_once(' ')
                .ok_or_else(|| "must be a type and an ID".to_owned())
                .and_then(|(type_, id)| resource::at(type_, id))
                .map_err(|detail| Error::invalid("/resources", detail))
        })
        .collect();
    Ok(Split {
        alerts: alerts?,
        resources: resources?,
        title: chosen.title.clone(),
    })
}

pub(super) async fn send(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let chosen = Chosen {
        title: fields.take("title"),
        alerts: fields.take_below(ALERT),
        resources: fields.take_below(RESOURCE),
    };
    fields.finish()?;
    let target = name.clone();
    let incident = app.db.read(move |conn| find(conn, &target)).await?;
    let id = incident.id.clone();
    let new = match request(&chosen) {
        Ok(request) => {
            app.db
                .write(&actor, move |tx| merge::split(tx, &id, &request))
                .await
        }
        Err(error) => Err(error),
    };
    match new {
        Ok(new) => {
            let text = format!(
                "This incident is split out of #{}. It has notified nobody yet.",
                incident.number
            );
            Ok(done(&app, &format!("/admin/incidents/{}", new.number), &text))
        }
        Err(error) => {
            let wrong = reasons(error)?;
            page(&app, &by, name, chosen, wrong).await
        }
    }
}
