//! The numbered versions of the template of each phase: what was saved, when and by whom. Versions are only added.

use diesel::prelude::*;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::db::schema::template_versions as v;
use crate::notice::template::Phase;

/// Adds a version. `template` is the ID of its content, which is stored already. The caller has locked the templates, so that no
/// other version gets the same number.
pub(super) fn add(tx: &mut Tx<'_>, phase: Phase, template: &str, builtin: bool) -> Result<()> {
    let last: Option<i64> = v::table
        .filter(v::phase.eq(phase.as_str()))
        .select(diesel::dsl::max(v::number))
        .first(tx.conn)?;
    diesel::insert_into(v::table)
        .values((
            v::phase.eq(phase.as_str()),
            v::number.eq(last.unwrap_or(0) + 1),
            v::template_id.eq(template),
            v::builtin.eq(builtin),
            v::saved_by.eq(Some(tx.actor.name().to_owned())),
            v::saved_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(())
}
