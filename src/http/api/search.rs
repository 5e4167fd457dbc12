//! The API for the search, and for what an operator chose for the pages.

use actix_web::{get, put, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::auth::preferences::{self, Preferences};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::problem::Answer;
use crate::search::{self, SearchKind, SearchResult};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(find)
        .service(read_preferences)
        .service(replace_preferences);
}

/// The largest number of rows of each kind, from 1 to 100.
#[derive(Clone, Copy)]
struct Most(i64);

impl Default for Most {
    fn default() -> Self {
        Most(10)
    }
}

impl<'de> Deserialize<'de> for Most {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let most = i64::deserialize(deserializer)?;
        if (1..=100).contains(&most) {
            Ok(Most(most))
        } else {
            Err(serde::de::Error::custom("must be a number from 1 to 100"))
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Searching {
    /// A part of a name, a title, an address or an ID, or the number of an incident. Upper and lower case make no difference.
    q: String,
    /// The kind of things to find. Without it, all kinds are searched.
    kind: Option<SearchKind>,
    /// The largest number of rows of each kind, from 1 to 100. The default is 10.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Most,
}

/// Finds incidents, people, accounts and resources by a part of a name.
#[utoipa::path(tag = "Search", security(("token" = ["viewer"])), params(Searching))]
#[get("/search")]
async fn find(app: web::Data<App>, params: Params<Searching>) -> Answer<Json<SearchResult>> {
    let Searching { q, kind, limit } = params.0;
    let found = app
        .db
        .read(move |conn| match kind {
            Some(kind) => search::search(conn, &q, &[kind], limit.0),
            None => search::search(conn, &q, &SearchKind::ORDER, limit.0),
        })
        .await?;
    Ok(Json(found))
}

/// Returns what the caller chose for the pages.
#[utoipa::path(tag = "Preferences", security(("token" = ["viewer"])))]
#[get("/preferences")]
async fn read_preferences(app: web::Data<App>, caller: web::ReqData<Caller>) -> Answer<Json<Preferences>> {
    let token = caller.id.to_string();
    let chosen = app.db.read(move |conn| preferences::of(conn, &token)).await?;
    Ok(Json(chosen))
}

/// Replaces what the caller chose for the pages. It applies to all tokens of the same person.
#[utoipa::path(tag = "Preferences", security(("token" = ["viewer"])))]
#[put("/preferences")]
async fn replace_preferences(
    app: web::Data<App>,
    by: By,
    caller: web::ReqData<Caller>,
    body: Json<Preferences>,
) -> Answer<Json<Preferences>> {
    let token = caller.id.to_string();
    let chosen = app
        .db
        .write(&by.0, move |tx| preferences::replace(tx, &token, &body.0))
        .await?;
    Ok(Json(chosen))
}
