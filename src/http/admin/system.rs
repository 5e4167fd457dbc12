//! `/admin/system`: the state of Candor itself.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::frame::Frame;
use super::signed_in::SignedIn;
use super::view::{When, duration, grouped};
use crate::auth::Role;
use crate::backup::BackupState;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::system::state;
use crate::http::problem::Answer;
use crate::system::{MailServer, ServiceState};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/system", Role::Admin, show)
        .does(&["GET /api/v1/system"]);
}

/// How long something is kept for which nothing is set.
const FOREVER: &str = "forever";

/// What each service of the background work does.
const SERVICES: [(&str, &str); 15] = [
    ("directory_sources", "reads the sources of the directory"),
    (
        "comparisons",
        "compares listings, and deletes rows that are not needed any more",
    ),
    ("lookups", "asks the product about unknown IDs"),
    ("checks", "runs checks and notices missing heartbeats"),
    ("automation", "runs the policies"),
    ("notice_waves", "begins, holds and ends the waves of notices"),
    (
        "mail_servers",
        "records which mail server fails, and finds out whether it works again",
    ),
    ("operators", "creates messages to operators"),
    ("operators_mail", "emails operators"),
    ("operators_webhooks", "calls the webhooks of operators"),
    ("refusals", "records refused requests in the audit trail"),
    ("token_uses", "stores when tokens were last used"),
    ("promises", "notices promised updates that were missed"),
    ("backups", "makes backups and checks them"),
    ("contacts", "refreshes the encrypted copy of the contacts"),
];

/// A size in bytes for people.
pub(super) fn bytes(n: i64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut size, mut unit) = (n.max(0) as f64, 0);
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let system = state(&app).await?;
    let (database, queue) = (&system.database, &system.queue);
    let kept = [
        (
            "Saved requests of hooks",
            system.kept.saved_requests,
            "until 100 newer ones of the integration arrive",
        ),
        (
            "Personal parts of emails, after the end of the incident",
            system.kept.mails,
            FOREVER,
        ),
        ("Texts and addresses of answers", system.kept.answers, FOREVER),
        ("Archived people", system.kept.archived_people, FOREVER),
    ]
    .map(|(what, seconds, otherwise)| {
        let time = match seconds {
            Some(seconds) => duration(i64::try_from(seconds).unwrap_or(i64::MAX)),
            None => otherwise.to_owned(),
        };
        json!({"what": what, "how_long": time})
    });
    let mail_servers: Vec<Value> = [&system.mail_server, &system.second_mail_server]
        .into_iter()
        .flatten()
        .map(mail_server)
        .collect();
    app.pages.answer(
        "admin/system",
        &json!({
            "page": Frame::new(&app, &by, "System", "System").live(Some(10)),
            "version": system.version,
            "started": When::utc(system.started_at),
            "delivers": system.delivers,
            "ready": system.health.ready,
            "reason": system.health.reason,
            "database": {
                "kind": database.kind, "size": bytes(database.bytes), "migrations": database.migrations,
                "last": database.last_migration, "backup": database.backup,
            },
            "queue": {
                "pending": grouped(queue.pending), "due": grouped(queue.due), "oldest": When::maybe(queue.oldest_queued_at, None),
                "workers": queue.workers_sending,
            },
            "mail_servers": mail_servers,
            "kept": kept,
            "services": system.services.iter().map(service).collect::<Vec<_>>(),
            "backups": {
                "enabled": system.backups.enabled,
                "schedule": system.backups.schedule,
                "good": system.backups.last_good.as_ref().map(|one| json!({"file": one.file, "at": When::maybe(one.finished_at, None)})),
                "drill": system.backups.last_drill.as_ref().map(|one| json!({"file": one.file, "at": When::maybe(one.checked_at, None)})),
                "failed": system.backups.last.as_ref().filter(|one| one.state == BackupState::Failed).map(|one| json!({
                    "at": When::maybe(one.finished_at, None), "error": one.error,
                })),
            },
            "tables": system.tables.iter().map(|table| json!({
                "name": table.name, "rows": grouped(table.rows), "size": table.bytes.map(bytes),
            })).collect::<Vec<_>>(),
        }),
    )
}

fn mail_server(server: &MailServer) -> Value {
    let number = |number: u64| grouped(i64::try_from(number).unwrap_or(i64::MAX));
    json!({
        "address": server.address,
        "connected": When::maybe(server.last_connected_at, None),
        "unreachable": When::maybe(server.unreachable_since, None),
        "passed_over": When::maybe(server.passed_over_since, None),
        "accepted": number(server.accepted),
        "failures": (server.failures > 0).then(|| number(server.failures)),
    })
}

fn service(one: &ServiceState) -> Value {
    let what = SERVICES
        .iter()
        .find(|(name, _)| *name == one.name)
        .map(|(_, what)| *what);
    json!({
        "name": one.name,
        "what": what,
        "failing": one.failing,
        "succeeded": When::maybe(one.last_success_at, None),
        "failed": When::maybe(one.last_failure_at, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (2_340_000, "2.3 MB"),
            (5_000_000_000, "5.0 GB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }
}
