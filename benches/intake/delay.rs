//! How long it takes from an alert to a mail at the mail server, one after another: Alertmanager with no wait for a group,
//! and Candor with a policy that sends a detection by itself.
//!
//! Must never happen here: a time of a mail that was another alert's. Each is waited for before the next alert goes out.

use std::path::Path;
use std::time::{Duration, Instant};

use candor::demo::catcher::Catcher;
use serde_json::json;

use super::load;
use super::support::alertmanager::Alertmanager;
use super::support::candor::Database;
use super::support::{Context, Result};

/// How long a mail may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between a mail and the next alert: what is written down afterwards is not on the way of either side's next one.
const PAUSE: Duration = Duration::from_millis(50);
/// Alerts before it counts.
const WARM_UP: usize = 10;
/// Who is told.
const PERSON: &str = "ann@crowd.example";

/// Seconds from each alert to its mail, sorted.
pub struct Delays(Vec<f64>);

impl Delays {
    /// Seconds within which this share of the mails was there.
    pub fn within(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }
}

async fn measure(catcher: &Catcher, port: u16, path: &str, bodies: &[String]) -> Result<Delays> {
    let mut delays = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let before = catcher.accepted();
        if before != index {
            return Err(format!("{before} mails for {index} alerts"));
        }
        let started = Instant::now();
        load::post(port, path, std::slice::from_ref(body), 1).await?;
        if catcher.wait_for(index + 1, PATIENCE).await.is_err() {
            return Err(format!("no mail for the alert {index}"));
        }
        if index >= WARM_UP {
            delays.push(started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
    delays.sort_by(f64::total_cmp);
    Ok(Delays(delays))
}

/// Alertmanager's: each alert is a group of its own, which waits for nothing.
///
/// # Errors
/// Where it does not start, or a mail is missing.
pub async fn of_alertmanager(program: &Alertmanager, scratch: &Path, bodies: &[String]) -> Result<Delays> {
    let catcher = Catcher::start().context("the mail catcher")?;
    let settings = format!(
        "global: {{smtp_smarthost: '127.0.0.1:{}', smtp_from: alerts@sender.example, smtp_require_tls: false}}\n\
         route: {{receiver: ann, group_by: ['...'], group_wait: 0s}}\n\
         receivers: [{{name: ann, email_configs: [{{to: {PERSON}}}]}}]\n",
        catcher.address().port()
    );
    let running = program.serve_with(scratch, &settings)?;
    measure(&catcher, running.port, "/api/v2/alerts", bodies).await
}

/// Candor's: each alert opens an incident, of which the one owner of what it names is told.
///
/// # Errors
/// Where something does not work, or a mail is missing.
pub async fn of_candor(empty: &Database<'_>, scratch: &Path, bodies: &[String]) -> Result<Delays> {
    let catcher = Catcher::start().context("the mail catcher")?;
    let database = empty.copy(scratch)?;
    let directory = [
        json!({"kind": "account", "id": "savanna", "name": "Savanna Pictures"}),
        json!({"kind": "person", "id": "ann", "name": "Ann", "email": PERSON}),
        json!({"kind": "member", "account": "savanna", "person": "ann", "role": "owner"}),
        json!({"kind": "resource", "type": "service", "id": "media", "account": "savanna", "name": "Media"}),
    ];
    let lines: String = directory.iter().map(|line| format!("{line}\n")).collect();
    let file = tempfile::NamedTempFile::new_in(scratch).context("a file")?;
    std::fs::write(file.path(), lines).context("a file")?;
    database.import(file.path())?;
    let service = database.serve(catcher.address().port(), true)?;
    let integration = json!({
        "name": "Alertmanager", "source": "alertmanager",
        "resource_rules": [{"field": "labels.service", "type": "service"}],
    });
    let integration = service.post("/api/v1/integrations", &integration).await?;
    let policy = json!({
        "name": "Tell at once", "action": "send", "message": "Some files cannot be opened at present.",
        "customer_action": {"required": false},
        "limits": {"audience_at_most": 10, "per_account_per_hour": null},
    });
    service.post("/api/v1/automation/policies", &policy).await?;
    let url = integration["hook_url"].as_str().context("no URL")?;
    let path = url.rfind("/hooks/").map(|at| &url[at..]).context("no path")?;
    let delays = measure(&catcher, service.port()?, path, bodies).await?;
    service.stop()?;
    database.verify()?;
    Ok(delays)
}
