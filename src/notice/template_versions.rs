//! The versions of the template of each phase: the list, and the return to one of them. A version that is restored is saved again,
//! with all checks, as a new version.

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::templates::{self, Checked, Stored, TemplateView};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::lock_templates;
use crate::db::schema::{template_versions as v, templates as t};
use crate::notice::template::{Phase, Source, TemplateTexts};

/// A version of a template, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TemplateVersion {
    /// The number of the version, from 1 for each phase.
    pub number: i64,
    /// The ID of the content, which is a hash of it.
    pub id: String,
    /// Whether this version was the return to the built-in template.
    pub builtin: bool,
    /// Whether the next notices use this content.
    pub current: bool,
    /// Who saved the version. Null if it was saved by a release that did not number the versions.
    pub saved_by: Option<String>,
    /// When the version was saved.
    pub saved_at: Timestamp,
    /// The subject, which is one line.
    pub subject: String,
    /// The template of the plain text body in this version.
    pub text: String,
    /// The template of the HTML body in this version.
    pub html: String,
    /// What the readers of single languages get instead, by language.
    pub languages: BTreeMap<Language, TemplateTexts>,
}

type VersionRow = (i64, String, bool, Option<String>, Timestamp, Stored);

fn view(row: VersionRow, current: &TemplateView) -> Result<TemplateVersion> {
    let (number, id, builtin, saved_by, saved_at, stored) = row;
    let Source {
        subject,
        text,
        html,
        languages,
    } = templates::source(stored)?;
    Ok(TemplateVersion {
        current: id == current.id,
        number,
        id,
        builtin,
        saved_by,
        saved_at,
        subject,
        text,
        html,
        languages,
    })
}

/// Returns the versions of a phase, newest first, before the given number.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, phase: Phase, before: Option<i64>, limit: i64) -> Result<Vec<TemplateVersion>> {
    let current = templates::current(conn, phase)?;
    let rows: Vec<VersionRow> = v::table
        .inner_join(t::table.on(t::id.eq(v::template_id)))
        .filter(v::phase.eq(phase.as_str()))
        .filter(v::number.lt(before.unwrap_or(i64::MAX)))
        .order(v::number.desc())
        .limit(limit)
        .select((
            v::number,
            v::template_id,
            v::builtin,
            v::saved_by,
            v::saved_at,
            (t::subject, t::body_text, t::body_html, t::languages),
        ))
        .load(conn)?;
    rows.into_iter().map(|row| view(row, &current)).collect()
}

/// Returns one version.
///
/// # Errors
/// `NotFound` if the phase has no version with this number.
pub fn get(conn: &mut Conn, phase: Phase, number: i64) -> Result<TemplateVersion> {
    let after = number.checked_add(1);
    list(conn, phase, after, 1)?
        .into_iter()
        .find(|version| version.number == number)
        .ok_or_else(|| Error::NotFound(format!("version {number} of the {phase} template")))
}

impl TemplateVersion {
    /// Returns the content of the version.
    pub fn source(&self) -> Source {
        Source {
            languages: self.languages.clone(),
            ..Source::new(&self.subject, &self.text, &self.html)
        }
    }
}

/// Makes a version the current one again. `checked` is its content, which was checked with the rules of today.
///
/// # Errors
/// `Conflict` if its content is the current one already.
pub fn restore(tx: &mut Tx<'_>, phase: Phase, number: i64, checked: &Checked) -> Result<TemplateView> {
    lock_templates(tx.conn)?;
    let version = get(tx.conn, phase, number)?;
    let current = templates::current(tx.conn, phase)?;
    if current.id == version.id {
        let why = format!("version {number} is the current template already");
        return Err(Error::Conflict(why));
    }
    let restored = if version.id == Source::builtin(phase).id(phase) {
        templates::reset(tx, phase)?;
        templates::current(tx.conn, phase)?
    } else {
        templates::save(tx, checked)?
    };
    tx.record(
        Event::new(Action::TemplateRestored, "template", phase.as_str()).after(json!({"version": number})),
    );
    Ok(restored)
}
