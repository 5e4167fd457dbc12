//! The zero-byte uploads. From 22 February to 17 April 2017 large files were stored as empty, and "Stored in s3 after 1 attempts"
//! was believed. Only a listing of what should be stored, compared with a listing of what is stored, said which files they were.
//! 1,507 files were repaired in five batches.
//!
//! With Candor the comparison finds the files and their institutions, a file is recovered only when a later listing shows it, and
//! each institution hears exactly once that its own files are restored, when all of them are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::comparisons::{created, found, of_files, ran, uploaded};
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(the_affected_are_found_by_comparison_and_recovered_on_evidence);

/// The files that were stored wrongly, written in the window and known to the directory.
const WRONG: usize = 1_507;
const INSTITUTIONS: usize = 20;
const BATCHES: usize = 5;
/// What the storage said about the size of an empty file.
const REPORTED: &str = "842354926880";
const SIZE: &str = "642111856";
/// A file that the storer logged as stored after one attempt, in the first batch. It was not.
const CLAIMED: usize = 3;

/// How a file is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Not,
    Empty,
    WithTheWrongSize,
    Well,
}

/// The institution of a file, from 1.
fn institution_of(file: usize) -> usize {
    file % INSTITUTIONS + 1
}

/// The batch in which the files of an institution are repaired, from 1.
fn batch_of(institution: usize) -> usize {
    (institution - 1) / (INSTITUTIONS / BATCHES) + 1
}

fn wrong(file: usize) -> Stored {
    match file % 3 {
        0 => Stored::Not,
        1 => Stored::Empty,
        _ => Stored::WithTheWrongSize,
    }
}

fn identifier(file: usize) -> String {
    format!(
        "institution-{:02}.edu/video_{file:04}/data/sample.mov",
        institution_of(file)
    )
}

fn person(institution: usize) -> String {
    format!("archivist-{institution:02}")
}

fn people(institutions: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    institutions.into_iter().map(person).collect()
}

fn directory() -> String {
    let mut lines = Vec::new();
    for institution in 1..=INSTITUTIONS {
        let (account, person) = (format!("institution-{institution:02}"), person(institution));
        lines.push(json!({"kind": "account", "id": account, "name": format!("Institution {institution}")}));
        let email = format!("{person}@{account}.example");
        lines.push(json!({"kind": "person", "id": person, "name": format!("Archivist {institution}"), "email": email}));
        lines.push(json!({"kind": "member", "account": account, "person": person, "role": "owner"}));
    }
    let mut file = |identifier: String, institution: usize| {
        let account = format!("institution-{institution:02}");
        lines.push(json!({"kind": "resource", "type": "file", "id": identifier, "account": account}));
    };
    for wrong in 0..WRONG {
        file(identifier(wrong), institution_of(wrong));
    }
    for other in ["well", "deleted", "early"] {
        for n in 0..12 {
            file(format!("institution-01.edu/{other}_{n}"), 1);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The listing of what should be stored, as the original was written: identifier, uuid, size, gone, created_at, updated_at.
fn expected() -> String {
    let row = |identifier: &str, gone: bool, created: &str| {
        format!(
            "{identifier}\t8b1f-{}\t{SIZE}\t{gone}\t{created}\t2017-04-17 20:58:10 UTC\n",
            identifier.len()
        )
    };
    let mut listing = String::new();
    for file in 0..WRONG {
        // The first and the last file were written at the edges of the window.
        let created = match file {
            0 => "2017-02-22 00:00:00 UTC",
            1 => "2017-04-17 23:59:59 UTC",
            _ => "2017-03-14 09:26:53 UTC",
        };
        listing.push_str(&row(&identifier(file), false, created));
    }
    for n in 0..12 {
        listing.push_str(&row(
            &format!("institution-01.edu/well_{n}"),
            false,
            "2017-03-01 10:00:00 UTC",
        ));
        listing.push_str(&row(
            &format!("institution-01.edu/deleted_{n}"),
            true,
            "2017-03-01 10:00:00 UTC",
        ));
        listing.push_str(&row(
            &format!("institution-01.edu/early_{n}"),
            false,
            "2017-02-21 23:59:59 UTC",
        ));
    }
    // The directory does not know these two.
    for n in 0..2 {
        listing.push_str(&row(
            &format!("institution-99.edu/unknown_{n}"),
            false,
            "2017-03-01 10:00:00 UTC",
        ));
    }
    listing
}

/// The listing of what is stored, after some batches were repaired.
fn observed(repaired: usize, claimed_is_stored: bool) -> String {
    let mut listing = String::new();
    for file in 0..WRONG {
        let is_repaired =
            batch_of(institution_of(file)) <= repaired && (file != CLAIMED || claimed_is_stored);
        let stored = if is_repaired {
            Stored::Well
        } else if file == CLAIMED && repaired > 0 {
            Stored::WithTheWrongSize
        } else {
            wrong(file)
        };
        let size = match stored {
            Stored::Not => continue,
            Stored::Empty => "0",
            Stored::WithTheWrongSize => REPORTED,
            Stored::Well => SIZE,
        };
        listing.push_str(&format!("{}\t{size}\n", identifier(file)));
    }
    for n in 0..12 {
        listing.push_str(&format!("institution-01.edu/well_{n}\t{SIZE}\n"));
        listing.push_str(&format!("institution-01.edu/early_{n}\t0\n"));
    }
    listing.push_str("tmp/upload-part-1\t17\n");
    listing
}

fn files_of(batch: usize) -> Vec<Value> {
    (0..WRONG)
        .filter(|file| batch_of(institution_of(*file)) == batch)
        .map(|file| json!({"type": "file", "id": identifier(file)}))
        .collect()
}

/// Returns the people on the list of a notice.
async fn recipients(app: &TestApp, notice: &str) -> BTreeSet<String> {
    let listed = app.all(&format!("/api/v1/notices/{notice}/recipients")).await;
    let id = |one: &Value| one["person"]["id"].as_str().expect("an ID").to_owned();
    listed.iter().map(id).collect()
}

/// Uploads what is stored now and compares again. Returns the numbers of impaired, recovering and recovered files.
async fn seen(app: &TestApp, incident: &str, comparison: &str, observed: String) -> (u64, u64, u64) {
    uploaded(app, comparison, "observed", observed).await.expect(200);
    ran(app, comparison).await;
    let recovery = app.get(&format!("{incident}/recovery")).await.expect(200);
    let number = |state: &str| recovery["counts"][state].as_u64().expect("a number");
    (number("impaired"), number("recovering"), number("recovered"))
}

async fn the_affected_are_found_by_comparison_and_recovered_on_evidence(env: Env) {
    let app = TestApp::builder(&env)
        .at("2017-04-18T12:00:00Z")
        .max_audience(500)
        .start()
        .await;
    app.import(directory()).await.expect(200);
    let opened = json!({"title": "Large files are stored as empty files", "severity": "critical", "started_at": "2017-02-22T00:00:00Z"});
    let id = app.post("/api/v1/incidents", opened).await.expect(201).id();
    let incident = format!("/api/v1/incidents/{id}");

    // What should be stored against what is stored.
    let mut definition = of_files();
    definition["window"] = json!({"from": "2017-02-22T00:00:00Z", "to": "2017-04-18T00:00:00Z"});
    let comparison = created(&app, &id, definition).await;
    uploaded(&app, &comparison, "expected", expected())
        .await
        .expect(200);
    uploaded(&app, &comparison, "observed", observed(0, false))
        .await
        .expect(200);
    let counts = ran(&app, &comparison).await;
    let count = |kind: &str| counts[kind].as_u64().expect("a number");
    assert_eq!(
        (count("missing"), count("differs")),
        (503 + 2, 502 + 502),
        "{counts}"
    );
    assert_eq!(
        (count("equal"), count("gone"), count("outside_window")),
        (12, 12, 12),
        "{counts}"
    );
    assert_eq!(
        (count("unexpected"), count("unknown_resources")),
        (1, 3),
        "{counts}"
    );
    let differs = found(&app, &comparison, "differs").await;
    let sizes = |observed: &str| {
        let is = |one: &&(String, Option<String>, Option<String>)| {
            (one.1.as_deref(), one.2.as_deref()) == (Some(SIZE), Some(observed))
        };
        differs.iter().filter(is).count()
    };
    assert_eq!((sizes("0"), sizes(REPORTED)), (502, 502));

    // Only what is missing or differs, was written in the window and is in the directory becomes affected.
    let kinds = json!({"kinds": ["missing", "differs"], "dry_run": true});
    let dry = app.post(&format!("{comparison}/apply"), kinds).await.expect(200);
    assert_eq!(
        (&dry["added"], &dry["unknown"]),
        (&json!(WRONG), &json!(2)),
        "{dry}"
    );
    assert_eq!(
        (&dry["accounts"], &dry["people"]),
        (&json!(INSTITUTIONS), &json!(INSTITUTIONS)),
        "{dry}"
    );
    assert_eq!(env.count("incident_resources"), 0);
    let kinds = json!({"kinds": ["missing", "differs"]});
    let applied = app.post(&format!("{comparison}/apply"), kinds).await.expect(200);
    assert_eq!(applied.json, json!({"added": WRONG, "already": 0, "unknown": 2}));
    let detection = app.tell(&id, "detection").await;
    assert_eq!(recipients(&app, &detection).await, people(1..=INSTITUTIONS));

    // "Stored in s3 after 1 attempts" is a claim. It recovers nothing.
    let claimed = json!({"state": "recovered", "resources": [{"type": "file", "id": identifier(CLAIMED)}]});
    let refused = app
        .post(&format!("{incident}/recovery"), claimed)
        .await
        .expect_problem(422);
    assert_eq!(refused["errors"][0]["code"], "claim_is_not_evidence", "{refused}");

    // Five batches over some weeks. Each institution hears it when all of its own files are seen to be right.
    let mut told = BTreeMap::<String, usize>::new();
    for batch in 1..=BATCHES {
        app.set_clock(&format!("2017-05-{:02}T08:00:00Z", batch * 5));
        let files = files_of(batch);
        let name = format!("Batch {batch}");
        let begun = json!({"state": "recovering", "name": name, "resources": files});
        app.post(&format!("{incident}/recovery"), begun).await.expect(200);
        app.set_clock(&format!("2017-05-{:02}T16:00:00Z", batch * 5));
        let repaired = (1..=batch).map(|batch| files_of(batch).len()).sum::<usize>();
        // The claimed file is really stored with the second batch.
        let wrong = usize::from(batch == 1);
        let left = (WRONG - repaired + wrong) as u64;
        assert_eq!(
            seen(&app, &incident, &comparison, observed(batch, batch > 1)).await,
            (left, 0, (repaired - wrong) as u64),
            "after batch {batch}"
        );
        let notice = app.tell(&id, "recovery").await;
        let heard = recipients(&app, &notice).await;
        let whole = |institution: &usize| match institution_of(CLAIMED) == *institution {
            true => batch == 2,
            false => batch_of(*institution) == batch,
        };
        assert_eq!(
            heard,
            people((1..=INSTITUTIONS).filter(whole)),
            "in batch {batch}"
        );
        for person in heard {
            *told.entry(person).or_default() += 1;
        }
        if batch < BATCHES {
            // Nobody else is complete, so there is nobody to tell.
            let again = app.draft(&id, "recovery").await;
            assert_eq!(recipients(&app, &again).await, BTreeSet::new());
            let digest = app.digest(&again).await;
            app.send(&again, &digest).await.expect_problem(422);
        }
        if batch == BATCHES - 1 {
            // "All files are restored" would be wrong for the institutions of the last batch.
            let progress = app.get(&format!("{incident}/recovery")).await.expect(200);
            let complete = progress["accounts"].as_array().expect("accounts").iter();
            let complete = complete.filter(|account| account["impaired"] == 0 && account["notified"] == 1);
            assert_eq!(complete.count(), INSTITUTIONS - INSTITUTIONS / BATCHES);
        }
    }
    assert_eq!(told.len(), INSTITUTIONS);
    assert!(told.values().all(|times| *times == 1), "{told:?}");
    let series = app.get(&format!("{incident}/recovery/series")).await.expect(200);
    let last = series
        .json
        .as_array()
        .and_then(|points| points.last())
        .expect("a point");
    assert_eq!(
        (&last["impaired"], &last["recovered"]),
        (&json!(0), &json!(WRONG))
    );

    // The end goes to everybody, and claims nothing that was not seen.
    app.resolve(&id).await;
    let resolution = app.tell(&id, "resolution").await;
    assert_eq!(recipients(&app, &resolution).await, people(1..=INSTITUTIONS));
    let mails = app.mails(3 * INSTITUTIONS).await;
    let first = mails
        .iter()
        .find(|mail| mail.to.starts_with("archivist-02@"))
        .expect("an email");
    assert!(
        first.flat().contains("The stored file is empty."),
        "{}",
        first.text
    );
    app.finish().await;
}
