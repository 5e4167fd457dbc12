//! Finds the users that events name in the directory, by their ID and then by their email address. A user who
//! is found becomes affected. An unknown user is counted, and is searched for again when the directory gets
//! new people.
//!
//! Of an unknown user, Candor stores only keyed hashes. They distinguish unknown users and recognise them
//! later. The ID and the address of an unknown user are never stored here in clear text.
//!
//! Nobody becomes affected by a guess, and every event is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::source::{Alert, PersonRef};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{AlertId, IncidentId};
use crate::base::random::random_secret;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::dialect::on_backend;
use crate::db::own_key::OwnKey;
use crate::db::schema::{alert_people as ap, alerts as a, audit_events as e, counters as c};
use crate::db::{Conn, Db, FixedText};
use crate::directory::{normal_address, person};
use crate::incident::users_in_events::RecognisedBy;

/// An event that is older than this on arrival does not move the start time of an incident: a clock is wrong,
/// or somebody sent old events.
const OLDEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The number of known people that one audit event names.
const NAMED: usize = 50;

/// Makes the hashes that distinguish users. Nobody can make them without the key of this database.
struct UserHasher(Hmac<Sha256>);

impl UserHasher {
    fn new(key: &str) -> Result<UserHasher> {
        Ok(UserHasher(
            Hmac::new_from_slice(key.as_bytes()).map_err(Error::internal)?,
        ))
    }

    /// Returns the key of this database, and creates it at the first use.
    fn of(tx: &mut Tx<'_>) -> Result<UserHasher> {
        UserHasher::new(&OwnKey::Users.stored_or(tx.conn, random_secret)?)
    }

    fn hash(&self, kind: &str, word: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(kind.as_bytes());
        mac.update(b":");
        mac.update(word.as_bytes());
        hex(&mac.finalize().into_bytes()[..16])
    }

    fn id(&self, id: &str) -> String {
        self.hash("id", id)
    }

    fn address(&self, address: &str) -> String {
        self.hash("address", &normal_address(address))
    }
}

/// A user of an event.
struct User<'a> {
    id: Option<&'a str>,
    address: Option<String>,
    id_mark: Option<String>,
    email_mark: Option<String>,
}

/// Returns the users of an event by their hashes, each user once. A user without an ID, an address and a name
/// is ignored.
fn users<'a>(hasher: &UserHasher, people: &'a [PersonRef]) -> BTreeMap<String, User<'a>> {
    fn word(text: Option<&String>) -> Option<&str> {
        text.map(|text| text.trim()).filter(|text| !text.is_empty())
    }
    let mut users = BTreeMap::new();
    for person in people {
        let (id, email) = (word(person.id.as_ref()), word(person.email.as_ref()));
        let id_mark = id.map(|id| hasher.id(id));
        let email_mark = email.map(|email| hasher.address(email));
        let name = word(person.username.as_ref()).map(|name| hasher.hash("name", name));
        let Some(mark) = id_mark.clone().or(email_mark.clone()).or(name) else {
            continue;
        };
        users.insert(
            mark,
            // A value with a control character is in no directory, and PostgreSQL would not accept it.
            User {
                id: id.filter(|id| !id.chars().any(char::is_control)),
                address: email
                    .filter(|email| !email.chars().any(char::is_control))
                    .map(normal_address),
                id_mark,
                email_mark,
            },
        );
    }
    users
}

/// Returns when the problem began by its alert. None if the alert gives no time, or a time that is too old to
/// be credible.
pub(super) fn believed_start(alert: &Alert, now: Timestamp) -> Option<Timestamp> {
    alert
        .started_at
        .map(|at| at.min(now))
        .filter(|at| *at >= now.minus(OLDEST))
}

/// Stores the users of an event that was just stored.
pub(super) fn record_users(
    tx: &mut Tx<'_>,
    alert: &Alert,
    id: &AlertId,
    incident: Option<&IncidentId>,
) -> Result<()> {
    let at = alert.started_at.or(alert.ended_at).unwrap_or(tx.now).min(tx.now);
    if let Some(at) = believed_start(alert, tx.now) {
        diesel::update(a::table.find(id.as_str()).filter(a::started_at.gt(at)))
            .set(a::started_at.eq(at))
            .execute(tx.conn)?;
    }
    let mut named: Vec<String> = Vec::new();
    let mut unidentified = 0;
    let users = if alert.people.is_empty() {
        BTreeMap::new()
    } else {
        users(&UserHasher::of(tx)?, &alert.people)
    };
    if users.is_empty() {
        count(tx.conn, id, "", (None, None), None, (at, alert.firing))?;
    }
    let ids: Vec<&str> = users.values().filter_map(|user| user.id).collect();
    let addresses: Vec<&str> = users
        .values()
        .filter_map(|user| user.address.as_deref())
        .collect();
    let known = person::known(tx.conn, &ids, &addresses)?;
    for (mark, user) in &users {
        let by_id = user.id.and_then(|id| known.by_id.get(id));
        let by_address = || user.address.as_ref().and_then(|at| known.by_address.get(at));
        let person = by_id
            .map(|key| (*key, RecognisedBy::Id))
            .or_else(|| by_address().map(|key| (*key, RecognisedBy::Address)));
        match (person, user.id) {
            (None, _) => unidentified += 1,
            (Some((_, RecognisedBy::Id)), Some(id)) => named.push(id.to_owned()),
            (Some((key, _)), _) => named.push(person::id_of(tx.conn, key)?),
        }
        let marks = (user.id_mark.as_deref(), user.email_mark.as_deref());
        count(tx.conn, id, mark, marks, person, (at, alert.firing))?;
    }
    let known_people = named.len();
    named.truncate(NAMED);
    let event = Event::new(Action::PeopleSeen, "alert", id.as_str()).after(json!({
        "at": at, "people": named, "known": known_people, "unidentified": unidentified, "without_user": users.is_empty(),
    }));
    tx.record(match incident {
        Some(incident) => event.incident(incident),
        None => event,
    });
    Ok(())
}

/// Counts one event of the user with this hash. An event that reports the end of a problem does not increase
/// the count of a user who is already stored.
fn count(
    conn: &mut Conn,
    alert: &AlertId,
    mark: &str,
    (id_mark, email_mark): (Option<&str>, Option<&str>),
    person: Option<(i64, RecognisedBy)>,
    (at, firing): (Timestamp, bool),
) -> Result<()> {
    diesel::sql_query(
        "INSERT INTO alert_people (alert_id, mark, id_mark, email_mark, person_key, matched_by, events, first_seen_at, last_seen_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8) \
         ON CONFLICT (alert_id, mark) DO UPDATE SET \
             events = alert_people.events + $9, \
             first_seen_at = CASE WHEN excluded.first_seen_at < alert_people.first_seen_at \
                 THEN excluded.first_seen_at ELSE alert_people.first_seen_at END, \
             last_seen_at = CASE WHEN excluded.last_seen_at > alert_people.last_seen_at \
                 THEN excluded.last_seen_at ELSE alert_people.last_seen_at END, \
             email_mark = COALESCE(excluded.email_mark, alert_people.email_mark), \
             matched_by = COALESCE(alert_people.matched_by, excluded.matched_by), \
             person_key = COALESCE(alert_people.person_key, excluded.person_key)",
    )
    .bind::<Text, _>(alert.as_str())
    .bind::<Text, _>(mark)
    .bind::<Nullable<Text>, _>(id_mark)
    .bind::<Nullable<Text>, _>(email_mark)
    .bind::<Nullable<BigInt>, _>(person.map(|(key, _)| key))
    .bind::<Nullable<Text>, _>(person.map(|(_, by)| by.as_str()))
    .bind::<BigInt, _>(at)
    .bind::<BigInt, _>(at)
    .bind::<BigInt, _>(i64::from(firing))
    .fixed()
    .execute(conn)?;
    Ok(())
}

/// The setting that holds the position of the subscriber on the audit trail.
const FOLLOWED: &str = "people_identified";
/// How long new events of the audit trail are processed again. A transaction that stores an event at the same
/// time may have read the directory just before the change.
const AGAIN: Duration = Duration::from_secs(10);
/// The number of people that one query reads.
const STEP: i64 = 5_000;
const MAX: i64 = 100_000;
/// The audit events after which the directory may contain new people.
const LEARNT: [Action; 4] = [
    Action::PersonPut,
    Action::DirectoryImported,
    Action::DirectorySynced,
    Action::CalloutAnswered,
];

/// Unknown users by one of their hashes, with the rows that have this hash.
type Wanted = HashMap<String, Vec<(AlertId, String)>>;

/// An unknown user, and the person that this user turned out to be.
struct IdentifiedUser {
    alert: AlertId,
    mark: String,
    person: i64,
    by: RecognisedBy,
}

/// The newest event that was seen on the audit trail, and when it was seen. The position moves on only after
/// a while.
#[derive(Default)]
pub struct SearchPosition(Mutex<Option<(i64, Instant)>>);

impl SearchPosition {
    /// Stores the newest event. Returns the position up to which the trail need not be processed again.
    fn note(&self, newest: i64) -> Option<i64> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *noted {
            Some((seq, since)) if since.elapsed() > AGAIN => {
                *noted = (newest > seq).then(|| (newest, Instant::now()));
                Some(seq)
            }
            Some(_) => None,
            None => {
                *noted = Some((newest, Instant::now()));
                None
            }
        }
    }
}

/// Searches for unknown users among the people who were added to the directory since the last search.
pub async fn identify(db: &Db, position: &SearchPosition) -> Result<()> {
    let Some((newest, found)) = db.read(search).await? else {
        return Ok(());
    };
    let followed = position.note(newest);
    if found.is_empty() && followed.is_none() {
        return Ok(());
    }
    db.write(&Actor::system("directory"), move |tx| {
        store(tx, found)?;
        if let Some(seq) = followed {
            on_backend!(&mut *tx.conn, conn => diesel::insert_into(c::table)
                .values((c::name.eq(FOLLOWED), c::value.eq(seq)))
                .on_conflict(c::name)
                .do_update()
                .set(c::value.eq(seq))
                .execute(conn))?;
        }
        Ok(())
    })
    .await
}

/// Returns the newest unprocessed event of the directory and the users who were found. None if there is no
/// such event or no unknown user.
fn search(conn: &mut Conn) -> Result<Option<(i64, Vec<IdentifiedUser>)>> {
    let any: Option<String> = ap::table
        .filter(ap::person_key.is_null())
        .filter(sql::<Bool>("alert_people.mark <> ''"))
        .select(ap::mark)
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?;
    let (Some(_), Some(key)) = (any, OwnKey::Users.stored(conn)?) else {
        return Ok(None);
    };
    let before: i64 = c::table
        .find(FOLLOWED)
        .select(c::value)
        .first(conn)
        .optional()?
        .unwrap_or_default();
    let (since, newest): (Option<Timestamp>, Option<i64>) = e::table
        .filter(e::action.eq_any(LEARNT.map(Action::as_str)))
        .filter(e::seq.gt(before))
        .select((diesel::dsl::min(e::at), diesel::dsl::max(e::seq)))
        .first(conn)?;
    let Some((since, newest)) = since.zip(newest) else {
        return Ok(None);
    };
    let hasher = UserHasher::new(&key)?;
    let (by_id, by_address) = wanted(conn)?;
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let people = person::learnt(conn, since, after, STEP)?;
        let Some(last) = people.last() else { break };
        after = last.key;
        for person in &people {
            let by_id = (by_id.get(&hasher.id(&person.id)), RecognisedBy::Id);
            let by_address = (
                by_address.get(&hasher.address(&person.email)),
                RecognisedBy::Address,
            );
            for (rows, by) in [by_id, by_address] {
                found.extend(rows.into_iter().flatten().map(|(alert, mark)| IdentifiedUser {
                    alert: alert.clone(),
                    mark: mark.clone(),
                    person: person.key,
                    by,
                }));
            }
        }
    }
    // A match by ID comes before a match by address. Among people with the same address, the one who was
    // stored first comes first.
    found.sort_by_key(|one| (one.by, one.person));
    Ok(Some((newest, found)))
}

fn wanted(conn: &mut Conn) -> Result<(Wanted, Wanted)> {
    type Row = (AlertId, String, Option<String>, Option<String>);
    let rows: Vec<Row> = ap::table
        .filter(ap::person_key.is_null())
        .filter(sql::<Bool>("alert_people.mark <> ''"))
        .order(ap::alert_id.desc())
        .limit(MAX)
        .select((ap::alert_id, ap::mark, ap::id_mark, ap::email_mark))
        .load(conn)?;
    let (mut by_id, mut by_address) = (Wanted::new(), Wanted::new());
    for (alert, mark, id_mark, email_mark) in rows {
        for (all, own) in [(&mut by_id, id_mark), (&mut by_address, email_mark)] {
            if let Some(own) = own {
                all.entry(own).or_default().push((alert.clone(), mark.clone()));
            }
        }
    }
    Ok((by_id, by_address))
}

/// Stores the users who were found, with one audit event for each alert. They become affected.
fn store(tx: &mut Tx<'_>, found: Vec<IdentifiedUser>) -> Result<()> {
    let mut of_alerts: BTreeMap<AlertId, Vec<i64>> = BTreeMap::new();
    for one in found {
        let changed = diesel::update(
            ap::table
                .find((one.alert.as_str(), one.mark.as_str()))
                .filter(ap::person_key.is_null()),
        )
        .set((
            ap::person_key.eq(Some(one.person)),
            ap::matched_by.eq(Some(one.by.as_str())),
        ))
        .execute(tx.conn)?;
        if changed > 0 {
            of_alerts.entry(one.alert).or_default().push(one.person);
        }
    }
    for (alert, people) in of_alerts {
        let incident: Option<IncidentId> = a::table
            .find(alert.as_str())
            .select(a::incident_id)
            .first(tx.conn)?;
        let mut named = Vec::new();
        for key in people.iter().take(NAMED) {
            named.push(person::id_of(tx.conn, *key)?);
        }
        let event = Event::new(Action::PeopleIdentified, "alert", alert.as_str())
            .after(json!({"people": named, "known": people.len()}));
        tx.record(match &incident {
            Some(incident) => event.incident(incident),
            None => event,
        });
    }
    Ok(())
}

/// The rows of users who can be one person: those that were found to be the person, and unknown users with the same hashes.
fn rows_of(conn: &mut Conn, person: i64, id: &str, addresses: &[String]) -> Result<Vec<(AlertId, String)>> {
    let mut found: Vec<(AlertId, String)> = ap::table
        .filter(ap::person_key.eq(Some(person)))
        .select((ap::alert_id, ap::mark))
        .load(conn)?;
    if let Some(key) = OwnKey::Users.stored(conn)? {
        let hasher = UserHasher::new(&key)?;
        let mut marks = vec![hasher.id(id)];
        marks.extend(addresses.iter().map(|address| hasher.address(address)));
        let more: Vec<(AlertId, String)> = ap::table
            .filter(
                ap::id_mark
                    .eq_any(marks.iter().map(Some).collect::<Vec<_>>())
                    .or(ap::email_mark.eq_any(marks.iter().map(Some).collect::<Vec<_>>())),
            )
            .select((ap::alert_id, ap::mark))
            .load(conn)?;
        found.extend(more);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Counts the users of errors who are one person.
///
/// # Errors
/// An error of the database.
pub(crate) fn count_of(conn: &mut Conn, person: i64, id: &str, addresses: &[String]) -> Result<i64> {
    Ok(rows_of(conn, person, id, addresses)?.len() as i64)
}

/// Removes the hashes of a person from the users of errors. The users stay counted.
///
/// # Errors
/// An error of the database.
pub(crate) fn forget(conn: &mut Conn, person: i64, id: &str, addresses: &[String]) -> Result<i64> {
    let rows = rows_of(conn, person, id, addresses)?;
    for (alert, mark) in &rows {
        // Nobody with the same hash may be counted into this row later.
        let fresh = format!("erased-{}", random_secret()?);
        diesel::update(ap::table.find((alert.as_str(), mark)))
            .set((
                ap::mark.eq(fresh),
                ap::id_mark.eq(None::<String>),
                ap::email_mark.eq(None::<String>),
            ))
            .execute(conn)?;
    }
    Ok(rows.len() as i64)
}
