//! The contacts that an account names beside its people: a shared mailbox, and mailboxes for operations, security and billing.
//!
//! A contact is a person of the directory who is a member of the account with a role that only contacts have. So the audience,
//! the history, opt-outs, bounces and erasures treat it as they treat everybody. Whoever imports members can give these roles to
//! people of the product: they are contacts too.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account;
use super::member;
use super::person::{self, PersonInput};
use crate::audit::Tx;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::ExternalId;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{accounts as a, members as m, people as p};

word_enum! {
    /// What a contact of an account is for.
    #[derive(PartialOrd, Ord)]
    ContactKind, "a kind of contact" {
        /// A mailbox that several people of the account read.
        Shared = "shared",
        /// Whoever runs the account's own systems.
        Operations = "operations",
        /// Whoever handles security at the account.
        Security = "security",
        /// Whoever pays the invoices of the account.
        Billing = "billing",
    }
}

impl ContactKind {
    /// All kinds of contacts that an account can have.
    pub const KINDS: [ContactKind; 4] = [
        ContactKind::Shared,
        ContactKind::Operations,
        ContactKind::Security,
        ContactKind::Billing,
    ];

    /// Returns the role that members have who are a contact of this kind. With the name of the account it is the reason: contact
    /// for operations of Acme.
    pub fn role(self) -> &'static str {
        match self {
            ContactKind::Shared => "shared mailbox",
            ContactKind::Operations => "contact for operations",
            ContactKind::Security => "contact for security",
            ContactKind::Billing => "contact for billing",
        }
    }

    /// Returns the kind of contact that a role means, if it means one.
    pub fn of_role(role: &str) -> Option<ContactKind> {
        Self::KINDS.into_iter().find(|kind| kind.role() == role)
    }

    /// Returns the ID in the directory of the contact of an account. It is the same each time, so a contact that is named again
    /// keeps its history.
    fn person_id(self, account: &str) -> Result<ExternalId> {
        ExternalId::parse(&format!("contact:{self}:{account}"))
            .or_else(|_| {
                let digest = hex(&Sha256::digest(account.as_bytes()));
                ExternalId::parse(&format!("contact:{self}:{digest}"))
            })
            .map_err(Error::internal)
    }
}

/// The mailbox of a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactInput {
    /// The email address of the mailbox. It must not be empty.
    pub email: String,
    /// The name, which emails greet. The default is the name of the account with the kind of the contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The language, such as `de` or `pt-BR`. The default is the one of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The IANA time zone, such as `Europe/Berlin`. The default is the one of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A contact of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AccountContact {
    /// What the contact is for.
    pub kind: ContactKind,
    /// The ID of the contact in the directory, as a person.
    pub person: String,
    /// The name of the contact, as the directory has it.
    pub name: String,
    /// The email address of the contact. Empty if the directory knows none.
    pub email: String,
    /// The language. Null if the one of the account is used.
    pub locale: Option<String>,
    /// The IANA time zone. Null if the one of the account is used.
    pub time_zone: Option<String>,
    /// Whether the contact was named with `PUT`. Otherwise a member of the account has the role of the contact.
    pub named: bool,
    /// When the contact was first stored.
    pub created_at: Timestamp,
}

/// Returns the contacts of an account, ordered by kind and ID. Several people may be a contact of one kind.
///
/// # Errors
/// `NotFound` if the account does not exist.
pub fn list(conn: &mut Conn, account: &str) -> Result<Vec<AccountContact>> {
    account::get(conn, account)?;
    type Row = (
        String,
        String,
        String,
        String,
        (Option<String>, Option<String>),
        Timestamp,
    );
    let roles = ContactKind::KINDS.map(ContactKind::role);
    let rows: Vec<Row> = m::table
        .inner_join(p::table)
        .inner_join(a::table)
        .filter(a::id.eq(account))
        .filter(m::role.eq_any(roles))
        .filter(m::gone_at.is_null())
        .filter(p::gone_at.is_null())
        .order(p::id)
        .select((
            m::role,
            p::id,
            p::name,
            p::email,
            (p::locale, p::time_zone),
            m::created_at,
        ))
        .load(conn)?;
    let mut found = Vec::with_capacity(rows.len());
    for (role, person, name, email, (locale, time_zone), created_at) in rows {
        let Some(kind) = ContactKind::of_role(&role) else {
            continue;
        };
        found.push(AccountContact {
            kind,
            named: kind.person_id(account)?.as_str() == person,
            person,
            name,
            email,
            locale,
            time_zone,
            created_at,
        });
    }
    found.sort_by_key(|contact| contact.kind);
    Ok(found)
}

/// Names the contact of a kind, or changes it. Returns the contact, and whether it is new.
///
/// # Errors
/// `NotFound` if the account does not exist or is archived. `Invalid` with one error for each wrong field. `Conflict` if the address was
/// erased and is not allowed again.
pub fn put(
    tx: &mut Tx<'_>,
    account: &ExternalId,
    kind: ContactKind,
    input: &ContactInput,
) -> Result<(AccountContact, bool)> {
    let of = account::get(tx.conn, account.as_str())?;
    if of.gone_at.is_some() {
        return Err(Error::NotFound(format!("account '{account}'")));
    }
    if input.email.trim().is_empty() {
        return Err(Error::invalid("/email", "must not be empty"));
    }
    let id = kind.person_id(account.as_str())?;
    let name = match (&input.name, kind) {
        (Some(name), _) => name.clone(),
        (None, ContactKind::Shared) => of.name.clone(),
        (None, kind) => format!("{} ({kind})", of.name),
    };
    let person = PersonInput {
        name,
        email: input.email.clone(),
        locale: input.locale.clone(),
        time_zone: input.time_zone.clone(),
    };
    let was = named(tx.conn, account.as_str(), kind)?.is_some();
    person::put(tx, &id, &person)?;
    let role = ExternalId::parse(kind.role()).map_err(Error::internal)?;
    member::put_member(tx, account.as_str(), id.as_str(), &role)?;
    let contact = named(tx.conn, account.as_str(), kind)?;
    let contact = contact.ok_or_else(|| Error::internal("the contact was not stored"))?;
    Ok((contact, !was))
}

/// Removes the contact of a kind. Its history stays.
///
/// # Errors
/// `NotFound` if the account does not exist, or has named no contact of this kind.
pub fn delete(tx: &mut Tx<'_>, account: &str, kind: ContactKind) -> Result<()> {
    let contact = named(tx.conn, account, kind)?;
    let contact =
        contact.ok_or_else(|| Error::NotFound(format!("{} of account '{account}'", kind.role())))?;
    member::delete_member(tx, account, &contact.person)?;
    person::delete(tx, &contact.person)
}

/// Returns the contact that was named with [`put`].
fn named(conn: &mut Conn, account: &str, kind: ContactKind) -> Result<Option<AccountContact>> {
    let all = list(conn, account)?;
    Ok(all
        .into_iter()
        .find(|contact| contact.kind == kind && contact.named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_role_and_a_long_account_has_an_id_too() {
        for kind in ContactKind::KINDS {
            assert_eq!(ContactKind::of_role(kind.role()), Some(kind));
            assert_eq!(
                kind.person_id("acme").unwrap().as_str(),
                format!("contact:{kind}:acme")
            );
            let long = kind.person_id(&"x".repeat(200)).unwrap();
            assert!(long.as_str().len() <= 200);
        }
        assert_eq!(ContactKind::of_role("owner"), None);
    }
}
