//! The answers of an incident on its page, and what their forms are sent to: numbers, a chart with a table, the list, recording
//! an answer on behalf of a person, and the draft of a reminder.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::field::Field;
use super::filled::{Filled, Wrong};
use super::form::{Form, Saved, Use};
use super::incident::Reader;
use super::incident_forms::find;
use super::params::Form as Parameters;
use super::signed_in::SignedIn;
use super::view::{ROWS, When, count, cut, grouped, link, segment};
use crate::answers::list::{self, Place};
use crate::answers::series::{Course, Point};
use crate::answers::{self, Choice, Filter, NewAnswer, record};
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::answers::drawn;
use crate::http::ids::{InPath, IncidentName};
use crate::http::page::{Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::Incident;
use crate::notice::{self, AskedPeople};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .search("/incidents/{id}/answers", Role::Viewer, show)
        .does(&[
            "GET /api/v1/incidents/{id}/answers",
            "GET /api/v1/incidents/{id}/answers/series",
        ])
        .show("/incidents/{id}/answers.svg", Role::Viewer, image)
        .does(&["GET /api/v1/incidents/{id}/answers.svg"])
        .send("/incidents/{id}/answers", Role::Operator, record_one)
        .does(&["POST /api/v1/incidents/{id}/answers"])
        .send("/incidents/{id}/answers/remind", Role::Operator, remind)
        .does(&["POST /api/v1/incidents/{id}/answers/remind"]);
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

/// The form for an answer on behalf of a person.
const ANSWER: &[Field] = &[
    Field::text("person", "Person", "The ID of the person in the directory."),
    Field::choice(
        "answer",
        "Answer",
        "",
        &[
            ("works", "Works for me"),
            ("broken", "Still broken"),
            ("help", "I need help"),
        ],
        "must be one of the three answers",
    )
    .beside(),
    Field::long_text("text", "What the person said", "It may be empty.").optional(),
    Field::clock("at", "When", "If empty, now."),
    Field::zone(),
];

fn new_form(by: &SignedIn) -> Form {
    Form::new(ANSWER).zoned(by, None).within("answer")
}

fn shown(form: Form, number: i64) -> Value {
    let at = Use {
        action: format!("/admin/incidents/{number}/answers"),
        button: "Record answer",
        within: ("", String::new()),
    };
    let mut shown = form.shown(&at);
    shown["back"] = Value::Null;
    shown
}

/// Returns the section of a page about the answers of an incident, without its form. `base` is the path of the page.
pub(super) fn section(
    conn: &mut Conn,
    asked: &AskedPeople,
    incident: &Incident,
    listed: &Listed,
    base: &str,
    now: Timestamp,
) -> Result<Value> {
    let id = &incident.id;
    let counts = answers::counts::counts(conn, id, asked)?;
    let rows = match listed.filter {
        Some(Filter::None) => {
            list::unanswered(conn, id, asked, listed.after.as_deref(), ROWS.probe()).map(|rows| {
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
    let points = course.in_points(TABLE, now)?;
    let word = listed.filter.map(Filter::as_str);
    let at = |filter: Option<&str>, after: Option<&str>| {
        link(base, &[("answers", filter), ("answers_after", after)])
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
        "ask": (counts.none > 0).then(|| reminder(counts.none, incident.number)),
        "tabs": tabs,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
        "first": (listed.before.is_some() || listed.after.is_some()).then(|| at(word, None)),
        "next": next.as_deref().map(|next| at(word, Some(next))),
        "points": points.iter().map(point).collect::<Vec<_>>(),
        "chart": format!("/admin/incidents/{}/answers.svg", incident.number),
    }))
}

/// Returns the question that comes before the draft of a reminder, for the partial `admin/ask`.
fn reminder(unanswered: i64, number: i64) -> Value {
    let who = count(
        usize::try_from(unanswered).unwrap_or_default(),
        "person",
        "people",
    );
    let was = match unanswered {
        1 => "was asked and has",
        _ => "were asked and have",
    };
    json!({
        "label": "Draft a reminder for those who have not answered",
        "action": format!("/admin/incidents/{number}/answers/remind"),
        "button": format!("Draft a reminder to {who}"),
        "text": format!("{who} {was} not answered. Nothing is sent before you check and send the draft."),
        "fields": [],
    })
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
pub(super) fn form(by: &SignedIn, number: i64) -> Option<Value> {
    let covers = by.0.role.covers(Role::Operator);
    covers.then(|| shown(new_form(by), number))
}

async fn of(app: &App, name: IncidentName) -> Answer<Incident> {
    Ok(app.db.read(move |conn| find(conn, &name)).await?)
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
    InPath(name): InPath<IncidentName>,
    params: Parameters<ShowParams>,
) -> Answer<HttpResponse> {
    let incident = of(&app, name).await?;
    let listed = Listed::read(params.0.answers, params.0.answers_after.as_deref())?;
    let form = form(&by, incident.number);
    whole(&app, &by, incident, listed, form, Vec::new(), StatusCode::OK).await
}

/// Returns the tab with the answers of an incident.
async fn whole(
    app: &App,
    by: &SignedIn,
    incident: Incident,
    listed: Listed,
    form: Option<Value>,
    wrong: Vec<String>,
    status: StatusCode,
) -> Answer<HttpResponse> {
    let (mut reader, now) = (Reader::new(app), app.clock().now());
    let name = IncidentName::Id(incident.id.clone());
    let (head, section) = app
        .db
        .read(move |conn| {
            let head = reader.read(conn, &name)?;
            let base = format!("{}/answers", head.base());
            let section = section(conn, head.asked(), &incident, &listed, &base, now)?;
            Ok((head, section))
        })
        .await?;
    let data = json!({
        "answers": section, "form": form, "failed": status != StatusCode::OK, "open": status != StatusCode::OK,
        "wrong": wrong,
    });
    head.page(app, by, ("admin/answers", "Answers"), status, data)
}

async fn image(app: web::Data<App>, _: SignedIn, InPath(name): InPath<IncidentName>) -> Answer<HttpResponse> {
    let incident = of(&app, name).await?;
    drawn(&app, incident.id).await
}

async fn record_one(
    app: web::Data<App>,
    InPath(name): InPath<IncidentName>,
    sent: Filled,
) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(ANSWER, sent.fields)?.within("answer"));
    let incident = of(&app, name).await?;
    let (actor, id) = (by.0.actor(), incident.id.clone());
    let store = async |new: NewAnswer| {
        app.db
            .write(&actor, move |tx| record::on_behalf(tx, &id, &new))
            .await
    };
    let form = match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => {
            return Ok(done(
                &app,
                &format!("/admin/incidents/{}/answers", incident.number),
                "The answer is recorded.",
            ));
        }
        Saved::Again(form) => shown(form, incident.number),
    };
    let wrong = texts(&form["others"]);
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    whole(&app, &by, incident, Listed::default(), Some(form), wrong, status).await
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn remind(
    app: web::Data<App>,
    InPath(name): InPath<IncidentName>,
    filled: Filled,
) -> Answer<HttpResponse> {
    let incident = of(&app, name).await?;
    let actor = filled.actor();
    let Filled { by, fields } = filled;
    fields.finish()?;
    let (about, own) = (incident.id.clone(), app.sending.language);
    match app
        .db
        .write(&actor, move |tx| notice::remind(tx, &about, own))
        .await
    {
        Ok(draft) => Ok(done(
            &app,
            &format!("/admin/notices/{}", draft.id),
            "This draft asks those who have not answered. Nothing is sent yet.",
        )),
        Err(error) => {
            let wrong = Wrong::of(error)?;
            let form = form(&by, incident.number);
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            whole(&app, &by, incident, Listed::default(), form, wrong.rest(), status).await
        }
    }
}
