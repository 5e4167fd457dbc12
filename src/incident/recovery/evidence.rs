//! Lines of evidence: what somebody's own program observed of resources. Each line stands for itself, and each one that is refused has
//! its reason.
//!
//! A line that fits makes its resource recovered. A line with another value than expected is refused too, and the resource stays or becomes
//! impaired.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::expected::{Seen, Verdict, judge, seen};
use super::observe::{Observed, record};
use super::work::{Cause, Effect, Work, fill};
use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::error::{Error, Result, json_reason};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::directory::{ResourceRef, resource};
use crate::incident::affected;
use crate::incident::stored::get;

/// The number of refused lines that an answer names.
const NAMED: usize = 1_000;
/// The largest number of lines of a request.
const MAX_LINES: usize = 1_000_000;
/// How far the clock of the sender may be ahead, in seconds.
const AHEAD: i64 = 60;
/// The largest length of a source, in characters.
const MAX_SOURCE: usize = 200;

/// A line of evidence.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecoveryEvidence)]
pub struct Evidence {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: ExternalId,
    /// The ID of the resource.
    pub id: ExternalId,
    /// The observed size in bytes.
    #[serde(default, deserialize_with = "size")]
    #[schema(value_type = Option<u64>)]
    pub size: Option<String>,
    /// The observed checksum, in hexadecimal digits or base64, with or without the name of the algorithm before it, such as `sha256:…`.
    #[serde(default)]
    pub checksum: Option<String>,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// Which program or person observed it, and how.
    pub source: String,
}

/// Reads a size, as a number or as digits.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Number(u64),
        Digits(String),
    }
    match Option::<Size>::deserialize(deserializer) {
        Ok(size) => Ok(size.map(|size| match size {
            Size::Number(number) => number.to_string(),
            Size::Digits(digits) => digits,
        })),
        Err(_) => Err(serde::de::Error::custom("size must be a number of bytes")),
    }
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RefusedEvidence)]
pub struct Refused {
    /// The number of the line, from 1.
    pub line: u64,
    /// Why it was refused.
    pub detail: String,
    /// The stable code of the reason.
    #[serde(serialize_with = "word")]
    #[schema(value_type = String)]
    pub code: Code,
}

fn word<S: serde::Serializer>(code: &Code, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

/// What lines of evidence changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryEvidenceResult)]
pub struct Taken {
    /// The number of resources that became recovered.
    pub recovered: i64,
    /// The number of recovered resources that are impaired again, because a value differs.
    pub relapsed: i64,
    /// The number of lines about resources that were recovered before.
    pub unchanged: i64,
    /// The number of lines that were refused.
    pub refused_lines: i64,
    /// The first 1,000 lines that were refused.
    pub refused: Vec<Refused>,
}

impl Taken {
    fn refuse(&mut self, line: u64, code: Code, detail: String) {
        self.refused_lines += 1;
        if self.refused.len() < NAMED {
            self.refused.push(Refused { line, detail, code });
        }
    }
}

/// A line that was parsed, or the reason why it cannot be read.
pub struct Line {
    number: u64,
    given: std::result::Result<(Evidence, Seen), String>,
}

/// Parses lines of JSON.
///
/// # Errors
/// `Invalid` if there is no line, or if there are more than 1,000,000.
pub fn parse(body: &[u8]) -> Result<Vec<Line>> {
    let lines = (1_u64..).zip(body.split(|byte| *byte == b'\n'));
    limited(
        lines
            .map(|(number, line)| (number, line.trim_ascii()))
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| Line {
                number,
                given: match serde_json::from_slice(line) {
                    Ok(evidence) => read(evidence),
                    Err(error) => Err(json_reason(&error)),
                },
            }),
    )
}

/// Parses CSV, whose first line names the columns: `type`, `id`, `size`, `checksum`, `observed_at`, `source`. An empty cell is no
/// value.
///
/// # Errors
/// `Invalid` if the first line is wrong, if there is no other line, or if there are more than 1,000,000.
pub fn parse_csv(body: &[u8]) -> Result<Vec<Line>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(body);
    let names = reader
        .byte_headers()
        .map_err(|_| Error::invalid("", "the first line cannot be read as CSV"))?
        .clone();
    let names: Vec<String> = names
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    for needed in ["type", "id", "observed_at", "source"] {
        if !names.iter().any(|name| name == needed) {
            return Err(Error::invalid(
                "",
                format!("the first line has no column '{needed}'"),
            ));
        }
    }
    let mut record = csv::StringRecord::new();
    let mut lines = Vec::new();
    loop {
        let number = reader.position().line();
        let given = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let mut fields = serde_json::Map::new();
                for (name, cell) in names
                    .iter()
                    .zip(record.iter())
                    .filter(|(_, cell)| !cell.is_empty())
                {
                    fields.insert(name.clone(), json!(cell));
                }
                match serde_json::from_value(serde_json::Value::Object(fields)) {
                    Ok(evidence) => read(evidence),
                    Err(error) => Err(json_reason(&error)),
                }
            }
            Err(error) if error.is_io_error() => return Err(Error::internal(error)),
            Err(_) => Err("cannot be read as CSV".to_owned()),
        };
        lines.push(Line { number, given });
        if lines.len() > MAX_LINES {
            break;
        }
    }
    limited(lines.into_iter())
}

fn limited(lines: impl Iterator<Item = Line>) -> Result<Vec<Line>> {
    let lines: Vec<Line> = lines.take(MAX_LINES + 1).collect();
    match lines.len() {
        0 => Err(Error::invalid("", "contains no line of evidence")),
        1..=MAX_LINES => Ok(lines),
        _ => Err(Error::invalid("", format!("has more than {MAX_LINES} lines"))),
    }
}

/// Checks the fields of a line.
fn read(evidence: Evidence) -> std::result::Result<(Evidence, Seen), String> {
    let length = evidence.source.trim().chars().count();
    if length == 0 || length > MAX_SOURCE || evidence.source.chars().any(char::is_control) {
        return Err(format!("source must be one line of 1 to {MAX_SOURCE} characters"));
    }
    match seen(evidence.size.as_deref(), evidence.checksum.as_deref()) {
        Ok(seen) => Ok((evidence, seen)),
        Err((field, detail)) => Err(format!("{field}: {detail}")),
    }
}

/// Takes lines of evidence. Affected resources without a state get one first.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn give(tx: &mut Tx<'_>, incident: &IncidentId, lines: &[Line]) -> Result<Taken> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let stored = get(tx.conn, incident)?;
    fill(tx, incident, stored.started_at)?;
    let refs: Vec<Option<ResourceRef>> = lines
        .iter()
        .map(|line| {
            let (evidence, _) = line.given.as_ref().ok()?;
            Some(ResourceRef {
                type_: evidence.type_.clone(),
                id: evidence.id.clone(),
            })
        })
        .collect();
    let named: Vec<&ResourceRef> = refs.iter().flatten().collect();
    let known = resource::keys_even_archived(tx.conn, &named)?;
    let keys: Vec<i64> = known.values().copied().collect();
    let affected = affected::among(tx.conn, incident, &keys)?;
    let mut work = Work::read(tx.conn, incident, &keys)?;
    let mut taken = Taken::default();
    let mut failed = 0;
    let mut sources: HashMap<&str, i64> = HashMap::new();
    for (line, at) in lines.iter().zip(&refs) {
        let (evidence, seen) = match (&line.given, at) {
            (Ok(given), Some(_)) => given,
            (Err(detail), _) => {
                taken.refuse(line.number, Code::InvalidInput, detail.clone());
                continue;
            }
            (Ok(_), None) => continue,
        };
        let key = at.as_ref().and_then(|at| known.get(at)).copied();
        match one(
            &mut work,
            (evidence, seen),
            key.filter(|key| affected.contains(key)),
            tx.now,
        ) {
            Ok(Effect::Recovered) => {
                taken.recovered += 1;
                *sources.entry(evidence.source.trim()).or_default() += 1;
            }
            Ok(_) => taken.unchanged += 1,
            Err((code, detail, effect)) => {
                match effect {
                    Effect::Relapsed => {
                        taken.relapsed += 1;
                        sources.entry(evidence.source.trim()).or_default();
                    }
                    Effect::Changed => failed += 1,
                    _ => {}
                }
                let (code, detail) = match (code, key) {
                    (Code::NotAffected, None) => (
                        Code::UnknownResource,
                        format!("{} {} is not in the directory", evidence.type_, evidence.id),
                    ),
                    _ => (code, detail),
                };
                taken.refuse(line.number, code, detail);
            }
        }
    }
    work.store(tx)?;
    let counts = Observed {
        recovered: taken.recovered,
        relapsed: taken.relapsed,
        unchanged: taken.unchanged,
    };
    record(tx, incident, &said(sources), counts, failed)?;
    Ok(taken)
}

/// Returns the sources of evidence in one text.
fn said(sources: HashMap<&str, i64>) -> String {
    let mut sources: Vec<(&str, i64)> = sources.into_iter().collect();
    sources.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    match sources.as_slice() {
        [] => "evidence".to_owned(),
        [(only, _)] => format!("evidence from {only}"),
        [(first, _), rest @ ..] => format!("evidence from {first} and {} other sources", rest.len()),
    }
}

/// Takes one line about a resource, which is `None` if it is not affected. The error contains what the line changed nevertheless.
fn one(
    work: &mut Work<'_>,
    (evidence, seen): (&Evidence, &Seen),
    key: Option<i64>,
    now: Timestamp,
) -> std::result::Result<Effect, (Code, String, Effect)> {
    let refuse = |code, detail: String| Err((code, detail, Effect::Unchanged));
    let Some((key, row)) = key.and_then(|key| Some((key, work.row(key)?))) else {
        let detail = format!(
            "{} {} is not affected by this incident",
            evidence.type_, evidence.id
        );
        return refuse(Code::NotAffected, detail);
    };
    if evidence.observed_at.seconds_since(now) > AHEAD {
        let detail = format!("observed_at {} is in the future", evidence.observed_at);
        return refuse(Code::EvidenceInFuture, detail);
    }
    let at = evidence.observed_at.min(now);
    let wrong_at = row.wrong_at.max(row.impaired_from);
    if at < wrong_at {
        let detail = format!("it was observed at {at}, and the resource was impaired at {wrong_at}");
        return refuse(Code::EvidenceTooOld, detail);
    }
    let verdict = judge(row.expected.as_deref(), seen);
    let mut observed = serde_json::Map::new();
    for (name, value) in [("size", &seen.size), ("checksum", &seen.checksum)] {
        if let Some(value) = value {
            observed.insert(name.to_owned(), json!(value));
        }
    }
    let observed = serde_json::Value::Object(observed).to_string();
    let cause = Cause {
        at,
        source: evidence.source.trim(),
        evidence: Some(&observed),
    };
    match verdict {
        Verdict::Fits => Ok(work.fits(key, false, cause)),
        Verdict::Differs(detail) => match work.wrong(key, cause) {
            Effect::TooOld => refuse(
                Code::EvidenceTooOld,
                format!("it was observed at {at}, before the evidence that the resource is recovered"),
            ),
            effect => Err((Code::ValueDiffers, detail, effect)),
        },
        Verdict::ChecksumType(detail) => refuse(Code::ChecksumType, detail),
        Verdict::NothingComparable(detail) => refuse(
            Code::NothingComparable,
            format!("neither a size nor a checksum that can be compared is given; {detail}"),
        ),
        Verdict::NothingExpected => refuse(
            Code::NothingExpected,
            "no comparison said what is expected of this resource; two people can attest that it is recovered".to_owned(),
        ),
    }
}
