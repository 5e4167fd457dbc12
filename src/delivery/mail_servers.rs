//! Which of two mail servers gets no emails at the moment, stored so that every process can say it, and the service that
//! stores it.
//!
//! The circuit breakers of a process decide who gets an email. This service only writes down what they decided, in a
//! transaction with an audit event, when it changes. It also connects to a failing mail server when there is no email to find
//! out with whether it works again.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::smtp::{self, RelayStanding, Relays};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::schema::mail_servers as m;
use crate::db::{Conn, Db};
use crate::work::{Next, Service, Stop};

/// A mail server that gets no emails, because it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingServer {
    /// The host and the port.
    pub address: String,
    /// Since when it gets no emails.
    pub since: Timestamp,
    /// The mail server that gets its emails. `None` if the other one fails too.
    pub taken_over_by: Option<String>,
}

/// Returns the mail servers that get no emails, in the order of the settings.
///
/// # Errors
/// An error of the database.
pub fn failing(conn: &mut Conn) -> Result<Vec<FailingServer>> {
    let rows: Vec<(String, Option<Timestamp>, Option<String>)> = m::table
        .filter(m::failing_since.is_not_null())
        .order(m::position)
        .select((m::address, m::failing_since, m::taken_over_by))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .filter_map(|(address, since, taken_over_by)| {
            Some(FailingServer {
                address,
                since: since?,
                taken_over_by,
            })
        })
        .collect())
}

/// The state of a mail server, without the time, by which a change is found.
type Known = (String, bool, Option<String>);

/// The service that stores which mail server gets no emails.
pub struct MailServers {
    db: Db,
    relays: Relays,
    stored: Option<Vec<Known>>,
}

impl MailServers {
    /// Creates the service for these mail servers.
    pub fn new(db: Db, relays: Relays) -> MailServers {
        MailServers {
            db,
            relays,
            stored: None,
        }
    }
}

impl Service for MailServers {
    const NAME: &'static str = "mail_servers";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        for relay in self.relays.all() {
            let mut stop = stop.clone();
            tokio::select! {
                () = smtp::probe(relay) => {}
                () = stop.wait() => return Ok(Next::Wait),
            }
        }
        let standing = self.relays.standing();
        let current = known(&standing);
        if self.stored.as_ref() == Some(&current) {
            return Ok(Next::Wait);
        }
        let servers = current.clone();
        self.db
            .write(&Actor::system("delivery"), move |tx| {
                store(tx, &servers, &standing)
            })
            .await?;
        self.stored = Some(current);
        Ok(Next::Wait)
    }
}

fn known(standing: &[RelayStanding]) -> Vec<Known> {
    let working = standing.iter().find(|server| server.passed_over.is_none());
    standing
        .iter()
        .map(|server| {
            let fails = server.passed_over.is_some();
            let instead = working.filter(|_| fails).map(|working| working.address.clone());
            (server.address.clone(), fails, instead)
        })
        .collect()
}

/// Stores the states that changed, each with its event. Mail servers that are not in the settings any more are removed.
fn store(tx: &mut Tx<'_>, servers: &[Known], standing: &[RelayStanding]) -> Result<()> {
    let addresses: Vec<&str> = servers.iter().map(|(address, _, _)| address.as_str()).collect();
    diesel::delete(m::table.filter(m::address.ne_all(&addresses))).execute(tx.conn)?;
    for (place, (address, fails, instead)) in servers.iter().enumerate() {
        let position = place as i64 + 1;
        let before: Option<(i64, Option<Timestamp>, Option<String>)> = m::table
            .find(address.as_str())
            .select((m::position, m::failing_since, m::taken_over_by))
            .first(tx.conn)
            .optional()?;
        let was = before
            .as_ref()
            .map(|(position, since, instead)| (*position, since.is_some(), instead.clone()));
        if was == Some((position, *fails, instead.clone())) {
            continue;
        }
        let passed_over = standing.get(place).and_then(|server| server.passed_over);
        let earlier = before.as_ref().and_then(|(_, since, _)| *since);
        let since = passed_over.map(|time| earlier.unwrap_or(tx.now.minus(time)));
        let new = (
            m::position.eq(position),
            m::failing_since.eq(since),
            m::taken_over_by.eq(instead.as_deref()),
            m::changed_at.eq(tx.now),
        );
        match before {
            Some(_) => diesel::update(m::table.find(address.as_str()))
                .set(new)
                .execute(tx.conn)?,
            None => diesel::insert_into(m::table)
                .values((m::address.eq(address.as_str()), new))
                .execute(tx.conn)?,
        };
        let did_fail = was.as_ref().is_some_and(|(_, fails, _)| *fails);
        let said = json!({"failing_since": since, "taken_over_by": instead});
        match (did_fail, *fails) {
            (_, true) => {
                tx.record(Event::new(Action::MailServerFails, "mail_server", address.as_str()).after(said));
            }
            (true, false) => {
                tx.record(Event::new(Action::MailServerWorks, "mail_server", address.as_str()).after(said));
            }
            // It works, as it did before.
            (false, false) => {}
        }
    }
    Ok(())
}
