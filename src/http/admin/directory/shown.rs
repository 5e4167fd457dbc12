//! How the pages show entries of the directory: rows, references, the source of an entry, and what an entry is searched by.

use serde_json::{Value, json};

use crate::base::check::Labels;
use crate::base::error::Result;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::directory::account::Account;
use crate::directory::endpoint::Endpoint;
use crate::directory::line::LineKind;
use crate::directory::member::Membership;
use crate::directory::person::Person;
use crate::directory::resource::Resource;
use crate::directory::source::origin::{self, Origin};
use crate::http::admin::view::{When, account_path, person_path, resource_path, shown_url};

pub(super) fn labels(labels: &Labels) -> Vec<Value> {
    labels
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

pub(super) fn account(account: &Account) -> Value {
    json!({
        "id": account.id, "path": account_path(&account.id), "name": account.name,
        "time_zone": account.time_zone, "locale": account.locale, "labels": labels(&account.labels),
        "gone": When::maybe(account.gone_at, None),
    })
}

pub(super) fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id, "channel": endpoint.channel, "consent": endpoint.consent,
        "url": match endpoint.person { Some(_) => endpoint.url.clone(), None => shown_url(&endpoint.url) },
        "enabled": endpoint.enabled,
        "disabled": When::maybe(endpoint.disabled_at, None), "reason": endpoint.disabled_reason,
        "created": When::utc(endpoint.created_at), "path": format!("/admin/directory/endpoints/{}", endpoint.id),
    })
}

pub(super) fn person(person: &Person) -> Value {
    json!({
        "id": person.id, "path": person_path(&person.id), "name": person.name, "email": person.email,
        "time_zone": person.time_zone, "locale": person.locale, "gone": When::maybe(person.gone_at, None),
    })
}

pub(super) fn resource(resource: &Resource) -> Value {
    json!({
        "type": resource.type_, "id": resource.id, "path": resource_path(&resource.type_, &resource.id),
        "name": resource.name,
        "account": resource.belongs_to.as_ref().map(|id| json!({"id": id, "path": account_path(id)})),
        "inherited": resource.account.is_none(),
        "parent": resource.parent.as_ref().map(reference),
        "labels": labels(&resource.labels),
        "gone": When::maybe(resource.gone_at, None),
    })
}

pub(super) fn reference(at: &ResourceRef) -> Value {
    json!({"label": at.to_string(), "path": resource_path(at.type_.as_str(), at.id.as_str())})
}

/// Returns a person with a role. `within` is the path of the page of the account or the resource, and `list` the name of its list.
pub(super) fn role(membership: &Membership, within: &str, list: &str, from: &str) -> Value {
    let id = crate::http::admin::view::segment(&membership.person);
    json!({
        "id": membership.person, "path": person_path(&membership.person), "name": membership.name,
        "role": membership.role, "owner": membership.role == "owner",
        "change": format!("{within}/{list}/{id}"),
        "remove": {
            "label": "Remove", "button": "Remove",
            "text": format!("{} is no longer {} {from}. The history stays.", membership.name, with_article(&membership.role)),
            "action": format!("{within}/{list}/{id}/remove"), "fields": [],
        },
    })
}

fn with_article(role: &str) -> String {
    let vowel = role.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
    format!("{} {role}", if vowel { "an" } else { "a" })
}

/// Returns the source that brought an entry, for a page and for its forms.
pub(super) fn origin(conn: &mut Conn, kind: LineKind, parts: &[&str]) -> Result<Option<Value>> {
    Ok(origin::of(conn, kind, parts)?.map(|origin| shown_origin(&origin)))
}

fn shown_origin(origin: &Origin) -> Value {
    json!({
        "name": origin.name, "path": format!("/admin/directory/sources/{}", origin.id),
        "text": format!("This entry comes from the source {}. Its next sync overwrites what you change here.", origin.name),
    })
}

/// Returns what a form says about the source of an entry. Empty if no source brought it.
pub(super) fn warning(origin: Option<&Value>) -> String {
    let text = origin.and_then(|origin| origin["text"].as_str());
    text.unwrap_or_default().to_owned()
}
