//! The API that takes a listing of a comparison from a URL, or from the database of a source of the directory.

use actix_web::{post, web};
use serde::Deserialize;

use crate::base::error::Result;
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::comparison::{Side, Uploaded, fetch};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::Json;
use crate::http::ids::InPath;
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(fetch_expected)
        .service(fetch_observed)
        .service(query_expected)
        .service(query_observed);
}

/// A listing at a URL.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct FetchListing {
    /// The URL to download. `CANDOR_LISTING_ALLOW` says which addresses it may have. For an inventory with a manifest, it is
    /// the URL of its `manifest.json`. It is not stored.
    url: String,
    /// When the listing was made. The default is the time at which the download begins.
    #[serde(default)]
    observed_at: Option<Timestamp>,
}

/// A listing that a query gives.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct QueryListing {
    /// The name of a source of the directory.
    source: String,
    /// A query of this source's database, in which each row has another value of the key. It is not stored.
    sql: String,
    /// When the listing was made. The default is the time at which the reading begins.
    #[serde(default)]
    observed_at: Option<Timestamp>,
}

/// Downloads the listing of what should be there, and answers when it is stored. It replaces an earlier one only if it
/// arrives completely.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])))]
#[post("/comparisons/{id}/expected/fetch")]
async fn fetch_expected(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ComparisonId>,
    body: Json<FetchListing>,
) -> Answer<Json<Uploaded>> {
    download(&app, &by, (id, Side::Expected), body.0).await
}

/// Downloads the listing of what is there, as for the expected one.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])))]
#[post("/comparisons/{id}/observed/fetch")]
async fn fetch_observed(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ComparisonId>,
    body: Json<FetchListing>,
) -> Answer<Json<Uploaded>> {
    download(&app, &by, (id, Side::Observed), body.0).await
}

/// Reads the listing of what should be there from the database of a source. The format of the listing must be `ndjson`, and
/// its columns are those of the query. The query can read everything that the source's user can, so it needs the role `admin`.
#[utoipa::path(tag = "Comparisons", security(("token" = ["admin"])))]
#[post("/comparisons/{id}/expected/query")]
async fn query_expected(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ComparisonId>,
    body: Json<QueryListing>,
) -> Answer<Json<Uploaded>> {
    query(&app, &by, (id, Side::Expected), body.0).await
}

/// Reads the listing of what is there from the database of a source, as for the expected one.
#[utoipa::path(tag = "Comparisons", security(("token" = ["admin"])))]
#[post("/comparisons/{id}/observed/query")]
async fn query_observed(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ComparisonId>,
    body: Json<QueryListing>,
) -> Answer<Json<Uploaded>> {
    query(&app, &by, (id, Side::Observed), body.0).await
}

async fn download(
    app: &App,
    by: &By,
    (comparison, side): (ComparisonId, Side),
    from: FetchListing,
) -> Answer<Json<Uploaded>> {
    let wanted = fetch::Wanted {
        comparison,
        side,
        observed_at: from.observed_at,
    };
    ended(
        app,
        fetch::from_url(&app.db, &by.0, wanted, &app.listings, &from.url).await,
    )
}

async fn query(
    app: &App,
    by: &By,
    (comparison, side): (ComparisonId, Side),
    from: QueryListing,
) -> Answer<Json<Uploaded>> {
    let wanted = fetch::Wanted {
        comparison,
        side,
        observed_at: from.observed_at,
    };
    let what = (from.source.as_str(), from.sql.as_str());
    ended(
        app,
        fetch::from_source(&app.db, &by.0, wanted, what, app.listing_limit).await,
    )
}

fn ended(app: &App, done: Result<Uploaded>) -> Answer<Json<Uploaded>> {
    // The rows of a listing that was replaced, or that failed, are deleted.
    app.comparisons.notify_one();
    Ok(Json(done?))
}
