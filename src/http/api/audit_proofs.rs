//! The API for the Merkle tree over the audit trail: checkpoints, proofs, time stamps, and the verification with an email.

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::audit::anchors::{self, StampView};
use crate::audit::mailed::{MailVerification, verify_mail};
use crate::audit::merkle::Hash;
use crate::audit::{checkpoint, note, proof};
use crate::base::error::{Error, Result};
use crate::base::id::TimeStampId;
use crate::http::App;
use crate::http::answer::{Created, Declared};
use crate::http::auth::By;
use crate::http::extract::{Json, MAX_MAIL, Params, is_media, read_body};
use crate::http::ids::InPath;
use crate::http::page::{Page, Paging, cursor, page};
use crate::http::problem::{Answer, Problem};
use crate::time_stamps::{self, Stamped};

pub(super) fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig<'_>) {
    config
        .service(current)
        .service(get_key)
        .service(prove)
        .service(with_mail)
        .service(stamps)
        .service(stamp_now)
        .service(get_stamp)
        .service(stamped_checkpoint);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CheckpointParams {
    /// The number of events. The default is all events of today.
    size: Option<i64>,
}

/// Returns a checkpoint of the trail as a signed note: the number of events and the root of the Merkle tree over them.
///
/// The formats are C2SP `signed-note` and `tlog-checkpoint`. Keep it somewhere else: whoever has it can find out later whether history
/// was rewritten.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])), params(CheckpointParams),
    responses((status = 200, description = "The signed note", content_type = "text/plain")))]
#[get("/audit/checkpoint")]
async fn current(app: web::Data<App>, params: Params<CheckpointParams>) -> Answer<Declared> {
    let note = signed(&app, params.0.size).await?;
    Ok(Declared(text(note)))
}

/// Returns the signed note of the trail as it is now, or of its first `size` events.
pub(in crate::http) async fn signed(app: &App, size: Option<i64>) -> Result<String> {
    let signer = app.authorities.key.clone();
    app.db
        .read(move |conn| {
            // A checkpoint that was stored is answered as it was signed then.
            if let Some(size) = size
                && let Some(stored) = anchors::of_size(conn, size)?
            {
                return Ok(stored.note);
            }
            let checkpoint = match size {
                Some(size) => checkpoint::at(conn, signer.origin(), size)?,
                None => checkpoint::current(conn, signer.origin())?,
            };
            Ok(note::signed(&checkpoint, &signer))
        })
        .await
}

/// Answers with text in UTF-8.
pub(in crate::http) fn text(content: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(content)
}

/// Returns the key that verifies checkpoints (C2SP `signed-note`): `NAME+HASH+KEY`.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])),
    responses((status = 200, description = "The verifier key", content_type = "text/plain")))]
#[get("/audit/key")]
async fn get_key(app: web::Data<App>) -> Answer<Declared> {
    Ok(Declared(text(format!("{}\n", app.authorities.key.verifier()))))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ProofParams {
    /// The number of the event that is to be proven.
    seq: Option<i64>,
    /// The size of an older checkpoint, of which is to be proven that the trail begins with it.
    from: Option<i64>,
    /// The size of the checkpoint that the proof is for. The default is the trail of today.
    size: Option<i64>,
}

impl ProofParams {
    /// Asks for the proof of an event in the trail of today.
    pub(in crate::http) fn of_event(seq: i64) -> Self {
        ProofParams {
            seq: Some(seq),
            from: None,
            size: None,
        }
    }
}

/// A proof. Its hashes are in the order of RFC 6962 and RFC 9162, in base64.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct Proof {
    /// The number of events in the checkpoint that the proof is for.
    size: i64,
    /// The root of this checkpoint, in base64.
    root: String,
    /// The number of the event, for a proof of inclusion. Its position in the tree is one less.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    /// The event as it is hashed: SHA-256 of this text is the hash of the event. Its leaf is SHA-256 of the byte 0x00 and the 32
    /// bytes of this hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// The hash of the leaf of the event, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
    /// The size of the older checkpoint, for a proof of consistency.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    /// The root of the older checkpoint, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_root: Option<String>,
    /// The hashes of the proof.
    hashes: Vec<String>,
}

/// Proves that one event is in a checkpoint (`seq`), or that a checkpoint begins with an older one (`from`).
///
/// Give one of the two. The proof of an event shows nothing about any other event.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])), params(ProofParams))]
#[get("/audit/proof")]
async fn prove(app: web::Data<App>, params: Params<ProofParams>) -> Answer<Json<Proof>> {
    Ok(Json(proven(&app, params.0).await?))
}

/// Makes a proof.
///
/// # Errors
/// `Invalid` if there is no such event or no such tree, an error of the database.
pub(in crate::http) async fn proven(app: &App, asked: ProofParams) -> Result<Proof> {
    let ProofParams { seq, from, size } = asked;
    let origin = app.authorities.key.origin().to_owned();
    let shown = |hash: &Hash| STANDARD.encode(hash);
    app.db
        .read(move |conn| {
            let newer = match size {
                Some(size) => checkpoint::at(conn, &origin, size)?,
                None => checkpoint::current(conn, &origin)?,
            };
            let mut proof = Proof {
                size: newer.size,
                root: shown(&newer.root),
                seq,
                event: None,
                leaf: None,
                from,
                from_root: None,
                hashes: Vec::new(),
            };
            let hashes = match (seq, from) {
                (Some(seq), None) => {
                    let hashes = proof::inclusion(conn, seq, newer.size)?;
                    let event = proof::sealed(conn, &[seq])?.pop();
                    let event = event.ok_or_else(|| Error::internal("an event of the tree is missing"))?;
                    proof.leaf = Some(shown(&proof::leaf_hash(&event.hash)?));
                    proof.event = Some(event.canonical);
                    hashes
                }
                (None, Some(from)) => {
                    let hashes = proof::consistency(conn, from, newer.size)?;
                    proof.from_root = Some(shown(&checkpoint::at(conn, &origin, from)?.root));
                    hashes
                }
                _ => return Err(Error::invalid("?seq", "give either seq or from")),
            };
            proof.hashes = hashes.iter().map(shown).collect();
            Ok(proof)
        })
        .await
}

/// Verifies the whole trail, and that it begins with exactly the events that it had when an email was sent.
///
/// The body is this email as a file. It is not stored. The DKIM signature of the email is not verified here.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])),
    request_body(content = String, content_type = "message/rfc822"))]
#[post("/audit/verify/mail")]
async fn with_mail(
    app: web::Data<App>,
    req: HttpRequest,
    payload: web::Payload,
) -> Answer<Json<MailVerification>> {
    if !is_media(&req, "message/rfc822") {
        return Err(Problem::UnsupportedMedia("message/rfc822"));
    }
    let mut payload: Payload = payload.into_inner();
    let body = read_body(&req, &mut payload, MAX_MAIL).await?;
    let trust = app.authorities.trust.clone();
    Ok(Json(verify_mail(&app.db, trust, &body).await?))
}

/// Returns the time stamps (RFC 3161) of checkpoints, newest first.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])), params(Paging))]
#[get("/audit/timestamps")]
async fn stamps(app: web::Data<App>, params: Params<Paging>) -> Answer<Json<Page<StampView>>> {
    let Paging { limit, cursor: at } = params.0;
    let before: Option<TimeStampId> = cursor::<String>(at.as_deref())?
        .map(|id| TimeStampId::parse(&id).map_err(|detail| Error::invalid("?cursor", detail)))
        .transpose()?;
    let rows = app
        .db
        .read(move |conn| anchors::stamps(conn, before.as_ref(), limit.probe()))
        .await?;
    let rows: Vec<StampView> = rows.into_iter().map(StampView::from).collect();
    Ok(Json(page(rows, limit, |one| one.id.to_string())))
}

/// Stores a checkpoint of the trail as it is now, and asks the authorities of the settings for time stamps of it.
///
/// Candor also does this every hour in which something happens.
#[utoipa::path(tag = "Audit", security(("token" = ["operator"])))]
#[post("/audit/timestamps")]
async fn stamp_now(app: web::Data<App>, by: By) -> Answer<Created<Stamped>> {
    Ok(Created(
        time_stamps::stamp_now(&app.db, &app.authorities, &by.0).await?,
    ))
}

/// Returns the answer of the authority, as it sent it.
///
/// `openssl ts -verify -in FILE -data CHECKPOINT -CAfile AUTHORITIES` verifies it.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])),
    responses((status = 200, description = "The answer of the authority, in DER", content_type = "application/timestamp-reply")))]
#[get("/audit/timestamps/{id}")]
async fn get_stamp(app: web::Data<App>, InPath(id): InPath<TimeStampId>) -> Answer<Declared> {
    Ok(Declared(stamp_file(&app, id).await?))
}

/// Answers with what an authority sent, as a file.
///
/// # Errors
/// `NotFound` if there is no such time stamp, an error of the database.
pub(in crate::http) async fn stamp_file(app: &App, id: TimeStampId) -> Result<HttpResponse> {
    let (found, _) = app.db.read(move |conn| anchors::stamp(conn, &id)).await?;
    let name = format!("attachment; filename=\"checkpoint-{}.tsr\"", found.size);
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/timestamp-reply"))
        .insert_header((CONTENT_DISPOSITION, name))
        .body(found.response))
}

/// Returns the checkpoint that was stamped, byte for byte.
#[utoipa::path(tag = "Audit", security(("token" = ["viewer"])),
    responses((status = 200, description = "The signed note", content_type = "text/plain")))]
#[get("/audit/timestamps/{id}/checkpoint")]
async fn stamped_checkpoint(app: web::Data<App>, InPath(id): InPath<TimeStampId>) -> Answer<Declared> {
    let (_, checkpoint) = app.db.read(move |conn| anchors::stamp(conn, &id)).await?;
    Ok(Declared(text(checkpoint.note)))
}
