//! The page of a draft: how many people it goes to and who they are, what they read, what keeps it from being sent, and the button that
//! sends it.
//!
//! What the page shows is what is sent. It is computed as the send computes it, and the form that sends contains the digest.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::approval_forms::Approved;
use super::draft_forms::VALUES;
use super::form::Form;
use super::frame::Frame;
use super::notice_view::{Refused, ShowParams, incident_link, mail_view, title};
use super::sending_forms;
use super::signed_in::SignedIn;
use super::view::{When, account_path, count, grouped, link, person_path, shown_url, zone};
use super::write::values_at;
use crate::auth::Role;
use crate::base::id::NoticeId;
use crate::base::language::Language;
use crate::http::App;
use crate::http::page::{Limit, Page, cursor, page as page_of_rows};
use crate::http::plans::Difference;
use crate::http::problem::Answer;
use crate::incident;
use crate::notice::approval_asked;
use crate::notice::template::Phase;
use crate::notice::{self, Changes, Compared, ComparedPerson, Listed, Notice, Preview, StillImpaired};
use crate::operators::test_mail::{self, OwnAddress};

/// The number of recipients on one page.
const ROWS: Limit = Limit(20);
/// The number of reasons that a row names.
const REASONS: usize = 3;

/// Shows the page of a draft.
pub(super) async fn page(
    app: &App,
    by: &SignedIn,
    id: NoticeId,
    params: ShowParams,
    refused: Option<Refused>,
) -> Answer<HttpResponse> {
    let ShowParams {
        cursor: at,
        q,
        recipient,
        ..
    } = params;
    let after: i64 = cursor(at.as_deref())?.unwrap_or_default();
    let (sending, plans, now) = (app.sending.clone(), app.plans.clone(), app.clock().now());
    let (caller, of, text) = (by.0.clone(), id.clone(), q.clone());
    let old = refused.as_ref().and_then(|refused| refused.digest.clone());
    let (notice, incident, plan, difference, approved, changes, own) = app
        .db
        .read(move |conn| {
            let notice = notice::get(conn, &of)?.at(now);
            let incident = incident::get(conn, &notice.incident)?;
            let plan = plans.get(conn, &of, &sending, now, old.is_some())?;
            let difference = old.map(|old| plans.difference(&old, &plan));
            let preview = &plan.preview;
            let mut approved = Approved::read(conn, &notice, Some(preview), (&caller, &sending), now)?;
            let changes = match preview.approval_required {
                true => {
                    approved.asked = approval_asked::last(conn, &of)?;
                    notice::changes(conn, &of)?
                }
                false => Vec::new(),
            };
            let own = test_mail::own_addresses(conn, &sending, caller.id.as_str())?;
            Ok((notice, incident, plan, difference, approved, changes, own))
        })
        .await?;
    let preview = &plan.preview;
    let zone = zone(by.zone().or(incident.time_zone.as_deref()));
    let rows = plan.recipients(text.as_deref(), (after, ROWS.probe()))?;
    let rows = page_of_rows(rows, ROWS, |one: &Listed| one.ordinal);
    let chosen = recipient.unwrap_or(1);
    let mail = match plan.is_empty() {
        true => Value::Null,
        false => mail_view(&id, chosen, &plan.sample(chosen, &app.sending)?),
    };
    let people: i64 = plan.list().map(|(_, people)| i64::from(people)).sum();
    let may_write = by.0.role.covers(Role::Operator);
    let send = may_write
        .then(|| sending_forms::send_form(preview, people, format!("/admin/notices/{id}/send")))
        .flatten();
    let title = title(&notice, &incident);
    let mut frame = Frame::new(app, by, &title, "Incidents");
    if let Some(form) = &send {
        let label = form["button"].as_str().unwrap_or_default();
        frame = frame.primary(label, "#send-now");
    }
    let (status, problem) = match refused {
        None => (StatusCode::OK, None),
        Some(Refused { status, text, .. }) => (status, Some(difference.map_or(text, changed))),
    };
    let path = format!("/admin/notices/{id}");
    let nobody = plan.is_empty() && preview.channels.is_empty();
    app.pages.answer_with(
        status,
        "admin/notice/check",
        &json!({
            "page": frame,
            "title": title,
            "id": id,
            "problem": problem,
            "incident": incident_link(&incident),
            "phase": notice.phase,
            "drill": notice.drill.then(|| json!({"would_reach": count(preview.would_reach, "email", "emails")})),
            "correction": notice.corrects.as_ref().map(|id| format!("/admin/notices/{id}")),
            "reminder": notice.reminder,
            "catch_up_of": notice.catch_up_of.as_ref().map(|id| format!("/admin/notices/{id}")),
            "episode": (notice.episode > 1).then_some(notice.episode),
            "next_update": When::maybe(notice.next_update_due_at, zone.as_ref()),
            "created": When::new(notice.created_at, zone.as_ref()),
            "summary": summary(preview, people),
            "nobody": nobody,
            "audience": audience(&notice, preview),
            "already_told": preview.already_told,
            "warnings": preview.warnings,
            "languages": preview.languages.iter().map(|one| json!({
                "name": one.locale.english_name(), "people": count(one.people, "person", "people"),
                "fallback": one.fallback.map(Language::english_name),
                "path": format!("{}#mail", link(&path, &[("recipient", Some(&one.ordinal.to_string()))])),
            })).collect::<Vec<_>>(),
            "largest": preview.largest_accounts.iter().map(|one| json!({
                "name": one.name, "path": account_path(&one.account), "people": count(one.people, "person", "people"),
            })).collect::<Vec<_>>(),
            "compared": preview.compared_with.as_ref().map(compared),
            "approval": approved.section(&notice, Some(preview), &by.0),
            "changes": changes.iter().map(|one| changed_view(one, preview, plans_difference(app, one, &plan), zone.as_ref())).collect::<Vec<_>>(),
            "impaired": preview.still_impaired.as_ref().map(|one| impaired(one, &path, may_write)),
            "send": send,
            "write": may_write.then(|| format!("{path}/write")),
            "test": may_write.then(|| test_form(&id, chosen, &own)),
            "discard": may_write.then(|| discard_form(&id)),
            "values": may_write.then(|| {
                let at = values_at(&id);
                let mut shown = Form::new(VALUES).within("values").shown(&at);
                shown["back"] = Value::Null;
                shown
            }),
            "values_missing": !preview.missing_values.is_empty(),
            "mail": mail,
            "recipient": chosen,
            "recipients": recipients(&path, &rows, q.as_deref(), at.is_some()),
            "sms": preview.sms.as_ref().map(|sms| json!({
                "messages": count(sms.messages, "person gets", "people get"), "segments": count(sms.segments, "segment", "segments"),
                "price": sms.price.map(|price| format!("{price:.2} {}", sms.currency.as_deref().unwrap_or_default())),
                "samples": preview.sms_samples.iter().map(|sample| json!({
                    "to": sample.to, "text": sample.text, "segments": count(sample.segments, "segment", "segments"),
                })).collect::<Vec<_>>(),
            })),
            "systems": preview.channels.iter().filter(|(channel, _)| preview.sms.is_none() || *channel != "sms").map(|(channel, n)| json!({"channel": channel, "count": grouped(*n as i64)})).collect::<Vec<_>>(),
            "endpoint_samples": preview.endpoint_samples.iter().map(|sample| json!({
                "channel": sample.channel, "to": shown_url(&sample.to),
                "payload": serde_json::to_string_pretty(&sample.payload).unwrap_or_default(),
            })).collect::<Vec<_>>(),
            "digest": preview.digest,
        }),
    )
}

/// Returns how the list differs from the one that was approved or to be approved, if this process still knows that one.
fn plans_difference(app: &App, changes: &Changes, plan: &notice::Previewed) -> Option<Difference> {
    let digest = changes.digest.as_deref()?;
    app.plans.difference(digest, plan)
}

/// Returns what the page says if the list or the text is not what the form showed.
fn changed(difference: Option<Difference>) -> String {
    let what = match difference {
        None => "The list or the text changed since you looked.".to_owned(),
        Some(Difference { added: 0, dropped: 0 }) => {
            "The text or the details of the emails changed since you looked. The list is the same.".to_owned()
        }
        Some(difference) => format!("The list changed since you looked: {}.", in_numbers(difference)),
    };
    format!("{what} Nothing was done. Check the page again: it shows what is current now.")
}

fn in_numbers(difference: Difference) -> String {
    let added = usize::try_from(difference.added).unwrap_or_default();
    format!(
        "{} added, {} dropped",
        count(added, "person", "people"),
        grouped(difference.dropped)
    )
}

/// Returns how many people get the draft, and how this differs from the last notice.
fn summary(preview: &Preview, people: i64) -> Value {
    let number = usize::try_from(people).unwrap_or_default();
    let calls = preview.systems();
    let emails = preview.recipients;
    let to = match (number, calls) {
        (0, 0) => "nobody".to_owned(),
        (0, calls) => count(calls, "system", "systems"),
        (_, 0) => count(number, "person", "people"),
        (_, calls) => format!(
            "{} and {}",
            count(number, "person", "people"),
            count(calls, "system", "systems")
        ),
    };
    let since = match &preview.compared_with {
        Some(compared) => {
            let new = match compared.added_people {
                0 => "Nobody is new".to_owned(),
                1 => "1 person is new".to_owned(),
                n => format!("{} are new", grouped(n as i64)),
            };
            let dropped = match compared.dropped_people {
                0 => "nobody dropped out".to_owned(),
                n => format!("{} dropped out", grouped(n as i64)),
            };
            format!("{new} since the last notice, {dropped}.")
        }
        None if preview.added == emails && emails > 0 => {
            "None of them was notified of this incident before.".to_owned()
        }
        None if preview.added == 0 => "All of them were notified of this incident before.".to_owned(),
        None if preview.added == 1 => "1 of them was not notified of this incident before.".to_owned(),
        None => format!(
            "{} of them were not notified of this incident before.",
            grouped(preview.added as i64)
        ),
    };
    json!({
        "to": to, "since": (emails > 0).then_some(since),
        "emails": (emails as i64 != people && emails > 0).then(|| count(emails, "email", "emails")),
    })
}

fn audience(notice: &Notice, preview: &Preview) -> String {
    match notice.phase {
        Phase::Correction => {
            "people whom the corrected notice reached and the incident does not affect".to_owned()
        }
        Phase::Recovery => format!(
            "people whose affected resources are all restored: {}",
            preview.audience
        ),
        _ if notice.reminder => "people who were asked for an answer and have not answered".to_owned(),
        _ => preview.audience.to_string(),
    }
}

/// Returns one page of the list of recipients.
fn recipients(path: &str, rows: &Page<Listed>, q: Option<&str>, later: bool) -> Value {
    let at = |cursor: Option<&str>| format!("{}#recipients", link(path, &[("q", q), ("cursor", cursor)]));
    let shown = rows.items.iter().map(|one| {
        let reasons = one.reasons.iter().take(REASONS).map(|reason| {
            json!({
                "resource": reason.label, "account": Some(&reason.account).filter(|name| !name.is_empty()),
                "finding": Some(&reason.finding).filter(|finding| !finding.is_empty()), "restored": reason.restored,
            })
        });
        let ordinal = one.ordinal.to_string();
        let more = one.reasons.len().saturating_sub(REASONS) + one.more_resources;
        json!({
            "name": one.person.name, "path": person_path(&one.person.id), "address": one.address,
            "reasons": reasons.collect::<Vec<_>>(), "more": (more > 0).then(|| count(more, "more resource", "more resources")),
            "why": one.reason,
            "email": format!("{}#mail", link(path, &[("q", q), ("recipient", Some(&ordinal))])),
        })
    });
    json!({
        "rows": shown.collect::<Vec<_>>(), "q": q, "action": path,
        "first": later.then(|| at(None)),
        "next": rows.next_cursor.as_deref().map(|next| at(Some(next))),
    })
}

/// Returns who is added and dropped in comparison with the last notice.
fn compared(compared: &Compared) -> Value {
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

/// Returns what changed in a draft since it was to be approved.
fn changed_view(
    changes: &Changes,
    preview: &Preview,
    difference: Option<Difference>,
    zone: Option<&jiff::tz::TimeZone>,
) -> Value {
    let list = match (difference, changes.recipients) {
        (Some(Difference { added: 0, dropped: 0 }), _) => "The list has the same people.".to_owned(),
        (Some(difference), _) => format!("The list changed: {}.", in_numbers(difference)),
        (None, Some(then)) if then == preview.recipients as i64 => {
            // Only the number is kept, so who they are is not known any more.
            "The list has the same number of emails. Their recipients, or the systems of accounts, may have changed.".to_owned()
        }
        (None, Some(then)) => format!(
            "The list had {} emails, and has {} now.",
            grouped(then),
            grouped(preview.recipients as i64)
        ),
        (None, None) => String::new(),
    };
    json!({
        "since": match changes.since {
            notice::ChangedSince::Drafted => "the draft was written",
            notice::ChangedSince::Asked => "an approval was first asked for",
            notice::ChangedSince::Approved => "it was last approved",
        },
        "by": changes.by, "at": When::new(changes.at, zone),
        "nothing": changes.texts.is_empty() && !changes.values,
        "values": changes.values,
        "list": list,
        "texts": changes.texts.iter().map(|text| json!({
            "field": match text.field.as_str() {
                "headline" => "Headline", "subject" => "Subject", "message" => "Message",
                "customer_action" => "What the customer must do", "next_update_due_at" => "Next update",
                "translations" => "Translations",
                "acknowledge_impaired" => "Says that something is not restored",
                _ => "Who gets it",
            },
            "lines": text.lines.iter().map(|line| json!({
                "change": line.change, "text": line.text,
                "mark": match line.change {
                    notice::LineChange::Same => " ", notice::LineChange::Added => "+", notice::LineChange::Removed => "−",
                },
                "said": match line.change {
                    notice::LineChange::Same => None, notice::LineChange::Added => Some("added:"), notice::LineChange::Removed => Some("removed:"),
                },
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

/// The form that sends a test. `own` are the addresses that it may go to.
fn test_form(id: &NoticeId, recipient: i64, own: &[OwnAddress]) -> Value {
    json!({
        "action": format!("/admin/notices/{id}/test"),
        "recipient": recipient,
        "own": own.iter().map(|one| json!({"whose": one.whose, "address": one.address})).collect::<Vec<_>>(),
    })
}

/// Returns the people who would get a resolution although something of theirs is not restored, with the form that acknowledges it.
fn impaired(of: &StillImpaired, path: &str, may_write: bool) -> Value {
    let rows = of.first.iter().map(|one| {
        json!({
            "name": one.name, "path": person_path(&one.person), "address": one.address,
            "text": format!("{} of {}", grouped(one.restored as i64), grouped(one.affected as i64)),
        })
    });
    json!({
        "people": count(of.people, "person has", "people have"),
        "systems": (of.systems > 0).then(|| count(of.systems, "system belongs", "systems belong")),
        "acknowledged": of.acknowledged,
        "rows": rows.collect::<Vec<_>>(),
        "more": of.people.saturating_sub(of.first.len()),
        "action": may_write.then(|| format!("{path}/acknowledge")),
    })
}

/// The form that discards a draft.
fn discard_form(id: &NoticeId) -> Value {
    json!({
        "label": "Discard this draft",
        "text": "The text, the values and the approvals of this draft are deleted. Nothing was sent, and nobody is notified: a policy that waits does nothing either. This cannot be undone.",
        "button": "Discard the draft",
        "action": format!("/admin/notices/{id}/discard"),
        "fields": [],
    })
}
