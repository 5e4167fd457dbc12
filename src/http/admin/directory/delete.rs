//! What a page says before somebody deletes an entry: what happens, and how much depends on the entry.

use serde_json::{Value, json};

use crate::directory::dependants::MOST;
use crate::http::admin::view::count;

/// Returns a number of dependants with its noun. It is not counted beyond a limit.
pub(super) fn number(n: usize, one: &str, many: &str) -> String {
    match i64::try_from(n) {
        Ok(n) if n >= MOST => format!("{n} or more {many}"),
        _ if n == 0 => format!("no {many}"),
        _ => count(n, one, many),
    }
}

/// Returns the question for the partial `admin/ask`. The form is sent to `/delete` below the page of the entry.
pub(super) fn ask(button: &str, text: &str, path: &str) -> Value {
    json!({
        "label": format!("{button} …"), "button": button, "text": text, "action": format!("{path}/delete"), "fields": [],
    })
}
