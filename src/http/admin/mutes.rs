//! `/admin/quiet`: active, pending and ended silences and maintenance windows, and the buttons that end one
//! early. [`super::mute_forms`] creates them.
//!
//! A time always has its time zone.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::filled::Filled;
use super::frame::Frame;
use super::matchers::in_words;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{When, count, cut, duration, link};
use crate::alert::mute::{self, Kind, Mute, MuteState};
use crate::auth::Role;
use crate::base::id::MuteId;
use crate::base::time::Timestamp;
use crate::directory::source::cron;
use crate::directory::source::schedule::Schedule;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, SilenceId, WindowId};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/quiet", Role::Viewer, list)
        .does(&[
            "GET /api/v1/silences",
            "GET /api/v1/silences/{id}",
            "GET /api/v1/maintenance-windows",
            "GET /api/v1/maintenance-windows/{id}",
        ])
        .send("/quiet/silences/{id}/end", Role::Operator, end_silence)
        .does(&["POST /api/v1/silences/{id}/end"])
        .send("/quiet/windows/{id}/end", Role::Operator, end_window)
        .does(&["POST /api/v1/maintenance-windows/{id}/end"]);
}

pub(super) const PATH: &str = "/admin/quiet";
pub(super) const PART: &str = "Silences and windows";
/// The largest number of active and pending ones of each kind that are listed.
const OPEN: i64 = 200;
/// The number of ended ones on one page.
const OVER: Limit = Limit(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    silences_before: Option<String>,
    windows_before: Option<String>,
}

async fn list(app: web::Data<App>, by: SignedIn, params: Form<ListParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let silences_before: Option<String> = cursor(p.silences_before.as_deref())?;
    let windows_before: Option<String> = cursor(p.windows_before.as_deref())?;
    let now = app.clock().now();
    let (silences, windows) = app
        .db
        .read(move |conn| {
            let mut of = |kind, before: Option<&str>| {
                let mut open = mute::list(conn, kind, Some(MuteState::Active), now, None, OPEN)?;
                open.extend(mute::list(conn, kind, Some(MuteState::Pending), now, None, OPEN)?);
                let over = mute::list(conn, kind, Some(MuteState::Ended), now, before, OVER.probe())?;
                Ok::<_, crate::base::error::Error>((open, page(over, OVER, Mute::id)))
            };
            Ok((
                of(Kind::Silence, silences_before.as_deref())?,
                of(Kind::Maintenance, windows_before.as_deref())?,
            ))
        })
        .await?;
    let rows = |mutes: Vec<Mute>| -> Vec<Value> {
        mutes
            .into_iter()
            .map(|one| match one.kind() {
                Kind::Silence => silence_row(one, now),
                Kind::Maintenance => window_row(one, now),
            })
            .collect()
    };
    let pager = |name: &str, moved: bool, next: Option<String>| {
        json!({
            "first": moved.then(|| format!("{PATH}#{name}s")),
            "next": next.map(|next| {
                format!("{}#{name}s", link(PATH, &[(&format!("{name}s_before"), Some(&next))]))
            }),
        })
    };
    app.pages.answer(
        "admin/quiet",
        &json!({
            "page": Frame::new(&app, &by, "Silences and maintenance windows", PART),
            "may_change": by.0.role.covers(Role::Operator),
            "silences": rows(silences.0),
            "silences_pager": pager("silence", p.silences_before.is_some(), silences.1.next_cursor.clone()),
            "silences_over": rows(silences.1.items),
            "windows": rows(windows.0),
            "windows_pager": pager("window", p.windows_before.is_some(), windows.1.next_cursor.clone()),
            "windows_over": rows(windows.1.items),
        }),
    )
}

fn row(id: &MuteId, what: &str, state: MuteState, name: &str) -> Value {
    let (word, tone) = match state {
        MuteState::Pending => ("planned", "info"),
        MuteState::Active => ("active", "warn"),
        MuteState::Ended => ("ended", ""),
    };
    let pending = state == MuteState::Pending;
    json!({
        "id": id, "name": name, "word": word, "tone": tone,
        "over": state == MuteState::Ended,
        "pending": pending,
        "ask": {
            "label": if pending { "Cancel" } else { "End now" },
            "action": format!("{PATH}/{what}/{id}/end"),
            "text": match pending {
                true => format!("“{name}” does not begin. It cannot be planned again: make a new one."),
                false => format!("“{name}” ends now. Alerts that match it can open incidents again, and it cannot be continued."),
            },
            "button": match (what, pending) {
                ("windows", true) => "Cancel 1 maintenance window",
                ("windows", false) => "End 1 maintenance window",
                (_, true) => "Cancel 1 silence",
                (_, false) => "End 1 silence",
            },
            "fields": [],
        },
        // Only maintenance windows have these values.
        "resources": null, "more": null, "schedule": null, "duration": null, "next": null,
    })
}

fn silence_row(one: Mute, now: Timestamp) -> Value {
    let one = one.silence(now);
    let mut row = row(&one.id, "silences", one.state, &one.reason);
    row["matchers"] = json!(in_words(&one.matchers));
    row["from"] = json!(When::utc(one.from));
    row["until"] = json!(When::utc(one.until));
    row["ended"] = json!(When::maybe(one.ended_at, None));
    row["by"] = json!(one.created_by);
    row
}

fn window_row(one: Mute, now: Timestamp) -> Value {
    let one = one.window(now);
    let mut row = row(&one.id, "windows", one.state, &one.name);
    if one.state == MuteState::Active && !one.in_force {
        row["word"] = json!("planned, not active now");
        row["tone"] = json!("info");
    }
    const NAMED: usize = 10;
    let named: Vec<String> = one
        .resources
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let next = one
        .schedule
        .as_deref()
        .filter(|_| one.state != MuteState::Ended && !one.in_force)
        .and_then(|schedule| cron::next(schedule, now.max(one.from)))
        .filter(|at| *at < one.until);
    row["matchers"] = json!(in_words(&one.matchers));
    row["resources"] = json!(cut(&named.join(", "), 300));
    row["more"] = json!(match one.resources.len().saturating_sub(NAMED) {
        0 => None,
        more => Some(count(more, "more", "more")),
    });
    let words = |schedule: &String| Schedule::of(Some(schedule.as_str())).in_words();
    row["schedule"] = json!(one.schedule.as_ref().map(words));
    row["duration"] = json!(one.duration.map(duration));
    row["next"] = json!(When::maybe(next, None));
    row["from"] = json!(When::utc(one.from));
    row["until"] = json!(When::utc(one.until));
    row["ended"] = json!(When::maybe(one.ended_at, None));
    row["by"] = json!(one.created_by);
    row
}

async fn end_silence(
    app: web::Data<App>,
    sent: Filled,
    InPath(id): InPath<SilenceId>,
) -> Answer<HttpResponse> {
    end(&app, sent, Kind::Silence, id.0).await
}

async fn end_window(app: web::Data<App>, sent: Filled, InPath(id): InPath<WindowId>) -> Answer<HttpResponse> {
    end(&app, sent, Kind::Maintenance, id.0).await
}

async fn end(app: &App, sent: Filled, kind: Kind, id: MuteId) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let (section, said) = match kind {
        Kind::Silence => ("silences", "The silence is ended."),
        Kind::Maintenance => ("windows", "The maintenance window is ended."),
    };
    app.db.write(&actor, move |tx| mute::end(tx, kind, &id)).await?;
    Ok(done(app, &format!("{PATH}#{section}"), said))
}
