//! Audience rules: which roles a notice is for. A rule names roles of members of the owning account, and
//! collaborators.
//!
//! A rule that names nobody is an error, and so is a role that nobody has.

use diesel::prelude::*;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::base::error::{FieldError, Result};
use crate::base::id::ExternalId;
use crate::db::Conn;
use crate::db::schema::{collaborators as k, members as m};
use crate::directory::contact::ContactKind;

/// The role that is notified of everything about its account.
pub const OWNER: &str = "owner";

/// Which collaborators are notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Collaborators {
    /// All collaborators, or none.
    All(bool),
    /// Collaborators with one of these roles.
    Roles(Vec<ExternalId>),
}

/// An audience rule, for example `{"roles": ["owner", "billing"], "collaborators": true}`. The default is the
/// owners, all collaborators, and the contacts that the account named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The roles of members of the owning account. The default is `owner`.
    #[serde(default = "owners")]
    pub roles: Vec<ExternalId>,
    /// The collaborators on the affected resources and their ancestors: `true` for all, `false` for none, or
    /// a list of roles. The default is `true`.
    #[serde(default = "all")]
    pub collaborators: Collaborators,
    /// The contacts of the owning account. The default is the shared mailbox and the contact for operations, if the account named
    /// them. An empty list means none.
    #[serde(default = "contacts", skip_serializing_if = "are_default")]
    #[schema(required = false)]
    pub contacts: Vec<ContactKind>,
}

fn owners() -> Vec<ExternalId> {
    ExternalId::parse(OWNER).into_iter().collect()
}

fn all() -> Collaborators {
    Collaborators::All(true)
}

fn contacts() -> Vec<ContactKind> {
    vec![ContactKind::Shared, ContactKind::Operations]
}

/// Whether a notice is for the contacts that it is for by default, in any order.
fn are_default(contacts: &[ContactKind]) -> bool {
    let default = self::contacts();
    contacts.len() == default.len() && default.iter().all(|kind| contacts.contains(kind))
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            roles: owners(),
            collaborators: all(),
            contacts: contacts(),
        }
    }
}

impl<'de> Deserialize<'de> for Collaborators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Which;
        impl<'de> Visitor<'de> for Which {
            type Value = Collaborators;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false, or a list of roles")
            }
            fn visit_bool<E>(self, all: bool) -> Result<Collaborators, E> {
                Ok(Collaborators::All(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Collaborators, A::Error> {
                let mut roles = Vec::new();
                while let Some(role) = items.next_element()? {
                    roles.push(role);
                }
                Ok(Collaborators::Roles(roles))
            }
        }
        deserializer.deserialize_any(Which)
    }
}

impl Rule {
    /// Checks a rule at `pointer` of a request. Empty lists and roles that nobody has are added to `errors`.
    pub fn check(&self, conn: &mut Conn, pointer: &str, errors: &mut Vec<FieldError>) -> Result<()> {
        if self.roles.is_empty() {
            let detail = "must not be an empty list; leave it out to notify the owners";
            errors.push(FieldError::at(format!("{pointer}/roles"), detail));
        }
        for (index, role) in self.roles.iter().enumerate() {
            let had: Option<String> = m::table
                .filter(m::role.eq(role.as_str()))
                .filter(m::gone_at.is_null())
                .select(m::role)
                .first(conn)
                .optional()?;
            if had.is_none() && role.as_str() != OWNER && ContactKind::of_role(role.as_str()).is_none() {
                let detail = format!("no member of any account has the role '{role}'");
                errors.push(FieldError::at(format!("{pointer}/roles/{index}"), detail));
            }
        }
        let Collaborators::Roles(roles) = &self.collaborators else {
            return Ok(());
        };
        if roles.is_empty() {
            let detail = "must not be an empty list; write false to notify no collaborators";
            errors.push(FieldError::at(format!("{pointer}/collaborators"), detail));
        }
        for (index, role) in roles.iter().enumerate() {
            let had: Option<String> = k::table
                .filter(k::role.eq(role.as_str()))
                .filter(k::gone_at.is_null())
                .select(k::role)
                .first(conn)
                .optional()?;
            if had.is_none() {
                let detail = format!("no collaborator has the role '{role}'");
                errors.push(FieldError::at(format!("{pointer}/collaborators/{index}"), detail));
            }
        }
        Ok(())
    }

    /// Returns whether members with this role are notified.
    pub fn covers_member(&self, role: &str) -> bool {
        self.roles.iter().any(|covered| covered.as_str() == role)
            || self.contacts.iter().any(|kind| kind.role() == role)
    }

    /// Returns whether collaborators with this role are notified.
    pub fn covers_collaborator(&self, role: &str) -> bool {
        match &self.collaborators {
            Collaborators::All(all) => *all,
            Collaborators::Roles(roles) => roles.iter().any(|covered| covered.as_str() == role),
        }
    }

    pub(super) fn member_roles(&self) -> Vec<&str> {
        let roles = self.roles.iter().map(ExternalId::as_str);
        roles
            .chain(self.contacts.iter().map(|kind| kind.role()))
            .collect()
    }

    /// Returns the roles of collaborators that count. None means every role.
    pub(super) fn collaborator_roles(&self) -> Option<Vec<&str>> {
        match &self.collaborators {
            Collaborators::All(true) => None,
            Collaborators::All(false) => Some(Vec::new()),
            Collaborators::Roles(roles) => Some(roles.iter().map(ExternalId::as_str).collect()),
        }
    }
}

impl std::fmt::Display for Rule {
    /// Writes the rule for people, for example `owner, billing of the account and all collaborators`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = |roles: &[ExternalId]| {
            roles
                .iter()
                .map(ExternalId::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut members = words(&self.roles);
        if !are_default(&self.contacts) {
            for kind in &self.contacts {
                members.push_str(", ");
                members.push_str(kind.role());
            }
            if self.contacts.is_empty() {
                members.push_str(", no contacts");
            }
        }
        match &self.collaborators {
            Collaborators::All(true) => write!(f, "{members} of the account and all collaborators"),
            Collaborators::All(false) => write!(f, "{members} of the account and no collaborators"),
            Collaborators::Roles(roles) => {
                write!(
                    f,
                    "{members} of the account and collaborators with the role {}",
                    words(roles)
                )
            }
        }
    }
}
