//! The API for the sources of the directory: where the data comes from, how old it is, and what each run
//! changed.

use std::time::Duration;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use futures_util::Stream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::audit::Actor;
use crate::base::error::Error;
use crate::base::id::{RunId, SourceId};
use crate::directory::source::cancel::{Cancel, CancelOnDrop};
use crate::directory::source::manage::{self, Settings};
use crate::directory::source::run::{self, Cause, Run};
use crate::directory::source::status::{self, DirectoryStatus, SourceStatus};
use crate::directory::source::trial::{self, Trial};
use crate::directory::source::{self, CreatedSource, NewSource, Source, SourceChange};
use crate::http::App;
use crate::http::answer::{Accepted, Created, Declared, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(create)
        .service(list)
        .service(get_one)
        .service(change)
        .service(delete_one)
        .service(test)
        .service(sync)
        .service(runs)
        .service(run_one)
        .service(confirm)
        .service(refuse)
        .service(directory_status);
}

/// Returns the settings that a source is checked against.
pub fn settings(app: &App) -> Settings<'_> {
    Settings {
        own_file: app.db.url().sqlite_path(),
        callout_allow: app.callout_allow,
    }
}

/// Creates a source. The password in its URL is not shown again.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])))]
#[post("/directory/sources")]
async fn create(app: web::Data<App>, by: By, body: Json<NewSource>) -> Answer<Created<CreatedSource>> {
    let this = app.clone();
    let created = app
        .db
        .write(&by.0, move |tx| manage::create(tx, &body.0, settings(&this)))
        .await?;
    Ok(Created(created))
}

/// Returns the sources, oldest first.
#[utoipa::path(tag = "Sources", security(("token" = ["viewer"])), params(Paging))]
#[get("/directory/sources")]
async fn list(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<Source>>> {
    let Paging { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| source::list(conn, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |source| source.id.to_string())))
}

/// Returns a source with the age of its data and its last run.
#[utoipa::path(tag = "Sources", security(("token" = ["viewer"])))]
#[get("/directory/sources/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<SourceId>) -> Answer<Json<SourceStatus>> {
    let now = app.clock().now();
    let found = app
        .db
        .read(move |conn| {
            let source = source::get(conn, &id)?;
            status::read(conn, source, now)
        })
        .await?;
    Ok(Json(found))
}

/// Changes a source. Fields that are left out stay unchanged.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])))]
#[patch("/directory/sources/{id}")]
async fn change(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<SourceId>,
    body: Json<SourceChange>,
) -> Answer<Json<Source>> {
    let this = app.clone();
    let changed = app
        .db
        .write(&by.0, move |tx| manage::change(tx, &id, &body.0, settings(&this)))
        .await?;
    Ok(Json(changed))
}

/// Deletes a source. The entries that it created stay in the directory. A run or a test that reads the source
/// is cancelled and stores nothing.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])))]
#[delete("/directory/sources/{id}")]
async fn delete_one(app: web::Data<App>, by: By, InPath(id): InPath<SourceId>) -> Answer<NoContent> {
    app.db.write(&by.0, move |tx| manage::delete(tx, &id)).await?;
    Ok(NoContent)
}

/// Reads a source and stores nothing. It shows what the first rows of each query would become, how a sync
/// would end, and which rows it would leave out. It takes as long as reading the source, and at most as long as
/// the setting `CANDOR_SOURCE_TEST_LIMIT` allows. If it takes longer than two seconds, the answer begins with
/// spaces, so that the test is cancelled if the caller hangs up. What goes wrong after that is in `error`.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])), responses((status = 200, body = Trial)))]
#[post("/directory/sources/{id}/test")]
async fn test(app: web::Data<App>, by: By, InPath(id): InPath<SourceId>) -> Answer<Declared> {
    let cancel = app.trials.below();
    let guard = cancel.on_drop();
    let mut work = actix_web::rt::spawn(tried(app, by.0, id, cancel));
    let answer = match timeout(QUICK, &mut work).await {
        Ok(done) => HttpResponse::Ok().json(done.map_err(Error::internal)??),
        Err(_) => HttpResponse::Ok()
            .content_type("application/json")
            .streaming(slow(work, guard)),
    };
    Ok(Declared(answer))
}

/// How long the answer of a test waits for the result before it begins.
const QUICK: Duration = Duration::from_secs(2);
/// How often the answer of a test that takes longer is continued.
const BEAT: Duration = Duration::from_secs(1);

/// Tests a source and records that somebody did.
///
/// # Errors
/// The errors of [`trial::run`].
pub async fn tried(
    app: web::Data<App>,
    by: Actor,
    id: SourceId,
    cancel: Cancel,
) -> std::result::Result<Trial, Error> {
    let trial = trial::run(&app.db, &id, by.name(), &cancel, app.trial_limit).await?;
    let ok = trial.ok;
    app.db
        .write(&by, move |tx| {
            trial::record(tx, &id, ok);
            Ok(())
        })
        .await?;
    Ok(trial)
}

/// The body of a test that takes long: spaces until the result is there, which JSON allows before a value. A server that
/// writes nothing does not notice that its client has hung up. Then the body is dropped, and with it `guard`, which
/// cancels the test.
fn slow(
    work: JoinHandle<std::result::Result<Trial, Error>>,
    guard: CancelOnDrop,
) -> impl Stream<Item = std::result::Result<web::Bytes, serde_json::Error>> {
    futures_util::stream::unfold(Some((work, guard)), |running| async move {
        let (mut work, guard) = running?;
        let done = match timeout(BEAT, &mut work).await {
            Err(_) => return Some((Ok(web::Bytes::from_static(b" ")), Some((work, guard)))),
            Ok(done) => done.map_err(Error::internal).flatten(),
        };
        // The status was sent already, so the reason is in the trial.
        let trial = done.unwrap_or_else(|error| {
            Trial::failed(match &error {
                Error::Internal(_) => {
                    tracing::error!(error = error.chain(), "a test of a source failed");
                    "an internal error; the log of Candor has the details".to_owned()
                }
                other => other.to_string(),
            })
        });
        Some((serde_json::to_vec(&trial).map(web::Bytes::from), None))
    })
}

/// Starts a run that reads a source in the background. The returned run can be polled.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])))]
#[post("/directory/sources/{id}/sync")]
async fn sync(app: web::Data<App>, by: By, InPath(id): InPath<SourceId>) -> Answer<Accepted<Run>> {
    let run = app
        .db
        .write(&by.0, move |tx| run::request(tx, &id, Cause::Request))
        .await?;
    app.sources.notify_one();
    Ok(Accepted(run))
}

/// Returns the runs of a source, newest first.
#[utoipa::path(tag = "Sources", security(("token" = ["viewer"])), params(Paging))]
#[get("/directory/sources/{id}/runs")]
async fn runs(
    app: web::Data<App>,
    InPath(id): InPath<SourceId>,
    params: Params<Paging>,
) -> Answer<Json<Page<Run>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<String> = cursor(at.as_deref())?;
    let rows = app
        .db
        .read(move |conn| run::list(conn, &id, before.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |run| run.id.to_string())))
}

/// Returns a run with its progress, its changes and its errors.
#[utoipa::path(tag = "Sources", security(("token" = ["viewer"])))]
#[get("/directory/sources/{id}/runs/{run}")]
async fn run_one(app: web::Data<App>, InPath((id, run)): InPath<(SourceId, RunId)>) -> Answer<Json<Run>> {
    Ok(Json(app.db.read(move |conn| run::get(conn, &id, &run)).await?))
}

/// Confirms a run that waits because it would archive many entries.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])))]
#[post("/directory/sources/{id}/runs/{run}/confirm")]
async fn confirm(
    app: web::Data<App>,
    by: By,
    InPath((id, run)): InPath<(SourceId, RunId)>,
) -> Answer<Accepted<Run>> {
    let run = app.db.write(&by.0, move |tx| run::confirm(tx, &id, &run)).await?;
    app.sources.notify_one();
    Ok(Accepted(run))
}

/// Refuses a run that waits for a confirmation. It stores nothing.
#[utoipa::path(tag = "Sources", security(("token" = ["admin"])))]
#[post("/directory/sources/{id}/runs/{run}/refuse")]
async fn refuse(
    app: web::Data<App>,
    by: By,
    InPath((id, run)): InPath<(SourceId, RunId)>,
) -> Answer<Json<Run>> {
    let run = app.db.write(&by.0, move |tx| run::refuse(tx, &id, &run)).await?;
    Ok(Json(run))
}

/// Returns how old the directory is.
#[utoipa::path(tag = "Sources", security(("token" = ["viewer"])))]
#[get("/directory/status")]
async fn directory_status(app: web::Data<App>) -> Answer<Json<DirectoryStatus>> {
    let now = app.clock().now();
    let status = app.db.read(move |conn| status::directory(conn, now)).await?;
    Ok(Json(status))
}
