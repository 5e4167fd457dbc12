//! The API that shows what a selector finds, before it is used.

use actix_web::{post, web};
use serde::Deserialize;

use crate::audience::{self, FoundPeople, SelectorCount};
use crate::base::time::Timestamp;
use crate::directory::selector::{self, PeopleSelector, PeopleSelectorSchema, Selector, SelectorSchema};
use crate::http::App;
use crate::http::extract::Json;
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(count).service(count_people);
}

/// The selector whose results are counted.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CountRequest {
    /// The selector, as an object or as text.
    #[schema(value_type = SelectorSchema)]
    selector: selector::Json,
    /// Evaluates the selector as of this time. If not set, it is evaluated as of now.
    #[serde(default)]
    as_of: Option<Timestamp>,
}

/// Counts what a selector finds, now or as of a time, and how many people would be notified now. Nothing is stored. `POST
/// /incidents/{id}/affected` finds the same.
#[utoipa::path(tag = "Selectors", security(("token" = ["viewer"])))]
#[post("/selectors/count")]
async fn count(app: web::Data<App>, body: Json<CountRequest>) -> Answer<Json<SelectorCount>> {
    let selector = Selector::parse("/selector", &body.0.selector)?;
    let (as_of, now) = (body.0.as_of, app.clock().now());
    let found = app
        .db
        .read(move |conn| {
            let selector = selector.at(conn, as_of, now)?;
            audience::count(conn, &selector)
        })
        .await?;
    Ok(Json(found))
}

/// The selector over people whose results are counted.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CountPeopleRequest {
    /// The selector over people, as an object or as text.
    #[schema(value_type = PeopleSelectorSchema)]
    selector: selector::Json,
    /// Evaluates the selector as of this time. If not set, it is evaluated as of now.
    #[serde(default)]
    as_of: Option<Timestamp>,
}

/// Counts the people that a selector finds, now or as of a time. Nothing is stored. `POST /incidents/{id}/affected/people` finds the
/// same.
#[utoipa::path(tag = "Selectors", security(("token" = ["viewer"])))]
#[post("/selectors/people/count")]
async fn count_people(app: web::Data<App>, body: Json<CountPeopleRequest>) -> Answer<Json<FoundPeople>> {
    let selector = PeopleSelector::parse("/selector", &body.0.selector)?;
    let (as_of, now) = (body.0.as_of, app.clock().now());
    let found = app
        .db
        .read(move |conn| {
            let selector = selector.at(conn, as_of, now)?;
            audience::count_people(conn, &selector)
        })
        .await?;
    Ok(Json(found))
}
