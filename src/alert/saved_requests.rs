//! Saved requests: the most recent requests of each integration, accepted or rejected. They can be viewed and
//! replayed.
//!
//! A saved request contains no secret, and it is deleted after a limited time.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Text};
use serde::Serialize;

use super::integration;
use super::source::Request;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::IntegrationId;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::many::insert_many;
use crate::db::schema::hook_requests as h;

/// The number of saved requests for each integration.
const MAX_SAVED: i64 = 100;

/// A request to the hook of an integration, as it was received. The last 100 requests of each integration are saved.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct HookRequest {
    /// The ID of the saved request.
    pub id: i64,
    /// When the request was received.
    pub received_at: Timestamp,
    /// Whether the body was understood.
    pub accepted: bool,
    /// What the request caused, or why its body was not understood.
    pub detail: String,
    /// The HTTP method of the request.
    pub method: String,
    /// The part of the URL after the `?`.
    pub query: String,
    /// The headers that describe the body. Other headers are not saved, because any of them could contain a
    /// secret.
    pub headers: BTreeMap<String, String>,
    /// The body as text. The token of the hook is removed from it.
    pub body: String,
}

type SavedRequestRow = (i64, Timestamp, bool, String, Vec<u8>, String, String, String);

fn read(row: SavedRequestRow) -> Result<(HookRequest, Request)> {
    let (id, received_at, accepted, detail, body, method, query, headers) = row;
    let headers: BTreeMap<String, String> = serde_json::from_str(&headers)?;
    let shown = HookRequest {
        id,
        received_at,
        accepted,
        detail,
        method: method.clone(),
        query: query.clone(),
        headers: headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let request = Request {
        method,
        query,
        headers,
        body,
    };
    Ok((shown, request))
}

const COLUMNS: (
    h::id,
    h::received_at,
    h::accepted,
    h::detail,
    h::body,
    h::method,
    h::query,
    h::headers,
) = (
    h::id,
    h::received_at,
    h::accepted,
    h::detail,
    h::body,
    h::method,
    h::query,
    h::headers,
);

/// Saves a request and deletes the oldest ones. The caller has removed the secrets from the request.
pub fn save(
    tx: &mut Tx<'_>,
    id: &IntegrationId,
    accepted: bool,
    detail: &str,
    request: &Request,
) -> Result<()> {
    store(tx, id, &[(accepted, detail, request)])
}

/// Saves the most recent of these requests, which were all understood, and deletes the oldest saved requests.
pub fn save_all(tx: &mut Tx<'_>, id: &IntegrationId, bodies: &[(String, &Request)]) -> Result<()> {
    // Requests over the limit would be deleted at once.
    let skipped = bodies.len().saturating_sub(MAX_SAVED as usize);
    let rows: Vec<_> = bodies
        .iter()
        .skip(skipped)
        .map(|(detail, request)| (true, detail.as_str(), *request))
        .collect();
    store(tx, id, &rows)
}

/// Deletes the requests that were received before a time, because they can contain personal data. Returns how
/// many were deleted.
pub fn delete_before(conn: &mut Conn, before: Timestamp) -> Result<usize> {
    Ok(diesel::delete(h::table.filter(h::received_at.lt(before))).execute(conn)?)
}

#[derive(Insertable)]
#[diesel(table_name = h)]
struct NewSavedRequest<'a> {
    integration_id: &'a IntegrationId,
    received_at: Timestamp,
    accepted: bool,
    detail: String,
    body: &'a [u8],
    method: &'a str,
    query: String,
    headers: String,
}

fn store(tx: &mut Tx<'_>, id: &IntegrationId, bodies: &[(bool, &str, &Request)]) -> Result<()> {
    let mut rows = Vec::with_capacity(bodies.len());
    for (accepted, detail, request) in bodies {
        rows.push(NewSavedRequest {
            integration_id: id,
            received_at: tx.now,
            accepted: *accepted,
            detail: one_line(detail, 1_000),
            body: &request.body,
            method: &request.method,
            // PostgreSQL does not store a text with a zero byte.
            query: request.query.replace('\0', ""),
            headers: serde_json::to_string(&request.headers)?,
        });
    }
    insert_many!(tx.conn, h::table, "hook_requests", rows.as_slice(), {
        integration_id: Text = |row| row.integration_id.as_str(),
        received_at: BigInt = |row| row.received_at,
        accepted: Bool = |row| row.accepted,
        detail: Text = |row| row.detail.as_str(),
        body: Binary = |row| row.body,
        method: Text = |row| row.method,
        query: Text = |row| row.query.as_str(),
        headers: Text = |row| row.headers.as_str(),
    });
    let oldest: Option<i64> = h::table
        .filter(h::integration_id.eq(id.as_str()))
        .order(h::id.desc())
        .offset(MAX_SAVED)
        .limit(1)
        .select(h::id)
        .first(tx.conn)
        .optional()?;
    if let Some(oldest) = oldest {
        diesel::delete(
            h::table
                .filter(h::integration_id.eq(id.as_str()))
                .filter(h::id.le(oldest)),
        )
        .execute(tx.conn)?;
    }
    Ok(())
}

/// Returns the saved requests of an integration before the given ID, newest first.
///
/// # Errors
/// `NotFound` if the integration does not exist.
pub fn list(
    conn: &mut Conn,
    id: &IntegrationId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HookRequest>> {
    integration::get(conn, id)?;
    let rows: Vec<SavedRequestRow> = h::table
        .filter(h::integration_id.eq(id.as_str()))
        .filter(h::id.lt(before.unwrap_or(i64::MAX)))
        .order(h::id.desc())
        .limit(limit)
        .select(COLUMNS)
        .load(conn)?;
    rows.into_iter().map(|row| Ok(read(row)?.0)).collect()
}

/// A saved request without its body.
#[derive(Clone, Debug, Queryable)]
pub struct SavedRequestHead {
    /// The ID of the saved request.
    pub id: i64,
    /// The integration that received the request.
    pub integration: IntegrationId,
    /// When the request was received.
    pub received_at: Timestamp,
    /// What the request caused.
    pub detail: String,
}

/// Returns the saved requests of these integrations, newest first, and at most `each` of them for one
/// integration.
pub fn newest(conn: &mut Conn, integrations: &[IntegrationId], each: i64) -> Result<Vec<SavedRequestHead>> {
    let mut heads: Vec<SavedRequestHead> = Vec::new();
    for id in integrations {
        let newest: Vec<SavedRequestHead> = h::table
            .filter(h::integration_id.eq(id.as_str()))
            .order(h::id.desc())
            .limit(each)
            .select((h::id, h::integration_id, h::received_at, h::detail))
            .load(conn)?;
        heads.extend(newest);
    }
    heads.sort_by_key(|head| std::cmp::Reverse(head.id));
    Ok(heads)
}

/// Returns a saved request as it was sent.
///
/// # Errors
/// `NotFound` if the integration has no saved request with this ID.
pub fn request(conn: &mut Conn, id: &IntegrationId, body: i64) -> Result<Request> {
    let row: Option<SavedRequestRow> = h::table
        .filter(h::integration_id.eq(id.as_str()))
        .filter(h::id.eq(body))
        .select(COLUMNS)
        .first(conn)
        .optional()?;
    let row = row.ok_or_else(|| Error::NotFound(format!("body {body} of integration {id}")))?;
    Ok(read(row)?.1)
}
