//! The users who hit the error: the known users in the events of an incident, and the number of unknown
//! users.
//!
//! A person counts as affected here only if an event named this person. An event without a user is counted
//! too.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{AlertId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::{Conn, FixedText};

word_enum! {
    /// How a user was found in the directory.
    #[derive(PartialOrd, Ord)]
    RecognisedBy, "what a user is recognised by" {
        /// By the ID in the directory.
        Id = "id",
        /// By the email address.
        Address = "address",
    }
}

/// A person was the user of events of one alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[schema(as = SeenInEvents)]
pub struct SeenInEvents {
    /// The alert. All events of one problem belong to one alert.
    pub alert: AlertId,
    /// The title of the alert. Customers do not see it.
    pub title: String,
    /// How the user was found in the directory.
    pub recognised_by: RecognisedBy,
    /// The number of events of this user.
    pub events: i64,
    /// When the first of these events happened.
    pub first_seen_at: Timestamp,
    /// When the last of these events happened.
    pub last_seen_at: Timestamp,
}

/// The events of an alert whose users are unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = UnidentifiedInEvents)]
pub struct UnidentifiedInEvents {
    /// The ID of the alert that has these events.
    pub alert: AlertId,
    /// The title of the alert. Customers do not see it.
    pub title: String,
    /// The number of different unknown users.
    pub users: i64,
    /// The number of events of these users.
    pub events: i64,
    /// The number of events that name no user at all. It is not known how many people hit these errors.
    pub without_user: i64,
    /// When the first of these events happened.
    pub first_seen_at: Timestamp,
    /// When the last of these events happened.
    pub last_seen_at: Timestamp,
}

/// The users in the events of an incident.
#[derive(Clone, Debug, Default)]
pub struct UsersInEvents {
    /// The known users, by the key of the person.
    pub people: BTreeMap<i64, Vec<SeenInEvents>>,
    /// The events of unknown users, by alert.
    pub unidentified: Vec<UnidentifiedInEvents>,
    /// The number of different unknown users over all alerts.
    pub unidentified_users: usize,
}

#[derive(QueryableByName)]
struct SeenRow {
    #[diesel(sql_type = BigInt)]
    person_key: i64,
    #[diesel(sql_type = Text)]
    alert: AlertId,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = Text)]
    matched_by: String,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = BigInt)]
    first_seen_at: Timestamp,
    #[diesel(sql_type = BigInt)]
    last_seen_at: Timestamp,
}

#[derive(QueryableByName)]
struct UnidentifiedRow {
    #[diesel(sql_type = Text)]
    alert: AlertId,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = BigInt)]
    users: i64,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = BigInt)]
    without_user: i64,
    #[diesel(sql_type = BigInt)]
    first_seen_at: Timestamp,
    #[diesel(sql_type = BigInt)]
    last_seen_at: Timestamp,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Returns the users in the events of an incident.
pub fn in_events(conn: &mut Conn, incident: &IncidentId) -> Result<UsersInEvents> {
    let rows: Vec<SeenRow> = diesel::sql_query(
        "SELECT ap.person_key, a.id AS alert, a.title, MAX(ap.matched_by) AS matched_by, \
                CAST(SUM(ap.events) AS BIGINT) AS events, MIN(ap.first_seen_at) AS first_seen_at, \
                MAX(ap.last_seen_at) AS last_seen_at \
         FROM alerts a JOIN alert_people ap ON ap.alert_id = a.id \
         WHERE a.incident_id = $1 AND ap.person_key IS NOT NULL \
         GROUP BY ap.person_key, a.id, a.title ORDER BY ap.person_key, a.id",
    )
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .load(conn)?;
    let mut found = UsersInEvents::default();
    for row in rows {
        found
            .people
            .entry(row.person_key)
            .or_default()
            .push(SeenInEvents {
                alert: row.alert,
                title: row.title,
                // If both occur, the more certain one counts: `id`, which is also the last in alphabetical order.
                recognised_by: RecognisedBy::parse(&row.matched_by).map_err(Error::internal)?,
                events: row.events,
                first_seen_at: row.first_seen_at,
                last_seen_at: row.last_seen_at,
            });
    }
    let rows: Vec<UnidentifiedRow> = diesel::sql_query(
        "SELECT a.id AS alert, a.title, \
                CAST(SUM(CASE WHEN ap.mark <> '' THEN 1 ELSE 0 END) AS BIGINT) AS users, \
                CAST(SUM(CASE WHEN ap.mark <> '' THEN ap.events ELSE 0 END) AS BIGINT) AS events, \
                CAST(SUM(CASE WHEN ap.mark = '' THEN ap.events ELSE 0 END) AS BIGINT) AS without_user, \
                MIN(ap.first_seen_at) AS first_seen_at, MAX(ap.last_seen_at) AS last_seen_at \
         FROM alerts a JOIN alert_people ap ON ap.alert_id = a.id \
         WHERE a.incident_id = $1 AND ap.person_key IS NULL GROUP BY a.id, a.title ORDER BY a.id",
    )
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .load(conn)?;
    if rows.is_empty() {
        return Ok(found);
    }
    let distinct: Counted = diesel::sql_query(
        "SELECT COUNT(DISTINCT ap.mark) AS n FROM alerts a JOIN alert_people ap ON ap.alert_id = a.id \
         WHERE a.incident_id = $1 AND ap.person_key IS NULL AND ap.mark <> ''",
    )
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .get_result(conn)?;
    found.unidentified_users = usize::try_from(distinct.n).unwrap_or_default();
    found.unidentified = rows
        .into_iter()
        .map(|row| UnidentifiedInEvents {
            alert: row.alert,
            title: row.title,
            users: row.users,
            events: row.events,
            without_user: row.without_user,
            first_seen_at: row.first_seen_at,
            last_seen_at: row.last_seen_at,
        })
        .collect();
    Ok(found)
}
