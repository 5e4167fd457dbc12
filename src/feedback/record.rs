//! Finds the delivery that a report is about, stores the report, and applies its effects.
//!
//! A report changes a delivery only if it is certainly about this delivery. Either a code in the report
//! proves it. Or the report comes from a provider's hook (or by email, if emails have no bounce addresses of
//! their own), and contains Candor's Message-ID or the provider's ID *and* the same recipient.
//!
//! - A delivery is never found by its address alone.
//! - An audit event never contains an address.
//! - The same report never counts twice.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Keys;
use super::report::{Reply, Report, ReportKind};
use super::stored::{Feedback, MatchedBy, by_key};
use crate::answers;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, IntegrationId, NoticeId};
use crate::base::mailbox;
use crate::base::text::{hex, one_line};
use crate::base::time::Timestamp;
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{
    deliveries as d, delivery_attempts as da, feedback as f, feedback_tokens as ft, notice_recipients as nr,
    notices as n,
};
use crate::db::{Conn, FixedText};
use crate::delivery::opt_out::{self, SuppressionReason};
use crate::directory::erased::is_placeholder;
use crate::directory::normal_address;
use crate::notice::delivery_state::{self, DeliveryState};
use crate::subscription::{outbox, subscriber, subscribing};

/// The number of attempts that are searched for the ID of a provider if the report contains no address. These
/// are the last attempts, because no index helps there.
const ATTEMPTS: i64 = 20_000;
/// The number of notices that are searched for the ID of a provider. These are the last notices that were
/// queued before the email was handed over.
const NOTICES: i64 = 200;
/// The effect of a report about an email to a subscriber of the status page.
const SUBSCRIPTION_ENDED: &str = "subscription_ended";
/// How much the clock of a provider may differ when it reports the time of the handover.
const SKEW: std::time::Duration = std::time::Duration::from_secs(3600);
/// How long a token of a signature is stored. It is longer than the signature is accepted.
const TOKENS: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The origin of a report.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `mail`, or the source of the integration.
    pub source: String,
    /// The integration whose hook received the report. `None` for a report by email.
    pub integration: Option<IntegrationId>,
}

/// The result for the reports of one body.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Tally {
    /// The number of reports in the body.
    pub reports: usize,
    /// How many of them are about a known delivery.
    pub matched: usize,
    /// How many of them match no delivery for certain. They are stored too.
    pub unmatched: usize,
    /// How many of them were received before and change nothing.
    pub duplicates: usize,
    /// The number of other events, which are not needed.
    pub ignored: usize,
    /// The reports as they are stored.
    #[serde(skip)]
    pub entries: Vec<Feedback>,
    /// The new reports among `entries`: the kind, and whether a delivery was found.
    #[serde(skip)]
    pub new: Vec<(ReportKind, bool)>,
}

/// A delivery that the report may be about.
struct Candidate {
    id: i64,
    address: String,
    state: DeliveryState,
    attempt: i64,
    incident: IncidentId,
    by: MatchedBy,
}

/// Stores the reports of one body and applies their effects.
///
/// # Errors
/// An error of the database. Then nothing of the body is stored.
pub fn take(
    tx: &mut Tx<'_>,
    origin: &Origin,
    keys: &Keys,
    reports: &[Report],
    ignored: usize,
) -> Result<Tally> {
    // Bodies are handled one after another, because two bodies about the same deliveries could otherwise
    // deadlock.
    dialect::lock_feedback(tx.conn)?;
    let mut taken = Tally {
        reports: reports.len(),
        ignored,
        ..Tally::default()
    };
    for (index, report) in reports.iter().enumerate() {
        let (entry, new) = take_one(tx, origin, keys, report, index, reports.len() == 1)?;
        let matched = entry.delivery.is_some() || entry.effect == SUBSCRIPTION_ENDED;
        match matched {
            true => taken.matched += 1,
            false => taken.unmatched += 1,
        }
        if new {
            taken.new.push((entry.kind, matched));
        } else {
            taken.duplicates += 1;
        }
        taken.entries.push(entry);
    }
    if !taken.new.is_empty() {
        let mut kinds: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for (kind, _) in &taken.new {
            *kinds.entry(kind.as_str()).or_default() += 1;
        }
        let first = taken.entries.first().map_or(0, |entry| entry.id);
        tx.record(
            Event::new(Action::FeedbackReceived, "feedback", first.to_string()).after(json!({
                "source": origin.source, "integration": origin.integration, "new": kinds,
                "matched": taken.new.iter().filter(|(_, matched)| *matched).count(),
            })),
        );
    }
    Ok(taken)
}

fn take_one(
    tx: &mut Tx<'_>,
    origin: &Origin,
    keys: &Keys,
    report: &Report,
    index: usize,
    sole: bool,
) -> Result<(Feedback, bool)> {
    let key = dedup_key(origin, report, index);
    if let Some(known) = by_key(tx.conn, &key)? {
        return Ok((known, false));
    }
    let found = find(tx.conn, keys, report, sole)?;
    let effect = match &found {
        Some(delivery) => apply(tx, origin, keys, report, delivery, sole)?,
        None => apply_to_subscriber(tx, origin, keys, report, sole)?,
    };
    // Nothing about a recipient who was erased is stored again. The report still counts.
    let erased = found
        .as_ref()
        .is_some_and(|delivery| is_placeholder(&delivery.address));
    let address = match (report.addresses.first(), &found) {
        (_, Some(delivery)) if erased => delivery.address.clone(),
        (Some(address), _) => address.clone(),
        // The reporter has redacted the address, but the delivery contains it.
        (None, Some(delivery)) => delivery.address.clone(),
        (None, None) => String::new(),
    };
    // The raw text of a successful delivery is not needed.
    let raw: &[u8] = match report.kind {
        ReportKind::Delivered => &[],
        _ if erased => &[],
        _ => &report.raw,
    };
    let diagnostic = match erased {
        true => String::new(),
        false => one_line(&report.diagnostic, 1_000),
    };
    on_backend!(&mut *tx.conn, c => diesel::insert_into(f::table)
        .values((
            f::dedup_key.eq(&key),
            f::received_at.eq(tx.now),
            f::at.eq(report.at.unwrap_or(tx.now)),
            f::source.eq(&origin.source),
            f::integration_id.eq(origin.integration.as_ref().map(IntegrationId::as_str)),
            f::kind.eq(report.kind.as_str()),
            f::address.eq(one_line(&address, 320)),
            f::delivery_id.eq(found.as_ref().map(|delivery| delivery.id)),
            f::attempt.eq(found.as_ref().map(|delivery| delivery.attempt)),
            f::matched_by.eq(found.as_ref().map(|delivery| delivery.by.as_str())),
            f::effect.eq(effect),
            f::status.eq(report.status.as_deref().map(|status| one_line(status, 20))),
            f::diagnostic.eq(diagnostic),
            f::raw.eq(raw),
        ))
        .execute(c))?;
    let entry = by_key(tx.conn, &key)?.ok_or_else(|| Error::internal("a report was not stored"))?;
    if let (Some(reply), Some(delivery)) = (&report.reply, &found)
        && is_of_recipient(reply, delivery)
    {
        answers::record::reply(tx, delivery.id, &reply.text, entry.id)?;
    }
    Ok((entry, true))
}

/// Returns whether a reply is from somebody who read the email. A person may reply from another address, and the quoted email then
/// contains its links. A Message-ID can be guessed, so it needs the address of the email too.
fn is_of_recipient(reply: &Reply, delivery: &Candidate) -> bool {
    match delivery.by {
        MatchedBy::BounceAddress | MatchedBy::Link => true,
        MatchedBy::MessageId | MatchedBy::ProviderId => {
            normal_address(&reply.from) == normal_address(&delivery.address)
        }
    }
}

fn dedup_key(origin: &Origin, report: &Report, index: usize) -> String {
    let mut hasher = Sha256::new();
    hasher.update(&origin.source);
    hasher.update(b"\n");
    hasher.update(origin.integration.as_ref().map_or("", IntegrationId::as_str));
    hasher.update(b"\n");
    hasher.update(report.key.as_deref().unwrap_or_default());
    // An email reports several recipients with one key. An event of a provider has its own key.
    if origin.integration.is_none() {
        hasher.update(format!("\n{index}"));
    }
    hex(&hasher.finalize())
}

/// Finds the delivery that a report is about.
fn find(conn: &mut Conn, keys: &Keys, report: &Report, sole: bool) -> Result<Option<Candidate>> {
    let identifiers = &report.identifiers;
    let proven = identifiers
        .bounce_addresses
        .iter()
        .filter_map(|address| {
            Some((
                keys.verp.as_ref()?.delivery_of(address)?,
                MatchedBy::BounceAddress,
            ))
        })
        .chain(
            identifiers
                .links
                .iter()
                .filter_map(|link| Some((keys.links.target_of_any(link)?, MatchedBy::Link))),
        );
    for (id, by) in proven {
        if let Some(delivery) = delivery(conn, id, by)? {
            return Ok(Some(delivery));
        }
    }
    for message_id in &identifiers.message_ids {
        if let Some(id) = by_message_id(conn, message_id)? {
            return delivery(conn, id, MatchedBy::MessageId);
        }
    }
    for id in &report.provider_ids {
        if let Some(id) = by_provider_id(conn, id, report, sole)? {
            return delivery(conn, id, MatchedBy::ProviderId);
        }
    }
    Ok(None)
}

fn delivery(conn: &mut Conn, id: i64, by: MatchedBy) -> Result<Option<Candidate>> {
    let row: Option<(i64, String, DeliveryState, i64, IncidentId)> = d::table
        .inner_join(n::table)
        .filter(d::id.eq(id))
        .select((d::id, d::address, d::state, d::attempt, n::incident_id))
        .first(conn)
        .optional()?;
    Ok(row.map(|(id, address, state, attempt, incident)| Candidate {
        id,
        address,
        state,
        attempt,
        incident,
        by,
    }))
}

/// Finds a delivery by the parts of its Message-ID (`ORDINAL.NOTICE@domain`), because an index exists for
/// them.
fn by_message_id(conn: &mut Conn, message_id: &str) -> Result<Option<i64>> {
    let parts = message_id
        .split_once('.')
        .and_then(|(ordinal, rest)| Some((ordinal.parse::<i64>().ok()?, rest.split('@').next()?)));
    let Some((ordinal, notice)) = parts else {
        return Ok(None);
    };
    let found: Option<(i64, String)> = d::table
        .filter(d::notice_id.eq(notice))
        .filter(d::ordinal.eq(ordinal))
        .select((d::id, d::message_id))
        .first(conn)
        .optional()?;
    Ok(found
        .filter(|(_, stored)| stored.eq_ignore_ascii_case(message_id))
        .map(|(id, _)| id))
}

/// Finds a delivery by the ID that the provider gave when it accepted the email (`250 Ok <id>`), among the
/// attempts to the same address. If the report contains no address and is the only one of its body, the
/// last attempts to all addresses are searched.
fn by_provider_id(conn: &mut Conn, provider_id: &str, report: &Report, sole: bool) -> Result<Option<i64>> {
    // A short ID could be part of any reply.
    let usable = (12..=200).contains(&provider_id.len())
        && provider_id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@+=".contains(&byte));
    if !usable {
        return Ok(None);
    }
    if report.addresses.is_empty() {
        // A body can contain a thousand reports, and only a single one without an address has an effect.
        if !sole {
            return Ok(None);
        }
        let last = da::table
            .order((da::delivery_id.desc(), da::attempt.desc()))
            .limit(ATTEMPTS)
            .select((da::delivery_id, da::outcome, da::reply));
        let rows: Vec<(i64, String, String)> = last.load(conn)?;
        let mut sent = rows.iter().filter(|(_, outcome, _)| outcome == "sent");
        return Ok(sent
            .find(|(_, _, reply)| names(reply, provider_id))
            .map(|(id, _, _)| *id));
    }
    // These are the spellings in which the address may be frozen, also by an earlier version.
    let mut spelled: Vec<String> = Vec::new();
    for address in &report.addresses {
        let usual = normal_address(address);
        spelled.extend([address.clone(), mailbox::readable(&usual), usual]);
    }
    let before = report
        .handed_over_at
        .map_or(Timestamp::from_micros(i64::MAX), |at| at.plus(SKEW));
    let notices: Vec<NoticeId> = n::table
        .filter(n::queued_at.le(Some(before)))
        .order(n::queued_at.desc())
        .limit(NOTICES)
        .select(n::id)
        .load(conn)?;
    let notices: Vec<&str> = notices.iter().map(NoticeId::as_str).collect();
    let rows: Vec<(i64, String)> = nr::table
        .inner_join(d::table.on(d::notice_id.eq(nr::notice_id).and(d::ordinal.eq(nr::ordinal))))
        .inner_join(da::table.on(da::delivery_id.eq(d::id)))
        .filter(nr::notice_id.eq_any(notices))
        .filter(nr::channel.eq("email"))
        .filter(nr::address.eq_any(spelled))
        .filter(da::outcome.eq("sent"))
        .select((d::id, da::reply))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .find(|(_, reply)| names(reply, provider_id))
        .map(|(id, _)| id))
}

/// Returns whether the reply to an attempt contains this ID as a word.
fn names(reply: &str, provider_id: &str) -> bool {
    reply
        .split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '[' | ']' | ',' | ';' | ':'))
        .any(|word| word == provider_id || word.split('@').next() == Some(provider_id))
}

/// Applies the effects of a report about this delivery, and returns the effect.
fn apply(
    tx: &mut Tx<'_>,
    origin: &Origin,
    keys: &Keys,
    report: &Report,
    delivery: &Candidate,
    sole: bool,
) -> Result<&'static str> {
    let address = normal_address(&delivery.address);
    let same = report
        .addresses
        .iter()
        .any(|other| normal_address(other) == address);
    let proven = matches!(delivery.by, MatchedBy::BounceAddress | MatchedBy::Link);
    let trusted = if proven {
        // If several recipients share one address, such as that of a mailing list, a report about another
        // recipient says nothing about this one.
        same || sole
    } else {
        // A recipient of one email can guess the Message-IDs of the other emails of the notice. A hook is
        // trusted, because its address is secret. An email is not, and it contains a proof if emails have
        // their own bounce addresses.
        (same || (report.addresses.is_empty() && sole))
            && (origin.integration.is_some() || keys.verp.is_none())
    };
    if !trusted {
        return Ok("none");
    }
    let mut effect = "none";
    let reason = match report.kind {
        ReportKind::Hard => Some(SuppressionReason::Bounced),
        ReportKind::Complaint => Some(SuppressionReason::Complained),
        ReportKind::Unsubscribed => Some(SuppressionReason::OptedOut),
        _ => None,
    };
    if let Some(reason) = reason
        && !is_placeholder(&address)
        && opt_out::suppress(tx, &address, reason, delivery.id)?
    {
        effect = "suppressed";
    }
    if report.lost {
        if delivery_state::bounce(
            tx,
            delivery.id,
            &delivery.incident,
            report.kind.as_str(),
            report.status.as_deref(),
        )? {
            effect = "bounced";
        } else if delivery.state == DeliveryState::Pending && delivery.attempt > 0 {
            // The report arrived before the outcome of the attempt was recorded.
            effect = "early";
        }
    }
    Ok(effect)
}

/// Applies the effects of a report about an email to a subscriber of the status page, and returns the effect. The report must
/// prove the subscriber in the same way as a delivery.
fn apply_to_subscriber(
    tx: &mut Tx<'_>,
    origin: &Origin,
    keys: &Keys,
    report: &Report,
    sole: bool,
) -> Result<&'static str> {
    let reason = match report.kind {
        ReportKind::Hard => SuppressionReason::Bounced,
        ReportKind::Complaint => SuppressionReason::Complained,
        ReportKind::Unsubscribed => SuppressionReason::OptedOut,
        _ => return Ok("none"),
    };
    let identifiers = &report.identifiers;
    let by_address = identifiers
        .bounce_addresses
        .iter()
        .filter_map(|address| keys.verp.as_ref()?.subscriber_of(address));
    let by_link = identifiers
        .links
        .iter()
        .filter_map(|link| keys.links.subscription_target(link));
    let proven = by_address.chain(by_link).next();
    let guessable = match proven {
        None if origin.integration.is_some() || keys.verp.is_none() => {
            outbox::subscriber_of(tx.conn, &identifiers.message_ids)?
        }
        _ => None,
    };
    let Some(id) = proven.or(guessable) else {
        return Ok("none");
    };
    let subscriber = match subscriber::get(tx.conn, id) {
        Ok(one) => one,
        Err(Error::NotFound(_)) => return Ok("none"),
        Err(error) => return Err(error),
    };
    let same = report
        .addresses
        .iter()
        .any(|address| normal_address(address) == subscriber.address);
    let trusted = same || (sole && (proven.is_some() || report.addresses.is_empty()));
    match trusted && subscribing::end_suppressed(tx, id, reason)? {
        true => Ok(SUBSCRIPTION_ENDED),
        false => Ok("none"),
    }
}

/// Applies the reports that arrived before the outcome of their attempt was recorded. Returns how many were
/// applied.
///
/// # Errors
/// An error of the database.
pub fn apply_early(tx: &mut Tx<'_>) -> Result<usize> {
    let rows: Vec<(i64, String, Option<String>, IncidentId)> = f::table
        .inner_join(d::table.on(f::delivery_id.eq(d::id.nullable())))
        .inner_join(n::table.on(n::id.eq(d::notice_id)))
        .filter(sql::<Bool>("feedback.effect = 'early'"))
        .filter(d::state.eq(DeliveryState::Sent))
        // If the email was sent again, it must also bounce again.
        .filter(f::attempt.eq(d::attempt.nullable()))
        .order(f::id)
        .limit(1_000)
        .select((d::id, f::kind, f::status, n::incident_id))
        .fixed()
        .load(tx.conn)?;
    let mut applied = 0;
    for (delivery, kind, status, incident) in rows {
        let kind = ReportKind::parse(&kind).map_err(Error::internal)?;
        applied += usize::from(delivery_state::bounce(
            tx,
            delivery,
            &incident,
            kind.as_str(),
            status.as_deref(),
        )?);
    }
    Ok(applied)
}

/// Returns whether there is work for [`apply_early`].
///
/// # Errors
/// An error of the database.
pub fn any_early(conn: &mut Conn) -> Result<bool> {
    let one: Option<i64> = f::table
        .inner_join(d::table.on(f::delivery_id.eq(d::id.nullable())))
        .filter(sql::<Bool>("feedback.effect = 'early'"))
        .filter(d::state.eq(DeliveryState::Sent))
        .filter(f::attempt.eq(d::attempt.nullable()))
        .select(f::id)
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?;
    Ok(one.is_some())
}

/// Stores the token of a signature that does not cover the body. Returns whether the token may be used for
/// this body, because a token is valid for only one body.
///
/// # Errors
/// An error of the database.
pub fn use_token(tx: &mut Tx<'_>, integration: &IntegrationId, token: &str, body: &[u8]) -> Result<bool> {
    dialect::lock_feedback(tx.conn)?;
    diesel::delete(ft::table.filter(ft::seen_at.lt(tx.now.minus(TOKENS)))).execute(tx.conn)?;
    let hash = hex(&Sha256::digest(body));
    let known: Option<String> = ft::table
        .find((integration.as_str(), token))
        .select(ft::body_hash)
        .first(tx.conn)
        .optional()?;
    if let Some(known) = known {
        return Ok(known == hash);
    }
    diesel::insert_into(ft::table)
        .values((
            ft::integration_id.eq(integration.as_str()),
            ft::token.eq(token),
            ft::body_hash.eq(hash),
            ft::seen_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(true)
}
