//! The page of one person: what affects the person now, what the person was told and answered, and what the person chose. The owner of an
//! account sees what its people were told too.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;
use serde::Serialize;

use super::feed::{self, FeedNotice};
use super::pass::Visitor;
use super::phase_words;
use super::preferences::{self, Preferences};
use super::status::{self, FeedIncident, Open};
use crate::audience::OWNER;
use crate::auth::Links;
use crate::base::error::{Error, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::language::Language;
use crate::base::text::undirected;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, incident_resources as ir, incidents as i, members as m, recovery_states as rs,
    resources as r,
};
use crate::directory::{ResourceRef, choices, person, resource};
use crate::incident::planned::incident_number;
use crate::incident::recovery;
use crate::notice::DeliveryState;
use crate::notice::history::{self, HistoryAnswer, Wanted};
use crate::notice::template::{MailResource, Phase};

/// The largest number of notices that the page lists.
const TOLD: i64 = 100;
/// The largest number of accounts of an owner.
const ACCOUNTS: i64 = 20;
/// The largest number of emails to the people of an account that are looked at.
const OF_ACCOUNT: i64 = 500;

/// The largest number of a person's resources in one incident that are listed.
const RESOURCES: usize = 20_000;
/// The number of keys in one statement.
const AT_ONCE: usize = 500;

/// Returns the keys of the resources through which a person is affected by an incident now.
pub type OwnResources<'a> = dyn Fn(&mut Conn, &IncidentId) -> Result<Vec<i64>> + 'a;

/// Everything on the page of a person.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Mine {
    /// The ID of the person.
    pub person: String,
    /// The name of the person.
    pub name: String,
    /// When this was read.
    pub as_of: Timestamp,
    /// The open incidents of which the person was told.
    pub incidents: Vec<MyIncident>,
    /// The newest notices to the person.
    pub notices: Vec<MyNotice>,
    /// Whether there are more notices than those.
    pub more_notices: bool,
    /// The accounts that the person owns.
    pub accounts: Vec<MyAccount>,
    /// What the person chose, and what applies.
    pub preferences: Preferences,
}

/// An open incident with the person's own resources.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MyIncident {
    /// The fields of the incident, as in the feed.
    #[serde(flatten)]
    pub incident: FeedIncident,
    /// The person's own resources: first those that the last notice named, and then the others that it counted and that are still
    /// affected, at most 20,000.
    pub affected: Vec<MyResource>,
}

/// One of the person's own resources.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MyResource {
    /// The type of the resource, as the notice named it.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource, as the notice named it.
    pub id: String,
    /// The name that the notice used.
    pub name: String,
    /// `impaired`, `recovering` or `recovered`; `affected` if the incident has no recovery states; `not_affected` if the incident does not
    /// affect it any more.
    pub state: String,
}

/// A notice with the person's answer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MyNotice {
    /// The fields of the notice, as in the feed.
    #[serde(flatten)]
    pub notice: FeedNotice,
    /// The last answer of the person. Null if there is none.
    pub answer: Option<HistoryAnswer>,
}

/// An account that the person owns.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MyAccount {
    /// The ID of the account.
    pub id: String,
    /// The name of the account.
    pub name: String,
    /// What the people of the account were told, the newest first.
    pub notices: Vec<AccountNotice>,
}

/// A notice to people of an account.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AccountNotice {
    /// The number of the incident. Null for a planned maintenance.
    pub incident: Option<i64>,
    /// The phase of the notice.
    pub phase: Phase,
    /// The phase in the language of the reader.
    pub title: String,
    /// When it was sent first.
    pub at: Timestamp,
    /// The number of people of the account who were sent it.
    pub people: usize,
    /// Whether the incident is open.
    pub open: bool,
    /// How many of the account's affected resources are restored. Null if the incident is not open or has no recovery states.
    pub recovery: Option<AccountRecovery>,
}

/// How many of the affected resources of an account are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = CustomerRecovery)]
pub struct AccountRecovery {
    /// The number of affected resources, restored or not.
    pub affected: usize,
    /// The number of restored resources.
    pub recovered: usize,
}

/// Returns everything on the page of a person.
///
/// # Errors
/// An error of the database.
pub fn of(
    conn: &mut Conn,
    visitor: &Visitor,
    links: &Links,
    own: &OwnResources<'_>,
    now: Timestamp,
) -> Result<Mine> {
    let applied = choices::applied(conn, visitor.key)?;
    let person = person::get(conn, &visitor.person)?;
    let (told, next) = history::told(conn, &visitor.person, None, TOLD)?;
    let read_up_to = super::read::mark(conn, visitor.key)?;
    let notices = told
        .iter()
        .map(|one| {
            Ok(MyNotice {
                notice: feed::shown(one, applied.language, read_up_to, links)?,
                answer: one.entry.answer.clone(),
            })
        })
        .collect::<Result<_>>()?;
    Ok(Mine {
        name: person.name,
        person: person.id,
        as_of: now,
        incidents: incidents(conn, visitor, own, applied.language)?,
        notices,
        more_notices: next.is_some(),
        accounts: accounts(conn, visitor, applied.language)?,
        preferences: preferences::of(conn, visitor)?,
    })
}

fn incidents(
    conn: &mut Conn,
    visitor: &Visitor,
    own: &OwnResources<'_>,
    language: Language,
) -> Result<Vec<MyIncident>> {
    let mut found = Vec::new();
    for open in status::open(conn, &visitor.person)? {
        found.push(MyIncident {
            incident: status::shown(&open, language)?,
            affected: affected(conn, &open, own)?,
        });
    }
    Ok(found)
}

/// Returns an open incident of which a person was told, with all of the person's own resources.
///
/// # Errors
/// `NotFound` if there is no such incident.
pub fn incident(
    conn: &mut Conn,
    visitor: &Visitor,
    own: &OwnResources<'_>,
    number: i64,
    language: Language,
) -> Result<MyIncident> {
    let open = status::open(conn, &visitor.person)?;
    let open = open.into_iter().find(|open| open.incident.number == number);
    let open = open.ok_or_else(|| Error::NotFound(format!("an open incident {number} of yours")))?;
    Ok(MyIncident {
        incident: status::shown(&open, language)?,
        affected: affected(conn, &open, own)?,
    })
}

fn affected(conn: &mut Conn, open: &Open, own: &OwnResources<'_>) -> Result<Vec<MyResource>> {
    let incident = &open.incident.id;
    let in_use = recovery::in_use(conn, incident)?;
    let texts = feed::texts(&open.last);
    let mut named = named(conn, incident, &texts.resources)?;
    let mut affected: Vec<MyResource> = Vec::new();
    for resource in texts.resources {
        let stored = named.remove(&(resource.type_.clone(), resource.id.clone()));
        affected.push(MyResource {
            state: match stored {
                Some(stored) if stored.removed_at.is_none() => state_of(stored.state, in_use),
                _ => "not_affected".to_owned(),
            },
            type_: resource.type_,
            id: resource.id,
            name: resource.label,
        });
    }
    // If the notice named all of them, the audience is not needed.
    if texts.more_resources > 0 {
        let keys = own(conn, incident)?;
        let stored = stored(conn, incident, &keys[..keys.len().min(RESOURCES)])?;
        affected.extend(others(stored, open.last.entry.queued_at, &affected, in_use));
    }
    Ok(affected)
}

fn state_of(state: Option<String>, in_use: bool) -> String {
    match state {
        Some(state) => state,
        None if in_use => recovery::State::Impaired.as_str().to_owned(),
        None => "affected".to_owned(),
    }
}

/// What is stored of a resource in an incident.
#[derive(Queryable)]
struct Stored {
    type_: String,
    id: String,
    name: Option<String>,
    added_at: Timestamp,
    removed_at: Option<Timestamp>,
    /// The recovery state. `None` if none was stored.
    state: Option<String>,
}

/// Returns what is stored of the resources with these keys in an incident.
fn stored(conn: &mut Conn, incident: &IncidentId, keys: &[i64]) -> Result<Vec<Stored>> {
    let mut found = Vec::new();
    for chunk in keys.chunks(AT_ONCE) {
        let stored: Vec<Stored> = ir::table
            .inner_join(r::table)
            .left_join(
                rs::table.on(rs::incident_id
                    .eq(ir::incident_id)
                    .and(rs::resource_key.eq(ir::resource_key))),
            )
            .filter(ir::incident_id.eq(incident.as_str()))
            .filter(ir::resource_key.eq_any(chunk))
            .select((
                r::type_,
                r::id,
                r::name,
                ir::added_at,
                ir::removed_at,
                rs::state.nullable(),
            ))
            .load(conn)?;
        found.extend(stored);
    }
    Ok(found)
}

/// Returns what is stored of the resources that a notice named, by their type and ID.
fn named(
    conn: &mut Conn,
    incident: &IncidentId,
    resources: &[MailResource],
) -> Result<HashMap<(String, String), Stored>> {
    let parsed = resources.iter().map(|one| {
        Ok(ResourceRef {
            type_: ExternalId::parse(&one.type_)?,
            id: ExternalId::parse(&one.id)?,
        })
    });
    let parsed: Vec<ResourceRef> = parsed
        .collect::<std::result::Result<_, String>>()
        .map_err(Error::internal)?;
    let refs: Vec<&ResourceRef> = parsed.iter().collect();
    let keys: Vec<i64> = resource::keys_even_archived(conn, &refs)?.into_values().collect();
    let found = stored(conn, incident, &keys)?.into_iter();
    Ok(found
        .map(|one| ((one.type_.clone(), one.id.clone()), one))
        .collect())
}

/// Returns those of the person's own resources that the last notice only counted. One that became affected after the notice was queued is
/// left out, because nobody has notified the person of it yet.
fn others(stored: Vec<Stored>, queued_at: Timestamp, named: &[MyResource], in_use: bool) -> Vec<MyResource> {
    let named: HashSet<(&str, &str)> = named
        .iter()
        .map(|one| (one.type_.as_str(), one.id.as_str()))
        .collect();
    let mut found: Vec<MyResource> = stored
        .into_iter()
        .filter(|one| one.removed_at.is_none() && one.added_at <= queued_at)
        .filter(|one| !named.contains(&(one.type_.as_str(), one.id.as_str())))
        .map(|one| MyResource {
            name: match &one.name {
                Some(name) => undirected(name).into_owned(),
                None => format!("{} {}", one.type_, one.id),
            },
            state: state_of(one.state, in_use),
            type_: one.type_,
            id: one.id,
        })
        .collect();
    found.sort_by(|one, other| (&one.name, &one.type_, &one.id).cmp(&(&other.name, &other.type_, &other.id)));
    found
}

/// Returns what the people of the accounts that a person owns were told. It names none of them.
fn accounts(conn: &mut Conn, visitor: &Visitor, language: Language) -> Result<Vec<MyAccount>> {
    let owned: Vec<(String, String)> = m::table
        .inner_join(a::table)
        .filter(m::person_key.eq(visitor.key))
        .filter(m::role.eq(OWNER))
        .filter(m::gone_at.is_null())
        .filter(a::gone_at.is_null())
        .order(a::name)
        .select((a::id, a::name))
        .limit(ACCOUNTS)
        .load(conn)?;
    let mut found = Vec::new();
    for (id, name) in owned {
        let wanted = Wanted {
            account: Some(id.clone()),
            ..Wanted::default()
        };
        let told = history::list(conn, &wanted, None, OF_ACCOUNT)?;
        let mut order: Vec<String> = Vec::new();
        let mut notices: BTreeMap<String, AccountNotice> = BTreeMap::new();
        for entry in told.entries {
            let sent = matches!(entry.state, DeliveryState::Sent | DeliveryState::Bounced);
            if entry.drill || entry.endpoint.is_some() || !sent {
                continue;
            }
            let key = entry.notice.to_string();
            let people = entry.people.len();
            match notices.get_mut(&key) {
                Some(notice) => {
                    notice.people += people;
                    notice.at = notice.at.min(entry.at);
                }
                None => {
                    order.push(key.clone());
                    let notice = AccountNotice {
                        incident: incident_number(entry.incident.number),
                        phase: entry.phase,
                        title: phase_words::name(entry.phase, language)?.to_owned(),
                        at: entry.at,
                        people,
                        open: false,
                        recovery: None,
                    };
                    notices.insert(key, notice);
                }
            }
        }
        let mut notices: Vec<AccountNotice> =
            order.into_iter().filter_map(|key| notices.remove(&key)).collect();
        mark_open(conn, &mut notices)?;
        found.push(MyAccount { id, name, notices });
    }
    Ok(found)
}

fn mark_open(conn: &mut Conn, notices: &mut [AccountNotice]) -> Result<()> {
    let numbers: Vec<i64> = notices.iter().filter_map(|notice| notice.incident).collect();
    let statuses: HashMap<i64, String> = i::table
        .filter(i::number.eq_any(&numbers))
        .select((i::number, i::status))
        .load(conn)?
        .into_iter()
        .collect();
    for notice in notices {
        let status = notice.incident.and_then(|number| statuses.get(&number));
        notice.open = status.is_some_and(|status| !matches!(status.as_str(), "resolved" | "merged"));
    }
    Ok(())
}
