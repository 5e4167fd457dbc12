//! Measures the time from an alert to the email at the mail server, one alert after another. Alertmanager
//! does not wait for more alerts of a group. Candor has a policy that sends a detection automatically.
//!
//! A time never belongs to the email of another alert, because the next alert is posted only after the email
//! of the previous alert has arrived.

use std::path::Path;
use std::time::{Duration, Instant};

use candor::demo::catcher::Catcher;
use serde_json::json;

use super::load;
use super::support::alertmanager::Alertmanager;
use super::support::candor::Database;
use super::support::{Context, Result};

/// The longest time that an email may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between an email and the next alert. In this time both programs finish the writes that follow an
/// email, so that these writes do not delay the next alert.
const PAUSE: Duration = Duration::from_millis(50);
/// The number of alerts at the beginning whose times are not counted.
const WARM_UP: usize = 10;
/// The address of the person who is notified.
const PERSON: &str = "ann@crowd.example";

/// The seconds from each alert to its email, in ascending order.
pub struct Delays(Vec<f64>);

impl Delays {
    /// Returns the seconds within which this share of the emails arrived.
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
            return Err(format!("{before} emails arrived for {index} alerts"));
        }
        let started = Instant::now();
        load::post(port, path, std::slice::from_ref(body), 1).await?;
        if catcher.wait_for(index + 1, PATIENCE).await.is_err() {
            return Err(format!("no email arrived in time for alert {index}"));
        }
        if index >= WARM_UP {
            delays.push(started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
    delays.sort_by(f64::total_cmp);
    Ok(Delays(delays))
}

/// Measures Alertmanager. Each alert is a group of its own, and the group does not wait for more alerts.
///
/// # Errors
/// The reason why Alertmanager does not start, or that an email is missing.
pub async fn of_alertmanager(program: &Alertmanager, scratch: &Path, bodies: &[String]) -> Result<Delays> {
    let catcher = Catcher::start().context("the email catcher")?;
    let settings = format!(
        "global: {{smtp_smarthost: '127.0.0.1:{}', smtp_from: alerts@sender.example, smtp_require_tls: false}}\n\
         route: {{receiver: ann, group_by: ['...'], group_wait: 0s}}\n\
         receivers: [{{name: ann, email_configs: [{{to: {PERSON}}}]}}]\n",
        catcher.address().port()
    );
    let running = program.serve_with(scratch, &settings)?;
    measure(&catcher, running.port, "/api/v2/alerts", bodies).await
}

/// Measures Candor. Each alert opens an incident, and the only owner of the named resource is notified.
///
/// # Errors
/// The reason why a step failed, or that an email is missing.
pub async fn of_candor(empty: &Database<'_>, scratch: &Path, bodies: &[String]) -> Result<Delays> {
    let catcher = Catcher::start().context("the email catcher")?;
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
    let url = integration["hook_url"]
        .as_str()
        .context("the integration has no hook URL")?;
    let path = url
        .rfind("/hooks/")
        .map(|at| &url[at..])
        .context("the hook URL has no path /hooks/")?;
    let delays = measure(&catcher, service.port()?, path, bodies).await?;
    service.stop()?;
    database.verify()?;
    Ok(delays)
}
