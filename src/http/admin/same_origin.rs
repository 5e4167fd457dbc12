//! Whether a form was sent by a page of Candor, as the browser says.
//!
//! A form that is sent after its session ended cannot be proven by its key. Only the browser knows which page sent it.

use actix_web::http::header::{HeaderMap, ORIGIN};

use crate::http::App;

/// Returns whether the browser says that a page of Candor sent the request. A browser that says nothing is not believed.
pub(super) fn is(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        // Browsers send this header only over HTTPS and to this machine.
        None => {
            let own = url::Url::parse(&app.sending.public_url).map(|url| url.origin().ascii_serialization());
            own.is_ok_and(|own| text(ORIGIN.as_str()) == Some(own.as_str()))
        }
    }
}
