//! The API for emails as they were sent.

use actix_web::{HttpResponse, get, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::base::error::Error;
use crate::delivery::as_sent::{self, AsSent};
use crate::http::App;
use crate::http::answer::Declared;
use crate::http::extract::Params;
use crate::http::ids::{DeliveryNumber, InPath};
use crate::http::problem::Answer;

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config.service(mail);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MailParams {
    /// The number of the attempt. Without it, it is the last attempt that a mail server accepted, or else the last one that may have
    /// arrived.
    attempt: Option<i64>,
}

/// Returns the email of a delivery as it was sent, byte for byte.
///
/// Its SHA-256 is the one that the attempt recorded. If the same bytes cannot be made again, the answer is 409 with the reason, and never
/// a similar email. The links in it are those of the recipient: whoever has them can answer and unsubscribe for the recipient.
#[utoipa::path(tag = "Notices", security(("token" = ["operator"])), params(MailParams),
    responses((status = 200, description = "The headers and the body", content_type = "message/rfc822")))]
#[get("/deliveries/{id}/mail")]
async fn mail(
    app: web::Data<App>,
    InPath(id): InPath<DeliveryNumber>,
    params: Params<MailParams>,
) -> Answer<Declared> {
    let attempt = params.0.attempt;
    let found = app
        .db
        .read(move |conn| as_sent::find(conn, id.0, attempt))
        .await?;
    Ok(Declared(file(found.map_err(Error::from)?)))
}

/// Answers with an email as a file that an email program opens.
pub(in crate::http) fn file(email: AsSent) -> HttpResponse {
    let name = format!("delivery-{}-{}.eml", email.delivery, email.attempt);
    HttpResponse::Ok()
        .content_type("message/rfc822")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(email.bytes)
}
