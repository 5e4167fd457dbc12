//! `/admin/incidents/{n}/write` and `/admin/notices/{id}/write`: the page on which a notice is written, with the email beside the text.
//!
//! The email is made from what is typed, without storing it. Saving leads to the page on which the draft is checked.

use actix_web::{HttpResponse, web};
use handlebars::html_escape;
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::draft_forms::{
    CHANGE, VALUES, WRITE, Written, at_fields, change_form, new_form, next_phase, read_values,
    read_values_file, with_lines,
};
use super::filled::Filled;
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::incident_forms::find;
use super::notice_view::incident_link;
use super::params;
use super::signed_in::SignedIn;
use super::translations;
use super::upload::Upload;
use super::view::count;
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::language::Language;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::pages::mail_frame;
use crate::http::problem::Answer;
use crate::incident::{self, Incident, Status, recovery};
use crate::notice::template::Phase;
use crate::notice::{self, NewNotice, Notice, Sample, SampleRecipient, values};

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/incidents/{id}/write", Role::Operator, new);
    pages
        .send("/incidents/{id}/write", Role::Operator, create)
        .keeps_text("Save the draft")
        .does(&[
            "POST /api/v1/incidents/{id}/notices",
            "POST /api/v1/incidents/{id}/status",
        ]);
    pages.send("/incidents/{id}/write/preview", Role::Operator, preview_new);
    pages.show("/notices/{id}/write", Role::Operator, edit);
    pages
        .send("/notices/{id}/change", Role::Operator, change)
        .keeps_text("Save the draft")
        .does(&["PATCH /api/v1/notices/{id}"]);
    pages.send("/notices/{id}/write/preview", Role::Operator, preview_change);
    pages
        .send("/notices/{id}/values", Role::Operator, upload)
        .does(&["PUT /api/v1/notices/{id}/values"]);
}

const PART: &str = "Incidents";

/// The fields of the box that resolves the incident with the draft of its resolution. The second one says that the page had the box,
/// because a browser does not send a box that is not checked.
const RESOLVE: &str = "resolve";
const MAY_RESOLVE: &str = "may_resolve";

/// What a link to the page of a new notice says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// The phase of the notice.
    phase: Option<Phase>,
    /// `suggested`: begin with a suggested text.
    start: Option<String>,
}

fn of_incident(incident: &Incident) -> Use<'static> {
    let page = format!("/admin/incidents/{}", incident.number);
    Use {
        action: format!("{page}/write"),
        button: "Save and check",
        within: ("Incident", page),
    }
}

fn of_draft(notice: &NoticeId) -> Use<'static> {
    let page = format!("/admin/notices/{notice}");
    Use {
        action: format!("{page}/change"),
        button: "Save and check",
        within: ("Notice", page),
    }
}

/// Leaves out the choice of a recovery, because the incident has no recovery states.
fn leave_out_recovery(shown: &mut Value) {
    let groups = shown["groups"].as_array_mut().into_iter().flatten();
    let fields = groups.flat_map(|group| group["fields"].as_array_mut().into_iter().flatten());
    for field in fields.filter(|field| field["name"] == "phase") {
        if let Some(options) = field["options"].as_array_mut() {
            options.retain(|option| option["value"] != "recovery" || option["selected"] == true);
        }
    }
}

/// The name of the field that chooses the language in which the page shows the email. It belongs to the page alone.
const SHOW_IN: &str = "show_in";

/// Shows the page with a form. The fields that say who gets the notice are folded.
async fn page(
    app: &App,
    by: &SignedIn,
    incident: &Incident,
    form: Form,
    (title, at, preview): (&str, &Use<'_>, String),
    suggested: Option<String>,
    resolve: bool,
) -> Answer<HttpResponse> {
    let of = incident.id.clone();
    let has_recovery = app.db.read(move |conn| recovery::in_use(conn, &of)).await?;
    let status = form.status();
    let may_resolve = form.text("phase") == Phase::Resolution.as_str() && incident.status != Status::Resolved;
    let mut shown = form.shown(at);
    if !has_recovery {
        leave_out_recovery(&mut shown);
    }
    shown["languages"] = translations::take_out(&mut shown, app.sending.language);
    let shown_in: Vec<Value> = Language::ALL
        .iter()
        .map(|language| json!({"code": language, "name": language.english_name()}))
        .collect();
    let who = shown["groups"].as_array_mut().and_then(Vec::pop);
    let wrong_who = who.as_ref().is_some_and(|group| {
        let fields = group["fields"].as_array();
        fields.is_some_and(|fields| {
            let has_errors = |field: &Value| field["errors"].as_array().is_some_and(|all| !all.is_empty());
            fields.iter().any(has_errors)
        })
    });
    let data = json!({
        "page": Frame::new(app, by, title, PART),
        "title": title,
        "incident": incident_link(incident),
        "drill": incident.drill,
        "form": shown, "who": [who], "wrong_who": wrong_who,
        "preview": preview, "suggested": suggested,
        "shown_in": shown_in,
        "resolve": may_resolve.then(|| json!({"checked": resolve, "status": incident.status})),
    });
    app.pages.answer_with(status, "admin/notice/write", &data)
}

async fn new(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params::Form(asked): params::Form<New>,
) -> Answer<HttpResponse> {
    let (incident, begun) = app
        .db
        .read(move |conn| {
            let incident = find(conn, &name)?;
            let notices = notice::of_incidents(conn, &[&incident.id])?;
            let begun = notices
                .iter()
                .any(|notice| !notice.state.is_draft() && notice.episode == incident.episode);
            Ok((incident, begun))
        })
        .await?;
    let phase = match asked.phase {
        // A correction begins on the page of the notice that it corrects.
        None | Some(Phase::Correction | Phase::Maintenance) => next_phase(&incident, begun),
        Some(phase) => phase,
    };
    let message = match asked.start.as_deref() {
        None => "",
        Some("suggested") => notice::suggested(phase, app.sending.language)?,
        Some(_) => return Err(Error::invalid("?start", "must be suggested").into()),
    };
    let at = of_incident(&incident);
    let suggested = format!("{}?phase={phase}&start=suggested", at.action);
    let preview = format!("{}/preview", at.action);
    let form = new_form(phase, &incident, by.zone(), message);
    let suggested = message.is_empty().then_some(suggested);
    page(
        &app,
        &by,
        &incident,
        form,
        ("Write to customers", &at, preview),
        suggested,
        true,
    )
    .await
}

async fn create(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    let had_box = !fields.take(MAY_RESOLVE).is_empty();
    let resolve = !fields.take(RESOLVE).is_empty();
    fields.take(SHOW_IN);
    let form = Form::read(WRITE, fields)?.within("notice");
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let (actor, id, now) = (by.0.actor(), incident.id.clone(), app.clock().now());
    let store = async |written: Written| {
        let new = written.new_notice(None, now)?;
        let stored = app
            .db
            .write(&actor, move |tx| {
                match resolve && new.phase == Phase::Resolution {
                    true => notice::resolve_and_draft(tx, &id, &new),
                    false => notice::draft(tx, &id, &new),
                }
            })
            .await;
        stored.map_err(at_fields)
    };
    let at = of_incident(&incident);
    let check = async |written: Written| {
        let new = written.new_notice(None, now)?;
        let checked = app.db.read(move |conn| notice::check_new(conn, &new)).await;
        checked.map_err(at_fields)
    };
    match form.save_checked(now, store, check).await? {
        Saved::Done(notice) => Ok(saved(&app, &notice)),
        Saved::Again(form) => {
            let preview = format!("{}/preview", at.action);
            page(
                &app,
                &by,
                &incident,
                form,
                ("Write to customers", &at, preview),
                None,
                // The box appears checked, unless somebody has unchecked it.
                resolve || !had_box,
            )
            .await
        }
    }
}

fn saved(app: &App, notice: &Notice) -> HttpResponse {
    let said = "The draft is saved. Nothing is sent yet: check who gets it and what they read.";
    done(app, &format!("/admin/notices/{}", notice.id), said)
}

/// Reads a draft with its incident.
async fn draft(app: &App, id: &NoticeId) -> Result<(Notice, Incident)> {
    let id = id.clone();
    app.db
        .read(move |conn| {
            let notice = notice::get(conn, &id)?;
            let incident = incident::get(conn, &notice.incident)?;
            Ok((notice, incident))
        })
        .await
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let (notice, incident) = draft(&app, &id).await?;
    if !notice.state.is_draft() {
        return Err(Error::Conflict(format!(
            "the notice is {}; it can no longer be changed",
            notice.state
        ))
        .into());
    }
    let form = change_form(&notice, &incident, by.zone()).versioned();
    let title = format!("Change the {} notice", notice.phase);
    let preview = format!("/admin/notices/{id}/write/preview");
    page(
        &app,
        &by,
        &incident,
        form,
        (&title, &of_draft(&id), preview),
        None,
        false,
    )
    .await
}

async fn change(app: web::Data<App>, sent: Filled, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let Filled { by, mut fields } = sent;
    fields.take(SHOW_IN);
    let form = Form::read(CHANGE, fields)?.within("notice");
    let (before, incident) = draft(&app, &id).await?;
    let (actor, target, now) = (by.0.actor(), id.clone(), app.clock().now());
    let (opened, of, own_zone) = (form.seen(), incident.clone(), by.zone().map(str::to_owned));
    let store = async |written: Written| {
        let patch = written.patch(&before, now)?;
        let stored = app
            .db
            .write(&actor, move |tx| {
                // Two people may have opened the draft. The second one must not replace what the first one wrote.
                let stored = notice::get(tx.conn, &target)?;
                opened.check(&change_form(&stored, &of, own_zone.as_deref()), true)?;
                notice::change(tx, &target, &patch)
            })
            .await;
        stored.map_err(at_fields)
    };
    // What a correction has beside its text is not in this form.
    let phase = match before.phase {
        Phase::Correction => Phase::Update,
        phase => phase,
    };
    let check = async |written: Written| {
        let new = written.new_notice(Some(phase), now)?;
        let checked = app.db.read(move |conn| notice::check_new(conn, &new)).await;
        checked.map_err(at_fields)
    };
    match form.save_checked(now, store, check).await? {
        Saved::Done(notice) => Ok(saved(&app, &notice)),
        Saved::Again(form) => {
            let (stored, _) = draft(&app, &id).await?;
            let form = form.compared_with(&change_form(&stored, &incident, by.zone()));
            let preview = format!("/admin/notices/{id}/write/preview");
            page(
                &app,
                &by,
                &incident,
                form,
                ("Change the draft", &of_draft(&id), preview),
                None,
                false,
            )
            .await
        }
    }
}

async fn preview_new(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    let mut fields = sent.fields;
    // They change nothing in the email.
    for name in [MAY_RESOLVE, RESOLVE] {
        fields.take(name);
    }
    let shown_in = Language::parse(&fields.take(SHOW_IN)).ok();
    preview(&app, Form::read(WRITE, fields)?, incident.id, None, shown_in).await
}

async fn preview_change(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<NoticeId>,
) -> Answer<HttpResponse> {
    let (notice, _) = draft(&app, &id).await?;
    // A correction and a reminder say the same as an update to somebody else, so this shows how the text looks.
    let phase = match notice.phase {
        Phase::Correction => Phase::Update,
        phase => phase,
    };
    let mut fields = sent.fields;
    let shown_in = Language::parse(&fields.take(SHOW_IN)).ok();
    let form = Form::read(CHANGE, fields)?;
    preview(&app, form, notice.incident, Some(phase), shown_in).await
}

/// Answers with the email that the text makes, for a frame of the page: in the language of the recipient, or in another one. Nothing is
/// stored.
async fn preview(
    app: &App,
    form: Form,
    incident: IncidentId,
    phase: Option<Phase>,
    shown_in: Option<Language>,
) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let render = async |written: Written| {
        let new = written.new_notice(phase, now)?;
        rendered(app, incident, new, shown_in).await
    };
    Ok(match form.save(now, render).await? {
        Saved::Done(email) => mail_frame(with_subject(email)),
        Saved::Again(_) => mail_frame(
            "<!doctype html><html lang=\"en\"><title>Preview</title><p style=\"font:15px system-ui,sans-serif;color:#5a6570\">The email appears here when the message is written and every field can be read.</p></html>"
                .to_owned(),
        ),
    })
}

async fn rendered(
    app: &App,
    incident: IncidentId,
    new: NewNotice,
    shown_in: Option<Language>,
) -> Result<Sample> {
    let (cache, sending, now) = (app.audience_cache.clone(), app.sending.clone(), app.clock().now());
    app.db
        .read(move |conn| {
            let which = match shown_in {
                Some(language) => format!("a recipient who reads {language}"),
                None => "a recipient".to_owned(),
            };
            // The audience can be large, and the text is previewed often while it is written.
            let to = cache.get_or_compute(conn, &incident, &which, now, |conn| {
                SampleRecipient::of(conn, &incident, sending.language, shown_in)
            })?;
            notice::sample_of_text(conn, (&incident, &new), &to.value, &sending, now)
        })
        .await
}

/// Puts the subject of an email above its HTML.
fn with_subject(email: Sample) -> String {
    let line = format!(
        "<div style=\"padding:10px 16px;background:#fff;color:#1b2126;border-bottom:1px solid #dde1e5;font:14px system-ui,sans-serif\">         <strong>{}</strong></div>",
        html_escape(&email.subject)
    );
    let body = email.html.to_ascii_lowercase().find("<body");
    let at = body.and_then(|start| email.html[start..].find('>').map(|end| start + end + 1));
    let mut html = email.html;
    html.insert_str(at.unwrap_or_default(), &line);
    html
}

/// Replaces the values of the recipients with a file or a pasted text.
async fn upload(app: web::Data<App>, mut sent: Upload, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    let has_file = sent.has("file");
    // A pasted text is shown again, so that it can be corrected.
    let typed = match has_file {
        true => String::new(),
        false => sent.text("values")?,
    };
    let text = typed.clone();
    let (actor, target) = (sent.by.0.actor(), id.clone());
    let (by, file) = sent.content("file")?;
    // Reading a large file takes time, so it happens on a blocking thread.
    let lines = web::block(move || match has_file {
        true => read_values_file(file),
        false => read_values(&text),
    })
    .await
    .map_err(Error::internal)?;
    let stored = match lines {
        // Values are replaced, so a button that is pressed by mistake would remove them all.
        Ok(_) if !has_file && typed.is_empty() => {
            let detail = "must not be empty; choose a file, or paste the values";
            Err(Error::invalid("/values", detail))
        }
        Ok(lines) => {
            app.db
                .write(&actor, move |tx| values::replace(tx, &target, &lines))
                .await
        }
        Err(error) => Err(error),
    };
    match stored.map_err(with_lines) {
        Ok(given) => Ok(done(
            &app,
            &format!("/admin/notices/{id}"),
            &format!(
                "The values of {} are stored.",
                count(
                    usize::try_from(given.people).unwrap_or_default(),
                    "person",
                    "people"
                )
            ),
        )),
        Err(error) => {
            let mut form = Form::new(VALUES).with("values", typed);
            form.refused(error)?;
            let (title, status) = ("Replace the values", form.status());
            let data = json!({
                "page": Frame::new(&app, &by, title, PART), "title": title, "values": form.shown(&values_at(&id)),
            });
            app.pages.answer_with(status, "admin/notice/values-wrong", &data)
        }
    }
}

/// Where the form with the values is sent.
pub(super) fn values_at(notice: &NoticeId) -> Use<'static> {
    let page = format!("/admin/notices/{notice}");
    Use {
        action: format!("{page}/values"),
        button: "Replace values",
        within: ("Notice", page),
    }
}
