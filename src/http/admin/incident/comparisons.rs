//! The comparisons of an incident: their list, and the form that creates one. [`super::comparison`] shows one of them.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::head::Reader;
use crate::auth::Role;
use crate::comparison::{self, Comparison, Kind, NewComparison, State};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::Filled;
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::incident_forms::find;
use crate::http::admin::notation::{read_optional_duration, write_duration};
use crate::http::admin::params;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, grouped, link};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::listing::Manifest;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/comparisons", Role::Viewer, show)
        .does(&["GET /api/v1/incidents/{id}/comparisons"])
        .send("/incidents/{id}/comparisons", Role::Operator, create)
        .does(&["POST /api/v1/incidents/{id}/comparisons"])
        .keeps_text("Create the comparison");
}

/// The number of comparisons on one page.
const ROWS: Limit = Limit(20);

/// The formats of listings.
pub(super) const FORMATS: &[(&str, &str)] = &[
    ("tsv", "Table, separated by tabs (TSV)"),
    ("csv", "Table, separated by commas (CSV)"),
    ("ndjson", "Lines of JSON (NDJSON)"),
    ("s3_inventory", "S3 Inventory (CSV)"),
    ("rclone_lsjson", "rclone lsjson"),
    ("rclone_check", "rclone check --combined"),
    ("sha256sum", "sha256sum"),
];
const NO_FORMAT: &str = "choose one of the formats";
const COLUMNS: &str =
    "The names of the columns, separated by commas. Leave it empty if the first line has them.";

const NEW: &[Field] = &[
    Field::text("name", "Name", "Such as “Stored files against the catalogue”."),
    Field::choice(
        "expected.format",
        "Format of the expected listing",
        "The listing of what should be there.",
        FORMATS,
        NO_FORMAT,
    ),
    Field::own("expected.columns", "Its columns", COLUMNS, columns, joined)
        .one_line()
        .beside(),
    Field::own(
        "expected.gone",
        "Rows that are gone",
        "A column and the values of rows that were deleted, such as gone=true. They are not compared.",
        gone,
        gone_text,
    )
    .one_line(),
    Field::text(
        "expected.written_at",
        "Column with the time of writing",
        "Needed for a time window.",
    )
    .optional()
    .beside(),
    Field::own(
        "expected.mapping",
        "Other names of its columns",
        MAPPING,
        mapping,
        mapping_text,
    )
    .one_line(),
    Field::own(
        "expected.manifest",
        "Its manifest",
        MANIFEST,
        manifest,
        manifest_text,
    ),
    Field::choice(
        "observed.format",
        "Format of the observed listing",
        "The listing of what is there.",
        FORMATS,
        NO_FORMAT,
    ),
    Field::own("observed.columns", "Its columns", COLUMNS, columns, joined)
        .one_line()
        .beside(),
    Field::own(
        "observed.mapping",
        "Other names of its columns",
        MAPPING,
        mapping,
        mapping_text,
    )
    .one_line(),
    Field::own(
        "observed.manifest",
        "Its manifest",
        MANIFEST,
        manifest,
        manifest_text,
    ),
    Field::text(
        "key",
        "Key column",
        "Rows of both listings with the same value in this column belong together.",
    ),
    Field::own(
        "compare",
        "Compared columns",
        "Separated by commas, such as size. If it is empty, only the keys are compared.",
        list,
        joined,
    )
    .one_line()
    .beside(),
    Field::text(
        "resource.type",
        "Type of the resources",
        "Such as file. Leave it empty for listings of people.",
    )
    .optional(),
    Field::text(
        "resource.id",
        "Column with their ID",
        "If it is empty, it is the key column.",
    )
    .optional()
    .beside(),
    Field::text(
        "resource.label",
        "Or a label",
        "If the column contains the value of a label and not an ID, the name of the label.",
    )
    .optional(),
    Field::text(
        "resource.person",
        "Or a column with the ID of a person",
        "For listings of people, such as who should have access.",
    )
    .optional()
    .beside(),
    Field::clock(
        "window.from",
        "Written from",
        "Compares only rows that were written in this time.",
    ),
    Field::clock("window.to", "Written before", "").beside(),
    Field::zone(),
    Field::own(
        "tolerance",
        "Times may differ by",
        "Such as 2 seconds. If it is empty, times must be equal.",
        read_optional_duration,
        write_duration,
    )
    .one_line(),
];

const MAPPING: &str = "If this listing calls columns otherwise than the key and the compared columns below, such as identifier=Key, size=Size.";

const MANIFEST: &str = "For an S3 Inventory: the content of its manifest.json. The listing is then all files of the manifest, one after the other as they are \
     stored, in the order of the manifest.";

/// Reads the `manifest.json` of an S3 Inventory. Fields that are not needed are left out.
fn manifest(text: &str) -> std::result::Result<Value, Vec<String>> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let manifest = Manifest::parse(text.as_bytes()).map_err(|detail| vec![detail])?;
    Ok(json!(manifest))
}

fn manifest_text(stored: &Value) -> String {
    match stored {
        Value::Null => String::new(),
        manifest => manifest.to_string(),
    }
}

/// Reads pairs of names, such as `identifier=Key, size=Size`.
fn mapping(text: &str) -> std::result::Result<Value, Vec<String>> {
    let mut names = serde_json::Map::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((ours, theirs)) if !ours.trim().is_empty() && !theirs.trim().is_empty() => {
                names.insert(ours.trim().to_owned(), json!(theirs.trim()));
            }
            _ => {
                return Err(vec![format!(
                    "'{pair}' must be two names with an equals sign, such as size=Size"
                )]);
            }
        }
    }
    Ok(Value::Object(names))
}

fn mapping_text(stored: &Value) -> String {
    let names = stored.as_object().into_iter().flatten();
    names
        .map(|(ours, theirs)| format!("{ours}={}", theirs.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Reads names that are separated by commas. Nothing means that the first line has them.
fn columns(text: &str) -> std::result::Result<Value, Vec<String>> {
    match text.is_empty() {
        true => Ok(Value::Null),
        false => list(text),
    }
}

fn list(text: &str) -> std::result::Result<Value, Vec<String>> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(|name| json!(name)).collect())
}

fn joined(stored: &Value) -> String {
    let names = stored.as_array().map(Vec::as_slice).unwrap_or_default();
    names
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Reads a column and its values, such as `gone=true,yes`.
fn gone(text: &str) -> std::result::Result<Value, Vec<String>> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    match text.split_once('=') {
        Some((column, values)) if !column.trim().is_empty() => {
            Ok(json!({"column": column.trim(), "values": list(values)?}))
        }
        _ => Err(vec![
            "must be a column, an equals sign and values, such as gone=true".to_owned(),
        ]),
    }
}

fn gone_text(stored: &Value) -> String {
    match stored["column"].as_str() {
        Some(column) => format!("{column}={}", joined(&stored["values"])),
        None => String::new(),
    }
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    given: params::Form<params::Paged>,
) -> Answer<HttpResponse> {
    let form = Form::new(NEW).zoned(&by, None).within("new");
    answer(&app, &by, name, given.0, form).await
}

async fn answer(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    given: params::Paged,
    form: Form,
) -> Answer<HttpResponse> {
    let before: Option<String> = cursor(given.cursor.as_deref())?;
    let mut reader = Reader::new(app);
    let (head, rows) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let rows = comparison::list(conn, &head.incident.id, before.as_deref(), ROWS.probe())?;
            Ok((head, rows))
        })
        .await?;
    let rows = page(rows, ROWS, |one| one.id.to_string());
    let base = format!("{}/comparisons", head.base());
    let status = form.status();
    let may = by.0.role.covers(Role::Operator);
    let open = form.is_wrong() || rows.items.is_empty();
    let mut shown = form.shown(&Use {
        action: base.clone(),
        button: "Create comparison",
        within: ("", String::new()),
    });
    shown["back"] = Value::Null;
    let local = head.local(by);
    let path = |cursor: Option<&str>| link(&base, &[("cursor", cursor)]);
    let data = json!({
        "base": base,
        "resources": format!("{}/resources", head.base()),
        "rows": rows.items.iter().map(|one| row(one, &base, local.as_ref())).collect::<Vec<_>>(),
        "first": given.cursor.is_some().then(|| path(None)),
        "next": rows.next_cursor.as_deref().map(|next| path(Some(next))),
        "form": may.then_some(shown),
        "form_open": open,
    });
    head.page(app, by, ("admin/incident/comparisons", "Resources"), status, data)
}

fn row(one: &Comparison, base: &str, local: Option<&jiff::tz::TimeZone>) -> Value {
    json!({
        "name": one.name,
        "path": format!("{base}/{}", one.id),
        "state": state(one),
        "found": one.counts.map(|counts| {
            let found: u64 = [Kind::Missing, Kind::Differs, Kind::Unexpected, Kind::Duplicate, Kind::Incomparable]
                .iter()
                .map(|kind| counts.of(*kind))
                .sum();
            grouped(i64::try_from(found).unwrap_or(i64::MAX))
        }),
        "applied": (one.applied > 0).then(|| grouped(one.applied)),
        "created": When::new(one.created_at, local),
        "by": one.created_by,
    })
}

/// Returns the state of a comparison for people: what is missing, or what is done.
pub(super) fn state(one: &Comparison) -> &'static str {
    match (one.state, &one.listings.expected, &one.listings.observed) {
        (State::Running, ..) => "running",
        (State::Done, ..) => "done",
        (State::Waiting, Some(_), Some(_)) => "ready to run",
        (State::Waiting, Some(_), None) => "observed listing missing",
        (State::Waiting, None, Some(_)) => "expected listing missing",
        (State::Waiting, None, None) => "listings missing",
    }
}

async fn create(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(NEW, sent.fields)?.within("new"));
    let target = name.clone();
    let incident = app.db.read(move |conn| find(conn, &target)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: NewComparison| {
        app.db
            .write(&actor, move |tx| comparison::create(tx, &id, &new))
            .await
    };
    let check = async |new: NewComparison| {
        app.db
            .read(move |conn| comparison::Definition::check(conn, &new).map(drop))
            .await
    };
    match form.save_checked(app.clock().now(), store, check).await? {
        Saved::Done(created) => {
            let path = format!("/admin/incidents/{}/comparisons/{}", incident.number, created.id);
            Ok(done(
                &app,
                &path,
                "The comparison is created. Upload both listings.",
            ))
        }
        Saved::Again(form) => answer(&app, &by, name, params::Paged::default(), form).await,
    }
}
