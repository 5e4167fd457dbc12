//! The page of a notice that is being sent or was sent: how far it is, who got it and who did not, and what can be done now.
//!
//! The parts with numbers are live while it is being sent.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::approval_forms::Approved;
use super::frame::Frame;
use super::notice_view::{Refused, ShowParams, email, incident_link, mail_view, title};
use super::signed_in::SignedIn;
use super::view::{When, count, grouped, progress, zone};
use super::{corrections, deliveries, sending_forms};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::delivery;
use crate::feedback::stored;
use crate::http::App;
use crate::http::page::{cursor, page as page_of_rows};
use crate::http::problem::Answer;
use crate::incident;
use crate::notice::again;
use crate::notice::compose::paragraphs;
use crate::notice::{self, Notice, NoticeState};

/// The seconds between two refreshes while a notice is being sent.
const LIVE: u32 = 2;

/// Shows the page of a notice that is no draft.
pub(super) async fn page(
    app: &App,
    by: &SignedIn,
    id: NoticeId,
    params: ShowParams,
    refused: Option<Refused>,
) -> Answer<HttpResponse> {
    let ShowParams {
        state,
        cursor: at,
        q,
        recipient,
    } = params;
    if q.is_some() {
        return Err(Error::invalid("?q", "is only for a draft").into());
    }
    let after: Option<i64> = cursor(at.as_deref())?;
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let (chosen, of, caller) = (state.clone(), id.clone(), by.0.clone());
    let audience_cache = app.audience_cache.clone();
    let (notice, incident, not_told, unsent, correctable, rows, (feedback, left_out), approved) = app
        .db
        .read(move |conn| {
            let notice = notice::get(conn, &of)?.at(now);
            let incident = incident::get(conn, &notice.incident)?;
            // These need the whole audience, so they are computed only when the notice does not change any more.
            let (not_told, correctable) = match notice.state.is_over() {
                true => {
                    let name = format!("not told of {of}");
                    let not_told =
                        audience_cache.get_or_compute(conn, &notice.incident, &name, now, |conn| {
                            notice::not_told_yet(conn, &of)
                        })?;
                    let name = format!("correctable of {of}");
                    let correctable =
                        audience_cache.get_or_compute(conn, &notice.incident, &name, now, |conn| {
                            notice::correct::correctable(conn, &of)
                        })?;
                    (*not_told.value, *correctable.value)
                }
                false => (0, 0),
            };
            let limit = deliveries::ROWS.probe();
            let rows = delivery::list(conn, &of, chosen.as_deref(), None, after, limit)?;
            let ids: Vec<i64> = rows.iter().map(|delivery| delivery.id).collect();
            let mails = notice.counts.mails;
            let left_out = match mails.failed + mails.bounced {
                0 => Arc::default(),
                _ => {
                    let name = format!("lost and left out of {of}");
                    audience_cache
                        .get_or_compute(conn, &notice.incident, &name, now, |conn| {
                            again::lost_left_out(conn, &of)
                        })?
                        .value
                }
            };
            let approved = Approved::read(conn, &notice, None, (&caller, &sending), now)?;
            Ok((
                notice,
                incident,
                not_told,
                notice::unsent(conn, &of)?,
                correctable,
                page_of_rows(rows, deliveries::ROWS, |delivery| delivery.ordinal),
                (stored::of_deliveries(conn, &ids)?, left_out),
                approved,
            ))
        })
        .await?;
    let mail = match recipient {
        None => Value::Null,
        Some(ordinal) => mail_view(&id, ordinal, &email(app, id.clone(), ordinal).await?),
    };
    let zone = zone(by.zone().or(incident.time_zone.as_deref()));
    let live = notice.state.is_being_sent();
    let title = title(&notice, &incident);
    let path = format!("/admin/notices/{id}");
    let may_send = by.0.role.covers(Role::Operator);
    // A notice from before the incident was reopened has no catch-up. A new notice is needed.
    let may_catch_up = may_send && not_told > 0 && notice.episode == incident.episode;
    let (status, problem) = match refused {
        None => (StatusCode::OK, None),
        Some(refused) => (refused.status, Some(refused.text)),
    };
    let failed = Failed::of(&notice, left_out.failed.len());
    let context = deliveries::Shown {
        state: state.as_deref(),
        later: at.is_some(),
        may_send,
        left_out: &left_out.why,
        zone: zone.as_ref(),
    };
    app.pages.answer_with(
        status,
        "admin/notice/sent",
        &json!({
            // The answer to a form cannot be loaded again with GET.
            "page": Frame::new(app, by, &title, "Incidents").live((live && problem.is_none()).then_some(LIVE)),
            "title": title,
            "id": id,
            "problem": problem,
            "drill": notice.drill,
            "incident": incident_link(&incident),
            "phase": notice.phase,
            "state": notice.state,
            "live": live,
            "approved": notice.approved,
            "break_glass": notice.break_glass,
            "approval": approved.section(&notice, None, &by.0),
            "progress": progress(&notice, app.outbox),
            "pace": pace(&notice, now),
            "lists": lists(&notice),
            "systems": systems(&notice),
            "wave": sending_forms::wave(&notice, zone.as_ref(), may_send),
            "sending": may_send.then(|| sending_forms::buttons(&notice, unsent)),
            "not_told": (not_told > 0).then(|| count(not_told, "person is", "people are")),
            "catch_up": may_catch_up.then(|| json!({
                "action": format!("{path}/catch-up"),
                "button": format!("Write the same notice to {}", count(not_told, "person", "people")),
            })),
            "resend_failed": (may_send && failed.again > 0 && notice.state == NoticeState::Sent).then(|| failed.form(&path)),
            "correction": corrections::section(app, &notice, correctable, may_send)?,
            "corrects": notice.corrects.as_ref().map(|id| format!("/admin/notices/{id}")),
            "catch_up_of": notice.catch_up_of.as_ref().map(|id| format!("/admin/notices/{id}")),
            "episode": (notice.episode > 1).then_some(notice.episode),
            "headline": notice.headline,
            "subject": notice.subject,
            "paragraphs": paragraphs(&notice.message),
            "action": notice.customer_action,
            "next_update": When::maybe(notice.next_update_due_at, zone.as_ref()),
            "created": When::new(notice.created_at, zone.as_ref()),
            "queued": When::maybe(notice.queued_at, zone.as_ref()),
            "finished": When::maybe(notice.finished_at, zone.as_ref()),
            "digest": notice.digest,
            "mail": mail,
            "deliveries": deliveries::section(&notice, &rows, &feedback, &context),
        }),
    )
}

/// The failed emails of a notice that was sent.
struct Failed {
    /// The number of emails that can be sent again.
    again: usize,
    /// The number of emails that are left out then.
    left_out: usize,
}

impl Failed {
    fn of(notice: &Notice, left_out: usize) -> Self {
        let all = usize::try_from(notice.counts.mails.failed).unwrap_or_default();
        Failed {
            again: all.saturating_sub(left_out),
            left_out,
        }
    }

    /// Returns the form that sends them again.
    fn form(&self, path: &str) -> Value {
        let emails = count(self.again, "failed email", "failed emails");
        let others = match self.left_out {
            0 => String::new(),
            more => format!(
                " {} left out, because the person got this notice by another email or has another address now.",
                count(more, "more failed email is", "more failed emails are")
            ),
        };
        json!({
            "label": format!("Send {emails} again"),
            "text": format!("Candor tries {emails} once more. Emails that bounced are left out, because they would bounce again.{others}"),
            "button": format!("Send {emails} again"),
            "action": format!("{path}/resend-failed"), "fields": [],
        })
    }
}

/// Returns how fast a notice is being sent and how long the rest takes, after its first seconds. A notice with waves pauses between
/// them, so it has no pace.
fn pace(notice: &Notice, now: Timestamp) -> Option<String> {
    if !notice.state.is_being_sent() || notice.wave.is_some() {
        return None;
    }
    let mails = notice.counts.mails;
    let ready = mails.sent + mails.failed + mails.bounced + mails.suppressed;
    let seconds = now.seconds_since(notice.queued_at?);
    if ready == 0 || seconds < 2 {
        return None;
    }
    let rate = ready as f64 / seconds as f64;
    let left = (mails.pending as f64 / rate).ceil() as i64;
    let rate = match rate {
        rate if rate >= 10.0 => format!("{}/s", grouped(rate.round() as i64)),
        rate => format!("{rate:.1}/s"),
    };
    Some(match mails.pending {
        0 => rate,
        _ => format!("{rate} · {} left", super::view::duration(left)),
    })
}

/// Returns the lists of who got the notice and who did not, with their numbers.
fn lists(notice: &Notice) -> Value {
    let (people, reasons) = (notice.counts.partition, notice.counts.people);
    let path = format!("/admin/notices/{}", notice.id);
    // People count, as in the sums beside them, and not emails.
    let not = [
        ("pending", reasons.pending, "still to be sent"),
        ("failed", reasons.failed, "failed"),
        ("bounced", reasons.bounced, "bounced"),
        ("suppressed", reasons.suppressed, "opted out"),
        ("stopped", reasons.stopped, "stopped"),
    ];
    json!({
        "got": grouped(people.accepted),
        "got_path": format!("{path}?state=sent#deliveries"),
        "got_file": format!("{path}/got"),
        "not": grouped(people.people - people.accepted),
        "not_file": format!("{path}/not"),
        "why": not.iter().filter(|(_, n, _)| *n > 0).map(|(state, n, word)| json!({
            "path": format!("{path}?state={state}#deliveries"), "text": format!("{} {word}", grouped(*n)),
        })).collect::<Vec<_>>(),
        "no_address": (people.unreachable > 0).then(|| grouped(people.unreachable)),
    })
}

/// Returns the state of the calls to endpoints, one line for each channel.
fn systems(notice: &Notice) -> Vec<Value> {
    notice
        .channels
        .iter()
        .map(|(channel, counts)| {
            let others: Vec<Value> = [
                (counts.pending, "still sending", false),
                (counts.failed, "failed", true),
                (counts.stopped, "stopped", true),
            ]
            .into_iter()
            .filter(|(n, _, _)| *n > 0)
            .map(|(n, word, bad)| json!({"text": format!("{} {word}", grouped(n)), "bad": bad}))
            .collect();
            json!({
                "channel": channel,
                "label": format!("{} of {} accepted", grouped(counts.sent), grouped(counts.total())),
                "details": others,
            })
        })
        .collect()
}
