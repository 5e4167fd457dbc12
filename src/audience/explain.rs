//! Explains why a person is in the audience of an incident, or why not: every role that the person has or
//! had, and where the path from the role to an affected resource ends.
//!
//! An explanation contains everything that the audience contains, and every "no" has a reason.

use std::collections::BTreeSet;

use diesel::prelude::*;
use serde::Serialize;

use super::graph::{Affected, Graph, NodeIndex};
use super::person::{PersonRef, unreachable};
use super::resolve::resolve_by;
use super::step::{Step, StepAbout};
use super::{At, Reason, Rule};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, collaborators as k, members as m, opt_outs, people as p, resources as r,
};
use crate::directory::normal_address;
use crate::incident::affected::Source;
use crate::incident::affected_people::{self, Named};
use crate::incident::users_in_events;

/// The number of resources that one sentence names.
const NAMED: usize = 3;
/// The number of roles of one person that are explained.
const ROLES: i64 = 500;

/// The person or address to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The person with this ID.
    Person(String),
    /// Everybody with this email address.
    Address(String),
}

/// Why a person is in the audience, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Explained {
    /// The person who is explained, with the current name and email address.
    pub person: PersonRef,
    /// Whether the person is in the audience.
    pub in_audience: bool,
    /// Whether a notice would be sent to the person, who is in the audience and has a valid address.
    pub reachable: bool,
    /// The audience rule, in words.
    pub rule: String,
    /// Every reason for which the person is in the audience.
    pub reasons: Vec<Reason>,
    /// All facts that were checked.
    pub steps: Vec<Step>,
}

type PersonRow = (i64, String, String, String, Option<Timestamp>);

/// Explains the place of a person, or of everybody with an address, ordered by ID.
///
/// # Errors
/// `NotFound` if the incident does not exist, or if the directory has no person with this ID or address.
pub fn explain(conn: &mut Conn, incident: &IncidentId, who: &Who, rule: &Rule) -> Result<Vec<Explained>> {
    let audience = resolve_by(conn, incident, rule, At::Now)?;
    let mut query = p::table
        .select((p::key, p::id, p::name, p::email, p::gone_at))
        .order(p::id)
        .limit(ROLES)
        .into_boxed::<crate::db::Backend>();
    query = match who {
        Who::Person(id) => query.filter(p::id.eq(id.as_str())),
        Who::Address(address) => {
            // The expression is the same as in the index.
            let usual = normal_address(address);
            query.filter(
                diesel::dsl::sql::<diesel::sql_types::Bool>("LOWER(email) = ")
                    .bind::<diesel::sql_types::Text, _>(usual),
            )
        }
    };
    let people: Vec<PersonRow> = query.load(conn)?;
    if people.is_empty() {
        return Err(Error::NotFound(match who {
            Who::Person(id) => format!("person '{id}'"),
            Who::Address(_) => "a person with this address".to_owned(),
        }));
    }
    let scene = Scene {
        graph: Graph::of_incident(conn, incident, At::Now, true)?,
        rule,
    };
    let events = users_in_events::in_events(conn, incident)?;
    let named = affected_people::named(conn, incident, true)?;
    let anybody = named.values().any(|named| named.removed_at.is_none());
    let mut explained = Vec::with_capacity(people.len());
    for (key, id, name, email, gone_at) in people {
        let person = PersonRef { id, name, email };
        let found = audience
            .people
            .iter()
            .find(|addressee| addressee.person.id == person.id);
        let mut steps = about_person(conn, &person, gone_at)?;
        let before = steps.len();
        scene.memberships(conn, key, &mut steps)?;
        scene.collaborations(conn, key, &mut steps)?;
        if steps.len() == before {
            steps.push(Step {
                about: StepAbout::Membership,
                ok: false,
                detail: "is not, and never was, a member of an account or a collaborator on a resource"
                    .to_owned(),
            });
        }
        super::events::steps(&events, key, &mut steps);
        steps.extend(about_naming(named.get(&key), anybody));
        explained.push(Explained {
            in_audience: found.is_some(),
            reachable: found.is_some_and(|addressee| addressee.unreachable.is_none()),
            rule: rule.to_string(),
            reasons: found
                .map(|addressee| addressee.reasons.iter().collect())
                .unwrap_or_default(),
            steps,
            person,
        });
    }
    Ok(explained)
}

fn about_person(conn: &mut Conn, person: &PersonRef, gone_at: Option<Timestamp>) -> Result<Vec<Step>> {
    let mut steps = vec![Step {
        about: StepAbout::Directory,
        ok: gone_at.is_none(),
        detail: match gone_at {
            Some(at) => {
                format!("was archived in the directory at {at}, and Candor does not notify archived people")
            }
            None => "is in the directory".to_owned(),
        },
    }];
    let broken = unreachable(person);
    steps.push(Step {
        about: StepAbout::Address,
        ok: broken.is_none(),
        detail: broken.map_or_else(
            || "has a usable address".to_owned(),
            |why| format!("cannot be reached: {why}"),
        ),
    });
    let suppressed: Option<(String, Timestamp)> = opt_outs::table
        .filter(opt_outs::address.eq(normal_address(&person.email)))
        .select((opt_outs::reason, opt_outs::at))
        .first(conn)
        .optional()?;
    if let Some((reason, at)) = suppressed {
        let why = match reason.as_str() {
            "opted_out" => "the person opted out",
            "bounced" => "an email bounced permanently",
            _ => "the person reported an email as spam",
        };
        steps.push(Step {
            about: StepAbout::Suppression,
            ok: false,
            detail: format!("gets no updates since {at}, because {why}. Other notices are still sent"),
        });
    }
    Ok(steps)
}

/// Returns the step that says whether the person is named directly. There is none if nobody is. `anybody` says
/// whether other people are named directly.
fn about_naming(named: Option<&Named>, anybody: bool) -> Option<Step> {
    let (ok, detail) = match named {
        Some(named) => {
            let by = match named.source {
                Source::Selector => "by filter",
                Source::Comparison => "by a comparison",
                Source::Operator | Source::Alert => "manually",
            };
            let at = named.added_at;
            let as_of = named.as_of.map(|at| format!(" as of {at}")).unwrap_or_default();
            let added = format!("was added {by}{as_of} at {at}");
            match named.removed_at {
                None => {
                    let found = named.finding.iter().map(|found| format!(": {found}"));
                    (true, format!("{added}{}", found.collect::<String>()))
                }
                Some(removed) => (false, format!("{added}, and removed at {removed}")),
            }
        }
        None if anybody => {
            let detail = "is not one of the people who were added to the incident";
            (false, detail.to_owned())
        }
        None => return None,
    };
    Some(Step {
        about: StepAbout::Named,
        ok,
        detail,
    })
}

/// The affected resources of an incident, and the audience rule.
struct Scene<'a> {
    graph: Graph,
    rule: &'a Rule,
}

/// The paths between a role and the affected resources.
#[derive(Default)]
struct Ways {
    /// Paths that lead to an affected resource.
    open: Vec<String>,
    /// Why paths do not lead to an affected resource.
    closed: BTreeSet<String>,
    closed_more: usize,
}

impl Ways {
    fn close(&mut self, why: String) {
        if self.closed.len() < NAMED || self.closed.contains(&why) {
            self.closed.insert(why);
        } else {
            self.closed_more += 1;
        }
    }

    fn closed(&self) -> String {
        let mut text = self.closed.iter().cloned().collect::<Vec<_>>().join("; ");
        if self.closed_more > 0 {
            text = format!("{text}; and {} more", self.closed_more);
        }
        text
    }

    fn open(&self) -> String {
        let mut text = self
            .open
            .iter()
            .take(NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if self.open.len() > NAMED {
            text = format!("{text} and {} more", self.open.len() - NAMED);
        }
        text
    }
}

impl Scene<'_> {
    fn name(&self, node: NodeIndex) -> String {
        self.graph.reference(node).to_string()
    }

    /// Describes a path, for example `file v1 (part of media m9, part of project 42)`.
    fn way(&self, chain: &[NodeIndex], end: NodeIndex) -> String {
        let mut steps = Vec::new();
        for key in chain {
            steps.push(self.name(*key));
            if *key == end {
                break;
            }
        }
        match steps.split_first() {
            Some((first, rest)) if !rest.is_empty() => {
                format!("{first} (part of {})", rest.join(", part of "))
            }
            Some((first, _)) => first.clone(),
            None => String::new(),
        }
    }

    /// Follows the path up from every resource that is or was affected. `end` returns the index of the role's
    /// account or resource in the whole path, if it is there.
    fn ways(&self, end: impl Fn(&[NodeIndex]) -> Option<usize>) -> Ways {
        let mut ways = Ways::default();
        for affected in &self.graph.affected {
            let whole = self.graph.chain(affected.node, true);
            let Some(depth) = end(&whole) else { continue };
            let live = self.graph.chain(affected.node, false);
            let end = whole.get(depth).copied().unwrap_or(affected.node);
            match self.closed(affected, &whole, &live, depth) {
                Some(why) => ways.close(why),
                None => {
                    let found = match self.graph.finding(affected.node) {
                        Some(finding) => format!(" (a comparison found: {})", finding.internal()),
                        None => String::new(),
                    };
                    ways.open.push(self.way(&whole, end) + &found);
                }
            }
        }
        ways
    }

    /// Returns why the path from an affected resource up to `depth` is interrupted.
    fn closed(
        &self,
        affected: &Affected,
        whole: &[NodeIndex],
        live: &[NodeIndex],
        depth: usize,
    ) -> Option<String> {
        let name = self.name(affected.node);
        if let Some(at) = affected.removed_at {
            return Some(format!("{name} was removed from the incident at {at}"));
        }
        if live.len() <= depth {
            let cut = whole
                .get(live.len())
                .map(|key| self.name(*key))
                .unwrap_or_default();
            return Some(match live.len() {
                0 => format!("{name} is affected, but is archived in the directory"),
                _ => format!("{name} is part of {cut}, which is archived in the directory"),
            });
        }
        let owner = self.graph.owner(live)?;
        if self.graph.owner_is_active(owner) {
            return None;
        }
        Some(format!(
            "{name} belongs to the account {}, which is archived in the directory",
            self.graph.account(owner.account).id
        ))
    }

    fn memberships(&self, conn: &mut Conn, person: i64, steps: &mut Vec<Step>) -> Result<()> {
        type Row = (i64, String, String, Option<Timestamp>, Option<Timestamp>);
        let rows: Vec<Row> = m::table
            .inner_join(a::table)
            .filter(m::person_key.eq(person))
            .order(a::id)
            .limit(ROLES)
            .select((a::key, a::id, m::role, m::gone_at, a::gone_at))
            .load(conn)?;
        for (account, id, role, ended, gone) in rows {
            let ways = self.ways(|whole| {
                let owner = self.graph.owner(whole)?;
                (self.graph.account(owner.account).key == account).then_some(owner.depth)
            });
            let covered = self.rule.covers_member(&role);
            let (ok, detail) = if let Some(at) = ended {
                (false, format!("was {role} of the account {id} until {at}"))
            } else if let Some(at) = gone {
                let detail =
                    format!("is {role} of the account {id}, which was archived in the directory at {at}");
                (false, detail)
            } else if ways.open.is_empty() && ways.closed.is_empty() {
                let detail = format!("is {role} of the account {id}, which owns no affected resource");
                (false, detail)
            } else if ways.open.is_empty() {
                let detail = format!(
                    "is {role} of the account {id}, but this does not count: {}",
                    ways.closed()
                );
                (false, detail)
            } else if !covered {
                let detail = format!(
                    "is {role} of the account {id}, which owns {}; the audience rule includes {}, but not this role",
                    ways.open(),
                    self.rule
                );
                (false, detail)
            } else {
                (
                    true,
                    format!("is {role} of the account {id}, which owns {}", ways.open()),
                )
            };
            steps.push(Step {
                about: StepAbout::Membership,
                ok,
                detail,
            });
        }
        Ok(())
    }

    fn collaborations(&self, conn: &mut Conn, person: i64, steps: &mut Vec<Step>) -> Result<()> {
        type Row = (i64, String, String, String, Option<Timestamp>, Option<Timestamp>);
        let rows: Vec<Row> = k::table
            .inner_join(r::table)
            .filter(k::person_key.eq(person))
            .order((r::type_, r::id))
            .limit(ROLES)
            .select((r::key, r::type_, r::id, k::role, k::gone_at, r::gone_at))
            .load(conn)?;
        for (resource, type_, id, role, ended, gone) in rows {
            let ways = self.ways(|whole| {
                whole
                    .iter()
                    .position(|node| self.graph.node(*node).key == resource)
            });
            let on = format!("{type_} {id}");
            let covered = self.rule.covers_collaborator(&role);
            let (ok, detail) = if let Some(at) = ended {
                (false, format!("worked as {role} on {on} until {at}"))
            } else if let Some(at) = gone {
                let detail = format!("works as {role} on {on}, which was archived in the directory at {at}");
                (false, detail)
            } else if ways.open.is_empty() && ways.closed.is_empty() {
                let detail =
                    format!("works as {role} on {on}, which is not affected and has no affected parts");
                (false, detail)
            } else if ways.open.is_empty() {
                let detail = format!(
                    "works as {role} on {on}, but this does not count: {}",
                    ways.closed()
                );
                (false, detail)
            } else if !covered {
                let detail = format!(
                    "works as {role} on {on}; this includes the affected {}; the audience rule includes {}, but not this role",
                    ways.open(),
                    self.rule
                );
                (false, detail)
            } else {
                (
                    true,
                    format!(
                        "works as {role} on {on}; this includes the affected {}",
                        ways.open()
                    ),
                )
            };
            steps.push(Step {
                about: StepAbout::Collaboration,
                ok,
                detail,
            });
        }
        Ok(())
    }
}
