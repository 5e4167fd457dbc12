//! Signing in and out, and the guard of all other pages.
//!
//! The cookie contains the secret of a session. The database is asked each time whether the session has ended
//! and whether its token is valid.
//!
//! The token itself is never in the cookie, on a page or in a log. No page is shown without a valid session.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{LOCATION, SET_COOKIE};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::signed_in::{Session, SignedIn};
use super::view::Frame;
use crate::auth::{self, Caller, Role, sessions};
use crate::base::error::Error;
use crate::http::admin_page::Pages;
use crate::http::extract::{is_media, parse_query, read_body};
use crate::http::problem::{Answer, Problem};
use crate::http::refusals::RefusalKind;
use crate::http::routes::Routes;
use crate::http::{App, auth as guards, edge};

const COOKIE: &str = "candor_session";
const SIGN_IN: &str = "/admin/sign-in";
/// The largest size of the sign-in form, in bytes.
const MAX_FORM: usize = 8 * 1024;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .public(Method::GET, "/sign-in", form)
        .public(Method::POST, "/sign-in", sign_in)
        .send("/sign-out", Role::Viewer, sign_out);
}

/// Lets requests through that have a valid session and the role of the page. Sends those without a session to the sign-in.
pub async fn guard(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match instead(&req).await {
        Ok(None) => Ok(next.call(req).await?.map_into_boxed_body()),
        Ok(Some(answer)) => Ok(req.into_response(answer)),
        // The page of an error shows what the error says; `into_response` would leave that out.
        Err(problem) => Ok(req.error_response(problem)),
    }
}

/// What is answered in the place of a page. None where the request may go on.
async fn instead(req: &ServiceRequest) -> Answer<Option<HttpResponse>> {
    let app: web::Data<App> = guards::configured(req)?;
    let routes: web::Data<Routes> = guards::configured(req)?;
    let route = routes.find(req.method(), req.match_info().as_str());
    if let Some(public) = route.filter(|route| route.role.is_none()) {
        public.check_query(req.query_string())?;
        return Ok(None);
    }
    let paths = guards::configured(req)?;
    let not_served = || edge::not_served(req.request().clone(), paths);
    // Another method of the form for signing in needs no session either.
    if route.is_none() && req.path() == SIGN_IN {
        return not_served().await.map(Some);
    }
    let Some((caller, session)) = holder(&app, req).await? else {
        return Ok(Some(to(SIGN_IN)));
    };
    req.extensions_mut().insert(caller.clone());
    req.extensions_mut().insert(session);
    let Some(route) = route else {
        return not_served().await.map(Some);
    };
    if let Some(role) = route.role {
        guards::require(&app, &caller, role, req, "you have").await?;
    }
    route.check_query(req.query_string())?;
    Ok(None)
}

async fn holder(app: &App, req: &ServiceRequest) -> Answer<Option<(Caller, Session)>> {
    let Some(cookie) = req.cookie(COOKIE) else {
        return Ok(None);
    };
    let session = Session(cookie.value().to_owned());
    let (secret, now) = (session.0.clone(), app.clock().now());
    let caller = app
        .db
        .read(move |conn| sessions::holder(conn, &secret, now))
        .await?;
    Ok(caller.map(|caller| (caller, session)))
}

fn to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .insert_header(("cache-control", "no-store"))
        .finish()
}

fn sign_in_page(app: &App, status: StatusCode, wrong: bool) -> Answer<HttpResponse> {
    let frame = Frame::new(app, None, "Sign in", "");
    app.pages
        .answer_with(status, "admin/sign-in", &json!({"page": frame, "wrong": wrong}))
}

/// Shows the sign-in form.
async fn form(app: web::Data<App>) -> Answer<HttpResponse> {
    sign_in_page(&app, StatusCode::OK, false)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    token: String,
}

/// Starts a session if the token is valid.
async fn sign_in(app: web::Data<App>, req: HttpRequest, payload: web::Payload) -> Answer<HttpResponse> {
    if !is_media(&req, "application/x-www-form-urlencoded") {
        return Err(Problem::UnsupportedMedia("application/x-www-form-urlencoded"));
    }
    let body = read_body(&req, &mut payload.into_inner(), MAX_FORM).await?;
    let body = String::from_utf8(body).map_err(|_| Error::invalid("", "is not UTF-8"))?;
    // An empty field is a wrong token and not a malformed form.
    let given: Given = if body == "token=" {
        Given { token: String::new() }
    } else {
        parse_query(&body)?
    };
    let secret = given.token.trim().to_owned();
    let caller = app.db.read(move |conn| auth::authenticate(conn, &secret)).await?;
    let Some(caller) = caller else {
        let wrong = Problem::Unauthorized("the token is not valid");
        return match app
            .refusals
            .refuse(&req, RefusalKind::SignIn, app.clock().now(), wrong)
        {
            Problem::Unauthorized(_) => sign_in_page(&app, StatusCode::UNAUTHORIZED, true),
            limited => Err(limited),
        };
    };
    let actor = caller.actor();
    let session = app
        .db
        .write(&actor, move |tx| sessions::begin(tx, &caller))
        .await?;
    let seconds = i64::try_from(sessions::LIFETIME.as_secs()).map_err(Error::internal)?;
    Ok(with_cookie(to("/admin"), &app, session, seconds))
}

/// Ends the session, also for anybody who has copied its cookie.
async fn sign_out(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let SignedIn(caller, session) = by;
    let actor = caller.actor();
    app.db
        .write(&actor, move |tx| sessions::end(tx, &caller, &session.0))
        .await?;
    Ok(with_cookie(to(SIGN_IN), &app, String::new(), 0))
}

fn with_cookie(mut response: HttpResponse, app: &App, value: String, seconds: i64) -> HttpResponse {
    let cookie = Cookie::build(COOKIE, value)
        .path("/admin")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(app.sending.public_url.starts_with("https://"))
        .max_age(actix_web::cookie::time::Duration::seconds(seconds))
        .finish();
    // The value has only base64 characters, digits and dashes, so it is always a valid header.
    if let Ok(value) = cookie.to_string().parse() {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}
