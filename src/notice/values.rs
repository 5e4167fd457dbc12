//! The values of one's own of a notice: a code or a link for each recipient, given as a list.
//!
//! A value is a text of one line. The message shows it as `{{values.code}}`, and a template as `values.code`. Whoever lacks a value
//! that the notice uses keeps it from being sent, so nobody gets an email with a hole. The values are part of the frozen data of a
//! recipient, so the digest covers them. The audit trail contains their keys and never a value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::add_author;
use super::approvals;
use super::compose::Content;
use super::recipients::{Packed, Recipients};
use super::row::{Row, locked, row};
use super::state::require_draft;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result, json_reason};
use crate::base::id::NoticeId;
use crate::base::text::undirected;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{notice_values as v, notices as n, people as p};
use crate::notice::template::{FIGURES, is_key, message_keys};

/// The largest number of keys of one person.
const MAX_KEYS: usize = 20;
/// The largest length of a value, in characters.
const MAX_VALUE: usize = 1_000;
/// The number of wrong lines that an answer names.
const MAX_ERRORS: usize = 50;
/// The number of people that a list contains.
const LISTED: usize = 50;

/// The values of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonValues {
    /// The ID of the person.
    pub person: String,
    /// The values by key. A key has up to 40 characters: a lower-case letter, then lower-case letters, digits and `_`.
    pub values: BTreeMap<String, String>,
}

/// The values of a notice, as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = NoticeValues)]
pub struct Given {
    /// The number of people with values.
    pub people: i64,
    /// The keys of the values of all people, also of those who are not in `items`.
    pub keys: BTreeSet<String>,
    /// The values of the first 50 people, ordered by ID.
    pub items: Vec<PersonValues>,
}

/// A recipient without a value that the notice uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MissingValues {
    /// The ID of the person.
    pub person: String,
    /// The keys that the person has no value for.
    pub keys: Vec<String>,
}

/// The recipients without a value that the notice uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The number of recipients.
    pub count: usize,
    /// The first 50 of them.
    pub first: Vec<MissingValues>,
}

/// Parses lines of JSON, each with a person and the values of the person. Returns them with the numbers of the lines.
///
/// # Errors
/// `Invalid` with each wrong line, up to 50.
pub fn parse(body: &[u8]) -> Result<Vec<(u64, PersonValues)>> {
    let lines = (1_u64..).zip(body.split(|byte| *byte == b'\n'));
    check(
        lines
            .map(|(number, line)| (number, line.trim_ascii()))
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| {
                let one = serde_json::from_slice(line);
                one.map(|one| (number, one))
                    .map_err(|error| FieldError::on_line(number, json_reason(&error)))
            }),
    )
}

/// Returns the lines if none of them is wrong.
fn check(
    lines: impl Iterator<Item = std::result::Result<(u64, PersonValues), FieldError>>,
) -> Result<Vec<(u64, PersonValues)>> {
    let mut errors: Vec<FieldError> = Vec::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut given = Vec::new();
    for line in lines {
        if errors.len() >= MAX_ERRORS {
            break;
        }
        let (number, one) = match line {
            Ok(line) => line,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if let Some(first) = seen.insert(one.person.clone(), number) {
            let detail = format!("the person {} is already on line {first}", one.person);
            errors.push(FieldError::on_line(number, detail));
        }
        if let Some(detail) = wrong(&one.values) {
            errors.push(FieldError::on_line(number, detail));
        }
        given.push((number, one));
    }
    if errors.is_empty() {
        Ok(given)
    } else {
        Err(Error::fields(errors))
    }
}

/// Parses CSV, whose first line names the columns: `person`, and a key in each of the others. An empty cell is no value.
///
/// # Errors
/// `Invalid` with each wrong line, up to 50.
pub fn parse_csv(text: &str) -> Result<Vec<(u64, PersonValues)>> {
    let unreadable = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        Error::fields(vec![FieldError::on_line(
            line,
            "cannot be read as CSV: the number of cells differs from the first line",
        )])
    };
    // The library counts the lines of `\r\n` one late.
    let text = text.replace("\r\n", "\n");
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header: Vec<String> = reader
        .headers()
        .map_err(unreadable)?
        .iter()
        .map(str::to_owned)
        .collect();
    let columns: BTreeSet<&str> = header.iter().map(String::as_str).collect();
    if !columns.contains("person") || columns.len() != header.len() {
        let detail =
            "must name the columns, each once: person, and a key for each value, such as person,code";
        return Err(Error::fields(vec![FieldError::on_line(1, detail)]));
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let mut one = PersonValues {
            person: String::new(),
            values: BTreeMap::new(),
        };
        for (column, cell) in header.iter().zip(&record) {
            match column.as_str() {
                "person" => one.person = cell.to_owned(),
                _ if cell.is_empty() => {}
                key => {
                    one.values.insert(key.to_owned(), cell.to_owned());
                }
            }
        }
        lines.push((record.position().map_or(1, csv::Position::line), one));
    }
    check(lines.into_iter().map(Ok))
}

/// Returns what is wrong with the values of one person.
fn wrong(values: &BTreeMap<String, String>) -> Option<String> {
    if values.is_empty() {
        return Some("values: must not be empty".to_owned());
    }
    if values.len() > MAX_KEYS {
        return Some(format!("values: has more than {MAX_KEYS} keys"));
    }
    values.iter().find_map(|(key, value)| {
        if !is_key(key) {
            return Some(format!(
                "the key '{}' is not a lower-case letter followed by up to 39 lower-case letters, digits or _",
                crate::base::text::one_line(key, 60)
            ));
        }
        let why = if value.trim().is_empty() {
            "is empty"
        } else if value.chars().count() > MAX_VALUE {
            "is longer than 1000 characters"
        } else if value.chars().any(char::is_control) {
            "contains a control character, such as a line break"
        } else if undirected(value).len() != value.len() {
            "contains a character that changes the direction of the text"
        } else {
            return None;
        };
        Some(format!("the value of '{key}' {why}"))
    })
}

/// Replaces all values of a draft. The actor becomes one of its authors, and an existing approval is not valid any more.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Conflict` if it is not a draft any more, `Invalid` with the line of each person who is
/// not in the directory. In all cases nothing is stored.
pub fn replace(tx: &mut Tx<'_>, id: &NoticeId, given: &[(u64, PersonValues)]) -> Result<Given> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    require_people(tx.conn, given)?;
    let before = view(tx.conn, id)?;
    let stored: BTreeMap<String, BTreeMap<String, String>> = load(tx.conn, id)?.into_iter().collect();
    let same = stored.len() == given.len()
        && given
            .iter()
            .all(|(_, one)| stored.get(&one.person) == Some(&one.values));
    if same {
        return Ok(before);
    }
    diesel::delete(v::table.filter(v::notice_id.eq(id.as_str()))).execute(tx.conn)?;
    for chunk in given.chunks(500) {
        let rows = chunk
            .iter()
            .map(|(_, one)| {
                Ok((
                    v::notice_id.eq(id.as_str()),
                    v::person_id.eq(&one.person),
                    v::given.eq(serde_json::to_string(&one.values)?),
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        on_backend!(&mut *tx.conn, c => diesel::insert_into(v::table).values(&rows).execute(c))?;
    }
    let author = tx.actor.id().to_owned();
    add_author(tx, id, &author)?;
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::drafted_by.eq(&author),
            n::approved_by.eq(None::<String>),
            n::approved_digest.eq(None::<String>),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    // Otherwise an approval would count again if the values were changed back.
    approvals::end_all(tx, id)?;
    let after = view(tx.conn, id)?;
    tx.record(
        Event::new(Action::NoticeValuesReplaced, "notice", id.as_str())
            .incident(&row.incident_id)
            .before(json!({"people": before.people, "keys": before.keys}))
            .after(json!({"people": after.people, "keys": after.keys})),
    );
    Ok(after)
}

fn require_people(conn: &mut Conn, given: &[(u64, PersonValues)]) -> Result<()> {
    let mut errors = Vec::new();
    for chunk in given.chunks(500) {
        let ids: Vec<&str> = chunk.iter().map(|(_, one)| one.person.as_str()).collect();
        let known: Vec<String> = p::table
            .filter(p::id.eq_any(&ids))
            .filter(p::gone_at.is_null())
            .select(p::id)
            .load(conn)?;
        let known: BTreeSet<String> = known.into_iter().collect();
        for (line, one) in chunk {
            if !known.contains(&one.person) && errors.len() < MAX_ERRORS {
                let detail = format!("there is no person {} in the directory", one.person);
                errors.push(FieldError::on_line(*line, detail));
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors))
    }
}

/// Returns the values of a notice.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn get(conn: &mut Conn, id: &NoticeId) -> Result<Given> {
    row(conn, id)?;
    view(conn, id)
}

fn view(conn: &mut Conn, id: &NoticeId) -> Result<Given> {
    let all = load(conn, id)?;
    let keys = all
        .iter()
        .flat_map(|(_, values)| values.keys().cloned())
        .collect();
    Ok(Given {
        people: all.len() as i64,
        keys,
        items: all
            .into_iter()
            .take(LISTED)
            .map(|(person, values)| PersonValues { person, values })
            .collect(),
    })
}

fn load(conn: &mut Conn, id: &NoticeId) -> Result<Vec<(String, BTreeMap<String, String>)>> {
    let rows: Vec<(String, String)> = v::table
        .filter(v::notice_id.eq(id.as_str()))
        .order(v::person_id)
        .select((v::person_id, v::given))
        .load(conn)?;
    rows.into_iter()
        .map(|(person, given)| Ok((person, serde_json::from_str(&given)?)))
        .collect()
}

/// Adds the values of a draft to its recipients. People with one mailbox get one email with the values of all of them.
pub(super) fn fill(conn: &mut Conn, row: &Row, recipients: &mut Recipients) -> Result<()> {
    let all: HashMap<String, BTreeMap<String, String>> = load(conn, &row.id)?.into_iter().collect();
    if all.is_empty() {
        return Ok(());
    }
    let every = |_: &Packed| Ok(true);
    recipients.change(every, |context| {
        for person in &context.people {
            for (key, value) in all.get(person).into_iter().flatten() {
                let there = context.values.entry(key.clone()).or_default();
                if there.is_empty() {
                    there.clone_from(value);
                } else if there.split(", ").all(|other| other != value) {
                    *there = format!("{there}, {value}");
                }
            }
        }
        Ok(())
    })
}

/// Returns the keys that a notice uses: those of its texts in all languages and of its template.
pub(super) fn used(row: &Row, template: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut keys = template.clone();
    keys.extend(message_keys(&row.message));
    if let Some(action) = row.action()? {
        keys.extend(message_keys(action.text.as_deref().unwrap_or_default()));
    }
    for of in row.translations()?.into_values() {
        keys.extend(message_keys(&of.message));
        let to_do = of.customer_action.and_then(|action| action.text);
        keys.extend(message_keys(&to_do.unwrap_or_default()));
    }
    Ok(keys.into_iter().collect())
}

/// Returns the recipients without a value that the notice uses.
pub(super) fn missing(content: &Content, recipients: &Recipients) -> Result<Missing> {
    let mut missing = Missing::default();
    if content.values.is_empty() {
        return Ok(missing);
    }
    for packed in recipients.iter() {
        let context = packed.unpack()?.context;
        let keys: Vec<String> = content
            .values
            .iter()
            // An empty value would leave a hole in the email, like one that is missing.
            .filter(|key| {
                let figure = FIGURES.contains(&key.as_str()).then(|| context.figure(key));
                let value = figure.unwrap_or_else(|| context.values.get(*key).map(String::as_str));
                value.is_none_or(|value| value.trim().is_empty())
            })
            .cloned()
            .collect();
        if keys.is_empty() {
            continue;
        }
        missing.count += 1;
        if missing.first.len() < LISTED {
            missing.first.push(MissingValues {
                person: context.people.into_iter().next().unwrap_or_default(),
                keys,
            });
        }
    }
    Ok(missing)
}

impl Missing {
    /// Checks that nobody lacks a value.
    ///
    /// # Errors
    /// `Invalid` with the number of recipients.
    pub(super) fn require_none(&self) -> Result<()> {
        match self.warning() {
            None => Ok(()),
            Some(why) => Err(Error::invalid("/values", why).code(Code::ValuesMissing)),
        }
    }

    /// Returns the warning of a preview.
    pub(super) fn warning(&self) -> Option<String> {
        let keys: BTreeSet<&str> = self
            .first
            .iter()
            .flat_map(|one| one.keys.iter().map(String::as_str))
            .collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        if !keys.is_empty() && keys.iter().all(|key| FIGURES.contains(key)) {
            return Some(format!(
                "{} no affected resource, so the text cannot say {}: leave this out of the text",
                match self.count {
                    1 => "1 recipient has".to_owned(),
                    n => format!("{n} recipients have"),
                },
                keys.join(", ")
            ));
        }
        (self.count > 0).then(|| {
            format!(
                "{} no value for {}, which the notice uses: upload the values of all recipients before you send it",
                match self.count {
                    1 => "1 recipient has".to_owned(),
                    n => format!("{n} recipients have"),
                },
                keys.join(", ")
            )
        })
    }
}
