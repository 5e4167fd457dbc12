//! The API for reports about emails, and for the suppressed addresses.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, delete, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::delivery::opt_out::{self, Suppression, SuppressionReason};
use crate::directory::check_address;
use crate::feedback::{self, Feedback, Filter, Origin, ReportKind, Tally, record, stored};
use crate::http::App;
use crate::http::answer::{Accepted, NoContent};
use crate::http::auth::By;
use crate::http::extract::{Json, MAX_MAIL, Params, is_media, read_body};
use crate::http::ids::{FeedbackNumber, InPath, own};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::{Answer, Problem};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(inbound_mail)
        .service(list)
        .service(get_one)
        .service(suppressions)
        .service(lift);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MailParams {
    /// The recipient in the envelope of the email. This is the bounce address that Candor made for one email.
    /// It is not always in a header.
    recipient: Option<String>,
}

/// The result for a received email.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Classified {
    /// The worst kind of all reports in the email.
    kind: ReportKind,
    /// The delivery that the email is about. Null if none was found.
    pub delivery: Option<i64>,
    #[serde(flatten)]
    counts: Tally,
    /// The reports, one for each recipient.
    pub items: Vec<Feedback>,
}

/// Accepts an email about an email of Candor: a bounce, a complaint, or an answer of a program or a person.
#[utoipa::path(tag = "Feedback", security(("token" = ["operator"])), params(MailParams),
    request_body(content = String, content_type = "message/rfc822"))]
#[post("/inbound-mail")]
async fn inbound_mail(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    params: Params<MailParams>,
    payload: web::Payload,
) -> Answer<Accepted<Classified>> {
    if !is_media(&req, "message/rfc822") {
        return Err(Problem::UnsupportedMedia("message/rfc822"));
    }
    let recipient = params.0.recipient;
    if let Some(Err(detail)) = recipient.as_deref().map(check_address) {
        return Err(Error::invalid("?recipient", detail).into());
    }
    let mut payload: Payload = payload.into_inner();
    let body = read_body(&req, &mut payload, MAX_MAIL).await?;
    if body.trim_ascii().is_empty() {
        return Err(Error::invalid("", "must not be empty; send the email as it was received").into());
    }
    Ok(Accepted(classified(&app, &by.0, body, recipient).await?))
}

/// Stores what an email reports. `recipient` is the address in its envelope.
///
/// # Errors
/// An error of the database.
pub async fn classified(
    app: &App,
    by: &Actor,
    body: Vec<u8>,
    recipient: Option<String>,
) -> Result<Classified> {
    // Parsing an email of some megabytes takes time, so it runs on a blocking thread.
    let mut reports = web::block(move || feedback::mail::parse(&body))
        .await
        .map_err(Error::internal)?;
    if let Some(recipient) = recipient {
        for report in &mut reports {
            report.identifiers.bounce_addresses.insert(0, recipient.clone());
        }
    }
    let keys = app.feedback.clone();
    let taken = app
        .db
        .write(by, move |tx| {
            let origin = Origin {
                source: "mail".to_owned(),
                integration: None,
            };
            record::take(tx, &origin, &keys, &reports, 0)
        })
        .await?;
    app.feedback_stats.count(&taken);
    let mut counts = taken;
    let items = std::mem::take(&mut counts.entries);
    Ok(Classified {
        kind: ReportKind::of_all(items.iter().map(|entry| entry.kind)),
        delivery: items.iter().find_map(|entry| entry.delivery),
        counts,
        items,
    })
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FeedbackParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only reports of this kind.
    kind: Option<ReportKind>,
    /// Only reports with a delivery (true) or without one (false).
    matched: Option<bool>,
    /// Only reports about this delivery.
    delivery: Option<i64>,
    /// Only reports about deliveries of this notice.
    notice: Option<NoticeId>,
    /// Only reports about deliveries of this incident.
    incident: Option<IncidentId>,
}

/// Returns the reports about emails, newest first, including reports without a delivery.
#[utoipa::path(tag = "Feedback", security(("token" = ["viewer"])), params(FeedbackParams))]
#[get("/feedback")]
async fn list(app: web::Data<App>, params: Params<FeedbackParams>) -> Answer<Json<Page<Feedback>>> {
    let p = params.0;
    let before: Option<i64> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let filter = Filter {
        kind: p.kind,
        matched: p.matched,
        delivery: p.delivery,
        notice: p.notice,
        incident: p.incident,
    };
    let rows = app
        .db
        .read(move |conn| stored::list(conn, &filter, before, limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |entry| entry.id)))
}

/// A report with its source text.
#[derive(Serialize, utoipa::ToSchema)]
struct Whole {
    #[serde(flatten)]
    entry: Feedback,
    /// The received event or email as text, up to 65,536 bytes. It is empty for a successful delivery.
    raw: String,
}

/// Returns a report with its source text.
#[utoipa::path(tag = "Feedback", security(("token" = ["viewer"])))]
#[get("/feedback/{id}")]
async fn get_one(app: web::Data<App>, InPath(id): InPath<FeedbackNumber>) -> Answer<Json<Whole>> {
    let (entry, raw) = app.db.read(move |conn| stored::get(conn, id.0)).await?;
    Ok(Json(Whole {
        entry,
        raw: String::from_utf8_lossy(&raw).into_owned(),
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SuppressionParams {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Only addresses that are suppressed for this reason.
    reason: Option<SuppressionReason>,
}

/// Returns the addresses that get no optional notices, in alphabetical order.
#[utoipa::path(tag = "Feedback", security(("token" = ["viewer"])), params(SuppressionParams))]
#[get("/suppressions")]
async fn suppressions(
    app: web::Data<App>,
    params: Params<SuppressionParams>,
) -> Answer<Json<Page<Suppression>>> {
    let p = params.0;
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| opt_out::list(conn, p.reason, after.as_deref(), limit.probe()))
        .await?;
    Ok(Json(page(rows, limit, |one| one.address.clone())))
}

/// Removes the suppression of an address, so that it gets optional notices again.
#[utoipa::path(tag = "Feedback", security(("token" = ["operator"])))]
#[delete("/suppressions/{address}")]
async fn lift(app: web::Data<App>, by: By, address: web::Path<String>) -> Answer<NoContent> {
    // A text that is not an address cannot be suppressed, and may contain characters that the database
    // refuses.
    own("suppression", check_address(&address))?;
    app.db.write(&by.0, move |tx| opt_out::lift(tx, &address)).await?;
    Ok(NoContent)
}
