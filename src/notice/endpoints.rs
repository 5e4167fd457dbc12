//! Decides which endpoints a notice goes to. These are the endpoints of the accounts that own affected
//! resources, in addition to the emails to people. The rules are the same as for people: an endpoint is not
//! called twice for a phase, and an account that was notified of the beginning is notified of the end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use serde::Serialize;

use super::corrections;
use super::delivery_state::{DeliveryState, resumable};
use super::notified::Shifts;
use super::payload::{EndpointContext, PayloadAccount, PayloadRef, PayloadResource};
use super::relapses::Impaired;
use super::row::Row;
use super::state::NoticeState;
use crate::audience::{self, Audience};
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::{deliveries as d, notice_recipients as nr};
use crate::db::{Conn, FixedText};
use crate::directory::endpoint;
use crate::incident::lineage;
use crate::incident::recovery::State;
use crate::notice::template::Phase;

/// One planned call to an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointRecipient {
    /// The channel of the endpoint, such as `webhook`.
    pub channel: String,
    /// The URL of the endpoint.
    pub url: String,
    /// The data of this endpoint.
    pub context: EndpointContext,
    /// The address of the email to the same person, in its normal form. Only the phone of a person has one.
    #[serde(skip)]
    pub beside: Option<Box<str>>,
}

/// The endpoints of the accounts that own an affected resource. `None` if there are no endpoints at all, which
/// is so in most installations.
pub(super) type Affected = Option<Vec<audience::EndpointRow>>;

/// Returns the endpoints of the accounts of an audience.
pub(super) fn affected(conn: &mut Conn, audience: &Audience) -> Result<Affected> {
    match endpoint::any_exists(conn)? {
        true => audience::endpoints(conn, audience).map(Some),
        false => Ok(None),
    }
}

/// Returns the endpoints that the notice would go to if it were sent now, ordered by account and ID. Also returns, for a resolution,
/// how many of them belong to accounts with resources that are not restored.
pub(super) fn planned(
    conn: &mut Conn,
    row: &Row,
    episode: i64,
    affected: Affected,
    warnings: &mut Vec<String>,
) -> Result<(Vec<EndpointRecipient>, usize)> {
    let Some(affected) = affected else {
        return Ok((Vec::new(), 0));
    };
    let phase = row.phase()?;
    let called = called(conn, &row.incident_id, Calls::Systems)?;
    if let Some(wrong) = corrections::corrected_by(conn, &row.id)? {
        return Ok((corrected(conn, &wrong, &affected, &called)?, 0));
    }
    let notified = since_relapses(conn, row, phase, episode, counting(called), &affected)?;
    let impaired = match phase {
        Phase::Resolution => impaired_accounts(&affected),
        _ => HashSet::new(),
    };
    let mut endpoints = candidates(conn, affected, phase, episode, &notified, warnings)?;
    if row.catch_up_of.is_some() || matches!(phase, Phase::Detection | Phase::Recovery) {
        leave_out_notified(&mut endpoints, phase, episode, notified.iter());
    } else if phase == Phase::Resolution {
        let before_merge = notified.iter().filter(|one| one.merged);
        leave_out_notified(&mut endpoints, phase, episode, before_merge);
    }
    let systems = endpoints
        .iter()
        .filter(|endpoint| impaired.contains(&endpoint.context.account.id));
    let systems = systems.count();
    Ok((endpoints, systems))
}

/// Returns the accounts that own a resource that is not restored. Without recovery states, there are none.
fn impaired_accounts(affected: &[audience::EndpointRow]) -> HashSet<String> {
    affected
        .iter()
        .filter(|row| row.state.is_some_and(|state| state != State::Recovered))
        .map(|row| row.account.clone())
        .collect()
}

/// Leaves out the calls that do not count any more when a notice of a phase is planned. After a relapse of a resource of the account, what the account
/// was told up to its last recovery does not count for the next detection and the next recovery.
fn since_relapses(
    conn: &mut Conn,
    row: &Row,
    phase: Phase,
    episode: i64,
    mut notified: Vec<NotifiedEndpoint>,
    affected: &[audience::EndpointRow],
) -> Result<Vec<NotifiedEndpoint>> {
    if !matches!(phase, Phase::Detection | Phase::Recovery) {
        return Ok(notified);
    }
    let mut told: HashMap<String, Timestamp> = HashMap::new();
    for one in &notified {
        if one.phase == Phase::Recovery.as_str() && one.episode == episode {
            let last = told.entry(one.context.account.id.clone()).or_insert(one.sent_at);
            *last = (*last).max(one.sent_at);
        }
    }
    let impaired = Impaired::since(conn, &row.incident_id, told.values().min().copied())?;
    told.retain(|account, at| {
        affected
            .iter()
            .any(|row| row.account == *account && impaired.is_after(row.resource_key, *at))
    });
    notified.retain(|one| {
        told.get(&one.context.account.id)
            .is_none_or(|at| one.sent_at > *at)
    });
    Ok(notified)
}

/// Returns the number of endpoints that a sent notice is for and that no notice of its phase has reached.
pub(super) fn missing(conn: &mut Conn, row: &Row, affected: Affected) -> Result<usize> {
    let Some(affected) = affected else {
        return Ok(0);
    };
    let phase = row.phase()?;
    let notified = counting(called(conn, &row.incident_id, Calls::Systems)?);
    let notified = since_relapses(conn, row, phase, row.episode, notified, &affected)?;
    let mut endpoints = candidates(conn, affected, phase, row.episode, &notified, &mut Vec::new())?;
    leave_out_notified(&mut endpoints, phase, row.episode, notified.iter());
    Ok(endpoints.len())
}

fn leave_out_notified<'a>(
    endpoints: &mut Vec<EndpointRecipient>,
    phase: Phase,
    episode: i64,
    notified: impl Iterator<Item = &'a NotifiedEndpoint>,
) {
    let covered: HashSet<&str> = notified
        .filter(|notified| notified.phase == phase.as_str() && notified.episode == episode)
        .map(|notified| notified.context.endpoint.as_str())
        .collect();
    endpoints.retain(|endpoint| !covered.contains(endpoint.context.endpoint.as_str()));
}

fn candidates(
    conn: &mut Conn,
    affected: Vec<audience::EndpointRow>,
    phase: Phase,
    episode: i64,
    notified: &[NotifiedEndpoint],
    warnings: &mut Vec<String>,
) -> Result<Vec<EndpointRecipient>> {
    // A recovery is for the accounts of which everything is restored.
    let impaired = match phase {
        Phase::Recovery => impaired_accounts(&affected),
        _ => HashSet::new(),
    };
    let mut disabled = BTreeSet::new();
    let mut found: BTreeMap<(String, String), (audience::EndpointRow, Vec<PayloadResource>)> =
        BTreeMap::new();
    for row in affected {
        if impaired.contains(&row.account) {
            continue;
        }
        if row.disabled {
            disabled.insert(row.account.clone());
            continue;
        }
        let resource = PayloadResource {
            at: PayloadRef::from(&row.resource),
            name: row.resource_name.clone(),
            restored: row.state.map(|state| state == State::Recovered),
        };
        let key = (row.account.clone(), row.id.to_string());
        found
            .entry(key)
            .or_insert_with(|| (row, Vec::new()))
            .1
            .push(resource);
    }
    for account in disabled {
        warnings.push(format!(
            "an endpoint of {account} is disabled, so nothing is sent to it"
        ));
    }
    let mut endpoints: Vec<EndpointRecipient> = found
        .into_values()
        .map(|(row, resources)| {
            let account = PayloadAccount {
                id: row.account,
                name: row.account_name,
            };
            EndpointRecipient {
                channel: row.channel,
                url: row.url,
                context: EndpointContext::new(row.id, account, row.locale, resources),
                beside: None,
            }
        })
        .collect();
    match phase {
        Phase::Resolution | Phase::Report | Phase::Maintenance => {
            let all: Vec<&NotifiedEndpoint> = notified.iter().collect();
            follow_through(conn, &all, &mut endpoints)?;
        }
        // An account that was told that the incident was over must be notified that it is not.
        Phase::Detection => {
            let over = [Phase::Resolution.as_str(), Phase::Report.as_str()];
            let over: Vec<&NotifiedEndpoint> = notified
                .iter()
                .filter(|notified| notified.episode < episode && over.contains(&notified.phase.as_str()))
                .collect();
            follow_through(conn, &over, &mut endpoints)?;
        }
        Phase::Update | Phase::Recovery | Phase::Correction => {}
    }
    Ok(endpoints)
}

/// Returns the current endpoints of the accounts that a wrong notice reached, that the incident does not affect now, and that no
/// correction of the notice has reached.
fn corrected(
    conn: &mut Conn,
    wrong: &NoticeId,
    affected: &[audience::EndpointRow],
    called: &[NotifiedEndpoint],
) -> Result<Vec<EndpointRecipient>> {
    let ids: Vec<&str> = called.iter().map(|one| one.notice.as_str()).collect();
    let corrections = corrections::among(conn, &ids)?;
    let affected: HashSet<&str> = affected.iter().map(|row| row.account.as_str()).collect();
    let done: HashSet<&str> = called
        .iter()
        .filter(|one| corrections.get(one.notice.as_str()) == Some(wrong))
        .map(|one| one.context.account.id.as_str())
        .collect();
    let told: Vec<&NotifiedEndpoint> = called
        .iter()
        .filter(|one| one.notice == *wrong)
        .filter(|one| {
            let account = one.context.account.id.as_str();
            !affected.contains(account) && !done.contains(account)
        })
        .collect();
    let mut endpoints = Vec::new();
    follow_through(conn, &told, &mut endpoints)?;
    Ok(endpoints)
}

/// Returns the calls that notified their accounts of the incident and were not corrected afterwards.
fn counting(called: Vec<NotifiedEndpoint>) -> Vec<NotifiedEndpoint> {
    let mut counting: Vec<NotifiedEndpoint> = Vec::with_capacity(called.len());
    for one in called {
        if one.phase == Phase::Correction.as_str() {
            counting.retain(|before| before.context.account.id != one.context.account.id);
        } else {
            counting.push(one);
        }
    }
    counting
}

/// Adds the current endpoints of accounts that were notified before and are not affected any more.
fn follow_through(
    conn: &mut Conn,
    notified: &[&NotifiedEndpoint],
    endpoints: &mut Vec<EndpointRecipient>,
) -> Result<()> {
    let present: HashSet<String> = endpoints
        .iter()
        .map(|endpoint| endpoint.context.account.id.clone())
        .collect();
    let mut before: BTreeMap<&str, &EndpointContext> = BTreeMap::new();
    for notified in notified {
        let account = notified.context.account.id.as_str();
        if !present.contains(account) {
            before.entry(account).or_insert(&notified.context);
        }
    }
    let accounts: Vec<&str> = before.keys().copied().collect();
    for (endpoint, name) in endpoint::enabled_of(conn, &accounts)? {
        let Some(account) = endpoint.account else {
            continue;
        };
        let Some(context) = before.get(account.as_str()) else {
            continue;
        };
        endpoints.push(EndpointRecipient {
            channel: endpoint.channel,
            url: endpoint.url,
            context: EndpointContext {
                endpoint: endpoint.id,
                account: PayloadAccount { id: account, name },
                // What was restored then is not known any more.
                recovery: None,
                resources: without_restored(&context.resources),
                ..(*context).clone()
            },
            beside: None,
        });
    }
    endpoints.sort_by(|a, b| {
        let key = |one: &EndpointRecipient| (one.context.account.id.clone(), one.context.endpoint.clone());
        key(a).cmp(&key(b))
    });
    Ok(())
}

/// Returns resources without whether they were restored.
fn without_restored(resources: &[PayloadResource]) -> Vec<PayloadResource> {
    let without = |resource: &PayloadResource| PayloadResource {
        restored: None,
        ..resource.clone()
    };
    resources.iter().map(without).collect()
}

/// An endpoint that a notice of the incident reached or will reach.
pub(super) struct NotifiedEndpoint {
    notice: NoticeId,
    pub phase: String,
    pub episode: i64,
    /// Whether the notice is of an incident that was merged into this one.
    merged: bool,
    /// When the notice was queued.
    sent_at: Timestamp,
    pub context: EndpointContext,
}

/// Which calls are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// The calls to systems of accounts.
    Systems,
    /// The messages to the phones of people.
    Phones,
}

impl Calls {
    /// Returns the condition on a frozen recipient `nr`. It implies the one of the partial index.
    fn condition(self) -> &'static str {
        match self {
            Calls::Systems => "nr.channel <> 'email' AND nr.channel <> 'sms'",
            Calls::Phones => "nr.channel <> 'email' AND nr.channel = 'sms'",
        }
    }
}

#[derive(QueryableByName)]
struct NotifiedEndpointRow {
    #[diesel(sql_type = Text)]
    notice_id: NoticeId,
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = Text)]
    incident_id: IncidentId,
    #[diesel(sql_type = BigInt)]
    episode: i64,
    #[diesel(sql_type = Text)]
    notice_state: NoticeState,
    #[diesel(sql_type = Nullable<BigInt>)]
    queued_at: Option<Timestamp>,
    #[diesel(sql_type = BigInt)]
    ordinal: i64,
    #[diesel(sql_type = Text)]
    context: String,
    #[diesel(sql_type = Nullable<Text>)]
    delivery_state: Option<DeliveryState>,
}

/// Returns the calls of all notices that reached an endpoint or will reach it, by the time of their notice.
pub(super) fn called(conn: &mut Conn, incident: &IncidentId, which: Calls) -> Result<Vec<NotifiedEndpoint>> {
    let shifts = Shifts::of(conn, incident)?;
    let rows: Vec<NotifiedEndpointRow> = diesel::sql_query(format!(
        "SELECT n.id AS notice_id, n.phase, n.incident_id, n.episode, n.state AS notice_state, n.queued_at, nr.ordinal, nr.context, d.state AS delivery_state \
         FROM notices n JOIN notice_recipients nr ON nr.notice_id = n.id AND {} \
         LEFT JOIN deliveries d ON d.notice_id = nr.notice_id AND d.ordinal = nr.ordinal \
         WHERE n.incident_id IN {} ORDER BY n.queued_at, nr.notice_id, nr.ordinal",
        which.condition(),
        lineage::IDS
    ))
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .load(conn)?;
    let again = waiting_again(conn, &rows)?;
    rows.into_iter()
        .filter(|row| match row.delivery_state {
            Some(DeliveryState::Sent | DeliveryState::Pending) => true,
            Some(DeliveryState::Stopped) => again.contains(&(row.notice_id.clone(), row.ordinal)),
            Some(DeliveryState::Failed | DeliveryState::Bounced | DeliveryState::Suppressed) => false,
            // The recipient is frozen and is not a row in the queue yet.
            None => row.notice_state.is_being_sent(),
        })
        .map(|row| {
            Ok(NotifiedEndpoint {
                notice: row.notice_id,
                phase: row.phase,
                episode: shifts.episode(&row.incident_id, row.episode),
                merged: row.incident_id != *incident,
                sent_at: row.queued_at.unwrap_or(Timestamp::from_micros(0)),
                context: serde_json::from_str(&row.context)?,
            })
        })
        .collect()
}

/// Returns the stopped calls that will be made although they are stopped, by notice and position: their notice was resumed.
fn waiting_again(conn: &mut Conn, rows: &[NotifiedEndpointRow]) -> Result<HashSet<(NoticeId, i64)>> {
    let resumed: BTreeSet<&NoticeId> = rows
        .iter()
        .filter(|row| row.notice_state.is_being_sent() && row.delivery_state == Some(DeliveryState::Stopped))
        .map(|row| &row.notice_id)
        .collect();
    let mut again = HashSet::new();
    for id in resumed {
        let ordinals: Vec<i64> = d::table
            .filter(d::notice_id.eq(id.as_str()))
            .filter(not_mail())
            .filter(resumable())
            .select(d::ordinal)
            .load(conn)?;
        again.extend(ordinals.into_iter().map(|ordinal| (id.clone(), ordinal)));
    }
    Ok(again)
}

/// Returns the IDs of the endpoints that these notices of the incident reached or will reach.
pub(super) fn reached_by(
    conn: &mut Conn,
    incident: &IncidentId,
    notices: &HashSet<String>,
) -> Result<HashSet<String>> {
    let mut reached = called(conn, incident, Calls::Systems)?;
    reached.extend(called(conn, incident, Calls::Phones)?);
    Ok(reached
        .into_iter()
        .filter(|one| notices.contains(one.notice.as_str()))
        .map(|one| one.context.endpoint.as_str().to_owned())
        .collect())
}

/// Returns the condition with the same text as in the partial indexes. With a bound value, neither database
/// would use them.
fn not_mail() -> SqlLiteral<Bool> {
    sql("channel <> 'email'")
}

/// Returns the numbers of frozen calls by notice and channel. Notices without calls are left out.
pub(super) fn frozen(conn: &mut Conn, notices: &[Row]) -> Result<HashMap<NoticeId, BTreeMap<String, i64>>> {
    let ids: Vec<&str> = notices
        .iter()
        .filter(|row| row.endpoints > 0)
        .map(|row| row.id.as_str())
        .collect();
    let mut counts: HashMap<NoticeId, BTreeMap<String, i64>> = HashMap::new();
    if ids.is_empty() {
        return Ok(counts);
    }
    let frozen: Vec<(NoticeId, String, i64)> = nr::table
        .filter(nr::notice_id.eq_any(&ids))
        .filter(not_mail())
        .group_by((nr::notice_id, nr::channel))
        .select((nr::notice_id, nr::channel, diesel::dsl::count_star()))
        .load(conn)?;
    for (id, channel, count) in frozen {
        counts.entry(id).or_default().insert(channel, count);
    }
    Ok(counts)
}
