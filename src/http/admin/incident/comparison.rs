//! One comparison: its listings, which are uploaded here, its run, the findings, and what they would make affected.
//!
//! Nothing becomes affected before the page has shown how many resources, accounts and people it would be.

use std::io::Read as _;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::comparisons::{FORMATS, state};
use super::head::Reader;
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::ComparisonId;
use crate::base::time::{Timestamp, time_zone};
use crate::comparison::{
    self, Apply, Comparison, Counts, Finding, Kind, Listing, Run, Side, State, Upload, UploadTarget,
};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::filled::{Filled, Wrong};
use crate::http::admin::params;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::upload::Upload as FileForm;
use crate::http::admin::view::{When, count, grouped, link, person_path, resource};
use crate::http::admin_page::Pages;
use crate::http::api::comparisons::{Preview, carry_out, preview};
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::listing::Encoding;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/comparisons/{comparison}", Role::Viewer, show)
        .does(&[
            "GET /api/v1/comparisons/{id}",
            "GET /api/v1/comparisons/{id}/findings",
            "GET /api/v1/comparisons/{id}/runs",
        ])
        .send(
            "/incidents/{id}/comparisons/{comparison}/listing",
            Role::Operator,
            upload,
        )
        .does(&[
            "PUT /api/v1/comparisons/{id}/expected",
            "PUT /api/v1/comparisons/{id}/observed",
        ])
        .send(
            "/incidents/{id}/comparisons/{comparison}/run",
            Role::Operator,
            run,
        )
        .does(&["POST /api/v1/comparisons/{id}/run"])
        .send(
            "/incidents/{id}/comparisons/{comparison}/apply",
            Role::Operator,
            apply,
        )
        .does(&["POST /api/v1/comparisons/{id}/apply"])
        .send(
            "/incidents/{id}/comparisons/{comparison}/discard",
            Role::Operator,
            discard,
        )
        .does(&["DELETE /api/v1/comparisons/{id}"]);
}

/// The number of findings on one page.
const ROWS: Limit = Limit(20);
/// How long the page waits for the end of a run.
const WAIT: Duration = Duration::from_secs(10);
/// The number of earlier runs that are shown.
const RUNS: i64 = 10;
/// The number of rejected lines that are shown.
const LINES: usize = 10;
/// How much of a file is read at once, in bytes.
const STEP: usize = 256 * 1024;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    kind: Option<Kind>,
    cursor: Option<String>,
    /// The chosen kinds, of which the page shows what they would make affected.
    missing: Option<String>,
    differs: Option<String>,
    unexpected: Option<String>,
    duplicate: Option<String>,
}

impl ShowParams {
    fn chosen(&self) -> Vec<Kind> {
        [
            (Kind::Missing, &self.missing),
            (Kind::Differs, &self.differs),
            (Kind::Unexpected, &self.unexpected),
            (Kind::Duplicate, &self.duplicate),
        ]
        .into_iter()
        .filter(|(_, given)| given.is_some())
        .map(|(kind, _)| kind)
        .collect()
    }
}

/// The kinds of what does not fit, each with the words for people.
const KINDS: [(Kind, &str); 5] = [
    (Kind::Missing, "missing"),
    (Kind::Differs, "different"),
    (Kind::Unexpected, "not expected"),
    (Kind::Duplicate, "duplicate key"),
    (Kind::Incomparable, "not comparable"),
];

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath((name, id)): InPath<(IncidentName, ComparisonId)>,
    given: params::Form<ShowParams>,
) -> Answer<HttpResponse> {
    answer(&app, &by, name, id, given.0, Vec::new()).await
}

/// Shows the page. `wrong` is why something was not done.
async fn answer(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    id: ComparisonId,
    given: ShowParams,
    mut wrong: Vec<String>,
) -> Answer<HttpResponse> {
    let after: Option<i64> = cursor(given.cursor.as_deref())?;
    let chosen = given.chosen();
    let mut reader = Reader::new(app);
    let (of, kind) = (id.clone(), given.kind);
    let (head, one, found, runs) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let one = comparison::get(conn, &of)?;
            if one.incident != head.incident.id {
                return Err(Error::NotFound(format!("comparison {of} of this incident")));
            }
            let found = comparison::findings(conn, &of, (None, kind), after, ROWS.probe())?;
            let runs = comparison::runs(conn, &of, None, RUNS)?;
            Ok((head, one, found, runs))
        })
        .await?;
    let mut shown_preview = None;
    if !chosen.is_empty() {
        let request = Apply {
            kinds: chosen.clone(),
            dry_run: true,
        };
        match preview(app, id.clone(), request).await {
            Ok(shown) => shown_preview = Some(shown),
            Err(crate::http::problem::Problem::Domain(error)) => wrong.extend(Wrong::of(error)?.rest()),
            Err(other) => return Err(other),
        }
    }
    let found = page(found, ROWS, Finding::place);
    let base = format!("{}/comparisons/{id}", head.base());
    let may = by.0.role.covers(Role::Operator);
    let local = head.local(by);
    let local = local.as_ref();
    let people = one.definition().is_about_people();
    let path = |kind: Option<&str>, cursor: Option<&str>| {
        format!("{}#findings", link(&base, &[("kind", kind), ("cursor", cursor)]))
    };
    let kind = given.kind.map(Kind::as_str);
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let running = one.state == State::Running;
    let data = json!({
        "base": base,
        "all": format!("{}/comparisons", head.base()),
        "name": one.name,
        "state": state(&one),
        "is_done": one.state == State::Done,
        "definition": definition(&one, local),
        "wrong": wrong,
        "sides": [
            side(Side::Expected, &one, may && !running, local),
            side(Side::Observed, &one, may && !running, local),
        ],
        "may_fetch": may && !running,
        "may_query": by.0.role.covers(Role::Admin),
        "may_run": may && !running && both_stored(&one),
        "running": running.then(|| progress(one.run.as_ref())),
        "counts": one.counts.map(|counts| counted(&counts, &base, kind)),
        "unknown": one.counts.filter(|counts| counts.unknown_resources > 0).map(|counts| {
            let n = usize::try_from(counts.unknown_resources).unwrap_or_default();
            match people {
                true => count(n, "finding is about a person who is", "findings are about people who are"),
                false => count(n, "finding is about a resource that is", "findings are about resources that are"),
            }
        }),
        "kind": kind,
        "rows": found.items.iter().map(|one| row(one, local)).collect::<Vec<_>>(),
        "first": given.cursor.is_some().then(|| path(kind, None)),
        "next": found.next_cursor.as_deref().map(|next| path(kind, Some(next))),
        "choices": Some(choices(one.counts.as_ref(), &chosen))
            .filter(|choices| may && one.state == State::Done && !choices.is_empty()),
        "preview": shown_preview.map(|shown| previewed(&shown, &chosen, &base, people)),
        "applied": (one.applied > 0).then(|| grouped(one.applied)),
        "runs": runs.iter().map(|run| past(run, local)).collect::<Vec<_>>(),
        "created": When::new(one.created_at, local),
        "by": one.created_by,
        "is_evidence": one.applied > 0,
        "discard": (may && !running && one.applied == 0).then(|| json!({
            "label": "Discard the comparison", "action": format!("{base}/discard"), "button": "Discard comparison",
            "text": "The rows of its listings and its findings are deleted. Nothing became affected through it, so they are no evidence.",
            "fields": [],
        })),
    });
    head.page(app, by, ("admin/incident/comparison", "Resources"), status, data)
}

fn both_stored(one: &Comparison) -> bool {
    let stored = |listing: &Option<Listing>| listing.as_ref().is_some_and(|listing| listing.stored);
    stored(&one.listings.expected) && stored(&one.listings.observed)
}

fn number(n: u64) -> String {
    grouped(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Returns what is compared, in rows of a label and a text.
fn definition(one: &Comparison, local: Option<&jiff::tz::TimeZone>) -> Vec<Value> {
    let compared: Vec<String> = one
        .compare
        .iter()
        .map(|column| format!("{} ({})", column.column, word(&json!(column.kind))))
        .collect();
    let target = &one.resource;
    let about = match (&target.person, &target.label) {
        (Some(column), _) => format!("people by the column {column}"),
        (None, Some(label)) => format!(
            "{} by the label {label}, from the column {}",
            target.type_.as_deref().unwrap_or_default(),
            one.definition().id_column()
        ),
        (None, None) => format!(
            "{} by the column {}",
            target.type_.as_deref().unwrap_or_default(),
            one.definition().id_column()
        ),
    };
    let mut rows = vec![
        json!({"label": "Key", "text": one.key}),
        json!({"label": "Compared", "text": match compared.is_empty() {
            true => "only the keys".to_owned(),
            false => compared.join(", "),
        }}),
        json!({"label": "About", "text": about}),
    ];
    if let Some(window) = one.window {
        let end = |at: Option<Timestamp>, none: &str| {
            at.map_or_else(
                || none.to_owned(),
                |at| at.short(local.unwrap_or(&jiff::tz::TimeZone::UTC)),
            )
        };
        let text = format!(
            "from {} to before {}",
            end(window.from, "the beginning"),
            end(window.to, "the end")
        );
        rows.push(json!({"label": "Written", "text": text}));
    }
    if one.tolerance_seconds > 0.0 {
        rows.push(json!({"label": "Times may differ by", "text": format!("{} s", one.tolerance_seconds)}));
    }
    rows
}

/// Returns the word of a value that is stored as one.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn side(side: Side, one: &Comparison, may: bool, local: Option<&jiff::tz::TimeZone>) -> Value {
    let (label, layout, listing) = match side {
        Side::Expected => (
            "Expected: what should be there",
            &one.expected,
            &one.listings.expected,
        ),
        Side::Observed => ("Observed: what is there", &one.observed, &one.listings.observed),
    };
    let format = json!(layout.format);
    let known = FORMATS.iter().find(|(value, _)| *value == word(&format));
    json!({
        "side": side,
        "label": label,
        "format": known.map_or(word(&format), |(_, label)| label),
        "columns": layout.columns.as_ref().map(|columns| columns.join(", ")),
        "files": layout.manifest.as_ref().map(|manifest| count(manifest.files.len(), "file", "files")),
        "may": may,
        "listing": listing.as_ref().map(|listing| json!({
            "rows": grouped(listing.rows),
            "rejected": (listing.rejected > 0).then(|| {
                count(usize::try_from(listing.rejected).unwrap_or_default(), "line was not read", "lines were not read")
            }),
            "errors": listing.errors.iter().take(LINES).collect::<Vec<_>>(),
            "sha256": listing.sha256,
            "observed": When::new(listing.observed_at, local),
            "by": listing.uploaded_by,
            "deleted": !listing.stored,
        })),
    })
}

fn progress(run: Option<&Run>) -> Value {
    let Some(run) = run else { return Value::Null };
    json!({"done": grouped(run.rows_done), "all": grouped(run.rows)})
}

fn counted(counts: &Counts, base: &str, shown: Option<&str>) -> Value {
    let kinds = KINDS.iter().map(|(kind, label)| (*kind, *label)).chain([
        (Kind::Gone, "marked as gone"),
        (Kind::OutsideWindow, "written outside the window"),
    ]);
    let kinds: Vec<Value> = kinds
        .filter(|(kind, _)| counts.of(*kind) > 0)
        .map(|(kind, label)| {
            let path = format!("{}#findings", link(base, &[("kind", Some(kind.as_str()))]));
            json!({"label": label, "n": number(counts.of(kind)), "path": path, "current": shown == Some(kind.as_str())})
        })
        .collect();
    json!({
        "expected": number(counts.expected),
        "observed": number(counts.observed),
        "equal": number(counts.equal),
        "kinds": kinds,
    })
}

fn row(finding: &Finding, local: Option<&jiff::tz::TimeZone>) -> Value {
    let label = KINDS.iter().find(|(kind, _)| *kind == finding.kind);
    json!({
        "kind": label.map_or(match finding.kind {
            Kind::Gone => "marked as gone",
            _ => "outside the window",
        }, |(_, label)| label),
        "key": finding.key,
        "resource": finding.resource.as_ref().map(|at| resource(at, None)),
        "person": finding.person.as_ref().map(|id| json!({"id": id, "path": person_path(id)})),
        "known": finding.known,
        "column": finding.column,
        "expected": finding.expected,
        "observed": finding.observed,
        "written": When::maybe(finding.written_at, local),
    })
}

fn choices(counts: Option<&Counts>, chosen: &[Kind]) -> Vec<Value> {
    let Some(counts) = counts else { return Vec::new() };
    let there = KINDS
        .iter()
        .filter(|(kind, _)| kind.applied().is_some() && counts.of(*kind) > 0);
    there
        .map(|(kind, label)| {
            let by_default = chosen.is_empty() && matches!(kind, Kind::Missing | Kind::Differs);
            json!({
                "name": kind, "label": format!("{} {label}", number(counts.of(*kind))),
                "checked": by_default || chosen.contains(kind),
            })
        })
        .collect()
}

fn previewed(shown: &Preview, chosen: &[Kind], base: &str, people: bool) -> Value {
    let (one, many) = match people {
        true => ("person", "people"),
        false => ("resource", "resources"),
    };
    let things = |n: i64| count(usize::try_from(n).unwrap_or_default(), one, many);
    let applied = &shown.applied;
    let kinds: Vec<&str> = chosen.iter().map(|kind| kind.as_str()).collect();
    json!({
        "added": things(applied.added),
        "already": (applied.already > 0).then(|| things(applied.already)),
        "unknown": (applied.unknown > 0)
            .then(|| count(usize::try_from(applied.unknown).unwrap_or_default(), "finding", "findings")),
        "accounts": (!people).then(|| count(shown.accounts, "account", "accounts")),
        "people": (!people).then(|| count(shown.people, "person", "people")),
        "any": applied.added + applied.already > 0,
        "action": format!("{base}/apply"),
        "kinds": kinds.join(" "),
        "button": match applied.added {
            0 => format!("Give {} this reason", things(applied.already)),
            n => format!("Add {}", things(n)),
        },
    })
}

fn past(run: &Run, local: Option<&jiff::tz::TimeZone>) -> Value {
    let found: Vec<String> = KINDS
        .iter()
        .filter(|(kind, _)| run.counts.of(*kind) > 0)
        .map(|(kind, label)| format!("{} {label}", number(run.counts.of(*kind))))
        .collect();
    json!({
        "number": run.number,
        "at": When::new(run.requested_at, local),
        "by": run.requested_by,
        "equal": number(run.counts.equal),
        "found": match (run.finished_at, found.is_empty()) {
            (None, _) => "running".to_owned(),
            (Some(_), true) => "none".to_owned(),
            (Some(_), false) => found.join(", "),
        },
        "inputs": run.inputs,
    })
}

/// Receives a listing as a file of a form.
async fn upload(
    app: web::Data<App>,
    InPath((name, id)): InPath<(IncidentName, ComparisonId)>,
    mut sent: FileForm,
) -> Answer<HttpResponse> {
    let side = Side::parse(&sent.text("side")?).map_err(|detail| Error::invalid("/side", detail))?;
    let observed = sent.text("observed_at")?;
    let has_file = sent.has("file");
    let (by, file) = sent.content("file")?;
    let stored = match has_file {
        false => Err(Error::invalid("", "choose a file")),
        true => store(&app, &by, (id.clone(), side, observed), file).await,
    };
    app.comparisons.notify_one();
    match stored {
        Ok(uploaded) => {
            let mut text = format!(
                "The {side} listing is uploaded: {}.",
                count(usize::try_from(uploaded.rows).unwrap_or_default(), "row", "rows")
            );
            if uploaded.rejected > 0 {
                let n = usize::try_from(uploaded.rejected).unwrap_or_default();
                text.push_str(&format!(" {} not read.", count(n, "line was", "lines were")));
            }
            Ok(done(&app, &path(&app, &name, &id).await?, &text))
        }
        Err(error) => {
            let mut wrong = Wrong::of(error)?;
            let mut reasons = wrong.at("?observed_at");
            reasons.extend(wrong.rest());
            answer(&app, &by, name, id, ShowParams::default(), reasons).await
        }
    }
}

async fn store(
    app: &App,
    by: &SignedIn,
    (comparison, side, observed): (ComparisonId, Side, String),
    mut file: std::io::Take<std::fs::File>,
) -> Result<comparison::Uploaded> {
    let observed_at = match observed.is_empty() {
        true => None,
        false => {
            let zone = by.zone().and_then(|name| time_zone(name).ok());
            let zone = zone.unwrap_or(jiff::tz::TimeZone::UTC);
            let read = Timestamp::on_clock(&observed, &zone);
            Some(read.map_err(|detail| Error::invalid("?observed_at", detail))?)
        }
    };
    let (mut file, mut chunk) = web::block(move || read(&mut file).map(|chunk| (file, chunk)))
        .await
        .map_err(Error::internal)??;
    let target = UploadTarget {
        comparison,
        side,
        // A browser does not say that a file is compressed. The reader recognises it by its first bytes.
        encoding: Encoding::Identity,
        observed_at,
    };
    let mut upload = Upload::begin(&app.db, &by.0.actor(), target).await?;
    while !chunk.is_empty() {
        upload.push(&chunk).await?;
        (file, chunk) = web::block(move || read(&mut file).map(|chunk| (file, chunk)))
            .await
            .map_err(Error::internal)??;
    }
    upload.finish().await
}

/// Reads the next part of a file. It is empty at the end.
fn read(file: &mut std::io::Take<std::fs::File>) -> Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(STEP);
    file.by_ref()
        .take(STEP as u64)
        .read_to_end(&mut chunk)
        .map_err(Error::internal)?;
    Ok(chunk)
}

/// Returns the path of the page of a comparison.
async fn path(app: &App, name: &IncidentName, id: &ComparisonId) -> Answer<String> {
    let name = name.clone();
    let incident = app
        .db
        .read(move |conn| super::super::incident_forms::find(conn, &name))
        .await?;
    Ok(format!("/admin/incidents/{}/comparisons/{id}", incident.number))
}

async fn run(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, id)): InPath<(IncidentName, ComparisonId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, fields } = sent;
    fields.finish()?;
    match carry_out(&app, &actor, &id, WAIT).await {
        Ok(one) => {
            let text = match (one.state, one.counts) {
                (State::Running, _) | (_, None) => "The listings are being compared.".to_owned(),
                (_, Some(counts)) => format!(
                    "The listings are compared: {} equal, {} missing, {} different.",
                    number(counts.equal),
                    number(counts.missing),
                    number(counts.differs)
                ),
            };
            Ok(done(&app, &path(&app, &name, &id).await?, &text))
        }
        Err(crate::http::problem::Problem::Domain(error)) => {
            let reasons = Wrong::of(error)?.rest();
            answer(&app, &by, name, id, ShowParams::default(), reasons).await
        }
        Err(other) => Err(other),
    }
}

async fn apply(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, id)): InPath<(IncidentName, ComparisonId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let words = fields.take("kinds");
    fields.finish()?;
    let kinds: std::result::Result<Vec<Kind>, String> = words.split(' ').map(Kind::parse).collect();
    let request = Apply {
        kinds: kinds.map_err(|detail| Error::invalid("/kinds", detail))?,
        dry_run: false,
    };
    let of = id.clone();
    let applied = app
        .db
        .write(&actor, move |tx| comparison::apply(tx, &of, &request))
        .await;
    match applied {
        Ok(applied) => {
            let mut text = format!("{} became affected.", grouped(applied.added));
            if applied.already > 0 {
                text.push_str(&format!(
                    " {} affected before.",
                    match applied.already {
                        1 => "1 was".to_owned(),
                        n => format!("{} were", grouped(n)),
                    }
                ));
            }
            if applied.unknown > 0 {
                text.push_str(&format!(" {} not in the directory.", grouped(applied.unknown)));
            }
            Ok(done(&app, &path(&app, &name, &id).await?, &text))
        }
        Err(error) => {
            let reasons = Wrong::of(error)?.rest();
            answer(&app, &by, name, id, ShowParams::default(), reasons).await
        }
    }
}

async fn discard(
    app: web::Data<App>,
    sent: Filled,
    InPath((name, id)): InPath<(IncidentName, ComparisonId)>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, fields } = sent;
    fields.finish()?;
    let of = id.clone();
    let discarded = app.db.write(&actor, move |tx| comparison::discard(tx, &of)).await;
    match discarded {
        Ok(()) => {
            app.comparisons.notify_one();
            let path = path(&app, &name, &id).await?;
            let list = path.rsplit_once('/').map_or(path.as_str(), |(list, _)| list);
            Ok(done(&app, list, "The comparison is discarded."))
        }
        Err(error) => {
            let reasons = Wrong::of(error)?.rest();
            answer(&app, &by, name, id, ShowParams::default(), reasons).await
        }
    }
}
