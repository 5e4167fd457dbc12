//! Events of the audit trail that contain a person: the ID as the subject, the name, the ID in a field, or a hash of an address that
//! somebody could try addresses against.
//!
//! The hash of such an event stays, and so the chain does. What stands in the event now has a hash of its own in the event of the
//! erasure. Events of versions before erasures contain names. Events of this version do not.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::Value;

use super::needles::{Needles, REMOVED};
use crate::audit::erased::{ErasedEvent, EventParts, parts_of, redact};
use crate::base::error::Result;
use crate::base::id::ErasureId;
use crate::db::{Conn, Statement};

/// The fields of an event about a person that contain something about the person.
const PERSONAL: [&str; 5] = ["name", "email", "locale", "time_zone", "text_sha256"];

#[derive(QueryableByName)]
struct Seq {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    #[allow(dead_code)]
    subject_id: String,
}

/// Finds the events, with what they become.
///
/// # Errors
/// An error of the database.
pub(super) fn find(conn: &mut Conn, needles: &Needles) -> Result<Vec<EventParts>> {
    let mut statement = Statement::default();
    statement
        .push("SELECT seq, subject_id FROM audit_events WHERE (subject_type = 'person' AND subject_id = ")
        .text(&needles.id);
    statement
        .push(") OR (subject_type IN ('member', 'collaborator') AND subject_id LIKE ")
        .text(&format!("%/{}", escaped(&needles.id)))
        .push(" ESCAPE '!') OR ");
    needles.condition(&mut statement, "subject_id");
    for column in ["before_json", "after_json"] {
        statement.push(" OR ");
        needles.condition(&mut statement, column);
    }
    statement.push(" ORDER BY seq");
    let found: Vec<Seq> = statement.finish().load(conn)?;
    let seqs: Vec<i64> = found.iter().map(|row| row.seq).collect();
    let parts = parts_of(conn, &seqs)?;
    Ok(parts
        .into_iter()
        .filter_map(|parts| {
            let after = redacted(needles, &parts);
            (after != parts).then_some(after)
        })
        .collect())
}

fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern
}

/// Returns the event without the person.
fn redacted(needles: &Needles, parts: &EventParts) -> EventParts {
    let is_subject = parts.subject_type == "person" && parts.subject == needles.id;
    let subject = match parts.subject_type.as_str() {
        "person" if is_subject => needles.placeholder.clone(),
        "member" | "collaborator" => match parts.subject.strip_suffix(needles.id.as_str()) {
            Some(on) if on.ends_with('/') => format!("{on}{}", needles.placeholder),
            _ => needles
                .text(&parts.subject)
                .unwrap_or_else(|| parts.subject.clone()),
        },
        _ => needles
            .text(&parts.subject)
            .unwrap_or_else(|| parts.subject.clone()),
    };
    let state = |text: &Option<String>| text.as_ref().map(|text| state(needles, text, is_subject));
    EventParts {
        subject,
        before: state(&parts.before),
        after: state(&parts.after),
        ..parts.clone()
    }
}

fn state(needles: &Needles, text: &str, is_subject: bool) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return needles.text(text).unwrap_or_else(|| text.to_owned());
    };
    let mut changed = needles.value(&mut value, false);
    if let (true, Some(fields)) = (is_subject, value.as_object_mut()) {
        for name in PERSONAL {
            if let Some(field) = fields.get_mut(name).filter(|field| !field.is_null()) {
                *field = Value::from(REMOVED);
                changed = true;
            }
        }
    }
    if changed {
        value.to_string()
    } else {
        text.to_owned()
    }
}

/// Redacts the events. Returns what the event of the erasure says about them.
///
/// # Errors
/// An error of the database.
pub(super) fn change(
    conn: &mut Conn,
    erasure: &ErasureId,
    events: &[EventParts],
) -> Result<Vec<ErasedEvent>> {
    events.iter().map(|parts| redact(conn, erasure, parts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(subject_type: &str, subject: &str, after: &str) -> EventParts {
        EventParts {
            seq: 1,
            subject_type: subject_type.to_owned(),
            subject: subject.to_owned(),
            before: None,
            after: Some(after.to_owned()),
        }
    }

    #[test]
    fn an_event_loses_the_person_and_keeps_the_rest() {
        let needles = Needles::new("ann", "erased-1", vec!["Ann".to_owned()], &[]);
        let put = redacted(
            &needles,
            &parts(
                "person",
                "ann",
                r#"{"email":"sha256:ab","name":"Ann","locale":null}"#,
            ),
        );
        assert_eq!(put.subject, "erased-1");
        assert_eq!(
            put.after.as_deref(),
            Some(r#"{"email":"[erased]","locale":null,"name":"[erased]"}"#)
        );
        let member = redacted(&needles, &parts("member", "acme/ann", r#"{"role":"owner"}"#));
        assert_eq!(member.subject, "acme/erased-1");
        for other in [
            parts("member", "acme/joann", r#"{"role":"owner"}"#),
            parts("account", "ann", r#"{"name":"Anna"}"#),
        ] {
            assert_eq!(redacted(&needles, &other), other);
        }
    }
}
