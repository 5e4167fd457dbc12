//! The API for comparisons: what should be there against what is there.
//!
//! A listing is stored while it arrives. A run is carried out in the background, and its request waits for a while.

use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::audience;
use crate::audit::Actor;
use crate::base::id::{ComparisonId, IncidentId};
use crate::base::time::Timestamp;
use crate::comparison::{
    self, Applied, Apply, Comparison, Finding, Kind, NewComparison, Run, Side, State, Upload, UploadTarget,
    Uploaded,
};
use crate::http::App;
use crate::http::answer::{Created, Declared, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, MAX_IMPORT, Pace, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, Paging, cursor, page};
use crate::http::problem::{Answer, Problem};
use crate::listing::Encoding;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(get_one)
        .service(discard)
        .service(put_expected)
        .service(put_observed)
        .service(run_now)
        .service(runs)
        .service(findings)
        .service(apply);
}

/// How long the request of a run waits for its end.
const WAIT: Duration = Duration::from_secs(30);
/// The first and the longest pause between two looks at a run.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// Creates a comparison of two listings: what should be there (expected) with what is there (observed). It waits for its
/// listings.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])))]
#[post("/incidents/{id}/comparisons")]
async fn create(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewComparison>,
) -> Answer<Created<Comparison>> {
    let created = app
        .db
        .write(&by.0, move |tx| comparison::create(tx, &id, &body.0))
        .await?;
    Ok(Created(created))
}

/// Returns the comparisons of an incident, newest first.
#[utoipa::path(tag = "Comparisons", security(("token" = ["viewer"])), params(Paging))]
#[get("/incidents/{id}/comparisons")]
async fn list(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Comparison>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| comparison::list(conn, &id, before.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.id.to_string())))
}

/// Returns a comparison with its listings, its progress and the result of its last run.
#[utoipa::path(tag = "Comparisons", security(("token" = ["viewer"])))]
#[get("/comparisons/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<ComparisonId>) -> Answer<Json<Comparison>> {
    Ok(Json(app.db.read(move |conn| comparison::get(conn, &id)).await?))
}

/// Discards a comparison with its listings. A comparison through which something became affected is the evidence for
/// it and cannot be discarded.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])))]
#[delete("/comparisons/{id}")]
async fn discard(app: web::Data<App>, by: By, InPath(id): InPath<ComparisonId>) -> Answer<NoContent> {
    app.db
        .write(&by.0, move |tx| comparison::discard(tx, &id))
        .await?;
    app.comparisons.notify_one();
    Ok(NoContent)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UploadParams {
    /// When the listing was made. The default is the time at which its upload begins.
    #[param(value_type = Option<String>)]
    observed_at: Option<Timestamp>,
}

/// Uploads the listing of what should be there. It is streamed, and may be compressed (`Content-Encoding: gzip` or
/// `zstd`). It replaces an earlier one only if it arrives completely. Lines that cannot be read are counted, and the
/// first hundred are returned with the reason.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])), params(UploadParams),
    request_body(content((String = "text/tab-separated-values"), (String = "text/csv"), (String = "application/x-ndjson"), (String = "application/octet-stream"))))]
#[put("/comparisons/{id}/expected")]
async fn put_expected(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    InPath(id): InPath<ComparisonId>,
    params: Params<UploadParams>,
    payload: web::Payload,
) -> Answer<Json<Uploaded>> {
    put(&app, &by.0, &req, (id, Side::Expected, params.0), payload).await
}

/// Uploads the listing of what is there, as for the expected one. After findings were applied, a new listing and a run are
/// the evidence that resources are recovered, or that they are not.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])), params(UploadParams),
    request_body(content((String = "text/tab-separated-values"), (String = "text/csv"), (String = "application/x-ndjson"), (String = "application/octet-stream"))))]
#[put("/comparisons/{id}/observed")]
async fn put_observed(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    InPath(id): InPath<ComparisonId>,
    params: Params<UploadParams>,
    payload: web::Payload,
) -> Answer<Json<Uploaded>> {
    put(&app, &by.0, &req, (id, Side::Observed, params.0), payload).await
}

async fn put(
    app: &App,
    by: &Actor,
    req: &HttpRequest,
    (comparison, side, params): (ComparisonId, Side, UploadParams),
    mut payload: web::Payload,
) -> Answer<Json<Uploaded>> {
    let target = UploadTarget {
        comparison,
        side,
        encoding: encoding(req.headers())?,
        observed_at: params.observed_at,
    };
    let upload = Upload::begin(&app.db, by, target).await?;
    let done = receive(upload, Pace::begin(req), &mut payload).await;
    // The rows of a listing that was replaced, or that failed, are deleted.
    app.comparisons.notify_one();
    Ok(Json(done?))
}

/// Passes a body on to an upload, and completes it.
///
/// # Errors
/// 413 if the body is too large, 408 if it is too slow, 422 if the connection is interrupted, and the errors of the upload.
pub async fn receive(
    mut upload: Upload,
    mut pace: Pace,
    payload: &mut (impl Stream<Item = Result<web::Bytes, actix_web::error::PayloadError>> + Unpin),
) -> Answer<Uploaded> {
    let mut size = 0;
    while let Some(chunk) = pace.next(payload).await? {
        size += chunk.len() as u64;
        if size > MAX_IMPORT {
            return Err(Problem::TooLarge(MAX_IMPORT as usize));
        }
        upload.push(&chunk).await?;
    }
    Ok(upload.finish().await?)
}

/// Returns how a body is compressed.
fn encoding(headers: &HeaderMap) -> Answer<Encoding> {
    let mut given = headers.get_all(CONTENT_ENCODING);
    let first = given.next().map(|value| value.to_str().unwrap_or("?"));
    match (Encoding::of_header(first), given.next()) {
        (Ok(encoding), None) => Ok(encoding),
        _ => Err(Problem::UnknownEncoding),
    }
}

/// Compares the listings. The answer comes when the run is complete, or after 30 seconds with status 202 and the state
/// `running`; `GET /comparisons/{id}` then shows the progress. The same listings always give the same result.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])),
    responses((status = 200, body = Comparison), (status = 202, body = Comparison)))]
#[post("/comparisons/{id}/run")]
async fn run_now(app: web::Data<App>, by: By, InPath(id): InPath<ComparisonId>) -> Answer<Declared> {
    let shown = carry_out(&app, &by.0, &id, WAIT).await?;
    let answer = match shown.state {
        State::Running => HttpResponse::Accepted().json(shown),
        _ => HttpResponse::Ok().json(shown),
    };
    Ok(Declared(answer))
}

/// Asks for a run, and waits for its end, but no longer than `most`.
///
/// # Errors
/// The errors of [`comparison::request_run`].
pub async fn carry_out(app: &App, by: &Actor, id: &ComparisonId, most: Duration) -> Answer<Comparison> {
    let of = id.clone();
    app.db
        .write(by, move |tx| comparison::request_run(tx, &of))
        .await?;
    app.comparisons.notify_one();
    let until = tokio::time::Instant::now() + most;
    let mut pause = LOOK.0;
    loop {
        tokio::time::sleep(pause).await;
        let of = id.clone();
        let shown = app.db.read(move |conn| comparison::get(conn, &of)).await?;
        if shown.state != State::Running || tokio::time::Instant::now() >= until {
            return Ok(shown);
        }
        pause = (pause * 2).min(LOOK.1);
    }
}

/// Returns the runs of a comparison, newest first, with their inputs and their counts.
#[utoipa::path(tag = "Comparisons", security(("token" = ["viewer"])), params(Paging))]
#[get("/comparisons/{id}/runs")]
async fn runs(
    app: web::Data<App>,
    InPath(id): InPath<ComparisonId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Run>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| comparison::runs(conn, &id, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |run| run.number)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FindingParams {
    /// Only findings of this kind.
    #[param(inline)]
    kind: Option<Kind>,
    /// The findings of the run with this number. The default is the last run.
    run: Option<i64>,
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Returns the findings of a run, in the order of their keys. Findings whose resource is not in the directory are among them.
/// Equal rows are only counted.
#[utoipa::path(tag = "Comparisons", security(("token" = ["viewer"])), params(FindingParams))]
#[get("/comparisons/{id}/findings")]
async fn findings(
    app: web::Data<App>,
    InPath(id): InPath<ComparisonId>,
    params: Params<FindingParams>,
) -> Answer<Json<Page<Finding>>> {
    let FindingParams {
        kind,
        run,
        limit,
        cursor: at,
    } = params.0;
    let after: Option<i64> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| comparison::findings(conn, &id, (run, kind), after, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, Finding::place)))
}

/// What was applied, or what would be.
#[derive(Serialize, utoipa::ToSchema)]
struct AppliedNow {
    #[serde(flatten)]
    applied: Applied,
    /// The accounts of those that would become affected. Only for `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<usize>,
    /// The people who would be notified because of those that would become affected, by the default rule. Only for `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<usize>,
}

/// Makes the resources or people of findings affected, with the finding as the reason. All findings of the given kinds are
/// applied, or none. With `dry_run`, nothing changes, and the answer says how many accounts and people it would be.
#[utoipa::path(tag = "Comparisons", security(("token" = ["operator"])))]
#[post("/comparisons/{id}/apply")]
async fn apply(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<ComparisonId>,
    body: Json<Apply>,
) -> Answer<Json<AppliedNow>> {
    let request = body.0;
    if request.dry_run {
        let shown = preview(&app, id, request).await?;
        return Ok(Json(AppliedNow {
            applied: shown.applied,
            accounts: Some(shown.accounts),
            people: Some(shown.people),
        }));
    }
    let applied = app
        .db
        .write(&by.0, move |tx| comparison::apply(tx, &id, &request))
        .await?;
    Ok(Json(AppliedNow {
        applied,
        accounts: None,
        people: None,
    }))
}

/// What applying would do.
pub struct Preview {
    /// The numbers of what would become affected.
    pub applied: Applied,
    /// The number of accounts that own these resources. 0 if the comparison is about people.
    pub accounts: usize,
    /// The people who would be notified because of them.
    pub people: usize,
}

/// Returns what applying would do.
///
/// # Errors
/// The errors of [`comparison::preview`].
pub async fn preview(app: &App, id: ComparisonId, request: Apply) -> Answer<Preview> {
    let shown = app
        .db
        .read(move |conn| {
            let (applied, keys) = comparison::preview(conn, &id, &request)?;
            let about_people = comparison::get(conn, &id)?.definition().is_about_people();
            let (accounts, people) = match about_people {
                true => (0, keys.len()),
                false => audience::count_keys(conn, &keys)?,
            };
            Ok(Preview {
                applied,
                accounts,
                people,
            })
        })
        .await?;
    Ok(shown)
}
