//! The evidence about an incident as a file to download, for everybody or for one customer.
//!
//! The file is made by a form and not by a link, because making it writes an event to the audit trail.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Role;
use crate::base::error::Error;
use crate::evidence::{NotifiedOf, Request};
use crate::http::App;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::incident_forms::find;
use crate::http::admin::params;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{cut, link};
use crate::http::admin_page::Pages;
use crate::http::api::evidence::{answer, made};
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::Incident;

/// The file has the addresses of customers, and the links with which they answer.
const ROLE: Role = Role::Operator;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/evidence", ROLE, show)
        .send("/incidents/{id}/evidence", ROLE, download)
        .does(&["GET /api/v1/incidents/{id}/evidence"]);
}

const TITLE: &str = "Download the evidence";
const EXPLAINED: &str = "The evidence is one zip file that convinces somebody outside: what happened, who was notified of what, when and \
    why, the emails as they were sent, and the audit events with the proofs that they are in the trail. Leave both fields empty for the \
    whole incident. The audit trail records the download. The emails contain the links of their recipients: whoever has them can answer \
    and unsubscribe for the recipients.";

const WHOM: &[Field] = &[
    Field::text(
        "person",
        "Person",
        "The ID of a person. The file then contains nothing about anybody else.",
    )
    .optional(),
    Field::text(
        "account",
        "Account",
        "The ID of an account. The file then contains only its members and systems.",
    )
    .optional(),
];

/// Whom the file is about.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whom {
    person: Option<String>,
    account: Option<String>,
}

fn at<'a>(incident: &Incident, label: &'a str) -> Use<'a> {
    let base = format!("/admin/incidents/{}", incident.number);
    Use {
        action: format!("{base}/evidence"),
        button: TITLE,
        within: (label, base),
    }
}

fn label(incident: &Incident) -> String {
    format!("#{} {}", incident.number, cut(&incident.title, 80))
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    whom: params::Form<Whom>,
) -> Answer<HttpResponse> {
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let Whom { person, account } = whom.0;
    let form = Form::new(WHOM)
        .with("person", person.unwrap_or_default())
        .with("account", account.unwrap_or_default())
        .downloading();
    let label = label(&incident);
    form.page(&app, &by, (TITLE, "Incidents"), EXPLAINED, &at(&incident, &label))
}

async fn download(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(WHOM, sent.fields)?.downloading());
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let make = async |whom: Whom| {
        let request = Request {
            incident: id,
            person: whom.person,
            account: whom.account,
        };
        made(&app, &actor, request).await.map_err(of_field)
    };
    match form.save(app.clock().now(), make).await? {
        Saved::Done(exported) => Ok(answer(exported)),
        Saved::Again(form) => {
            let label = label(&incident);
            form.page(&app, &by, (TITLE, "Incidents"), EXPLAINED, &at(&incident, &label))
        }
    }
}

/// Returns an error about a parameter of the API as one about the field with its name.
fn of_field(error: Error) -> Error {
    let Error::Invalid { detail, mut errors } = error else {
        return error;
    };
    for one in &mut errors {
        one.pointer = one.pointer.take().map(|pointer| pointer.replacen('?', "/", 1));
    }
    Error::Invalid { detail, errors }
}

/// The number of incidents on the page of a person or an account.
pub(in crate::http::admin) const SHOWN: usize = 20;

/// Returns the links to the evidence of each incident about a person or an account. `whom` is the parameter and its value.
pub(in crate::http::admin) fn links(incidents: &[NotifiedOf], whom: (&str, &str)) -> Vec<Value> {
    incidents
        .iter()
        .map(|one| {
            let path = format!("/admin/incidents/{}/evidence", one.number);
            json!({"number": one.number, "title": one.title, "path": link(&path, &[(whom.0, Some(whom.1))])})
        })
        .collect()
}
