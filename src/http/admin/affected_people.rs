//! The people who are named directly: the section of the incident's page, a page of its own with the
//! same section, and the forms that add and remove people.
//!
//! A form that is wrong changes nothing, and the page shows it again with everything that was typed.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::field::Field;
use super::filled::{Filled, Wrong, back_to, lines};
use super::matchers::Rows;
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{Frame, When, count, cut, link, person_path, relevance};
use crate::audit::Tx;
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::id::{ExternalId, IncidentId};
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::Source;
use crate::incident::affected_people::{self, AddPeople, AffectedPerson, RemovePeople};
use crate::incident::{self, Incident};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{number}/people", Role::Viewer, show)
        .send("/incidents/{number}/people", Role::Operator, add)
        .send("/incidents/{number}/people/remove", Role::Operator, remove);
}

/// The number of people on one page.
const ROWS: Limit = Limit(20);
/// The section on the incident's page.
const SECTION: &str = "people-named";

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
        let path = |after: Option<&str>| {
            format!(
                "{}#{SECTION}",
                link(base, &[("named", text), ("named_after", after)])
            )
        };
        let people = |n: i64| count(usize::try_from(n).unwrap_or_default(), "person", "people");
        let row = |one: &AffectedPerson| {
            json!({
                "id": one.person.id,
                "name": one.person.name,
                "email": one.person.email,
                "path": person_path(&one.person.id),
                "source": match one.source {
                    Source::Selector => "added by a selector",
                    Source::Operator | Source::Alert => "added manually",
                },
                "relevance": relevance(one.relevance),
                "added": When::new(one.added_at, zone),
                "gone": one.gone_at.is_some(),
            })
        };
        let action = format!("/admin/incidents/{number}/people");
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    named: Option<String>,
    named_after: Option<String>,
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
    let (incident, listed) = app
        .db
        .read(move |conn| {
            let incident = incident::by_number(conn, number)?;
            let listed = Listed::read(conn, &incident.id, asked.named.as_deref(), after)?;
            Ok((incident, listed))
        })
        .await?;
    let failed = !wrong.is_empty();
    let typed = typed(text, &mut wrong);
    let base = format!("/admin/incidents/{number}/people");
    let may_change = by.0.role.covers(Role::Operator);
    app.pages.answer_with(
        status,
        "admin/incident-people",
        &json!({
            "page": Frame::with_forms(app, by, &format!("People named directly in #{number}"), "Incidents"),
            "number": number,
            "title": cut(&incident.title, 80),
            "api": format!("/api/v1/incidents/{}", incident.id),
            "named": listed.section(number, &base, may_change, typed, None),
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
            relevance: None,
        };
        affected_people::add(tx, &incident.id, &request).map(drop)
    })
    .await
}

async fn remove(app: web::Data<App>, sent: Filled, number: web::Path<i64>) -> Answer<HttpResponse> {
    change(&app, sent, *number, true, |tx, incident, people| {
        let request = RemovePeople {
            people: Some(people),
            selector: None,
        };
        affected_people::remove(tx, &incident.id, &request).map(drop)
    })
    .await
}

/// Changes the list by the people of the form. If the form is wrong, it is shown again.
async fn change(
    app: &App,
    sent: Filled,
    number: i64,
    archived: bool,
    change: impl FnOnce(&mut Tx<'_>, &Incident, Vec<ExternalId>) -> Result<()> + Send + 'static,
) -> Answer<HttpResponse> {
    let actor = sent.actor();
    let Filled { by, mut fields } = sent;
    let text = fields.take("people");
    fields.finish()?;
    let typed = text.clone();
    let done = app
        .db
        .write(&actor, move |tx| {
            let incident = incident::by_number(tx.conn, number)?;
            let lines: Vec<&str> = lines(&typed).collect();
            let people = affected_people::by_id_or_address(tx.conn, &lines, archived)?;
            change(tx, &incident, people)
        })
        .await;
    let wrong = match done {
        Ok(()) => return Ok(back_to(&format!("/admin/incidents/{number}#{SECTION}"))),
        Err(error) => Wrong::of(error)?,
    };
    let asked = ShowParams {
        named: None,
        named_after: None,
    };
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
