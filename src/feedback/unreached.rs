//! Who should have heard of an incident and could not be reached, why, and who else could be told instead.
//!
//! Must never happen here: somebody who is missing from the list as a mail to them was accepted once, or somebody
//! offered instead who could not be reached either.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::prelude::*;
use serde::Serialize;

use crate::audience::{self, PersonRef};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{accounts as a, delivery_attempts as da, members as m, people as p};
use crate::directory::{check_address, normal_address};
use crate::feedback::{Feedback, Filter, ReportKind, status, stored};
use crate::notice;

/// People of one account that are named before they are only counted.
const MOST: usize = 20;

word_enum! {
    /// UnreachedReason somebody was not reached.
    UnreachedReason, "a reason" {
        /// Their server refused the mail for another reason, or it was given up.
        Failed = "failed",
        /// The mail came back, or the server refused it: there is no such mailbox.
        BouncedHard = "bounced_hard",
        /// The mail came back, for a reason that may pass.
        BouncedSoft = "bounced_soft",
        /// They got it, and said that it is spam: updates do not go to them any more.
        Complained = "complained",
        /// No usable address is known.
        NoAddress = "no_address",
    }
}

/// The numbers of who could not be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UnreachedCounts {
    /// People who could not be reached. Those who complained were, and are not among them.
    pub people: usize,
    /// Of them: refused, or given up.
    pub failed: usize,
    /// Of them: came back, the address is of no use.
    pub bounced_hard: usize,
    /// Of them: came back, for a reason that may pass.
    pub bounced_soft: usize,
    /// Of them: no usable address is known.
    pub no_address: usize,
    /// Beside them: people who were reached, and complained.
    pub complained: usize,
}

/// Somebody who could not be reached, or who complained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unreached {
    /// Who.
    pub person: PersonRef,
    /// Where it was tried; empty where no address is known.
    pub address: String,
    /// UnreachedReason.
    pub why: UnreachedReason,
    /// Enhanced status code (RFC 3463), e.g. `5.1.1`.
    pub status: Option<String>,
    /// What the server said last, or what is wrong with the address.
    pub diagnostic: String,
    /// When that was.
    pub at: Option<Timestamp>,
    /// The last delivery that did not reach them.
    pub delivery: Option<i64>,
    /// Its notice.
    pub notice: Option<NoticeId>,
    /// Phases of which nothing reached them.
    pub phases: Vec<String>,
    /// OtherMember members of the accounts through which they are affected, who could be told instead: owners first.
    pub others: Vec<OtherMember>,
    /// How many more there are.
    pub more_others: usize,
}

/// Somebody who could be told instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OtherMember {
    /// Who.
    pub person: PersonRef,
    /// The account that they are a member of.
    pub account: String,
    /// Its name.
    pub account_name: String,
    /// Their role in it.
    pub role: String,
    /// Whether a mail about the incident was accepted for them, or is being sent, since it was opened or reopened.
    pub told: bool,
}

/// What is known of one person before anybody is looked for instead.
struct Found {
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

/// Who could not be reached about an incident, by the ids of the people, after the given one.
///
/// # Errors
/// `NotFound` where there is no such incident.
pub fn of(
    conn: &mut Conn,
    incident: &IncidentId,
    after: Option<&str>,
    limit: i64,
) -> Result<(UnreachedCounts, Vec<Unreached>)> {
    let audience = audience::resolve(conn, incident)?;
    let missed = notice::missed(conn, incident)?;
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    lost(conn, missed, &mut found)?;
    complained(conn, incident, &mut found)?;
    let told = notice::told_people(conn, incident)?;
    for one in &audience.unreachable {
        if !told.contains(&one.person.id) {
            found.entry(one.person.id.clone()).or_insert_with(|| Found {
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
    // Nobody is offered instead who was not reached either.
    let unreached: HashSet<String> = found
        .iter()
        .filter(|(_, one)| one.why != UnreachedReason::Complained)
        .map(|(id, _)| id.clone())
        .collect();
    let shown: Vec<(String, Found)> = found
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
            // They were reached: nobody has to be told instead.
            (UnreachedReason::Complained, _) => Vec::new(),
            (_, Some(accounts)) if !accounts.is_empty() => {
                accounts.iter().map(|id| (*id).to_owned()).collect()
            }
            // Who is not affected any more had accounts all the same.
            _ => crate::directory::member::accounts_of(conn, &id, MOST as i64)?
                .into_iter()
                .map(|held| held.on)
                .collect(),
        };
        let mut others: Vec<OtherMember> = Vec::new();
        for account in accounts {
            if !members.contains_key(&account) {
                let loaded = members_of(conn, &account, &told, &unreached)?;
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
        let more_others = others.len().saturating_sub(MOST);
        others.truncate(MOST);
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

/// Whose mails were refused, given up, or came back. The last one of each person tells why.
fn lost(conn: &mut Conn, missed: Vec<notice::Missed>, found: &mut BTreeMap<String, Found>) -> Result<()> {
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
                "the mail came back".to_owned(),
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
            let mut now = Found {
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

/// The name of each person behind the address, as far as they can be told apart.
fn names(one: &notice::Missed) -> Vec<String> {
    let names: Vec<&str> = one.name.split(", ").collect();
    match names.len() == one.people.len() {
        true => names.into_iter().map(str::to_owned).collect(),
        false => vec![one.name.clone(); one.people.len()],
    }
}

/// What a refusal at the first hand-over means: the same as that of a bounce with these words.
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

/// What was said at the last attempt of each of these deliveries.
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

/// Who got a mail and called it spam.
fn complained(conn: &mut Conn, incident: &IncidentId, found: &mut BTreeMap<String, Found>) -> Result<()> {
    let filter = Filter {
        kind: Some(ReportKind::Complaint),
        incident: Some(incident.clone()),
        ..Filter::default()
    };
    for report in stored::list(conn, &filter, None, 1_000)? {
        let Some(delivery) = report.delivery else { continue };
        let delivery = crate::delivery::get(conn, delivery)?;
        let Some(person) = delivery.person.filter(|_| delivery.state == "sent") else {
            continue;
        };
        found.entry(person.id).or_insert_with(|| Found {
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

/// The present addresses of these people.
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

/// The members of an account who could be told: owners first, then by id.
fn members_of(
    conn: &mut Conn,
    account: &str,
    told: &HashSet<String>,
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
            told: told.contains(&id),
            person: PersonRef { id, name, email },
            account: account.to_owned(),
            account_name,
            role,
        })
        .collect();
    others.sort_by_key(|other| other.role != "owner");
    Ok(others)
}
