//! The API for the recovery of the affected resources: states, evidence, attestations, the curve, and how long resources were impaired.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::error::{Error, Result};
use crate::base::id::{AttestationId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::http::App;
use crate::http::answer::{Created, Declared};
use crate::http::api::account_recovery::by_account;
use crate::http::audience_cache::AudienceCache;
use crate::http::auth::By;
use crate::http::extract::{Json, Params, is_media, read_body};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::{Answer, Problem};
use crate::http::svg;
use crate::incident::affected_people;
use crate::incident::recovery::{
    self, AccountProgress, Attestation, AttestationState, Batch, Begun, Change, Confirmed, Counts,
    NewAttestation, Observed, OfAccount, OfResource, Point, Recovery, State, Taken, Wanted, chart, csv,
};
use crate::watch::{self, evidence::CheckEvidence};

/// The largest size of lines of evidence, in bytes.
pub(in crate::http) const MAX_EVIDENCE: usize = 256 * 1024 * 1024;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(show)
        .service(begin)
        .service(give_evidence)
        .service(give_check)
        .service(list)
        .service(history)
        .service(series)
        .service(image)
        .service(impact)
        .service(attest)
        .service(list_attestations)
        .service(confirm)
        .service(withdraw);
}

/// The progress of one account.
#[derive(Serialize, utoipa::ToSchema)]
struct AccountRecovery {
    #[serde(flatten)]
    progress: AccountProgress,
    /// How many people of the account were notified that all of theirs is recovered.
    notified: i64,
}

/// How far the recovery of an incident is.
#[derive(Serialize, utoipa::ToSchema)]
struct RecoveryPage {
    /// Whether the incident has recovery states. If not, every affected resource counts as impaired.
    in_use: bool,
    /// The numbers of all affected resources.
    counts: Counts,
    /// The numbers of those that belong to no account.
    without_account: Counts,
    /// The number of people who are named directly. They have no recovery state: they get no recovery, and a resolution to them is not
    /// checked. Remove a person from the incident when the incident is over for this person.
    people_named_directly: i64,
    /// The attestations that wait for a second person.
    open_attestations: Vec<Attestation>,
    /// The accounts on this page, ordered by ID.
    accounts: Vec<AccountRecovery>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
}

/// Returns how many people of each of these accounts were notified that all of their resources are recovered, and have no resource that is impaired since.
pub(in crate::http) fn notified(
    conn: &mut Conn,
    cache: &AudienceCache,
    incident: &IncidentId,
    accounts: &[AccountProgress],
    now: Timestamp,
) -> Result<HashMap<String, i64>> {
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let of_all = by_account(conn, cache, incident, now)?;
    Ok(accounts
        .iter()
        .filter_map(|one| Some((one.account.clone(), of_all.value.get(&one.account)?.notified)))
        .collect())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ShowParams {
    /// The largest number of accounts, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Returns how far the recovery is: the numbers of all affected resources, and those of each account.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])), params(ShowParams))]
#[get("/incidents/{id}/recovery")]
async fn show(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ShowParams>,
) -> Answer<Json<RecoveryPage>> {
    let ShowParams { limit, cursor: at } = params.0;
    let after: Option<String> = cursor(at.as_deref())?;
    let (cache, now) = (app.audience_cache.clone(), app.clock().now());
    let (progress, accounts, mut notified, mut attestations, people_named_directly) = app
        .db
        .read(move |conn| {
            let progress = recovery::progress(conn, &id)?;
            let accounts = recovery::accounts(conn, &id, after.as_deref(), limit.probe())?;
            let notified = notified(conn, &cache, &id, &accounts, now)?;
            let attestations = recovery::attestations(conn, &id)?;
            let named = affected_people::count(conn, &id, None)?;
            Ok((progress, accounts, notified, attestations, named))
        })
        .await?;
    attestations.retain(|one| one.state == AttestationState::Open);
    let Page { items, next_cursor } = page(accounts, limit, |one| one.account.clone());
    let accounts = items
        .into_iter()
        .map(|progress| AccountRecovery {
            notified: notified.remove(&progress.account).unwrap_or(0),
            progress,
        })
        .collect();
    Ok(Json(RecoveryPage {
        in_use: progress.in_use,
        counts: progress.counts,
        without_account: progress.without_account,
        people_named_directly,
        open_attestations: attestations,
        accounts,
        next_cursor,
    }))
}

/// Says that somebody begins to recover resources, or that this failed. A resource becomes recovered only by evidence.
#[utoipa::path(tag = "Recovery", security(("token" = ["operator"])))]
#[post("/incidents/{id}/recovery")]
async fn begin(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<Batch>,
) -> Answer<Json<Begun>> {
    let begun = app
        .db
        .write(&by.0, move |tx| recovery::change(tx, &id, &body.0))
        .await?;
    Ok(Json(begun))
}

/// Takes lines of evidence, as NDJSON or as CSV. Each line is what was observed of one resource:
/// `{"type": "file", "id": "42", "size": 642111856, "checksum": "sha256:…", "observed_at": "2024-04-20T10:00:00Z", "source": "s3 head"}`.
/// A resource becomes recovered if what is given is what was expected. Each line that is refused has its reason.
#[utoipa::path(tag = "Recovery", security(("token" = ["operator"])),
    request_body(content((String = "application/x-ndjson"), (String = "text/csv"))))]
#[post("/incidents/{id}/recovery/evidence")]
async fn give_evidence(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    InPath(id): InPath<IncidentId>,
    payload: web::Payload,
) -> Answer<Json<Taken>> {
    let is_csv = is_media(&req, "text/csv");
    if !is_csv && !is_media(&req, "application/x-ndjson") {
        return Err(Problem::UnsupportedMedia("application/x-ndjson or text/csv"));
    }
    let body = read_body(&req, &mut payload.into_inner(), MAX_EVIDENCE).await?;
    let lines = web::block(move || match is_csv {
        true => recovery::parse_csv(&body),
        false => recovery::parse(&body),
    })
    .await
    .map_err(Error::internal)??;
    let taken = app
        .db
        .write(&by.0, move |tx| recovery::give(tx, &id, &lines))
        .await?;
    Ok(Json(taken))
}

/// Takes the last answer of a check as evidence, for resources without an expected value. The check must be up, must have passed after
/// each resource was last seen to be wrong, and must be about these resources or their ancestors.
#[utoipa::path(tag = "Recovery", security(("token" = ["operator"])))]
#[post("/incidents/{id}/recovery/evidence/check")]
async fn give_check(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<CheckEvidence>,
) -> Answer<Json<Observed>> {
    let observed = app
        .db
        .write(&by.0, move |tx| watch::evidence::give(tx, &id, &body.0))
        .await?;
    Ok(Json(observed))
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
    /// Only resources in this state.
    state: Option<State>,
    /// Only resources of the account with this ID.
    account: Option<String>,
    /// Only resources whose type, ID or name contains this text.
    q: Option<String>,
}

/// Returns the affected resources with their state and the latest evidence.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])), params(ListParams))]
#[get("/incidents/{id}/recovery/resources")]
async fn list(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ListParams>,
) -> Answer<Json<Page<Recovery>>> {
    let p = params.0;
    let after: Option<i64> = cursor(p.cursor.as_deref())?;
    let wanted = Wanted {
        state: p.state,
        account: p.account,
        text: p.q,
    };
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| recovery::list(conn, &id, &wanted, after, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.key)))
}

/// Returns every change of the state of one resource, in the order in which they were recorded.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])),
    responses((status = 200, body = Vec<Change>)))]
#[get("/incidents/{id}/recovery/resources/{type}/{resource}")]
async fn history(
    app: web::Data<App>,
    InPath((id, at)): InPath<(IncidentId, ResourceRef)>,
) -> Answer<Declared> {
    let changes = app.db.read(move |conn| recovery::history(conn, &id, &at)).await?;
    Ok(Declared(HttpResponse::Ok().json(changes)))
}

/// Returns the number of resources in each state over time, in at most 201 points. The numbers are of the resources that are affected now.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])),
    responses((status = 200, body = Vec<Point>)))]
#[get("/incidents/{id}/recovery/series")]
async fn series(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Declared> {
    let points = app.db.read(move |conn| recovery::series(conn, &id)).await?;
    Ok(Declared(HttpResponse::Ok().json(points)))
}

/// Returns the curve of the recovery as an SVG image.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])),
    responses((status = 200, description = "An image", content_type = "image/svg+xml")))]
#[get("/incidents/{id}/recovery.svg")]
async fn image(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Declared> {
    Ok(Declared(drawn(&app, id).await?))
}

/// Returns the curve of an incident as an answer.
pub(in crate::http) async fn drawn(app: &App, id: IncidentId) -> Answer<HttpResponse> {
    let drawing = app
        .db
        .read(move |conn| chart::svg(&recovery::series(conn, &id)?))
        .await?;
    Ok(svg::answer(drawing))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ImpactOf)]
pub(in crate::http) enum ImpactOf {
    #[default]
    Resource,
    Account,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ImpactFormat)]
enum ImpactFormat {
    #[default]
    Json,
    Csv,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImpactParams {
    /// Whether each row is a resource or an account. The default is `resource`.
    #[serde(default)]
    #[param(inline)]
    by: ImpactOf,
    /// `json` in pages, or `csv` with all rows. The default is `json`.
    #[serde(default)]
    #[param(inline)]
    format: ImpactFormat,
    /// The largest number of rows of a page, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// A page with resources or with accounts.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum ImpactPage {
    /// A page of resources, if `by` is `resource`.
    Resources {
        /// The resources of this page, each with the time for which it was impaired.
        items: Vec<OfResource>,
        /// Send this value as `cursor` to get the next page. Null on the last page.
        next_cursor: Option<String>,
    },
    /// A page of accounts, if `by` is `account`.
    Accounts {
        /// The accounts of this page, each with the time for which its resources were impaired.
        items: Vec<OfAccount>,
        /// Send this value as `cursor` to get the next page. Null on the last page.
        next_cursor: Option<String>,
    },
}

/// Returns from when to when each resource or account was impaired, and how many minutes, for example for the credits of a service level
/// agreement. What is still impaired counts until now.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])), params(ImpactParams),
    responses((status = 200, content((ImpactPage = "application/json"), (String = "text/csv")))))]
#[get("/incidents/{id}/recovery/impact")]
async fn impact(
    app: web::Data<App>,
    InPath(id): InPath<IncidentId>,
    params: Params<ImpactParams>,
) -> Answer<Declared> {
    let p = params.0;
    if p.format == ImpactFormat::Csv {
        if p.cursor.is_some() {
            return Err(Error::invalid("?cursor", "is not for csv, which has all rows").into());
        }
        return Ok(Declared(as_csv(&app, id, p.by).await?));
    }
    let (now, limit) = (app.clock().now(), p.limit);
    let page = match p.by {
        ImpactOf::Resource => {
            let after: Option<i64> = cursor(p.cursor.as_deref())?;
            let rows = app
                .db
                .read(move |conn| recovery::of_resources(conn, &id, (after, limit.probe()), now))
                .await?;
            let Page { items, next_cursor } = page(rows, limit, |one| one.key);
            ImpactPage::Resources { items, next_cursor }
        }
        ImpactOf::Account => {
            let after: Option<String> = cursor(p.cursor.as_deref())?;
            let mut rows = app
                .db
                .read(move |conn| recovery::of_accounts(conn, &id, now))
                .await?;
            if let Some(after) = after {
                rows.retain(|one| one.account > after);
            }
            let Page { items, next_cursor } = page(rows, limit, |one| one.account.clone());
            ImpactPage::Accounts { items, next_cursor }
        }
    };
    Ok(Declared(HttpResponse::Ok().json(page)))
}

/// Returns the impact of an incident as a file.
pub(in crate::http) async fn as_csv(app: &App, id: IncidentId, by: ImpactOf) -> Answer<HttpResponse> {
    let now = app.clock().now();
    let (text, name) = match by {
        ImpactOf::Resource => (
            app.db.read(move |conn| csv::resources(conn, &id, now)).await?,
            "impact-resources.csv",
        ),
        ImpactOf::Account => (
            app.db.read(move |conn| csv::accounts(conn, &id, now)).await?,
            "impact-accounts.csv",
        ),
    };
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .body(text))
}

/// Attests, as the first of two people, that resources are recovered of which nothing can be measured. Nothing is recovered until another
/// person confirms it.
#[utoipa::path(tag = "Recovery", security(("token" = ["operator"])))]
#[post("/incidents/{id}/recovery/attest")]
async fn attest(
    app: web::Data<App>,
    by: By,
    InPath(id): InPath<IncidentId>,
    body: Json<NewAttestation>,
) -> Answer<Created<Attestation>> {
    let attestation = app
        .db
        .write(&by.0, move |tx| recovery::ask(tx, &id, &body.0))
        .await?;
    Ok(Created(attestation))
}

/// Returns the attestations of an incident, oldest first.
#[utoipa::path(tag = "Recovery", security(("token" = ["viewer"])),
    responses((status = 200, body = Vec<Attestation>)))]
#[get("/incidents/{id}/recovery/attestations")]
async fn list_attestations(app: web::Data<App>, InPath(id): InPath<IncidentId>) -> Answer<Declared> {
    let attestations = app
        .db
        .read(move |conn| {
            crate::incident::get(conn, &id)?;
            recovery::attestations(conn, &id)
        })
        .await?;
    Ok(Declared(HttpResponse::Ok().json(attestations)))
}

/// Confirms an attestation as the second person. The same person with another token is refused.
#[utoipa::path(tag = "Recovery", security(("token" = ["operator"])))]
#[post("/incidents/{id}/recovery/attestations/{attestation}/confirm")]
async fn confirm(
    app: web::Data<App>,
    by: By,
    InPath((id, attestation)): InPath<(IncidentId, AttestationId)>,
) -> Answer<Json<Confirmed>> {
    let confirmed = app
        .db
        .write(&by.0, move |tx| recovery::confirm(tx, &id, &attestation))
        .await?;
    Ok(Json(confirmed))
}

/// Withdraws an attestation that waits for the second person.
#[utoipa::path(tag = "Recovery", security(("token" = ["operator"])))]
#[delete("/incidents/{id}/recovery/attestations/{attestation}")]
async fn withdraw(
    app: web::Data<App>,
    by: By,
    InPath((id, attestation)): InPath<(IncidentId, AttestationId)>,
) -> Answer<Json<Attestation>> {
    let withdrawn = app
        .db
        .write(&by.0, move |tx| recovery::withdraw(tx, &id, &attestation))
        .await?;
    Ok(Json(withdrawn))
}
