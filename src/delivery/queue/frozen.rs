//! The frozen part of a notice, as the channels need it.
//!
//! Must never happen here: a look at the incident or the directory.

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::notices as n;
use crate::delivery::skeleton::Prepared;
use crate::notice::compose::Content;
use crate::notice::templates;

/// Recipients from which on their mails are put together from pieces: the first of a shape takes three renderings.
const WORTH_PIECES: i64 = 4;

/// A frozen notice, as a channel needs it.
pub struct Frozen {
    /// Its id.
    pub notice: NoticeId,
    /// What is the same in every message.
    pub content: Content,
    /// The incident, for the thread.
    pub incident: String,
    /// When it was sent off.
    pub queued_at: Option<Timestamp>,
    /// Its mails, prepared.
    pub prepared: Prepared,
}

/// The frozen part of a notice.
///
/// # Errors
/// What the database answers.
pub fn frozen(conn: &mut Conn, id: &NoticeId) -> Result<Frozen> {
    type Columns = (Option<String>, String, Option<String>, Option<Timestamp>, i64);
    let (content, incident, template, queued_at, recipients): Columns = n::table
        .find(id.as_str())
        .select((
            n::frozen,
            n::incident_id,
            n::template_id,
            n::queued_at,
            n::recipients,
        ))
        .first(conn)?;
    let content: Content = serde_json::from_str(&content.unwrap_or_default())?;
    let template = templates::load(conn, content.phase, &template.unwrap_or_default())?;
    Ok(Frozen {
        notice: id.clone(),
        prepared: if recipients < WORTH_PIECES {
            Prepared::for_few(content.clone(), template)
        } else {
            Prepared::new(content.clone(), template)
        },
        content,
        incident,
        queued_at,
    })
}
