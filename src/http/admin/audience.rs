//! The people of an incident: who, why, by which way, and whether they were told.
//!
//! Must never happen here: a person without a reason, or more people on a page than a page holds.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Value, json};

use super::ROWS;
use super::view::{account_path, count, grouped, link, person_path, resource, resource_path};
use crate::audience::{Addressee, Audience, Reason};
use crate::directory::ResourceRef;
use crate::http::page::{Page, page};

/// Which of the people to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// Those who were told nothing and could be.
    NotTold,
    /// Those who were told something.
    Told,
    /// Those who cannot be told.
    Unreachable,
}

impl Chosen {
    fn as_str(self) -> &'static str {
        match self {
            Chosen::NotTold => "not_told",
            Chosen::Told => "told",
            Chosen::Unreachable => "unreachable",
        }
    }
}

/// The section, and how many people are not told yet.
pub struct Section {
    /// For the page.
    pub shown: Value,
    /// People who could be told and were not.
    pub not_told: usize,
}

/// Reasons of one person, and resources of one reason, that are shown before they are only counted.
const MOST: usize = 5;

/// One page of the people of an audience.
pub fn section(
    audience: &Audience,
    told: &HashMap<String, bool>,
    chosen: Option<Chosen>,
    after: Option<&str>,
    base: &str,
) -> Section {
    let standing =
        |addressee: &Addressee| match (&addressee.unreachable, told.contains_key(&addressee.person.id)) {
            (_, true) => Chosen::Told,
            (Some(_), false) => Chosen::Unreachable,
            (None, false) => Chosen::NotTold,
        };
    let mut numbers = (0, 0, 0);
    for addressee in &audience.people {
        match standing(addressee) {
            Chosen::NotTold => numbers.0 += 1,
            Chosen::Told => numbers.1 += 1,
            Chosen::Unreachable => numbers.2 += 1,
        }
    }
    let (not_told, told_people, unreachable) = numbers;
    let rows: Vec<&Addressee> = audience
        .people
        .iter()
        .filter(|addressee| chosen.is_none_or(|chosen| standing(addressee) == chosen))
        .filter(|addressee| after.is_none_or(|after| addressee.person.id.as_str() > after))
        .take(ROWS.probe() as usize)
        .collect();
    let Page { items, next_cursor } = page(rows, ROWS, |addressee| addressee.person.id.clone());
    let on_its_way = audience
        .people
        .iter()
        .filter(|addressee| told.get(&addressee.person.id) == Some(&false))
        .count();
    let word = chosen.map(Chosen::as_str);
    let path = |chosen: Option<&str>, after: Option<&str>| {
        format!(
            "{}#people",
            link(base, &[("people", chosen), ("people_after", after)])
        )
    };
    let tab = |label: &str, n: usize, value: Option<&str>| json!({"label": format!("{label} {}", grouped(n as i64)), "path": path(value, None), "current": word == value});
    let counts = &audience.counts;
    let shown = json!({
        "people": count(counts.people, "person", "people"),
        "accounts": count(counts.accounts, "account", "accounts"),
        "resources": count(counts.resources, "resource", "resources"),
        "any": !audience.people.is_empty(),
        "told": told_people,
        "on_its_way": on_its_way,
        "on_its_way_text": grouped(on_its_way as i64),
        "told_text": grouped(told_people as i64),
        "not_told": not_told,
        "not_told_text": grouped(not_told as i64),
        "unreachable": counts.unreachable,
        "unreachable_text": grouped(counts.unreachable as i64),
        "unresolved": counts.unresolved_references,
        "unresolved_text": grouped(counts.unresolved_references as i64),
        "tabs": [
            tab("all", audience.people.len(), None),
            tab("not told yet", not_told, Some("not_told")),
            tab("told", told_people, Some("told")),
            tab("unreachable", unreachable, Some("unreachable")),
        ],
        "rows": items.iter().map(|addressee| row(addressee, standing(addressee), told.get(&addressee.person.id) == Some(&true))).collect::<Vec<_>>(),
        "first": after.map(|_| path(word, None)),
        "next": next_cursor.as_deref().map(|next| path(word, Some(next))),
    });
    Section { shown, not_told }
}

fn row(addressee: &Addressee, standing: Chosen, accepted: bool) -> Value {
    let person = &addressee.person;
    let (ways, more) = ways(&addressee.reasons);
    json!({
        "name": person.name,
        "id": person.id,
        "path": person_path(&person.id),
        "email": person.email,
        "told": accepted,
        "on_its_way": standing == Chosen::Told && !accepted,
        "not_told": standing == Chosen::NotTold,
        "unreachable": addressee.unreachable,
        "ways": ways,
        "more_ways": more,
    })
}

/// A role, and what carries it.
type Way<'a> = (bool, &'a str, Option<&'a str>, Option<&'a ResourceRef>);

/// The reasons of a person, one for each role and the place where it is held, with what is affected through it.
fn ways(reasons: &[Reason]) -> (Vec<Value>, usize) {
    let mut grouped: BTreeMap<Way<'_>, Vec<&Reason>> = BTreeMap::new();
    for reason in reasons {
        // By account, an owner is one however the resource belongs to it; the way there is told with the resource.
        let through = if reason.by_account {
            None
        } else {
            Some(reason.through.as_ref().unwrap_or(&reason.resource))
        };
        let way = (
            !reason.by_account,
            reason.role.as_str(),
            reason.account.as_deref(),
            through,
        );
        grouped.entry(way).or_default().push(reason);
    }
    let more = grouped.len().saturating_sub(MOST);
    let ways = grouped
        .into_iter()
        .take(MOST)
        .map(|((_, role, account, through), mut reasons)| {
            reasons.dedup_by_key(|reason| &reason.resource);
            let resources: Vec<Value> = reasons
                .iter()
                .take(MOST)
                .map(|reason| {
                    json!({
                        "at": resource(&reason.resource, reason.name.as_deref()),
                        // Only what is on the way and not the thing itself.
                        "through": reason.through.as_ref().filter(|_| reason.by_account).map(|at| resource(at, None)),
                                            })
                })
                .collect();
            json!({
                "role": role,
                "account": account.map(|id| json!({
                    "id": id,
                    "name": reasons.first().and_then(|reason| reason.account_name.as_deref()).unwrap_or(id),
                    "path": account_path(id),
                })),
                "on": through.map(|at| json!({
                    "label": at.to_string(), "path": resource_path(at.type_.as_str(), at.id.as_str()),
                })),
                "itself": reasons.len() == 1 && reasons.iter().all(|reason| through == Some(&reason.resource)),
                "resources": resources,
                "more_resources": reasons.len().saturating_sub(MOST),
            })
        })
        .collect();
    (ways, more)
}

/// Who should hear of it and cannot, with the reason.
pub fn unreachable(audience: &Audience) -> Value {
    let all = &audience.unreachable;
    let most = ROWS.0 as usize;
    json!({
        "title": count(all.len(), "person cannot be reached", "people cannot be reached"),
        "any": !all.is_empty(),
        "rows": all.iter().take(most).map(|one| json!({
            "name": one.person.name, "id": one.person.id, "path": person_path(&one.person.id),
            "email": one.person.email, "reason": one.reason,
        })).collect::<Vec<_>>(),
        "more": all.len().saturating_sub(most),
    })
}
