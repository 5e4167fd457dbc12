//! The report and its sections, as they are stored and as each audience reads them.

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
use crate::db::dialect::{self, Lock, on_backend};
use crate::db::schema::{report_versions as v, reports as r};
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

word_enum! {
    /// What a section is about. Candor prefills the sections with a kind from the record.
    #[schema(as = ReportSectionKind)]
    SectionKind, "a kind of section" {
        /// What happened, in a few sentences.
        Summary = "summary",
        /// Who and what was affected, and for how long.
        Impact = "impact",
        /// The timeline: what happened at which time.
        Timeline = "timeline",
        /// How the incident was detected.
        Detection = "detection",
        /// The root causes: why the incident happened.
        RootCauses = "root_causes",
        /// What went well in the response to the incident.
        WentWell = "went_well",
        /// What went wrong in the response to the incident.
        WentWrong = "went_wrong",
        /// Where we got lucky.
        Lucky = "lucky",
        /// What is done so that it does not happen again.
        ActionItems = "action_items",
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
    /// What the section is about. It can be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SectionKind>,
    /// The heading of the section. It must not be empty.
    pub heading: String,
    /// The text. Paragraphs are separated by empty lines. Lines that begin with `- `, with `1. ` or with `|` are a list, a numbered list or a
    /// table.
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
    /// The title of the report. Every audience reads it.
    pub title: String,
    /// The sections that this audience may read.
    pub sections: Vec<Section>,
    /// The audience that reads this report: `internal`, `customer` or `public`.
    pub audience: Audience,
    /// When the public version was last published. Null if it is not published.
    pub published_at: Option<Timestamp>,
    /// The number of the current version. Each change makes the next one.
    pub version: i64,
    /// The number of the version that is public. Null if the report is not published, or was published by an earlier version of Candor.
    pub published_version: Option<i64>,
    /// The corrections of the published report, oldest first. Everybody who reads it sees them.
    pub corrections: Vec<Correction>,
}

/// A correction of a published report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ReportCorrection)]
pub struct Correction {
    /// When the corrected report was published.
    pub at: Timestamp,
    /// What was corrected, as an operator wrote it, in at most 1,000 characters.
    pub note: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = r)]
pub(super) struct ReportRow {
    title: String,
    sections: String,
    pub(super) published_at: Option<Timestamp>,
    version: i64,
    published_version: Option<i64>,
    pub(super) first_published_at: Option<Timestamp>,
    corrections: String,
}

/// Returns the stored row of a report.
pub(super) fn row(conn: &mut Conn, incident: &IncidentId) -> Result<Option<ReportRow>> {
    Ok(r::table
        .find(incident.as_str())
        .select(ReportRow::as_select())
        .first(conn)
        .optional()?)
}

/// Returns the report of an incident as `reader` may read it, or None if there is no report.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn find(conn: &mut Conn, incident: &IncidentId, reader: Audience) -> Result<Option<Report>> {
    incident::get(conn, incident)?;
    let Some(row) = row(conn, incident)? else {
        return Ok(None);
    };
    let sections: Vec<Section> = serde_json::from_str(&row.sections)?;
    Ok(Some(Report {
        title: row.title,
        sections: for_reader(sections, reader),
        audience: reader,
        published_at: row.published_at,
        version: row.version,
        published_version: row.published_version,
        corrections: serde_json::from_str(&row.corrections)?,
    }))
}

/// Returns the sections that an audience may read. A section without text is for our own team only.
pub(super) fn for_reader(sections: Vec<Section>, reader: Audience) -> Vec<Section> {
    sections
        .into_iter()
        .filter(|section| section.audience.shown_to(reader))
        .filter(|section| reader == Audience::Internal || !section.text.trim().is_empty())
        .collect()
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
    // Two changes at once must not get one number.
    dialect::lock(tx.conn, Lock::Incident, id.as_str())?;
    let before = find(tx.conn, id, Audience::Internal)?;
    let title = input.title.trim();
    let number = match &before {
        None => 1,
        Some(old) if old.title == title && old.sections == input.sections => old.version,
        Some(old) => old.version + 1,
    };
    let sections = serde_json::to_string(&input.sections)?;
    let row = (
        r::incident_id.eq(id.as_str()),
        r::title.eq(title),
        r::sections.eq(&sections),
        r::updated_at.eq(tx.now),
        r::version.eq(number),
    );
    on_backend!(&mut *tx.conn, c => diesel::insert_into(r::table)
        .values(row)
        .on_conflict(r::incident_id)
        .do_update()
        .set((
            r::title.eq(title),
            r::sections.eq(&sections),
            r::updated_at.eq(tx.now),
            r::version.eq(number),
        ))
        .execute(c))?;
    if before.as_ref().is_none_or(|old| old.version != number) {
        diesel::insert_into(v::table)
            .values((
                v::incident_id.eq(id.as_str()),
                v::number.eq(number),
                v::title.eq(title),
                v::sections.eq(&sections),
                v::author.eq(tx.actor.name()),
                v::at.eq(tx.now),
            ))
            .execute(tx.conn)?;
    }
    let event = Event::new(Action::ReportWritten, "report", id.as_str())
        .incident(id)
        .after(json!({"title": input.title, "sections": input.sections, "version": number}));
    tx.record(match before {
        Some(old) => event.before(json!({"title": old.title, "sections": old.sections})),
        None => event,
    });
    get(tx.conn, id, Audience::Internal)
}
