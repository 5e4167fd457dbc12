//! The deliveries on the page of a notice, and the files that say who got it and who did not.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use futures_util::stream;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::mail_as_sent;
use super::view::{When, account_path, grouped, link, person_path, shown_url};
use crate::auth::Role;
use crate::base::id::NoticeId;
use crate::base::text::cell;
use crate::delivery::Delivery;
use crate::delivery::who_got_it::{Recipient, who_got_it};
use crate::feedback::Feedback;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page};
use crate::http::problem::Answer;
use crate::notice::again::LeftOut;
use crate::notice::{self, DeliveryCounts, DeliveryState, Notice, NoticeState};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/notices/{id}/got", Role::Viewer, got)
        .does(&["GET /api/v1/notices/{id}/deliveries"]);
    pages.show("/notices/{id}/not", Role::Viewer, not_got);
}

/// The number of deliveries on one page.
pub(super) const ROWS: Limit = Limit(100);
/// The number of rows of a file that are read at once.
const STEP: i64 = 2_000;

/// How the deliveries are shown.
pub(super) struct Shown<'a> {
    /// The state that is chosen.
    pub(super) state: Option<&'a str>,
    /// Whether this is not the first page.
    pub(super) later: bool,
    /// Whether the caller may send a delivery again.
    pub(super) may_send: bool,
    /// The lost emails that are not sent again, and why.
    pub(super) left_out: &'a HashMap<i64, LeftOut>,
    pub(super) zone: Option<&'a TimeZone>,
}

/// Returns the section with the deliveries.
pub(super) fn section(
    notice: &Notice,
    deliveries: &Page<Delivery>,
    feedback: &HashMap<i64, Vec<Feedback>>,
    shown: &Shown<'_>,
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
    let what = match notice.channels.is_empty() {
        true => "emails",
        false => "emails and calls",
    };
    let mut tabs = vec![json!({
        "label": format!("all {what}"), "count": grouped(all), "path": path(None, None), "current": shown.state.is_none(),
    })];
    for one in DeliveryState::ALL {
        let (word, n) = (one.as_str(), counted(one));
        if n > 0 || shown.state == Some(word) {
            tabs.push(json!({
                "label": word, "count": grouped(n), "path": path(Some(word), None), "current": shown.state == Some(word),
            }));
        }
    }
    let rows: Vec<Value> = deliveries
        .items
        .iter()
        .map(|delivery| row(notice, delivery, feedback.get(&delivery.id), shown))
        .collect();
    json!({
        "rows": rows,
        "what": what,
        "tabs": tabs,
        "first": shown.later.then(|| path(shown.state, None)),
        "next": deliveries.next_cursor.as_deref().map(|next| path(shown.state, Some(next))),
    })
}

fn row(notice: &Notice, delivery: &Delivery, feedback: Option<&Vec<Feedback>>, shown: &Shown<'_>) -> Value {
    let zone = shown.zone;
    let (name, path, address, what) = match (&delivery.person, &delivery.endpoint) {
        (Some(person), _) => (
            &person.name,
            person_path(&person.id),
            delivery.address.clone(),
            "Message-ID",
        ),
        (None, Some(to)) => (
            &to.name,
            match (&to.account, &to.person) {
                (Some(account), _) => account_path(account),
                (None, Some(person)) => person_path(person),
                (None, None) => String::new(),
            },
            shown_url(&delivery.address),
            "id",
        ),
        (None, None) => (&delivery.address, String::new(), String::new(), "id"),
    };
    let ordinal = delivery.ordinal.to_string();
    let base = format!("/admin/notices/{}", notice.id);
    let is_lost = delivery.state.may_be_sent_again() && notice.state != NoticeState::Stopped;
    let left_out = shown.left_out.get(&delivery.id).filter(|_| is_lost);
    let may_resend = shown.may_send && is_lost && left_out.is_none();
    json!({
        "name": name,
        "path": path,
        "address": address,
        "channel": delivery.endpoint.is_some().then_some(&delivery.channel),
        "named": what,
        "state": delivery.state,
        "message_id": delivery.message_id,
        "email": delivery.endpoint.is_none().then(|| {
            format!("{}#mail", link(&base, &[("state", shown.state), ("recipient", Some(&ordinal))]))
        }),
        "as_sent": (shown.may_send && delivery.endpoint.is_none() && delivery.attempts.iter().any(|attempt| attempt.sha256.is_some()))
            .then(|| mail_as_sent::path(delivery.id)),
        "left_out": left_out.map(|left_out| format!("Not sent again: {}.", left_out.why())),
        "resend": may_resend.then(|| format!("/admin/deliveries/{}/resend", delivery.id)),
        "next": When::maybe(delivery.next_attempt_at, zone),
        "feedback": feedback.into_iter().flatten().map(|entry| json!({
            "kind": entry.kind.as_str().replace('_', " "), "at": When::new(entry.at, zone), "source": entry.source,
            "path": format!("/admin/feedback/{}", entry.id), "status": entry.status, "diagnostic": entry.diagnostic,
        })).collect::<Vec<_>>(),
        "attempts": delivery.attempts.iter().map(|attempt| json!({
            "at": When::new(attempt.at, zone), "outcome": attempt.outcome, "reply": attempt.reply, "relay": attempt.relay,
        })).collect::<Vec<_>>(),
    })
}

async fn got(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    file(app, id, true).await
}

async fn not_got(app: web::Data<App>, InPath(id): InPath<NoticeId>) -> Answer<HttpResponse> {
    file(app, id, false).await
}

/// Answers with a CSV file of those who got a notice, or of those who did not.
async fn file(app: web::Data<App>, id: NoticeId, got: bool) -> Answer<HttpResponse> {
    let of = id.clone();
    // A notice that does not exist is an error before the file begins.
    let notice = app.db.read(move |conn| notice::get(conn, &of)).await?;
    let name = match got {
        true => format!("notice-{}-got-it.csv", notice.id),
        false => format!("notice-{}-did-not-get-it.csv", notice.id),
    };
    let parts = stream::try_unfold(Some(0_i64), move |after| {
        let (app, id) = (app.clone(), id.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let rows = app
                .db
                .read(move |conn| who_got_it(conn, &id, got, after, STEP))
                .await
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            let next = rows
                .last()
                .filter(|_| rows.len() as i64 == STEP)
                .map(|row| row.ordinal);
            let text = lines(&rows, after == 0)?;
            Ok::<_, std::io::Error>(Some((web::Bytes::from(text), next)))
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .insert_header(("cache-control", "no-store"))
        .streaming(Box::pin(parts)))
}

fn lines(rows: &[Recipient], with_header: bool) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_header {
        writer.write_record(["person", "name", "address", "state", "sent_at", "reason"])?;
    }
    for row in rows {
        let state = row.state.map_or("not sent yet", DeliveryState::as_str);
        let sent_at = row.sent_at.map(|at| at.to_string()).unwrap_or_default();
        let reason = row.reason.as_deref().unwrap_or_default();
        writer.write_record([
            cell(&row.person).as_ref(),
            cell(&row.name).as_ref(),
            cell(&row.address).as_ref(),
            state,
            &sent_at,
            cell(reason).as_ref(),
        ])?;
    }
    writer
        .into_inner()
        .map_err(|error| std::io::Error::other(error.to_string()))
}
