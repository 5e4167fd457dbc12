//! The row of a notice, and the locks under which it is changed. `state` has its state.

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::audience::Rule;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::db::schema::notices as n;
use crate::db::{Conn, dialect};
use crate::incident;
use crate::notice::template::{MailAction, Phase};

/// What the customer must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerAction {
    /// Whether the customer must do anything.
    pub required: bool,
    /// What the customer must do. It must be set if `required` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The texts of a notice in another language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NoticeTranslation)]
pub struct Translation {
    /// The subject. Without it, the template makes one in this language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The headline, of at most 120 characters. Without it, the email in this language has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// The message in plain text. Empty lines separate paragraphs.
    pub message: String,
    /// What the customer must do, in this language. It must be set if the notice says that the customer must do something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_action: Option<CustomerAction>,
}

/// The translations of a notice by language.
pub type Translations = BTreeMap<Language, Translation>;

/// The name of the channel for emails to people.
pub const EMAIL: &str = "email";

#[derive(Clone, Insertable, Queryable)]
#[diesel(table_name = n)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct Row {
    pub id: NoticeId,
    pub incident_id: IncidentId,
    pub phase: String,
    /// The word of the state. `Row::state` parses it, and only `state` writes it.
    pub(super) state: String,
    pub subject: Option<String>,
    pub message: String,
    pub customer_action: Option<String>,
    pub catch_up_of: Option<NoticeId>,
    pub drafted_by: String,
    pub approved_by: Option<String>,
    pub approved_digest: Option<String>,
    pub digest: Option<String>,
    pub template_id: Option<String>,
    pub frozen: Option<String>,
    pub recipients: i64,
    pub expand_cursor: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub queued_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub endpoints: i64,
    pub audience: Option<String>,
    pub episode: i64,
    pub unreachable: i64,
    pub headline: Option<String>,
    pub next_update_due_at: Option<Timestamp>,
    pub acknowledge_impaired: bool,
    pub translations: Option<String>,
}

impl Row {
    pub fn phase(&self) -> Result<Phase> {
        Phase::parse(&self.phase).map_err(Error::internal)
    }

    pub fn rule(&self) -> Result<Rule> {
        Ok(match &self.audience {
            Some(rule) => serde_json::from_str(rule)?,
            None => Rule::default(),
        })
    }

    pub fn translations(&self) -> Result<Translations> {
        Ok(match &self.translations {
            Some(translations) => serde_json::from_str(translations)?,
            None => Translations::new(),
        })
    }

    pub fn action(&self) -> Result<Option<CustomerAction>> {
        Ok(self
            .customer_action
            .as_deref()
            .map(serde_json::from_str)
            .transpose()?)
    }
}

pub(crate) fn row(conn: &mut Conn, id: &NoticeId) -> Result<Row> {
    n::table
        .find(id.as_str())
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("notice {id}")))
}

/// Returns the row and locks it until the transaction ends. The incident is always locked first. So a
/// transaction that changes the affected resources waits or has finished. A timeline entry for the change
/// also needs the lock of the incident.
pub(crate) fn locked(tx: &mut Tx<'_>, id: &NoticeId) -> Result<Row> {
    let incident = row(tx.conn, id)?.incident_id;
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    dialect::lock(tx.conn, dialect::Lock::Notice, id.as_str())?;
    row(tx.conn, id)
}

impl Row {
    /// Checks that the notice is still true. A notice that says that the incident is over must be of the
    /// current episode. A correction is not sent again, because the incident may affect its readers now.
    ///
    /// # Errors
    /// `Conflict` if the incident was reopened after the notice was sent, or if the notice is a correction.
    pub(crate) fn check_still_true(&self, conn: &mut Conn) -> Result<()> {
        if self.phase()? == Phase::Correction {
            return Err(Error::Conflict(
                "the incident may affect the recipients of this correction now; draft another correction of the same notice, \
                 which goes to those who have not got one"
                    .to_owned(),
            ));
        }
        let says_over = matches!(self.phase()?, Phase::Resolution | Phase::Report);
        if says_over && self.episode < incident::episode_of(conn, &self.incident_id)? {
            return Err(Error::Conflict(
                "the incident was reopened after this notice was sent, so its text is no longer correct"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl CustomerAction {
    pub(super) fn for_mail(&self) -> MailAction {
        MailAction {
            required: self.required,
            text: self.text.clone().unwrap_or_default(),
        }
    }
}
