//! Random listings with duplicate keys, rows that are gone, odd keys and any order of lines, with and without a window. The
//! findings are those of a naive comparison in memory.

use std::collections::{BTreeMap, BTreeSet};

use candor::base::time::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};

use crate::support::comparisons::{created, ran, uploaded};
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    whatever_the_listings_are,
    listings_that_are_larger_than_the_memory_for_sorting
);

/// The number of comparisons of random listings.
const CASES: u32 = 40;

/// A row of a listing. The observed listing has only the key and the size.
#[derive(Clone, Debug)]
struct Row {
    key: String,
    size: Option<u8>,
    gone: bool,
    written: Option<i64>,
}

fn keys() -> impl Strategy<Value = String> {
    let odd: Vec<String> = [
        "a",
        "a ",
        " a",
        "A",
        "ab",
        "a\tb",
        "a\"b",
        "a,b",
        "é",
        "e\u{301}",
        "ß",
        "𝄞",
        "\u{feff}a",
        "a\u{a0}",
        "-",
        "0",
        "00",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(["long/".repeat(200), format!("{}x", "long/".repeat(200))])
    .collect();
    prop_oneof![
        4 => prop::sample::select(odd),
        2 => (0_u8..12).prop_map(|n| format!("key-{n}")),
        1 => "[^\\p{Cc}]{1,12}".prop_filter("a key is not empty", |key| !key.is_empty()),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    (
        keys(),
        prop::option::weighted(0.9, 0_u8..3),
        prop::bool::weighted(0.15),
        prop::option::weighted(0.9, 0_i64..10),
    )
        .prop_map(|(key, size, gone, written)| Row {
            key,
            size,
            gone,
            written,
        })
}

#[derive(Clone, Debug)]
struct Case {
    expected: Vec<Row>,
    observed: Vec<Row>,
    window: Option<(Option<i64>, Option<i64>)>,
}

fn case() -> impl Strategy<Value = Case> {
    let window = (prop::option::of(0_i64..6), prop::option::of(5_i64..10))
        .prop_filter("an end", |(from, to)| from.is_some() || to.is_some())
        .prop_filter("in order", |(from, to)| {
            from.zip(*to).is_none_or(|(from, to)| from < to)
        });
    (
        prop::collection::vec(row(), 0..40),
        prop::collection::vec(row(), 0..40),
        prop::option::of(window),
    )
        .prop_map(|(expected, observed, window)| Case {
            expected,
            observed,
            window,
        })
}

/// A finding: the kind, the key, and the values.
type Found = (String, String, Option<String>, Option<String>);

/// Compares the listings in memory.
fn naive(case: &Case) -> (BTreeMap<&'static str, u64>, Vec<Found>) {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut found = Vec::new();
    let text = |size: Option<u8>| size.map(|size| size.to_string());
    let mut add = |kind: &'static str, key: &str, values: (Option<String>, Option<String>)| {
        *counts.entry(kind).or_default() += 1;
        if kind != "equal" {
            found.push((kind.to_owned(), key.to_owned(), values.0, values.1));
        }
    };
    let inside = |row: &Row| {
        case.window.is_none_or(|(from, to)| {
            row.written
                .is_some_and(|at| from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to))
        })
    };
    let all: BTreeSet<&str> = case
        .expected
        .iter()
        .chain(&case.observed)
        .map(|row| row.key.as_str())
        .collect();
    for key in all {
        let ours: Vec<&Row> = case.expected.iter().filter(|row| row.key == key).collect();
        let theirs: Vec<&Row> = case.observed.iter().filter(|row| row.key == key).collect();
        let mut counted = Vec::new();
        for row in &ours {
            match (row.gone, inside(row)) {
                (true, _) => add("gone", key, (text(row.size), None)),
                (false, false) => add("outside_window", key, (text(row.size), None)),
                (false, true) => counted.push(*row),
            }
        }
        if !ours.is_empty() && counted.is_empty() {
            continue;
        }
        match (counted.as_slice(), theirs.as_slice()) {
            ([one], []) => add("missing", key, (text(one.size), None)),
            ([], [one]) => add("unexpected", key, (None, text(one.size))),
            ([one], [other]) => match (one.size, other.size) {
                (Some(a), Some(b)) if a == b => add("equal", key, (None, None)),
                (Some(_), Some(_)) => add("differs", key, (text(one.size), text(other.size))),
                _ => add("incomparable", key, (text(one.size), text(other.size))),
            },
            _ => add("duplicate", key, (None, None)),
        }
    }
    found.sort();
    (counts, found)
}

fn time(n: i64) -> String {
    Timestamp::from_micros(n * 1_000_000).to_string()
}

fn csv_of(rows: &[Row], expected: bool) -> Vec<u8> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if expected {
        csv.write_record(["key", "size", "gone", "written"])
            .expect("memory");
    } else {
        csv.write_record(["size", "key"]).expect("memory");
    }
    for row in rows {
        let size = row.size.map(|size| size.to_string()).unwrap_or_default();
        let done = match expected {
            true => csv.write_record([
                row.key.as_str(),
                &size,
                if row.gone { "true" } else { "false" },
                &row.written.map(time).unwrap_or_default(),
            ]),
            false => csv.write_record([size.as_str(), &row.key]),
        };
        done.expect("memory");
    }
    csv.into_inner().expect("memory")
}

async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::start(env).await;
    app.import("{\"kind\":\"resource\",\"type\":\"file\",\"id\":\"a\"}\n")
        .await
        .expect(200);
    let incident = app.incident([]).await;
    (app, incident)
}

fn definition(window: Option<(Option<i64>, Option<i64>)>) -> Value {
    let mut body = json!({
        "name": "Random", "resource": {"type": "file"}, "key": "key", "compare": ["size"],
        "expected": {"format": "csv", "gone": {"column": "gone", "values": ["true"]}, "written_at": "written"},
        "observed": {"format": "csv"},
    });
    if let Some((from, to)) = window {
        body["window"] = json!({"from": from.map(time), "to": to.map(time)});
    }
    body
}

async fn agrees(app: &TestApp, incident: &str, case: &Case) {
    let path = created(app, incident, definition(case.window)).await;
    uploaded(app, &path, "expected", csv_of(&case.expected, true))
        .await
        .expect(200);
    uploaded(app, &path, "observed", csv_of(&case.observed, false))
        .await
        .expect(200);
    let counts = ran(app, &path).await;
    let (wanted, findings) = naive(case);
    for kind in [
        "equal",
        "missing",
        "differs",
        "unexpected",
        "duplicate",
        "incomparable",
        "gone",
        "outside_window",
    ] {
        let wanted = wanted.get(kind).copied().unwrap_or_default();
        assert_eq!(counts[kind], wanted, "{kind} in {counts} of {case:?}");
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut found: Vec<Found> = app
        .all(&format!("{path}/findings?limit=500"))
        .await
        .iter()
        .map(|one| {
            let kind = text(&one["kind"]).expect("a kind");
            // The lines of a duplicate key are another test.
            let values = match kind.as_str() {
                "duplicate" => (None, None),
                _ => (text(&one["expected"]), text(&one["observed"])),
            };
            (kind, text(&one["key"]).expect("a key"), values.0, values.1)
        })
        .collect();
    found.sort();
    assert_eq!(found, findings, "{case:?}");
}

async fn whatever_the_listings_are(env: Env) {
    let (app, incident) = started(&env).await;
    let mut runner = TestRunner::new(Runs::default());
    for _ in 0..CASES {
        let case = case().new_tree(&mut runner).expect("a case").current();
        agrees(&app, &incident, &case).await;
    }
    app.finish().await;
}

/// Keys of a kilobyte, in an order that is neither theirs nor its reverse. Each listing becomes several sorted runs.
async fn listings_that_are_larger_than_the_memory_for_sorting(env: Env) {
    const ROWS: u64 = 40_000;
    let (app, incident) = started(&env).await;
    let key = |n: u64| {
        format!(
            "{}{:08}",
            "deep/".repeat(200),
            n.wrapping_mul(2_654_435_761) % 100_000_007
        )
    };
    let row = |n: u64, size: u8| Row {
        key: key(n),
        size: Some(size),
        gone: n % 1_000 == 7,
        written: Some(1),
    };
    let case = Case {
        expected: (0..ROWS).map(|n| row(n, 1)).chain([row(5, 1)]).collect(),
        observed: (0..ROWS)
            .rev()
            .filter(|n| n % 997 != 3)
            .map(|n| row(n, if n % 991 == 2 { 2 } else { 1 }))
            .chain([row(ROWS + 1, 1), row(ROWS - 4, 1)])
            .collect(),
        window: None,
    };
    let path = created(&app, &incident, definition(None)).await;
    uploaded(&app, &path, "expected", csv_of(&case.expected, true))
        .await
        .expect(200);
    uploaded(&app, &path, "observed", csv_of(&case.observed, false))
        .await
        .expect(200);
    assert!(
        env.count("comparison_blocks WHERE sorted_run > 1") > 0,
        "the listings are small"
    );
    let counts = ran(&app, &path).await;
    let missing = (0..ROWS).filter(|n| n % 997 == 3 && n % 1_000 != 7).count() as u64;
    let gone = (0..ROWS).filter(|n| n % 1_000 == 7).count() as u64;
    let differs = (0..ROWS)
        .filter(|n| n % 991 == 2 && n % 997 != 3 && n % 1_000 != 7 && *n != 5 && *n != ROWS - 4)
        .count() as u64;
    let duplicate = 2;
    let of = |kind: &str| counts[kind].as_u64().expect("a number");
    assert_eq!(
        (
            of("missing"),
            of("gone"),
            of("differs"),
            of("duplicate"),
            of("unexpected")
        ),
        (missing, gone, differs, duplicate, 1),
        "{counts}"
    );
    assert_eq!(
        of("equal"),
        ROWS - missing - gone - differs - duplicate,
        "{counts}"
    );
    app.finish().await;
}
