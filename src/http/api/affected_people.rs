//! The API for the people who are named directly: they are added to an incident because they themselves are affected.

use actix_web::{get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::id::IncidentId;
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::Answer;
use crate::incident::affected::{Added, Removed};
use crate::incident::affected_people::{self, AddPeople, AffectedPerson, RemovePeople};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(add).service(list).service(remove);
}

/// Names people directly: adds them to an incident from a list or with a selector over people. Nobody is added if any part of
/// the request is wrong.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/affected/people")]
async fn add(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<AddPeople>,
) -> Answer<Json<Added>> {
    let added = app
        .db
        .write(&by.0, move |tx| affected_people::add(tx, &id, &body.0))
        .await?;
    Ok(Json(added))
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
    /// Only people whose ID, name or address contains this text, in upper or lower case.
    q: Option<String>,
}

/// The people who are named directly.
#[derive(Serialize, utoipa::ToSchema)]
struct AffectedPeoplePage {
    /// The number of people on all pages together, archived ones included.
    people: i64,
    /// The people on this page.
    items: Vec<AffectedPerson>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
}

/// Returns the people who are named directly. The audience contains everybody who is affected.
#[utoipa::path(tag = "Incidents", security(("token" = ["viewer"])), params(ListParams))]
#[get("/incidents/{id}/affected/people")]
async fn list(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ListParams>,
) -> Answer<Json<AffectedPeoplePage>> {
    let ListParams { limit, cursor: at, q } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let (rows, people) = app
        .db
        .read(move |conn| {
            let rows = affected_people::list(conn, &id, q.as_deref(), after, limit.probe())?;
            Ok((rows, affected_people::count(conn, &id, q.as_deref())?))
        })
        .await?;
    let Page { items, next_cursor } = page(rows, limit, |one| one.key);
    Ok(Json(AffectedPeoplePage {
        people,
        items,
        next_cursor,
    }))
}

/// Removes people who are named directly, from a list or with a selector over people. A person who is affected for
/// another reason stays affected. People who were already notified are still notified of the end.
#[utoipa::path(tag = "Incidents", security(("token" = ["operator"])))]
#[post("/incidents/{id}/affected/people/remove")]
async fn remove(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<RemovePeople>,
) -> Answer<Json<Removed>> {
    let removed = app
        .db
        .write(&by.0, move |tx| affected_people::remove(tx, &id, &body.0))
        .await?;
    Ok(Json(removed))
}
