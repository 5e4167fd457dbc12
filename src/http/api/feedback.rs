//! What came back, and the addresses that get no updates for it.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::own;
use crate::base::error::Error;
use crate::base::id::{IncidentId, NoticeId};
use crate::delivery::opt_out::{self, Suppression, SuppressionReason};
use crate::directory::check_address;
use crate::feedback::{self, Feedback, Filter, Origin, ReportKind, Tally, record, stored};
use crate::http::App;
use crate::http::auth::By;
use crate::http::extract::{MAX_MAIL, NoParams, Params, is_media, read_body};
use crate::http::page::{Limit, Page, cursor, page};
use crate::http::problem::{Answer, Problem, ProblemDocument};

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
    /// To whom the mail came, as its envelope says: the address that Candor made for the bounces of one mail, which is
    /// not always in a header.
    recipient: Option<String>,
}

/// What a mail that came in was taken for.
#[derive(Serialize, utoipa::ToSchema)]
struct Classified {
    /// The worst of what it says.
    kind: ReportKind,
    /// The delivery that it is about; null where none was found.
    delivery: Option<i64>,
    #[serde(flatten)]
    counts: Tally,
    /// What it says of each recipient.
    items: Vec<Feedback>,
}

/// Takes a mail in that came back: a bounce, a complaint, or what a machine or a person answered.
#[utoipa::path(tag = "Feedback", params(MailParams),
    request_body(content = String, content_type = "message/rfc822"),
    responses((status = 202, body = Classified), (status = 413, body = ProblemDocument), (status = 415, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
#[post("/inbound-mail")]
async fn inbound_mail(
    app: web::Data<App>,
    by: By,
    req: HttpRequest,
    params: Params<MailParams>,
    payload: web::Payload,
) -> Answer<HttpResponse> {
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
        return Err(Error::invalid("", "is empty; send the mail as it came").into());
    }
    // Some megabytes of it take their time.
    let mut reports = web::block(move || feedback::mail::parse(&body))
        .await
        .map_err(Error::internal)?;
    if let Some(recipient) = recipient {
        for report in &mut reports {
            report.marks.bounce_addresses.insert(0, recipient.clone());
        }
    }
    let keys = app.feedback.clone();
    let taken = app
        .db
        .write(&by.0, move |tx| {
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
    Ok(HttpResponse::Accepted().json(Classified {
        kind: ReportKind::of_all(items.iter().map(|entry| entry.kind)),
        delivery: items.iter().find_map(|entry| entry.delivery),
        counts,
        items,
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FeedbackParams {
    /// Rows at most, 1 to 500; 50 if not given.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only what says this.
    kind: Option<ReportKind>,
    /// Only what is about a delivery of ours, or what is not.
    matched: Option<bool>,
    /// Only about this delivery.
    delivery: Option<i64>,
    /// Only about deliveries of this notice.
    notice: Option<NoticeId>,
    /// Only about deliveries of this incident.
    incident: Option<IncidentId>,
}

/// What was reported of mails, newest first; also what matches no delivery.
#[utoipa::path(tag = "Feedback", params(FeedbackParams),
    responses((status = 200, body = Page<Feedback>), (status = 404, body = ProblemDocument)))]
#[get("/feedback")]
async fn list(app: web::Data<App>, params: Params<FeedbackParams>) -> Answer<HttpResponse> {
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
    Ok(HttpResponse::Ok().json(page(rows, limit, |entry| entry.id)))
}

/// A report, with what it was read from.
#[derive(Serialize, utoipa::ToSchema)]
struct Whole {
    #[serde(flatten)]
    entry: Feedback,
    /// The event or the mail as it came, up to 65,536 bytes, as text. Of a delivered mail nothing is kept.
    raw: String,
}

/// A report, with what it was read from.
#[utoipa::path(tag = "Feedback", responses((status = 200, body = Whole), (status = 404, body = ProblemDocument)))]
#[get("/feedback/{id}")]
async fn get_one(app: web::Data<App>, id: web::Path<String>, _: Params<NoParams>) -> Answer<HttpResponse> {
    let id: i64 = own("feedback", id.parse().map_err(|_| String::new()))?;
    let (entry, raw) = app.db.read(move |conn| stored::get(conn, id)).await?;
    Ok(HttpResponse::Ok().json(Whole {
        entry,
        raw: String::from_utf8_lossy(&raw).into_owned(),
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SuppressionParams {
    /// Rows at most, 1 to 500; 50 if not given.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only for this reason.
    reason: Option<SuppressionReason>,
}

/// Addresses that get no optional notices, in their order.
#[utoipa::path(tag = "Feedback", params(SuppressionParams), responses((status = 200, body = Page<Suppression>)))]
#[get("/suppressions")]
async fn suppressions(app: web::Data<App>, params: Params<SuppressionParams>) -> Answer<HttpResponse> {
    let p = params.0;
    let after: Option<String> = cursor(p.cursor.as_deref())?;
    let limit = p.limit;
    let rows = app
        .db
        .read(move |conn| opt_out::list(conn, p.reason, after.as_deref(), limit.probe()))
        .await?;
    Ok(HttpResponse::Ok().json(page(rows, limit, |one| one.address.clone())))
}

/// Lets an address have optional notices again.
#[utoipa::path(tag = "Feedback", responses((status = 204), (status = 404, body = ProblemDocument)))]
#[delete("/suppressions/{address}")]
async fn lift(
    app: web::Data<App>,
    by: By,
    address: web::Path<String>,
    _: Params<NoParams>,
) -> Answer<HttpResponse> {
    // What cannot be an address is not suppressed either, and may hold what no database takes.
    own("suppression", check_address(&address))?;
    app.db.write(&by.0, move |tx| opt_out::lift(tx, &address)).await?;
    Ok(HttpResponse::NoContent().finish())
}
