//! The command `candor compare`: the same as a comparison by the API, for files on this machine, with a progress bar.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use candor::audit::Actor;
use candor::base::error::{Error, misfit};
use candor::base::id::{ComparisonId, IncidentId};
use candor::comparison::{
    self, Applied, Apply, Comparison, Comparisons, Finding, Kind, NewComparison, Side, State, Upload,
    UploadTarget, Uploaded, fetch,
};
use candor::config::Config;
use candor::db::Db;
use candor::egress::client::Client;
use candor::incident;
use candor::listing::{self, Encoding, Manifest};
use candor::work::{Supervisor, Wake, WorkStats};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::console;
use candor::base::count::counted;

/// The number of findings that are printed.
const SHOWN: i64 = 20;
/// The largest size of a manifest, in bytes.
const MAX_MANIFEST: u64 = 64 * 1024 * 1024;

/// The arguments of the command.
#[derive(Args)]
pub struct Arguments {
    /// The number or the ID of the incident. A new comparison is created for it.
    #[arg(long, required_unless_present = "comparison", conflicts_with = "comparison")]
    incident: Option<String>,
    /// The ID of a comparison of earlier. It gets the listings that are given, and is run again: after findings were applied,
    /// that is the evidence of what is recovered.
    #[arg(long)]
    comparison: Option<String>,
    /// The listing of what should be there: a file, - for the standard input, or an http or https URL.
    #[arg(long, required_unless_present = "comparison")]
    expected: Option<String>,
    /// The listing of what is there.
    #[arg(long, required_unless_present = "comparison")]
    observed: Option<String>,
    #[command(flatten)]
    new: New,
    /// Makes what was found affected: kinds of findings, separated by commas, such as missing,differs.
    #[arg(long, value_delimiter = ',', value_parser = Kind::parse)]
    apply: Vec<Kind>,
    /// Prints the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a new comparison compares.
#[derive(Args)]
struct New {
    /// The name of the comparison.
    #[arg(long, conflicts_with = "comparison")]
    name: Option<String>,
    /// The column that identifies a row.
    #[arg(long, required_unless_present = "comparison", conflicts_with = "comparison")]
    key: Option<String>,
    /// The compared columns, separated by commas, such as size,etag. COLUMN:KIND says the kind: size, checksum, time or text.
    #[arg(long, value_delimiter = ',', conflicts_with = "comparison")]
    compare: Vec<String>,
    /// The type of the resources that the listings are about.
    #[arg(long, conflicts_with = "comparison")]
    resource_type: Option<String>,
    /// The column with the ID of the resource, or with the value of the label. The default is the key.
    #[arg(long, conflicts_with = "comparison")]
    resource_id: Option<String>,
    /// The label of resources whose value is in that column.
    #[arg(long, conflicts_with = "comparison")]
    resource_label: Option<String>,
    /// The column with the ID of a person, for listings of people.
    #[arg(long, conflicts_with_all = ["comparison", "resource_type", "resource_id", "resource_label"])]
    person: Option<String>,
    /// The format of both listings: tsv, csv, ndjson, s3_inventory, rclone_lsjson, rclone_check or sha256sum. Without it, it
    /// follows from the names of the files.
    #[arg(long, conflicts_with = "comparison")]
    format: Option<String>,
    /// The format of the expected listing.
    #[arg(long, conflicts_with = "comparison")]
    expected_format: Option<String>,
    /// The format of the observed listing.
    #[arg(long, conflicts_with = "comparison")]
    observed_format: Option<String>,
    /// The names of the columns of both listings, separated by commas, if they have no line with names.
    #[arg(long, conflicts_with = "comparison")]
    columns: Option<String>,
    /// The names of the columns of the expected listing.
    #[arg(long, conflicts_with = "comparison")]
    expected_columns: Option<String>,
    /// The names of the columns of the observed listing.
    #[arg(long, conflicts_with = "comparison")]
    observed_columns: Option<String>,
    /// More about the expected listing, as the JSON object that the API takes, such as {"mapping": {"size": "bytes"}}.
    #[arg(long, conflicts_with = "comparison")]
    expected_layout: Option<String>,
    /// More about the observed listing.
    #[arg(long, conflicts_with = "comparison")]
    observed_layout: Option<String>,
    /// COLUMN=VALUE: expected rows with this value were deleted. It can be given several times for one column.
    #[arg(long, conflicts_with = "comparison")]
    gone: Vec<String>,
    /// The column of the expected listing with the time at which an entry was written.
    #[arg(long, conflicts_with = "comparison")]
    written_at: Option<String>,
    /// Compares only rows that were written at or after this time, in RFC 3339 with an offset.
    #[arg(long, conflicts_with = "comparison")]
    window_from: Option<String>,
    /// Compares only rows that were written before this time.
    #[arg(long, conflicts_with = "comparison")]
    window_to: Option<String>,
    /// How much times may differ and still be equal, such as PT2S.
    #[arg(long, conflicts_with = "comparison")]
    tolerance: Option<String>,
}

/// What the command did.
#[derive(Default)]
struct Done {
    expected: Option<Uploaded>,
    observed: Option<Uploaded>,
    applied: Option<Applied>,
}

/// Runs the command.
///
/// # Errors
/// Why it failed, in one line. Details were written to the standard error.
pub async fn run(db: &Db, config: &Config, by: &Actor, arguments: Arguments) -> Result<ExitCode, String> {
    match carry_out(db, config, by, &arguments).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Error::Invalid { detail, errors })
            if errors.len() > 1 || errors.iter().any(|e| e.line.is_some()) =>
        {
            for error in &errors {
                let place = match (&error.pointer, error.line) {
                    (_, Some(line)) => format!("line {line}: "),
                    (Some(pointer), None) => format!("{pointer}: "),
                    (None, None) => String::new(),
                };
                console::note(&format!("{place}{}", error.detail));
            }
            Err(detail)
        }
        Err(error) => Err(error.chain()),
    }
}

async fn carry_out(db: &Db, config: &Config, by: &Actor, arguments: &Arguments) -> Result<(), Error> {
    let files = [
        (Side::Expected, arguments.expected.as_deref()),
        (Side::Observed, arguments.observed.as_deref()),
    ];
    // What cannot be opened leaves no comparison behind.
    for (side, from) in files {
        let local = from.filter(|from| !is_url(from) && *from != "-");
        if let Some(Err(error)) = local.map(File::open) {
            let reason = format!("{}: {error}", from.unwrap_or_default());
            return Err(Error::invalid(format!("--{side}"), reason));
        }
    }
    let client = Client::new(config.listing_allow)?;
    let id = match &arguments.comparison {
        Some(id) => ComparisonId::parse(id)
            .map_err(|_| Error::invalid("--comparison", format!("'{id}' is not the ID of a comparison")))?,
        None => create(db, &client, by, arguments).await?,
    };
    let mut done = Done::default();
    for (side, from) in files {
        let Some(from) = from else { continue };
        let uploaded = take(db, &client, by, (&id, side), from).await?;
        report(arguments, side, &uploaded)?;
        match side {
            Side::Expected => done.expected = Some(uploaded),
            Side::Observed => done.observed = Some(uploaded),
        }
    }
    let comparison = compare(db, by, &id).await?;
    let of = id.clone();
    let findings = db
        .read(move |conn| comparison::findings(conn, &of, (None, None), None, SHOWN))
        .await?;
    if !arguments.apply.is_empty() {
        let (of, kinds) = (id.clone(), arguments.apply.clone());
        let request = Apply {
            kinds,
            dry_run: false,
        };
        done.applied = Some(
            db.write(by, move |tx| comparison::apply(tx, &of, &request))
                .await?,
        );
    }
    if arguments.json {
        let shown = json!({
            "comparison": comparison,
            "listings": {"expected": done.expected, "observed": done.observed},
            "findings": findings,
            "applied": done.applied,
        });
        return console::answer(&shown.to_string()).map_err(Error::internal);
    }
    print(&comparison, &findings, done.applied).map_err(Error::internal)
}

/// Creates the comparison.
async fn create(db: &Db, client: &Client, by: &Actor, arguments: &Arguments) -> Result<ComparisonId, Error> {
    let name = arguments.incident.clone().unwrap_or_default();
    let incident = db.read(move |conn| incident_of(conn, &name)).await?;
    let new = &arguments.new;
    let expected = layout(
        client,
        new,
        (Side::Expected, arguments.expected.as_deref().unwrap_or_default()),
    )
    .await?;
    let observed = layout(
        client,
        new,
        (Side::Observed, arguments.observed.as_deref().unwrap_or_default()),
    )
    .await?;
    let mut body = json!({
        "name": new.name.as_deref().unwrap_or("candor compare"),
        "resource": without_null(json!({
            "type": new.resource_type,
            "id": new.resource_id,
            "label": new.resource_label,
            "person": new.person,
        })),
        "key": new.key,
        "compare": new.compare.iter().map(|column| compared(column)).collect::<Vec<_>>(),
        "expected": expected,
        "observed": observed,
        "tolerance": new.tolerance,
    });
    if new.window_from.is_some() || new.window_to.is_some() {
        body["window"] = without_null(json!({"from": new.window_from, "to": new.window_to}));
    }
    let new: NewComparison = serde_path_to_error::deserialize(&body).map_err(|error| misfit(&error))?;
    let created = db
        .write(by, move |tx| comparison::create(tx, &incident, &new))
        .await?;
    Ok(created.id)
}

fn incident_of(conn: &mut candor::db::Conn, name: &str) -> Result<IncidentId, Error> {
    match (name.parse::<i64>(), IncidentId::parse(name)) {
        (Ok(number), _) => Ok(incident::by_number(conn, number)?.id),
        (_, Ok(id)) => Ok(incident::get(conn, &id)?.id),
        _ => Err(Error::invalid(
            "--incident",
            format!("'{name}' is neither the number nor the ID of an incident"),
        )),
    }
}

/// Returns a compared column: its name, or its name and kind.
fn compared(column: &str) -> Value {
    match column.rsplit_once(':') {
        Some((name, kind @ ("size" | "checksum" | "time" | "text"))) => json!({"column": name, "kind": kind}),
        _ => Value::from(column),
    }
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

/// Returns the layout of a listing, as the API takes it.
async fn layout(client: &Client, new: &New, (side, from): (Side, &str)) -> Result<Value, Error> {
    let (format, columns, more) = match side {
        Side::Expected => (&new.expected_format, &new.expected_columns, &new.expected_layout),
        Side::Observed => (&new.observed_format, &new.observed_columns, &new.observed_layout),
    };
    let mut fields: Map<String, Value> = match more {
        None => Map::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Error::invalid(
                format!("--{side}-layout"),
                format!("is not a JSON object: {error}"),
            )
        })?,
    };
    let format = format.as_deref().or(new.format.as_deref()).map(str::to_owned);
    if !fields.contains_key("format") {
        let format = match format {
            Some(format) => format,
            None => format_of(from).map(str::to_owned).ok_or_else(|| {
                let detail =
                    format!("the name '{from}' does not say the format; give --format or --{side}-format");
                Error::invalid(format!("--{side}"), detail)
            })?,
        };
        fields.insert("format".to_owned(), Value::from(format));
    }
    if let Some(columns) = columns.as_deref().or(new.columns.as_deref()) {
        fields.insert("columns".to_owned(), columns.split(',').collect());
    }
    if side == Side::Expected {
        if let Some(column) = &new.written_at {
            fields.insert("written_at".to_owned(), Value::from(column.as_str()));
        }
        if let Some(gone) = gone(&new.gone)? {
            fields.insert("gone".to_owned(), gone);
        }
    }
    if fields["format"] == "s3_inventory" && is_manifest(from) && !fields.contains_key("manifest") {
        let manifest = manifest(client, from)
            .await
            .map_err(|reason| Error::invalid(format!("--{side}"), reason))?;
        fields.insert("manifest".to_owned(), serde_json::to_value(manifest)?);
    }
    Ok(Value::Object(fields))
}

fn gone(given: &[String]) -> Result<Option<Value>, Error> {
    let mut of: Option<(&str, Vec<&str>)> = None;
    for text in given {
        let (column, value) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid("--gone", "must be COLUMN=VALUE, such as gone=true"))?;
        match &mut of {
            None => of = Some((column, vec![value])),
            Some((same, values)) if *same == column => values.push(value),
            Some(_) => {
                return Err(Error::invalid(
                    "--gone",
                    "names two columns; only one is possible",
                ));
            }
        }
    }
    Ok(of.map(|(column, values)| json!({"column": column, "values": values})))
}

/// Returns the format that the name of a file says.
fn format_of(name: &str) -> Option<&'static str> {
    if is_manifest(name) {
        return Some("s3_inventory");
    }
    let name = name.split(['?', '#']).next().unwrap_or(name);
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let name = [".gz", ".zst", ".zstd"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(&name);
    match name.rsplit_once('.').map_or(name, |(_, extension)| extension) {
        "tsv" | "tab" => Some("tsv"),
        "csv" => Some("csv"),
        "ndjson" | "jsonl" => Some("ndjson"),
        "json" => Some("rclone_lsjson"),
        "sha256" | "sha256sum" | "sha256sums" | "sha1sums" | "md5sums" | "sha512sums" | "md5" | "sha1"
        | "sha512" => Some("sha256sum"),
        _ => None,
    }
}

/// Returns whether a file is the manifest of an inventory.
fn is_manifest(name: &str) -> bool {
    let name = name.split(['?', '#']).next().unwrap_or(name);
    name.rsplit('/').next() == Some("manifest.json")
}

fn is_url(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

async fn manifest(client: &Client, from: &str) -> Result<Manifest, String> {
    let text = if is_url(from) {
        let bounds = candor::egress::client::DownloadBounds {
            idle: Duration::from_secs(60),
            whole: Duration::from_secs(600),
            bytes: MAX_MANIFEST,
        };
        let mut file = client
            .download(from, bounds)
            .await
            .map_err(|reason| match reason {
                candor::egress::client::Unanswered::Refused(reason)
                | candor::egress::client::Unanswered::Temporary(reason)
                | candor::egress::client::Unanswered::Lost(reason) => reason,
            })?;
        let mut text = Vec::new();
        while let Some(part) = file.body.next().await? {
            text.extend_from_slice(&part);
        }
        text
    } else {
        let about = |error: io::Error| format!("{from}: {error}");
        let mut text = Vec::new();
        let file = File::open(from).map_err(about)?;
        file.take(MAX_MANIFEST).read_to_end(&mut text).map_err(about)?;
        text
    };
    Manifest::parse(&text)
}

/// Stores a listing.
async fn take(
    db: &Db,
    client: &Client,
    by: &Actor,
    (id, side): (&ComparisonId, Side),
    from: &str,
) -> Result<Uploaded, Error> {
    if is_url(from) {
        let wanted = fetch::Wanted {
            comparison: id.clone(),
            side,
            observed_at: None,
        };
        return fetch::from_url(db, by, wanted, client, from).await;
    }
    let of = id.clone();
    let comparison = db.read(move |conn| comparison::get(conn, &of)).await?;
    let layout = comparison.definition().layout(side);
    let wrong = |reason: String| Error::invalid(format!("--{side}"), reason);
    let paths = match &layout.manifest {
        Some(manifest) => {
            let files = manifest.files.iter();
            files
                .map(|file| beside(from, &file.key))
                .collect::<Result<_, String>>()
        }
        None => Ok(VecDeque::from([PathBuf::from(from)])),
    }
    .map_err(wrong)?;
    let (input, size): (Box<dyn Read + Send>, u64) = if from == "-" {
        (Box::new(io::stdin()), 0)
    } else {
        let files = Files::open(paths).map_err(wrong)?;
        let size = files.size;
        (Box::new(files), size)
    };
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template("{msg:9} {bar:40} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(side.as_str());
    let target = UploadTarget {
        comparison: id.clone(),
        side,
        encoding: Encoding::Identity,
        observed_at: None,
    };
    let mut upload = Upload::begin(db, by, target).await?;
    let mut parts = listing::parts(bar.wrap_read(input))?;
    while let Some(part) = parts.recv().await {
        if let Err(error) = upload.push(&part?).await {
            bar.finish_and_clear();
            return Err(error);
        }
    }
    let done = upload.finish().await;
    bar.finish_and_clear();
    done
}

/// Returns where a file of an inventory is.
fn beside(manifest: &str, key: &str) -> Result<PathBuf, String> {
    let places = Manifest::places(manifest, key);
    let found = places.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_path_buf).ok_or_else(|| {
        format!(
            "the file {key} of the inventory is not there; it was looked for at {}",
            places.join(", ")
        )
    })
}

/// Files that are read one after the other.
struct Files {
    waiting: VecDeque<PathBuf>,
    file: Option<File>,
    size: u64,
}

impl Files {
    /// Checks that the files can be read.
    fn open(waiting: VecDeque<PathBuf>) -> Result<Self, String> {
        let mut size = 0;
        for path in &waiting {
            let about = |error: io::Error| format!("{}: {error}", path.display());
            size += File::open(path)
                .and_then(|file| file.metadata())
                .map_err(about)?
                .len();
        }
        Ok(Files {
            waiting,
            file: None,
            size,
        })
    }
}

impl Read for Files {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.file {
                let read = file.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
            }
            match self.waiting.pop_front() {
                Some(path) => self.file = Some(File::open(path)?),
                None => return Ok(0),
            }
        }
    }
}

/// Says on the standard error which lines could not be read.
fn report(arguments: &Arguments, side: Side, uploaded: &Uploaded) -> Result<(), Error> {
    for line in &uploaded.errors {
        console::note(&format!("{side} line {}: {}", line.line, line.detail));
    }
    if arguments.json {
        return Ok(());
    }
    console::say(&format!(
        "{side}: {}, {} not read, SHA-256 {}",
        counted(uploaded.rows, "row", "rows"),
        counted(uploaded.rejected, "line", "lines"),
        uploaded.sha256
    ))
    .map_err(Error::internal)
}

/// Runs the comparison, in this process or in one that serves.
async fn compare(db: &Db, by: &Actor, id: &ComparisonId) -> Result<Comparison, Error> {
    let of = id.clone();
    db.write(by, move |tx| comparison::request_run(tx, &of)).await?;
    let mut work = Supervisor::new(WorkStats::default());
    work.start(Comparisons { db: db.clone() }, Wake::Never);
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("comparing {bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    let ended = loop {
        let of = id.clone();
        let comparison = match db.read(move |conn| comparison::get(conn, &of)).await {
            Ok(comparison) => comparison,
            Err(error) => break Err(error),
        };
        if let Some(run) = &comparison.run {
            bar.set_length(run.rows.unsigned_abs());
            bar.set_position(run.rows_done.unsigned_abs());
        }
        if comparison.state != State::Running {
            break Ok(comparison);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    bar.finish_and_clear();
    work.stop().await;
    ended
}

fn print(comparison: &Comparison, findings: &[Finding], applied: Option<Applied>) -> Result<(), String> {
    let counts = comparison.counts.unwrap_or_default();
    console::say(&format!(
        "comparison {}: {} equal, {} missing, {} differ, {} unexpected, {} duplicate keys, {} incomparable, {} gone, {} outside \
         the window, {} not in the directory",
        comparison.id,
        counts.equal,
        counts.missing,
        counts.differs,
        counts.unexpected,
        counts.duplicate,
        counts.incomparable,
        counts.gone,
        counts.outside_window,
        counts.unknown_resources
    ))?;
    for finding in findings {
        let value = |value: &Option<String>| {
            let value = value.as_deref().map_or("nothing", listing::shown);
            value.to_owned()
        };
        let column = finding
            .column
            .as_ref()
            .map(|column| {
                let (expected, observed) = (value(&finding.expected), value(&finding.observed));
                format!(" {column}: expected {expected}, observed {observed}")
            })
            .unwrap_or_default();
        console::say(&format!("{} {}{column}", finding.kind, finding.key))?;
    }
    let all: u64 = Kind::ALL.iter().map(|kind| counts.of(*kind)).sum();
    if all > findings.len() as u64 {
        console::say(&format!("and {} more findings", all - findings.len() as u64))?;
    }
    if let Some(applied) = applied {
        console::say(&format!(
            "affected: {} added, {} already, {} not in the directory",
            applied.added, applied.already, applied.unknown
        ))?;
    }
    Ok(())
}
