//! The API for the answers of customers.

use std::sync::Arc;

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::answers::list::{self, Place};
use crate::answers::series::{Course, Point};
use crate::answers::{self, AnswerCounts, Filter, NewAnswer, chart, record};
use crate::base::error::{Error, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::time::{self, Timestamp};
use crate::db::Conn;
use crate::http::App;
use crate::http::answer::{Created, Declared};
use crate::http::audience_cache::AudienceCache;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::http::svg;
use crate::notice::{self, AskedPeople, Notice};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(list_all)
        .service(record_one)
        .service(series_of)
        .service(image)
        .service(remind);
}

/// Returns the people who were asked. Reading them takes long for a large incident, and an answer does not change them.
pub(in crate::http) fn asked(
    audience_cache: &AudienceCache,
    conn: &mut Conn,
    incident: &IncidentId,
    now: Timestamp,
) -> Result<Arc<AskedPeople>> {
    let known =
        audience_cache.get_or_compute(conn, incident, "asked", now, |conn| notice::asked(conn, incident))?;
    Ok(known.value)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only people with this current answer. `none` lists the people who were asked and have not answered, and `replied` those who
    /// only wrote an email.
    #[param(inline)]
    answer: Option<Filter>,
    /// All entries of the person with this ID, instead of the current entry of each person.
    person: Option<String>,
}

/// The answers of an incident.
#[derive(Serialize, utoipa::ToSchema)]
struct Answers {
    /// The numbers of people.
    counts: AnswerCounts,
    /// The answers on this page.
    items: Vec<answers::Answer>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
}

/// Returns how many people answered what, and the current answer of each person, the latest first.
#[utoipa::path(tag = "Answers", security(("token" = ["viewer"])), params(ListParams))]
#[get("/incidents/{id}/answers")]
async fn list_all(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ListParams>,
) -> Answer<Json<Answers>> {
    let p = params.0;
    let limit = p.limit;
    if p.person.is_some() && p.answer.is_some() {
        let detail = "cannot be combined with ?person, which lists all entries of a person";
        return Err(Error::invalid("?answer", detail).into());
    }
    if let Some(Err(detail)) = p.person.as_deref().map(ExternalId::parse) {
        return Err(Error::invalid("?person", detail).into());
    }
    let none = p.answer == Some(Filter::None);
    let (before, after): (Option<Place>, Option<String>) = match none {
        true => (None, cursor(p.cursor.as_deref())?),
        false => (cursor(p.cursor.as_deref())?, None),
    };
    let (audience_cache, now) = (app.audience_cache.clone(), app.clock().now());
    let (counts, rows) = app
        .db
        .read(move |conn| {
            let asked = asked(&audience_cache, conn, &id, now)?;
            let counts = answers::counts::counts(conn, &id, &asked)?;
            let rows = match &p.person {
                Some(person) => list::of_person(conn, &id, person, before, limit.probe())?,
                None if none => list::unanswered(conn, &id, &asked, after.as_deref(), limit.probe())?,
                None => list::current(conn, &id, p.answer, before, limit.probe())?,
            };
            Ok((counts, rows))
        })
        .await?;
    let Page { items, next_cursor } = if none {
        page(rows, limit, |answer| answer.person.clone())
    } else {
        page(rows, limit, list::place)
    };
    Ok(Json(Answers {
        counts,
        items,
        next_cursor,
    }))
}

/// Records an answer on behalf of a person, for example after a telephone call.
#[utoipa::path(tag = "Answers", security(("token" = ["operator"])))]
#[post("/incidents/{id}/answers")]
async fn record_one(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewAnswer>,
) -> Answer<Created<answers::Answer>> {
    let answer = app
        .db
        .write(&by.0, move |tx| record::on_behalf(tx, &id, &body.0))
        .await?;
    Ok(Created(answer))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SeriesParams {
    /// The time between two points, as an ISO 8601 duration of at least a minute. The default is `PT1H`, or more hours if there would be too many points.
    step: Option<String>,
}

/// Returns how many people had each current answer at regular times: when people were first asked, after each step, and last at a
/// time not before the last answer. There are at most 1,000 points.
#[utoipa::path(tag = "Answers", security(("token" = ["viewer"])), params(SeriesParams),
    responses((status = 200, body = Vec<Point>)))]
#[get("/incidents/{id}/answers/series")]
async fn series_of(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<SeriesParams>,
) -> Answer<Declared> {
    let step = match params.0.step.as_deref() {
        Some(step) => Some(time::duration(step).map_err(|detail| Error::invalid("?step", detail))?),
        None => None,
    };
    let now = app.clock().now();
    let points = app
        .db
        .read(move |conn| Course::read(conn, &id)?.series(step, now))
        .await?;
    Ok(Declared(HttpResponse::Ok().json(points)))
}

/// Returns a chart of the answers as an SVG image.
#[utoipa::path(tag = "Answers", security(("token" = ["viewer"])),
    responses((status = 200, description = "An image", content_type = "image/svg+xml")))]
#[get("/incidents/{id}/answers.svg")]
async fn image(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Declared> {
    Ok(Declared(drawn(&app, id).await?))
}

/// Returns the chart of an incident as an answer.
pub(in crate::http) async fn drawn(app: &App, id: IncidentId) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let drawing = app
        .db
        .read(move |conn| chart::svg(&Course::read(conn, &id)?, now))
        .await?;
    Ok(svg::answer(drawing))
}

/// Drafts an update that is only for people who were asked and have not answered. Nothing is sent. Somebody who answers before
/// it is sent does not get it.
#[utoipa::path(tag = "Answers", security(("token" = ["operator"])))]
#[post("/incidents/{id}/answers/remind")]
async fn remind(app: web::Data<App>, by: By, InPath(id): InPath<IncidentId>) -> Answer<Created<Notice>> {
    let own = app.sending.language;
    let draft = app
        .db
        .write(&by.0, move |tx| notice::remind(tx, &id, own))
        .await?;
    Ok(Created(draft))
}
