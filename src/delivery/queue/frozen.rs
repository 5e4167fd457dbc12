//! Reads the frozen part of a notice, as the channels need it. It never reads the incident or the directory.

use diesel::prelude::*;

use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::notices as n;
use crate::delivery::email_template::Prepared;
use crate::delivery::task::Frozen;
use crate::notice::compose::Content;
use crate::notice::template::Voice;
use crate::notice::templates::{self, StoredTemplate};

/// The number of recipients from which emails are built from prepared pieces. The first email of a shape
/// needs three renderings, so pieces are slower for fewer recipients.
const WORTH_PIECES: i64 = 4;

/// The frozen part of a notice as it is stored. Its template is not parsed yet.
pub struct Stored {
    notice: NoticeId,
    content: Content,
    incident: String,
    queued_at: Option<Timestamp>,
    recipients: i64,
    template: StoredTemplate,
}

/// Reads the frozen part of a notice.
///
/// # Errors
/// An error of the database, or `Internal` if the frozen data is not valid.
pub fn frozen(conn: &mut Conn, id: &NoticeId) -> Result<Stored> {
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
    Ok(Stored {
        notice: id.clone(),
        content,
        incident,
        queued_at,
        recipients,
        template,
    })
}

impl Stored {
    /// Prepares one email that was already sent, with the partials of its template and the sentences that it had
    /// then.
    ///
    /// # Errors
    /// `Invalid` if this version of Candor cannot parse the template any more.
    pub fn prepare_again(self, partials: &[(String, String)], voice: Voice) -> Result<Frozen> {
        let template = self.template.compile_with(partials)?;
        Ok(Frozen {
            notice: self.notice,
            prepared: Prepared::again(self.content.clone(), template, voice),
            content: self.content,
            incident: self.incident,
            queued_at: self.queued_at,
        })
    }

    /// Parses the template and prepares the mails. This takes the processor for a while, so it happens outside of the
    /// transaction.
    ///
    /// # Errors
    /// `Invalid` if the template does not render any more.
    pub fn prepare(self) -> Result<Frozen> {
        let template = self.template.compile()?;
        let content = self.content;
        Ok(Frozen {
            notice: self.notice,
            prepared: if self.recipients < WORTH_PIECES {
                Prepared::for_few(content.clone(), template)
            } else {
                Prepared::new(content.clone(), template)
            },
            content,
            incident: self.incident,
            queued_at: self.queued_at,
        })
    }
}
