//! Changes the fields of an incident, both for a person and for the group of a sender.

use diesel::prelude::*;
use serde::Deserialize;

use super::check::{check_order, check_owner, check_past, check_title};
use super::stored::{Incident, Severity, get};
use super::timeline;
use crate::audit::{Action, Event, Tx};
use crate::base::check::{Check, check_headline, check_text};
use crate::base::error::{FieldError, Result};
use crate::base::given::given;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::db::schema::incidents as i;

/// A change of an incident. Fields that are left out do not change.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentPatch {
    /// The new title, of at most 300 characters, for the people who work on the incident. Afterwards no alert changes the title.
    pub title: Option<String>,
    /// The new severity: `critical`, `major` or `minor`.
    pub severity: Option<Severity>,
    /// The new description for the people who work on the incident, of at most 20,000 characters.
    pub summary: Option<String>,
    /// The new start time. From then on, alerts no longer move the start time.
    pub started_at: Option<Timestamp>,
    /// The new time of detection.
    pub detected_at: Option<Timestamp>,
    /// The new IANA time zone.
    pub time_zone: Option<String>,
    /// This cannot be changed. A value is an error.
    #[schema(ignore)]
    pub drill: Option<serde_json::Value>,
    /// The new headline for customers, of at most 120 characters. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub headline: Option<Option<String>>,
    /// The person or team that leads the work, of at most 120 characters. Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Option<String>>,
}

pub(super) fn store(tx: &mut Tx<'_>, id: &IncidentId, patch: &IncidentPatch) -> Result<Incident> {
    let mut check = Check::default();
    if let Some(title) = &patch.title {
        check_title(&mut check.errors, title);
    }
    if let Some(summary) = &patch.summary {
        check_text(&mut check.errors, "/summary", summary);
    }
    check_headline(
        &mut check.errors,
        patch.headline.iter().flatten().next().map(String::as_str),
    );
    check_owner(
        &mut check.errors,
        patch.owner.iter().flatten().next().map(String::as_str),
    );
    check.time_zone("/time_zone", patch.time_zone.as_deref());
    check_past(&mut check.errors, "/started_at", patch.started_at, tx.now);
    check_past(&mut check.errors, "/detected_at", patch.detected_at, tx.now);
    if patch.drill.is_some() {
        let detail = "cannot be changed: whether an incident is a drill is decided when it is opened";
        check.errors.push(FieldError::at("/drill", detail));
    }
    check.finish()?;
    dialect::lock(tx.conn, dialect::Lock::Incident, id.as_str())?;
    let before = get(tx.conn, id)?;
    let after = Incident {
        title: patch
            .title
            .as_deref()
            .map_or(before.title.clone(), |title| title.trim().to_owned()),
        severity: patch.severity.unwrap_or(before.severity),
        summary: patch.summary.clone().or(before.summary.clone()),
        started_at: patch.started_at.unwrap_or(before.started_at),
        detected_at: patch.detected_at.unwrap_or(before.detected_at),
        time_zone: patch.time_zone.clone().or(before.time_zone.clone()),
        headline: match &patch.headline {
            Some(headline) => headline.as_deref().map(|headline| headline.trim().to_owned()),
            None => before.headline.clone(),
        },
        owner: match &patch.owner {
            Some(owner) => owner.as_deref().map(|owner| owner.trim().to_owned()),
            None => before.owner.clone(),
        },
        updated_at: tx.now,
        ..before.clone()
    };
    if patch.started_at.is_some() {
        check_order(after.started_at, before.resolved_at, "/started_at")?;
    }
    diesel::update(i::table.find(id.as_str()))
        .set((
            i::title.eq(&after.title),
            i::severity.eq(after.severity.as_str()),
            i::summary.eq(&after.summary),
            i::started_at.eq(after.started_at),
            i::detected_at.eq(after.detected_at),
            i::time_zone.eq(&after.time_zone),
            i::headline.eq(&after.headline),
            i::owner.eq(&after.owner),
            i::updated_at.eq(after.updated_at),
        ))
        .execute(tx.conn)?;
    if after.owner != before.owner {
        let text = match &after.owner {
            Some(owner) => format!("Owner: {owner}"),
            None => "The incident has no owner any more".to_owned(),
        };
        timeline::note(tx, id, timeline::Kind::Note, tx.now, &text)?;
    }
    tx.record(
        Event::new(Action::IncidentChanged, "incident", id.as_str())
            .incident(id)
            .before(serde_json::to_value(&before)?)
            .after(serde_json::to_value(&after)?),
    );
    Ok(after)
}
