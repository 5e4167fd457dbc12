//! The age of the data: when each source was last read successfully, and whether that is too long ago. An age
//! is never shown smaller than it is.

use serde::Serialize;

use super::run::{self, Run, waiting};
use super::stored::{Source, SourceKind};
use crate::base::error::Result;
use crate::base::id::SourceId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// The age of the data of one source.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SourceAge {
    /// The ID of the source.
    pub id: SourceId,
    /// The name of the source.
    pub name: String,
    /// The kind of the source.
    pub kind: SourceKind,
    /// The time that the data is from.
    pub last_success_at: Option<Timestamp>,
    /// Seconds since then. Null if the source was never read successfully.
    pub age_seconds: Option<i64>,
    /// Whether the data is older than allowed, or the source was never read successfully. A service is never
    /// stale, because it is asked when it is needed.
    pub stale: bool,
}

/// A source with the state of its data.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SourceStatus {
    /// The source that the state is about.
    #[serde(flatten)]
    pub source: Source,
    /// Seconds since the time that the data is from. Null if the source was never read successfully.
    pub age_seconds: Option<i64>,
    /// Whether the data is older than allowed, or the source was never read successfully.
    pub stale: bool,
    /// The newest run of the source, which can still be active. Null if there was none.
    pub last_run: Option<Run>,
    /// The ID of the run that waits for a confirmation.
    pub needs_confirmation: Option<String>,
}

/// The age of the directory.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DirectoryStatus {
    /// Whether any source is stale.
    pub stale: bool,
    /// All sources. Entries that were written or imported through the API belong to no source.
    pub sources: Vec<SourceStatus>,
}

fn age(source: &Source, now: Timestamp) -> (Option<i64>, bool) {
    let age = source.last_success_at.map(|at| now.seconds_since(at).max(0));
    let read = source.kind.engine().is_some();
    // A source that was never read has no data that could be fresh.
    (age, read && age.is_none_or(|age| age > source.stale_after))
}

/// Returns the age of each source.
pub fn ages(conn: &mut Conn, now: Timestamp) -> Result<Vec<SourceAge>> {
    Ok(super::stored::list(conn, None, super::manage::MAX)?
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

/// Returns the warnings for a notice: one sentence for each stale source.
pub fn warnings(ages: &[SourceAge]) -> Vec<String> {
    ages.iter()
        .filter(|age| age.stale)
        .map(|age| match age.age_seconds {
            Some(seconds) => format!("the directory from {} is {} old", age.name, how_long(seconds)),
            None => format!("the directory from {} has never been read", age.name),
        })
        .collect()
}

/// Returns a duration for people, in its largest unit.
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

/// Returns the status of a source.
pub fn read(conn: &mut Conn, source: Source, now: Timestamp) -> Result<SourceStatus> {
    let (age_seconds, stale) = age(&source, now);
    Ok(SourceStatus {
        last_run: run::latest(conn, &source.id)?,
        needs_confirmation: waiting(conn, &source.id)?,
        age_seconds,
        stale,
        source,
    })
}

/// Returns the status of the directory.
pub fn directory(conn: &mut Conn, now: Timestamp) -> Result<DirectoryStatus> {
    let sources = super::stored::list(conn, None, super::manage::MAX)?
        .into_iter()
        .map(|source| read(conn, source, now))
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
