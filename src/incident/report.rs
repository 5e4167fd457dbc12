//! The post-incident report: one record for three audiences. Each section names the widest audience that may
//! read it, and is never shown to a wider one.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{incidents, reports as r};
use crate::incident;

word_enum! {
    /// Who may read a section or a report.
    Audience, "an audience" {
        /// Only people who work with Candor. They read every section.
        Internal = "internal",
        /// The affected customers. They read the sections for customers and the public sections.
        Customer = "customer",
        /// Everybody. They read only the public sections.
        Public = "public",
    }
}

impl Audience {
    /// Returns whether a section for the audience `self` may be shown to `reader`.
    fn shown_to(self, reader: Audience) -> bool {
        let width = |audience| match audience {
            Audience::Internal => 0,
            Audience::Customer => 1,
            Audience::Public => 2,
        };
        width(self) >= width(reader)
    }
}

/// A section of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// The text. Paragraphs are separated by empty lines.
    pub text: String,
    /// The widest audience that may read the section.
    pub audience: Audience,
}

/// The content of a report.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportInput {
    /// The title. Every audience reads it.
    pub title: String,
    /// The sections, in order.
    pub sections: Vec<Section>,
}

/// A report as one audience reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// The title.
    pub title: String,
    /// The sections that this audience may read.
    pub sections: Vec<Section>,
    /// The audience.
    pub audience: Audience,
    /// When the public version was last published. Null if it was never published.
    pub published_at: Option<Timestamp>,
}

/// A published report.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Published {
    /// The number of the incident.
    pub number: i64,
    /// The title.
    pub title: String,
    /// The public sections.
    pub sections: Vec<Section>,
    /// When the report was published.
    pub published_at: Timestamp,
}

type ReportRow = (
    String,
    String,
    String,
    Option<String>,
    Option<Timestamp>,
    Timestamp,
);

/// Returns the report of an incident as `reader` may read it, or None if there is no report.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn find(conn: &mut Conn, incident: &IncidentId, reader: Audience) -> Result<Option<Report>> {
    incident::get(conn, incident)?;
    let Some((_, title, sections, _, published_at, _)) = r::table
        .find(incident.as_str())
        .first::<ReportRow>(conn)
        .optional()?
    else {
        return Ok(None);
    };
    let sections: Vec<Section> = serde_json::from_str(&sections)?;
    let sections = sections
        .into_iter()
        .filter(|section| section.audience.shown_to(reader))
        .collect();
    Ok(Some(Report {
        title,
        sections,
        audience: reader,
        published_at,
    }))
}

/// Returns the report of an incident as `reader` may read it.
///
/// # Errors
/// `NotFound` if the incident does not exist or has no report.
pub fn get(conn: &mut Conn, incident: &IncidentId, reader: Audience) -> Result<Report> {
    find(conn, incident, reader)?.ok_or_else(|| Error::NotFound("the report of this incident".to_owned()))
}

/// Stores the report of an incident and replaces an earlier one.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with one error for each wrong field.
pub fn put(tx: &mut Tx<'_>, id: &IncidentId, input: &ReportInput) -> Result<Report> {
    let mut errors = Vec::new();
    if input.title.trim().is_empty() {
        errors.push(FieldError::at("/title", "must not be empty"));
    }
    if input.title.chars().count() > 300 || input.title.chars().any(char::is_control) {
        errors.push(FieldError::at(
            "/title",
            "must be one line of at most 300 characters",
        ));
    }
    if input.sections.is_empty() || input.sections.len() > 50 {
        errors.push(FieldError::at("/sections", "must be 1 to 50 sections"));
    }
    for (index, section) in input.sections.iter().enumerate() {
        if section.heading.trim().is_empty() {
            errors.push(FieldError::at(
                format!("/sections/{index}/heading"),
                "must not be empty",
            ));
        }
        check_text(
            &mut errors,
            &format!("/sections/{index}/heading"),
            &section.heading,
        );
        check_text(&mut errors, &format!("/sections/{index}/text"), &section.text);
    }
    if !errors.is_empty() {
        return Err(Error::fields(errors));
    }
    let before = find(tx.conn, id, Audience::Internal)?;
    let sections = serde_json::to_string(&input.sections)?;
    let row = (
        r::incident_id.eq(id.as_str()),
        r::title.eq(input.title.trim()),
        r::sections.eq(&sections),
        r::updated_at.eq(tx.now),
    );
    on_backend!(&mut *tx.conn, c => diesel::insert_into(r::table)
        .values(row)
        .on_conflict(r::incident_id)
        .do_update()
        .set((r::title.eq(input.title.trim()), r::sections.eq(&sections), r::updated_at.eq(tx.now)))
        .execute(c))?;
    let event = Event::new(Action::ReportWritten, "report", id.as_str())
        .incident(id)
        .after(json!({"title": input.title, "sections": input.sections}));
    tx.record(match before {
        Some(old) => event.before(json!({"title": old.title, "sections": old.sections})),
        None => event,
    });
    get(tx.conn, id, Audience::Internal)
}

/// Publishes the current public version. Later changes become public only when it is published again.
///
/// # Errors
/// `NotFound` if the incident does not exist or has no report. `Invalid` if no section is public. `Conflict` if the incident is a
/// drill.
pub fn publish(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Report> {
    if super::get(tx.conn, id)?.drill {
        let detail = "the report of a drill is not published";
        return Err(Error::Conflict(detail.to_owned()));
    }
    let report = get(tx.conn, id, Audience::Public)?;
    if report.sections.is_empty() {
        return Err(Error::invalid(
            "/sections",
            "has no section with the audience public, so there is nothing to publish",
        ));
    }
    let published = serde_json::to_string(&(&report.title, &report.sections))?;
    diesel::update(r::table.find(id.as_str()))
        .set((
            r::published.eq(Some(&published)),
            r::published_at.eq(Some(tx.now)),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::ReportPublished, "report", id.as_str())
            .incident(id)
            .after(json!({"title": report.title, "sections": report.sections})),
    );
    get(tx.conn, id, Audience::Public)
}

/// Returns the published reports, newest first.
pub fn published(conn: &mut Conn, limit: i64) -> Result<Vec<Published>> {
    let rows: Vec<(i64, Option<String>, Option<Timestamp>)> = r::table
        .inner_join(incidents::table.on(incidents::id.eq(r::incident_id)))
        .filter(r::published_at.is_not_null())
        .order(r::published_at.desc())
        .limit(limit)
        .select((incidents::number, r::published, r::published_at))
        .load(conn)?;
    rows.into_iter()
        .filter_map(|(number, text, at)| Some((number, text?, at?)))
        .map(|(number, text, published_at)| {
            let (title, sections) = serde_json::from_str(&text)?;
            Ok(Published {
                number,
                title,
                sections,
                published_at,
            })
        })
        .collect()
}
