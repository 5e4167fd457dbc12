//! Forgetting: erasing a person, exporting what is held about a person, and deleting by age.
//!
//! An erasure removes a person from the directory, from frozen recipients and their deliveries, from what came back, from the texts of
//! all tables, and from the audit trail. The proof stays: that somebody was told what and when, and whoever knows the address can check
//! that it was this one. `docs/forgetting.md` describes it, and decision 0068 says how the triggers and the chain allow exactly this.
//!
//! - Every text column is classified in [`columns`], so that a new one cannot be forgotten.
//! - What is counted in the confirmation and what is changed comes from one search.
//! - `verify` holds before and after. A change of a protected row that is no erasure is still refused, and is found.
//! - A source, an import or a form cannot bring an erased person back unasked.

mod attempts;
mod clean;
pub mod columns;
mod erase;
mod events;
mod export;
mod frozen;
mod needles;
mod own;
mod reports;
pub mod retention;
mod stored;
mod texts;

use std::path::Path;

pub use clean::clean;
pub use erase::{ErasurePreview, ErasureReason, Rows, preview};
pub use export::{Export, export};
pub use stored::{Checked, Claim, Erasure, ProvenRecipient, allow, check, get, list, of_placeholder};
pub use texts::Left;

use erase::{Kind, erase_rest};
use serde::Serialize;

use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::ExternalId;
use crate::db::Db;

/// The result of an erasure.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Erased {
    /// The erasure that was made, with the number of rows that were changed.
    #[serde(flatten)]
    pub erasure: Erasure,
    /// Places that cannot be changed, in which the person is still mentioned.
    pub left: Vec<Left>,
}

/// Erases a person, and cleans up the outbox and the free space of the database. If only the cleaning fails, the erasure is made, and a
/// job repeats the cleaning. `expected` is the number of rows that a confirmation named.
///
/// # Errors
/// - `NotFound` if there is no such person.
/// - `Invalid` if there is no reason.
/// - `Conflict` if the person is erased already, if an email to the person is being sent, if a notice is not what was frozen, or if the
///   number of rows is not the expected one.
pub async fn erase(
    db: &Db,
    outbox: Option<&Path>,
    by: &Actor,
    id: ExternalId,
    reason: ErasureReason,
    expected: Option<i64>,
) -> Result<Erased> {
    let why = reason.clone();
    let done = db
        .write(by, move |tx| {
            if let Some(expected) = expected {
                erase::require_rows(tx.conn, id.as_str(), expected)?;
            }
            erase::erase(tx, id.as_str(), &why, Kind::Request)
        })
        .await?;
    // A notice that was frozen at the same time had read the person before.
    let (first, why) = (done.clone(), reason);
    let mut left = done.left.clone();
    let rest = db
        .write(by, move |tx| erase_rest(tx, &first, &why, Kind::Request))
        .await?;
    if let Some(rest) = rest {
        left = rest.left;
    }
    let cleaned = match clean::outbox_of(outbox, &done.needles).await {
        Ok(()) => clean(db, outbox).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = cleaned {
        tracing::warn!(
            error = error.chain(),
            "the free space is not cleaned after an erasure; the next try follows within a minute"
        );
    }
    let erasure = db.read(move |conn| get(conn, &done.id)).await?;
    Ok(Erased { erasure, left })
}
