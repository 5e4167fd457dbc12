//! Mutes: silences and maintenance windows, which are times in which an alert opens no incident. In the code, a mute is
//! one of the two. The database and the paths of the pages call it `quiet`.
//!
//! A silenced alert is only recorded. An alert in a maintenance window joins the open incident that it
//! belongs to, and opens none. Each alert stores which silence or maintenance window covered it. A silence or
//! maintenance window that has ended stays as history.
//!
//! No silence or maintenance window covers every alert, none lasts forever, and none hides a problem of a
//! resource that it does not name.

mod manage;
mod period;

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::matcher::{Budget, Matchers, Subject};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::quiet_periods as q;
use crate::directory::resource;
pub use manage::{MAX_RESOURCES, check_silence, check_window, end, get, list, open_window, silence};
use period::MuteRow;
pub use period::{Kind, Mute, MuteState, NewSilence, NewWindow, Silence, Window};

/// A silence or maintenance window with its compiled matchers.
pub(super) struct CompiledMute {
    pub mute: Mute,
    matchers: Matchers,
}

/// Returns all silences and maintenance windows that have not ended, also those that have not begun: silences
/// first, and the oldest of each kind first.
pub(super) fn stored(conn: &mut Conn, now: Timestamp) -> Result<Vec<Mute>> {
    let rows: Vec<MuteRow> = q::table
        .filter(q::ended_at.is_null())
        .filter(q::ends_at.gt(now))
        .order((q::kind.desc(), q::id))
        .load(conn)?;
    rows.into_iter().map(MuteRow::view).collect()
}

impl CompiledMute {
    /// Compiles the matchers of a stored silence or maintenance window.
    ///
    /// # Errors
    /// `Internal` if a matcher is not valid. The matchers are checked before they are stored.
    pub fn of(mute: Mute) -> Result<Self> {
        let matchers = Matchers::compile(&mute.matchers)?;
        Ok(CompiledMute { mute, matchers })
    }

    /// Returns the fields with a value that is too long for its regular expression.
    pub fn too_long(&self, subject: Subject<'_>) -> Vec<&str> {
        self.matchers.too_long(subject)
    }

    /// Returns whether its conditions match an alert, as far as the time is enough. If it names resources, it
    /// covers the alert only if [`covers`] is true as well.
    pub fn holds(&self, subject: Subject<'_>, budget: &mut Budget) -> bool {
        self.matchers.hold(subject, budget)
    }

    /// Returns whether a condition is about this field.
    pub fn examines(&self, field: &str) -> bool {
        self.matchers.examine(field)
    }
}

/// Returns whether a maintenance window that names the resources `window` covers an alert that makes the resources
/// `hit` affected. Both are keys.
pub(super) fn covers(conn: &mut Conn, window: &HashSet<i64>, hit: &[i64]) -> Result<bool> {
    let mut within: HashMap<i64, bool> = hit.iter().map(|key| (*key, false)).collect();
    for (start, node) in resource::above(conn, hit)? {
        if window.contains(&node) {
            within.insert(start, true);
        }
    }
    // All resources of the alert must be covered. A resource that the window does not name is not under
    // maintenance.
    Ok(!within.is_empty() && within.values().all(|inside| *inside))
}

/// Returns the kinds of these silences and maintenance windows, by ID.
pub(super) fn kinds(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, Kind>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String)> = q::table
        .filter(q::id.eq_any(ids))
        .select((q::id, q::kind))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, kind)| Ok((id, Kind::parse(&kind).map_err(Error::internal)?)))
        .collect()
}
