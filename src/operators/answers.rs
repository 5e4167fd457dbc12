//! Creates messages about customers for whom it is still broken or who need help.
//!
//! There is at most one message for each incident within five minutes, with the current numbers. So thousands of answers do not
//! become thousands of messages.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::contact::{self, Operator};
use super::message::{Facts, Headline, OperatorEvent};
use super::notify::SUBSCRIBER;
use super::{ACTOR, outbox};
use crate::answers::counts;
use crate::audit::{Actor, follow};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, Db};
use crate::incident;

/// The shortest time between two messages about the same incident.
const EVERY: Duration = Duration::from_secs(300);
/// Answers that are older cause no message, for example for an operator who was created later.
const RECENT: Duration = Duration::from_secs(3_600);

#[derive(QueryableByName)]
struct Latest {
    #[diesel(sql_type = Text)]
    incident_id: IncidentId,
    /// The number of all these answers of the incident. IDs would not do: with several processes, a smaller one may be committed
    /// later.
    #[diesel(sql_type = BigInt)]
    answers: i64,
}

/// Creates the messages that are due. Returns whether there were any.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. Nothing is stored then.
pub(super) async fn look(db: &Db) -> Result<bool> {
    let now = db.clock().now();
    if db.read(move |conn| due(conn, now)).await?.is_empty() {
        return Ok(false);
    }
    db.write(&Actor::system(ACTOR), |tx| {
        // Two processes that found the same answers wait for each other here, and the second one finds nothing.
        follow::hold(tx.conn, SUBSCRIBER)?;
        for (operator, key, facts) in due(tx.conn, tx.now)? {
            outbox::put(tx, &operator, &key, &facts, tx.now)?;
        }
        Ok(())
    })
    .await?;
    Ok(true)
}

/// Returns the messages that are due: for each incident with new answers, one for each operator who wants it.
fn due(conn: &mut Conn, now: Timestamp) -> Result<Vec<(Operator, String, Facts)>> {
    // The text of the condition is the same as in the partial index.
    let latest: Vec<Latest> = diesel::sql_query(
        "SELECT incident_id, COUNT(*) AS answers FROM answers WHERE answer IN ('broken', 'help') AND incident_id IN \
             (SELECT incident_id FROM answers WHERE answer IN ('broken', 'help') AND received_at > $1) \
         GROUP BY incident_id ORDER BY incident_id",
    )
    .bind::<BigInt, _>(now.minus(RECENT))
    .load(conn)?;
    if latest.is_empty() {
        return Ok(Vec::new());
    }
    let operators = contact::list(conn)?;
    let mut due = Vec::new();
    for Latest { incident_id, answers } in latest {
        let reported = outbox::latest(conn, &incident_id, OperatorEvent::Answered)?;
        let is_known = reported.is_some_and(|(at, key)| {
            let until = key.rsplit(':').next().and_then(|known| known.parse::<i64>().ok());
            until.is_some_and(|until| until >= answers) || at > now.minus(EVERY)
        });
        if is_known {
            continue;
        }
        let headline = Headline::from(&incident::get(conn, &incident_id)?);
        let wanting: Vec<&Operator> = operators
            .iter()
            .filter(|operator| operator.wants(OperatorEvent::Answered, headline.severity))
            .collect();
        if wanting.is_empty() {
            continue;
        }
        let (choices, _) = counts::choices(conn, &incident_id)?;
        // These people have changed their answers since, or they answered before the incident was reopened.
        if choices.broken + choices.help == 0 {
            continue;
        }
        let key = format!("answered:{incident_id}:{answers}");
        for operator in wanting {
            let facts = Facts {
                answers: Some(choices.into()),
                ..Facts::new(OperatorEvent::Answered, headline.clone())
            };
            due.push((operator.clone(), key.clone(), facts));
        }
    }
    Ok(due)
}
