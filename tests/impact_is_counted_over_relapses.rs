//! The minutes for which a resource or an account was impaired are counted over all its impairments. What is still impaired counts until
//! now.

use serde_json::{Value, json};

use crate::recovery_needs_evidence::{batch, evidence, expect, line, started};
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    each_resource_has_the_sum_of_its_impairments,
    an_account_counts_each_minute_once,
    the_file_has_the_same_rows,
);

const SIZE: &str = "642111856";

/// The incident begins at 8:00. The file a is recovered from 9:00 to 10:00 and again from 10:30. The file b is recovered from
/// 9:30. The others are impaired. It is 12:00.
async fn history(env: &Env) -> (TestApp, String) {
    let (app, recovery) = started(env).await;
    batch(&app, &recovery, "recovering", &["a", "b"])
        .await
        .expect(200);
    expect(env, &["a", "b"], &json!({"size": SIZE}));
    app.set_clock("2017-04-17T12:00:00Z");
    let at = |time: &str| format!("2017-04-17T{time}:00Z");
    let lines = [
        line("a", &at("09:00"), json!({"size": SIZE})),
        line("a", &at("10:00"), json!({"size": 0})),
        line("a", &at("10:30"), json!({"size": SIZE})),
        line("b", &at("09:30"), json!({"size": SIZE})),
    ];
    let taken = evidence(&app, &recovery, &lines.concat()).await.expect(200);
    assert_eq!((&taken["recovered"], &taken["relapsed"]), (&json!(3), &json!(1)));
    (app, recovery)
}

fn minutes(rows: &[Value], name: &str) -> Vec<i64> {
    rows.iter()
        .map(|row| row[name].as_i64().expect("a number"))
        .collect()
}

async fn each_resource_has_the_sum_of_its_impairments(env: Env) {
    let (app, recovery) = history(&env).await;
    let rows = app.all(&format!("{recovery}/impact")).await;
    assert_eq!(minutes(&rows, "affected_minutes"), [90, 90, 240, 240, 240]);
    assert_eq!(minutes(&rows, "impairments"), [2, 1, 1, 1, 1]);
    assert_eq!(
        rows[0],
        json!({
            "resource": {"type": "file", "id": "a"}, "name": "a.mov", "account": "north", "impaired_from": "2017-04-17T08:00:00Z",
            "impaired_to": "2017-04-17T10:30:00Z", "impairments": 2, "affected_minutes": 90,
        })
    );
    assert_eq!(
        (&rows[4]["account"], &rows[4]["impaired_to"]),
        (&Value::Null, &Value::Null)
    );
    app.set_clock("2017-04-17T12:10:00Z");
    let rows = app.all(&format!("{recovery}/impact")).await;
    assert_eq!(minutes(&rows, "affected_minutes"), [90, 90, 250, 250, 250]);
    app.finish().await;
}

async fn an_account_counts_each_minute_once(env: Env) {
    let (app, recovery) = history(&env).await;
    let incident = recovery.trim_end_matches("/recovery");
    app.delete(&format!("{incident}/affected/file/c"))
        .await
        .expect(204);
    let rows = app.all(&format!("{recovery}/impact?by=account")).await;
    assert_eq!(
        rows,
        [
            // From 8:00 to 9:30 because of a and b, and from 10:00 to 10:30 because of a.
            json!({"account": "north", "name": "North", "resources": 2, "impaired_from": "2017-04-17T08:00:00Z",
                "impaired_to": "2017-04-17T10:30:00Z", "affected_minutes": 120, "resource_minutes": 180}),
            json!({"account": "south", "name": "South", "resources": 1, "impaired_from": "2017-04-17T08:00:00Z",
                "impaired_to": null, "affected_minutes": 240, "resource_minutes": 240}),
        ]
    );
    app.get(&format!("{recovery}/impact?by=person"))
        .await
        .expect_invalid("?by");
    app.finish().await;
}

async fn the_file_has_the_same_rows(env: Env) {
    let (app, recovery) = history(&env).await;
    let csv = app
        .get(&format!("{recovery}/impact?format=csv"))
        .await
        .expect(200);
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(
        lines[0],
        "type,id,name,account,impaired_from,impaired_to,impairments,affected_minutes,finding"
    );
    assert_eq!(
        lines[1],
        "file,a,a.mov,north,2017-04-17T08:00:00Z,2017-04-17T10:30:00Z,2,90,"
    );
    assert_eq!(lines[5], "file,e,,,2017-04-17T08:00:00Z,,1,240,");
    let csv = app
        .get(&format!("{recovery}/impact?format=csv&by=account"))
        .await
        .expect(200);
    assert_eq!(
        csv.text.lines().nth(2),
        Some("south,South,1,2017-04-17T08:00:00Z,,240,240")
    );
    app.get(&format!("{recovery}/impact?format=csv&cursor=x"))
        .await
        .expect_invalid("?cursor");
    app.finish().await;
}
