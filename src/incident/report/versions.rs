//! Every version of a report that was saved, and the difference between two of them.

use diesel::prelude::*;
use serde::Serialize;

use super::stored::Section;
use crate::base::diff::{self, DiffLine};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::report_versions as v;
use crate::incident;

/// A version of a report, with all its sections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReportVersion {
    /// The number of the version, from 1.
    pub number: i64,
    /// The title of the report in this version.
    pub title: String,
    /// All sections, with the audience of each.
    pub sections: Vec<Section>,
    /// The name of the token that saved the version.
    pub author: String,
    /// When it was saved.
    pub at: Timestamp,
}

word_enum! {
    /// What happened to a line between two versions.
    #[schema(as = ReportLineChange)]
    DiffChange, "a change of a line" {
        /// The line is in both.
        Same = "same",
        /// The line is only in the earlier version.
        Removed = "removed",
        /// The line is only in the later version.
        Added = "added",
    }
}

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReportLine {
    /// What happened to it.
    pub change: DiffChange,
    /// The text of the line, without the line break.
    pub text: String,
}

/// The difference between two versions of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReportDiff {
    /// The number of the earlier version.
    pub from: i64,
    /// The number of the later version.
    pub to: i64,
    /// The lines of both, in order. A heading is a line with its audience.
    pub lines: Vec<ReportLine>,
}

type Row = (i64, String, String, String, Timestamp);

fn view((number, title, sections, author, at): Row) -> Result<ReportVersion> {
    Ok(ReportVersion {
        number,
        title,
        sections: serde_json::from_str(&sections)?,
        author,
        at,
    })
}

/// Returns the versions of a report before the given number, newest first.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    incident: &IncidentId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ReportVersion>> {
    incident::get(conn, incident)?;
    let rows: Vec<Row> = v::table
        .filter(v::incident_id.eq(incident.as_str()))
        .filter(v::number.lt(before.unwrap_or(i64::MAX)))
        .order(v::number.desc())
        .limit(limit)
        .select((v::number, v::title, v::sections, v::author, v::at))
        .load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Returns a version of a report.
///
/// # Errors
/// `NotFound` if there is none with this number.
pub fn version(conn: &mut Conn, incident: &IncidentId, number: i64) -> Result<ReportVersion> {
    let row: Option<Row> = v::table
        .find((incident.as_str(), number))
        .select((v::number, v::title, v::sections, v::author, v::at))
        .first(conn)
        .optional()?;
    row.ok_or_else(|| Error::NotFound(format!("version {number} of the report of this incident")))
        .and_then(view)
}

/// Returns the difference between two versions of a report.
///
/// # Errors
/// `NotFound` if one of them does not exist. `Invalid` if the first one is not the earlier one.
pub fn diff(conn: &mut Conn, incident: &IncidentId, from: i64, to: i64) -> Result<ReportDiff> {
    if from >= to {
        return Err(Error::invalid("?from", "must be lower than 'to'"));
    }
    let before = text(&version(conn, incident, from)?);
    let after = text(&version(conn, incident, to)?);
    let line = |line: DiffLine<'_>| {
        let (change, text) = match line {
            DiffLine::Same(text) => (DiffChange::Same, text),
            DiffLine::Removed(text) => (DiffChange::Removed, text),
            DiffLine::Added(text) => (DiffChange::Added, text),
        };
        ReportLine {
            change,
            text: text.to_owned(),
        }
    };
    Ok(ReportDiff {
        from,
        to,
        lines: diff::lines(&before, &after).into_iter().map(line).collect(),
    })
}

/// The whole version as one text, so that two of them can be compared line by line.
fn text(version: &ReportVersion) -> String {
    let mut text = format!("# {}\n", version.title);
    for section in &version.sections {
        let audience = section.audience;
        text.push_str(&format!(
            "\n## {} ({audience})\n\n{}\n",
            section.heading,
            section.text.trim()
        ));
    }
    text
}
