//! The title of an incident. The group of a sender changes it while it grows, until somebody writes a title. After
//! that, no alert changes it.

use diesel::prelude::*;

use super::patch::IncidentPatch;
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::dialect::on_backend;
use crate::db::schema::incident_titles as t;

/// Marks the title as written by somebody. From then on, no alert changes it.
pub(super) fn hold(tx: &mut Tx<'_>, id: &IncidentId) -> Result<()> {
    on_backend!(&mut *tx.conn, c => diesel::insert_into(t::table)
        .values((t::incident_id.eq(id.as_str()), t::set_at.eq(tx.now)))
        .on_conflict(t::incident_id)
        .do_nothing()
        .execute(c))?;
    Ok(())
}

/// Gives the incident a title that Candor made. Returns false, and changes nothing, if somebody has written the title.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the title is not valid.
pub(crate) fn rename(tx: &mut Tx<'_>, id: &IncidentId, title: &str) -> Result<bool> {
    let held: Option<String> = t::table
        .find(id.as_str())
        .select(t::incident_id)
        .first(tx.conn)
        .optional()?;
    if held.is_some() {
        return Ok(false);
    }
    let patch = IncidentPatch {
        title: Some(title.to_owned()),
        ..IncidentPatch::default()
    };
    super::patch::store(tx, id, &patch)?;
    Ok(true)
}
