//! `/admin/automation/…`: one policy, with the forms to create, change and delete it, and to try it with an incident.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::as_json::{self, AS_JSON};
use super::choices;
use super::done::done;
use super::field::Field;
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::policy_fields::{self, POLICY, at_fields, input};
use super::signed_in::SignedIn;
use super::view::{count, cut};
use crate::auth::Role;
use crate::automation::{self, NewPolicy, Policy, Trial, policy};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, PolicyId};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::problem::Answer;
use crate::incident;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/automation/new", Role::Admin, fresh)
        .send("/automation", Role::Admin, create)
        .does(&["POST /api/v1/automation/policies"])
        .show("/automation/{id}", Role::Viewer, show)
        .does(&["GET /api/v1/automation/policies/{id}"])
        .send("/automation/{id}", Role::Admin, replace)
        .does(&["PUT /api/v1/automation/policies/{id}"])
        .show("/automation/{id}/json", Role::Admin, show_json)
        .send("/automation/{id}/json", Role::Admin, replace_json)
        .does(&["PUT /api/v1/automation/policies/{id}"])
        .send("/automation/{id}/try", Role::Operator, try_it)
        .does(&["POST /api/v1/automation/policies/{id}/try"])
        .send("/automation/{id}/delete", Role::Admin, delete)
        .does(&["DELETE /api/v1/automation/policies/{id}"]);
}

const PATH: &str = "/admin/automation";
const PART: &str = "Policies";

const TRY: &[Field] = &[Field::one_of(
    "incident",
    "Incident",
    "Candor computes what the policy would do if this incident were opened now. Nothing is stored and nothing is sent.",
    "must be an incident of the list",
)];

/// What a page of a policy is made of.
struct Shown {
    /// The stored policy. None for a new one.
    of: Option<Policy>,
    /// The form to change it, as it was typed.
    typed: Option<Form>,
    /// The form to try it, as it was typed.
    trying: Option<Form>,
    tried: Option<Value>,
    status: StatusCode,
}

async fn page(app: &App, by: &SignedIn, shown: Shown) -> Answer<HttpResponse> {
    let Shown {
        of,
        typed,
        trying,
        tried,
        status,
    } = shown;
    let (integrations, incidents) = app
        .db
        .read(|conn| Ok((choices::integrations(conn)?, choices::incidents(conn)?)))
        .await?;
    let (may_change, may_try) = (by.0.role.covers(Role::Admin), by.0.role.covers(Role::Operator));
    let title = of
        .as_ref()
        .map_or_else(|| "New policy".to_owned(), |policy| policy.says.name.clone());
    let path = of.as_ref().map(|policy| format!("{PATH}/{}", policy.id));
    let form = match (typed, &of) {
        (Some(form), _) => Some(form),
        (None, Some(policy)) => policy_fields::form_of(policy, app.clock().now())?,
        (None, None) => Some(policy_fields::fresh()),
    };
    let at = Use {
        action: path.clone().unwrap_or_else(|| PATH.to_owned()),
        button: if of.is_some() {
            "Save policy"
        } else {
            "Create policy"
        },
        within: (PART, PATH.to_owned()),
    };
    let open = tried.is_some() || trying.as_ref().is_some_and(Form::is_wrong);
    let try_form = path
        .as_ref()
        .filter(|_| may_try && !incidents.is_empty())
        .map(|path| {
            let at = Use {
                action: format!("{path}/try"),
                button: "Try the policy",
                within: (PART, PATH.to_owned()),
            };
            let form = trying
                .unwrap_or_else(|| Form::new(TRY))
                .within("try")
                .options("incident", incidents);
            let mut shown = form.shown(&at);
            shown["back"] = Value::Null;
            shown
        });
    app.pages.answer_with(
        status,
        "admin/policy",
        &json!({
            "page": Frame::new(app, by, &title, PART),
            "title": title,
            "policy": of.as_ref().map(|policy| super::automation::policy_view(policy, &integrations)),
            "may_change": may_change,
            "as_json": path.as_ref().filter(|_| may_change).map(|path| format!("{path}/json")),
            "form": form.filter(|_| may_change).map(|form| form.options("integrations", integrations).shown(&at)),
            "try": try_form,
            "tried": tried,
            "open": open,
            "delete": of.as_ref().filter(|_| may_change).map(|policy| json!({
                "label": "Delete", "button": "Delete policy", "action": format!("{PATH}/{}/delete", policy.id), "fields": [],
                "text": format!("Delete \u{201c}{}\u{201d}? What still waits for it is not done. This cannot be undone.", policy.says.name),
            })),
        }),
    )
}

async fn find(app: &App, id: PolicyId) -> Result<Policy> {
    app.db.read(move |conn| policy::get(conn, &id)).await
}

fn plain(of: Option<Policy>) -> Shown {
    Shown {
        of,
        typed: None,
        trying: None,
        tried: None,
        status: StatusCode::OK,
    }
}

async fn fresh(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    page(&app, &by, plain(None)).await
}

async fn show(app: web::Data<App>, by: SignedIn, InPath(id): InPath<PolicyId>) -> Answer<HttpResponse> {
    let policy = find(&app, id).await?;
    page(&app, &by, plain(Some(policy))).await
}

async fn create(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    save(app, sent, None).await
}

async fn replace(app: web::Data<App>, sent: Filled, InPath(id): InPath<PolicyId>) -> Answer<HttpResponse> {
    let before = find(&app, id).await?;
    save(app, sent, Some(before)).await
}

async fn save(app: web::Data<App>, sent: Filled, of: Option<Policy>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(POLICY, sent.fields)?);
    let (actor, id) = (by.0.actor(), of.as_ref().map(|policy| policy.id.clone()));
    let store = async |body: Value| {
        let new = input(body)?;
        app.db
            .write(&actor, move |tx| match &id {
                Some(id) => policy::replace(tx, id, new),
                None => policy::create(tx, new),
            })
            .await
            .map_err(at_fields)
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(saved) => {
            let path = format!("{PATH}/{}", saved.id);
            Ok(done(
                &app,
                &path,
                "The policy is saved. Try it with an incident to see what it would do.",
            ))
        }
        Saved::Again(form) => {
            let status = form.status();
            let typed = Some(form);
            page(
                &app,
                &by,
                Shown {
                    of,
                    typed,
                    trying: None,
                    tried: None,
                    status,
                },
            )
            .await
        }
    }
}

fn at_json(id: &PolicyId) -> Use<'static> {
    Use {
        action: format!("{PATH}/{id}/json"),
        button: "Save policy",
        within: ("Policy", format!("{PATH}/{id}")),
    }
}

const JSON_TITLE: &str = "Change the policy as JSON";

async fn show_json(app: web::Data<App>, by: SignedIn, InPath(id): InPath<PolicyId>) -> Answer<HttpResponse> {
    let policy = find(&app, id.clone()).await?;
    let mut input = json!(policy.says);
    input["position"] = json!(policy.position);
    let form = as_json::of(&input)?;
    form.page(&app, &by, (JSON_TITLE, PART), as_json::EXPLAINED, &at_json(&id))
}

async fn replace_json(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<PolicyId>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(AS_JSON, sent.fields)?);
    let (actor, of) = (by.0.actor(), id.clone());
    let store = async |typed: as_json::Typed| {
        let new: NewPolicy = typed.input()?;
        let stored = app
            .db
            .write(&actor, move |tx| policy::replace(tx, &of, new))
            .await;
        stored.map_err(as_json::at_field)
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &format!("{PATH}/{id}"),
            "The policy is saved. Try it with an incident to see what it would do.",
        )),
        Saved::Again(form) => form.page(&app, &by, (JSON_TITLE, PART), as_json::EXPLAINED, &at_json(&id)),
    }
}

async fn try_it(app: web::Data<App>, sent: Filled, InPath(id): InPath<PolicyId>) -> Answer<HttpResponse> {
    let policy = find(&app, id.clone()).await?;
    let (by, mut form) = (sent.by, Form::read(TRY, sent.fields)?);
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let body: Option<Value> = form.input(now)?;
    let incident = body
        .as_ref()
        .and_then(|body| body["incident"].as_str())
        .map(IncidentId::parse);
    let mut tried = None;
    match incident {
        Some(Ok(incident)) => {
            let (of, at) = (incident.clone(), id);
            let attempt = app
                .db
                .read(move |conn| automation::attempt(conn, &at, &of, &sending, now))
                .await;
            match attempt {
                Ok(trial) => tried = Some(tried_view(&app, &trial, incident).await?),
                Err(error) => form.refused(error)?,
            }
        }
        _ if !form.is_wrong() => {
            form.refused(Error::invalid("/incident", "must be an incident of the list"))?
        }
        _ => {}
    }
    let (status, trying) = (form.status(), Some(form));
    page(
        &app,
        &by,
        Shown {
            of: Some(policy),
            typed: None,
            trying,
            tried,
            status,
        },
    )
    .await
}

/// The result of a trial in words.
async fn tried_view(app: &App, trial: &Trial, incident: IncidentId) -> Result<Value> {
    let incident = app.db.read(move |conn| incident::get(conn, &incident)).await?;
    let people = count(trial.recipients, "recipient", "recipients");
    let said = match (trial.fits, trial.outcome.as_str()) {
        (false, _) => "The policy does not apply to this incident.".to_owned(),
        (true, "sent") => format!("It would send the notice to {people} without a person."),
        (true, "drafted") => format!("It would draft a notice to {people}. A person would have to send it."),
        (true, _) => "It would do nothing.".to_owned(),
    };
    Ok(json!({
        "number": incident.number,
        "title": cut(&incident.title, 200),
        "path": format!("/admin/incidents/{}", incident.number),
        "said": said,
        "sends": trial.outcome.as_str() == "sent",
        "reason": trial.mismatch.as_ref().or(trial.reason.as_ref()),
        "warnings": trial.warnings,
    }))
}

async fn delete(app: web::Data<App>, sent: Filled, InPath(id): InPath<PolicyId>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    app.db.write(&actor, move |tx| policy::delete(tx, &id)).await?;
    Ok(done(&app, PATH, "The policy is deleted."))
}
