//! How old the copy is: for each source, when it last worked, and whether that is too long ago.
//!
//! Must never happen here: an age that looks younger than it is.

use serde::Serialize;

use super::run::{self, Run};
use super::{Source, SourceKind, waiting};
use crate::base::error::Result;
use crate::base::id::SourceId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// How old the copy from one source is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SourceAge {
    /// The source.
    pub id: SourceId,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// The copy shows how it was then.
    pub last_success_at: Option<Timestamp>,
    /// Seconds since then; none: it has never worked.
    pub age_seconds: Option<i64>,
    /// Whether that is longer than is allowed, or it has never worked. A service is never old: it is asked when it is needed.
    pub stale: bool,
}

/// A source with what became of it last.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SourceStatus {
    /// The source.
    #[serde(flatten)]
    pub source: Source,
    /// Seconds since it last worked; none: it never has.
    pub age_seconds: Option<i64>,
    /// Whether that is longer than is allowed, or it has never worked.
    pub stale: bool,
    /// The run that began last.
    pub last_run: Option<Run>,
    /// The run that waits for confirmation.
    pub needs_confirmation: Option<String>,
}

/// How old the directory is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DirectoryStatus {
    /// Whether any source is older than is allowed.
    pub stale: bool,
    /// Each source. What was put or imported by hand belongs to none.
    pub sources: Vec<SourceStatus>,
}

fn age(source: &Source, now: Timestamp) -> (Option<i64>, bool) {
    let age = source.last_success_at.map(|at| now.seconds_since(at).max(0));
    let read = source.kind.engine().is_some();
    // What was never read is no copy that could be young.
    (age, read && age.is_none_or(|age| age > source.stale_after))
}

/// How old each source is.
///
/// # Errors
/// What the database answers.
pub fn ages(conn: &mut Conn, now: Timestamp) -> Result<Vec<SourceAge>> {
    Ok(super::list(conn, None, super::MOST)?
        .into_iter()
        .map(|source| {
            let (age_seconds, stale) = age(&source, now);
            SourceAge {
                id: source.id,
                name: source.name,
                kind: source.kind,
                last_success_at: source.last_success_at,
                age_seconds,
                stale,
            }
        })
        .collect())
}

/// What to say before a notice: one sentence for each source that is too old.
pub fn warnings(ages: &[SourceAge]) -> Vec<String> {
    ages.iter()
        .filter(|age| age.stale)
        .map(|age| match age.age_seconds {
            Some(seconds) => format!("the directory from {} is {} old", age.name, how_long(seconds)),
            None => format!("the directory from {} has never been read", age.name),
        })
        .collect()
}

/// A time for people, in its largest unit.
pub fn how_long(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..60 => (seconds.max(0), "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

/// A source with what became of it last.
///
/// # Errors
/// What the database answers.
pub fn of(conn: &mut Conn, source: Source, now: Timestamp) -> Result<SourceStatus> {
    let (age_seconds, stale) = age(&source, now);
    Ok(SourceStatus {
        last_run: run::latest(conn, &source.id)?,
        needs_confirmation: waiting(conn, &source.id)?,
        age_seconds,
        stale,
        source,
    })
}

/// How old the directory is.
///
/// # Errors
/// What the database answers.
pub fn directory(conn: &mut Conn, now: Timestamp) -> Result<DirectoryStatus> {
    let sources = super::list(conn, None, super::MOST)?
        .into_iter()
        .map(|source| of(conn, source, now))
        .collect::<Result<Vec<_>>>()?;
    Ok(DirectoryStatus {
        stale: sources.iter().any(|source| source.stale),
        sources,
    })
}

#[cfg(test)]
mod tests {
    use super::how_long;

    #[test]
    fn an_age_is_said_in_its_largest_unit() {
        let said = [1, 59, 60, 7_199, 7_200, 86_400, 3 * 86_400 + 5].map(how_long);
        assert_eq!(
            said,
            [
                "1 second",
                "59 seconds",
                "1 minute",
                "1 hour",
                "2 hours",
                "1 day",
                "3 days"
            ]
        );
    }
}
