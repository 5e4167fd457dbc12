//! Creates messages from audit events and from the time: a subscriber to the audit trail, and a check for
//! overdue updates.
//!
//! People who could not be reached are counted first, on a read-only connection, because that reads a whole
//! audience. Then the messages are stored in one transaction with the position on the audit trail.
//!
//! An operator is notified of an event only once. An audience is never read while others wait for a lock.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use diesel::prelude::*;

use super::ACTOR;
use super::contact::{self, Operator};
use super::message::{EmailCounts, Facts, Headline, OperatorEvent};
use super::outbox;
use super::overdue;
use crate::audit::follow::{self, Followed};
use crate::audit::{Action, Actor, Tx};
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::deliveries as d;
use crate::db::{Conn, Db};
use crate::feedback::unreached;
use crate::incident;
use crate::notice::template::Phase;
use crate::notice::{self, Notice, NoticeState};

/// The name of the subscriber to the audit trail.
pub(super) const SUBSCRIBER: &str = "operators";
/// The audit events that it handles.
const FOLLOWS: [Action; 9] = [
    Action::IncidentOpened,
    Action::IncidentReopened,
    Action::AutomationDecided,
    Action::NoticeFinished,
    Action::NoticeHeld,
    Action::DeliveryBounced,
    Action::BreakGlassUsed,
    Action::NoticeApprovalAsked,
    Action::RecoveryRelapsed,
];
/// The number of events in one step.
const BATCH: i64 = 100;
/// How long to wait for more bounces before a message is sent, because several emails usually bounce
/// together.
const GATHER: Duration = Duration::from_secs(60);

/// Returns whether there are new events on the audit trail. It takes no lock on them.
pub(super) async fn has_new_events(db: &Db) -> Result<bool> {
    let any = db.read(|conn| follow::any(conn, SUBSCRIBER, &FOLLOWS)).await?;
    if !any {
        follow::skip(db, &Actor::system(ACTOR), SUBSCRIBER, &FOLLOWS).await?;
    }
    Ok(any)
}

/// What was read about notices before anything is written.
struct NoticeFacts {
    /// The sequence number of the last event that was read.
    until: i64,
    /// The notice of each delivery that bounced.
    bounced: HashMap<i64, NoticeId>,
    notices: HashMap<NoticeId, Notice>,
    /// The number of people who could not be reached, by incident.
    unreached: HashMap<IncidentId, usize>,
}

/// Creates messages from the new audit events. Returns whether there may be more.
///
/// # Errors
/// `Internal` or `Unavailable` if the database fails. Nothing is stored then.
pub(super) async fn follow_trail(db: &Db) -> Result<bool> {
    let known = db
        .read(|conn| {
            let at = follow::cursor(conn, SUBSCRIBER)?;
            let events = follow::behind(conn, at, &FOLLOWS, BATCH)?;
            let Some(last) = events.last() else {
                return Ok(None);
            };
            let until = last.seq;
            Ok(Some(find_out(conn, &events, until)?))
        })
        .await?;
    let Some(known) = known else { return Ok(false) };
    db.write(&Actor::system(ACTOR), move |tx| {
        let at = follow::hold(tx.conn, SUBSCRIBER)?;
        // Another process may have handled the events in the meantime.
        let events = follow::behind(tx.conn, at, &FOLLOWS, BATCH)?;
        let operators = contact::list(tx.conn)?;
        for event in events.iter().filter(|event| event.seq <= known.until) {
            tell(tx, &operators, event, &known)?;
        }
        follow::advance(tx.conn, SUBSCRIBER, known.until.max(at))
    })
    .await?;
    Ok(true)
}

fn find_out(conn: &mut Conn, events: &[Followed], until: i64) -> Result<NoticeFacts> {
    let mut known = NoticeFacts {
        until,
        bounced: HashMap::new(),
        notices: HashMap::new(),
        unreached: HashMap::new(),
    };
    let wanted = contact::list(conn)?
        .iter()
        .any(|one| one.enabled && one.events.contains(&OperatorEvent::Unreached));
    for event in events {
        let notice = if event.action == Action::NoticeFinished.as_str() {
            NoticeId::parse(&event.subject).ok()
        } else if event.action == Action::DeliveryBounced.as_str() {
            let Ok(delivery) = event.subject.parse::<i64>() else {
                continue;
            };
            let notice: Option<NoticeId> = d::table
                .find(delivery)
                .select(d::notice_id)
                .first(conn)
                .optional()?;
            if let Some(notice) = &notice {
                known.bounced.insert(delivery, notice.clone());
            }
            notice
        } else {
            None
        };
        let Some(notice) = notice.filter(|id| !known.notices.contains_key(id)) else {
            continue;
        };
        let notice = notice::get(conn, &notice)?;
        if wanted && notice.state == NoticeState::Sent && !known.unreached.contains_key(&notice.incident) {
            let (counts, _) = unreached::list(conn, &notice.incident, None, 0)?;
            known.unreached.insert(notice.incident.clone(), counts.people);
        }
        known.notices.insert(notice.id.clone(), notice);
    }
    Ok(known)
}

fn tell(tx: &mut Tx<'_>, operators: &[Operator], event: &Followed, known: &NoticeFacts) -> Result<()> {
    if operators.is_empty() {
        return Ok(());
    }
    let Some(id) = &event.incident else { return Ok(()) };
    let headline = Headline::from(&incident::get(tx.conn, id)?);
    let wanting = |what: OperatorEvent| {
        operators
            .iter()
            .filter(move |one| one.wants(what, headline.severity))
    };
    if event.action == Action::IncidentOpened.as_str() {
        let facts = Facts::new(OperatorEvent::Opened, headline.clone());
        let key = format!("opened:{id}");
        for operator in wanting(OperatorEvent::Opened) {
            outbox::enqueue_opened(tx, operator, &key, &facts)?;
        }
        return Ok(());
    }
    let said = |field: &str| event.after.as_ref().and_then(|after| after.get(field)).cloned();
    if event.action == Action::IncidentReopened.as_str() {
        let reopened = Headline {
            reopened: true,
            ..headline.clone()
        };
        let facts = Facts::new(OperatorEvent::Opened, reopened);
        let episode = said("episode")
            .and_then(|episode| episode.as_i64())
            .unwrap_or_default();
        let key = format!("opened:{id}:{episode}");
        for operator in wanting(OperatorEvent::Opened) {
            outbox::enqueue_opened(tx, operator, &key, &facts)?;
        }
        return Ok(());
    }
    let text = |field: &str| said(field).and_then(|value| value.as_str().map(str::to_owned));
    if event.action == Action::AutomationDecided.as_str() {
        if !matches!(text("outcome").as_deref(), Some("drafted" | "failed")) {
            return Ok(());
        }
        let facts = Facts {
            notice: text("notice").and_then(|notice| NoticeId::parse(&notice).ok()),
            // The event of a detection has no phase.
            phase: Some(text("phase").unwrap_or_else(|| Phase::Detection.as_str().to_owned())),
            policy: text("policy"),
            reason: text("reason"),
            ..Facts::new(OperatorEvent::Drafted, headline.clone())
        };
        let key = format!("drafted:{id}:{}", event.seq);
        for operator in wanting(OperatorEvent::Drafted) {
            outbox::put(tx, operator, &key, &facts, tx.now)?;
        }
        return Ok(());
    }
    if event.action == Action::BreakGlassUsed.as_str() {
        let facts = Facts {
            notice: NoticeId::parse(&event.subject).ok(),
            phase: text("phase"),
            reason: text("reason"),
            by: text("by"),
            ..Facts::new(OperatorEvent::BreakGlass, headline.clone())
        };
        let key = format!("break_glass:{id}:{}", event.seq);
        for operator in wanting(OperatorEvent::BreakGlass) {
            outbox::put(tx, operator, &key, &facts, tx.now)?;
        }
        return Ok(());
    }
    if event.action == Action::RecoveryRelapsed.as_str() {
        let facts = Facts {
            relapsed: said("relapsed").and_then(|count| count.as_i64()),
            reason: text("source"),
            ..Facts::new(OperatorEvent::Relapsed, headline.clone())
        };
        let key = format!("relapsed:{id}:{}", event.seq);
        for operator in wanting(OperatorEvent::Relapsed) {
            outbox::put(tx, operator, &key, &facts, tx.now)?;
        }
        return Ok(());
    }
    if event.action == Action::NoticeApprovalAsked.as_str() {
        let facts = Facts {
            notice: NoticeId::parse(&event.subject).ok(),
            phase: text("phase"),
            approval_asked_by: text("by"),
            recipients: said("recipients").and_then(|count| count.as_i64()),
            ..Facts::new(OperatorEvent::Drafted, headline.clone())
        };
        let key = format!("approval_asked:{}:{}", event.subject, event.seq);
        for operator in wanting(OperatorEvent::Drafted) {
            outbox::put(tx, operator, &key, &facts, tx.now)?;
        }
        return Ok(());
    }
    if event.action == Action::NoticeHeld.as_str() {
        // Whoever holds a notice knows it.
        if event.actor_kind != "system" {
            return Ok(());
        }
        let facts = Facts {
            notice: NoticeId::parse(&event.subject).ok(),
            phase: text("phase"),
            held_because: text("held_because"),
            ..Facts::new(OperatorEvent::Drafted, headline.clone())
        };
        let key = format!("held:{}:{}", event.subject, event.seq);
        for operator in wanting(OperatorEvent::Drafted) {
            outbox::put(tx, operator, &key, &facts, tx.now)?;
        }
        return Ok(());
    }
    let finished = event.action == Action::NoticeFinished.as_str();
    let notice = if finished {
        NoticeId::parse(&event.subject).ok()
    } else {
        let delivery = event.subject.parse().ok();
        delivery.and_then(|delivery: i64| known.bounced.get(&delivery).cloned())
    };
    let Some(notice) = notice.and_then(|id| known.notices.get(&id)) else {
        return Ok(());
    };
    let about = Facts {
        notice: Some(notice.id.clone()),
        phase: Some(notice.phase.as_str().to_owned()),
        ..Facts::new(OperatorEvent::Sent, headline.clone())
    };
    if finished {
        let facts = Facts {
            told: Some(EmailCounts::from(notice.counts.mails)),
            ..about.clone()
        };
        let key = format!("sent:{}", notice.id);
        for operator in wanting(OperatorEvent::Sent) {
            outbox::put(tx, operator, &key, &facts, tx.now)?;
        }
    }
    let unreached = known.unreached.get(id).copied().unwrap_or_default();
    if unreached > 0 {
        let facts = Facts {
            event: OperatorEvent::Unreached,
            unreached,
            ..about
        };
        let key = format!("unreached:{}", notice.id);
        outbox::recount(tx, &key, &facts)?;
        // If some emails bounced already, more will follow. A bounce can also be faster than the check at the
        // end of the notice.
        let all_known = finished && notice.counts.bounced == 0;
        let due_at = if all_known { tx.now } else { tx.now.plus(GATHER) };
        for operator in wanting(OperatorEvent::Unreached) {
            outbox::put(tx, operator, &key, &facts, due_at)?;
        }
    }
    Ok(())
}

/// Creates messages about incidents with an overdue update: one for each period without a notice.
pub(super) async fn look_at_the_time(db: &Db, every: Duration) -> Result<()> {
    let now = db.clock().now();
    let missing = db
        .read(move |conn| {
            let operators = contact::list(conn)?;
            if operators.is_empty() {
                return Ok(Vec::new());
            }
            not_notified_yet(conn, &operators, every, now)
        })
        .await?;
    if missing.is_empty() {
        return Ok(());
    }
    db.write(&Actor::system(ACTOR), move |tx| {
        // Two processes that found the same incidents wait for each other here, and a key is used only once.
        follow::hold(tx.conn, SUBSCRIBER)?;
        for (operator, key, facts) in &missing {
            outbox::put(tx, operator, key, facts, tx.now)?;
        }
        Ok(())
    })
    .await
}

/// Returns which operators were not notified yet of which overdue update.
fn not_notified_yet(
    conn: &mut Conn,
    operators: &[Operator],
    every: Duration,
    now: Timestamp,
) -> Result<Vec<(Operator, String, Facts)>> {
    let found = overdue::all(conn, every, now)?;
    let incidents: Vec<&str> = found.iter().map(|one| one.incident.as_str()).collect();
    let notified: HashSet<_> = outbox::keys(conn, &incidents, OperatorEvent::Overdue)?
        .into_iter()
        .collect();
    let mut missing = Vec::new();
    for one in &found {
        let key = format!("overdue:{}:{}", one.incident, one.since.as_micros());
        let fresh: Vec<&Operator> = operators
            .iter()
            .filter(|operator| {
                let mut ways = operator.ways().into_iter();
                ways.any(|way| !notified.contains(&(operator.id.clone(), way.to_owned(), key.clone())))
            })
            .collect();
        if fresh.is_empty() {
            continue;
        }
        let headline = Headline::from(&incident::get(conn, &one.incident)?);
        let wanting = fresh
            .into_iter()
            .filter(|operator| operator.wants(OperatorEvent::Overdue, headline.severity));
        for operator in wanting {
            let facts = Facts {
                last_told_at: Some(one.last),
                ..Facts::new(OperatorEvent::Overdue, headline.clone())
            };
            missing.push((operator.clone(), key.clone(), facts));
        }
    }
    Ok(missing)
}
