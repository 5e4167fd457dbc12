//! Compares who would get a draft with who got the last notice of the incident, and finds what is unusual about its size.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::prelude::*;
use serde::Serialize;

use super::plan::Plan;
use super::recipients::Head;
use super::reminders;
use super::row::{EMAIL, Row};
use super::state::NoticeState;
use crate::audit::Action;
use crate::base::count::{counted, grouped};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::{
    accounts, audit_events as e, incidents as i, members, notice_recipients as nr, notices as n, people,
};
use crate::notice::template::Phase;

/// The number of people that a comparison names.
const NAMED: usize = 50;
/// The number of the largest accounts.
const LARGEST: usize = 5;
/// The number of rows of a frozen list that are read at once.
const STEP: i64 = 10_000;
/// The number of the last notices with which the size is compared.
const LAST: i64 = 10;
/// The number of people without an affected resource whose accounts are looked at.
const LOOKED_AT: usize = 5_000;
/// The number of emails from which the size can be unusual.
const MANY: usize = 50;

/// The phases that are only for a part of the people: a correction is for people whom the incident does not affect, and a recovery for
/// those whose affected resources are all restored.
const PARTIAL: [Phase; 2] = [Phase::Correction, Phase::Recovery];

/// A person with the address of the email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ComparedPerson {
    /// The ID of the person.
    pub id: String,
    /// The name of the person.
    pub name: String,
    /// The address of the email.
    pub address: String,
}

/// How the recipients of a draft differ from those of an earlier notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ComparedNotice)]
pub struct Compared {
    /// The last notice of the incident that was sent. Reminders and catch-ups are for a part of the people, so they are left
    /// out.
    pub notice: NoticeId,
    /// The first 50 people who would get the draft and did not get that notice.
    pub added: Vec<ComparedPerson>,
    /// The first 50 people who got that notice and would not get the draft.
    pub dropped: Vec<ComparedPerson>,
    /// The number of all people who would get the draft and did not get that notice.
    pub added_people: usize,
    /// The number of all people who got that notice and would not get the draft.
    pub dropped_people: usize,
}

/// An account with many recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LargestAccount {
    /// The ID of the account.
    pub account: String,
    /// The name of the account.
    pub name: String,
    /// The number of people who get the notice because of resources of this account.
    pub people: usize,
}

/// Compares the plan of a draft with the last notice of its incident. `None` if there is none, and for a catch-up or a reminder.
///
/// # Errors
/// `Internal` if a frozen list is damaged.
pub(super) fn compared(conn: &mut Conn, row: &Row, plan: &Plan) -> Result<Option<Compared>> {
    if row.catch_up_of.is_some() || reminders::is_one(conn, &row.id)? {
        return Ok(None);
    }
    let Some(notice) = last_sent(conn, row)? else {
        return Ok(None);
    };
    // Everybody who would get the draft. Those who got the notice are removed one after the other.
    let mut now: HashSet<Cow<'_, str>> = HashSet::with_capacity(plan.recipients.len());
    for packed in plan.recipients.iter() {
        now.extend(packed.head()?.people);
    }
    let (mut dropped, mut dropped_people, mut after) = (Vec::new(), 0, 0);
    loop {
        let rows: Vec<(i64, String, String)> = nr::table
            .filter(nr::notice_id.eq(notice.as_str()))
            .filter(nr::ordinal.gt(after).and(nr::ordinal.le(after + STEP)))
            .filter(nr::channel.eq(EMAIL))
            .order(nr::ordinal)
            .select((nr::ordinal, nr::address, nr::context))
            .load(conn)?;
        if rows.is_empty() {
            break;
        }
        for (_, address, context) in &rows {
            let head: Head<'_> = serde_json::from_str(context)?;
            for id in &head.people {
                if now.remove(&**id) {
                    continue;
                }
                dropped_people += 1;
                if dropped.len() < NAMED {
                    dropped.push(person(id, &head.name, address));
                }
            }
        }
        after += STEP;
    }
    let added_people = now.len();
    let mut added = Vec::new();
    for packed in plan.recipients.iter() {
        if added.len() == NAMED || now.is_empty() {
            break;
        }
        let head = packed.head()?;
        for id in head.people.iter().filter(|id| now.contains(&***id)) {
            if added.len() < NAMED {
                added.push(person(id, &head.name, packed.address()));
            }
        }
    }
    name(conn, added.iter_mut().chain(&mut dropped))?;
    Ok(Some(Compared {
        notice,
        added,
        dropped,
        added_people,
        dropped_people,
    }))
}

fn person(id: &str, name: &str, address: &str) -> ComparedPerson {
    ComparedPerson {
        id: id.to_owned(),
        name: name.to_owned(),
        address: address.to_owned(),
    }
}

/// Sets the own name of each person. The name in an email names all people with the address.
fn name<'a>(conn: &mut Conn, shown: impl Iterator<Item = &'a mut ComparedPerson>) -> Result<()> {
    let shown: Vec<&mut ComparedPerson> = shown.collect();
    let ids: Vec<&str> = shown.iter().map(|one| one.id.as_str()).collect();
    let names: Vec<(String, String)> = people::table
        .filter(people::id.eq_any(&ids))
        .select((people::id, people::name))
        .load(conn)?;
    let mut names: HashMap<String, String> = names.into_iter().collect();
    for one in shown {
        if let Some(name) = names.remove(&one.id) {
            one.name = name;
        }
    }
    Ok(())
}

/// Returns the last notice of the incident that was sent to everybody whom it was for.
fn last_sent(conn: &mut Conn, row: &Row) -> Result<Option<NoticeId>> {
    if PARTIAL.iter().any(|phase| row.phase == phase.as_str()) {
        return Ok(None);
    }
    let sent: Vec<NoticeId> = n::table
        .filter(n::incident_id.eq(row.incident_id.as_str()))
        .filter(n::id.ne(row.id.as_str()))
        .filter(n::state.ne(NoticeState::Draft))
        .filter(n::catch_up_of.is_null())
        .filter(n::phase.ne_all(PARTIAL.map(Phase::as_str)))
        .filter(n::recipients.gt(0))
        .order((n::queued_at.desc(), n::id.desc()))
        .select(n::id)
        .load(conn)?;
    let ids: Vec<&str> = sent.iter().map(NoticeId::as_str).collect();
    let reminders = reminders::among(conn, &ids)?;
    Ok(sent.into_iter().find(|id| !reminders.contains(id.as_str())))
}

/// Returns the accounts with the most people among the recipients, the largest first.
///
/// # Errors
/// An error of the database.
pub(super) fn largest(conn: &mut Conn, plan: &Plan) -> Result<Vec<LargestAccount>> {
    let mut counted: HashMap<&str, usize> = HashMap::new();
    for packed in plan.recipients.iter() {
        for account in packed.accounts() {
            *counted.entry(account).or_default() += packed.people() as usize;
        }
    }
    let mut counted: Vec<(&str, usize)> = counted.into_iter().collect();
    counted.sort_unstable_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    counted.truncate(LARGEST);
    let ids: BTreeSet<&str> = counted.iter().map(|(id, _)| *id).collect();
    let names: Vec<(String, String)> = accounts::table
        .filter(accounts::id.eq_any(&ids))
        .select((accounts::id, accounts::name))
        .load(conn)?;
    let names: HashMap<String, String> = names.into_iter().collect();
    Ok(counted
        .into_iter()
        .map(|(id, people)| LargestAccount {
            account: id.to_owned(),
            name: names.get(id).cloned().unwrap_or_else(|| id.to_owned()),
            people,
        })
        .collect())
}

/// Returns what is unusual about the number of emails: far more than the last notices had, or more than when it was approved.
///
/// # Errors
/// An error of the database.
pub(super) fn warnings(conn: &mut Conn, row: &Row, plan: &Plan) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let emails = plan.recipients.len();
    if emails >= MANY {
        let last: Vec<i64> = n::table
            .inner_join(i::table.on(i::id.eq(n::incident_id)))
            .filter(i::drill.eq(false))
            .filter(n::queued_at.is_not_null())
            .filter(n::catch_up_of.is_null())
            .filter(n::phase.ne_all(PARTIAL.map(Phase::as_str)))
            .order(n::queued_at.desc())
            .limit(LAST)
            .select(n::recipients)
            .load(conn)?;
        let largest = last.into_iter().max().unwrap_or_default();
        if largest > 0 && emails as i64 > largest.saturating_mul(3) {
            warnings.push(format!(
                "{} far more than usual: the largest of the last notices had {}",
                counted(emails, "email is", "emails are"),
                grouped(largest)
            ));
        }
    }
    let approved: Option<Option<String>> = e::table
        .filter(e::subject_id.eq(row.id.as_str()))
        .filter(e::action.eq(Action::NoticeApproved.as_str()))
        .order(e::seq.desc())
        .select(e::after_json)
        .first(conn)
        .optional()?;
    if let Some(after) = approved.flatten() {
        let after: serde_json::Value = serde_json::from_str(&after)?;
        if let Some(before) = after["recipients"].as_u64()
            && emails as u64 > before
        {
            warnings.push(format!(
                "the number of emails grew from {} to {} after the notice was approved",
                grouped(before as i64),
                grouped(emails as i64)
            ));
        }
    }
    warnings.extend(without_resources(conn, plan)?);
    Ok(warnings)
}

/// Returns the warning about accounts whose people are on the list although none of the affected resources belongs to the account: the
/// people were added directly, or they hit the error.
fn without_resources(conn: &mut Conn, plan: &Plan) -> Result<Option<String>> {
    if matches!(plan.content.phase, Phase::Correction) || plan.content.drill {
        return Ok(None);
    }
    let mut affected: HashSet<&str> = HashSet::new();
    let mut without: Vec<Cow<'_, str>> = Vec::new();
    for packed in plan.recipients.iter() {
        affected.extend(packed.accounts().iter().map(|account| &**account));
        if packed.accounts().is_empty() && without.len() < LOOKED_AT && !packed.has_resources() {
            without.extend(packed.head()?.people);
        }
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for chunk in without.chunks(500) {
        let ids: Vec<&str> = chunk.iter().map(|id| &**id).collect();
        let found: Vec<(String, String)> = members::table
            .inner_join(people::table)
            .inner_join(accounts::table)
            .filter(people::id.eq_any(ids))
            .filter(members::gone_at.is_null())
            .filter(accounts::gone_at.is_null())
            .select((accounts::id, accounts::name))
            .distinct()
            .load(conn)?;
        names.extend(
            found
                .into_iter()
                .filter(|(id, _)| !affected.contains(id.as_str())),
        );
    }
    if names.is_empty() {
        return Ok(None);
    }
    let named: Vec<&str> = names.values().take(LARGEST).map(String::as_str).collect();
    let more = match names.len().saturating_sub(LARGEST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let accounts = counted(names.len(), "account is", "accounts are");
    Ok(Some(format!(
        "{accounts} on the list without an affected resource, because people were added directly or hit the error: {}{more}",
        named.join(", ")
    )))
}
