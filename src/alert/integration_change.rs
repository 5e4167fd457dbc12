//! Changes an existing integration: its name, its resource rules, its mapping and its secrets. A secret can
//! be replaced without an interruption.
//!
//! Events and errors never contain a secret. An integration never stops verifying requests by mistake: only
//! an explicit empty list removes the last secret.

use diesel::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::integration::{self, Integration, MAX_SECRETS, check_mapping, check_rules, check_secret};
use super::rules::ResourceRule;
use super::source::generic::Mapping;
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::given::given;
use crate::base::id::IntegrationId;
use crate::base::sealed::seal;
use crate::db::dialect;
use crate::db::schema::integrations as i;

/// A change of an integration. Fields that are left out do not change.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrationPatch {
    /// The new name of the integration.
    #[serde(default)]
    pub name: Option<String>,
    /// The new list of all secrets. With an empty list, requests are no longer verified.
    #[serde(default)]
    pub secrets: Option<Vec<String>>,
    /// A secret to add. The existing secrets stay valid.
    #[serde(default)]
    pub add_secret: Option<String>,
    /// A secret to remove. The last secret cannot be removed in this way; set `secrets` to an empty list
    /// instead.
    #[serde(default)]
    pub drop_secret: Option<String>,
    /// The new list of all resource rules.
    #[serde(default)]
    pub resource_rules: Option<Vec<ResourceRule>>,
    /// For `generic`: the whole new mapping. Null removes the mapping; fields with the usual names are read
    /// then.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Mapping>)]
    pub mapping: Option<Option<Mapping>>,
    /// Whether a new problem opens an incident if no alert rule matches.
    #[serde(default)]
    pub open_incident: Option<bool>,
}

impl IntegrationPatch {
    fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.secrets.is_none()
            && self.add_secret.is_none()
            && self.drop_secret.is_none()
            && self.resource_rules.is_none()
            && self.mapping.is_none()
            && self.open_incident.is_none()
    }
}

/// Returns the audited values of an integration: everything except the secrets, of which only the number is
/// recorded.
fn mark(integration: &Integration) -> Value {
    json!({
        "name": integration.name, "secrets": integration.secret_count, "mapping": integration.mapping,
        "resource_rules": integration.resource_rules, "open_incident": integration.open_incident,
    })
}

/// Changes an integration.
///
/// # Errors
/// `NotFound` if the integration does not exist. `Conflict` if it is deleted. `Invalid` with one error for
/// each wrong field, or if no field is given.
pub fn change(tx: &mut Tx<'_>, id: &IntegrationId, patch: &IntegrationPatch) -> Result<Integration> {
    dialect::lock(tx.conn, dialect::Lock::Integration, id.as_str())?;
    let before = integration::get(tx.conn, id)?;
    if before.gone_at.is_some() {
        return Err(Error::Conflict("the integration is deleted".to_owned()).code(Code::IntegrationEnded));
    }
    if patch.is_empty() {
        return Err(Error::invalid("", "must have at least one field to change"));
    }
    let mut check = Check::default();
    if let Some(name) = &patch.name {
        check.name("/name", name);
    }
    if let Some(rules) = &patch.resource_rules {
        check_rules(&mut check, &before.source, rules);
    }
    if let Some(mapping) = &patch.mapping {
        check_mapping(&mut check, &before.source, mapping.as_ref());
    }
    let secrets = secrets(&mut check, &before, patch);
    check.finish()?;
    let (first, more) = match secrets.split_first() {
        Some((first, more)) => (Some(first), more),
        None => (None, &[][..]),
    };
    let name = patch
        .name
        .as_deref()
        .map_or(before.name.clone(), |name| name.trim().to_owned());
    let rules = patch.resource_rules.as_ref().unwrap_or(&before.resource_rules);
    let mapping = patch.mapping.as_ref().unwrap_or(&before.mapping);
    let (first_place, more_place) = integration::places(id);
    diesel::update(i::table.find(id.as_str()))
        .set((
            i::name.eq(&name),
            i::secret.eq(first.map(|text| seal(text, &first_place)).transpose()?),
            i::secrets.eq(integration::sealed_list(more, &more_place)?),
            i::resource_rules.eq(serde_json::to_string(rules)?),
            i::mapping.eq(mapping.as_ref().map(serde_json::to_string).transpose()?),
            i::open_incident.eq(patch.open_incident.unwrap_or(before.open_incident)),
            i::updated_at.eq(tx.now),
            i::version.eq(before.version + 1),
        ))
        .execute(tx.conn)?;
    let after = integration::get(tx.conn, id)?;
    tx.record(
        Event::new(Action::IntegrationChanged, "integration", id.as_str())
            .before(mark(&before))
            .after(mark(&after)),
    );
    Ok(after)
}

/// Returns the secrets after the change.
fn secrets(check: &mut Check, before: &Integration, patch: &IntegrationPatch) -> Vec<String> {
    let mut wrong = |pointer: &str, detail: &str| check.errors.push(FieldError::at(pointer, detail));
    let mut secrets = before.secrets.clone();
    if let Some(all) = &patch.secrets {
        if patch.add_secret.is_some() || patch.drop_secret.is_some() {
            wrong(
                "/secrets",
                "replaces all secrets; do not combine it with add_secret or drop_secret",
            );
        }
        if all.len() > MAX_SECRETS {
            wrong("/secrets", "has more than 10 secrets");
        }
        for (index, secret) in all.iter().take(MAX_SECRETS).enumerate() {
            check_secret(check, &format!("/secrets/{index}"), &before.source, secret);
        }
        return all.clone();
    }
    if let Some(secret) = &patch.drop_secret {
        match secrets.iter().position(|held| held == secret) {
            Some(place) => {
                secrets.remove(place);
            }
            None => wrong("/drop_secret", "is not a secret of this integration"),
        }
        if secrets.is_empty() && patch.add_secret.is_none() {
            wrong(
                "/drop_secret",
                "is the only secret: add another secret first, or give an empty list in secrets to accept \
                requests that prove nothing",
            );
        }
    }
    if let Some(secret) = &patch.add_secret {
        if secrets.contains(secret) {
            wrong("/add_secret", "is already a secret of this integration");
        }
        if secrets.len() >= MAX_SECRETS {
            wrong("/add_secret", "there are 10 already; drop one first");
        }
        check_secret(check, "/add_secret", &before.source, secret);
        secrets.push(secret.clone());
    }
    secrets
}
