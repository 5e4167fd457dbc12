//! A history in pages: by person, by account, by address, or by several of them together.

use diesel::prelude::*;

use super::entry::{HistoryEntry, Place};
use super::keys::{Source, Window};
use super::{details, keys, members, rows};
use crate::base::error::{Error, Result};
use crate::base::mailbox;
use crate::db::Conn;
use crate::db::schema::accounts as a;
use crate::directory::{endpoint, normal_address, person};

/// The number of rows that are read at once if not all of them are about what is wanted.
const STEP: i64 = 200;
/// The number of rows after which a page ends, whether it is full or not.
const MOST: i64 = 5_000;

/// Whose history is wanted. A row must match every field that is set, and one must be set.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only emails to this address. Every spelling of a mailbox finds the same emails.
    pub address: Option<String>,
    /// Only emails to the person with this ID.
    pub person: Option<String>,
    /// Only emails to people who were members of the account with this ID when the notice was queued, and calls to its endpoints.
    pub account: Option<String>,
}

/// A page of a history.
#[derive(Debug)]
pub struct Told {
    /// The rows, the notice that was drafted last first.
    pub entries: Vec<HistoryEntry>,
    /// The place after which the next page begins. `None` on the last page. A page that is not full can have a next one.
    pub next: Option<Place>,
}

/// The number of endpoints of a person whose messages a history has.
const PHONES: usize = 20;

/// What is wanted, as it is in the directory.
struct Filter {
    person: Option<String>,
    account: Option<i64>,
    source: Source,
}

impl Filter {
    fn of(conn: &mut Conn, wanted: &Wanted) -> Result<Filter> {
        if let Some(id) = &wanted.person {
            person::get(conn, id)?;
        }
        let account: Option<i64> = match &wanted.account {
            Some(id) => Some(
                a::table
                    .filter(a::id.eq(id))
                    .select(a::key)
                    .first::<i64>(conn)
                    .optional()?
                    .ok_or_else(|| Error::NotFound(format!("account '{id}'")))?,
            ),
            None => None,
        };
        let source = if let Some(address) = &wanted.address {
            Source::Address(spellings(address)?)
        } else if let Some(id) = &wanted.person {
            let mut phones = endpoint::all_of_person(conn, id)?;
            // Each replaced number has an endpoint of its own. Nobody has many.
            phones.reverse();
            phones.truncate(PHONES);
            Source::Person(id.clone(), phones)
        } else if let Some(key) = account {
            keys::of_account(conn, key)?
        } else {
            return Err(Error::invalid(
                "",
                "give at least one of address, person and account",
            ));
        };
        Ok(Filter {
            person: wanted.person.clone(),
            account,
            source,
        })
    }

    /// Returns whether the source finds nothing but what is wanted.
    fn is_exact(&self) -> bool {
        match self.source {
            Source::Person(..) => self.account.is_none(),
            Source::Address(_) => self.account.is_none() && self.person.is_none(),
            Source::Account(_) | Source::FewOf(..) => false,
        }
    }

    fn keep(&self, conn: &mut Conn, mut entries: Vec<HistoryEntry>) -> Result<Vec<HistoryEntry>> {
        if let Some(person) = &self.person {
            entries.retain(|entry| entry.people.contains(person));
        }
        match self.account {
            Some(account) => members::keep(conn, account, entries),
            None => Ok(entries),
        }
    }
}

/// Returns the spellings in which an address may be frozen, also by an earlier version, in lower case.
fn spellings(address: &str) -> Result<Vec<String>> {
    let usual = normal_address(address);
    if usual.is_empty() {
        return Err(Error::invalid("?address", "must not be empty"));
    }
    // Every database turns ASCII letters into lower case, and not every one turns others.
    let given = address.trim().to_ascii_lowercase();
    let mut found = vec![mailbox::readable(&usual), given, usual];
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Returns what was told, after a place, in at most `limit` rows.
///
/// # Errors
/// `Invalid` if nothing is wanted, `NotFound` if the person or the account does not exist.
pub fn list(conn: &mut Conn, wanted: &Wanted, before: Option<&Place>, limit: i64) -> Result<Told> {
    let filter = Filter::of(conn, wanted)?;
    let mut from = before.cloned();
    let mut entries: Vec<HistoryEntry> = Vec::new();
    let mut seen = 0;
    let mut next = None;
    loop {
        let missing = limit + 1 - entries.len() as i64;
        let step = match filter.is_exact() {
            true => missing,
            false => missing.max(STEP),
        };
        let window = Window {
            before: from.as_ref(),
            limit: step,
        };
        let (read, last) = rows::read(conn, &filter.source, window)?;
        let count = read.len() as i64;
        seen += count;
        entries.extend(filter.keep(conn, read)?);
        if entries.len() as i64 > limit {
            entries.truncate(usize::try_from(limit).unwrap_or_default());
            next = entries.last().map(HistoryEntry::place);
            break;
        }
        if count < step {
            break;
        }
        from = last;
        if seen >= MOST {
            next = from;
            break;
        }
    }
    details::add(conn, &mut entries, filter.person.as_deref())?;
    Ok(Told { entries, next })
}
