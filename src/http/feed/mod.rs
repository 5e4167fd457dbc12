//! The feed of one person, for the product: what the person was told, whether it is read, and what concerns the person now.
//!
//! Every path needs a token that the product signed (`guard`). The answers have an `ETag`, so asking again is cheap. The stream only
//! says when to ask again.

mod embed;
mod guard;
mod stream;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use embed::script;

use super::answer::Declared;
use super::edge;
use super::extract::{Json, Params};
use super::page::{Paging, cursor, encode};
use super::problem::Answer;
use crate::audit::Actor;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::customer::feed::{FeedPage, page as feed_page};
use crate::customer::pass::{self, Purpose};
use crate::customer::read::{Marked, NewMark, advance};
use crate::customer::status::{FeedStatus, of as status_of};
use crate::http::App;
use crate::notice::history::Place;
use guard::{By, PREFIX};

/// Returns everything below `/feed/v1`, behind the guard.
pub fn routes() -> utoipa_actix_web::scope::Scope<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    utoipa_actix_web::scope(PREFIX)
        .wrap(from_fn(guard::guard))
        .service(notices)
        .service(read)
        .service(status)
        .service(mine)
        .service(stream::stream)
        .default_service(web::to(edge::not_served))
}

/// Answers with JSON and its `ETag`, or with 304 if the caller has it already.
fn tagged(req: &HttpRequest, value: &impl Serialize) -> Answer<Declared> {
    let body = serde_json::to_vec(value).map_err(crate::base::error::Error::from)?;
    let tag = format!("\"{}\"", hex(&Sha256::digest(&body)[..16]));
    let known = req
        .headers()
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = match known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((ETAG, tag))
        // The browser may keep it, and asks each time whether it is still the same.
        .insert_header((CACHE_CONTROL, "private, no-cache"));
    Ok(Declared(match known {
        true => response.finish(),
        false => response.content_type("application/json").body(body),
    }))
}

/// Returns the notices that were sent to the person of the token, the one that was drafted last first. The answer has an `ETag`.
#[utoipa::path(tag = "Feed", security(()), params(Paging),
    responses((status = 200, description = "A page of notices", body = FeedPage), (status = 304), (status = 401), (status = 403),
        (status = 422), (status = 429)))]
#[get("/notices")]
async fn notices(app: web::Data<App>, req: HttpRequest, by: By, params: Params<Paging>) -> Answer<Declared> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<Place> = cursor(at.as_deref())?;
    let links = app.links.clone();
    let (items, next, unread) = app
        .db
        .read(move |conn| feed_page(conn, &by.0, &links, before.as_ref(), limit.0))
        .await?;
    let page = FeedPage {
        items,
        next_cursor: next.map(|place| encode(&place)),
        unread,
    };
    tagged(&req, &page)
}

/// Marks everything that was sent to the person until a notice or a time as read. A mark never goes back.
#[utoipa::path(tag = "Feed", security(()),
    responses((status = 200, description = "What is read", body = Marked), (status = 401), (status = 403), (status = 413), (status = 415),
        (status = 422), (status = 429)))]
#[post("/read")]
async fn read(app: web::Data<App>, by: By, body: Json<NewMark>) -> Answer<Json<Marked>> {
    let actor = Actor::person(by.0.signed_by.as_str());
    let marked = app
        .db
        .write(&actor, move |tx| advance(tx, &by.0, &body.0))
        .await?;
    Ok(Json(marked))
}

/// Returns the open incidents of which the person was told, and the number of unread notices. The answer has an `ETag`.
/// It also has the words of a page in the language of the person.
#[utoipa::path(tag = "Feed", security(()),
    responses((status = 200, description = "What concerns the person now", body = FeedStatus), (status = 304), (status = 401),
        (status = 403), (status = 422), (status = 429)))]
#[get("/status")]
async fn status(app: web::Data<App>, req: HttpRequest, by: By, _: Params<Nothing>) -> Answer<Declared> {
    let company = app.sending.sender.clone();
    let shown = app.db.read(move |conn| status_of(conn, &by.0, &company)).await?;
    tagged(&req, &shown)
}

/// The address of the page of a person.
#[derive(Serialize, utoipa::ToSchema)]
struct MinePage {
    /// The address. It opens the page once the person presses its button, until it expires.
    url: String,
    /// When the address expires.
    expires_at: Timestamp,
}

/// Returns an address at which the person of the token opens "My incidents" within five minutes.
#[utoipa::path(tag = "Feed", security(()),
    responses((status = 200, description = "The address", body = MinePage), (status = 401), (status = 403), (status = 429)))]
#[post("/mine")]
async fn mine(app: web::Data<App>, by: By) -> Answer<Json<MinePage>> {
    let (ticket, expires_at) = pass::write(
        &app.links,
        Purpose::Ticket,
        &by.0.person,
        Some(&by.0.signed_by),
        app.clock().now(),
    )?;
    let url = format!("{}/mine/open/{ticket}", app.sending.public_url);
    Ok(Json(MinePage { url, expires_at }))
}

/// The query of an operation that accepts no query parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}
