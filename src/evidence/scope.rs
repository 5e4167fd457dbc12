//! Whom a file is about, and what of a frozen notice belongs into it.
//!
//! A file about a person contains the emails to this person. A file about an account contains what its members were sent because of it,
//! and the calls to its systems. Its readers may be others than the recipient of an email. So an email that also names another account,
//! or a person who is no member, is withheld: the file says that it was sent and when, and does not contain it.

use std::borrow::Cow;
use std::collections::HashSet;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::text::undirected;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, collaborators as c, member_history as mh, members as m, notice_recipients as nr,
    notices as n, people as p, resources as r,
};
use crate::incident::{self, Incident, lineage};
use crate::notice::EMAIL;
use crate::notice::compose::RecipientContext;
use crate::notice::history::newest_incidents;
use crate::notice::payload::EndpointContext;

/// What is wanted: the whole incident, or what concerns one person or one account.
#[derive(Clone, Debug)]
pub struct Request {
    /// The ID of the incident. The file is also about the incidents that were merged into it.
    pub incident: IncidentId,
    /// Only what concerns the person with this ID.
    pub person: Option<String>,
    /// Only what concerns the account with this ID.
    pub account: Option<String>,
}

/// The person or the account that a file is about.
pub(super) enum Whose {
    /// The file is about everybody.
    Everybody,
    /// The file is about one person.
    Person {
        /// The ID of the person.
        id: String,
        /// The name of the person in the directory, or else among the recipients of the incident.
        name: String,
    },
    /// The file is about one account.
    Account(Box<Account>),
}

/// An account, and who belongs to it.
pub(super) struct Account {
    pub id: String,
    pub name: String,
    /// The people who are or were members.
    people: HashSet<String>,
    /// Those of them who also are or were members of another account, or work on a resource of another one.
    elsewhere: HashSet<String>,
    /// Whether another account has the same name. Frozen emails contain only the names of accounts.
    shares_name: bool,
}

/// What of a recipient belongs into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing of the recipient belongs into the file.
    Nothing,
    /// Everything, with the email.
    Everything,
    /// That it was sent. The email also names somebody else.
    Withheld,
}

/// The people of a frozen email, without the rest of it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    people: Vec<Cow<'a, str>>,
}

/// What a file is about.
pub(super) struct Scope {
    pub incident: Incident,
    /// The incident and those that were merged into it.
    pub incidents: Vec<IncidentId>,
    pub whose: Whose,
}

/// What a file is about, as its manifest and its event say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct About {
    pub incident: IncidentId,
    pub number: i64,
    pub incidents: Vec<IncidentId>,
    pub person: Option<String>,
    pub account: Option<String>,
}

impl Scope {
    /// Reads whom a file is about.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist. `Invalid` if both a person and an account are given, or if nobody knows the person or
    /// the account.
    pub fn read(conn: &mut Conn, request: &Request) -> Result<Scope> {
        let incident = incident::get(conn, &request.incident)?;
        let incidents = lineage::ids_with_merged(conn, &incident.id)?;
        let whose = match (&request.person, &request.account) {
            (None, None) => Whose::Everybody,
            (Some(person), None) => known_person(conn, person, &incidents)?,
            (None, Some(account)) => Whose::Account(Box::new(known_account(conn, account)?)),
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "?account",
                    "cannot be combined with a person; leave one of the two out",
                ));
            }
        };
        Ok(Scope {
            incident,
            incidents,
            whose,
        })
    }

    /// Returns what the manifest says that the file is about.
    pub fn about(&self) -> About {
        let (person, account) = match &self.whose {
            Whose::Everybody => (None, None),
            Whose::Person { id, .. } => (Some(id.clone()), None),
            Whose::Account(account) => (None, Some(account.id.clone())),
        };
        About {
            incident: self.incident.id.clone(),
            number: self.incident.number,
            incidents: self.incidents.clone(),
            person,
            account,
        }
    }

    /// Returns whether the file is about everybody.
    pub fn is_whole(&self) -> bool {
        matches!(self.whose, Whose::Everybody)
    }

    /// Returns the incidents as texts, for statements.
    pub fn incident_texts(&self) -> Vec<&str> {
        self.incidents.iter().map(IncidentId::as_str).collect()
    }

    /// Returns whether a person's own entry, such as an answer, belongs into the file. `asked_here` says whether it answers an email
    /// of the file.
    pub fn has_entry_of(&self, person: &str, asked_here: bool) -> bool {
        match &self.whose {
            Whose::Everybody => true,
            Whose::Person { id, .. } => id == person,
            Whose::Account(account) => {
                account.people.contains(person) && (asked_here || !account.elsewhere.contains(person))
            }
        }
    }

    /// Returns what of a recipient belongs into the file.
    ///
    /// # Errors
    /// `Internal` if the frozen data is damaged.
    pub fn part(&self, channel: &str, context: &str) -> Result<Part> {
        match &self.whose {
            Whose::Everybody => Ok(Part::Everything),
            Whose::Person { id, .. } => {
                if channel != EMAIL {
                    return Ok(Part::Nothing);
                }
                let named: Named<'_> = serde_json::from_str(context)?;
                Ok(match named.people.iter().any(|person| person == id) {
                    true => Part::Everything,
                    false => Part::Nothing,
                })
            }
            Whose::Account(account) if channel == EMAIL => Ok(account.part(&serde_json::from_str(context)?)),
            Whose::Account(account) => {
                let context: EndpointContext = serde_json::from_str(context)?;
                Ok(match context.account.id == account.id {
                    true => Part::Everything,
                    false => Part::Nothing,
                })
            }
        }
    }
}

impl Account {
    fn part(&self, context: &RecipientContext) -> Part {
        let own = context
            .people
            .iter()
            .filter(|id| self.people.contains(*id))
            .count();
        if own == 0 {
            return Part::Nothing;
        }
        let name = undirected(&self.name);
        let named = |account: &str| account == name;
        let told_here = context.resources.is_empty()
            || context.more_resources > 0
            || context.resources.iter().any(|resource| named(&resource.account));
        if !told_here {
            return Part::Nothing;
        }
        let only_us = own == context.people.len()
            && context
                .resources
                .iter()
                .all(|resource| resource.account.is_empty() || named(&resource.account));
        // The email lists the first resources only, and its reason is about all of them.
        let certain = context.more_resources == 0 && !self.shares_name;
        let lives_here = context.people.iter().all(|id| !self.elsewhere.contains(id));
        match only_us && (certain || lives_here) {
            true => Part::Everything,
            false => Part::Withheld,
        }
    }

    /// Returns those of the people of an email who are members.
    pub fn members<'a>(&self, people: &'a [String]) -> Vec<&'a str> {
        let own = people.iter().filter(|id| self.people.contains(*id));
        own.map(String::as_str).collect()
    }
}

fn known_person(conn: &mut Conn, id: &str, incidents: &[IncidentId]) -> Result<Whose> {
    ExternalId::parse(id).map_err(|detail| Error::invalid("?person", detail))?;
    let in_directory: Option<String> = p::table
        .filter(p::id.eq(id))
        .select(p::name)
        .first(conn)
        .optional()?;
    let name = match in_directory {
        Some(name) => Some(name),
        None => nr::table
            .inner_join(n::table.on(n::id.eq(nr::notice_id)))
            .filter(nr::person_id.eq(id))
            .filter(n::incident_id.eq_any(incidents.iter().map(IncidentId::as_str)))
            .select(nr::name)
            .first(conn)
            .optional()?,
    };
    match name {
        Some(name) => Ok(Whose::Person {
            id: id.to_owned(),
            name,
        }),
        None => Err(Error::invalid(
            "?person",
            "there is no person with this ID in the directory or among the recipients of the incident",
        )),
    }
}

fn known_account(conn: &mut Conn, id: &str) -> Result<Account> {
    ExternalId::parse(id).map_err(|detail| Error::invalid("?account", detail))?;
    let found: Option<(i64, String)> = a::table
        .filter(a::id.eq(id))
        .select((a::key, a::name))
        .first(conn)
        .optional()?;
    let Some((key, name)) = found else {
        return Err(Error::invalid("?account", "there is no account with this ID"));
    };
    let mut keys: HashSet<i64> = m::table
        .filter(m::account_key.eq(key))
        .select(m::person_key)
        .load(conn)?
        .into_iter()
        .collect();
    let earlier: Vec<i64> = mh::table
        .filter(mh::account_key.eq(key))
        .select(mh::person_key)
        .load(conn)?;
    keys.extend(earlier);
    let keys: Vec<i64> = keys.into_iter().collect();
    let (mut people, mut elsewhere) = (HashSet::new(), HashSet::new());
    for chunk in keys.chunks(500) {
        let names: Vec<(i64, String)> = p::table
            .filter(p::key.eq_any(chunk))
            .select((p::key, p::id))
            .load(conn)?;
        let mut others: HashSet<i64> = m::table
            .filter(m::person_key.eq_any(chunk))
            .filter(m::account_key.ne(key))
            .select(m::person_key)
            .load(conn)?
            .into_iter()
            .collect();
        let were: Vec<i64> = mh::table
            .filter(mh::person_key.eq_any(chunk))
            .filter(mh::account_key.ne(key))
            .select(mh::person_key)
            .load(conn)?;
        // A resource without an account of its own may belong to any account, through its ancestors.
        let work: Vec<i64> = c::table
            .inner_join(r::table.on(r::key.eq(c::resource_key)))
            .filter(c::person_key.eq_any(chunk))
            .filter(r::account_key.is_null().or(r::account_key.ne(Some(key))))
            .select(c::person_key)
            .load(conn)?;
        others.extend(were);
        others.extend(work);
        for (key, id) in names {
            if others.contains(&key) {
                elsewhere.insert(id.clone());
            }
            people.insert(id);
        }
    }
    let alike: i64 = a::table
        .filter(a::name.eq(&name))
        .filter(a::key.ne(key))
        .count()
        .get_result(conn)?;
    Ok(Account {
        id: id.to_owned(),
        name,
        people,
        elsewhere,
        shares_name: alike > 0,
    })
}

/// An incident of which somebody was notified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifiedOf {
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident, for the people who work on it.
    pub title: String,
}

/// Returns the incidents of the newest notices to a person.
///
/// # Errors
/// An error of the database.
pub fn incidents_of_person(conn: &mut Conn, person: &str, limit: usize) -> Result<Vec<NotifiedOf>> {
    let people = [person.to_owned()];
    incidents_of(conn, &people, limit)
}

/// Returns the incidents of the newest notices to the members of an account.
///
/// # Errors
/// An error of the database.
pub fn incidents_of_account(conn: &mut Conn, account: &str, limit: usize) -> Result<Vec<NotifiedOf>> {
    let people: Vec<String> = m::table
        .inner_join(a::table.on(a::key.eq(m::account_key)))
        .inner_join(p::table.on(p::key.eq(m::person_key)))
        .filter(a::id.eq(account))
        .select(p::id)
        .order(p::id)
        .limit(500)
        .load(conn)?;
    incidents_of(conn, &people, limit)
}

fn incidents_of(conn: &mut Conn, people: &[String], limit: usize) -> Result<Vec<NotifiedOf>> {
    let ids = newest_incidents(conn, people, limit)?;
    let known = incident::of_ids(conn, &ids.iter().collect::<Vec<_>>())?;
    let found = ids.iter().filter_map(|id| known.get(id));
    Ok(found
        .map(|incident| NotifiedOf {
            number: incident.number,
            title: incident.title.clone(),
        })
        .collect())
}
