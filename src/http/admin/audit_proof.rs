//! `/admin/audit/proof`: the checkpoint of the audit trail and its key, the time stamps, and the verification with an email.

use std::io::Read;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, HeaderValue};
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::done::done;
use super::filled::Filled;
use super::frame::Frame;
use super::params::Form;
use super::signed_in::SignedIn;
use super::upload::Upload;
use super::view::{When, count, grouped};
use crate::audit::anchors::{self, Anchor, AnchoredBy, StampView, StoredStamp};
use crate::audit::mailed::{MailVerification, verify_mail};
use crate::auth::Role;
use crate::base::error::Error;
use crate::base::id::TimeStampId;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::api::audit_proofs::{ProofParams, proven, signed, stamp_file, text};
use crate::http::extract::MAX_MAIL;
use crate::http::ids::InPath;
use crate::http::problem::{Answer, Problem};
use crate::time_stamps;

const PATH: &str = "/admin/audit/proof";
/// The number of time stamps that the page lists.
const LISTED: i64 = 20;

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/audit/proof", Role::Viewer, show)
        .does(&[
            "GET /api/v1/audit/checkpoint",
            "GET /api/v1/audit/key",
            "GET /api/v1/audit/timestamps",
        ])
        .show("/audit/checkpoint", Role::Viewer, checkpoint)
        .does(&["GET /api/v1/audit/checkpoint"])
        .search("/audit/event-proof", Role::Viewer, event_proof)
        .does(&["GET /api/v1/audit/proof"])
        .send("/audit/timestamps", Role::Operator, stamp_now)
        .does(&["POST /api/v1/audit/timestamps"])
        .show("/audit/timestamps/{id}", Role::Viewer, stamp)
        .does(&["GET /api/v1/audit/timestamps/{id}"])
        .show(
            "/audit/timestamps/{id}/checkpoint",
            Role::Viewer,
            stamped_checkpoint,
        )
        .does(&["GET /api/v1/audit/timestamps/{id}/checkpoint"])
        .send("/audit/mail", Role::Viewer, with_mail)
        .does(&["POST /api/v1/audit/verify/mail"]);
}

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    page(&app, &by, None, Value::Null).await
}

async fn page(app: &App, by: &SignedIn, wrong: Option<String>, verified: Value) -> Answer<HttpResponse> {
    let note = signed(app, None).await?;
    let (stored, stamps) = app
        .db
        .read(|conn| Ok((anchors::newest(conn)?, anchors::stamps(conn, None, LISTED)?)))
        .await?;
    let status = match wrong {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let authorities = &app.authorities;
    app.pages.answer_with(
        status,
        "admin/audit-proof",
        &json!({
            "page": Frame::new(app, by, "Proof of the audit trail", "Audit"),
            "note": note,
            "key": authorities.key.verifier().to_string(),
            "origin": authorities.key.origin(),
            "stored": stored.map(|stored| json!({"size": grouped(stored.size), "at": When::utc(stored.at)})),
            "authorities": authorities.urls,
            "may_stamp": by.0.role.covers(Role::Operator) && !authorities.urls.is_empty(),
            "stamps": stamps.into_iter().map(row).collect::<Vec<_>>(),
            "wrong": wrong,
            "verified": verified,
        }),
    )
}

fn row(stamp: StoredStamp) -> Value {
    let stamp = StampView::from(stamp);
    let path = format!("/admin/audit/timestamps/{}", stamp.id);
    json!({
        "size": grouped(stamp.size), "authority": stamp.authority, "at": When::utc(stamp.stamped_at), "serial": stamp.serial,
        "checkpoint": format!("{path}/checkpoint"), "path": path,
    })
}

/// Answers with the signed note of the trail as it is now, as a file.
async fn checkpoint(app: web::Data<App>, _: SignedIn) -> Answer<HttpResponse> {
    let mut answer = text(signed(&app, None).await?);
    let file = HeaderValue::from_static("attachment; filename=\"checkpoint.txt\"");
    answer.headers_mut().insert(CONTENT_DISPOSITION, file);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventParams {
    /// The number of the event.
    seq: i64,
}

/// Answers with the proof of one event, as a file.
async fn event_proof(app: web::Data<App>, _: SignedIn, params: Form<EventParams>) -> Answer<HttpResponse> {
    let seq = params.0.seq;
    let proof = proven(&app, ProofParams::of_event(seq)).await?;
    Ok(HttpResponse::Ok()
        .insert_header((
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"event-{seq}-proof.json\""),
        ))
        .json(proof))
}

async fn stamp_now(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let actor = sent.actor();
    sent.fields.finish()?;
    let stamped = time_stamps::ask_now(&app.db, &app.authorities, &actor).await?;
    let made = count(stamped.stamps.len(), "time stamp", "time stamps");
    let message = match stamped.failed.as_slice() {
        [] => format!("{made} of {} events.", grouped(stamped.size)),
        failed => {
            let failed: Vec<String> = failed
                .iter()
                .map(|failed| format!("{}: {}", failed.authority, failed.reason))
                .collect();
            format!(
                "{made} of {} events. Not stamped by {}.",
                grouped(stamped.size),
                failed.join("; ")
            )
        }
    };
    Ok(done(&app, PATH, &message))
}

async fn stamp(app: web::Data<App>, _: SignedIn, InPath(id): InPath<TimeStampId>) -> Answer<HttpResponse> {
    Ok(stamp_file(&app, id).await?)
}

async fn stamped_checkpoint(
    app: web::Data<App>,
    _: SignedIn,
    InPath(id): InPath<TimeStampId>,
) -> Answer<HttpResponse> {
    let (_, checkpoint) = app.db.read(move |conn| anchors::stamp(conn, &id)).await?;
    let mut answer = text(checkpoint.note);
    let name = format!("attachment; filename=\"checkpoint-{}.txt\"", checkpoint.size);
    let name = HeaderValue::try_from(name).map_err(|error| Problem::Domain(Error::internal(error)))?;
    answer.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(answer)
}

async fn with_mail(app: web::Data<App>, sent: Upload) -> Answer<HttpResponse> {
    let (by, mut content) = sent.content("file")?;
    if content.limit() > MAX_MAIL as u64 {
        return Err(Problem::TooLarge(MAX_MAIL));
    }
    let mail = web::block(move || {
        let mut mail = Vec::new();
        content.read_to_end(&mut mail).map(|_| mail)
    })
    .await
    .map_err(|error| Problem::Domain(Error::internal(error)))?
    .map_err(|error| Problem::Domain(Error::internal(error)))?;
    match verify_mail(&app.db, app.authorities.trust.clone(), &mail).await {
        Ok(verified) => page(&app, &by, None, shown(&verified)).await,
        Err(Error::Invalid { errors, detail }) => {
            let reason = errors.into_iter().next().map_or(detail, |error| error.detail);
            page(&app, &by, Some(reason), Value::Null).await
        }
        Err(error) => Err(error.into()),
    }
}

fn shown(verified: &MailVerification) -> Value {
    let mail = &verified.mail;
    json!({
        "ok": verified.ok,
        "events": grouped(mail.size),
        "today": grouped(verified.trail.events),
        "origin": mail.origin,
        "date": mail.date,
        "signed_for": (!mail.signed_for.is_empty()).then(|| mail.signed_for.join(", ")),
        "reason": verified.reason,
        "broken": verified.trail.broken_at.map(|at| json!({"at": at, "reason": verified.trail.reason})),
    })
}

/// Returns a row of the table of anchored ranges.
pub(super) fn anchor(anchor: &Anchor) -> Value {
    let by = match anchor.by {
        AnchoredBy::Checkpoint => "Checkpoint in the database",
        AnchoredBy::TimeStamp => "Time stamp of an authority",
        AnchoredBy::Email => "Emails",
    };
    json!({
        "from": grouped(anchor.from), "to": grouped(anchor.to), "by": by, "at": When::utc(anchor.at),
        "authority": anchor.authority, "untrusted": anchor.trusted == Some(false), "unverified": anchor.authority.is_some() && anchor.trusted.is_none(),
    })
}
