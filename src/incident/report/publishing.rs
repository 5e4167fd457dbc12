//! What the public reads of a report: it is published, corrected with a note that readers see, and taken back.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::stored::{Audience, Correction, Report, Section, get, row};
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{incidents, reports as r};

/// The longest note about a correction, in characters.
const MAX_NOTE: usize = 1_000;

/// How a report is published. Everything can be left out.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PublishReport)]
pub struct Publish {
    /// What is corrected, if a report that was published before contained a mistake. Everybody who reads the report sees this note.
    #[serde(default)]
    pub note: Option<String>,
    /// Whether the public sections may contain the names of operators. Without it, such a report is not published.
    #[serde(default)]
    pub allow_names: bool,
}

/// A published report, as it was when an operator published it. Later changes of the report are not in it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Published {
    /// The number of the incident.
    pub number: i64,
    /// The title of the report when it was published.
    pub title: String,
    /// The sections for the public that had a text when the report was published, in order.
    pub sections: Vec<Section>,
    /// When the report was published.
    pub published_at: Timestamp,
    /// The corrections, oldest first.
    pub corrections: Vec<Correction>,
}

/// Publishes the current public version. Later changes become public only when it is published again.
///
/// # Errors
/// `NotFound` if the incident does not exist or has no report. `Invalid` if no section is public, or if a correction is noted of a report
/// that was never published. `Conflict` if the incident is a drill.
pub fn publish(tx: &mut Tx<'_>, id: &IncidentId, how: &Publish) -> Result<Report> {
    if crate::incident::get(tx.conn, id)?.drill {
        let detail = "the report of a drill is not published";
        return Err(Error::Conflict(detail.to_owned()));
    }
    let report = get(tx.conn, id, Audience::Public)?;
    if report.sections.is_empty() {
        return Err(Error::invalid(
            "/sections",
            "have none with the audience public, so there is nothing to publish",
        ));
    }
    let first = row(tx.conn, id)?.and_then(|row| row.first_published_at);
    let note = how.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
    let mut corrections = report.corrections.clone();
    if let Some(note) = note {
        let mut errors = Vec::new();
        check_text(&mut errors, "/note", note);
        if note.chars().count() > MAX_NOTE {
            errors.push(FieldError::at(
                "/note",
                format!("is longer than {MAX_NOTE} characters"),
            ));
        }
        if first.is_none() {
            errors.push(FieldError::at(
                "/note",
                "is only for a report that was published before",
            ));
        }
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        corrections.push(Correction {
            at: tx.now,
            note: note.to_owned(),
        });
    }
    let published = serde_json::to_string(&(&report.title, &report.sections))?;
    diesel::update(r::table.find(id.as_str()))
        .set((
            r::published.eq(Some(&published)),
            r::published_at.eq(Some(tx.now)),
            r::published_version.eq(Some(report.version)),
            r::first_published_at.eq(Some(first.unwrap_or(tx.now))),
            r::corrections.eq(serde_json::to_string(&corrections)?),
        ))
        .execute(tx.conn)?;
    let action = match note {
        Some(_) => Action::ReportCorrected,
        None => Action::ReportPublished,
    };
    tx.record(
        Event::new(action, "report", id.as_str())
            .incident(id)
            .after(json!({
                "title": report.title, "sections": report.sections, "version": report.version, "note": note,
                "names_allowed": how.allow_names,
            })),
    );
    get(tx.conn, id, Audience::Public)
}

/// Takes the published version back, so that nobody outside reads it any more. The report itself stays.
///
/// # Errors
/// `NotFound` if the incident does not exist or has no report. `Conflict` if the report is not published.
pub fn unpublish(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Report> {
    let before = get(tx.conn, id, Audience::Public)?;
    let Some(published_at) = before.published_at else {
        return Err(Error::Conflict("the report is not published".to_owned()));
    };
    diesel::update(r::table.find(id.as_str()))
        .set((
            r::published.eq(None::<String>),
            r::published_at.eq(None::<Timestamp>),
            r::published_version.eq(None::<i64>),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::ReportUnpublished, "report", id.as_str())
            .incident(id)
            .before(json!({"published_at": published_at})),
    );
    get(tx.conn, id, Audience::Internal)
}

/// Returns the published reports, newest first.
pub fn published(conn: &mut Conn, limit: i64) -> Result<Vec<Published>> {
    let rows: Vec<(i64, Option<String>, Option<Timestamp>, String)> = r::table
        .inner_join(incidents::table.on(incidents::id.eq(r::incident_id)))
        .filter(r::published_at.is_not_null())
        .order(r::published_at.desc())
        .limit(limit)
        .select((incidents::number, r::published, r::published_at, r::corrections))
        .load(conn)?;
    rows.into_iter()
        .filter_map(|(number, text, at, corrections)| Some((number, text?, at?, corrections)))
        .map(|(number, text, published_at, corrections)| {
            let (title, sections) = serde_json::from_str(&text)?;
            Ok(Published {
                number,
                title,
                sections,
                published_at,
                corrections: serde_json::from_str(&corrections)?,
            })
        })
        .collect()
}
