//! Every recipient of a notice with the reason, one by one: who would get a draft now, or who is on the frozen list of a notice that
//! was sent. Both are read from the same data, which decides the text of the email.

use diesel::prelude::*;
use serde::Serialize;

use super::compose::RecipientContext;
use super::plan::{Plan, Sending, plan};
use super::preview::Previewed;
use super::recipients::Head;
use super::row::{EMAIL, row};
use crate::audience::PersonRef;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::notice_recipients as nr;

/// The number of rows of a frozen list that are read at once.
const STEP: i64 = 5_000;

/// A recipient of the emails of a notice, and why.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = NoticeRecipient)]
pub struct Listed {
    /// The position in the list, from 1.
    pub ordinal: i64,
    /// The person. If several people have the address, this is the first of them, with the names of all.
    pub person: PersonRef,
    /// The address that the email is sent to.
    pub address: String,
    /// The IDs of all people with this address.
    pub people: Vec<String>,
    /// The affected resources that the email names.
    pub reasons: Vec<ListedReason>,
    /// The number of further resources.
    pub more_resources: usize,
    /// The sentence of the email that says why the person gets it.
    pub reason: String,
}

/// A resource because of which somebody is a recipient.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ListedReason {
    /// The affected resource through which the person gets the notice.
    pub resource: ListedResource,
    /// The resource as the email names it.
    pub label: String,
    /// The name of the account. Empty if the resource belongs to none.
    pub account: String,
    /// What a comparison found about the resource, in words for customers. Empty if no comparison found it, or if it is restored.
    pub finding: String,
    /// Whether the resource was restored when the list was made.
    pub restored: bool,
}

/// A resource by its type and ID.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ListedResource {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource.
    pub id: String,
}

fn listed(ordinal: i64, address: &str, context: &str) -> Result<Listed> {
    let context: RecipientContext = serde_json::from_str(context)?;
    let reasons = context.resources.into_iter().map(|resource| ListedReason {
        resource: ListedResource {
            type_: resource.type_,
            id: resource.id,
        },
        label: resource.label,
        account: resource.account,
        finding: resource.finding,
        restored: resource.restored,
    });
    Ok(Listed {
        ordinal,
        person: PersonRef {
            id: context.people.first().cloned().unwrap_or_default(),
            name: context.name,
            email: address.to_owned(),
        },
        address: address.to_owned(),
        people: context.people,
        reasons: reasons.collect(),
        more_resources: context.more_resources,
        reason: context.reason,
    })
}

/// Returns the recipient at a position of the frozen list of a notice, with the reason.
///
/// # Errors
/// `NotFound` if there is no such recipient.
pub fn recipient_at(conn: &mut Conn, id: &NoticeId, ordinal: i64) -> Result<Listed> {
    let found: Option<(String, String)> = nr::table
        .find((id.as_str(), ordinal))
        .select((nr::address, nr::context))
        .first(conn)
        .optional()?;
    let (address, context) =
        found.ok_or_else(|| Error::NotFound(format!("recipient {ordinal} of the notice")))?;
    listed(ordinal, &address, &context)
}

/// Whether the address, the name or the ID of a person contains the text, which is in lower case.
fn contains(address: &str, context: &str, text: &str) -> Result<bool> {
    let has = |value: &str| value.to_lowercase().contains(text);
    if text.is_empty() || has(address) {
        return Ok(true);
    }
    let head: Head<'_> = serde_json::from_str(context)?;
    Ok(has(&head.name) || head.people.iter().any(|id| has(id)))
}

impl Previewed {
    /// Returns the recipients after a position whose address, name or ID contains `q`, in the order of their addresses.
    ///
    /// # Errors
    /// `Internal` if the plan is damaged.
    pub fn recipients(&self, q: Option<&str>, at: (i64, i64)) -> Result<Vec<Listed>> {
        of_plan(&self.plan, &searched(q), at)
    }
}

/// The text that is searched for, in lower case.
fn searched(q: Option<&str>) -> String {
    q.map(|q| q.trim().to_lowercase()).unwrap_or_default()
}

fn of_plan(plan: &Plan, text: &str, (after, limit): (i64, i64)) -> Result<Vec<Listed>> {
    let after = usize::try_from(after).unwrap_or_default();
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut found = Vec::new();
    for (index, packed) in plan.recipients.iter().enumerate().skip(after) {
        if found.len() == limit {
            break;
        }
        if contains(packed.address(), packed.context(), text)? {
            found.push(listed(index as i64 + 1, packed.address(), packed.context())?);
        }
    }
    Ok(found)
}

/// Returns the recipients after a position whose address, name or ID contains `q`, in the order of their addresses. For a draft they are those who would get it now.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn recipients(
    conn: &mut Conn,
    id: &NoticeId,
    sending: &Sending,
    q: Option<&str>,
    (after, limit): (i64, i64),
) -> Result<Vec<Listed>> {
    let notice = row(conn, id)?;
    let text = searched(q);
    if notice.state()?.is_draft() {
        return of_plan(&plan(conn, &notice, sending)?, &text, (after, limit));
    }
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut found = Vec::new();
    let mut from = after;
    while found.len() < limit && from < notice.recipients {
        let rows: Vec<(i64, String, String)> = nr::table
            .filter(nr::notice_id.eq(id.as_str()))
            .filter(nr::channel.eq(EMAIL))
            .filter(nr::ordinal.gt(from))
            .order(nr::ordinal)
            .limit(STEP)
            .select((nr::ordinal, nr::address, nr::context))
            .load(conn)?;
        let Some((last, ..)) = rows.last() else { break };
        from = *last;
        for (ordinal, address, context) in &rows {
            if found.len() < limit && contains(address, context, &text)? {
                found.push(listed(*ordinal, address, context)?);
            }
        }
    }
    Ok(found)
}
