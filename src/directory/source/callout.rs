//! Call-outs: Candor asks the product's own service about references that the directory does not know. The
//! answer consists of import lines about these references, their ancestors, and the accounts and people they
//! belong to.
//!
//! An answer about anything else is rejected. The size of an answer is limited. Without an answer, nothing is
//! guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::stored::{SourceKind, SourceRow};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{SourceId, new_uuid};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::directory_sources as s;
use crate::directory::ResourceRef;
use crate::directory::endpoint::sign;
use crate::directory::import::{Counts, Import};
use crate::directory::line::{self, Line, LineKind};
use crate::egress::client::{Bounds, Client, Unanswered};
use diesel::prelude::*;

/// The largest number of references in one request.
pub const BATCH: usize = 100;
/// The limits on the time and the size of an answer.
const BOUNDS: Bounds = Bounds {
    patience: Duration::from_secs(10),
    body: 1024 * 1024,
};

/// The service to ask. It contains a secret, so it does not implement `Debug`.
#[derive(Clone)]
pub struct Service {
    /// The ID of the source.
    pub id: SourceId,
    /// The name of the source.
    pub name: String,
    url: String,
    secret: String,
}

/// Returns the service, if one is configured.
pub fn service(conn: &mut Conn) -> Result<Option<Service>> {
    let row: Option<SourceRow> = s::table
        .filter(s::kind.eq(SourceKind::Http.as_str()))
        .filter(s::gone_at.is_null())
        .order(s::id)
        .first(conn)
        .optional()?;
    let row = row.map(SourceRow::opened).transpose()?;
    Ok(row.map(|row| Service {
        id: row.id,
        name: row.name,
        url: row.url.unwrap_or_default(),
        secret: row.secret.unwrap_or_default(),
    }))
}

/// Asks the service about references.
///
/// # Errors
/// Why there is no usable answer, as a part of a sentence. It does not contain texts of the service.
pub(crate) async fn ask(
    client: &Client,
    service: &Service,
    wanted: &[ResourceRef],
    now: Timestamp,
) -> std::result::Result<Answer, String> {
    let body = serde_json::to_vec(&json!({"references": wanted})).map_err(|error| error.to_string())?;
    let id = format!("msg_{}", new_uuid(now).simple());
    let seconds = now.unix().0;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/x-ndjson"),
        ("webhook-id", &id),
        ("webhook-timestamp", &seconds.to_string()),
        ("webhook-signature", &sign(&service.secret, &id, seconds, &body)?),
    ];
    let answer = client
        .ask(&service.url, &headers, body, BOUNDS)
        .await
        .map_err(|reason| match reason {
            Unanswered::Refused(reason) | Unanswered::Temporary(reason) | Unanswered::Lost(reason) => reason,
        })?;
    if !answer.status.is_success() {
        return Err(format!("it answered {}", answer.status));
    }
    read(&answer.body, wanted)
}

/// The usable part of an answer.
pub(crate) struct Answer {
    /// The lines, in an order in which each line refers only to earlier ones.
    lines: Vec<Line>,
    /// The number of lines that are left out: people with unusable values, and their roles.
    left_out: usize,
}

/// Reads an answer. A person with unusable values, such as an invalid address, is left out together with
/// their roles, so that the other people are still notified. Any other error rejects the whole answer.
///
/// # Errors
/// What is wrong with the answer.
fn read(body: &[u8], wanted: &[ResourceRef]) -> std::result::Result<Answer, String> {
    let mut lines = BTreeMap::new();
    let mut unusable = BTreeMap::new();
    for (index, bytes) in body.split(|byte| *byte == b'\n').enumerate() {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let number = index + 1;
        let line = line::parse(bytes)
            .map_err(|detail| format!("its answer is not valid: line {number}: {detail}"))?;
        if let Some(error) = line.wrong().into_iter().next() {
            let field = error.pointer.unwrap_or_default();
            let field = field.trim_start_matches('/');
            let reason = format!(
                "its answer is not valid: line {number}: {field}: {}",
                error.detail
            );
            let Line::Person(person) = &line else {
                return Err(reason);
            };
            unusable.insert(person.id.clone(), reason);
        }
        if lines.insert((line.kind(), line.key()), line).is_some() {
            return Err(format!(
                "its answer is not valid: line {number}: repeats an earlier entry"
            ));
        }
    }
    let allowed = allowed(&lines, wanted)?;
    if let Some(((kind, key), _)) = lines.iter().find(|(at, _)| !allowed.contains(at)) {
        let words: Vec<String> = serde_json::from_str(key).unwrap_or_default();
        // The key of a person can be an email address, so it is not shown.
        let which = match kind {
            LineKind::Resource => format!("{} {}", kind.as_str(), words.join(" ")),
            _ => format!("{} that the request does not need", kind.as_str()),
        };
        return Err(format!(
            "its answer contains an entry that was not requested: {which}"
        ));
    }
    let all = lines.len();
    lines.retain(|_, line| match line {
        Line::Person(line) => !unusable.contains_key(&line.id),
        Line::Member(line) => !unusable.contains_key(&line.person),
        Line::Collaborator(line) => !unusable.contains_key(&line.person),
        Line::Account(_) | Line::Resource(_) => true,
    });
    let left_out = all - lines.len();
    // If no person is left, a resource would be affected and nobody could be notified.
    if !lines.keys().any(|(kind, _)| *kind == LineKind::Person)
        && let Some((_, reason)) = unusable.into_iter().next()
    {
        return Err(reason);
    }
    let depths: Vec<(LineKind, usize, String)> = lines
        .iter()
        .map(|((kind, key), line)| (*kind, depth(&lines, line), key.clone()))
        .collect();
    let mut order = depths;
    order.sort();
    let lines = order
        .into_iter()
        .filter_map(|(kind, _, key)| lines.remove(&(kind, key)))
        .collect();
    Ok(Answer { lines, left_out })
}

type Lines = BTreeMap<(LineKind, String), Line>;

fn parent<'a>(lines: &'a Lines, line: &Line) -> Option<&'a Line> {
    lines.get(&(LineKind::Resource, line.parent_key()?))
}

/// Returns how many ancestors of a resource are in the answer. A cycle ends the count, and the import rejects
/// it.
fn depth(lines: &Lines, line: &Line) -> usize {
    let mut depth = 0;
    let mut at = parent(lines, line);
    while let Some(line) = at.filter(|_| depth <= lines.len()) {
        depth += 1;
        at = parent(lines, line);
    }
    depth
}

/// Returns what an answer may contain: the requested references, their ancestors, and the accounts and people
/// they belong to.
fn allowed(
    lines: &Lines,
    wanted: &[ResourceRef],
) -> std::result::Result<BTreeSet<(LineKind, String)>, String> {
    let mut allowed = BTreeSet::new();
    let mut accounts = BTreeSet::new();
    for at in wanted {
        let mut key = Some(line::resource_key(at));
        while let Some(this) = key.take() {
            let place = (LineKind::Resource, this);
            // If the resource was handled already, its ancestors were too.
            if let Some(Line::Resource(line)) = lines.get(&place)
                && allowed.insert(place)
            {
                accounts.extend(line.account.clone());
                key = line.parent.as_ref().map(line::resource_key);
            }
        }
    }
    let mut people = BTreeSet::new();
    for ((kind, key), line) in lines {
        let fits = match line {
            Line::Account(line) => accounts.contains(&line.id),
            Line::Member(line) => {
                accounts.contains(&line.account) && {
                    people.insert(line.person.clone());
                    true
                }
            }
            Line::Collaborator(line) => {
                let on = (LineKind::Resource, line::resource_key(&line.resource));
                allowed.contains(&on) && {
                    people.insert(line.person.clone());
                    true
                }
            }
            Line::Person(_) | Line::Resource(_) => false,
        };
        if fits {
            allowed.insert((*kind, key.clone()));
        }
    }
    for (place, line) in lines {
        if let Line::Person(person) = line
            && people.contains(&person.id)
        {
            allowed.insert(place.clone());
        }
    }
    Ok(allowed)
}

/// Stores the answer of a service.
///
/// # Errors
/// `Invalid` if the answer does not fit the directory. The caller must then roll back.
pub(crate) fn store(tx: &mut Tx<'_>, service: &SourceId, answer: Answer) -> Result<Counts> {
    let mut import = Import::begin_as_a_whole(tx)?;
    for (index, line) in answer.lines.into_iter().enumerate() {
        import.take(tx, index as u64 + 1, line)?;
    }
    let counts = import.finish(tx)?;
    diesel::update(s::table.find(service.as_str()))
        .set(s::last_success_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::CalloutAnswered, "source", service.as_str())
            .after(json!({"counts": counts, "left_out": answer.left_out})),
    );
    Ok(counts)
}

/// Returns why an answer does not fit the directory, as a part of a sentence.
pub fn misfit(error: &Error) -> Option<String> {
    match error {
        Error::Invalid { detail, .. } => Some(format!("its answer does not fit the directory: {detail}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::resource;

    fn asked(lines: &[&str]) -> std::result::Result<Vec<String>, String> {
        let wanted = [resource::at("media", "m9").unwrap()];
        read(lines.join("\n").as_bytes(), &wanted)
            .map(|answer| answer.lines.iter().map(Line::to_json).collect())
    }

    const MEDIA: &str =
        r#"{"kind":"resource","type":"media","id":"m9","parent":{"type":"project","id":"42"}}"#;
    const PROJECT: &str = r#"{"kind":"resource","type":"project","id":"42","account":"acme"}"#;
    const ACCOUNT: &str = r#"{"kind":"account","id":"acme","name":"Acme"}"#;
    const PERSON: &str = r#"{"kind":"person","id":"ann","name":"Ann","email":"ann@example.com"}"#;
    const MEMBER: &str = r#"{"kind":"member","account":"acme","person":"ann","role":"owner"}"#;

    #[test]
    fn an_answer_is_put_in_order() {
        let lines = asked(&[MEMBER, MEDIA, PERSON, PROJECT, "", ACCOUNT]).unwrap();
        assert_eq!(lines, [ACCOUNT, PERSON, PROJECT, MEDIA, MEMBER]);
        assert_eq!(asked(&[""]).unwrap(), [""; 0]);
    }

    #[test]
    fn somebody_who_cannot_be_written_to_keeps_nobody_else_out() {
        let bad = r#"{"kind":"person","id":"bob","name":"Bob","email":"bob at home"}"#;
        let role = r#"{"kind":"member","account":"acme","person":"bob","role":"owner"}"#;
        let lines = asked(&[MEDIA, PROJECT, ACCOUNT, bad, role, PERSON, MEMBER]).unwrap();
        assert_eq!(lines, [ACCOUNT, PERSON, PROJECT, MEDIA, MEMBER]);
        assert!(
            asked(&[MEDIA, PROJECT, ACCOUNT, bad, role])
                .unwrap_err()
                .contains("email")
        );
        let account = r#"{"kind":"account","id":"acme","name":""}"#;
        assert!(asked(&[MEDIA, PROJECT, account]).unwrap_err().contains("name"));
    }

    #[test]
    fn an_answer_about_something_else_is_refused() {
        let other = r#"{"kind":"resource","type":"project","id":"43","account":"acme"}"#;
        let stranger = r#"{"kind":"person","id":"eve","name":"Eve","email":"eve@example.com"}"#;
        for lines in [
            &[MEDIA, PROJECT, ACCOUNT, other][..],
            &[MEDIA, PROJECT, ACCOUNT, PERSON],
            &[MEDIA, PROJECT, ACCOUNT, MEMBER, PERSON, stranger],
            &[PROJECT],
            &[ACCOUNT],
        ] {
            let refused = asked(lines).unwrap_err();
            assert!(refused.contains("not requested"), "{refused}");
            assert!(!refused.contains("eve"), "{refused}");
        }
        assert!(
            asked(&[MEDIA, MEDIA])
                .unwrap_err()
                .contains("repeats an earlier entry")
        );
        assert!(asked(&["<html>"]).unwrap_err().contains("line 1"));
        // A cycle ends.
        let circle = r#"{"kind":"resource","type":"project","id":"42","parent":{"type":"media","id":"m9"}}"#;
        assert_eq!(asked(&[MEDIA, circle]).unwrap().len(), 2);
    }
}
