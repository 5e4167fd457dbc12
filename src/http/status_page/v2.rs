//! The documents in the format of version 2 of the public API of Statuspage, which many programs read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::site::{Site, short_id};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::status::component::Component;
use crate::status::post::{Post, States};
use crate::status::{ComponentState, Indicator, Maintenance, MaintenanceState, PublicIncident, StatusPage};

word_enum! {
    /// A document of this API. Its word is the part of its path between `/api/v2/` and `.json`.
    #[derive(PartialOrd, Ord)]
    Document, "a document" {
        /// Everything that is so now.
        Summary = "summary",
        /// How bad everything together is.
        Status = "status",
        /// All components and their groups, each with its state now.
        Components = "components",
        /// The newest incidents, also resolved ones, at most 50.
        Incidents = "incidents",
        /// The incidents that are not resolved.
        Unresolved = "incidents/unresolved",
        /// The public planned maintenances that are in progress or still to come.
        Maintenances = "scheduled-maintenances",
    }
}

/// The largest number of incidents in a document, as in Statuspage.
const INCIDENTS: usize = 50;

impl Document {
    /// All documents that Candor serves in this format.
    pub const ALL: [Document; 6] = [
        Document::Summary,
        Document::Status,
        Document::Components,
        Document::Incidents,
        Document::Unresolved,
        Document::Maintenances,
    ];

    /// Returns the document.
    ///
    /// # Errors
    /// An internal error, if a text is missing.
    pub fn of(self, page: &StatusPage, site: &Site) -> Result<Value> {
        let mut document = json!({"page": {
            "id": site.id(),
            "name": site.company,
            "url": site.home(),
            "time_zone": "Etc/UTC",
            "updated_at": page.updated_at().unwrap_or(Timestamp::from_micros(0)),
        }});
        let open = || {
            page.open()
                .map(|one| incident(page, site, one))
                .collect::<Result<Vec<_>>>()
        };
        let planned = |over: bool| -> Vec<Value> {
            let all = page.maintenances.iter();
            all.filter(|one| over || one.state(page.as_of) != MaintenanceState::Completed)
                .map(|one| maintenance(page, site, one))
                .collect()
        };
        match self {
            Document::Summary => {
                document["components"] = json!(components(page, site));
                document["incidents"] = json!(open()?);
                document["scheduled_maintenances"] = json!(planned(false));
                document["status"] = status(page);
            }
            Document::Status => document["status"] = status(page),
            Document::Components => document["components"] = json!(components(page, site)),
            Document::Incidents => {
                let newest = page.incidents.iter().take(INCIDENTS);
                document["incidents"] = json!(
                    newest
                        .map(|one| incident(page, site, one))
                        .collect::<Result<Vec<_>>>()?
                );
            }
            Document::Unresolved => document["incidents"] = json!(open()?),
            Document::Maintenances => document["scheduled_maintenances"] = json!(planned(true)),
        }
        Ok(document)
    }
}

/// How bad everything together is, in the words of Statuspage.
fn status(page: &StatusPage) -> Value {
    let indicator = page.indicator();
    let description = match indicator {
        Indicator::None => "All Systems Operational",
        Indicator::Maintenance => "Service Under Maintenance",
        Indicator::Minor => "Minor Service Outage",
        Indicator::Major => "Partial System Outage",
        Indicator::Critical => "Major Service Outage",
    };
    json!({"indicator": indicator, "description": description})
}

/// The ID of a group, which has only a name.
fn group_id(name: &str) -> String {
    short_id(&format!("group {name}"))
}

fn component(page: &StatusPage, site: &Site, one: &Component, position: usize) -> Value {
    json!({
        "id": one.id,
        "name": one.name,
        "status": page.state(&one.id),
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "position": position,
        "description": null,
        "showcase": false,
        "start_date": &one.created_at.to_string()[..10],
        "group_id": one.group.as_deref().map(group_id),
        "page_id": site.id(),
        "group": false,
        "only_show_if_degraded": false,
    })
}

/// The components in the order of the page, each group before its components.
fn components(page: &StatusPage, site: &Site) -> Vec<Value> {
    let mut shown = Vec::new();
    let mut group: Option<&str> = None;
    for one in &page.components {
        if let Some(name) = one.group.as_deref()
            && group != Some(name)
        {
            let members = || {
                page.components
                    .iter()
                    .filter(|other| other.group.as_deref() == Some(name))
            };
            let worst = members().map(|member| page.state(&member.id)).max();
            shown.push(json!({
                "id": group_id(name),
                "name": name,
                "status": worst.unwrap_or(ComponentState::Operational),
                "created_at": members().map(|member| member.created_at).min(),
                "updated_at": members().map(|member| member.updated_at).max(),
                "position": shown.len() + 1,
                "description": null,
                "showcase": false,
                "start_date": null,
                "group_id": null,
                "page_id": site.id(),
                "group": true,
                "only_show_if_degraded": false,
                "components": members().map(|member| member.id.as_str()).collect::<Vec<_>>(),
            }));
        }
        group = one.group.as_deref();
        shown.push(component(page, site, one, shown.len() + 1));
    }
    shown
}

/// The components of an incident that still exist, with their states now.
fn named(page: &StatusPage, site: &Site, named: impl Fn(&str) -> bool) -> Vec<Value> {
    let all = page.components.iter().enumerate();
    all.filter(|(_, one)| named(&one.id))
        .map(|(index, one)| component(page, site, one, index + 1))
        .collect()
}

/// The components that a post names, each with its state before. Null if it names none.
fn affected(page: &StatusPage, before: &States, post: &Post) -> Value {
    if post.components.is_empty() {
        return Value::Null;
    }
    let changes = post.components.iter().map(|(id, state)| {
        json!({
            "code": id,
            "name": page.names.get(id).unwrap_or(id),
            "old_status": before.get(id).copied().unwrap_or(ComponentState::Operational),
            "new_status": state,
        })
    });
    changes.collect()
}

fn incident(page: &StatusPage, site: &Site, one: &PublicIncident) -> Result<Value> {
    let mut before = States::new();
    let mut updates: Vec<Value> = Vec::new();
    for post in &one.posts {
        updates.push(json!({
            "id": post.id,
            "status": post.status,
            "body": post.message,
            "incident_id": one.id,
            "created_at": post.created_at,
            "updated_at": post.updated_at,
            "display_at": post.at,
            "affected_components": affected(page, &before, post),
            "deliver_notifications": false,
            "custom_tweet": null,
            "tweet_id": null,
        }));
        before.extend(post.components.iter().map(|(id, state)| (id.clone(), *state)));
    }
    updates.reverse();
    let worst: BTreeMap<String, ComponentState> = one.worst();
    let monitored = one
        .posts
        .iter()
        .rfind(|post| post.status == crate::status::PostStatus::Monitoring);
    Ok(json!({
        "id": one.id,
        "name": page.title(one, Language::En)?,
        "status": one.status(),
        "created_at": one.began_at(),
        "updated_at": one.updated_at(),
        "monitoring_at": monitored.map(|post| post.at),
        "resolved_at": one.resolved_at(),
        "impact": one.impact(),
        "shortlink": site.incident(one.number),
        "started_at": one.began_at(),
        "page_id": site.id(),
        "incident_updates": updates,
        "components": named(page, site, |id| worst.contains_key(id)),
        "reminder_intervals": null,
    }))
}

fn maintenance(page: &StatusPage, site: &Site, one: &Maintenance) -> Value {
    let state = one.state(page.as_of);
    let update = json!({
        "id": format!("{}-1", one.id),
        "status": state,
        "body": one.message,
        "incident_id": one.id,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "display_at": one.created_at,
        "affected_components": null,
        "deliver_notifications": false,
        "custom_tweet": null,
        "tweet_id": null,
    });
    json!({
        "id": one.id,
        "name": one.title,
        "status": state,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "monitoring_at": null,
        "resolved_at": (state == MaintenanceState::Completed).then_some(one.ends_at),
        "impact": Indicator::Maintenance,
        "shortlink": site.home(),
        "started_at": one.starts_at,
        "page_id": site.id(),
        "incident_updates": [update],
        "components": named(page, site, |id| one.components.iter().any(|other| other == id)),
        "scheduled_for": one.starts_at,
        "scheduled_until": one.ends_at,
        "reminder_intervals": null,
    })
}
