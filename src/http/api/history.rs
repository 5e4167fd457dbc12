//! The API for what was told: to a person, to an account, or to an address.

use actix_web::{HttpResponse, get, web};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::base::id::ExternalId;
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::extract::{Json, Params};
use crate::http::ids::InPath;
use crate::http::page::{Limit, Page, cursor, page_until};
use crate::http::problem::Answer;
use crate::notice::EMAIL;
use crate::notice::history::{self, HistoryEntry, Place, Told, Wanted, csv};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(of_person).service(of_account).service(search);
}

/// The number of rows of a file that are read at once.
const STEP: i64 = 1_000;

/// One notice to one recipient, with a link to the email.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct HistoryRow {
    #[serde(flatten)]
    entry: HistoryEntry,
    /// The path of the email as it was sent. Null for a call to an endpoint, and while no delivery is queued.
    mail: Option<String>,
}

impl From<HistoryEntry> for HistoryRow {
    fn from(entry: HistoryEntry) -> Self {
        let mail = entry
            .delivery
            .filter(|_| entry.channel == EMAIL)
            .map(|id| format!("/api/v1/deliveries/{id}/mail"));
        HistoryRow { entry, mail }
    }
}

/// A page of a history.
#[derive(Serialize, utoipa::ToSchema)]
struct HistoryPage {
    /// The rows on this page.
    items: Vec<HistoryRow>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    next_cursor: Option<String>,
}

fn in_page(told: Told) -> HistoryPage {
    let rows = told.entries.into_iter().map(HistoryRow::from).collect();
    let Page { items, next_cursor } = page_until(rows, told.next.as_ref());
    HistoryPage { items, next_cursor }
}

/// The form of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HistoryFormat)]
enum Format {
    #[default]
    Json,
    Csv,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// `json` in pages, or `csv` with all rows. The default is `json`.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// The largest number of rows of a page, from 1 to 500. The default is 50. It is only for `json`.
    #[param(value_type = Option<i64>)]
    limit: Option<Limit>,
    /// The `next_cursor` of the previous page. It is only for `json`.
    cursor: Option<String>,
}

async fn answer(app: &web::Data<App>, wanted: Wanted, params: HistoryParams, name: &str) -> Answer<Declared> {
    let HistoryParams {
        format,
        limit,
        cursor: at,
    } = params;
    if format == Format::Csv {
        for (is_given, parameter) in [(limit.is_some(), "?limit"), (at.is_some(), "?cursor")] {
            if is_given {
                let detail = "must be left out: the file contains all rows";
                return Err(Error::invalid(parameter, detail).into());
            }
        }
        return Ok(Declared(file(app, wanted, name).await?));
    }
    let before: Option<Place> = cursor(at.as_deref())?;
    let limit = limit.unwrap_or_default();
    let told = app
        .db
        .read(move |conn| history::list(conn, &wanted, before.as_ref(), limit.0))
        .await?;
    Ok(Declared(HttpResponse::Ok().json(in_page(told))))
}

/// Returns every notice to a person, and what became of each.
///
/// The notice that was drafted last comes first. Notices that are being sent are among them. An archived person keeps the history.
#[utoipa::path(tag = "History", security(("token" = ["viewer"])), params(HistoryParams),
    responses((status = 200, content((HistoryPage = "application/json"), (String = "text/csv")))))]
#[get("/people/{person}/history")]
async fn of_person(
    app: web::Data<App>,
    InPath(id): InPath<ExternalId>,
    params: Params<HistoryParams>,
) -> Answer<Declared> {
    let wanted = Wanted {
        person: Some(id.to_string()),
        ..Wanted::default()
    };
    answer(&app, wanted, params.0, "history-of-person.csv").await
}

/// Returns every notice to an account, and what became of each.
///
/// These are the emails to people who were members of the account when the notice was queued, and the calls to its endpoints. The notice
/// that was drafted last comes first.
#[utoipa::path(tag = "History", security(("token" = ["viewer"])), params(HistoryParams),
    responses((status = 200, content((HistoryPage = "application/json"), (String = "text/csv")))))]
#[get("/accounts/{account}/history")]
async fn of_account(
    app: web::Data<App>,
    InPath(id): InPath<ExternalId>,
    params: Params<HistoryParams>,
) -> Answer<Declared> {
    let wanted = Wanted {
        account: Some(id.to_string()),
        ..Wanted::default()
    };
    answer(&app, wanted, params.0, "history-of-account.csv").await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchParams {
    /// Only emails to this address. Every spelling of a mailbox finds the same emails.
    address: Option<String>,
    /// Only emails to the person with this ID.
    #[param(value_type = Option<String>)]
    person: Option<ExternalId>,
    /// Only emails to people who were members of the account with this ID when the notice was queued, and calls to its endpoints.
    #[param(value_type = Option<String>)]
    account: Option<ExternalId>,
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Searches the deliveries of all notices by address, person or account.
///
/// At least one of them must be given, and each row matches all that are given. A page that is not full can have a next one.
#[utoipa::path(tag = "History", security(("token" = ["viewer"])), params(SearchParams))]
#[get("/deliveries")]
async fn search(app: web::Data<App>, params: Params<SearchParams>) -> Answer<Json<HistoryPage>> {
    let p = params.0;
    let before: Option<Place> = cursor(p.cursor.as_deref())?;
    let wanted = Wanted {
        address: p.address,
        person: p.person.map(|id| id.to_string()),
        account: p.account.map(|id| id.to_string()),
    };
    let limit = p.limit;
    let told = app
        .db
        .read(move |conn| history::list(conn, &wanted, before.as_ref(), limit.0))
        .await?;
    Ok(Json(in_page(told)))
}

/// Answers with all rows as a CSV file. The rows are read in parts while the file is sent, so it is never in memory as a whole.
///
/// # Errors
/// `NotFound` if the person or the account does not exist.
pub(in crate::http) async fn file(app: &web::Data<App>, wanted: Wanted, name: &str) -> Answer<HttpResponse> {
    // Whoever does not exist is an error before the file begins.
    let first = read(app, wanted.clone(), None).await?;
    let app = app.clone();
    let parts = stream::try_unfold(Part::First(first), move |part| {
        let (app, wanted) = (app.clone(), wanted.clone());
        async move {
            let (told, is_first) = match part {
                Part::First(told) => (told, true),
                Part::After(place) => {
                    let told = read(&app, wanted, Some(place)).await;
                    (
                        told.map_err(|error| std::io::Error::other(error.to_string()))?,
                        false,
                    )
                }
                Part::Over => return Ok(None),
            };
            let text = csv::lines(&told.entries, is_first)
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            let next = told.next.map_or(Part::Over, Part::After);
            Ok::<_, std::io::Error>(Some((web::Bytes::from(text), next)))
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .insert_header(("cache-control", "no-store"))
        .streaming(Box::pin(parts)))
}

/// What is written next into a file.
enum Part {
    First(Told),
    After(Place),
    Over,
}

async fn read(app: &App, wanted: Wanted, before: Option<Place>) -> crate::base::error::Result<Told> {
    app.db
        .read(move |conn| history::list(conn, &wanted, before.as_ref(), STEP))
        .await
}
