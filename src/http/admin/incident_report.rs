//! The report of an incident: what its page shows, and the editor. The editor has all sections of the three audiences in one form, and shows beside it what each
//! audience reads. It does what the API does, with the same role.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::done::done;
use super::filled::{Fields, Filled, Wrong};
use super::frame::Frame;
use super::incident_forms::find;
use super::signed_in::SignedIn;
use super::version;
use super::view::{When, count, cut};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::problem::Answer;
use crate::http::report_blocks::shown;
use crate::incident::Incident;
use crate::incident::report::{self, Audience, Report, ReportInput, Section, SectionKind};
use crate::notice::report_draft;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/incidents/{id}/report/edit", Role::Operator, edit)
        .does(&[
            "GET /api/v1/incidents/{id}/report",
            "GET /api/v1/incidents/{id}/report/draft",
        ])
        .send("/incidents/{id}/report/edit", Role::Operator, save)
        .keeps_text("Save the report")
        .does(&["PUT /api/v1/incidents/{id}/report"]);
}

/// The largest number of sections of a report.
const MOST: usize = 50;
/// The number of empty sections at the end of the form.
const EMPTY: usize = 2;

const AUDIENCES: [Audience; 3] = [Audience::Internal, Audience::Customer, Audience::Public];

fn readers(audience: Audience) -> (&'static str, &'static str) {
    match audience {
        Audience::Internal => ("Internal", "our own team"),
        Audience::Customer => ("Customers", "the affected customers, by the report notice"),
        Audience::Public => ("Public", "everybody, on the public page once it is published"),
    }
}

fn word(audience: Audience) -> &'static str {
    match audience {
        Audience::Internal => "internal",
        Audience::Customer => "for customers",
        Audience::Public => "public",
    }
}

/// Returns what one audience reads.
fn version(report: &Report) -> Value {
    let (label, readers) = readers(report.audience);
    json!({
        "label": label, "readers": readers,
        "size": count(report.sections.len(), "section", "sections"),
        "sections": report.sections.iter().map(|section| json!({
            "heading": section.heading, "blocks": shown(&section.text), "audience": word(section.audience),
        })).collect::<Vec<_>>(),
    })
}

/// Returns the report of an incident for the partial `admin/incident/report`. `reports` is what each audience reads, none if there
/// is no report.
pub(super) fn section(incident: &Incident, reports: &[Report], local: Option<&TimeZone>) -> Value {
    let base = format!("/admin/incidents/{}/report", incident.number);
    let published = reports.first().and_then(|report| report.published_at);
    let has_public = reports
        .iter()
        .any(|report| report.audience == Audience::Public && !report.sections.is_empty());
    let ask = |label: &str, button: &str, text: &str, last: &str| json!({"label": label, "button": button, "text": text, "action": format!("{base}/{last}"), "fields": []});
    json!({
        "title": reports.first().map(|report| &report.title),
        "versions": reports.iter().map(version).collect::<Vec<_>>(),
        "published": When::maybe(published, local),
        "corrections": reports.first().map(|report| &report.corrections[..]).unwrap_or_default().iter().map(|one| json!({
            "note": one.note, "at": When::new(one.at, local),
        })).collect::<Vec<_>>(),
        "version": reports.first().map(|report| report.version),
        // What is public is not the newest version.
        "behind": reports.first().filter(|report| report.published_at.is_some()).and_then(|report| {
            report.published_version.filter(|public| *public != report.version)
        }),
        "history": format!("{base}/versions"),
        "files": reports.iter().map(|report| {
            let path = format!("{base}/file?audience={}", report.audience.as_str());
            json!({"label": readers(report.audience).0, "html": format!("{path}&format=html"), "md": format!("{path}&format=md")})
        }).collect::<Vec<_>>(),
        "mail": format!("{base}/mail"),
        "correct": (has_public && published.is_some() && !incident.drill).then(|| format!("{base}/publish")),
        "edit": format!("{base}/edit"),
        "publish": (has_public && !incident.drill).then(|| ask(
            if published.is_some() { "Publish the changes …" } else { "Publish …" },
            "Publish the public version",
            "Everybody can read the public sections on the public page. Customers get no email by this.",
            "publish",
        )),
        "unpublish": published.is_some().then(|| ask(
            "Unpublish …", "Take the report back", "Nobody outside reads the report any more. It stays here, and you can publish it again.", "unpublish",
        )),
    })
}

/// Returns the report of an incident as each audience reads it.
pub(super) fn versions(conn: &mut crate::db::Conn, incident: &Incident) -> Result<Vec<Report>> {
    AUDIENCES
        .into_iter()
        .filter_map(|reader| report::find(conn, &incident.id, reader).transpose())
        .collect()
}

/// A section as it was typed.
#[derive(Clone, Default)]
struct Typed {
    kind: String,
    heading: String,
    text: String,
    audience: String,
}

async fn found(app: &App, name: IncidentName) -> Answer<(Incident, Vec<Report>)> {
    Ok(app
        .db
        .read(move |conn| {
            let incident = find(conn, &name)?;
            let reports = versions(conn, &incident)?;
            Ok((incident, reports))
        })
        .await?)
}

/// The version of a report for the form, so that a newer change is not replaced by accident.
fn version_of(report: Option<&Report>) -> String {
    let text = report.map(|report| json!([report.title, report.sections]).to_string());
    version::of(std::iter::once(text.as_deref().unwrap_or_default()))
}

async fn edit(app: web::Data<App>, by: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let (incident, reports) = found(&app, name).await?;
    let input = match reports.first() {
        Some(report) => ReportInput {
            title: report.title.clone(),
            sections: report.sections.clone(),
        },
        None => {
            let id = incident.id.clone();
            app.db
                .read(move |conn| report_draft::prefilled(conn, &id))
                .await?
        }
    };
    let sections = input
        .sections
        .into_iter()
        .map(|section| Typed {
            kind: section
                .kind
                .map(SectionKind::as_str)
                .unwrap_or_default()
                .to_owned(),
            heading: section.heading,
            text: section.text,
            audience: section.audience.as_str().to_owned(),
        })
        .collect();
    page(
        &app,
        &by,
        &incident,
        &reports,
        &input.title,
        sections,
        Wrong::default(),
    )
}

fn page(
    app: &App,
    by: &SignedIn,
    incident: &Incident,
    reports: &[Report],
    title: &str,
    mut sections: Vec<Typed>,
    mut wrong: Wrong,
) -> Answer<HttpResponse> {
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let failed = !wrong.is_empty();
    let room = (sections.len() + EMPTY).min(MOST);
    sections.resize(room, Typed::default());
    let rows: Vec<Value> = sections
        .iter()
        .enumerate()
        .map(|(index, section)| {
            let errors = |wrong: &mut Wrong, field: &str| wrong.at(&format!("/sections/{index}/{field}"));
            let chosen = match section.audience.is_empty() {
                true => Audience::Internal.as_str(),
                false => &section.audience,
            };
            json!({
                "index": index, "number": index + 1, "kind": section.kind, "heading": section.heading, "text": section.text,
                "rows": section.text.lines().count().clamp(4, 14),
                "wrong_heading": errors(&mut wrong, "heading"), "wrong_text": errors(&mut wrong, "text"),
                "wrong_audience": errors(&mut wrong, "audience"),
                "audiences": AUDIENCES.map(|one| json!({
                    "value": one.as_str(), "label": readers(one).0, "selected": one.as_str() == chosen,
                })),
            })
        })
        .collect();
    let wrong_title = wrong.at("/title");
    let base = format!("/admin/incidents/{}", incident.number);
    let data = json!({
        "page": Frame::new(app, by, &format!("Report of #{}", incident.number), "Incidents"),
        "incident": format!("#{} {}", incident.number, cut(&incident.title, 80)), "base": base,
        "version": version_of(reports.first()), "title": title, "wrong_title": wrong_title, "rows": rows, "failed": failed, "others": wrong.rest(),
        "report": section(incident, reports, None),
    });
    app.pages.answer_with(status, "admin/report", &data)
}

/// Reads the sections of the form. A section without heading and text is left out.
fn read(fields: &mut Fields) -> Vec<Typed> {
    (0..MOST)
        .map(|index| Typed {
            kind: fields.take(&format!("kind_{index}")),
            heading: fields.take(&format!("heading_{index}")),
            text: fields.take(&format!("text_{index}")),
            audience: fields.take(&format!("audience_{index}")),
        })
        .filter(|typed| !typed.heading.is_empty() || !typed.text.is_empty())
        .collect()
}

async fn save(app: web::Data<App>, sent: Filled, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let (title, typed, opened) = (fields.take("title"), read(&mut fields), fields.take("version"));
    fields.finish()?;
    let (incident, _) = found(&app, name.clone()).await?;
    let mut wrong = Wrong::default();
    let mut sections = Vec::new();
    for (index, one) in typed.iter().enumerate() {
        let kind = match one.kind.as_str() {
            "" => None,
            kind => Some(
                SectionKind::parse(kind)
                    .map_err(|detail| Error::invalid(format!("/sections/{index}/kind"), detail))?,
            ),
        };
        match Audience::parse(&one.audience) {
            Ok(audience) => sections.push(Section {
                kind,
                heading: one.heading.clone(),
                text: one.text.clone(),
                audience,
            }),
            Err(_) => wrong.add(
                format!("/sections/{index}/audience"),
                "must be one of the three audiences",
            ),
        }
    }
    if wrong.is_empty() {
        let (id, title) = (incident.id.clone(), title.clone());
        let input = ReportInput { title, sections };
        let stored = app
            .db
            .write(&actor, move |tx| {
                let now = report::find(tx.conn, &id, Audience::Internal)?;
                version::check(opened.is_empty() || opened == version_of(now.as_ref()))?;
                report::put(tx, &id, &input)
            })
            .await;
        match stored {
            Ok(_) => {
                let path = format!("/admin/incidents/{}/report/edit", incident.number);
                return Ok(done(
                    &app,
                    &path,
                    "The report is saved. It is not published by this.",
                ));
            }
            Err(error) => wrong = Wrong::of(error)?,
        }
    }
    // The versions beside the form are those that are stored now.
    let (incident, reports) = found(&app, name).await?;
    page(&app, &by, &incident, &reports, &title, typed, wrong)
}
