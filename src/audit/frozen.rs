//! The digest of a frozen notice. The event of a queued notice contains a digest of its texts and of each
//! stored recipient, so that a later change of any of them is found.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::row_tree::{RowTree, Salts};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::text::hex;
use crate::db::Conn;
use crate::db::schema::{notice_recipients as r, notices as n, templates as t};

/// The number of recipients that are read at once.
const STEP: i64 = 2_000;

/// The texts of a notice.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrozenNotice<'a> {
    /// The ID of the notice.
    pub id: &'a str,
    /// The digest of the preview that was sent and, above the limit, approved.
    pub digest: &'a str,
    /// The content of the notice, as JSON.
    pub content: &'a str,
    /// The ID of the template.
    pub template: &'a str,
    /// The subject of the template.
    pub subject: &'a str,
    /// The text body of the template.
    pub text: &'a str,
    /// The HTML body of the template.
    pub html: &'a str,
    /// The texts of the template for the readers of single languages, as JSON, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<&'a str>,
}

/// One recipient, as it is stored.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrozenRecipient<'a> {
    /// The position in the list, from 1.
    pub ordinal: i64,
    /// The ID of the person or of the endpoint.
    pub person: &'a str,
    /// The name of the recipient.
    pub name: &'a str,
    /// The email address, or the URL of the endpoint.
    pub address: &'a str,
    /// Whether the recipient may opt out of the notice.
    pub optional: bool,
    /// The data of this recipient, as JSON.
    pub context: &'a str,
    /// The channel, such as `email`.
    pub channel: &'a str,
    /// The domain of the address, or the host of the URL.
    pub domain: &'a str,
}

/// A SHA-256 digest of the notice and its recipients in order. Each of them is a JSON object on its own line.
pub struct FrozenDigest {
    hasher: Sha256,
    line: Vec<u8>,
    tree: Option<RowTree>,
}

/// What the event of a queued notice contains about the notice and its recipients.
pub struct Sealed {
    /// The digest of all lines, in hexadecimal.
    pub digest: String,
    /// The root of the tree of the lines, in hexadecimal, which proves a single line.
    pub root: Option<String>,
}

impl FrozenDigest {
    /// Starts the digest with the texts.
    ///
    /// # Errors
    /// `Internal` if the JSON cannot be written. This does not happen, because the fields are texts and
    /// numbers.
    pub fn of(notice: &FrozenNotice<'_>) -> Result<Self> {
        let mut digest = FrozenDigest {
            hasher: Sha256::new(),
            line: Vec::with_capacity(1024),
            tree: None,
        };
        digest.add(notice)?;
        Ok(digest)
    }

    /// Starts the digest with the texts, and with the tree that proves single lines.
    ///
    /// # Errors
    /// The same errors as [`FrozenDigest::of`].
    pub fn with_tree(notice: &FrozenNotice<'_>, salts: Salts) -> Result<Self> {
        let mut digest = FrozenDigest {
            hasher: Sha256::new(),
            line: Vec::with_capacity(1024),
            tree: Some(RowTree::new(salts, notice.id)),
        };
        digest.add(notice)?;
        Ok(digest)
    }

    /// Adds the next recipient.
    ///
    /// # Errors
    /// `Internal` if the JSON cannot be written. This does not happen, because the fields are texts and
    /// numbers.
    pub fn recipient(&mut self, recipient: &FrozenRecipient<'_>) -> Result<()> {
        self.add(recipient)
    }

    /// Returns the digest, and the root of the tree if there is one.
    pub fn finish(self) -> Sealed {
        Sealed {
            digest: hex(&self.hasher.finalize()),
            root: self.tree.map(|tree| tree.root()),
        }
    }

    fn add(&mut self, value: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        if let Some(tree) = &mut self.tree {
            tree.add(&self.line);
        }
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        Ok(())
    }
}

/// The stored data of a queued notice.
pub(super) struct Stored {
    /// The digest of the preview that was sent.
    pub preview: String,
    /// The number of recipients, including endpoints.
    pub recipients: i64,
    /// The digest that [`FrozenDigest`] computes from the stored data.
    pub digest: String,
    /// The field of the notice that differs from the frozen content. `None` if all fields agree with it.
    pub differs: Option<&'static str>,
}

/// The fields of a notice from which the content was frozen. They are compared with the frozen content.
#[derive(Queryable)]
struct NoticeFields {
    state: String,
    phase: String,
    subject: Option<String>,
    message: String,
    customer_action: Option<String>,
}

impl NoticeFields {
    /// The first field that is not what was frozen. A field that the content of an earlier version lacks is not compared.
    fn differs(&self, content: &str) -> Option<&'static str> {
        let Ok(content) = serde_json::from_str::<Value>(content) else {
            return Some("frozen");
        };
        let differs = |name: &str, value: Value| content.get(name).is_some_and(|frozen| *frozen != value);
        if self.state == "draft" {
            return Some("state");
        }
        if differs("phase", Value::from(self.phase.as_str())) {
            return Some("phase");
        }
        if differs("subject", Value::from(self.subject.clone())) {
            return Some("subject");
        }
        if differs("message", Value::from(self.message.as_str())) {
            return Some("message");
        }
        let action = match &self.customer_action {
            None => Value::Null,
            Some(action) => {
                let action: Value = serde_json::from_str(action).unwrap_or_default();
                json!({"required": action["required"], "text": action["text"].as_str().unwrap_or_default()})
            }
        };
        differs("action", action).then_some("customer_action")
    }
}

type Recipient = (i64, String, String, String, bool, String, String, String);

/// Reads a queued notice. Returns `None` if the notice does not exist or if its frozen data is missing.
///
/// # Errors
/// An error of the database.
pub(super) fn stored(conn: &mut Conn, id: &NoticeId) -> Result<Option<Stored>> {
    type Notice = (Option<String>, Option<String>, Option<String>, NoticeFields);
    let notice: Option<Notice> = n::table
        .find(id.as_str())
        .select((
            n::digest,
            n::template_id,
            n::frozen,
            (n::state, n::phase, n::subject, n::message, n::customer_action),
        ))
        .first(conn)
        .optional()?;
    let Some((Some(preview), Some(template), Some(content), beside)) = notice else {
        return Ok(None);
    };
    let texts: Option<(String, String, String, Option<String>)> = t::table
        .find(&template)
        .select((t::subject, t::body_text, t::body_html, t::languages))
        .first(conn)
        .optional()?;
    let Some((subject, text, html, languages)) = texts else {
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
        languages: languages.as_deref(),
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
        digest: digest.finish().digest,
        differs: beside.differs(&content),
    }))
}
