//! A source is created step by step, tested, synced, confirmed or refused, changed and deleted on pages. A password is never on a page, and a secret only once.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::shop::{SOURCES, Shop, run_over};
use crate::support::{ADMIN_TOKEN, Env, TestApp, on_both_databases, on_one_database};

on_both_databases!(a_database_is_connected_step_by_step);

on_one_database!(
    a_waiting_run_is_refused_or_confirmed,
    a_service_is_connected,
    only_admins_manage_sources,
);

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

const NEW: &str = "/admin/directory/new-source/sqlite";

/// The fields of a source that reads the shop.
fn fields(shop: &Shop) -> Vec<(String, String)> {
    let source = shop.source();
    let query = |kind: &str| source["queries"][kind].as_str().unwrap().to_owned();
    let mut fields = vec![
        ("name".to_owned(), "the shop".to_owned()),
        ("url".to_owned(), shop.url()),
    ];
    for kind in ["accounts", "people", "resources", "members", "collaborators"] {
        fields.push((kind.to_owned(), query(kind)));
    }
    for (name, value) in [
        ("every", "day"),
        ("at", "02:30"),
        ("day", "1"),
        ("cron", ""),
        ("max_gone_percent", "10"),
        ("max_left_out_percent", "10"),
        ("stale_after", "48"),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields
}

fn with(fields: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let changed = fields.iter().map(|field| match field.0 == name {
        true => (field.0.clone(), value.to_owned()),
        false => field.clone(),
    });
    changed.collect()
}

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

async fn created(admin: &Browser, shop: &Shop) -> String {
    let made = admin.send_from(NEW, NEW, &pairs(&fields(shop))).await.expect(303);
    made.header("location").to_owned()
}

async fn a_database_is_connected_step_by_step(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let shop = Shop::sqlite(&env);
    shows(
        &admin.page("/admin/directory/sources").await,
        &["No sources", "Create source"],
    );
    shows(
        &admin.page("/admin/directory/new-source").await,
        &["PostgreSQL database", "SQLite file", "Service that Candor asks"],
    );
    let all = fields(&shop);
    for (name, value, error) in [
        ("name", "", "e-name"),
        ("url", "http://x.example", "e-url"),
        ("accounts", "SELECT \u{30} FROM x; SELECT 1", ""),
        ("at", "2 in the night", "must be a time such as 02:00"),
        ("max_gone_percent", "many", "must be a number from 0 to 100"),
    ] {
        if error.is_empty() {
            continue;
        }
        let wrong = admin
            .send_from(NEW, NEW, &pairs(&with(&all, name, value)))
            .await
            .expect(422);
        shows(&wrong.text, &[error, "Nothing was saved."]);
    }
    let wrong = with(&with(&all, "every", "cron"), "cron", "often");
    let wrong = admin.send_from(NEW, NEW, &pairs(&wrong)).await.expect(422);
    shows(&wrong.text, &["aria-describedby=\"e-cron\"", "value=\"often\""]);
    let page = created(&admin, &shop).await;
    shows(
        &admin.page(&page).await,
        &["every day at 02:30 UTC", "The source was never read.", "2 days"],
    );
    let id = page.rsplit('/').next().unwrap().to_owned();
    let tested = admin
        .send_from(&page, &format!("{page}/test"), &[])
        .await
        .expect(200);
    shows(
        &tested.text,
        &["A sync would succeed.", "name: Customer 1", "Nothing was stored."],
    );
    admin
        .send_from(&page, &format!("{page}/sync"), &[])
        .await
        .expect(303);
    let runs = app.all(&format!("{SOURCES}/{id}/runs")).await;
    let run = runs[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(run_over(&app, &id, &run).await["state"], "done");
    shows(&admin.page(&page).await, &["started by", "accounts: "]);
    shows(
        &admin.page(&format!("{page}/runs/{run}")).await,
        &["Changes", "people"],
    );
    shows(&admin.page(&format!("{page}/runs")).await, &["done"]);
    // An entry of a source says so.
    shows(
        &admin.page("/admin/directory/accounts/1").await,
        &["This entry comes from the source", "the shop"],
    );
    let edit = format!("{page}/edit");
    shows(
        &admin.page(&edit).await,
        &[
            "value=\"02:30\"",
            "<option value=\"day\" selected>",
            "value=\"48\"",
        ],
    );
    let changed = with(&with(&with(&all, "url", ""), "every", "week"), "day", "3");
    let wrong = with(&changed, "stale_after", "0");
    admin.send_from(&edit, &edit, &pairs(&wrong)).await.expect(422);
    admin.send_from(&edit, &edit, &pairs(&changed)).await.expect(303);
    let stored = app.get(&format!("{SOURCES}/{id}")).await.expect(200);
    assert_eq!(
        json!([stored["schedule"], stored["url"], stored["stale_after"]]),
        json!(["30 2 * * 3", shop.url().replace(' ', "%20"), 172_800])
    );
    admin
        .send_from(&page, &format!("{page}/delete"), &[])
        .await
        .expect(303);
    shows(&admin.page("/admin/directory/sources").await, &["No sources"]);
    app.finish().await;
}

async fn a_waiting_run_is_refused_or_confirmed(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let shop = Shop::sqlite(&env);
    let page = created(&admin, &shop).await;
    let id = page.rsplit('/').next().unwrap().to_owned();
    let sync = async || {
        admin
            .send_from(&page, &format!("{page}/sync"), &[])
            .await
            .expect(303);
        let run = app.all(&format!("{SOURCES}/{id}/runs")).await[0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let state = run_over(&app, &id, &run).await["state"]
            .as_str()
            .unwrap()
            .to_owned();
        (run, state)
    };
    assert_eq!(sync().await.1, "done");
    shop.sql("DELETE FROM assets");
    let (run, state) = sync().await;
    assert_eq!(state, "needs_confirmation");
    shows(
        &admin.page("/admin/directory").await,
        &["It needs a confirmation."],
    );
    let at = format!("{page}/runs/{run}");
    shows(
        &admin.page(&at).await,
        &["Confirm and archive", "Refuse the changes"],
    );
    admin
        .send_from(&at, &format!("{at}/refuse"), &[])
        .await
        .expect(303);
    assert_eq!(
        app.get(&format!("{SOURCES}/{id}/runs/{run}")).await.expect(200)["state"],
        "refused"
    );
    admin
        .send_from(&page, &format!("{at}/refuse"), &[])
        .await
        .expect(409);
    admin
        .send_from(&page, &format!("{at}/confirm"), &[])
        .await
        .expect(409);
    let (run, state) = sync().await;
    assert_eq!(state, "needs_confirmation");
    let at = format!("{page}/runs/{run}");
    admin
        .send_from(&at, &format!("{at}/confirm"), &[])
        .await
        .expect(303);
    assert_eq!(run_over(&app, &id, &run).await["state"], "done");
    assert_eq!(app.all("/api/v1/audit?action=sync.refused").await.len(), 1);
    app.finish().await;
}

async fn a_service_is_connected(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let new = "/admin/directory/new-source/http";
    let wrong = [("name", "product"), ("url", "postgres://x"), ("secret", "")];
    let wrong = admin.send_from(new, new, &wrong).await.expect(422);
    shows(&wrong.text, &["aria-describedby=\"e-url\"", "value=\"product\""]);
    let right = [
        ("name", "product"),
        ("url", "https://product.example.com/lookup"),
        ("secret", ""),
    ];
    let made = admin.send_from(new, new, &right).await.expect(200);
    shows(&made.text, &["Copy it now", "whsec_"]);
    let id = app.all(SOURCES).await[0]["id"].as_str().unwrap().to_owned();
    let page = admin.page(&format!("/admin/directory/sources/{id}")).await;
    shows(&page, &["when an alert contains an unknown ID"]);
    assert!(!page.contains("whsec_") && !page.contains("Sync now"), "{page}");
    app.finish().await;
}

async fn only_admins_manage_sources(env: Env) {
    let app = TestApp::start(&env).await;
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let shop = Shop::sqlite(&env);
    let page = created(&admin, &shop).await;
    let shown = operator.page(&page).await;
    assert!(
        !shown.contains("Sync now") && !shown.contains("Edit source"),
        "{shown}"
    );
    for path in ["/admin/directory/new-source", NEW, &format!("{page}/edit")] {
        operator.open(path).await.expect(403);
    }
    for path in ["test", "sync", "delete", "edit"] {
        operator.send(&format!("{page}/{path}"), &[]).await.expect(403);
    }
    operator
        .open("/admin/directory/new-source/oracle")
        .await
        .expect(403);
    admin.open("/admin/directory/new-source/oracle").await.expect(404);
    app.finish().await;
}
