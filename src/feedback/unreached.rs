//! Finds the people who should have been notified of an incident and could not be reached, why, and who else
//! could be notified.
//!
//! - A person is in the list even if an earlier email to this person was accepted.
//! - A person who was not reached is never offered as a replacement.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::prelude::*;
use serde::Serialize;

use crate::audience::PersonRef;
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{accounts as a, delivery_attempts as da, members as m, people as p};
use crate::directory::{check_address, normal_address};
use crate::feedback::report::ReportKind;
use crate::feedback::{Feedback, Filter, status, stored};
use crate::notice::{self, DeliveryState, Overview};

/// The largest number of people of one account that are listed. The others are only counted.
const MAX: usize = 20;

word_enum! {
    /// Why a person was not reached.
    UnreachedReason, "a reason" {
        /// The server rejected the email for another reason than the mailbox, or the delivery expired.
        Failed = "failed",
        /// The email bounced permanently, or the server rejected it because the mailbox does not exist.
        BouncedHard = "bounced_hard",
        /// The email bounced for a reason that may be temporary.
        BouncedSoft = "bounced_soft",
        /// The person got the email and reported it as spam. The person gets no more updates.
        Complained = "complained",
        /// No valid address is known.
        NoAddress = "no_address",
    }
}

/// The numbers of people who could not be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UnreachedCounts {
    /// The number of people who could not be reached. People who complained were reached and are not counted.
    pub people: usize,
    /// How many of them have a rejected or expired delivery.
    pub failed: usize,
    /// How many of them have a permanent bounce.
    pub bounced_hard: usize,
    /// How many of them have a bounce for a reason that may be temporary.
    pub bounced_soft: usize,
    /// How many of them have no valid address.
    pub no_address: usize,
    /// The number of people who were reached and complained. They are not included in `people`.
    pub complained: usize,
}

/// A person who could not be reached, or who complained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unreached {
    /// The person, with the email address that the directory has now. The address that was tried is in `address`.
    pub person: PersonRef,
    /// The address that was tried, or the invalid address that is stored for the person. Empty if no address
    /// is known.
    pub address: String,
    /// The reason why the person was not reached, or that the person complained.
    pub why: UnreachedReason,
    /// The enhanced status code (RFC 3463), for example `5.1.1`.
    pub status: Option<String>,
    /// The last text of the server, or what is wrong with the address.
    pub diagnostic: String,
    /// The time of the report, or of the last attempt if there is no report. Null if there was neither.
    pub at: Option<Timestamp>,
    /// The last delivery that did not reach the person.
    pub delivery: Option<i64>,
    /// The notice of this delivery.
    pub notice: Option<NoticeId>,
    /// The phases whose notices did not reach the person.
    pub phases: Vec<String>,
    /// Other members of the accounts through which the person is affected. They could be notified instead.
    /// Owners come first.
    pub others: Vec<OtherMember>,
    /// The number of further members that are not listed.
    pub more_others: usize,
}

/// A person who could be notified instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OtherMember {
    /// The person, with the current name and email address.
    pub person: PersonRef,
    /// The ID of the account that the person is a member of.
    pub account: String,
    /// The name of the account.
    pub account_name: String,
    /// The role of the person in the account.
    pub role: String,
    /// Whether an email about the incident to this person was accepted or is being sent, since the incident
    /// was opened or reopened.
    pub told: bool,
}

/// What is known about a person who was not reached, before replacements are searched.
struct UnreachedPerson {
    name: String,
    why: UnreachedReason,
    address: String,
    status: Option<String>,
    diagnostic: String,
    at: Option<Timestamp>,
    delivery: Option<i64>,
    notice: Option<NoticeId>,
    phases: BTreeSet<String>,
}

/// Returns the people who could not be reached about an incident, ordered by ID, after the given one.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    incident: &IncidentId,
    after: Option<&str>,
    limit: i64,
) -> Result<(UnreachedCounts, Vec<Unreached>)> {
    let (overview, emails) = Overview::read_with_emails(conn, incident)?;
    of_overview(conn, incident, &overview, emails.missed, after, limit)
}

/// Does the same with an overview of the incident that this transaction has read, and with the emails that did
/// not reach their people.
///
/// # Errors
/// An error of the database.
pub fn of_overview(
    conn: &mut Conn,
    incident: &IncidentId,
    overview: &Overview,
    missed: Vec<notice::Missed>,
    after: Option<&str>,
    limit: i64,
) -> Result<(UnreachedCounts, Vec<Unreached>)> {
    let audience = &overview.audience;
    let mut found: BTreeMap<String, UnreachedPerson> = BTreeMap::new();
    lost(conn, missed, &mut found)?;
    complained(conn, incident, &mut found)?;
    for one in &audience.unreachable {
        if !overview.is_notified(&one.person.id) {
            found
                .entry(one.person.id.clone())
                .or_insert_with(|| UnreachedPerson {
                    name: one.person.name.clone(),
                    why: UnreachedReason::NoAddress,
                    address: one.person.email.clone(),
                    status: None,
                    diagnostic: one.reason.clone(),
                    at: None,
                    delivery: None,
                    notice: None,
                    phases: BTreeSet::new(),
                });
        }
    }
    let count = |why: UnreachedReason| found.values().filter(|one| one.why == why).count();
    let complained = count(UnreachedReason::Complained);
    let counts = UnreachedCounts {
        people: found.len() - complained,
        failed: count(UnreachedReason::Failed),
        bounced_hard: count(UnreachedReason::BouncedHard),
        bounced_soft: count(UnreachedReason::BouncedSoft),
        no_address: count(UnreachedReason::NoAddress),
        complained,
    };
    // A person who was not reached is not offered as a replacement.
    let unreached: HashSet<String> = found
        .iter()
        .filter(|(_, one)| one.why != UnreachedReason::Complained)
        .map(|(id, _)| id.clone())
        .collect();
    let shown: Vec<(String, UnreachedPerson)> = found
        .into_iter()
        .filter(|(id, _)| after.is_none_or(|after| id.as_str() > after))
        .take(usize::try_from(limit).unwrap_or(0))
        .collect();
    let mut through: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for addressee in &audience.people {
        let accounts = addressee.reasons.accounts().map(|account| &**account);
        through.entry(&addressee.person.id).or_default().extend(accounts);
    }
    let people = present(conn, shown.iter().map(|(id, _)| id.as_str()))?;
    let mut members: HashMap<String, Vec<OtherMember>> = HashMap::new();
    let mut items = Vec::with_capacity(shown.len());
    for (id, one) in shown {
        let accounts: Vec<String> = match (one.why, through.get(id.as_str())) {
            // The person was reached, so nobody else must be notified.
            (UnreachedReason::Complained, _) => Vec::new(),
            (_, Some(accounts)) if !accounts.is_empty() => {
                accounts.iter().map(|id| (*id).to_owned()).collect()
            }
            // A person who is not affected any more may still be a member of accounts.
            _ => crate::directory::member::accounts_of(conn, &id, MAX as i64)?
                .into_iter()
                .map(|held| held.on)
                .collect(),
        };
        let mut others: Vec<OtherMember> = Vec::new();
        for account in accounts {
            if !members.contains_key(&account) {
                let loaded = members_of(conn, &account, overview, &unreached)?;
                members.insert(account.clone(), loaded);
            }
            let of_account = members.get(&account).map(Vec::as_slice).unwrap_or_default();
            others.extend(
                of_account
                    .iter()
                    .filter(|other| other.person.id != id)
                    .filter(|other| normal_address(&other.person.email) != normal_address(&one.address))
                    .cloned(),
            );
        }
        let more_others = others.len().saturating_sub(MAX);
        others.truncate(MAX);
        items.push(Unreached {
            person: PersonRef {
                email: people.get(&id).cloned().unwrap_or_default(),
                name: one.name,
                id,
            },
            address: one.address,
            why: one.why,
            status: one.status,
            diagnostic: one.diagnostic,
            at: one.at,
            delivery: one.delivery,
            notice: one.notice,
            phases: one.phases.into_iter().collect(),
            others,
            more_others,
        });
    }
    Ok((counts, items))
}

/// Adds the people whose emails were rejected, expired or bounced. The last delivery of each person gives the
/// reason.
fn lost(
    conn: &mut Conn,
    missed: Vec<notice::Missed>,
    found: &mut BTreeMap<String, UnreachedPerson>,
) -> Result<()> {
    let ids: Vec<i64> = missed.iter().map(|one| one.delivery).collect();
    let mut reports = stored::of_deliveries(conn, &ids)?;
    let mut replies = replies(conn, &ids)?;
    for one in missed {
        let report = reports
            .remove(&one.delivery)
            .unwrap_or_default()
            .into_iter()
            .rfind(|report| one.bounced && is_loss(report));
        let reply = replies.remove(&one.delivery);
        let (why, status, diagnostic, at) = match (one.bounced, report) {
            (true, Some(report)) => (
                match report.kind {
                    ReportKind::Hard => UnreachedReason::BouncedHard,
                    _ => UnreachedReason::BouncedSoft,
                },
                report.status,
                report.diagnostic,
                Some(report.at),
            ),
            (true, None) => (
                UnreachedReason::BouncedSoft,
                None,
                "the email bounced".to_owned(),
                None,
            ),
            (false, _) => match reply {
                Some((at, reply)) => (refused(&reply), refusal_code(&reply), reply, Some(at)),
                None => (UnreachedReason::Failed, None, "given up".to_owned(), None),
            },
        };
        let names = names(&one);
        for (person, name) in one.people.iter().zip(names) {
            let phases = found
                .remove(person)
                .map(|before| before.phases)
                .unwrap_or_default();
            let mut now = UnreachedPerson {
                name,
                why,
                address: one.address.clone(),
                status: status.clone(),
                diagnostic: diagnostic.clone(),
                at,
                delivery: Some(one.delivery),
                notice: Some(one.notice.clone()),
                phases,
            };
            now.phases.insert(one.phase.clone());
            found.insert(person.clone(), now);
        }
    }
    Ok(())
}

/// Returns the name of each person behind an address, if the names can be separated.
fn names(one: &notice::Missed) -> Vec<String> {
    let names: Vec<&str> = one.name.split(", ").collect();
    match names.len() == one.people.len() {
        true => names.into_iter().map(str::to_owned).collect(),
        false => vec![one.name.clone(); one.people.len()],
    }
}

/// Returns the reason for a rejection during the handover. It is the same as for a bounce with these words.
fn refused(reply: &str) -> UnreachedReason {
    let for_good = matches!(status::reply(reply), Some(500..600));
    match status::of_failure(None, reply) {
        ReportKind::Hard if for_good => UnreachedReason::BouncedHard,
        _ => UnreachedReason::Failed,
    }
}

fn refusal_code(reply: &str) -> Option<String> {
    status::enhanced(reply).map(str::to_owned)
}

fn is_loss(report: &Feedback) -> bool {
    !matches!(
        report.kind,
        ReportKind::Delivered | ReportKind::Delayed | ReportKind::AutoReply | ReportKind::Other
    )
}

/// Returns the time and the reply of the last attempt of each of these deliveries.
fn replies(conn: &mut Conn, deliveries: &[i64]) -> Result<HashMap<i64, (Timestamp, String)>> {
    let mut replies = HashMap::new();
    for chunk in deliveries.chunks(500) {
        let rows: Vec<(i64, Timestamp, String)> = da::table
            .filter(da::delivery_id.eq_any(chunk))
            .order((da::delivery_id, da::attempt))
            .select((da::delivery_id, da::at, da::reply))
            .load(conn)?;
        replies.extend(rows.into_iter().map(|(id, at, reply)| (id, (at, reply))));
    }
    Ok(replies)
}

/// Adds the people who got an email and reported it as spam.
fn complained(
    conn: &mut Conn,
    incident: &IncidentId,
    found: &mut BTreeMap<String, UnreachedPerson>,
) -> Result<()> {
    let filter = Filter {
        kind: Some(ReportKind::Complaint),
        incident: Some(incident.clone()),
        ..Filter::default()
    };
    for report in stored::list(conn, &filter, None, 1_000)? {
        let Some(delivery) = report.delivery else { continue };
        let delivery = crate::delivery::get(conn, delivery)?;
        let Some(person) = delivery.person.filter(|_| delivery.state == DeliveryState::Sent) else {
            continue;
        };
        found.entry(person.id).or_insert_with(|| UnreachedPerson {
            name: person.name,
            why: UnreachedReason::Complained,
            address: delivery.address,
            status: report.status,
            diagnostic: report.diagnostic,
            at: Some(report.at),
            delivery: Some(delivery.id),
            notice: Some(delivery.notice),
            phases: BTreeSet::new(),
        });
    }
    Ok(())
}

/// Returns the current addresses of these people.
fn present<'a>(conn: &mut Conn, ids: impl Iterator<Item = &'a str>) -> Result<HashMap<String, String>> {
    let ids: Vec<&str> = ids.collect();
    let mut people = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<(String, String)> = p::table
            .filter(p::id.eq_any(chunk))
            .select((p::id, p::email))
            .load(conn)?;
        people.extend(rows);
    }
    Ok(people)
}

/// Returns the members of an account who could be notified: owners first, then ordered by ID.
fn members_of(
    conn: &mut Conn,
    account: &str,
    overview: &Overview,
    unreached: &HashSet<String>,
) -> Result<Vec<OtherMember>> {
    let rows: Vec<(String, String, String, String, String)> = m::table
        .inner_join(p::table)
        .inner_join(a::table)
        .filter(a::id.eq(account))
        .filter(a::gone_at.is_null())
        .filter(m::gone_at.is_null())
        .filter(p::gone_at.is_null())
        .order(p::id)
        .select((p::id, p::name, p::email, m::role, a::name))
        .load(conn)?;
    let mut others: Vec<OtherMember> = rows
        .into_iter()
        .filter(|(id, _, email, _, _)| !unreached.contains(id) && check_address(email).is_ok())
        .map(|(id, name, email, role, account_name)| OtherMember {
            told: overview.is_notified(&id),
            person: PersonRef { id, name, email },
            account: account.to_owned(),
            account_name,
            role,
        })
        .collect();
    others.sort_by_key(|other| other.role != "owner");
    Ok(others)
}
