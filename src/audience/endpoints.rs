//! The endpoints of the accounts that own an affected resource.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::resolve::Audience;
use crate::base::error::Result;
use crate::base::id::EndpointId;
use crate::db::Conn;
use crate::db::keyed::{CHUNK, Keyed, load_keyed};
use crate::directory::ResourceRef;
use crate::incident::recovery::State;

/// An affected resource with an endpoint of its account.
pub(crate) struct EndpointRow {
    pub id: EndpointId,
    pub channel: String,
    pub url: String,
    pub disabled: bool,
    pub account: String,
    pub account_name: String,
    pub locale: Option<String>,
    pub resource: ResourceRef,
    pub resource_name: Option<String>,
    /// The key of the resource.
    pub resource_key: i64,
    /// How far the recovery of the resource is. `None` if the incident has no recovery states.
    pub state: Option<State>,
}

/// Returns the endpoints of the accounts that own an affected resource, once for each affected resource. They
/// are found in the graph of the audience, which must be the current one.
pub(crate) fn endpoints(conn: &mut Conn, audience: &Audience) -> Result<Vec<EndpointRow>> {
    type Columns = (BigInt, Text, Text, Text, Nullable<BigInt>);
    type Row = (i64, EndpointId, String, String, Option<i64>);
    let graph = &audience.folded.graph;
    let reached = graph.reached().accounts;
    let accounts: Vec<i64> = reached
        .into_iter()
        .map(|index| graph.account(index).key)
        .collect();
    let mut endpoints: HashMap<i64, Vec<Row>> = HashMap::new();
    let query = Keyed {
        columns: "e.account_key, e.id, e.channel, e.url, e.disabled_at",
        table: "endpoints e",
        joined: "",
        on: "e.account_key",
        condition: "e.gone_at IS NULL",
    };
    for chunk in accounts.chunks(CHUNK) {
        let rows: Vec<Row> = load_keyed!(conn, Columns, query, chunk);
        for row in rows {
            endpoints.entry(row.0).or_default().push(row);
        }
    }
    let mut found = Vec::new();
    if endpoints.is_empty() {
        return Ok(found);
    }
    for affected in graph.current() {
        let Some(owner) = graph.owner(&graph.chain(affected.node, false)) else {
            continue;
        };
        let account = graph.account(owner.account);
        let Some(rows) = endpoints.get(&account.key) else {
            continue;
        };
        found.extend(rows.iter().map(|(_, id, channel, url, disabled_at)| EndpointRow {
            id: id.clone(),
            channel: channel.clone(),
            url: url.clone(),
            disabled: disabled_at.is_some(),
            account: account.id.to_string(),
            account_name: account.name.to_string(),
            locale: account.locale.clone(),
            resource: graph.reference(affected.node),
            resource_name: graph.name(affected.node).map(ToString::to_string),
            resource_key: graph.node(affected.node).key,
            state: graph.state(affected.node),
        }));
    }
    Ok(found)
}
