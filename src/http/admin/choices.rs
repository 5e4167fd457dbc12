//! What the forms of several pages let a person choose from.

use super::view::cut;
use crate::alert::integration;
use crate::base::error::Result;
use crate::db::Conn;
use crate::incident;

/// The number of things in a list to choose from.
const MOST: i64 = 100;

/// Values, each with its label.
pub type Choices = Vec<(String, String)>;

/// Returns the newest incidents, by ID.
///
/// # Errors
/// An error of the database.
pub fn incidents(conn: &mut Conn) -> Result<Choices> {
    let incidents = incident::list(conn, &incident::Filter::default(), None, MOST)?;
    let label = |one: &incident::Incident| format!("#{} {}", one.number, cut(&one.title, 80));
    Ok(incidents
        .iter()
        .map(|one| (one.id.to_string(), label(one)))
        .collect())
}

/// Returns the integrations, by ID.
///
/// # Errors
/// An error of the database.
pub fn integrations(conn: &mut Conn) -> Result<Choices> {
    let integrations = integration::list(conn, None, MOST)?;
    Ok(integrations
        .into_iter()
        .map(|one| (one.id.to_string(), one.name))
        .collect())
}
