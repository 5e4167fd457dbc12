//! What changed in a draft since other people were first asked to approve it, and since somebody approved it.
//!
//! The audit trail has every earlier text of a notice: the text before each change. So nothing is stored for this.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::row::{Row, row};
use crate::audit::Action;
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::audit_events as e;

/// The largest number of lines of a text that are compared line by line. A longer text is shown as a whole, before and after.
const MOST_LINES: usize = 500;

/// The texts of a notice that are compared: the name of the field, and its path in an audit event.
const TEXTS: [(&str, &str); 8] = [
    ("headline", "/headline"),
    ("subject", "/subject"),
    ("message", "/message"),
    ("customer_action", "/customer_action"),
    ("next_update_due_at", "/next_update_due_at"),
    ("audience", "/audience"),
    ("acknowledge_impaired", "/acknowledge_impaired"),
    ("translations", "/translations"),
];

word_enum! {
    /// The event since which the changes of a draft are shown.
    ChangedSince, "an event of a draft" {
        /// The draft was written.
        Drafted = "drafted",
        /// Other people were first asked to approve it.
        Asked = "asked",
        /// Somebody last approved it.
        Approved = "approved",
    }
}

word_enum! {
    /// What became of a line.
    LineChange, "a change of a line" {
        /// The line is as before.
        Same = "same",
        /// The line is new.
        Added = "added",
        /// The line is not there any more.
        Removed = "removed",
    }
}

/// A line of a text that changed.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChangedLine {
    /// What became of the line.
    pub change: LineChange,
    /// The text of the line, without its line break.
    pub text: String,
}

/// A text of a notice that changed.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChangedText {
    /// The field of the notice.
    pub field: String,
    /// The lines of both texts, in their order.
    pub lines: Vec<ChangedLine>,
}

/// What changed in a draft since an event.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = NoticeChanges)]
pub struct Changes {
    /// The event since which the draft changed.
    pub since: ChangedSince,
    /// When the event of `since` happened.
    pub at: Timestamp,
    /// The name of the token.
    pub by: String,
    /// The digest of the list and the text then. Null for the event `drafted`.
    pub digest: Option<String>,
    /// The number of emails then. Null for the event `drafted`.
    pub recipients: Option<i64>,
    /// The texts that changed.
    pub texts: Vec<ChangedText>,
    /// Whether the values of the recipients were replaced since.
    pub values: bool,
}

#[derive(Queryable)]
struct Recorded {
    seq: i64,
    at: Timestamp,
    by: String,
    action: String,
    before: Option<String>,
    after: Option<String>,
}

/// Returns what changed in a draft: since other people were first asked to approve it, or else since it was drafted, and since somebody
/// last approved it.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn changes(conn: &mut Conn, id: &NoticeId) -> Result<Vec<Changes>> {
    let row = row(conn, id)?;
    let actions = [
        Action::NoticeDrafted,
        Action::NoticeChanged,
        Action::NoticeValuesReplaced,
        Action::NoticeApprovalAsked,
        Action::NoticeApproved,
    ];
    let events: Vec<Recorded> = e::table
        .filter(e::subject_id.eq(id.as_str()))
        .filter(e::action.eq_any(actions.map(Action::as_str)))
        .order(e::seq)
        .select((
            e::seq,
            e::at,
            e::actor_name,
            e::action,
            e::before_json,
            e::after_json,
        ))
        .load(conn)?;
    let is = |action: Action| move |event: &&Recorded| event.action == action.as_str();
    let first = events.iter().find(is(Action::NoticeApprovalAsked));
    let drafted = events.iter().find(is(Action::NoticeDrafted));
    let approved = events.iter().rev().find(is(Action::NoticeApproved));
    let begun = match (first, drafted) {
        (Some(asked), _) => Some((ChangedSince::Asked, asked)),
        (None, Some(drafted)) => Some((ChangedSince::Drafted, drafted)),
        (None, None) => None,
    };
    let approved = approved.map(|approved| (ChangedSince::Approved, approved));
    begun
        .into_iter()
        .chain(approved)
        .map(|(since, event)| of(&row, &events, since, event))
        .collect()
}

fn of(row: &Row, events: &[Recorded], since: ChangedSince, event: &Recorded) -> Result<Changes> {
    let later = |action: Action| {
        events
            .iter()
            .find(move |one| one.seq > event.seq && one.action == action.as_str())
    };
    let now = json!({
        "subject": row.subject, "headline": row.headline, "message": row.message, "customer_action": row.action()?,
        "audience": row.rule()?, "next_update_due_at": row.next_update_due_at,
        "acknowledge_impaired": row.acknowledge_impaired, "translations": row.translations()?,
    });
    let then: Value = match later(Action::NoticeChanged) {
        Some(changed) => serde_json::from_str(changed.before.as_deref().unwrap_or("{}"))?,
        None => now.clone(),
    };
    let after: Value = serde_json::from_str(event.after.as_deref().unwrap_or("{}"))?;
    let texts = TEXTS.iter().filter_map(|(field, path)| {
        let shown = |of: &Value| of.pointer(path).map(shown).unwrap_or_default();
        let (before, after) = (shown(&then), shown(&now));
        (before != after).then(|| ChangedText {
            field: (*field).to_owned(),
            lines: lines(&before, &after),
        })
    });
    Ok(Changes {
        since,
        at: event.at,
        by: event.by.clone(),
        digest: after["digest"].as_str().map(str::to_owned),
        recipients: after["recipients"].as_i64(),
        texts: texts.collect(),
        values: later(Action::NoticeValuesReplaced).is_some(),
    })
}

/// Returns a value of a notice as text.
fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(false) => String::new(),
        Value::Bool(true) => "Yes".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.contains_key("required") => {
            match (
                fields["required"].as_bool(),
                fields.get("text").and_then(Value::as_str),
            ) {
                (Some(true), Some(text)) => text.to_owned(),
                _ => "No action needed".to_owned(),
            }
        }
        other => other.to_string(),
    }
}

/// Compares two texts line by line.
fn lines(before: &str, after: &str) -> Vec<ChangedLine> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let line = |change: LineChange, text: &str| ChangedLine {
        change,
        text: text.to_owned(),
    };
    let removed = |text: &&str| line(LineChange::Removed, text);
    let added = |text: &&str| line(LineChange::Added, text);
    if old.len() > MOST_LINES || new.len() > MOST_LINES {
        return old.iter().map(removed).chain(new.iter().map(added)).collect();
    }
    // The length of the longest common list of lines from each pair of positions on.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, before) in old.iter().enumerate().rev() {
        for (j, after) in new.iter().enumerate().rev() {
            common[i][j] = match before == after {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(before), Some(after)) if before == after => {
                found.push(line(LineChange::Same, before));
                (i, j) = (i + 1, j + 1);
            }
            (Some(before), Some(_)) if common[i + 1][j] >= common[i][j + 1] => {
                found.push(removed(before));
                i += 1;
            }
            (_, Some(after)) => {
                found.push(added(after));
                j += 1;
            }
            (Some(before), None) => {
                found.push(removed(before));
                i += 1;
            }
            (None, None) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_shown_where_it_was() {
        let shown: Vec<String> = lines("a\nb\nc", "a\nB\nc\nd")
            .into_iter()
            .map(|line| format!("{} {}", line.change, line.text))
            .collect();
        assert_eq!(shown, ["same a", "removed b", "added B", "same c", "added d"]);
        assert_eq!(lines("", "").len(), 0);
        assert_eq!(lines("a", "").len(), 1);
    }
}
