//! What was frozen of a notice: its event holds a digest over the texts and over each recipient as it is stored, so that a
//! later change of any of them is noticed.

use diesel::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::text::hex;
use crate::db::Conn;
use crate::db::schema::{notice_recipients as r, notices as n, templates as t};

/// Recipients that are read at a time.
const STEP: i64 = 2_000;

/// The texts of a notice.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrozenNotice<'a> {
    /// The notice.
    pub id: &'a str,
    /// What was previewed and, above the limit, approved.
    pub digest: &'a str,
    /// What it says, as JSON.
    pub content: &'a str,
    /// The id of its template.
    pub template: &'a str,
    /// The template's subject.
    pub subject: &'a str,
    /// The template's text.
    pub text: &'a str,
    /// The template's HTML.
    pub html: &'a str,
}

/// One recipient, as it is stored.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrozenRecipient<'a> {
    /// The place in the list, from 1.
    pub ordinal: i64,
    /// The person, or the endpoint.
    pub person: &'a str,
    /// The name.
    pub name: &'a str,
    /// Where it goes.
    pub address: &'a str,
    /// Whether it may be opted out of.
    pub optional: bool,
    /// What is their own, as JSON.
    pub context: &'a str,
    /// How it goes there.
    pub channel: &'a str,
    /// The domain or host.
    pub domain: &'a str,
}

/// SHA-256 over the notice and its recipients in order, each as a JSON object on a line.
pub struct FrozenDigest {
    hasher: Sha256,
    line: Vec<u8>,
}

impl FrozenDigest {
    /// Begins with the texts.
    ///
    /// # Errors
    /// None in practice: the fields are texts and numbers.
    pub fn of(notice: &FrozenNotice<'_>) -> Result<Self> {
        let mut digest = FrozenDigest {
            hasher: Sha256::new(),
            line: Vec::with_capacity(1024),
        };
        digest.add(notice)?;
        Ok(digest)
    }

    /// Adds the next recipient.
    ///
    /// # Errors
    /// None in practice: the fields are texts and numbers.
    pub fn recipient(&mut self, recipient: &FrozenRecipient<'_>) -> Result<()> {
        self.add(recipient)
    }

    /// The digest, in hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }

    fn add(&mut self, value: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        Ok(())
    }
}

/// What is stored of a notice that was queued.
pub(super) struct Stored {
    /// The digest of the preview that was sent.
    pub preview: String,
    /// Recipients and endpoints.
    pub recipients: i64,
    /// As [`FrozenDigest`] makes it.
    pub digest: String,
}

type Recipient = (i64, String, String, String, bool, String, String, String);

/// Reads a notice that was queued. None where there is no such notice, or where it lacks what is frozen.
///
/// # Errors
/// What the database answers.
pub(super) fn stored(conn: &mut Conn, id: &NoticeId) -> Result<Option<Stored>> {
    type Notice = (Option<String>, Option<String>, Option<String>);
    let notice: Option<Notice> = n::table
        .find(id.as_str())
        .select((n::digest, n::template_id, n::frozen))
        .first(conn)
        .optional()?;
    let Some((Some(preview), Some(template), Some(content))) = notice else {
        return Ok(None);
    };
    let texts: Option<(String, String, String)> = t::table
        .find(&template)
        .select((t::subject, t::body_text, t::body_html))
        .first(conn)
        .optional()?;
    let Some((subject, text, html)) = texts else {
        return Ok(None);
    };
    let mut digest = FrozenDigest::of(&FrozenNotice {
        id: id.as_str(),
        digest: &preview,
        content: &content,
        template: &template,
        subject: &subject,
        text: &text,
        html: &html,
    })?;
    let (mut last, mut recipients) = (i64::MIN, 0);
    loop {
        let rows: Vec<Recipient> = r::table
            .filter(r::notice_id.eq(id.as_str()))
            .filter(r::ordinal.gt(last))
            .order(r::ordinal)
            .limit(STEP)
            .select((
                r::ordinal,
                r::person_id,
                r::name,
                r::address,
                r::optional,
                r::context,
                r::channel,
                r::domain,
            ))
            .load(conn)?;
        let Some((ordinal, ..)) = rows.last() else { break };
        last = *ordinal;
        recipients += rows.len() as i64;
        for (ordinal, person, name, address, optional, context, channel, domain) in &rows {
            digest.recipient(&FrozenRecipient {
                ordinal: *ordinal,
                person,
                name,
                address,
                optional: *optional,
                context,
                channel,
                domain,
            })?;
        }
    }
    Ok(Some(Stored {
        preview,
        recipients,
        digest: digest.finish(),
    }))
}
