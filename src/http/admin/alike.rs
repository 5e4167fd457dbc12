//! The proposal to merge incidents that are probably one problem.

use serde_json::{Value, json};

use super::view::link;
use crate::incident::merge::Alike;

/// Returns a row for incidents that are probably one problem.
pub(super) fn proposal(alike: &Alike) -> Value {
    let number = alike.number.to_string();
    let shares = alike.incidents.first().map(|one| one.shares.join(", "));
    json!({
        "number": alike.number,
        "title": alike.title,
        "path": format!("/admin/incidents/{number}"),
        "others": alike.incidents.iter().map(|one| json!({
            "number": one.number, "title": one.title, "path": format!("/admin/incidents/{}", one.number),
        })).collect::<Vec<_>>(),
        "shares": shares,
        "merge": link("/admin/incidents/merge", &[("into", Some(&number))]),
    })
}
