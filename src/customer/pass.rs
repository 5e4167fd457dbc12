//! Signed texts that let a person open their own page: a ticket, which a page of the product asks for and opens at once, and a session,
//! which a browser keeps for a short time. Nothing is stored about them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::{keys, reader};
use crate::auth::Links;
use crate::base::error::{Error, Result};
use crate::base::id::FeedKeyId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, incidents as i, notice_recipients as nr, notices as n};
use crate::notice::EMAIL;

/// How long a ticket can be used.
const TICKET: Duration = Duration::from_secs(5 * 60);
/// How long a session lasts.
pub const SESSION: Duration = Duration::from_secs(60 * 60);
/// How long a link in an email opens the page.
const LINK: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What a signed text is for. One for a purpose is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A ticket of the product.
    Ticket,
    /// The session of a browser.
    Session,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Ticket => "mine ticket",
            Purpose::Session => "mine session",
        }
    }

    fn lasts(self) -> Duration {
        match self {
            Purpose::Ticket => TICKET,
            Purpose::Session => SESSION,
        }
    }
}

/// A person who may open their page, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The ID of the person.
    pub person: String,
    /// The feed key whose token proved who it is. `None`: a link in an email did.
    pub key: Option<FeedKeyId>,
    /// When the pass ends. Candor does not accept it from this time on.
    pub until: Timestamp,
}

/// A person who opened their page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The key of the person in the database.
    pub key: i64,
    /// The ID of the person.
    pub person: String,
    /// How Candor knows that it is them, for the audit trail: the ID of a feed key, or a link in an email.
    pub way: String,
}

/// Writes a signed text for a person, and returns it with the time at which it ends.
///
/// # Errors
/// `Internal` if it cannot be written.
pub fn write(
    links: &Links,
    purpose: Purpose,
    person: &str,
    key: Option<&FeedKeyId>,
    now: Timestamp,
) -> Result<(String, Timestamp)> {
    let until = now.plus(purpose.lasts());
    let pass = Pass {
        person: person.to_owned(),
        key: key.cloned(),
        until,
    };
    let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&pass)?);
    Ok((links.signed_for(purpose.name(), &text), until))
}

/// Reads a signed text. `None` if this instance did not sign it for this purpose, or if it has ended.
pub fn read(links: &Links, purpose: Purpose, text: &str, now: Timestamp) -> Option<Pass> {
    let inner = links.opened(purpose.name(), text)?;
    let pass: Pass = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(inner).ok()?).ok()?;
    (now < pass.until).then_some(pass)
}

/// Returns the person of a pass, if the person and the feed key are still valid.
///
/// # Errors
/// An error of the database.
pub fn visitor(conn: &mut Conn, pass: &Pass) -> Result<Option<Visitor>> {
    if let Some(key) = &pass.key {
        match keys::get(conn, key) {
            Ok(_) => {}
            Err(Error::NotFound(_)) => return Ok(None),
            Err(other) => return Err(other),
        }
    }
    Ok(reader::active(conn, &pass.person)?.map(|key| Visitor {
        key,
        person: pass.person.clone(),
        way: match &pass.key {
            Some(key) => key.to_string(),
            None => "link in an email".to_owned(),
        },
    }))
}

/// A person of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The ID of the person in the directory.
    pub id: String,
    /// The name of the person in the directory now.
    pub name: String,
}

/// Returns the people whose page the link in the email of a delivery opens. Empty if the link has expired, or if nobody of the mailbox may
/// read any more.
///
/// # Errors
/// An error of the database.
pub fn people_of_link(conn: &mut Conn, delivery: i64, now: Timestamp) -> Result<Vec<Named>> {
    #[derive(Deserialize)]
    struct Frozen {
        people: Vec<String>,
    }
    let found: Option<(String, Option<Timestamp>)> = d::table
        .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
        .inner_join(n::table.on(n::id.eq(d::notice_id)))
        .inner_join(i::table.on(i::id.eq(n::incident_id)))
        .filter(d::id.eq(delivery))
        // The email of a drill names customers, but goes to our own people.
        .filter(i::drill.eq(false))
        .filter(d::channel.eq(EMAIL))
        .select((nr::context, n::queued_at))
        .first(conn)
        .optional()?;
    let Some((context, Some(queued_at))) = found else {
        return Ok(Vec::new());
    };
    if queued_at.plus(LINK) <= now {
        return Ok(Vec::new());
    }
    let frozen: Frozen = serde_json::from_str(&context)?;
    let mut people = Vec::new();
    for id in frozen.people {
        if reader::active(conn, &id)?.is_some() {
            let name = crate::directory::person::get(conn, &id)?.name;
            people.push(Named { id, name });
        }
    }
    Ok(people)
}
