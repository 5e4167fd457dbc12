//! Who may read the feed: a token of the product, and in a browser only pages of the origins that its key names.
//!
//! Every refusal of a token has one and the same answer, so that it tells a forger nothing. It is counted like any other refusal without a
//! valid token. An origin that no key names gets 403 and no permission to read even that.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, VARY,
};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, web};

use crate::base::code::Code;
use crate::base::error::Error;
use crate::customer::keys;
use crate::customer::reader::{self, Reader};
use crate::http::App;
use crate::http::auth::{bearer, configured};
use crate::http::edge::{Paths, not_served};
use crate::http::problem::{Answer, Problem};
use crate::http::refusals::RefusalKind;

/// The prefix of the paths of the feed.
pub(super) const PREFIX: &str = "/feed/v1";

/// The reader that the guard accepted.
pub(super) struct By(pub Reader);

impl FromRequest for By {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let reader = req.extensions().get::<Reader>().cloned();
        std::future::ready(
            reader
                .map(By)
                .ok_or_else(|| Error::internal("a handler outside the feed").into()),
        )
    }
}

/// How a request goes on.
enum Entry {
    /// The caller asks what it may send.
    Preflight,
    /// The path does not accept the method, or does not exist.
    NotServed(web::Data<Paths>),
    /// The caller is this reader.
    Reader(Box<Reader>),
}

/// Accepts requests with a valid token, and answers the preflights of browsers.
pub(super) async fn guard(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let mut allowed = None;
    let mut response = match enter(&req, &mut allowed).await {
        Err(problem) => req.error_response(problem).map_into_boxed_body(),
        Ok(Entry::Preflight) => req.into_response(preflight()),
        Ok(Entry::NotServed(paths)) => match not_served(req.request().clone(), paths).await {
            Ok(answer) => req.into_response(answer),
            Err(problem) => req.error_response(problem).map_into_boxed_body(),
        },
        Ok(Entry::Reader(reader)) => {
            req.extensions_mut().insert(*reader);
            next.call(req).await?.map_into_boxed_body()
        }
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
    }
    Ok(response)
}

fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
        .insert_header((
            ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-none-match",
        ))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

/// Checks the origin and the token. `allowed` becomes the origin that may read the answer, also if the answer is a refusal of the token.
async fn enter(req: &ServiceRequest, allowed: &mut Option<HeaderValue>) -> Answer<Entry> {
    let app: web::Data<App> = configured(req)?;
    let origin = origin(req.headers())?;
    if let Some((text, value)) = &origin {
        let text = text.clone();
        if !app.db.read(move |conn| keys::any_names(conn, &text)).await? {
            return Err(foreign());
        }
        *allowed = Some(value.clone());
    }
    let asks = req.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if req.method() == Method::OPTIONS && asks && origin.is_some() {
        return Ok(Entry::Preflight);
    }
    let paths: web::Data<Paths> = configured(req)?;
    if !paths.accept(req.method(), req.match_info().as_str()) {
        return Ok(Entry::NotServed(paths));
    }
    let now = app.clock().now();
    let token = token(req);
    let reader = match token {
        None => None,
        Some(token) => {
            let audience = app.sending.public_url.clone();
            app.db
                .read(move |conn| reader::of_token(conn, &token, &audience, now))
                .await?
        }
    };
    let Some(reader) = reader else {
        let why =
            Problem::Unauthorized("a valid token of the product is needed: Authorization: Bearer TOKEN");
        return Err(app.refusals.refuse(req.request(), RefusalKind::Token, now, why));
    };
    if let Some((text, _)) = &origin
        && !reader.origins.contains(text)
    {
        // Another key names this origin.
        *allowed = None;
        return Err(foreign());
    }
    Ok(Entry::Reader(Box::new(reader)))
}

fn foreign() -> Problem {
    let why = "pages of this origin may not read the feed; an admin adds origins to a feed key";
    Error::Forbidden(why.to_owned())
        .code(Code::OriginNotAllowed)
        .into()
}

/// Returns the origin of the page that sends a request. `None` if it is not a page of another origin.
fn origin(headers: &HeaderMap) -> Answer<Option<(String, HeaderValue)>> {
    let mut sent = headers.get_all(ORIGIN);
    let (Some(value), None) = (sent.next(), sent.next()) else {
        return match headers.contains_key(ORIGIN) {
            true => Err(foreign()),
            false => Ok(None),
        };
    };
    let text = value.to_str().map_err(|_| foreign())?;
    Ok(Some((text.to_owned(), value.clone())))
}

/// Returns the token of a request. The stream takes it as a parameter too, because a browser's `EventSource` sends no headers. Neither
/// the log nor the audit trail contains a query.
fn token(req: &ServiceRequest) -> Option<String> {
    bearer(req).or_else(|| {
        (req.path().strip_prefix(PREFIX) == Some("/stream"))
            .then(|| {
                url::form_urlencoded::parse(req.query_string().as_bytes())
                    .find(|(name, _)| name == "token")
                    .map(|(_, value)| value.into_owned())
            })
            .flatten()
    })
}
