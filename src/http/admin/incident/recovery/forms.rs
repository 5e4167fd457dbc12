//! What the forms of the page are sent to.

use std::io::Read as _;

use actix_web::{HttpResponse, web};

use crate::http::admin::params;

use super::page::{ATTEST, BATCH, CHECK, Outcome, ShowParams, answer};
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::{AttestationId, IncidentId};
use crate::directory::selector::Json;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::{Filled, Wrong};
use crate::http::admin::form::{Form, Saved};
use crate::http::admin::incident_forms::find;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::upload::Upload;
use crate::http::admin::view::count;
use crate::http::api::recovery::MAX_EVIDENCE;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::incident::Incident;
use crate::incident::recovery::{self, Attestation, Batch, Begun, NewAttestation, State};
use crate::watch::{self, evidence::CheckEvidence};

async fn of(app: &App, name: IncidentName) -> Answer<Incident> {
    Ok(app.db.read(move |conn| find(conn, &name)).await?)
}

fn back(incident: &Incident) -> String {
    format!("/admin/incidents/{}/recovery", incident.number)
}

fn number(n: i64) -> usize {
    usize::try_from(n).unwrap_or_default()
}

fn begun(app: &App, incident: &Incident, state: State, begun: Begun) -> HttpResponse {
    let mut text = match state {
        State::Recovering => format!(
            "The recovery of {} began.",
            count(number(begun.changed), "resource", "resources")
        ),
        _ => format!(
            "The recovery of {} failed.",
            count(number(begun.changed), "resource", "resources")
        ),
    };
    if begun.relapsed > 0 {
        text.push_str(&format!(
            " {} impaired again.",
            count(
                number(begun.relapsed),
                "recovered resource is",
                "recovered resources are"
            )
        ));
    }
    if begun.unchanged > 0 {
        text.push_str(&format!(
            " {} not change.",
            count(number(begun.unchanged), "resource did", "resources did")
        ));
    }
    done(app, &back(incident), &text)
}

/// Shows the page with the reasons why nothing was changed.
async fn refused(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    given: ShowParams,
    error: Error,
) -> Answer<HttpResponse> {
    refused_with(app, by, name, (given, String::new()), error).await
}

/// As [`refused`], with the lines that were pasted.
async fn refused_with(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    (given, pasted): (ShowParams, String),
    error: Error,
) -> Answer<HttpResponse> {
    // That another person must confirm is a reason for the page, too.
    let wrong = match error.coded().0 {
        Error::Forbidden(reason) | Error::Conflict(reason) => vec![reason.clone()],
        _ => reasons(error)?,
    };
    let outcome = Outcome {
        wrong,
        pasted,
        ..Outcome::default()
    };
    answer(app, by, name, given, outcome).await
}

fn reasons(error: Error) -> Result<Vec<String>> {
    let mut wrong = Wrong::of(error)?;
    let mut reasons = wrong.at("/selector");
    reasons.extend(wrong.at("/as_of"));
    reasons.extend(wrong.rest());
    Ok(reasons)
}

/// Begins a batch of listed resources, or says that it failed.
pub(super) async fn begin(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(BATCH, sent.fields)?.within("batch"));
    let incident = of(&app, name.clone()).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: Batch| {
        app.db
            .write(&actor, move |tx| {
                let state = new.state;
                recovery::change(tx, &id, &new).map(|begun| (state, begun))
            })
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done((state, result)) => Ok(begun(&app, &incident, state, result)),
        Saved::Again(form) => {
            let outcome = Outcome {
                batch: Some(form),
                ..Outcome::default()
            };
            answer(&app, &by, name, ShowParams::default(), outcome).await
        }
    }
}

/// Begins a batch of the resources that a selector finds, says that it failed, or attests that they are recovered.
pub(super) async fn begin_found(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let (selector, what) = (fields.take("selector"), fields.take("what"));
    let as_of = fields.take("as_of");
    let (batch, reason) = (fields.take("name"), fields.take("reason"));
    fields.finish()?;
    let incident = of(&app, name.clone()).await?;
    let id = incident.id.clone();
    let chosen = Some(Json::Text(selector.clone()));
    let given = ShowParams {
        selector: Some(selector),
        as_of: Some(as_of.clone()),
        ..ShowParams::default()
    };
    let as_of = match params::as_of(Some(&as_of)) {
        Ok(as_of) => as_of,
        Err(error) => return refused(&app, &by, name, given, error).await,
    };
    let state = match what.as_str() {
        "recovering" => State::Recovering,
        "impaired" => State::Impaired,
        "attest" => {
            let new = NewAttestation {
                resources: None,
                selector: chosen,
                as_of,
                reason,
            };
            let asked = app.db.write(&actor, move |tx| recovery::ask(tx, &id, &new)).await;
            return match asked {
                Ok(attestation) => Ok(attested(&app, &incident, &attestation)),
                Err(error) => refused(&app, &by, name, given, error).await,
            };
        }
        _ => return Err(Error::invalid("/what", "must be recovering, impaired or attest").into()),
    };
    let new = Batch {
        state,
        resources: None,
        selector: chosen,
        as_of,
        name: (!batch.is_empty()).then_some(batch),
    };
    let result = app
        .db
        .write(&actor, move |tx| recovery::change(tx, &id, &new))
        .await;
    match result {
        Ok(result) => Ok(begun(&app, &incident, state, result)),
        Err(error) => refused(&app, &by, name, given, error).await,
    }
}

/// Takes lines of evidence from a file or a pasted text. CSV is recognised by its first character, which is no brace.
pub(super) async fn evidence(
    app: web::Data<App>,
    mut sent: Upload,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let field = match sent.has("file") {
        true => "file",
        false => "text",
    };
    let is_empty = !sent.has(field);
    // The other field is read, so that a text beside a file is not ignored without a word.
    let both = field == "file" && !sent.text("text")?.is_empty();
    // A text that is too long for a field is taken, but it is not shown again.
    let pasted = sent.text("text").unwrap_or_default();
    let actor = sent.by.0.actor();
    let (by, content) = sent.content(field)?;
    let reason = match (is_empty, both) {
        (true, _) => Some("Choose a file with evidence, or paste its lines."),
        (_, true) => Some("Give either a file or a text, not both."),
        _ => None,
    };
    if let Some(reason) = reason {
        let error = Error::invalid("", reason);
        return refused_with(&app, &by, name, (ShowParams::default(), pasted), error).await;
    }
    let lines = web::block(move || {
        let mut body = Vec::new();
        content
            .take(MAX_EVIDENCE as u64 + 1)
            .read_to_end(&mut body)
            .map_err(Error::internal)?;
        if body.len() > MAX_EVIDENCE {
            return Err(Error::invalid("", "The file is too large."));
        }
        match body.trim_ascii_start().first() {
            Some(b'{') => recovery::parse(&body),
            _ => recovery::parse_csv(&body),
        }
    })
    .await
    .map_err(Error::internal)?;
    let incident = of(&app, name.clone()).await?;
    let id = incident.id.clone();
    let taken = match lines {
        Ok(lines) => {
            app.db
                .write(&actor, move |tx| recovery::give(tx, &id, &lines))
                .await
        }
        Err(error) => Err(error),
    };
    match taken {
        Ok(taken) if taken.refused_lines == 0 && taken.relapsed == 0 => {
            let text = count(
                number(taken.recovered),
                "resource is recovered.",
                "resources are recovered.",
            );
            Ok(done(&app, &back(&incident), &text))
        }
        Ok(taken) => {
            let outcome = Outcome {
                taken: Some(taken),
                pasted,
                ..Outcome::default()
            };
            answer(&app, &by, name, ShowParams::default(), outcome).await
        }
        Err(error) => refused_with(&app, &by, name, (ShowParams::default(), pasted), error).await,
    }
}

/// Takes a check as the evidence for listed resources.
pub(super) async fn check(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(CHECK, sent.fields)?.within("check"));
    let incident = of(&app, name.clone()).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: CheckEvidence| {
        app.db
            .write(&actor, move |tx| watch::evidence::give(tx, &id, &new))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(observed) => {
            let text = count(
                number(observed.recovered),
                "resource is recovered.",
                "resources are recovered.",
            );
            Ok(done(&app, &back(&incident), &text))
        }
        Saved::Again(form) => {
            let outcome = Outcome {
                check: Some(form),
                ..Outcome::default()
            };
            answer(&app, &by, name, ShowParams::default(), outcome).await
        }
    }
}

fn attested(app: &App, incident: &Incident, attestation: &Attestation) -> HttpResponse {
    let text = format!(
        "Another person must confirm that {} recovered.",
        count(number(attestation.resources), "resource is", "resources are")
    );
    done(app, &back(incident), &text)
}

/// Attests listed resources as the first person.
pub(super) async fn attest(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ATTEST, sent.fields)?.within("attest"));
    let incident = of(&app, name.clone()).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store =
        async |new: NewAttestation| app.db.write(&actor, move |tx| recovery::ask(tx, &id, &new)).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Done(attestation) => Ok(attested(&app, &incident, &attestation)),
        Saved::Again(form) => {
            let outcome = Outcome {
                attest: Some(form),
                ..Outcome::default()
            };
            answer(&app, &by, name, ShowParams::default(), outcome).await
        }
    }
}

/// Confirms an attestation as the second person.
pub(super) async fn confirm(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, attestation)): InPath<(IncidentName, AttestationId)>,
) -> Answer<HttpResponse> {
    end(&app, sent, name, move |tx, incident| {
        let confirmed = recovery::confirm(tx, incident, &attestation)?;
        let mut text = count(
            number(confirmed.recovered),
            "resource is recovered, as attested.",
            "resources are recovered, as attested.",
        );
        if confirmed.unchanged > 0 {
            text.push_str(&format!(
                " {} not change.",
                count(number(confirmed.unchanged), "resource did", "resources did")
            ));
        }
        Ok(text)
    })
    .await
}

/// Withdraws an open attestation.
pub(super) async fn withdraw(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, attestation)): InPath<(IncidentName, AttestationId)>,
) -> Answer<HttpResponse> {
    end(&app, sent, name, move |tx, incident| {
        recovery::withdraw(tx, incident, &attestation)?;
        Ok("The attestation is withdrawn.".to_owned())
    })
    .await
}

/// Ends an attestation in one transaction, and says what that did.
async fn end(
    app: &App,
    sent: Filled,
    name: IncidentName,
    change: impl FnOnce(&mut Tx<'_>, &IncidentId) -> Result<String> + Send + 'static,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, fields } = sent;
    fields.finish()?;
    let incident = of(app, name.clone()).await?;
    let id = incident.id.clone();
    match app.db.write(&actor, move |tx| change(tx, &id)).await {
        Ok(text) => Ok(done(app, &back(&incident), &text)),
        Err(error @ Error::NotFound(_)) => Err(error.into()),
        Err(error) => refused(app, &by, name, ShowParams::default(), error).await,
    }
}
