//! Errors as pages of the admin part.

use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use serde_json::json;

use super::view::Frame;
use crate::auth::Caller;
use crate::http::error_page::dress;

/// Makes every error below `/admin` a page.
pub(super) async fn always(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let response = next.call(req).await?.map_into_boxed_body();
    Ok(dress(response, |app, response, error| {
        let caller = response.request().extensions().get::<Caller>().cloned();
        let frame = Frame::new(app, caller.as_ref(), &error.title, "");
        app.pages.answer_with(
            response.status(),
            "admin/error",
            &json!({"page": frame, "error": error.value()}),
        )
    }))
}
