//! Integrations: the sources of alerts. Each has a secret URL that the source sends its alerts to.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::provider;
use super::rules::ResourceRule;
use super::source::{self, generic::Mapping};
use crate::audit::{Action, Event, Tx};
use crate::auth::hash_secret;
use crate::base::check::Check;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IntegrationId;
use crate::base::random::random_secret;
use crate::base::sealed::{open, seal};
use crate::base::shown_once::ShownOnce;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::integrations as i;

/// The settings of a new integration, which receives alerts or the reports of mail providers at its own URL.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIntegration {
    /// The name of the integration.
    pub name: String,
    /// The source whose requests it accepts: `alertmanager`, `grafana`, `sentry`, `pagerduty` and so on, or
    /// `generic`. For the reports of mail providers: `aws_ses`, `mailgun`, `postmark` or `sendgrid`. An
    /// unknown source is answered with the list of all sources.
    pub source: String,
    /// If set, each request must prove that its sender knows the secret. For `sendgrid` this is the
    /// verification key of the signed webhook, for `mailgun` the signing key, and for `aws_ses` and `aws_sns`
    /// the ARN of the SNS topic.
    #[serde(default)]
    pub secret: Option<String>,
    /// More secrets. A request that proves any one of the secrets is accepted, so that a secret can be
    /// replaced without an interruption.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Resource rules: which IDs are extracted from the alerts.
    #[serde(default)]
    pub resource_rules: Vec<ResourceRule>,
    /// For `generic`: which field of a body has which meaning.
    #[serde(default)]
    pub mapping: Option<Mapping>,
    /// Whether a new problem opens an incident. The default is true. If false, alerts are only recorded,
    /// unless they belong to an open incident. If an alert rule matches, the rule decides instead.
    #[serde(default = "opens_by_default")]
    pub open_incident: bool,
}

fn opens_by_default() -> bool {
    true
}

/// A new integration with its URL. The URL is shown only in this answer, because it contains a secret that is
/// stored only as a hash.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedIntegration {
    /// The ID of the integration.
    pub id: IntegrationId,
    /// The URL to send alerts to. The answer to a repeat of the request omits it and lists it in `withheld`.
    #[schema(required = false)]
    pub hook_url: ShownOnce,
}

/// An integration as it is stored. Neither its secrets nor its URL are included.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Integration {
    /// The ID of the integration.
    pub id: IntegrationId,
    /// The name of the integration.
    pub name: String,
    /// The source whose requests it accepts.
    pub source: String,
    /// Whether requests must prove that their sender knows a secret.
    pub signed: bool,
    /// The number of secrets. There are two while one secret is replaced by another.
    pub secret_count: usize,
    /// Resource rules: which IDs are extracted from the alerts.
    pub resource_rules: Vec<ResourceRule>,
    /// For `generic`: which field of a body has which meaning.
    pub mapping: Option<Mapping>,
    /// Whether a new problem opens an incident if no alert rule matches.
    pub open_incident: bool,
    /// When the integration was deleted. Null if it is not deleted.
    pub gone_at: Option<Timestamp>,
    /// When the integration was created.
    pub created_at: Timestamp,
    /// The secrets. A request must prove that its sender knows one of them. If there are none, requests are
    /// not verified.
    #[serde(skip)]
    pub(crate) secrets: Vec<String>,
    /// The number of changes of the integration.
    #[serde(skip)]
    pub(crate) version: i64,
}

impl Integration {
    /// Returns `Ok` if the check succeeds for one of the secrets, or if there are no secrets.
    ///
    /// # Errors
    /// The reason why the check failed for the first secret.
    pub(crate) fn proves(
        &self,
        check: impl Fn(&str) -> std::result::Result<(), &'static str>,
    ) -> std::result::Result<(), &'static str> {
        let mut first = Ok(());
        for secret in &self.secrets {
            match check(secret) {
                Ok(()) => return Ok(()),
                Err(reason) if first.is_ok() => first = Err(reason),
                Err(_) => {}
            }
        }
        first
    }
}

#[derive(Queryable)]
struct IntegrationRow {
    id: IntegrationId,
    name: String,
    source: String,
    _token_hash: String,
    secret: Option<String>,
    mapping: Option<String>,
    resource_rules: String,
    open_incident: bool,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    _updated_at: Timestamp,
    secrets: String,
    version: i64,
}

/// The places of the secrets of an integration, for their encryption.
pub(super) fn places(id: &IntegrationId) -> (String, String) {
    (
        format!("integrations.secret/{id}"),
        format!("integrations.secrets/{id}"),
    )
}

/// Returns the further secrets of an integration as they are stored.
pub(super) fn sealed_list(secrets: &[String], place: &str) -> Result<String> {
    match secrets {
        [] => Ok("[]".to_owned()),
        secrets => seal(&serde_json::to_string(secrets)?, place),
    }
}

impl IntegrationRow {
    fn view(self) -> Result<Integration> {
        let (secret, secrets) = places(&self.id);
        let more: Vec<String> = serde_json::from_str(&open(&self.secrets, &secrets)?)?;
        let first = self.secret.map(|text| open(&text, &secret)).transpose()?;
        let secrets: Vec<String> = first.into_iter().chain(more).collect();
        Ok(Integration {
            id: self.id,
            name: self.name,
            source: self.source,
            signed: !secrets.is_empty(),
            secret_count: secrets.len(),
            resource_rules: serde_json::from_str(&self.resource_rules)?,
            mapping: self.mapping.as_deref().map(serde_json::from_str).transpose()?,
            open_incident: self.open_incident,
            gone_at: self.gone_at,
            created_at: self.created_at,
            secrets,
            version: self.version,
        })
    }
}

/// The number of secrets that an integration can have in addition to the first one.
pub(super) const MAX_SECRETS: usize = 10;

fn check_secrets(check: &mut Check, source: &str, secret: Option<&str>, more: &[String]) {
    if more.len() > MAX_SECRETS {
        check
            .errors
            .push(FieldError::at("/secrets", "has more than 10 secrets"));
    }
    if let Some(secret) = secret {
        check_secret(check, "/secret", source, secret);
    }
    for (index, secret) in more.iter().take(MAX_SECRETS).enumerate() {
        check_secret(check, &format!("/secrets/{index}"), source, secret);
    }
}

/// Adds an error if a secret is not valid. The error does not contain the secret.
pub(super) fn check_secret(check: &mut Check, pointer: &str, source: &str, secret: &str) {
    if secret.chars().count() < 8 {
        check
            .errors
            .push(FieldError::at(pointer, "is too short; use at least 8 characters"));
    } else if secret.chars().any(char::is_control) {
        check
            .errors
            .push(FieldError::at(pointer, "contains a control character"));
    } else if let Err(detail) = provider::check_secret(source, secret) {
        check.errors.push(FieldError::at(pointer, detail));
    }
}

/// Adds an error for each resource rule that is not valid.
pub(super) fn check_rules(check: &mut Check, source: &str, rules: &[ResourceRule]) {
    if provider::is_one(source) && !rules.is_empty() {
        check.errors.push(FieldError::at(
            "/resource_rules",
            "must be empty, because an integration of a mail provider has no alerts",
        ));
    }
    for (index, rule) in rules.iter().enumerate() {
        check
            .errors
            .extend(rule.check(&format!("/resource_rules/{index}")));
    }
}

/// Adds an error if a mapping is not valid.
pub(super) fn check_mapping(check: &mut Check, source: &str, mapping: Option<&Mapping>) {
    match mapping {
        Some(mapping) if source == "generic" => check.errors.extend(mapping.check()),
        Some(_) => check.errors.push(FieldError::at(
            "/mapping",
            "is only allowed for the source generic",
        )),
        None => {}
    }
}

/// Creates an integration. `public_url` is the base of its hook URL.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn create(tx: &mut Tx<'_>, new: &NewIntegration, public_url: &str) -> Result<CreatedIntegration> {
    let mut check = Check::default();
    check.name("/name", &new.name);
    let reports = provider::is_one(&new.source);
    if !source::KNOWN.contains(&new.source.as_str()) && !reports {
        let detail = format!(
            "is not a known source; the sources of alerts are {}; the mail providers are {}",
            source::KNOWN.join(", "),
            provider::SOURCES.join(", ")
        );
        check.errors.push(FieldError::at("/source", detail));
    }
    check_secrets(&mut check, &new.source, new.secret.as_deref(), &new.secrets);
    check_rules(&mut check, &new.source, &new.resource_rules);
    check_mapping(&mut check, &new.source, new.mapping.as_ref());
    check.finish()?;
    let id = IntegrationId::new(tx.now);
    let token = random_secret()?;
    let (secret, secrets) = places(&id);
    diesel::insert_into(i::table)
        .values((
            i::id.eq(id.as_str()),
            i::name.eq(new.name.trim()),
            i::source.eq(&new.source),
            i::token_hash.eq(hash_secret(&token)),
            i::secret.eq(new
                .secret
                .as_deref()
                .map(|text| seal(text, &secret))
                .transpose()?),
            i::secrets.eq(sealed_list(&new.secrets, &secrets)?),
            i::mapping.eq(new.mapping.as_ref().map(serde_json::to_string).transpose()?),
            i::resource_rules.eq(serde_json::to_string(&new.resource_rules)?),
            i::open_incident.eq(new.open_incident),
            i::created_at.eq(tx.now),
            i::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::IntegrationCreated, "integration", id.as_str()).after(json!({
            "name": new.name, "source": new.source, "signed": new.secret.is_some() || !new.secrets.is_empty(), "mapping": new.mapping,
            "resource_rules": new.resource_rules, "open_incident": new.open_incident,
        })),
    );
    Ok(CreatedIntegration {
        hook_url: ShownOnce::new(format!("{public_url}/hooks/{token}")),
        id,
    })
}

/// Returns the integration with this ID, even if it is deleted.
///
/// # Errors
/// `NotFound` if no integration has this ID.
pub fn get(conn: &mut Conn, id: &IntegrationId) -> Result<Integration> {
    i::table
        .find(id.as_str())
        .first::<IntegrationRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("integration {id}")))?
        .view()
}

/// Returns the integration whose hook URL has this token.
///
/// # Errors
/// `NotFound` if no integration has this token, or if it is deleted.
pub fn by_token(conn: &mut Conn, token: &str) -> Result<Integration> {
    i::table
        .filter(i::token_hash.eq(hash_secret(token)))
        .filter(i::gone_at.is_null())
        .first::<IntegrationRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound("a hook of this URL".to_owned()))?
        .view()
}

/// Returns the integrations that are not deleted, oldest first, after the given ID.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Integration>> {
    i::table
        .filter(i::gone_at.is_null())
        .filter(i::id.gt(after.unwrap_or("")))
        .order(i::id)
        .limit(limit)
        .load::<IntegrationRow>(conn)?
        .into_iter()
        .map(IntegrationRow::view)
        .collect()
}

/// Deletes an integration. Its URL answers 404 from then on.
///
/// # Errors
/// `NotFound` if the integration does not exist or is already deleted.
pub fn delete(tx: &mut Tx<'_>, id: &IntegrationId) -> Result<()> {
    let changed = diesel::update(i::table.find(id.as_str()).filter(i::gone_at.is_null()))
        .set((
            i::gone_at.eq(Some(tx.now)),
            i::secret.eq(None::<String>),
            i::secrets.eq("[]"),
            i::version.eq(i::version + 1),
        ))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("integration {id}")));
    }
    tx.record(Event::new(Action::IntegrationDeleted, "integration", id.as_str()));
    Ok(())
}
