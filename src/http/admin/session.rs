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

use super::frame::Frame;
use super::kept::{self, Kept};
use super::params::{Form, parse_filled};
use super::signed_in::{Session, SignedIn};
use super::view::link;
use super::{done, same_origin};
use crate::auth::{self, Caller, Role, preferences, sessions};
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::Error;
use crate::http::admin_page::Pages;
use crate::http::extract::{is_media, read_body};
use crate::http::problem::{Answer, Problem};
use crate::http::refusals::RefusalKind;
use crate::http::routes::Routes;
use crate::http::{App, auth as guards, edge, merged};
use crate::incident;

const COOKIE: &str = "candor_session";
const SIGN_IN: &str = "/admin/sign-in";
/// The largest size of the sign-in form, in bytes. It may carry a form that was sent after its session ended, whose signs are
/// written twice as escapes.
const MAX_FORM: usize = 8 * 1024 + 4 * kept::MOST;
/// Up to how many open incidents are counted for the title of the browser's tab.
const COUNTED: i64 = 100;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .public_search(Method::GET, "/sign-in", form)
        .public(Method::POST, "/sign-in", sign_in)
        .send("/sign-out", Role::Viewer, sign_out);
}

/// Lets requests through that have a valid session and the role of the page. Sends those without a session to the sign-in.
pub async fn guard(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let answer = match instead(&req).await {
        Ok(Instead::SignIn(app)) => sign_in_first(&app, &mut req).await.map(Instead::Answer),
        other => other,
    };
    match answer {
        Ok(Instead::Nothing | Instead::SignIn(_)) => {
            let app: Option<web::Data<App>> = guards::configured(&req).ok();
            let mut response = next.call(req).await?.map_into_boxed_body();
            let shown = response.request().clone();
            if let Some(app) = app.filter(|_| response.status().is_success()) {
                done::forget(&app, &shown, response.response_mut());
            }
            Ok(response)
        }
        Ok(Instead::Answer(answer)) => Ok(req.into_response(answer)),
        // The page of an error shows what the error says; `into_response` would leave that out.
        Err(problem) => Ok(req.error_response(problem)),
    }
}

/// What happens in the place of a page.
enum Instead {
    /// The request may go on.
    Nothing,
    /// Candor returns this answer, because it serves no page for the method and the path of the request.
    Answer(HttpResponse),
    /// Somebody has to sign in first.
    SignIn(web::Data<App>),
}

async fn instead(req: &ServiceRequest) -> Answer<Instead> {
    let app: web::Data<App> = guards::configured(req)?;
    let routes: web::Data<Routes> = guards::configured(req)?;
    let route = routes.find(req.method(), req.match_info().as_str());
    if let Some(public) = route.filter(|route| route.role.is_none()) {
        public.check_query(req.query_string())?;
        return Ok(Instead::Nothing);
    }
    let paths = guards::configured(req)?;
    let not_served = || edge::not_served(req.request().clone(), paths);
    // Another method of the form for signing in needs no session either.
    if route.is_none() && req.path() == SIGN_IN {
        return not_served().await.map(Instead::Answer);
    }
    let Some((caller, session)) = holder(&app, req).await? else {
        return Ok(Instead::SignIn(app));
    };
    req.extensions_mut().insert(caller.clone());
    req.extensions_mut().insert(session);
    let Some(route) = route else {
        return not_served().await.map(Instead::Answer);
    };
    if let Some(role) = route.role {
        guards::require(&app, &caller, role, req, "you have").await?;
        without_forms(&app, caller, role, req).await?;
    }
    route.check_query(req.query_string())?;
    Ok(Instead::Nothing)
}

/// Lets nobody change a merged incident. Its pages can be read, and have no forms: everybody sees what a viewer sees.
///
/// # Errors
/// `Conflict` with the code `merged`, for a form or a page that is made of one.
async fn without_forms(app: &App, caller: Caller, needed: Role, req: &ServiceRequest) -> Answer<()> {
    let checked = merged::check(app, req.match_info().as_str()).await;
    match &checked {
        Err(Problem::Domain(error))
            if error.coded().1 == Some(Code::Merged)
                && req.method() == Method::GET
                && needed == Role::Viewer =>
        {
            let role = Role::Viewer;
            req.extensions_mut().insert(Caller { role, ..caller });
            Ok(())
        }
        _ => checked,
    }
}

/// Leads to the sign-in form, and from there back to the page. A form that was sent is kept.
async fn sign_in_first(app: &App, req: &mut ServiceRequest) -> Answer<HttpResponse> {
    if req.method() == Method::GET {
        let asked = req.uri().path_and_query().map(|asked| asked.as_str().to_owned());
        // After the sign-in, the first page is shown in any case.
        let next = asked
            .as_deref()
            .and_then(kept::local)
            .filter(|next| *next != "/admin");
        return Ok(to(&link(SIGN_IN, &[("next", next)])));
    }
    if !same_origin::is(app, req.headers()) || !is_media(req.request(), "application/x-www-form-urlencoded") {
        return Ok(to(SIGN_IN));
    }
    let routes: web::Data<Routes> = guards::configured(req)?;
    let path = req.uri().path().to_owned();
    let mut lost = Unsent::Button;
    if kept::keeps_text(&routes, &path).is_some() {
        let mut payload = req.take_payload();
        match read_body(req.request(), &mut payload, kept::MOST).await {
            Ok(body) => {
                if let Some(kept) = Kept::of_body(&routes, &path, &body) {
                    let kept = Some(kept);
                    let shown = SignIn {
                        kept,
                        ..SignIn::default()
                    };
                    return sign_in_page(app, StatusCode::UNAUTHORIZED, &shown);
                }
            }
            Err(_) => lost = Unsent::Long,
        }
    }
    let next = kept::sent_from(&routes, req.headers());
    let query = [("next", next.as_deref()), ("unsent", Some(lost.as_str()))];
    Ok(to(&link(SIGN_IN, &query)))
}

word_enum! {
    /// Why a form that was sent after its session ended was not kept.
    Unsent, "a reason" {
        /// It is a button, and the page beside it has to be read again.
        Button = "button",
        /// Its text is too long.
        Long = "long",
    }
}

impl Unsent {
    /// What is said about it before and after the sign-in.
    fn sentence(self) -> &'static str {
        match self {
            Unsent::Button => "You were signed out. Nothing was sent. Check and press the button again.",
            Unsent::Long => {
                "You were signed out. Nothing was sent, and your text was too long to keep. Go back in your browser to copy it."
            }
        }
    }
}

async fn holder(app: &App, req: &ServiceRequest) -> Answer<Option<(Caller, Session)>> {
    let Some(cookie) = req.cookie(COOKIE) else {
        return Ok(None);
    };
    let mut session = Session::new(cookie.value().to_owned());
    session.done = done::of(app, req);
    let (secret, now) = (session.secret.clone(), app.clock().now());
    let found = app
        .db
        .read(move |conn| {
            let Some(caller) = sessions::holder(conn, &secret, now)? else {
                return Ok(None);
            };
            let chosen = preferences::of(conn, caller.id.as_str())?;
            let open = incident::count_open(conn, COUNTED)?;
            Ok(Some((caller, chosen, open)))
        })
        .await?;
    Ok(found.map(|(caller, chosen, open)| {
        app.token_uses.note(&caller.id, now);
        session.zone = chosen.time_zone;
        session.open = match open {
            0 => None,
            n if n as i64 >= COUNTED => Some(format!("{}+", COUNTED - 1)),
            n => Some(n.to_string()),
        };
        (caller, session)
    }))
}

fn to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .insert_header(("cache-control", "no-store"))
        .finish()
}

/// What the sign-in form shows and carries.
#[derive(Default)]
struct SignIn {
    wrong: bool,
    next: Option<String>,
    kept: Option<Kept>,
    unsent: Option<Unsent>,
}

fn sign_in_page(app: &App, status: StatusCode, shown: &SignIn) -> Answer<HttpResponse> {
    let data = json!({
        "page": Frame::outside(app, "Sign in"), "wrong": shown.wrong, "next": shown.next,
        "kept": shown.kept.as_ref().map(Kept::carried),
        "unsent": shown.unsent.map(|why| json!({"word": why.as_str(), "text": why.sentence()})),
    });
    app.pages.answer_with(status, "admin/sign-in", &data)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    unsent: Option<Unsent>,
}

/// Shows the sign-in form.
async fn form(app: web::Data<App>, asked: Form<Asked>) -> Answer<HttpResponse> {
    let next = asked.0.next.as_deref().and_then(kept::local).map(str::to_owned);
    sign_in_page(
        &app,
        StatusCode::OK,
        &SignIn {
            next,
            unsent: asked.0.unsent,
            ..SignIn::default()
        },
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    kept: String,
    #[serde(default)]
    unsent: Option<Unsent>,
}

/// Starts a session if the token is valid.
async fn sign_in(
    app: web::Data<App>,
    routes: web::Data<Routes>,
    req: HttpRequest,
    payload: web::Payload,
) -> Answer<HttpResponse> {
    if !is_media(&req, "application/x-www-form-urlencoded") {
        return Err(Problem::UnsupportedMedia("application/x-www-form-urlencoded"));
    }
    let body = read_body(&req, &mut payload.into_inner(), MAX_FORM).await?;
    let body = String::from_utf8(body).map_err(|_| Error::invalid("", "is not UTF-8"))?;
    let given: Given = parse_filled(&body)?;
    let next = kept::local(&given.next).map(str::to_owned);
    let kept = Some(&given).filter(|given| !given.kept.is_empty() && same_origin::is(&app, req.headers()));
    let kept = kept.and_then(|given| Kept::of_body(&routes, &given.to, given.kept.as_bytes()));
    let secret = given.token.trim().to_owned();
    let now = app.clock().now();
    let caller = app
        .db
        .read(move |conn| auth::authenticate(conn, &secret, now))
        .await?;
    let Some(caller) = caller else {
        let wrong = Problem::Unauthorized("the token is not valid");
        return match app
            .refusals
            .refuse(&req, RefusalKind::SignIn, app.clock().now(), wrong)
        {
            Problem::Unauthorized(_) => {
                let shown = SignIn {
                    wrong: true,
                    next,
                    kept,
                    unsent: given.unsent,
                };
                sign_in_page(&app, StatusCode::UNAUTHORIZED, &shown)
            }
            limited => Err(limited),
        };
    };
    let (actor, by) = (caller.actor(), caller.clone());
    let session = app.db.write(&actor, move |tx| sessions::begin(tx, &by)).await?;
    let seconds = i64::try_from(sessions::LIFETIME.as_secs()).map_err(Error::internal)?;
    let answer = match kept {
        Some(kept) => {
            let by = SignedIn(caller, Session::new(session.clone()));
            kept.page(&app, &by, StatusCode::OK)?
        }
        None => {
            let page = next.as_deref().unwrap_or("/admin");
            match given.unsent {
                Some(why) => done::done(&app, page, why.sentence()),
                None => to(page),
            }
        }
    };
    Ok(with_cookie(answer, &app, session, seconds))
}

/// Ends the session, also for anybody who has copied its cookie.
async fn sign_out(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let SignedIn(caller, session) = by;
    let actor = caller.actor();
    app.db
        .write(&actor, move |tx| sessions::end(tx, &caller, &session.secret))
        .await?;
    Ok(with_cookie(to(SIGN_IN), &app, String::new(), 0))
}

/// Adds the cookie of the session. It goes along when a link from another site is followed, so that a link in a chat opens its page.
/// It does not go along with a form of another site.
fn with_cookie(mut response: HttpResponse, app: &App, value: String, seconds: i64) -> HttpResponse {
    let cookie = Cookie::build(COOKIE, value)
        .path("/admin")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(app.sending.public_url.starts_with("https://"))
        .max_age(actix_web::cookie::time::Duration::seconds(seconds))
        .finish();
    // The value has only base64 characters, digits and dashes, so it is always a valid header.
    if let Ok(value) = cookie.to_string().parse() {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}
