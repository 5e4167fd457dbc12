//! Errors as pages of the admin part.

use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use serde_json::json;

use super::frame::Frame;
use super::kept::Kept;
use super::signed_in::SignedIn;
use crate::http::error_page::dress;

/// The title of the answer to a button whose thing is not there any more.
const LATE: &str = "Nothing was changed";

/// Returns whether a button was pressed for something that does not exist any more, because the page with it is older than the deletion.
fn is_late(response: &ServiceResponse<BoxBody>) -> bool {
    response.request().method() == Method::POST && response.status() == StatusCode::NOT_FOUND
}

/// Makes every error below `/admin` a page.
pub(super) async fn always(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let response = next.call(req).await?.map_into_boxed_body();
    Ok(dress(response, |app, response, error| {
        let by = SignedIn::of(response.request());
        let kept = response.request().extensions().get::<Kept>().cloned();
        if let (Some(by), Some(kept)) = (&by, kept) {
            return kept.page(app, by, response.status());
        }
        let title = match is_late(response) {
            true => LATE,
            false => error.title.as_str(),
        };
        let frame = match by {
            Some(by) => Frame::new(app, &by, title, ""),
            None => Frame::outside(app, title),
        };
        let mut shown = error.value();
        if is_late(response) {
            shown["title"] = json!(LATE);
            shown["late"] = json!(true);
        }
        app.pages.answer_with(
            response.status(),
            "admin/error",
            &json!({"page": frame, "error": shown}),
        )
    }))
}
