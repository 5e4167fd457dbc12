//! `Idempotency-Key`: the same key with the same request returns the first answer again.
//!
//! The key is reserved before the work, marked as carried out in the transaction of the work, and completed
//! with the answer afterwards. After a crash in between, the mark stays. The work is then not repeated, and
//! the answer says so.
//!
//! An answer with a secret that is shown only once is stored without the secret. A repeated request gets the
//! rest of the answer, and `withheld` names the missing fields.
//!
//! The work is done once for each key, and no secret is stored in plain text.

use std::io::{Read, Seek, SeekFrom, Write};

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use futures_util::stream;
use sha2::{Digest, Sha256};

use super::extract::{MAX_IMPORT, MAX_JSON, MAX_MAIL, Pace, read_body, uncompressed};
use super::problem::Problem;
use super::request_id;
use crate::audit::idempotency as store;
use crate::auth::Caller;
use crate::base::error::Error;
use crate::base::id::new_uuid;
use crate::base::shown_once;
use crate::base::text::hex;
use crate::http::App;

/// The key of the request that is being carried out.
#[derive(Clone, Debug)]
pub struct Running {
    /// The ID of the stored row.
    pub id: String,
}

/// Writes a body to a file while it is hashed, because an import is too large for the memory.
async fn spool(
    req: &HttpRequest,
    payload: &mut Payload,
    hasher: &mut Sha256,
) -> std::result::Result<Payload, Problem> {
    const STEP: usize = 64 * 1024;
    let mut file = tempfile::tempfile().map_err(Error::internal)?;
    let mut size = 0;
    let mut pace = Pace::begin(req);
    while let Some(chunk) = pace.next(payload).await? {
        size += chunk.len() as u64;
        if size > MAX_IMPORT {
            return Err(Problem::TooLarge(MAX_IMPORT as usize));
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(Error::internal)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    let chunks = stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; STEP];
        let read = file.read(&mut chunk)?;
        chunk.truncate(read);
        Ok::<_, PayloadError>((read > 0).then(|| (web::Bytes::from(chunk), file)))
    });
    Ok(Payload::Stream {
        payload: Box::pin(chunks),
    })
}

/// How a request with a key continues.
enum Begun {
    /// The request was answered before.
    Before(HttpResponse),
    /// The request is carried out, with the row of this ID.
    Now(web::Data<App>, String),
}

/// The guard around every POST below `/api/v1`.
pub async fn guard(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> std::result::Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let key = match req.headers().get("idempotency-key") {
        Some(key) if req.method() == Method::POST => key.to_str().unwrap_or("").trim().to_owned(),
        _ => return Ok(next.call(req).await?.map_into_boxed_body()),
    };
    match begin(&mut req, key).await {
        Err(problem) => Ok(req.into_response(HttpResponse::from_error(problem))),
        Ok(Begun::Before(answer)) => Ok(req.into_response(answer)),
        Ok(Begun::Now(app, id)) => {
            req.extensions_mut().insert(Running { id: id.clone() });
            // A separate task completes the work even if the client disconnects. The client gets the answer
            // when it repeats the request.
            actix_web::rt::spawn(request_id::carried(carry_out(app, id, req, next)))
                .await
                .map_err(|error| Problem::Domain(Error::internal(error)))?
        }
    }
}

/// Reserves the key after the body was read, because the body is a part of the request's hash.
async fn begin(req: &mut ServiceRequest, key: String) -> std::result::Result<Begun, Problem> {
    if key.is_empty() || key.len() > 255 {
        let error = Error::invalid("Idempotency-Key", "must be 1 to 255 visible characters");
        return Err(Problem::Domain(error));
    }
    let (Some(app), Some(owner)) = (
        req.app_data::<web::Data<App>>().cloned(),
        req.extensions().get::<Caller>().map(|c| c.id.to_string()),
    ) else {
        return Err(Problem::Domain(Error::internal("idempotency without a caller")));
    };
    let mut hasher = Sha256::new();
    hasher.update(format!(
        "{} {}?{}\n",
        req.method(),
        req.path(),
        req.query_string()
    ));
    let mut payload = req.take_payload();
    let payload = if req.path().ends_with("/directory/import") {
        uncompressed(req.headers())?;
        spool(req.request(), &mut payload, &mut hasher).await?
    } else {
        let limit = if req.path().ends_with("/inbound-mail") {
            MAX_MAIL
        } else {
            MAX_JSON
        };
        let body = read_body(req.request(), &mut payload, limit).await?;
        hasher.update(&body);
        Payload::from(body)
    };
    req.set_payload(payload);
    let hash = hex(&hasher.finalize());
    let now = app.clock().now();
    let id = new_uuid(now).to_string();
    let (row, owner_of) = (id.clone(), owner.clone());
    let begun = app
        .db
        .transaction(move |conn| {
            let request = store::Request {
                id: &row,
                owner: &owner_of,
                key: &key,
                hash: &hash,
            };
            store::begin(conn, &request, now)
        })
        .await?;
    if let store::Begin::Answer(stored) = begun {
        let status = u16::try_from(stored.status)
            .ok()
            .and_then(|s| StatusCode::from_u16(s).ok());
        let mut response = HttpResponse::build(status.unwrap_or(StatusCode::OK));
        response.insert_header(("idempotency-replayed", "true"));
        if let Some(content_type) = stored.content_type {
            response.insert_header((header::CONTENT_TYPE, content_type));
        }
        return Ok(Begun::Before(response.body(stored.body)));
    }
    Ok(Begun::Now(app, id))
}

/// Does the work and stores its answer. There must be no clone of the request during this, because the router
/// changes it in place.
async fn carry_out(
    app: web::Data<App>,
    id: String,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> std::result::Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let (response, secrets) = shown_once::collect(next.call(req)).await;
    let response = match response {
        Ok(response) => response.map_into_boxed_body(),
        // Handlers turn their errors into answers, so here nothing was carried out.
        Err(error) => {
            app.db
                .transaction(move |conn| store::release(conn, &id))
                .await
                .map_err(Problem::from)?;
            return Err(error);
        }
    };
    let (request, response) = response.into_parts();
    let status = response.status();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let (head, body) = response.into_parts();
    let body = to_bytes(body)
        .await
        .map_err(|_| Problem::Domain(Error::internal("an answer could not be read")))?;
    // A secret that is shown only once is not stored.
    let stored = if secrets.is_empty() {
        body.clone()
    } else {
        shown_once::without(&body, &secrets).into()
    };
    app.db
        .transaction(move |conn| {
            if status.is_server_error() {
                // The work failed or its result is unknown, so a repeated request decides. A request that was
                // carried out keeps its mark.
                return store::release(conn, &id);
            }
            store::complete(conn, &id, status.as_u16(), content_type.as_deref(), &stored)
        })
        .await
        .map_err(Problem::from)?;
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))))
}
