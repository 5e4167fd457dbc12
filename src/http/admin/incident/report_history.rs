//! The versions of a report with their differences, the report as a file, and the form that emails it to our own people.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::head::Reader;
use super::report as tab;
use crate::auth::Role;
use crate::base::error::Error;
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::{Filled, Wrong};
use crate::http::admin::incident_forms::find;
use crate::http::admin::params::Form;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count, link};
use crate::http::admin_page::Pages;
use crate::http::api::reports::{ReportFormat, as_format};
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident::report::{self, Audience, DiffChange};
use crate::operators::report::{self as own_report, MailReport};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/report/versions", Role::Viewer, show)
        .does(&[
            "GET /api/v1/incidents/{id}/report/versions",
            "GET /api/v1/incidents/{id}/report/versions/{version}",
            "GET /api/v1/incidents/{id}/report/diff",
        ])
        .search("/incidents/{id}/report/file", Role::Viewer, file)
        .does(&["GET /api/v1/incidents/{id}/report"])
        .send("/incidents/{id}/report/mail", Role::Operator, mail)
        .does(&["POST /api/v1/incidents/{id}/report/mail"]);
}

/// The number of versions on one page.
const ROWS: Limit = Limit(50);
/// The number of unchanged lines that are shown around a change.
const AROUND: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    from: Option<i64>,
    to: Option<i64>,
    cursor: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let ShowParams { from, to, cursor: at } = params.0;
    let before: Option<i64> = cursor(at.as_deref())?;
    let mut reader = Reader::new(&app);
    let (head, rows, diff, public) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let rows = report::list(conn, &id, before, ROWS.probe())?;
            let diff = match (from, to) {
                (Some(from), Some(to)) => Some(report::diff(conn, &id, from, to)?),
                _ => None,
            };
            let report = report::find(conn, &id, Audience::Internal)?;
            let public = report.and_then(|report| report.published_version);
            Ok((head, rows, diff, public))
        })
        .await?;
    let local = head.local(&by);
    let rows = page(rows, ROWS, |one| one.number);
    let base = format!("{}/report/versions", head.base());
    let between = |number: i64| {
        let (from, to) = ((number - 1).to_string(), number.to_string());
        link(&base, &[("from", Some(&from)), ("to", Some(&to))])
    };
    let data = json!({
        "report": format!("{}/report", head.base()),
        "rows": rows.items.iter().map(|one| json!({
            "number": one.number, "title": one.title, "size": count(one.sections.len(), "section", "sections"),
            "author": one.author, "at": When::new(one.at, local.as_ref()), "public": public == Some(one.number),
            "diff": (one.number > 1).then(|| between(one.number)),
        })).collect::<Vec<_>>(),
        "diff": diff.as_ref().map(|diff| json!({
            "from": diff.from, "to": diff.to,
            "lines": near(&diff.lines.iter().map(|line| line.change != DiffChange::Same).collect::<Vec<_>>())
                .into_iter()
                .map(|index| match index {
                    Some(index) => {
                        let line = &diff.lines[index];
                        let (sign, word) = match line.change {
                            DiffChange::Same => (" ", None),
                            DiffChange::Removed => ("-", Some("removed:")),
                            DiffChange::Added => ("+", Some("added:")),
                        };
                        json!({"class": line.change.as_str(), "sign": sign, "word": word, "text": line.text})
                    }
                    None => json!({"class": "gap", "sign": "", "word": null, "text": "…"}),
                })
                .collect::<Vec<_>>(),
        })),
        "first": at.is_some().then_some(&base),
        "next": rows.next_cursor.as_deref().map(|next| link(&base, &[("cursor", Some(next))])),
    });
    head.page(
        &app,
        &by,
        ("admin/incident/report-history", "Report"),
        StatusCode::OK,
        data,
    )
}

/// Returns the positions of the lines that changed or are near a change. None stands for lines that are left out.
fn near(changed: &[bool]) -> Vec<Option<usize>> {
    let mut shown = Vec::new();
    for index in 0..changed.len() {
        let (start, end) = (
            index.saturating_sub(AROUND),
            (index + AROUND + 1).min(changed.len()),
        );
        if changed[start..end].contains(&true) {
            shown.push(Some(index));
        } else if shown.last() != Some(&None) {
            shown.push(None);
        }
    }
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileParams {
    audience: Audience,
    format: ReportFormat,
}

async fn file(
    app: web::Data<App>,
    _: SignedIn,
    InPath(name): InPath<IncidentName>,
    params: Form<FileParams>,
) -> Answer<HttpResponse> {
    let incident = app.db.read(move |conn| find(conn, &name)).await?;
    as_format(&app, incident.id, params.0.audience, params.0.format).await
}

async fn mail(
    app: web::Data<App>,
    mut sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let typed = sent.fields.take("to");
    let Filled { by, fields } = sent;
    fields.finish()?;
    let to: Vec<String> = typed
        .split([',', ';', '\n'])
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect();
    let of = name.clone();
    let incident = app.db.read(move |conn| find(conn, &of)).await?;
    let (id, sending) = (incident.id.clone(), app.sending.clone());
    let path = format!("/admin/incidents/{}/report", incident.number);
    let addresses = to.join("\n");
    let request = MailReport { to };
    let begun = app
        .db
        .write(&actor, move |tx| own_report::begin(tx, &id, &request, &sending))
        .await;
    let outgoing = match begun {
        Ok(outgoing) => outgoing,
        // What was typed stays, with the reason for each address.
        Err(error @ Error::Invalid { .. }) => {
            let typed = tab::Typed {
                to: typed,
                addresses,
                wrong: Wrong::of(error)?,
                ..tab::Typed::default()
            };
            return tab::page(&app, &by, name, typed).await;
        }
        Err(error) => return Err(error.into()),
    };
    let mailed = own_report::send(&app.mailer, &outgoing, app.clock().now()).await?;
    let accepted = mailed.items.iter().filter(|one| one.accepted).count();
    let text = match mailed.items.iter().find(|one| !one.accepted) {
        None => format!(
            "The internal report was sent to {}.",
            count(accepted, "address", "addresses")
        ),
        Some(refused) => format!(
            "The mail server accepted {accepted} of {}. It said: {}",
            mailed.items.len(),
            refused.reply
        ),
    };
    Ok(done(&app, &path, &text))
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn lines_far_from_a_change_are_left_out() {
        let mut changed = [false; 20];
        changed[10] = true;
        let shown: Vec<Option<usize>> = [None]
            .into_iter()
            .chain((7..=13).map(Some))
            .chain([None])
            .collect();
        assert_eq!(near(&changed), shown);
        assert_eq!(near(&[false; 3]), [None]);
    }
}
