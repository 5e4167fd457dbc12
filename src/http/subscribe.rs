//! The public pages with which somebody subscribes to the status page by email, confirms, and ends the subscription.
//!
//! Opening a page changes nothing, because scanners and email programs follow links. The page after the form is the same for every address,
//! so nobody learns whose address is subscribed. Unknown query parameters are ignored, because programs that forward links add their own.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde_json::json;

use super::answer::Declared;
use super::customer_page;
use super::error_page::for_browsers;
use super::extract::{is_media, read_body};
use super::language::{asked, of_request};
use super::problem::{Answer, Problem};
use super::refusals::RefusalKind;
use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::http::App;
use crate::subscription::subscribing::{self, EndReason};
use crate::subscription::{ACTOR, Subscriber, subscriber};
use crate::words::{Area, Words};

const FORM: &str = "application/x-www-form-urlencoded";
/// The largest size of the form, in bytes: an address with each character percent-encoded, and the other fields.
const MAX_FORM: usize = 4 * 1_024;

/// What a page shows.
#[derive(Clone, Copy)]
enum Shown<'a> {
    /// The form, with the address that was typed, and the key of the text that says what is wrong.
    Form(&'a str, Option<&'static str>),
    /// That the address gets an email, if it is not subscribed yet.
    Asked,
    /// The button that confirms.
    Confirm(&'a str),
    /// That the subscription was confirmed just now.
    Confirmed,
    /// The button that ends the subscription.
    Stop(&'a str),
    /// That there is no subscription.
    Stopped,
}

impl Shown<'_> {
    /// Returns the word for the template, and the key of the title.
    fn part(self) -> (&'static str, &'static str) {
        match self {
            Shown::Form(..) => ("form", "form_title"),
            Shown::Asked => ("asked", "asked_title"),
            Shown::Confirm(_) => ("confirm", "confirm_title"),
            Shown::Confirmed => ("confirmed", "confirmed_title"),
            Shown::Stop(_) => ("stop", "stop_title"),
            Shown::Stopped => ("stopped", "stopped_title"),
        }
    }
}

fn page(app: &App, language: Language, shown: Shown<'_>, status: StatusCode) -> Answer<HttpResponse> {
    let words = Words::of(Area::Subscription, language)?;
    let brand = app.pages.brand.shown();
    let company = brand.name.as_deref().unwrap_or(&app.sending.sender);
    let said = |key: &str| words.with(key, &[("company", company)]);
    let texts = words
        .all()
        .into_keys()
        .map(|key| Ok((key.to_owned(), json!(said(key)?))));
    let texts = texts.collect::<Result<serde_json::Map<_, _>>>()?;
    let (part, title) = shown.part();
    let (address, wrong) = match shown {
        Shown::Form(address, wrong) => (address, wrong.map(said).transpose()?),
        _ => ("", None),
    };
    let path = match shown {
        Shown::Confirm(token) => format!("/status/subscription/{token}/confirm"),
        Shown::Stop(token) => format!("/status/subscription/{token}"),
        _ => "/status/subscribe".to_owned(),
    };
    let title = said(title)?;
    let rest = json!({
        "part": part, "s": texts, "address": address, "wrong": wrong, "action": format!("{path}?lang={language}"),
        "home": format!("/status/{language}"),
    });
    let data = customer_page::data(app, language, &title, &[], rest)?;
    app.pages.answer_with(status, "public/subscription", &data)
}

/// Shows the form with which somebody subscribes to the status page by email.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status/subscribe", wrap = "from_fn(for_browsers)")]
pub async fn form(app: web::Data<App>, req: HttpRequest) -> Answer<Declared> {
    let language = of_request(&req, app.sending.language);
    page(&app, language, Shown::Form("", None), StatusCode::OK).map(Declared)
}

/// Sends an email with a link to confirm to an address that is not subscribed to the status page. The answer is the same for every address.
#[utoipa::path(tag = "Status page", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`address`"),
    responses((status = 200, description = "A page", content_type = "text/html"),
        (status = 408), (status = 413), (status = 415),
        (status = 422, description = "The page with the error", content_type = "text/html"),
        (status = 429, description = "A page: too many addresses came from this network", content_type = "text/html")))]
#[post("/status/subscribe", wrap = "from_fn(for_browsers)")]
pub async fn subscribe(app: web::Data<App>, req: HttpRequest, payload: web::Payload) -> Answer<Declared> {
    if !is_media(&req, FORM) {
        return Err(Problem::UnsupportedMedia(FORM));
    }
    let mut payload: Payload = payload.into_inner();
    let body = read_body(&req, &mut payload, MAX_FORM).await?;
    let address = url::form_urlencoded::parse(&body)
        .find(|(name, _)| name == "address")
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default();
    let language = of_request(&req, app.sending.language);
    if let Err(seconds) = app.subscribing.ask(app.refusals.source(&req), app.clock().now()) {
        let shown = Shown::Form("", Some("too_many"));
        let mut answer = page(&app, language, shown, StatusCode::TOO_MANY_REQUESTS)?;
        answer
            .headers_mut()
            .insert(RETRY_AFTER, actix_web::http::header::HeaderValue::from(seconds));
        return Ok(Declared(answer));
    }
    let to = address.clone();
    let asked = app
        .db
        .write(&Actor::system(ACTOR), move |tx| {
            subscribing::ask(tx, &to, language)
        })
        .await;
    match asked {
        Ok(()) => page(&app, language, Shown::Asked, StatusCode::OK).map(Declared),
        Err(Error::Invalid { .. }) => {
            // A control character must not get into a page.
            let typed = address.replace(char::is_control, " ");
            let shown = Shown::Form(&typed, Some("address_wrong"));
            page(&app, language, shown, StatusCode::UNPROCESSABLE_ENTITY).map(Declared)
        }
        Err(error) => Err(error.into()),
    }
}

fn target(app: &App, req: &HttpRequest, token: &str) -> Result<i64, Problem> {
    app.links.subscription_target(token).ok_or_else(|| {
        app.refusals
            .refuse(req, RefusalKind::Token, app.clock().now(), Problem::NoSuchLink)
    })
}

/// The language of a page about a subscription.
fn language(app: &App, req: &HttpRequest, subscriber: Option<&Subscriber>) -> Language {
    asked(req)
        .or(subscriber.map(|one| one.language))
        .unwrap_or_else(|| of_request(req, app.sending.language))
}

async fn found(app: &App, id: i64) -> Answer<Option<Subscriber>> {
    match app.db.read(move |conn| subscriber::get(conn, id)).await {
        Ok(one) => Ok(Some(one)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Shows the page behind the link in an email to a subscriber: with the button that confirms the subscription, or with the one that ends
/// it. It changes nothing.
#[utoipa::path(tag = "Status page", security(()), responses((status = 200, description = "A page", content_type = "text/html")))]
#[get("/status/subscription/{token}", wrap = "from_fn(for_browsers)")]
pub async fn show(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    let id = target(&app, &req, &token)?;
    let subscriber = found(&app, id).await?;
    let shown = match &subscriber {
        None => Shown::Stopped,
        Some(one) if one.confirmed_at.is_none() => Shown::Confirm(&token),
        Some(_) => Shown::Stop(&token),
    };
    let language = language(&app, &req, subscriber.as_ref());
    page(&app, language, shown, StatusCode::OK).map(Declared)
}

/// Confirms a subscription. Calling it again changes nothing.
#[utoipa::path(tag = "Status page", security(()), request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A page", content_type = "text/html")))]
#[post("/status/subscription/{token}/confirm", wrap = "from_fn(for_browsers)")]
pub async fn confirm(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    let id = target(&app, &req, &token)?;
    let confirmed = app
        .db
        .write(&Actor::system(ACTOR), move |tx| subscribing::confirm(tx, id))
        .await;
    let subscriber = match confirmed {
        Ok(one) => Some(one),
        Err(Error::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let shown = match subscriber {
        Some(_) => Shown::Confirmed,
        None => Shown::Stopped,
    };
    let language = language(&app, &req, subscriber.as_ref());
    page(&app, language, shown, StatusCode::OK).map(Declared)
}

/// Ends a subscription (RFC 8058, one click), and deletes the address. Calling it again changes nothing.
#[utoipa::path(tag = "Status page", security(()), request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A page", content_type = "text/html")))]
#[post("/status/subscription/{token}", wrap = "from_fn(for_browsers)")]
pub async fn end(app: web::Data<App>, req: HttpRequest, token: web::Path<String>) -> Answer<Declared> {
    let id = target(&app, &req, &token)?;
    let subscriber = found(&app, id).await?;
    app.db
        .write(&Actor::system(ACTOR), move |tx| {
            subscribing::end(tx, id, EndReason::Link)
        })
        .await?;
    let language = language(&app, &req, subscriber.as_ref());
    page(&app, language, Shown::Stopped, StatusCode::OK).map(Declared)
}
