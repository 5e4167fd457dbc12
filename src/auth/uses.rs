//! When tokens were last used. A use is only noted in memory; the noted times are stored together, at most once per minute. So a
//! request with a token writes nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use diesel::prelude::*;

use super::TokenView;
use crate::base::error::Result;
use crate::base::id::TokenId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::api_tokens as t;

/// The last uses of tokens in this process.
#[derive(Default)]
pub struct TokenUses(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    /// The last use of each token.
    last: HashMap<String, Timestamp>,
    /// Those that are not stored yet.
    unwritten: HashMap<String, Timestamp>,
}

impl TokenUses {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a token is used.
    pub fn note(&self, token: &TokenId, now: Timestamp) {
        let mut noted = self.noted();
        noted.last.insert(token.to_string(), now);
        noted.unwritten.insert(token.to_string(), now);
    }

    /// Sets the uses that this process knows and that may not be stored yet.
    pub fn complete(&self, tokens: &mut [TokenView]) {
        let noted = self.noted();
        for token in tokens {
            let here = noted.last.get(token.id.as_str()).copied();
            token.last_used_at = token.last_used_at.max(here);
        }
    }

    /// Takes the uses that are not stored yet.
    pub fn take(&self) -> Vec<(String, Timestamp)> {
        std::mem::take(&mut self.noted().unwritten).into_iter().collect()
    }

    /// Puts back uses that could not be stored. Later ones stay.
    pub fn put_back(&self, uses: Vec<(String, Timestamp)>) {
        let mut noted = self.noted();
        for (token, at) in uses {
            let held = noted.unwritten.entry(token).or_insert(at);
            *held = (*held).max(at);
        }
    }
}

/// Stores the last uses of tokens. A later use that another process has stored stays.
///
/// # Errors
/// An error of the database.
pub fn store(conn: &mut Conn, uses: &[(String, Timestamp)]) -> Result<()> {
    // Two processes that store at once take the locks in the same order.
    let mut uses: Vec<&(String, Timestamp)> = uses.iter().collect();
    uses.sort();
    for (token, at) in uses {
        diesel::update(
            t::table
                .find(token)
                .filter(t::last_used_at.is_null().or(t::last_used_at.lt(*at))),
        )
        .set(t::last_used_at.eq(Some(*at)))
        .execute(conn)?;
    }
    Ok(())
}
