//! `/admin/settings`: one page that lists everything that can be set, each with its present state.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::frame::Frame;
use super::signed_in::SignedIn;
use super::view::{count, grouped};
use crate::auth::{self, Role};
use crate::automation::policy;
use crate::brand;
use crate::customer::keys;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;
use crate::notice::limits;
use crate::notice::template::Phase;
use crate::notice::templates;
use crate::operators::contact;
use crate::status::component;

pub(super) fn routes(pages: &mut Pages) {
    pages.show("/settings", Role::Viewer, show);
}

/// The largest number of tokens that is counted.
const COUNTED: i64 = 500;

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let sending = app.sending.clone();
    let (policies, operators, own, limits, brand, tokens, components, feed_keys) = app
        .db
        .read(move |conn| {
            let mut own = 0_usize;
            for phase in Phase::ALL {
                own += usize::from(!templates::current(conn, phase)?.builtin);
            }
            Ok((
                policy::list(conn)?,
                contact::list(conn)?,
                own,
                limits::read(conn, &sending)?,
                brand::read(conn)?,
                auth::list(conn, None, COUNTED)?.len(),
                component::all(conn)?.len(),
                keys::list(conn, None, COUNTED)?.len(),
            ))
        })
        .await?;
    let active = policies.iter().filter(|policy| policy.says.enabled).count();
    let reached = operators.iter().filter(|operator| operator.enabled).count();
    let admin = by.0.role.covers(Role::Admin);
    let item = |label: &str, path: &str, what: &str, state: Option<String>| json!({"label": label, "path": path, "what": what, "state": state});
    let templates = match own {
        0 => "all built in".to_owned(),
        own => format!("{own} of {} changed", Phase::ALL.len()),
    };
    let policies = match policies.len() {
        0 => "none: nothing is sent automatically".to_owned(),
        all => format!("{}, {active} on", count(all, "policy", "policies")),
    };
    let operators = match operators.len() {
        0 => "none: nobody of our team is notified".to_owned(),
        all => format!("{}, {reached} on", count(all, "operator", "operators")),
    };
    let components = match components {
        0 => "no components: only incidents and reports are shown".to_owned(),
        all => count(all, "component", "components"),
    };
    let mut items: Vec<Value> = vec![
        item(
            "Templates",
            "/admin/templates",
            "The texts of the emails to customers.",
            Some(templates),
        ),
        item(
            "Policies",
            "/admin/automation",
            "What Candor drafts or sends without a person.",
            Some(policies),
        ),
    ];
    if admin {
        let limits = format!("approval above {} recipients", grouped(limits.recipients));
        items.push(item(
            "Limits",
            "/admin/limits",
            "Above which numbers other people must approve a notice.",
            Some(limits),
        ));
        items.push(item(
            "Brand",
            "/admin/brand",
            "Under which name, with which logo and in which color customers hear from you.",
            Some(brand.settings.name.unwrap_or_else(|| app.sending.sender.clone())),
        ));
    }
    items.push(item(
        "Status page",
        "/admin/status-page",
        "The components that everybody sees, and what is posted now.",
        Some(components),
    ));
    items.push(item(
        "Operators",
        "/admin/operators",
        "The people of our own team whom Candor notifies.",
        Some(operators),
    ));
    if admin {
        let tokens = if tokens as i64 >= COUNTED {
            format!("at least {COUNTED}")
        } else {
            count(tokens, "token", "tokens")
        };
        items.push(item(
            "Tokens",
            "/admin/tokens",
            "With which people sign in and programs use the API.",
            Some(tokens),
        ));
    }
    if admin {
        let keys = match feed_keys {
            0 => "no key: no product shows notices".to_owned(),
            keys => count(keys, "key", "keys"),
        };
        items.push(item(
            "In the product",
            "/admin/feed-keys",
            "The keys with which your product shows its users the notices to them.",
            Some(keys),
        ));
    }
    items.push(item("Audit", "/admin/audit", "Who did what, and when.", None));
    if admin {
        items.push(item(
            "System",
            "/admin/system",
            "Version, database, queue, mail server and background work.",
            None,
        ));
        items.push(item(
            "Backups",
            "/admin/backups",
            "The backups of the database, their restore drills, and the copy of the contacts.",
            None,
        ));
    }
    items.push(item(
        "Preferences",
        "/admin/preferences",
        "Your own time zone.",
        None,
    ));
    app.pages.answer(
        "admin/settings",
        &json!({"page": Frame::new(&app, &by, "Settings", "Settings"), "items": items}),
    )
}
