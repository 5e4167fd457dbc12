//! Who was erased, as far as the directory must know it: an erased person does not come back by a sync or an import, and an address
//! that was suppressed stays suppressed.
//!
//! Only keyed hashes are stored. Nobody can make them without the key of this database.

use std::collections::HashMap;

use diesel::prelude::*;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::normal_address;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::random::random_secret;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::own_key::OwnKey;
use crate::db::schema::{erasure_marks as m, erasures as e, opt_outs as o};

/// What the ID and the address of an erased recipient begin with.
pub const PLACEHOLDER: &str = "erased-";
/// Why a row about an erased person is left out.
pub(crate) const LEFT_OUT: &str =
    "the person was erased at their request; allow the person again if this is wanted";

/// Returns whether an address or an ID stands for somebody who was erased.
pub fn is_placeholder(text: &str) -> bool {
    text.starts_with(PLACEHOLDER) && !text.contains('@')
}

/// The kind of what a hash is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkOf {
    /// The ID of a person.
    Person,
    /// An email address, in its normal form.
    Address,
    /// A name. It is used only in the audit trail.
    Name,
}

impl MarkOf {
    /// Returns the kind as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            MarkOf::Person => "person",
            MarkOf::Address => "address",
            MarkOf::Name => "name",
        }
    }
}

/// Makes keyed hashes with the key of this database: HMAC-SHA-256, shortened to 16 bytes.
pub struct Marks(Hmac<Sha256>);

impl Marks {
    /// Returns the key of this database, and creates it at the first use.
    ///
    /// # Errors
    /// An error of the database.
    pub fn of(conn: &mut Conn) -> Result<Marks> {
        Marks::new(&OwnKey::Erased.stored_or(conn, random_secret)?)
    }

    /// Returns the key of this database. `None` if nothing was hashed yet.
    ///
    /// # Errors
    /// An error of the database.
    pub fn stored(conn: &mut Conn) -> Result<Option<Marks>> {
        OwnKey::Erased
            .stored(conn)?
            .map(|key| Marks::new(&key))
            .transpose()
    }

    fn new(key: &str) -> Result<Marks> {
        Ok(Marks(
            Hmac::new_from_slice(key.as_bytes()).map_err(Error::internal)?,
        ))
    }

    /// Returns the hash of a text.
    pub fn mark(&self, of: MarkOf, text: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(of.as_str().as_bytes());
        mac.update(b":");
        match of {
            MarkOf::Address => mac.update(normal_address(text).as_bytes()),
            MarkOf::Person | MarkOf::Name => mac.update(text.as_bytes()),
        }
        format!("hmac:{}", hex(&mac.finalize().into_bytes()[..16]))
    }
}

/// The suppression of an address that an erased person had.
#[derive(Clone, Debug)]
struct KeptSuppression {
    reason: String,
    at: Timestamp,
}

/// The people who do not come back unasked, and the suppressions of their addresses.
pub(crate) struct Erased {
    marks: Marks,
    /// The marks of people who were not allowed again.
    blocked: std::collections::HashSet<String>,
    suppressed: HashMap<String, KeptSuppression>,
}

impl Erased {
    /// Reads who was erased. `None` if nobody was, which is the usual case and costs one statement.
    ///
    /// # Errors
    /// An error of the database.
    pub(crate) fn load(conn: &mut Conn) -> Result<Option<Erased>> {
        type Row = (
            String,
            Option<String>,
            Option<Timestamp>,
            Option<Timestamp>,
            String,
        );
        let rows: Vec<Row> = m::table
            .inner_join(e::table)
            .select((m::mark, m::suppression, m::suppressed_at, e::allowed_at, e::kind))
            .load(conn)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let Some(marks) = Marks::stored(conn)? else {
            return Err(Error::internal(
                "the key for the hashes of erased people is missing",
            ));
        };
        let mut erased = Erased {
            marks,
            blocked: std::collections::HashSet::new(),
            suppressed: HashMap::new(),
        };
        for (mark, suppression, at, allowed, kind) in rows {
            if let (Some(reason), Some(at)) = (suppression, at) {
                erased
                    .suppressed
                    .insert(mark.clone(), KeptSuppression { reason, at });
            }
            if allowed.is_none() && kind == "request" {
                erased.blocked.insert(mark);
            }
        }
        Ok(Some(erased))
    }

    /// Returns whether the person with this ID was erased and is not allowed again.
    pub(crate) fn blocks_person(&self, id: &str) -> bool {
        !self.blocked.is_empty() && self.blocked.contains(&self.marks.mark(MarkOf::Person, id))
    }

    /// Returns whether the address belonged only to somebody who was erased and is not allowed again.
    pub(crate) fn blocks_address(&self, address: &str) -> bool {
        !self.blocked.is_empty()
            && !address.trim().is_empty()
            && self.blocked.contains(&self.marks.mark(MarkOf::Address, address))
    }

    /// Suppresses these addresses again if they were suppressed when their person was erased.
    ///
    /// # Errors
    /// An error of the database.
    fn suppress_again(&self, conn: &mut Conn, addresses: &[String]) -> Result<()> {
        if self.suppressed.is_empty() {
            return Ok(());
        }
        for address in addresses.iter().filter(|address| !address.trim().is_empty()) {
            let mark = self.marks.mark(MarkOf::Address, address);
            let Some(kept) = self.suppressed.get(&mark) else {
                continue;
            };
            on_backend!(&mut *conn, c => diesel::insert_into(o::table)
                .values((
                    o::address.eq(normal_address(address)),
                    o::at.eq(kept.at),
                    o::reason.eq(&kept.reason),
                ))
                .on_conflict(o::address)
                .do_nothing()
                .execute(c))?;
            // From now on the suppression stands in its own table again, where an operator can lift it.
            diesel::update(m::table.filter(m::mark.eq(&mark)))
                .set(m::suppression.eq(None::<String>))
                .execute(conn)?;
        }
        Ok(())
    }
}

/// Checks that a person with this ID and address may be stored.
///
/// # Errors
/// `Conflict` with the code `erased` if the person was erased and is not allowed again.
pub(crate) fn require_allowed(conn: &mut Conn, id: &str, address: &str) -> Result<()> {
    let refused = |what: &str| {
        let detail = format!(
            "{what} was erased at the person's request, so it is not stored again; an admin can allow the person again first"
        );
        Err(Error::Conflict(detail).code(Code::Erased))
    };
    if is_placeholder(id) {
        return Err(
            Error::Conflict("this entry stands for somebody who was erased".to_owned()).code(Code::Erased),
        );
    }
    match Erased::load(conn)? {
        Some(erased) if erased.blocks_person(id) => refused("a person with this ID"),
        Some(erased) if erased.blocks_address(address) => refused("the person with this address"),
        _ => Ok(()),
    }
}

/// Returns what stands in the directory instead of those of these people who were erased and are not allowed again.
///
/// # Errors
/// An error of the database.
pub(crate) fn placeholders_of(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, String>> {
    let Some(marks) = Marks::stored(conn)? else {
        return Ok(HashMap::new());
    };
    let mut found = HashMap::new();
    for chunk in ids.chunks(500) {
        let of: HashMap<String, &str> = chunk
            .iter()
            .map(|id| (marks.mark(MarkOf::Person, id), *id))
            .collect();
        let wanted: Vec<&str> = of.keys().map(String::as_str).collect();
        let rows: Vec<(String, Option<String>)> = m::table
            .inner_join(e::table)
            .filter(m::mark.eq_any(wanted))
            .filter(e::kind.eq("request"))
            .filter(e::allowed_at.is_null())
            .order(e::at)
            .select((m::mark, e::placeholder))
            .load(conn)?;
        found.extend(
            rows.into_iter()
                .filter_map(|(mark, placeholder)| Some(((*of.get(&mark)?).to_owned(), placeholder?))),
        );
    }
    Ok(found)
}

/// Restores the suppressions of addresses that were just stored, if their people were erased before.
///
/// # Errors
/// An error of the database.
pub(super) fn keep_suppressed(conn: &mut Conn, addresses: &[String]) -> Result<()> {
    match Erased::load(conn)? {
        Some(erased) => erased.suppress_again(conn, addresses),
        None => Ok(()),
    }
}
