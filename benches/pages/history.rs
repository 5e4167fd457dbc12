//! One incident that is played through the API, and its clones in the database.

use candor::demo::catcher::Catcher;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use super::support::candor::{Database, Kind};
use super::support::{Context, Result};

/// The number of people who own the affected project, and so of deliveries of a notice.
const PEOPLE: usize = 10;

/// How long a notice may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tables that are not cloned: a further incident adds no row to them, or their rows are about the sender and not about the incident.
const NOT_CLONED: [&str; 6] = [
    "alert_groups",
    "alert_keys",
    "alert_source_groups",
    "hook_requests",
    "operator_messages",
    "counters",
];
/// Tables that other tables refer to, in the order in which they must be cloned.
const FIRST: [&str; 4] = ["incidents", "alerts", "notices", "deliveries"];

/// The incident that was played.
pub struct Told {
    incident: String,
    notice: String,
    integration: String,
}

impl Told {
    /// Returns the paths of the pages that are measured.
    pub fn pages(&self) -> Vec<String> {
        let fixed = [
            "/admin",
            "/admin/incidents",
            "/admin/incidents?status=resolved",
            "/admin/incidents/1",
            "/admin/incidents/1/people",
            "/admin/incidents/1/alerts",
            "/admin/alerts",
            "/admin/integrations",
            "/admin/follow-ups",
            "/admin/directory",
            "/admin/directory/people",
            "/admin/directory/people/p0",
            "/admin/directory/accounts/savanna",
            "/admin/directory/resources/project/42",
            "/admin/directory/suppressions",
            "/admin/search?q=opened",
            "/admin/audit",
            "/admin/settings",
            "/admin/system",
        ];
        let mut pages: Vec<String> = fixed.map(str::to_owned).into();
        pages.push(format!("/admin/notices/{}", self.notice));
        pages.push(format!("/admin/integrations/{}", self.integration));
        pages.push(format!("/admin/audit?incident={}", self.incident));
        pages
    }

    /// Returns a path without the IDs of this run.
    pub fn named(&self, page: &str) -> String {
        page.replace(&self.notice, "{notice}")
            .replace(&self.integration, "{integration}")
            .replace(&self.incident, "{incident}")
    }
}

/// Plays an incident, from its alert to its resolution.
///
/// # Errors
/// The answer of the service, if it refuses a request.
pub async fn play(database: &Database<'_>) -> Result<Told> {
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let catcher = Catcher::start().context("the email catcher")?;
    let mut lines = vec![
        json!({"kind": "account", "id": "savanna", "name": "Savanna Pictures"}),
        json!({"kind": "resource", "type": "project", "id": "42", "account": "savanna", "name": "Rushes"}),
    ];
    for n in 0..PEOPLE {
        let (id, email) = (format!("p{n}"), format!("p{n}@savanna.example"));
        lines.push(json!({"kind": "person", "id": id, "name": format!("Person {n}"), "email": email}));
        lines.push(json!({"kind": "member", "account": "savanna", "person": id, "role": "owner"}));
    }
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = tempfile::NamedTempFile::new_in(cache).context("a file")?;
    std::fs::write(file.path(), lines).context("a file")?;
    database.import(file.path())?;
    let service = database.serve(catcher.address().port(), true)?;
    let integration = json!({
        "name": "Alertmanager", "source": "alertmanager",
        "resource_rules": [{"field": "labels.project", "type": "project"}],
    });
    let integration = service.post("/api/v1/integrations", &integration).await?;
    let hook = text(&integration["hook_url"])?;
    let hook = hook.rfind("/hooks/").map(|at| &hook[at..]).context("the hook")?;
    let alert = json!({
        "version": "4", "groupKey": "files", "status": "firing", "receiver": "candor",
        "alerts": [{
            "status": "firing", "labels": {"alertname": "Files cannot be opened", "severity": "critical", "project": "42"},
            "annotations": {}, "startsAt": "2024-03-14T06:50:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "a1",
        }],
    });
    service.post(hook, &alert).await?;
    let incidents = service.get("/api/v1/incidents").await?;
    let incident = text(&incidents["items"][0]["id"])?;
    let path = format!("/api/v1/incidents/{incident}");
    let mut notice = String::new();
    for phase in ["detection", "update"] {
        let draft = json!({"phase": phase, "message": "Some files cannot be opened.", "customer_action": {"required": false}});
        let draft = service.post(&format!("{path}/notices"), &draft).await?;
        notice = text(&draft["id"])?;
        let preview = service.get(&format!("/api/v1/notices/{notice}/preview")).await?;
        let digest = json!({"digest": preview["digest"]});
        service
            .post(&format!("/api/v1/notices/{notice}/send"), &digest)
            .await?;
        let path = format!("/api/v1/notices/{notice}");
        let started = Instant::now();
        while service.get(&path).await?["state"] != "sent" {
            if started.elapsed() > PATIENCE {
                return Err(format!("the {phase} is not sent in time"));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    let step = json!({"text": "Move the files to a production bucket", "owner": "Ann"});
    service.post(&format!("{path}/next-steps"), &step).await?;
    service
        .post(&format!("{path}/status"), &json!({"status": "resolved"}))
        .await?;
    let integration = text(&integration["id"])?;
    service.stop()?;
    Ok(Told {
        incident,
        notice,
        integration,
    })
}

fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .context("the answer has no text")
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    of: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// The number of incidents that are still open, however many there are.
const OPEN: u32 = 20;

/// Clones the rows of the incident until there are this many incidents. Returns what there is then.
///
/// # Errors
/// An error of the database.
pub fn clone(database: &Database<'_>, incidents: u32) -> Result<String> {
    match database.kind() {
        Kind::Sqlite => {
            let file = database.file();
            let mut conn = SqliteConnection::establish(&file.to_string_lossy()).context("the database")?;
            let columns = "SELECT m.name AS \"of\", c.name AS name, c.type AS kind FROM sqlite_master m, pragma_table_info(m.name) c
                 WHERE m.type = 'table' ORDER BY m.name, c.cid";
            let columns = diesel::sql_query(columns)
                .load(&mut conn)
                .context("the columns")?;
            conn.batch_execute("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF;")
                .context("the settings")?;
            let done = fill(&mut conn, &columns, incidents, |conn, query| {
                diesel::sql_query(query).get_result(conn)
            })?;
            conn.batch_execute("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);")
                .context("the end")?;
            Ok(done)
        }
        Kind::Postgres => {
            let mut conn = PgConnection::establish(&database.postgres_url()?).context("the database")?;
            let columns = "SELECT c.table_name::text AS of, c.column_name::text AS name, c.data_type::text AS kind
                 FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
                 WHERE t.table_schema = 'public' AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position";
            let columns = diesel::sql_query(columns)
                .load(&mut conn)
                .context("the columns")?;
            let done = fill(&mut conn, &columns, incidents, |conn, query| {
                diesel::sql_query(query).get_result(conn)
            })?;
            conn.batch_execute("VACUUM (ANALYZE)").context("the end")?;
            Ok(done)
        }
    }
}

fn fill<C: SimpleConnection>(
    conn: &mut C,
    columns: &[Column],
    incidents: u32,
    count: impl Fn(&mut C, String) -> QueryResult<Count>,
) -> Result<String> {
    let postgres = columns.iter().any(|column| column.kind == "bigint");
    let mut tables: Vec<&str> = columns.iter().map(|column| column.of.as_str()).collect();
    tables.dedup();
    tables.sort_by_key(|table| {
        FIRST
            .iter()
            .position(|first| first == table)
            .unwrap_or(FIRST.len())
    });
    let number = |conn: &mut C, query: &str| -> Result<i64> {
        count(conn, query.to_owned())
            .map(|count| count.value)
            .context(query)
    };
    let deliveries = number(conn, "SELECT COUNT(*) AS value FROM deliveries")?;
    let events = number(conn, "SELECT MAX(seq) AS value FROM audit_events")?;
    let step = i64::from(incidents / OPEN).max(1);
    conn.batch_execute("BEGIN").context("BEGIN")?;
    for table in tables {
        let of: Vec<&Column> = columns.iter().filter(|column| column.of == table).collect();
        let belongs = of.iter().any(|column| {
            matches!(
                column.name.as_str(),
                "incident_id" | "notice_id" | "delivery_id" | "alert_id"
            )
        });
        if NOT_CLONED.contains(&table) || !(belongs || table == "incidents") {
            continue;
        }
        let copied = of.iter().filter_map(|column| {
            let value = cloned(table, column, (deliveries, events, step), postgres)?;
            Some((format!("\"{}\"", column.name), value))
        });
        let (names, values): (Vec<String>, Vec<String>) = copied.unzip();
        let wanted = if table == "audit_events" {
            "WHERE t.incident_id IS NOT NULL"
        } else {
            ""
        };
        let further = incidents - 1;
        let numbers = if postgres {
            format!("(SELECT n FROM generate_series(1, {further}) n)")
        } else {
            format!(
                "(WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {further}) SELECT n FROM many)"
            )
        };
        // The rows are read before any is written.
        let statement = format!(
            "CREATE TEMPORARY TABLE played AS SELECT * FROM {table} t {wanted};
             INSERT INTO {table} ({}) SELECT {} FROM {numbers} many CROSS JOIN played t; DROP TABLE played;",
            names.join(", "),
            values.join(", ")
        );
        conn.batch_execute(&statement).context(table)?;
    }
    // The next event of the service continues after the cloned ones.
    conn.batch_execute(
        "UPDATE audit_head SET seq = (SELECT MAX(seq) FROM audit_events),
             hash = (SELECT hash FROM audit_events ORDER BY seq DESC LIMIT 1)",
    )
    .context("audit_head")?;
    conn.batch_execute("COMMIT").context("COMMIT")?;
    let mut said = Vec::new();
    for table in ["incidents", "deliveries", "audit_events"] {
        let rows = number(conn, &format!("SELECT COUNT(*) AS value FROM {table}"))?;
        said.push(format!("{rows} {}", table.replace('_', " ")));
    }
    Ok(said.join(", "))
}

/// Returns the SQL of a column of the clone `many.n` of the row `t`. `None` if the database makes the value.
fn cloned(
    table: &str,
    column: &Column,
    (deliveries, events, step): (i64, i64, i64),
    postgres: bool,
) -> Option<String> {
    let name = column.name.as_str();
    let at = format!("t.\"{name}\"");
    let whole = ["int", "INT", "BIGINT"]
        .iter()
        .any(|kind| column.kind.contains(kind));
    let hex = match postgres {
        true => "lpad(to_hex(many.n), 12, '0')",
        false => "printf('%012x', many.n)",
    };
    Some(match name {
        "incident_id" | "notice_id" | "alert_id" => format!("substr({at}, 1, 24) || {hex}"),
        "id" if table == "deliveries" => format!("{at} + many.n * {deliveries}"),
        "delivery_id" => format!("{at} + many.n * {deliveries}"),
        "id" | "key" if whole => return None,
        "id" => format!("substr({at}, 1, 24) || {hex}"),
        "number" if table == "incidents" => format!("{at} + many.n"),
        "seq" => format!("{at} + many.n * {events}"),
        "fingerprint" | "message_id" => format!("{at} || many.n"),
        "title" if table == "incidents" => format!("{at} || ' ' || many.n"),
        // A few incidents are still open.
        "status" if table == "incidents" => {
            format!("CASE WHEN many.n % {step} = 0 THEN 'investigating' ELSE {at} END")
        }
        "resolved_at" if table == "incidents" => {
            format!("CASE WHEN many.n % {step} = 0 THEN NULL ELSE {at} END")
        }
        _ => at,
    })
}
