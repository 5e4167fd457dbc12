//! The resources that an incident affects. They can be searched, added as a list or by a selector, and removed.
//!
//! A selector is counted before it is used. The page says how many resources and people it finds, or at which character it is wrong.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::head::Reader;
use crate::audience::{self, SelectorCount};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::comparison;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::directory::selector::{Json, Selector};
use crate::http::App;
use crate::http::admin::done::done;
use crate::http::admin::field::Field;
use crate::http::admin::filled::{Filled, Wrong};
use crate::http::admin::form::{Form, Saved, Use};
use crate::http::admin::incident_forms::find;
use crate::http::admin::params;
use crate::http::admin::signed_in::SignedIn;
use crate::http::admin::view::{When, count, grouped, link, relevance, resource};
use crate::http::admin_page::Pages;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Limit, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::{self, AddAffected, Affected, RemoveAffected};
use crate::incident::{Incident, affected_people};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/resources", Role::Viewer, show)
        .does(&[
            "GET /api/v1/incidents/{id}/affected",
            "POST /api/v1/selectors/count",
        ])
        .send("/incidents/{id}/resources", Role::Operator, add)
        .does(&["POST /api/v1/incidents/{id}/affected"])
        .send("/incidents/{id}/resources/selector", Role::Operator, add_found)
        .does(&["POST /api/v1/incidents/{id}/affected"])
        .send("/incidents/{id}/resources/remove", Role::Operator, remove)
        .does(&[
            "POST /api/v1/incidents/{id}/affected/remove",
            "DELETE /api/v1/incidents/{id}/affected/{type}/{resource}",
        ]);
}

/// The number of resources on one page.
const ROWS: Limit = Limit(20);

const LIST: &[Field] = &[Field::resources(
    "Resources",
    "One on each line: a type, a space and an ID, such as project savanna. If one line is wrong, nothing is added.",
)];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    /// A part of the type, the ID or the name.
    q: Option<String>,
    cursor: Option<String>,
    /// The selector to count.
    selector: Option<String>,
    /// The time as of which it is evaluated.
    as_of: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    InPath(name): InPath<IncidentName>,
    given: params::Form<ShowParams>,
) -> Answer<HttpResponse> {
    let form = Form::new(LIST).within("list");
    answer(&app, &by, name, given.0, form, None).await
}

/// Why nothing was changed: because of the selector, or because of the resource that was to be removed.
enum Refused {
    Selector(Vec<String>),
    Removal(Vec<String>),
}

/// What a selector finds, or why it cannot be used.
enum Counted {
    Found(Box<SelectorCount>, i64),
    Wrong(Vec<String>),
}

fn counted(
    conn: &mut Conn,
    incident: &Incident,
    (text, as_of): (&str, Option<&str>),
    now: Timestamp,
) -> Result<Counted> {
    let read = Selector::parse("/selector", &Json::Text(text.to_owned())).and_then(|selector| {
        let selector = selector.at(conn, params::as_of(as_of)?, now)?;
        let found = audience::count(conn, &selector)?;
        let affected = affected::count_selected(conn, &incident.id, &selector)?;
        Ok(Counted::Found(Box::new(found), affected))
    });
    match read {
        Err(error) => Ok(Counted::Wrong(reasons(Wrong::of(error)?))),
        found => found,
    }
}

fn reasons(mut wrong: Wrong) -> Vec<String> {
    let mut reasons = wrong.at("/selector");
    let time = wrong.at("/as_of");
    reasons.extend(time.into_iter().map(|detail| format!("As of: {detail}")));
    reasons.extend(wrong.rest());
    reasons
}

/// Shows the page. `form` is the form with the list, and `refused` is why nothing was changed.
async fn answer(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    given: ShowParams,
    form: Form,
    refused: Option<Refused>,
) -> Answer<HttpResponse> {
    let after: Option<i64> = cursor(given.cursor.as_deref())?;
    let mut reader = Reader::new(app);
    let was_refused = refused.is_some();
    let (refused, not_removed) = match refused {
        Some(Refused::Selector(reasons)) => (Some(reasons), None),
        Some(Refused::Removal(reasons)) => (None, Some(reasons)),
        None => (None, None),
    };
    let (q, selector) = (given.q.clone(), given.selector.clone());
    let (as_of, now) = (given.as_of.clone(), app.clock().now());
    let (head, rows, found, (named, compared)) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let id = head.incident.id.clone();
            let rows = affected::list(conn, &id, q.as_deref(), after, ROWS.probe())?;
            let found = match (&selector, refused) {
                (_, Some(reasons)) => Some(Counted::Wrong(reasons)),
                (Some(text), None) => Some(counted(conn, &head.incident, (text, as_of.as_deref()), now)?),
                (None, None) => None,
            };
            let compared = comparison::count(conn, &id)?;
            let named = affected_people::count(conn, &id, None)?;
            Ok((head, rows, found, (named, compared)))
        })
        .await?;
    let rows = page(rows, ROWS, |one| one.key);
    let base = format!("{}/resources", head.base());
    let may = by.0.role.covers(Role::Operator);
    let q = given.q.as_deref();
    let path = |cursor: Option<&str>| link(&base, &[("q", q), ("cursor", cursor)]);
    let counts = &head.whole.counts;
    // A filter that is only counted, and is not finished yet, is no error.
    let status = match (was_refused, form.status()) {
        (true, StatusCode::OK) => StatusCode::UNPROCESSABLE_ENTITY,
        (_, status) => status,
    };
    let is_wrong = form.is_wrong();
    let mut list = form.shown(&Use {
        action: base.clone(),
        button: "Add resources",
        within: ("", String::new()),
    });
    list["back"] = Value::Null;
    let local = head.local(by);
    let local = local.as_ref();
    let data = json!({
        "base": base,
        "q": q,
        "rows": rows.items.iter().map(|one| row(one, may, &base, local)).collect::<Vec<_>>(),
        "count": grouped((counts.resources + counts.gone_resources) as i64),
        "any": counts.resources + counts.gone_resources > 0,
        "gone": (counts.gone_resources > 0)
            .then(|| count(counts.gone_resources, "affected resource was", "affected resources were")),
        "without_account": (counts.without_account > 0)
            .then(|| count(counts.without_account, "affected resource belongs", "affected resources belong")),
        "first": given.cursor.is_some().then(|| path(None)),
        "next": rows.next_cursor.as_deref().map(|next| path(Some(next))),
        "not_removed": not_removed,
        "list": may.then_some(list),
        "list_open": is_wrong,
        "selector": given.selector,
        "as_of": given.as_of,
        "found": found.map(|found| {
            let asked = (given.selector.as_deref().unwrap_or_default(), given.as_of.as_deref().unwrap_or_default());
            found_view(&found, asked, may, &base)
        }),
        "may_change": may,
        "named": count(usize::try_from(named).unwrap_or_default(), "person is added manually", "people are added manually"),
        "compared": match compared {
            0 => "Find what is affected by comparing two listings".to_owned(),
            n => count(usize::try_from(n).unwrap_or_default(), "comparison of listings", "comparisons of listings"),
        },
        "compare_path": format!("{}/comparisons", head.base()),
        "named_path": format!("{}/named", head.base()),
    });
    head.page(app, by, ("admin/incident/resources", "Resources"), status, data)
}

fn row(affected: &Affected, may: bool, base: &str, local: Option<&jiff::tz::TimeZone>) -> Value {
    let at = &affected.resource;
    json!({
        "resource": resource(at, affected.name.as_deref()),
        "source": match affected.source {
            affected::Source::Alert => "added by an alert",
            affected::Source::Operator => "added manually",
            affected::Source::Selector => "added by filter",
            affected::Source::Comparison => "found by a comparison",
        },
        "as_of": When::maybe(affected.as_of, local),
        "relevance": relevance(affected.relevance),
        "added": When::new(affected.added_at, local),
        "gone": affected.gone_at.is_some(),
        "remove": may.then(|| json!({
            "label": "Remove", "action": format!("{base}/remove"), "button": "Remove 1 resource",
            "text": format!("{at} does not count as affected any more. People who were notified because of it still get the resolution."),
            "fields": [{"name": "resources", "value": at.to_string()}],
        })),
    })
}

/// Returns what a selector finds, with what can be done, or where it is wrong.
fn found_view(found: &Counted, (selector, as_of): (&str, &str), may: bool, base: &str) -> Value {
    let number = |n: i64| usize::try_from(n).unwrap_or_default();
    match found {
        Counted::Wrong(reasons) => json!({
            "wrong": reasons,
            "marked": reasons.iter().find_map(|reason| character(reason)).map(|at| {
                json!({"before": selector.chars().take(at - 1).collect::<String>(),
                       "at": selector.chars().nth(at - 1).map_or_else(|| "⎵".to_owned(), String::from),
                       "after": selector.chars().skip(at).collect::<String>()})
            }),
        }),
        Counted::Found(found, affected) => {
            let resources = count(number(found.resources), "resource", "resources");
            let types: Vec<String> = found
                .by_type
                .iter()
                .map(|(type_, n)| format!("{} of type {type_}", grouped(*n)))
                .collect();
            json!({
                "wrong": null,
                "resources": resources,
                "types": types.join(", "),
                "people": found.people.map(|people| count(people, "person", "people")),
                "accounts": found.accounts.map(|accounts| count(accounts, "account", "accounts")),
                "affected": (*affected > 0).then(|| grouped(*affected)),
                "add": (may && found.resources > *affected).then(|| json!({
                    "action": format!("{base}/selector"), "selector": selector, "as_of": as_of,
                    "button": format!("Add {}", count(number(found.resources - affected), "resource", "resources")),
                })),
                "remove": (may && *affected > 0).then(|| json!({
                    "label": format!("Remove {}", count(number(*affected), "affected resource", "affected resources")),
                    "action": format!("{base}/remove"),
                    "button": format!("Remove {}", count(number(*affected), "resource", "resources")),
                    "text": "They do not count as affected any more. People who were notified because of them still get the resolution.",
                    "fields": [{"name": "selector", "value": selector}, {"name": "as_of", "value": as_of}],
                })),
            })
        }
    }
}

/// Returns the number of the character that an error of a selector names, from 1.
fn character(reason: &str) -> Option<usize> {
    let (_, rest) = reason.split_once("character ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|at| *at > 0)
}

async fn add(app: web::Data<App>, sent: Filled, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(LIST, sent.fields)?.within("list"));
    let target = name.clone();
    let incident = app.db.read(move |conn| find(conn, &target)).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: AddAffected| {
        app.db
            .write(&actor, move |tx| affected::add_requested(tx, &id, &new))
            .await
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(added) => Ok(added_message(&app, &incident, added)),
        Saved::Again(form) => answer(&app, &by, name, ShowParams::default(), form, None).await,
    }
}

fn added_message(app: &App, incident: &Incident, added: affected::Added) -> HttpResponse {
    let number = |n: i64| usize::try_from(n).unwrap_or_default();
    let mut text = count(number(added.added), "resource is added.", "resources are added.");
    if added.already > 0 {
        text.push_str(&format!(
            " {} affected already.",
            count(number(added.already), "was", "were")
        ));
    }
    let back = format!("/admin/incidents/{}/resources", incident.number);
    done(app, &back, &text)
}

async fn add_found(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let (selector, as_of) = (fields.take("selector"), fields.take("as_of"));
    fields.finish()?;
    let at = match params::as_of(Some(&as_of)) {
        Ok(at) => at,
        Err(error) => return refused(&app, &by, name, (selector, as_of), error).await,
    };
    let request = AddAffected {
        resources: None,
        selector: Some(Json::Text(selector.clone())),
        as_of: at,
        relevance: None,
    };
    let target = name.clone();
    let incident = app.db.read(move |conn| find(conn, &target)).await?;
    let id = incident.id.clone();
    let added = app
        .db
        .write(&actor, move |tx| affected::add_requested(tx, &id, &request))
        .await;
    match added {
        Ok(added) => Ok(added_message(&app, &incident, added)),
        Err(error) => refused(&app, &by, name, (selector, as_of), error).await,
    }
}

/// Shows why a selector was not used.
async fn refused(
    app: &App,
    by: &SignedIn,
    name: IncidentName,
    (selector, as_of): (String, String),
    error: Error,
) -> Answer<HttpResponse> {
    let reasons = reasons(Wrong::of(error)?);
    let given = ShowParams {
        selector: Some(selector),
        as_of: Some(as_of),
        ..ShowParams::default()
    };
    answer(
        app,
        by,
        name,
        given,
        Form::new(LIST).within("list"),
        Some(Refused::Selector(reasons)),
    )
    .await
}

/// Shows why a resource was not removed.
async fn not_removed(app: &App, by: &SignedIn, name: IncidentName, error: Error) -> Answer<HttpResponse> {
    let mut wrong = Wrong::of(error)?;
    let mut reasons = wrong.at("/resources");
    reasons.extend(wrong.rest());
    let form = Form::new(LIST).within("list");
    let refused = Some(Refused::Removal(reasons));
    answer(app, by, name, ShowParams::default(), form, refused).await
}

/// Removes one resource, or those that a selector finds.
async fn remove(
    app: web::Data<App>,
    sent: Filled,
    InPath(name): InPath<IncidentName>,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let (one, selector) = (fields.take("resources"), fields.take("selector"));
    let as_of = fields.take("as_of");
    fields.finish()?;
    let when = match params::as_of(Some(&as_of)) {
        Ok(when) => when,
        Err(error) => return refused(&app, &by, name, (selector, as_of), error).await,
    };
    let request = if selector.is_empty() {
        let at = one
            .split_once(' ')
            .ok_or_else(|| "must be a type and an ID, such as project savanna".to_owned())
            .and_then(|(type_, id)| crate::directory::resource::at(type_, id.trim()));
        let resources: Vec<ResourceRef> = match at {
            Ok(at) => vec![at],
            Err(detail) => {
                return not_removed(&app, &by, name, Error::invalid("/resources", detail)).await;
            }
        };
        RemoveAffected {
            resources: Some(resources),
            selector: None,
            as_of: when,
        }
    } else {
        RemoveAffected {
            resources: None,
            selector: Some(Json::Text(selector.clone())),
            as_of: when,
        }
    };
    let target = name.clone();
    let incident = app.db.read(move |conn| find(conn, &target)).await?;
    let id = incident.id.clone();
    let removed = app
        .db
        .write(&actor, move |tx| affected::remove_requested(tx, &id, &request))
        .await;
    match removed {
        Ok(removed) if removed.removed == 0 => {
            let (place, detail) = match selector.is_empty() {
                true => (
                    "/resources",
                    "The resource is not affected by this incident any more. Nothing was removed.",
                ),
                false => (
                    "/selector",
                    "It finds no resource that this incident affects. Nothing was removed.",
                ),
            };
            let error = Error::invalid(place, detail);
            match selector.is_empty() {
                true => not_removed(&app, &by, name, error).await,
                false => refused(&app, &by, name, (selector, as_of), error).await,
            }
        }
        Ok(removed) => {
            let n = usize::try_from(removed.removed).unwrap_or_default();
            let text = count(n, "resource is removed.", "resources are removed.");
            let back = format!("/admin/incidents/{}/resources", incident.number);
            Ok(done(&app, &back, &text))
        }
        Err(error) if selector.is_empty() => not_removed(&app, &by, name, error).await,
        Err(error) => refused(&app, &by, name, (selector, as_of), error).await,
    }
}
