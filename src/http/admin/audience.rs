//! The people of an incident on its page: who they are, why they are affected, and whether they were
//! notified.
//!
//! Every person has at least one reason. A page has a limited number of people.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::view::{
    When, account_path, count, cut, grouped, link, person_path, relevance, resource, resource_path,
};
use crate::audience::{Addressee, Audience, Reason};
use crate::directory::{ResourceRef, normal_address};
use crate::feedback::unreached::{Unreached, UnreachedCounts, UnreachedReason};
use crate::http::page::{Limit, Page, page};
use crate::incident::affected::Source;
use crate::incident::affected_people::Named;
use crate::incident::recovery::State;
use crate::incident::users_in_events::SeenInEvents;
use crate::notice::{Overview, Restoration, Restorations, Standing};

/// The group of people to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// People with a valid address to whom nothing was sent.
    NotTold,
    /// People for whom an email was accepted.
    Told,
    /// People to whom an email is being sent.
    Sending,
    /// People whose emails were rejected, expired or bounced.
    Failed,
    /// People without a valid address.
    Unreachable,
    /// People whose affected resources are all restored.
    Restored,
    /// People whose affected resources are not all restored.
    Impaired,
    /// People who were notified that everything is restored, and one of whose resources is impaired again.
    Relapsed,
}

impl Chosen {
    fn as_str(self) -> &'static str {
        match self {
            Chosen::NotTold => "not_told",
            Chosen::Told => "told",
            Chosen::Sending => "sending",
            Chosen::Failed => "failed",
            Chosen::Unreachable => "unreachable",
            Chosen::Restored => "restored",
            Chosen::Impaired => "impaired",
            Chosen::Relapsed => "relapsed",
        }
    }

    /// Returns whether a person belongs to the group.
    fn has(self, standing: Chosen, restoration: Option<Restoration>) -> bool {
        match self {
            Chosen::Restored => matches!(
                restoration,
                Some(Restoration::Restored | Restoration::RestoredAndTold)
            ),
            Chosen::Impaired => matches!(
                restoration,
                Some(Restoration::Impaired | Restoration::Relapsed | Restoration::RelapsedAndTold)
            ),
            Chosen::Relapsed => matches!(
                restoration,
                Some(Restoration::Relapsed | Restoration::RelapsedAndTold)
            ),
            other => other == standing,
        }
    }

    fn of(standing: Standing) -> Chosen {
        match standing {
            Standing::Accepted => Chosen::Told,
            Standing::Sending => Chosen::Sending,
            Standing::Failed => Chosen::Failed,
            Standing::Unreachable => Chosen::Unreachable,
            Standing::NotNotified => Chosen::NotTold,
        }
    }
}

/// The largest number of reasons of one person, and of resources of one reason, that are listed. The rest is
/// only counted.
const MAX: usize = 5;

/// The number of people on one page.
const ROWS: Limit = Limit(20);

/// Returns one page of the people of an audience who are in a group and whose name, ID or address contains a text. `outbox` says
/// that emails are written to files, so no mail server accepts anything.
pub fn section(
    (overview, restorations): (&Overview, &Restorations),
    (chosen, text): (Option<Chosen>, Option<&str>),
    after: Option<&str>,
    base: &str,
    outbox: bool,
) -> Value {
    let audience = &overview.audience;
    let standing = |addressee: &Addressee| Chosen::of(overview.standing(addressee));
    let restoration = |addressee: &Addressee| restorations.of(overview, addressee);
    let parts = overview.partition();
    let wanted = text.map(str::to_lowercase);
    let matches = |addressee: &Addressee| {
        let person = &addressee.person;
        wanted.as_ref().is_none_or(|wanted| {
            [&person.name, &person.id, &person.email]
                .iter()
                .any(|field| field.to_lowercase().contains(wanted))
        })
    };
    let in_group = |addressee: &&Addressee| {
        chosen.is_none_or(|chosen| chosen.has(standing(addressee), restoration(addressee)))
            && matches(addressee)
    };
    let rows: Vec<&Addressee> = audience
        .people
        .iter()
        .filter(in_group)
        .filter(|addressee| after.is_none_or(|after| addressee.person.id.as_str() > after))
        .take(ROWS.probe() as usize)
        .collect();
    let Page { items, next_cursor } = page(rows, ROWS, |addressee| addressee.person.id.clone());
    let word = chosen.map(Chosen::as_str);
    let path = |chosen: Option<&str>, after: Option<&str>| {
        link(base, &[("people", chosen), ("q", text), ("people_after", after)])
    };
    let tab = |label: &str, n: i64, value: Option<&str>| json!({"label": format!("{label} {}", grouped(n)), "path": path(value, None), "current": word == value, "count": null});
    let mut tabs = vec![
        tab("all", parts.people, None),
        tab("not notified yet", parts.not_notified, Some("not_told")),
        tab("emailed", parts.accepted, Some("told")),
    ];
    for (label, n, value) in [
        ("still sending", parts.sending, "sending"),
        ("failed or bounced", parts.failed, "failed"),
        ("no usable address", parts.unreachable, "unreachable"),
    ] {
        if n > 0 || word == Some(value) {
            tabs.push(tab(label, n, Some(value)));
        }
    }
    let restorations: Vec<Restoration> = audience.people.iter().filter_map(restoration).collect();
    for (label, group) in [
        ("restored", Chosen::Restored),
        ("still impaired", Chosen::Impaired),
        ("impaired again", Chosen::Relapsed),
    ] {
        let n = restorations
            .iter()
            .filter(|one| group.has(Chosen::Told, Some(**one)))
            .count();
        let shows = !restorations.is_empty() && (group != Chosen::Relapsed || n > 0);
        if shows || chosen == Some(group) {
            tabs.push(tab(label, n as i64, Some(group.as_str())));
        }
    }
    let counts = &audience.counts;
    json!({
        "people": count(counts.people, "person", "people"),
        "accounts": count(counts.accounts, "account", "accounts"),
        "any": !audience.people.is_empty(),
        "group": word,
        "found": text.map(|_| count(audience.people.iter().filter(in_group).count(), "person", "people")),
        "tabs": tabs,
        "rows": items.iter().map(|addressee| row(addressee, (standing(addressee), restoration(addressee)), outbox)).collect::<Vec<_>>(),
        "first": after.map(|_| path(word, None)),
        "next": next_cursor.as_deref().map(|next| path(word, Some(next))),
    })
}

fn row(addressee: &Addressee, (standing, restoration): (Chosen, Option<Restoration>), outbox: bool) -> Value {
    let person = &addressee.person;
    let reasons: Vec<Reason> = addressee.reasons.iter().collect();
    let (ways, more) = ways(&reasons);
    json!({
        "name": person.name,
        "id": person.id,
        "path": person_path(&person.id),
        "email": person.email,
        "told": (standing == Chosen::Told).then_some(if outbox { "written to the outbox" } else { "emailed" }),
        "sending": standing == Chosen::Sending,
        "failed": standing == Chosen::Failed,
        "not_told": standing == Chosen::NotTold,
        "relevance": relevance(addressee.relevance),
        "restored": addressee.reasons.progress().map(|progress| json!({
            "text": format!("{} of {} restored", grouped(progress.restored as i64), grouped(progress.affected as i64)),
            "all": progress.is_complete(),
            "told": restoration == Some(Restoration::RestoredAndTold),
            "again": matches!(restoration, Some(Restoration::Relapsed | Restoration::RelapsedAndTold)),
        })),
        // This is shown in addition to the state of the emails, because these people get no updates.
        "suppressed": addressee.suppressed.as_deref().map(|reason| match reason {
            "opted_out" => "opted out of updates",
            "bounced" => "no updates: an email bounced permanently",
            _ => "no updates: reported an email as spam",
        }),
        "unreachable": addressee.unreachable,
        "ways": ways,
        "more_ways": more,
    })
}

/// The key of a reason: whether it is a role on a resource, the role, the account, and the resource of the
/// role.
type Way<'a> = (bool, &'a str, Option<&'a str>, Option<&'a ResourceRef>);

/// Returns the reasons of a person, one for each role and each account or resource that it is on, with the
/// affected resources. Also returns the number of reasons that are not listed.
fn ways(reasons: &[Reason]) -> (Vec<Value>, usize) {
    let mut grouped: BTreeMap<Way<'_>, Vec<(&Reason, &ResourceRef)>> = BTreeMap::new();
    for reason in reasons {
        let Some(resource) = &reason.resource else {
            continue;
        };
        // An owner is listed once for each account. The path between an affected resource and the account is
        // shown with the resource.
        let through = if reason.by_account {
            None
        } else {
            Some(reason.through.as_ref().unwrap_or(resource))
        };
        let way = (
            !reason.by_account,
            &*reason.role,
            reason.account.as_deref(),
            through,
        );
        grouped.entry(way).or_default().push((reason, resource));
    }
    let seen: Vec<Value> = reasons
        .iter()
        .filter_map(|reason| reason.seen.as_deref())
        .map(met)
        .collect();
    let named = reasons
        .iter()
        .find_map(|reason| reason.named.as_ref())
        .map(named_directly);
    let all = grouped.len() + seen.len() + usize::from(named.is_some());
    let roles = grouped.into_iter().map(|((_, role, account, through), mut reasons)| {
        reasons.dedup_by_key(|(_, resource)| *resource);
        let resources: Vec<Value> = reasons
            .iter()
            .take(MAX)
            .map(|(reason, at)| {
                json!({
                    "at": resource(at, reason.name.as_deref()),
                    "finding": reason.finding,
                    "restored": reason.recovery == Some(State::Recovered),
                    // The path is shown only if it has another resource than the affected one.
                    "through": reason.through.as_ref().filter(|_| reason.by_account).map(|at| resource(at, None)),
                })
            })
            .collect();
        json!({
            "role": role,
            "account": account.map(|id| json!({
                "id": id,
                "name": reasons.first().and_then(|(reason, _)| reason.account_name.as_deref()).unwrap_or(id),
                "path": account_path(id),
            })),
            "on": through.map(|at| json!({
                "label": at.to_string(), "path": resource_path(at.type_.as_str(), at.id.as_str()),
            })),
            "itself": reasons.len() == 1 && reasons.iter().all(|(_, at)| through == Some(*at)),
            "resources": resources,
            "more_resources": reasons.len().saturating_sub(MAX),
            "seen": null,
            "named": null,
        })
    });
    let ways = named.into_iter().chain(roles).chain(seen).take(MAX).collect();
    (ways, all.saturating_sub(MAX))
}

/// Returns the reason of a person who hit the error. It is not a role.
fn met(seen: &SeenInEvents) -> Value {
    json!({
        "role": null, "account": null, "on": null, "itself": false, "resources": [], "more_resources": 0,
        "seen": {
            "title": cut(&seen.title, 120),
            "events": count(usize::try_from(seen.events).unwrap_or_default(), "event", "events"),
            "by": seen.recognised_by.as_str(),
            "first": When::utc(seen.first_seen_at),
            "last": (seen.last_seen_at != seen.first_seen_at).then(|| When::utc(seen.last_seen_at)),
        },
        "named": null,
    })
}

/// Returns the reason of a person who is named directly. It is not a role.
fn named_directly(named: &Named) -> Value {
    json!({
        "role": null, "account": null, "on": null, "itself": false, "resources": [], "more_resources": 0, "seen": null,
        "named": {
            "by": match named.source {
                Source::Selector => "added by filter",
                Source::Comparison => "found by a comparison",
                Source::Operator | Source::Alert => "added manually",
            },
            "at": When::utc(named.added_at),
            "as_of": When::maybe(named.as_of, None),
            "finding": named.finding,
        },
    })
}

/// Returns the errors with unknown users, by alert.
pub fn unidentified(audience: &Audience, zone: Option<&TimeZone>) -> Value {
    const SHOWN: usize = 50;
    let counts = &audience.counts;
    let number = |n: i64| usize::try_from(n).unwrap_or_default();
    let parts: Vec<String> = [
        (counts.unidentified > 0).then(|| {
            count(
                counts.unidentified,
                "user who hit the error is not in the directory",
                "users who hit the error are not in the directory",
            )
        }),
        (counts.events_without_user > 0).then(|| {
            count(
                number(counts.events_without_user),
                "error has no user",
                "errors have no user",
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    let rows = audience.unidentified.iter().take(SHOWN).map(|one| {
        let users = (one.users > 0).then(|| {
            format!(
                "{} in {}",
                count(number(one.users), "unknown user", "unknown users"),
                count(number(one.events), "event", "events")
            )
        });
        let without = (one.without_user > 0).then(|| {
            count(
                number(one.without_user),
                "event without a user",
                "events without a user",
            )
        });
        let parts: Vec<String> = users.into_iter().chain(without).collect();
        json!({
            "title": cut(&one.title, 120),
            "text": parts.join(", "),
            "first": When::new(one.first_seen_at, zone),
            "last": (one.last_seen_at != one.first_seen_at).then(|| When::new(one.last_seen_at, zone)),
        })
    });
    json!({
        "any": !parts.is_empty(),
        "title": parts.join(", "),
        "rows": rows.collect::<Vec<_>>(),
        "more": audience.unidentified.len().saturating_sub(SHOWN),
    })
}

/// Returns the people who could not be reached, why, and who else of their accounts could be notified.
pub fn unreached(counts: &UnreachedCounts, people: &[Unreached], zone: Option<&TimeZone>) -> Value {
    let reasons: Vec<String> = [
        (counts.bounced_hard, "bounced permanently"),
        (counts.bounced_soft, "bounced temporarily"),
        (counts.failed, "failed"),
        (counts.no_address, "without a usable address"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, words)| format!("{} {words}", grouped(n as i64)))
    .collect();
    let row = |one: &Unreached| {
        let (word, bad) = match one.why {
            UnreachedReason::Failed => ("failed", true),
            UnreachedReason::BouncedHard => ("bounced permanently", true),
            UnreachedReason::BouncedSoft => ("bounced temporarily", true),
            UnreachedReason::Complained => ("reported as spam", false),
            UnreachedReason::NoAddress => ("no usable address", true),
        };
        json!({
            "name": one.person.name, "path": person_path(&one.person.id),
            "address": one.address,
            // The current address, if it differs from the one that was tried.
            "present": (!one.person.email.is_empty() && normal_address(&one.person.email) != normal_address(&one.address))
                .then_some(&one.person.email),
            "word": word, "bad": bad,
            // The text of the server usually begins with the code.
            "status": one.status.as_ref().filter(|status| !one.diagnostic.contains(status.as_str())),
            "diagnostic": cut(&one.diagnostic, 300),
            "at": When::maybe(one.at, zone),
            "notice": one.notice.as_ref().map(|id| format!("/admin/notices/{id}#deliveries")),
            "phases": one.phases.join(", "),
            "others": one.others.iter().take(MAX).map(|other| json!({
                "name": other.person.name, "path": person_path(&other.person.id),
                "role": other.role, "account": other.account_name, "account_path": account_path(&other.account),
                "told": other.told,
            })).collect::<Vec<_>>(),
            "more_others": one.more_others + one.others.len().saturating_sub(MAX),
        })
    };
    let (complained, lost): (Vec<&Unreached>, Vec<&Unreached>) = people
        .iter()
        .partition(|one| one.why == UnreachedReason::Complained);
    // If nothing was tried, the reason is only the directory.
    let title = match counts.people == counts.no_address {
        true => count(
            counts.people,
            "person cannot be reached",
            "people cannot be reached",
        ),
        false => count(
            counts.people,
            "person missed at least one email, or has no address",
            "people missed at least one email, or have no address",
        ),
    };
    json!({
        "any": counts.people > 0,
        "title": title,
        "reasons": reasons.join(", "),
        "rows": lost.iter().map(|one| row(one)).collect::<Vec<_>>(),
        "more": counts.people.saturating_sub(lost.len()),
        "complained": counts.complained > 0,
        "complained_title": count(counts.complained, "person reported an email as spam", "people reported an email as spam"),
        "complaints": complained.iter().map(|one| row(one)).collect::<Vec<_>>(),
    })
}
