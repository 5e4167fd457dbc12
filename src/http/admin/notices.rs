//! `/admin/notices/{id}`: the text of a notice, exactly who would get it while it is a draft, and the state
//! of its deliveries afterwards.
//!
//! The preview is computed in the same way as the send. The page reloads only while deliveries are being
//! sent.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::approval_forms::Approved;
use super::corrections;
use super::draft_forms;
use super::params::Form;
use super::sending_forms;
use super::signed_in::SignedIn;
use super::view::{
    Frame, ROWS, When, account_path, call, count, grouped, link, person_path, progress, shown_url, zone,
};
use crate::auth::Role;
use crate::base::id::NoticeId;
use crate::delivery::{self, Delivery};
use crate::feedback::{Feedback, stored};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident;
use crate::notice::compose::paragraphs;
use crate::notice::template::Phase;
use crate::notice::{
    self, Compared, ComparedPerson, DeliveryCounts, DeliveryState, Notice, NoticeState, Preview,
};

pub(super) fn routes(pages: &mut Pages) {
    pages.search("/notices/{id}", Role::Viewer, show);
}

/// The number of rendered emails in a preview.
const SAMPLES: usize = 3;
/// The seconds between two reloads while a notice is being sent.
const LIVE: u32 = 2;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowParams {
    state: Option<String>,
    cursor: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(id): InPath<NoticeId>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    page_of(&app, &by, id, params.0, None).await
}

/// Shows the page of a notice. `problem` is why a form of the page did nothing, with the status of the answer.
pub(super) async fn page_of(
    app: &App,
    by: &SignedIn,
    id: NoticeId,
    params: ShowParams,
    problem: Option<(StatusCode, String)>,
) -> Answer<HttpResponse> {
    let ShowParams { state, cursor: at } = params;
    let after: Option<i64> = cursor(at.as_deref())?;
    let (sending, now) = (app.sending.clone(), app.clock().now());
    let chosen = state.clone();
    let audience_cache = app.audience_cache.clone();
    let caller = by.0.clone();
    let (notice, incident, preview, not_told, unsent, correctable, deliveries, feedback, approved) = app
        .db
        .read(move |conn| {
            let notice = notice::get(conn, &id)?.at(now);
            let incident = incident::get(conn, &notice.incident)?;
            let preview = match notice.state.is_draft() {
                true => Some(notice::preview(conn, &id, &sending, SAMPLES, now)?),
                false => None,
            };
            // This needs the whole audience, so it is computed only when the notice does not change any more.
            let not_told = match notice.state.is_over() {
                true => {
                    let name = format!("not told of {id}");
                    let not_told =
                        audience_cache.get_or_compute(conn, &notice.incident, &name, now, |conn| {
                            notice::not_told_yet(conn, &id)
                        })?;
                    *not_told.value
                }
                false => 0,
            };
            let correctable = match notice.state.is_over() {
                true => {
                    let name = format!("correctable of {id}");
                    let correctable =
                        audience_cache.get_or_compute(conn, &notice.incident, &name, now, |conn| {
                            notice::correct::correctable(conn, &id)
                        })?;
                    *correctable.value
                }
                false => 0,
            };
            let deliveries = delivery::list(conn, &id, chosen.as_deref(), None, after, ROWS.probe())?;
            let ids: Vec<i64> = deliveries.iter().map(|delivery| delivery.id).collect();
            let approved = Approved::read(conn, &notice, preview.as_ref(), (&caller, &sending), now)?;
            Ok((
                notice,
                incident,
                preview,
                not_told,
                notice::unsent(conn, &id)?,
                correctable,
                page(deliveries, ROWS, |delivery| delivery.ordinal),
                stored::of_deliveries(conn, &ids)?,
                approved,
            ))
        })
        .await?;
    let zone = zone(incident.time_zone.as_deref());
    let live = notice.state.is_being_sent();
    let forms = (notice.state.is_draft() && by.0.role.covers(Role::Operator))
        .then(|| draft_forms::draft_forms(&notice, &incident));
    let title = format!(
        "{} notice of #{}",
        capital(notice.phase.as_str()),
        incident.number
    );
    let path = format!("/notices/{}", notice.id);
    let commands = commands(app, &notice, preview.as_ref(), not_told, incident.episode, &path);
    let may_send = by.0.role.covers(Role::Operator);
    let (status, problem) = problem.unzip();
    // The answer to a form cannot be reloaded with GET.
    let refresh = (live && problem.is_none()).then_some(LIVE);
    app.pages.answer_with(
        status.unwrap_or(StatusCode::OK),
        "admin/notice",
        &json!({
            "page": Frame::with_forms(app, by, &title, "Incidents").refreshed(refresh),
            "drill": notice.drill,
            "correction": corrections::section(&notice, correctable, by.0.role.covers(Role::Operator)),
            "corrects": notice.corrects.as_ref().map(|id| format!("/admin/notices/{id}")),
            "forms": forms,
            "headline": notice.headline,
            "next_update": When::maybe(notice.next_update_due_at, zone.as_ref()),
            "title": title,
            "problem": problem,
            "sending": may_send.then(|| sending_forms::shown(&notice, preview.as_ref(), unsent)),
            "wave": sending_forms::wave(&notice, zone.as_ref()),
            "id": notice.id,
            "phase": notice.phase,
            "state": notice.state,
            "draft": notice.state.is_draft(),
            "live": refresh.is_some(),
            "incident": {
                "number": incident.number, "title": incident.title,
                "path": format!("/admin/incidents/{}", incident.number),
            },
            "subject": notice.subject,
            "paragraphs": paragraphs(&notice.message),
            "action": notice.customer_action,
            "approved": preview.as_ref().map_or(notice.approved, |preview| preview.approved),
            "break_glass": preview.as_ref().map_or(notice.break_glass, |preview| preview.break_glass),
            "approval": approved.section(&notice, preview.as_ref(), &by.0),
            "episode": (notice.episode > 1).then_some(notice.episode),
            "digest": notice.digest,
            "catch_up_of": notice.catch_up_of.as_ref().map(|id| format!("/admin/notices/{id}")),
            "recipients": count(notice.recipients as usize, "recipient", "recipients"),
            "progress": progress(&notice, app.outbox),
            "systems": systems(&notice),
            "not_told": (not_told > 0).then(|| count(not_told, "person is", "people are")),
            "created": When::new(notice.created_at, zone.as_ref()),
            "queued": When::maybe(notice.queued_at, zone.as_ref()),
            "finished": When::maybe(notice.finished_at, zone.as_ref()),
            "preview": preview.map(|preview| preview_section(&preview, &notice)),
            "commands": commands,
            "deliveries": deliveries_section(&notice, deliveries, &feedback, state.as_deref(), at.is_some(), zone.as_ref()),
        }),
    )
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

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Returns the API calls for the obvious next steps.
fn commands(
    app: &App,
    notice: &Notice,
    preview: Option<&Preview>,
    not_told: usize,
    episode: i64,
    path: &str,
) -> Vec<Value> {
    let step = |text: &str, command: String| json!({"text": text, "command": command});
    let mut commands = Vec::new();
    if let Some(preview) = preview {
        let digest = json!({"digest": preview.digest});
        if preview.recipients == 0 && preview.channels.is_empty() {
            return commands;
        }
        if preview.approval_required && !preview.approved {
            commands.push(step(
                match preview.approvals_needed {
                    1 => "First, a second person must approve exactly this list and text, with another token:",
                    _ => "First, other people must approve exactly this list and text, each with another token:",
                },
                call(app, "POST", &format!("{path}/approve"), Some(&digest)),
            ));
        }
    }
    // A notice from before the incident was reopened has no catch-up. A new notice is needed.
    if not_told > 0 && notice.episode == episode {
        commands.push(step(
            "Draft the same notice for the people who are not notified yet:",
            call(app, "POST", &format!("{path}/catch-up"), None),
        ));
    }
    commands
}

fn preview_section(preview: &Preview, notice: &Notice) -> Value {
    json!({
        "recipients": count(preview.recipients, "email", "emails"),
        "nobody": preview.recipients == 0 && preview.channels.is_empty(),
        "systems": preview.channels.iter().map(|(channel, n)| json!({"channel": channel, "count": grouped(*n as i64)})).collect::<Vec<_>>(),
        "endpoint_samples": preview.endpoint_samples.iter().map(|sample| json!({
            "channel": sample.channel, "to": shown_url(&sample.to),
            "payload": serde_json::to_string_pretty(&sample.payload).unwrap_or_default(),
        })).collect::<Vec<_>>(),
        "digest": preview.digest,
        "would_reach": preview.drill.then(|| count(preview.would_reach, "email", "emails")),
        "audience": match notice.phase {
            Phase::Correction => {
                "people whom the corrected notice reached and the incident does not affect".to_owned()
            }
            _ if notice.reminder => "people who were asked for an answer and have not answered".to_owned(),
            _ => preview.audience.to_string(),
        },
        "warnings": preview.warnings,
        "compared": preview.compared_with.as_ref().map(compared_view),
        "largest": preview.largest_accounts.iter().map(|one| json!({
            "name": one.name, "path": account_path(&one.account), "people": count(one.people, "person", "people"),
        })).collect::<Vec<_>>(),
        "added": grouped(preview.added as i64),
        "removed": grouped(preview.removed as i64),
        "already_told": preview.already_told,
        "samples": preview.samples.iter().enumerate().map(|(index, sample)| json!({
            "to": sample.to, "subject": sample.subject, "text": sample.text, "html": sample.html,
            "open": index == 0, "label": null,
        })).collect::<Vec<_>>(),
        "more": preview.recipients.saturating_sub(preview.samples.len()),
    })
}

/// Returns who is added and dropped in comparison with the last notice.
fn compared_view(compared: &Compared) -> Value {
    let people = |shown: &[ComparedPerson]| {
        let rows = shown.iter();
        let rows =
            rows.map(|one| json!({"name": one.name, "path": person_path(&one.id), "address": one.address}));
        rows.collect::<Vec<_>>()
    };
    json!({
        "path": format!("/admin/notices/{}", compared.notice),
        "added": people(&compared.added),
        "added_people": grouped(compared.added_people as i64),
        "added_more": compared.added_people - compared.added.len(),
        "dropped": people(&compared.dropped),
        "dropped_people": grouped(compared.dropped_people as i64),
        "dropped_more": compared.dropped_people - compared.dropped.len(),
    })
}

fn deliveries_section(
    notice: &Notice,
    deliveries: Page<Delivery>,
    feedback: &HashMap<i64, Vec<Feedback>>,
    state: Option<&str>,
    later: bool,
    zone: Option<&jiff::tz::TimeZone>,
) -> Value {
    let base = format!("/admin/notices/{}", notice.id);
    let path = |state: Option<&str>, cursor: Option<&str>| {
        format!(
            "{}#deliveries",
            link(&base, &[("state", state), ("cursor", cursor)])
        )
    };
    let counted = |state: DeliveryState| {
        let calls = notice.channels.values().map(|counts| counts.of(state));
        notice.counts.mails.of(state) + calls.sum::<i64>()
    };
    let all = notice.recipients + notice.channels.values().map(DeliveryCounts::total).sum::<i64>();
    let mut tabs = vec![json!({
        "label": format!("all {}", grouped(all)), "path": path(None, None), "current": state.is_none(),
    })];
    for one in DeliveryState::ALL {
        let (word, n) = (one.as_str(), counted(one));
        if n > 0 || state == Some(word) {
            tabs.push(json!({
                "label": format!("{word} {}", grouped(n)), "path": path(Some(word), None), "current": state == Some(word),
            }));
        }
    }
    let rows: Vec<Value> = deliveries
        .items
        .iter()
        .map(|delivery| {
            let (name, path, address, what) = match (&delivery.person, &delivery.endpoint) {
                (Some(person), _) => (&person.name, person_path(&person.id), delivery.address.clone(), "Message-ID"),
                (None, Some(to)) => (&to.name, account_path(&to.account), shown_url(&delivery.address), "id"),
                (None, None) => (&delivery.address, String::new(), String::new(), "id"),
            };
            json!({
                "name": name,
                "path": path,
                "address": address,
                "channel": delivery.endpoint.is_some().then_some(&delivery.channel),
                "named": what,
                "state": delivery.state,
                "message_id": delivery.message_id,
                "id": delivery.id,
                "resendable": delivery.state.may_be_sent_again() && notice.state != NoticeState::Stopped,
                "next": When::maybe(delivery.next_attempt_at, zone),
                "feedback": feedback.get(&delivery.id).into_iter().flatten().map(|entry| json!({
                    "kind": entry.kind.as_str().replace('_', " "), "at": When::new(entry.at, zone), "source": entry.source,
                    "status": entry.status, "diagnostic": entry.diagnostic,
                })).collect::<Vec<_>>(),
                "attempts": delivery.attempts.iter().map(|attempt| json!({
                    "at": When::new(attempt.at, zone), "outcome": attempt.outcome, "reply": attempt.reply,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "rows": rows,
        "tabs": tabs,
        "first": later.then(|| path(state, None)),
        "next": deliveries.next_cursor.as_deref().map(|next| path(state, Some(next))),
    })
}
