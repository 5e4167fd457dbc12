//! A preview and the page of an incident are made from one reading: the graph of the affected resources is read once for now
//! and once for the start of the incident, and the frozen list of each notice once.

use std::sync::{Mutex, PoisonError};

use candor::egress::Policy;
use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use serde_json::json;

use crate::support::{Env, TestApp, on_both_databases, story};

on_both_databases!(a_preview_reads_it_once, the_page_of_an_incident_reads_it_once);

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The statements of interest of all connections of this process, with their parameters. Tests of this file run at the same time, so
/// nothing is ever removed.
static STATEMENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What begins the reading of the graph of an incident, and of the frozen list of a notice.
const GRAPH: &str = "FROM incident_resources ir JOIN resources r";
const FROZEN: &str = "FROM notice_recipients WHERE notice_id";

fn recorder() -> Option<Box<dyn Instrumentation>> {
    Some(Box::new(|event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let statement = query.to_string();
            if statement.contains(GRAPH) || statement.contains(FROZEN) {
                let mut statements = STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner);
                statements.push(statement);
            }
        }
    }))
}

/// Records the statements of the connections that are opened from now on.
async fn start(env: &Env) -> TestApp {
    set_default_instrumentation(recorder).expect("nobody else sets it");
    TestApp::builder(env)
        .config(|config| config.webhook_allow = Policy::Private)
        .start()
        .await
}

/// A moment. The statements before it do not count.
struct Since(usize);

impl Since {
    fn now() -> Since {
        Since(STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// Returns the statements that contain this text and this ID. Another test of the process has other IDs.
    fn with(&self, text: &str, id: &str) -> Vec<String> {
        let statements = STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let found = statements
            .iter()
            .skip(self.0)
            .filter(|one| one.contains(text) && one.contains(id));
        found.cloned().collect()
    }
}

/// Checks that the graph was read once for now and once for an earlier time.
fn graph_was_read_once(since: &Since, incident: &str) {
    let (then, now): (Vec<String>, Vec<String>) = since
        .with(GRAPH, incident)
        .into_iter()
        .partition(|statement| statement.contains("resource_history"));
    assert_eq!((now.len(), then.len()), (1, 1), "{now:#?} {then:#?}");
}

async fn a_preview_reads_it_once(env: Env) {
    let app = start(&env).await;
    let incident = app.story_incident().await;
    // With an endpoint, its account is found in the graph too.
    let path = format!("/api/v1/accounts/{}/endpoints", story::ACCOUNT);
    let endpoint = json!({"url": "http://127.0.0.1:9/candor", "secret": SECRET});
    app.post(&path, endpoint).await.expect(201);
    let notice = app.draft(&incident, "detection").await;
    let since = Since::now();
    let preview = app.preview(&notice).await;
    graph_was_read_once(&since, &incident);
    assert_eq!(preview["recipients"], story::AFFECTED.len());
    assert_eq!(preview["channels"], json!({"webhook": 1}));
    app.finish().await;
}

async fn the_page_of_an_incident_reads_it_once(env: Env) {
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let since = Since::now();
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    graph_was_read_once(&since, &incident);
    let frozen = since.with(FROZEN, &notice);
    assert_eq!(frozen.len(), 1, "{frozen:#?}");
    assert!(page.contains("3 people"), "{page}");
    app.finish().await;
}
