//! The answers of an incident on its page, and what their forms are sent to: numbers, a chart with a table, the list, recording
//! an answer on behalf of a person, and the draft of a reminder.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::filled::{Fields, Filled, Wrong, back_to, choice, field, lined, typed};
use super::params::Form;
use super::signed_in::SignedIn;
use super::view::{Frame, ROWS, When, call, cut, grouped, link, segment};
use crate::answers::list::{self, Place};
use crate::answers::series::{Course, Point};
use crate::answers::{self, Choice, Filter, NewAnswer, record};
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::{Timestamp, time_zone};
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::answers::{asked, drawn};
use crate::http::ids::own;
use crate::http::memo::Memo;
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::{self, Incident};
use crate::notice;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/answers", Role::Viewer, show)
        .show("/incidents/{id}/answers.svg", Role::Viewer, image)
        .send("/incidents/{id}/answers", Role::Operator, record_one)
        .send("/incidents/{id}/answers/remind", Role::Operator, remind);
}

/// The number of rows of the table beside the chart.
const TABLE: u32 = 8;

/// Which answers are listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub filter: Option<Filter>,
    before: Option<Place>,
    after: Option<String>,
}

impl Listed {
    /// Reads the parameters of a page.
    pub(super) fn read(filter: Option<Filter>, at: Option<&str>) -> Result<Self> {
        Ok(match filter {
            Some(Filter::None) => Listed {
                filter,
                after: cursor(at)?,
                before: None,
            },
            _ => Listed {
                filter,
                before: cursor(at)?,
                after: None,
            },
        })
    }
}

/// The form for an answer on behalf of a person, as it was typed.
#[derive(Default)]
struct Typed {
    person: String,
    answer: String,
    text: String,
    at: String,
}

impl Typed {
    fn read(fields: &mut Fields) -> Self {
        Typed {
            person: fields.take("person"),
            answer: fields.take("answer"),
            text: fields.take("text"),
            at: fields.take("at"),
        }
    }

    /// Returns the answer, and what is wrong with the fields.
    fn answer(&self) -> (NewAnswer, Wrong) {
        let mut wrong = Wrong::default();
        let chosen = Choice::parse(&self.answer).unwrap_or_else(|_| {
            wrong.add("/answer", "must be one of the three answers");
            Choice::Works
        });
        let at = match self.at.as_str() {
            "" => None,
            text => time_zone("UTC")
                .and_then(|zone| Timestamp::on_clock(text, &zone))
                .map_err(|detail| wrong.add("/at", detail))
                .ok(),
        };
        let new = NewAnswer {
            person: self.person.clone(),
            answer: chosen,
            text: Some(self.text.clone()),
            at,
        };
        (new, wrong)
    }

    fn view(&self, wrong: &mut Wrong) -> Value {
        let answer = field("answer", "Answer", "", &self.answer, wrong.at("/answer"));
        let options = Choice::ALL.map(|choice| (choice.as_str(), choice.label().to_owned()));
        let text = field(
            "text",
            "What the person said",
            "It may be empty.",
            &self.text,
            wrong.at("/text"),
        );
        let at = field("at", "When (UTC)", "If empty, now.", &self.at, wrong.at("/at"));
        json!({
            "person": field("person", "Person", "The ID of the person in the directory.", &self.person, wrong.at("/person")),
            "answer": choice(answer, options),
            "text": lined(text, 2),
            "at": typed(at, "datetime-local"),
        })
    }
}

/// Returns the section of a page about the answers of an incident, without its form. `base` is the path of the page.
pub(super) fn section(
    conn: &mut Conn,
    memo: &Memo,
    incident: &Incident,
    listed: &Listed,
    base: &str,
    now: Timestamp,
) -> Result<Value> {
    let id = &incident.id;
    let asked = asked(memo, conn, id, now)?;
    let counts = answers::counts::counts(conn, id, &asked)?;
    let rows = match listed.filter {
        Some(Filter::None) => {
            list::unanswered(conn, id, &asked, listed.after.as_deref(), ROWS.probe()).map(|rows| {
                let page = page(rows, ROWS, |answer| answer.person.clone());
                (page.items, page.next_cursor)
            })?
        }
        filter => {
            let rows = list::current(conn, id, filter, listed.before, ROWS.probe())?;
            let Page { items, next_cursor } = page(rows, ROWS, list::place);
            (items, next_cursor)
        }
    };
    let (rows, next) = rows;
    let course = Course::read(conn, id)?;
    let points = course.in_points(TABLE)?;
    let word = listed.filter.map(Filter::as_str);
    let at = |filter: Option<&str>, after: Option<&str>| {
        let path = link(base, &[("answers", filter), ("answers_after", after)]);
        format!("{path}#answers")
    };
    let people = [
        (None, "All answers", counts.asked - counts.none),
        (Some(Filter::Works), "Works for me", counts.choices.works),
        (Some(Filter::Broken), "Still broken", counts.choices.broken),
        (Some(Filter::Help), "I need help", counts.choices.help),
        (Some(Filter::Replied), "Only replied", counts.replied),
        (Some(Filter::None), "No answer", counts.none),
    ];
    let tabs: Vec<Value> = people
        .iter()
        .map(|(filter, label, people)| {
            let word = filter.map(Filter::as_str);
            json!({
                "label": format!("{label} {}", grouped(*people)), "path": at(word, None), "current": *filter == listed.filter,
            })
        })
        .collect();
    Ok(json!({
        "any": counts.asked > 0,
        "asked": grouped(counts.asked),
        "works": grouped(counts.choices.works), "works_path": at(Some("works"), None),
        "broken": grouped(counts.choices.broken), "broken_path": at(Some("broken"), None),
        "is_broken": counts.choices.broken > 0,
        "help": grouped(counts.choices.help), "help_path": at(Some("help"), None),
        "is_help": counts.choices.help > 0,
        "replied": (counts.replied > 0).then(|| grouped(counts.replied)), "replied_path": at(Some("replied"), None),
        "none": grouped(counts.none), "none_path": at(Some("none"), None),
        "may_remind": counts.none > 0,
        "tabs": tabs,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
        "first": (listed.before.is_some() || listed.after.is_some()).then(|| at(word, None)),
        "next": next.as_deref().map(|next| at(word, Some(next))),
        "points": points.iter().map(point).collect::<Vec<_>>(),
        "chart": format!("/admin/incidents/{}/answers.svg", incident.number),
        "record": format!("/admin/incidents/{}/answers", incident.number),
        "remind": format!("/admin/incidents/{}/answers/remind", incident.number),
    }))
}

fn point(point: &Point) -> Value {
    json!({
        "at": When::utc(point.at), "works": grouped(point.choices.works), "broken": grouped(point.choices.broken),
        "help": grouped(point.choices.help),
    })
}

fn row(answer: &answers::Answer) -> Value {
    let by = match (answer.by, &answer.recorded_by) {
        (Some(answers::AnsweredBy::Link), _) => Some("by the link in the email".to_owned()),
        (Some(answers::AnsweredBy::Reply), _) => Some("reply by email".to_owned()),
        (Some(answers::AnsweredBy::Token), Some(token)) => Some(format!("recorded by {token}")),
        (Some(answers::AnsweredBy::Token), None) => Some("recorded by an operator".to_owned()),
        (None, _) => None,
    };
    // The text of a person who only replied is the reply itself.
    let reply = answer.reply.as_ref().filter(|_| answer.answer.is_some());
    json!({
        "name": answer.name.as_ref().unwrap_or(&answer.person),
        "path": format!("/admin/directory/people/{}", segment(&answer.person)),
        "address": answer.address,
        "label": answer.answer.map(Choice::label),
        "works": answer.answer == Some(Choice::Works),
        "bad": answer.answer.is_some_and(|choice| choice != Choice::Works),
        "is_reply": answer.answer.is_none() && answer.at.is_some(),
        "text": cut(&answer.text, 2_000),
        "reply": reply.map(|reply| json!({"at": When::utc(reply.at), "text": cut(&reply.text, 2_000)})),
        "at": When::maybe(answer.at, None),
        "by": by,
        "earlier": (answer.entries > 1).then_some(answer.entries - 1),
    })
}

/// Returns the empty form. `None` if the caller may not record answers.
pub(super) fn form(by: &SignedIn) -> Option<Value> {
    let covers = by.0.role.covers(Role::Operator);
    covers.then(|| Typed::default().view(&mut Wrong::default()))
}

/// Returns the API calls that do the same as the forms.
pub(super) fn commands(app: &App, incident: &IncidentId) -> Value {
    let path = format!("/incidents/{incident}/answers");
    let body = json!({"person": "…", "answer": "works"});
    json!({"record": call(app, "POST", &path, Some(&body)), "remind": call(app, "POST", &format!("{path}/remind"), None)})
}

async fn of(app: &App, text: &str) -> Answer<Incident> {
    let number: Option<i64> = text.parse().ok();
    let named = match number {
        Some(_) => None,
        None => Some(own("incident", IncidentId::parse(text))?),
    };
    let found = app
        .db
        .read(move |conn| match (named, number) {
            (Some(id), _) => incident::get(conn, &id),
            (None, number) => incident::by_number(conn, number.unwrap_or_default()),
        })
        .await?;
    Ok(found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    answers: Option<Filter>,
    answers_after: Option<String>,
}

async fn show(
    app: web::Data<App>,
    by: SignedIn,
    id: web::Path<String>,
    params: Form<ShowParams>,
) -> Answer<HttpResponse> {
    let incident = of(&app, &id).await?;
    let listed = Listed::read(params.0.answers, params.0.answers_after.as_deref())?;
    let form = form(&by);
    whole(&app, &by, incident, listed, form, Vec::new(), StatusCode::OK).await
}

/// Returns the page that shows only the answers of an incident.
async fn whole(
    app: &App,
    by: &SignedIn,
    incident: Incident,
    listed: Listed,
    form: Option<Value>,
    wrong: Vec<String>,
    status: StatusCode,
) -> Answer<HttpResponse> {
    let (memo, now) = (app.memo.clone(), app.clock().now());
    let (number, title, id) = (incident.number, incident.title.clone(), incident.id.clone());
    let base = format!("/admin/incidents/{number}/answers");
    let section = app
        .db
        .read(move |conn| section(conn, &memo, &incident, &listed, &base, now))
        .await?;
    let heading = format!("Answers to #{number} {}", cut(&title, 80));
    app.pages.answer_with(
        status,
        "admin/answers",
        &json!({
            "page": Frame::with_forms(app, by, &heading, "Incidents"), "number": number, "title": heading, "answers": section,
            "form": form, "failed": status != StatusCode::OK, "open": status != StatusCode::OK, "wrong": wrong,
            "commands": commands(app, &id),
        }),
    )
}

async fn image(app: web::Data<App>, _: SignedIn, id: web::Path<String>) -> Answer<HttpResponse> {
    let incident = of(&app, &id).await?;
    drawn(&app, incident.id).await
}

async fn record_one(app: web::Data<App>, id: web::Path<String>, filled: Filled) -> Answer<HttpResponse> {
    let incident = of(&app, &id).await?;
    let actor = filled.actor();
    let Filled { by, mut fields } = filled;
    let typed = Typed::read(&mut fields);
    fields.finish()?;
    let (new, mut wrong) = typed.answer();
    if wrong.is_empty() {
        let about = incident.id.clone();
        let stored = app
            .db
            .write(&actor, move |tx| record::on_behalf(tx, &about, &new))
            .await;
        match stored {
            Ok(_) => return Ok(back_to(&format!("/admin/incidents/{}#answers", incident.number))),
            Err(error) => wrong = Wrong::of(error)?,
        }
    }
    let form = typed.view(&mut wrong);
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    whole(
        &app,
        &by,
        incident,
        Listed::default(),
        Some(form),
        wrong.rest(),
        status,
    )
    .await
}

async fn remind(app: web::Data<App>, id: web::Path<String>, filled: Filled) -> Answer<HttpResponse> {
    let incident = of(&app, &id).await?;
    let actor = filled.actor();
    let Filled { by, fields } = filled;
    fields.finish()?;
    let about = incident.id.clone();
    match app.db.write(&actor, move |tx| notice::remind(tx, &about)).await {
        Ok(draft) => Ok(back_to(&format!("/admin/notices/{}", draft.id))),
        Err(error) => {
            let wrong = Wrong::of(error)?;
            let form = form(&by);
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            whole(&app, &by, incident, Listed::default(), form, wrong.rest(), status).await
        }
    }
}
