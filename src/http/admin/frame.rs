//! The frame around each admin page: the title, the navigation with the current part, the key of the forms, and the message
//! about what was just done.

use serde::Serialize;
use serde_json::{Value, json};

use super::signed_in::SignedIn;
use super::view::When;
use crate::auth::Role;
use crate::http::App;

/// A link of the navigation.
struct Link {
    label: &'static str,
    path: &'static str,
    /// Who may open the page.
    role: Role,
}

/// A part of the admin pages, with the pages within it.
struct Part {
    link: Link,
    within: &'static [Link],
}

const fn link(label: &'static str, path: &'static str) -> Link {
    let role = Role::Viewer;
    Link { label, path, role }
}

const fn admin(label: &'static str, path: &'static str) -> Link {
    let role = Role::Admin;
    Link { label, path, role }
}

/// How many parts a phone shows. The others are in a menu.
const ON_A_PHONE: usize = 3;

const PARTS: [Part; 6] = [
    Part {
        link: link("Now", "/admin"),
        within: &[],
    },
    Part {
        link: link("Incidents", "/admin/incidents"),
        within: &[
            link("Incidents", "/admin/incidents"),
            link("Planned maintenance", "/admin/maintenances"),
        ],
    },
    Part {
        link: link("Customers", "/admin/directory"),
        within: &[
            link("Accounts", "/admin/directory/accounts"),
            link("People", "/admin/directory/people"),
            link("Resources", "/admin/directory/resources"),
            link("Sources", "/admin/directory/sources"),
            link("Suppressions", "/admin/directory/suppressions"),
        ],
    },
    Part {
        link: link("Alerts", "/admin/alerts"),
        within: &[
            link("All alerts", "/admin/alerts"),
            link("Integrations", "/admin/integrations"),
            link("Alert grouping", "/admin/rules"),
            link("Silences and windows", "/admin/quiet"),
            link("Checks and heartbeats", "/admin/watching"),
        ],
    },
    Part {
        link: link("Follow-ups", "/admin/follow-ups"),
        within: &[],
    },
    Part {
        link: link("Settings", "/admin/settings"),
        within: &[
            link("Templates", "/admin/templates"),
            link("Policies", "/admin/automation"),
            admin("Limits", "/admin/limits"),
            link("Status page", "/admin/status-page"),
            admin("Brand", "/admin/brand"),
            link("Operators", "/admin/operators"),
            admin("Tokens", "/admin/tokens"),
            admin("In the product", "/admin/feed-keys"),
            link("Audit", "/admin/audit"),
            admin("System", "/admin/system"),
            admin("Backups", "/admin/backups"),
            link("Preferences", "/admin/preferences"),
        ],
    },
];

/// The data of the frame around a page.
#[derive(Serialize)]
pub struct Frame {
    title: String,
    /// How many incidents are open. `None` if none is, or if nobody is signed in.
    open: Option<String>,
    company: String,
    /// The company in the title of the browser's tab. `None` if it is called Candor, which the title says anyway.
    company_in_title: Option<String>,
    parts: Vec<Value>,
    /// The pages beside this one, within its part.
    within: Option<Value>,
    caller: Option<Value>,
    now: When,
    /// The name of the time zone of the person who looks at the page.
    zone: Option<String>,
    /// The seconds between two refreshes of the live parts. `None` if the page does not change by itself.
    live: Option<u32>,
    /// The key that the forms of the page contain.
    form_key: Option<String>,
    /// What was just done.
    done: Option<String>,
    /// The first thing to do on this page, which the second press of the tab key reaches.
    primary: Option<Value>,
}

impl Frame {
    /// Creates the frame of a page with this title. `part` is the label of its part, or of a page within a part.
    pub fn new(app: &App, by: &SignedIn, title: &str, part: &str) -> Frame {
        let may_see = |link: &&Link| by.0.role.covers(link.role);
        let shown =
            |link: &Link| json!({"label": link.label, "path": link.path, "current": link.label == part});
        let holds = |one: &Part| one.link.label == part || one.within.iter().any(|link| link.label == part);
        let parts = PARTS.iter().enumerate().map(|(index, one)| {
            json!({
                "label": one.link.label, "path": one.link.path, "current": holds(one), "rest": index >= ON_A_PHONE,
            })
        });
        let within = PARTS.iter().find(|one| holds(one) && !one.within.is_empty());
        let within = within.map(|one| {
            let pages: Vec<Value> = one.within.iter().filter(may_see).map(shown).collect();
            json!({"label": one.link.label, "parts": pages})
        });
        Frame {
            parts: parts.collect(),
            within,
            caller: Some(json!({"name": by.0.name, "role": by.0.role})),
            zone: by.zone().map(str::to_owned),
            open: by.open().map(str::to_owned),
            form_key: Some(by.form_key(app)),
            done: by.done().map(str::to_owned),
            ..Frame::outside(app, title)
        }
    }

    /// Creates the frame of a page for somebody who is not signed in.
    pub fn outside(app: &App, title: &str) -> Frame {
        Frame {
            title: title.to_owned(),
            open: None,
            company: app.sending.sender.clone(),
            company_in_title: Some(app.sending.sender.clone()).filter(|company| company != "Candor"),
            parts: Vec::new(),
            within: None,
            caller: None,
            now: When::utc(app.clock().now()),
            zone: None,
            live: None,
            form_key: None,
            done: None,
            primary: None,
        }
    }

    /// Sets after how many seconds the script refreshes the live parts.
    pub fn live(mut self, seconds: Option<u32>) -> Frame {
        self.live = seconds;
        self
    }

    /// Sets the first thing to do on this page. The second press of the tab key reaches a link to it.
    pub fn primary(mut self, label: &str, path: &str) -> Frame {
        self.primary = Some(json!({"label": label, "path": path}));
        self
    }
}
