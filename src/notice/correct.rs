//! Drafts the correction of a notice, and counts whom it would reach. Both are possible from the moment at which the notice is
//! sent, so that a wrong notice can be corrected in one step.

use super::corrections;
use super::draft::{NewNotice, draft};
use super::plan;
use super::row::{Translations, row};
use super::suggested;
use super::view::Notice;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::language::Language;
use crate::db::Conn;
use crate::incident;
use crate::notice::template::Phase;

/// Drafts a correction of a notice. Without a message, it has the suggested one in every language. `own` is the language of the message.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it cannot be corrected. `Invalid` if the message is wrong.
pub fn correct(tx: &mut Tx<'_>, wrong: &NoticeId, message: Option<&str>, own: Language) -> Result<Notice> {
    let incident = row(tx.conn, wrong)?.incident_id;
    if let Some(why) = corrections::why_not(tx.conn, &incident, wrong)? {
        return Err(Error::Conflict(format!("the notice {why}")));
    }
    let phase = Phase::Correction;
    let suggestion = suggested::suggested(phase, own)?;
    let message = message.unwrap_or(suggestion);
    let translations = match message == suggestion {
        true => suggested::translations(phase.as_str(), own)?,
        false => Translations::new(),
    };
    let new = NewNotice {
        phase,
        acknowledge_impaired: false,
        translations,
        message: message.to_owned(),
        subject: None,
        customer_action: None,
        audience: None,
        corrects: Some(wrong.clone()),
        headline: None,
        next_update_due_at: None,
    };
    draft(tx, &incident, &new)
}

/// Returns the number of people whom a correction of this notice would reach now. It is 0 if the notice cannot be corrected.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn correctable(conn: &mut Conn, wrong: &NoticeId) -> Result<usize> {
    let wrong = row(conn, wrong)?;
    let drill = incident::get(conn, &wrong.incident_id)?.drill;
    if drill || corrections::why_not(conn, &wrong.incident_id, &wrong.id)?.is_some() {
        return Ok(0);
    }
    plan::correctable(conn, &wrong)
}
