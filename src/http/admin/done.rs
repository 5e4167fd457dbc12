//! The message about what was just done. A form redirects to a page, and this page shows the message once.
//!
//! The message travels in a cookie that Candor has signed, so that no other site can put a text of its own on a page.

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::dev::ServiceRequest;
use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::filled::back_to;
use super::view::cut;
use crate::http::App;
use crate::http::admin_page::SCOPE;

const COOKIE: &str = "candor_done";
/// How long a message waits for its page, in seconds.
const LIFETIME: i64 = 60;
/// The longest message, in characters. A browser refuses a cookie of more than 4 kB.
const LONGEST: usize = 300;
/// The header with which the script marks a refresh of live parts. A refresh neither shows nor uses up a message.
const LIVE: &str = "x-candor-live";

/// Redirects to a page, which shows `message` once.
pub(super) fn done(app: &App, path: &str, message: &str) -> HttpResponse {
    let mut response = back_to(path);
    let text = URL_SAFE_NO_PAD.encode(cut(message, LONGEST));
    let value = format!("{text}.{}", app.links.done_key(&text));
    add(&mut response, cookie(app, value, LIFETIME));
    response
}

/// Returns the message that the page of a request shows.
pub(super) fn of(app: &App, req: &ServiceRequest) -> Option<String> {
    if req.headers().contains_key(LIVE) || req.method() != actix_web::http::Method::GET {
        return None;
    }
    let cookie = req.cookie(COOKIE)?;
    let (text, key) = cookie.value().split_once('.')?;
    if !app.links.is_done_key(text, key) {
        return None;
    }
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Removes the message from the browser once a page has shown it.
pub(super) fn forget(app: &App, req: &HttpRequest, response: &mut HttpResponse) {
    if req.cookie(COOKIE).is_some() && !req.headers().contains_key(LIVE) {
        add(response, cookie(app, String::new(), 0));
    }
}

fn cookie(app: &App, value: String, seconds: i64) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path(SCOPE)
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(app.sending.public_url.starts_with("https://"))
        .max_age(time::Duration::seconds(seconds))
        .finish()
}

fn add(response: &mut HttpResponse, cookie: Cookie<'_>) {
    // The value has only base64 characters and a dot, so it is always a valid header.
    if let Ok(value) = cookie.to_string().parse() {
        response.headers_mut().append(SET_COOKIE, value);
    }
}
