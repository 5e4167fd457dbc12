//! The people who are named directly: their page, and the forms that add and remove people.
//!
//! A form that is wrong changes nothing, and the page shows it again with everything that was typed.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::{Filled, Wrong, lines};
use super::frame::Frame;
use super::matchers::Rows;
use super::params::{Form, as_of};
use super::signed_in::SignedIn;
use super::view::{When, count, cut, link, person_path, relevance};
use crate::audience;
use crate::audit::Tx;
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::selector::{Json, PeopleSelector};
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::{Added, Source};
use crate::incident::affected_people::{self, AddPeople, AffectedPerson, RemovePeople};
use crate::incident::{self, Incident};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{number}/named", Role::Viewer, show)
        .does(&[
            "GET /api/v1/incidents/{id}/affected/people",
            "POST /api/v1/selectors/people/count",
        ])
        .send("/incidents/{number}/people", Role::Operator, add)
        .does(&["POST /api/v1/incidents/{id}/affected/people"])
        .send("/incidents/{number}/people/selector", Role::Operator, add_found)
        .does(&["POST /api/v1/incidents/{id}/affected/people"])
        .send("/incidents/{number}/people/remove", Role::Operator, remove)
        .does(&["POST /api/v1/incidents/{id}/affected/people/remove"]);
}

/// The number of people on one page.
const ROWS: Limit = Limit(20);

/// The field of both forms.
const PEOPLE: Field = Field::lines(
    "people",
    "People",
    "One ID or email address in each line. If one line is wrong, nothing is changed.",
);

/// What the section shows: which part of the list is asked for, and what was found.
pub struct Listed {
    text: Option<String>,
    moved: bool,
    /// The number of all people who are named directly.
    all: i64,
    /// The number of people who match the text.
    found: i64,
    rows: Page<AffectedPerson>,
}

impl Listed {
    /// Reads one page of the people whose ID, name or address contains `text`.
    ///
    /// # Errors
    /// An error of the database.
    pub fn read(conn: &mut Conn, id: &IncidentId, text: Option<&str>, after: Option<i64>) -> Result<Self> {
        let rows = affected_people::list(conn, id, text, after, ROWS.probe())?;
        let all = affected_people::count(conn, id, None)?;
        Ok(Listed {
            text: text.map(str::to_owned),
            moved: after.is_some(),
            all,
            found: match text {
                Some(_) => affected_people::count(conn, id, text)?,
                None => all,
            },
            rows: page(rows, ROWS, |one| one.key),
        })
    }

    /// Returns the section for its template. `base` is the path of the page that shows it, and `typed` is the field
    /// of the form.
    pub fn section(
        &self,
        number: i64,
        base: &str,
        may_change: bool,
        typed: Value,
        zone: Option<&TimeZone>,
    ) -> Value {
        let text = self.text.as_deref();
        let path = |after: Option<&str>| link(base, &[("named", text), ("named_after", after)]);
        let people = |n: i64| count(usize::try_from(n).unwrap_or_default(), "person", "people");
        let action = format!("/admin/incidents/{number}/people");
        let row = |one: &AffectedPerson| {
            json!({
                "ask": may_change.then(|| json!({
                    "label": "Remove", "action": format!("{action}/remove"), "button": "Remove 1 person",
                    "text": format!(
                        "{} does not count as affected any more, unless a resource of theirs is affected. Who was notified still gets the resolution.",
                        one.person.name,
                    ),
                    "fields": [{"name": "people", "value": one.person.id}],
                })),
                "id": one.person.id,
                "name": one.person.name,
                "email": one.person.email,
                "path": person_path(&one.person.id),
                "source": match one.source {
                    Source::Selector => "added by filter",
                    Source::Comparison => "found by a comparison",
                    Source::Operator | Source::Alert => "added manually",
                },
                "as_of": When::maybe(one.as_of, zone),
                "relevance": relevance(one.relevance),
                "added": When::new(one.added_at, zone),
                "gone": one.gone_at.is_some(),
            })
        };
        json!({
            "count": people(self.all),
            "any": self.all > 0,
            "base": base,
            "text": text,
            "found": text.map(|_| people(self.found)),
            "rows": self.rows.items.iter().map(row).collect::<Vec<_>>(),
            "first": self.moved.then(|| path(None)),
            "next": self.rows.next_cursor.as_deref().map(|next| path(Some(next))),
            "may_change": may_change,
            "remove": format!("{action}/remove"),
            "action": action,
            "typed": typed,
        })
    }
}

/// Returns the field of the form, with what was typed.
pub fn typed(text: &str, wrong: &mut Wrong) -> Value {
    PEOPLE.shown(text, None, &Rows::default(), wrong)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    named: Option<String>,
    named_after: Option<String>,
    /// The parts of the selector to count.
    accounts: Option<String>,
    roles: Option<String>,
    labels: Option<String>,
    /// The time as of which the selector is evaluated.
    as_of: Option<String>,
}

/// A selector over people, as it was typed.
#[derive(Clone, Default)]
struct Typed {
    /// IDs of accounts, with commas between them.
    accounts: String,
    roles: String,
    /// Labels such as `tier:pro`, or `tier:*` for any value.
    labels: String,
    /// The time as of which the selector is evaluated. Empty for now.
    as_of: String,
}

impl Typed {
    fn is_empty(&self) -> bool {
        [&self.accounts, &self.roles, &self.labels]
            .iter()
            .all(|text| text.trim().is_empty())
    }

    /// Returns the selector as the API takes it.
    fn selector(&self) -> Result<Json> {
        let mut selector = json!({});
        for (name, text) in [("accounts", &self.accounts), ("roles", &self.roles)] {
            if !text.trim().is_empty() {
                selector[name] = json!(items(text));
            }
        }
        // A label that is given twice has one of the values.
        let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for label in items(&self.labels) {
            let (name, value) = label.split_once(':').unwrap_or((label, "*"));
            labels.entry(name.trim()).or_default().push(value.trim());
        }
        for (name, values) in labels {
            selector["account_labels"][name] = match values.as_slice() {
                ["*"] => json!({"exists": true}),
                [value] => json!(value),
                values => json!({"in": values}),
            };
        }
        Ok(serde_json::from_value(selector)?)
    }

    /// Returns why the selector cannot be used. Each reason names its part.
    fn reasons(&self, mut wrong: Wrong) -> Vec<String> {
        let mut reasons = Vec::new();
        for (pointer, text) in [
            ("/selector/accounts", &self.accounts),
            ("/selector/roles", &self.roles),
        ] {
            reasons.extend(wrong.at_lines(pointer, &items(text).join("\n")));
        }
        for label in items(&self.labels) {
            let (name, _) = label.split_once(':').unwrap_or((label, "*"));
            let said = wrong.at(&format!("/selector/account_labels/{}", name.trim()));
            reasons.extend(
                said.into_iter()
                    .map(|detail| format!("\u{201c}{label}\u{201d} {detail}")),
            );
        }
        let time = wrong.at("/as_of");
        reasons.extend(time.into_iter().map(|detail| format!("As of: {detail}")));
        reasons.extend(wrong.at("/selector"));
        reasons.extend(wrong.rest());
        reasons
    }
}

fn items(text: &str) -> Vec<&str> {
    text.split([',', '\n'])
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    number: web::Path<i64>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let asked = params.0;
    answer(&app, &by, *number, asked, StatusCode::OK, "", Wrong::default()).await
}

/// Shows the page of its own.
async fn answer(
    app: &App,
    by: &SignedIn,
    number: i64,
    asked: ShowParams,
    status: StatusCode,
    text: &str,
    mut wrong: Wrong,
) -> Answer<HttpResponse> {
    let after: Option<i64> = cursor(asked.named_after.as_deref())?;
    let may_change = by.0.role.covers(Role::Operator);
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let by_filter = Typed {
        accounts: part(&asked.accounts),
        roles: part(&asked.roles),
        labels: part(&asked.labels),
        as_of: part(&asked.as_of),
    };
    let (counts, now) = (by_filter.clone(), app.clock().now());
    let (incident, listed, found) = app
        .db
        .read(move |conn| {
            let incident = incident::by_number(conn, number)?;
            let listed = Listed::read(conn, &incident.id, asked.named.as_deref(), after)?;
            let found = match may_change && !counts.is_empty() {
                true => Some(counted(conn, &counts, number, now)?),
                false => None,
            };
            Ok((incident, listed, found))
        })
        .await?;
    let failed = !wrong.is_empty();
    let typed = typed(text, &mut wrong);
    let base = format!("/admin/incidents/{number}/named");
    app.pages.answer_with(
        status,
        "admin/incident-people",
        &json!({
            "page": Frame::new(app, by, &format!("People added manually to #{number}"), "Incidents"),
            "number": number,
            "title": cut(&incident.title, 80),
            "api": format!("/api/v1/incidents/{}", incident.id),
            "named": listed.section(number, &base, may_change, typed, None),
            "by_filter": {
                "accounts": by_filter.accounts, "roles": by_filter.roles, "labels": by_filter.labels,
                "as_of": by_filter.as_of,
            },
            "found": found,
            "failed": failed,
            "others": wrong.rest(),
        }),
    )
}

async fn add(app: web::Data<App>, sent: Filled, number: web::Path<i64>) -> Answer<HttpResponse> {
    change(&app, sent, *number, false, |tx, incident, people| {
        let request = AddPeople {
            people: Some(people),
            selector: None,
            as_of: None,
            relevance: None,
        };
        affected_people::add(tx, &incident.id, &request).map(added_text)
    })
    .await
}

/// Counts the people that a selector finds, or says why it cannot be used.
fn counted(conn: &mut Conn, typed: &Typed, number: i64, now: Timestamp) -> Result<Value> {
    let read = PeopleSelector::parse("/selector", &typed.selector()?).and_then(|selector| {
        let selector = selector.at(conn, as_of(Some(&typed.as_of))?, now)?;
        audience::count_people(conn, &selector)
    });
    let found = match read {
        Ok(found) => found,
        Err(error) => return Ok(json!({"wrong": typed.reasons(Wrong::of(error)?)})),
    };
    let counted = |n: i64, one: &str, many: &str| count(usize::try_from(n).unwrap_or_default(), one, many);
    let people = counted(found.people, "person", "people");
    Ok(json!({
        "wrong": null,
        "people": people,
        "accounts": counted(found.accounts, "account", "accounts"),
        "action": format!("/admin/incidents/{number}/people/selector"),
        "button": format!("Add {people}"),
    }))
}

/// Adds the people that a selector finds.
async fn add_found(app: web::Data<App>, sent: Filled, number: web::Path<i64>) -> Answer<HttpResponse> {
    let (actor, number) = (sent.actor(), *number);
    let Filled { by, mut fields } = sent;
    let typed = Typed {
        accounts: fields.take("accounts"),
        roles: fields.take("roles"),
        labels: fields.take("labels"),
        as_of: fields.take("as_of"),
    };
    fields.finish()?;
    let added = match as_of(Some(&typed.as_of)) {
        Ok(at) => {
            let request = AddPeople {
                people: None,
                selector: Some(typed.selector()?),
                as_of: at,
                relevance: None,
            };
            app.db
                .write(&actor, move |tx| {
                    let incident = incident::by_number(tx.conn, number)?;
                    affected_people::add(tx, &incident.id, &request)
                })
                .await
        }
        Err(error) => Err(error),
    };
    match added {
        Ok(added) => Ok(done(
            &app,
            &format!("/admin/incidents/{number}/named"),
            &added_text(added),
        )),
        Err(error) => {
            let mut wrong = Wrong::default();
            for reason in typed.reasons(Wrong::of(error)?) {
                wrong.add("", reason);
            }
            let asked = ShowParams {
                accounts: Some(typed.accounts),
                roles: Some(typed.roles),
                labels: Some(typed.labels),
                as_of: Some(typed.as_of),
                ..ShowParams::default()
            };
            answer(
                &app,
                &by,
                number,
                asked,
                StatusCode::UNPROCESSABLE_ENTITY,
                "",
                wrong,
            )
            .await
        }
    }
}

fn number_of(n: i64) -> usize {
    usize::try_from(n).unwrap_or_default()
}

/// Says how many people were added.
fn added_text(added: Added) -> String {
    let mut said = count(number_of(added.added), "person is added.", "people are added.");
    if added.already > 0 {
        said.push_str(&format!(
            " {} named already.",
            count(number_of(added.already), "was", "were")
        ));
    }
    said
}

async fn remove(app: web::Data<App>, sent: Filled, number: web::Path<i64>) -> Answer<HttpResponse> {
    change(&app, sent, *number, true, |tx, incident, people| {
        let request = RemovePeople {
            people: Some(people),
            selector: None,
            as_of: None,
        };
        let removed = affected_people::remove(tx, &incident.id, &request)?;
        if removed.removed == 0 {
            let detail = "were not added to this incident, or were removed since; nothing was removed";
            return Err(Error::invalid("/people", detail));
        }
        Ok(count(
            number_of(removed.removed),
            "person is removed.",
            "people are removed.",
        ))
    })
    .await
}

/// Changes the list by the people of the form, and says what was done. If the form is wrong, it is shown again.
async fn change(
    app: &App,
    sent: Filled,
    number: i64,
    archived: bool,
    change: impl FnOnce(&mut Tx<'_>, &Incident, Vec<ExternalId>) -> Result<String> + Send + 'static,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let text = fields.take("people");
    fields.finish()?;
    let typed = text.clone();
    let changed = app
        .db
        .write(&actor, move |tx| {
            let incident = incident::by_number(tx.conn, number)?;
            let lines: Vec<&str> = lines(&typed).collect();
            let people = affected_people::by_id_or_address(tx.conn, &lines, archived)?;
            change(tx, &incident, people)
        })
        .await;
    let wrong = match changed {
        Ok(said) => return Ok(done(app, &format!("/admin/incidents/{number}/named"), &said)),
        Err(error) => Wrong::of(error)?,
    };
    let asked = ShowParams::default();
    answer(
        app,
        &by,
        number,
        asked,
        StatusCode::UNPROCESSABLE_ENTITY,
        &text,
        wrong,
    )
    .await
}
