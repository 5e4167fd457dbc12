//! What a person chooses on their page: the language, the time zone, whether they get optional emails, and whether they get short messages.

use serde::Serialize;

use super::pass::Visitor;
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::language::Language;
use crate::db::Conn;
use crate::delivery::opt_out::{self, SuppressionReason};
use crate::directory::choices::{self, Choices};
use crate::directory::endpoint;
use crate::directory::person;

/// What a person chose, and what applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = CustomerPreferences)]
pub struct Preferences {
    /// The language that the person chose, as a language tag. Null: what the directory says.
    pub locale: Option<String>,
    /// The time zone that the person chose. Null: what the directory says.
    pub time_zone: Option<String>,
    /// Whether the person gets optional emails, such as progress updates.
    pub optional_emails: bool,
    /// Whether optional emails are off because the address bounced or somebody reported spam, so that the person cannot turn them on.
    pub address_blocked: bool,
    /// Whether the person gets short messages on a phone. The person can only end this, because a number is stored by an operator.
    pub short_messages: bool,
    /// The language that applies.
    pub applied_language: Language,
    /// The time zone that applies. Null: UTC.
    pub applied_time_zone: Option<String>,
}

/// What a person sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPreferences {
    /// The language, as a language tag. `None`: what the directory says.
    pub locale: Option<String>,
    /// The IANA time zone. `None`: what the directory says.
    pub time_zone: Option<String>,
    /// Whether the person wants optional emails.
    pub optional_emails: bool,
    /// Whether the person ends short messages. Then the number is deleted.
    pub end_short_messages: bool,
}

/// Returns what a person chose, and what applies.
///
/// # Errors
/// An error of the database.
pub fn of(conn: &mut Conn, visitor: &Visitor) -> Result<Preferences> {
    let Choices { locale, time_zone } = choices::of(conn, visitor.key)?;
    let applied = choices::applied(conn, visitor.key)?;
    let email = person::get(conn, &visitor.person)?.email;
    let suppressed = match email.is_empty() {
        true => None,
        false => opt_out::of(conn, &email)?,
    };
    Ok(Preferences {
        locale,
        time_zone,
        optional_emails: suppressed.is_none(),
        address_blocked: suppressed.is_some_and(|one| one.reason != SuppressionReason::OptedOut),
        short_messages: !endpoint::list_of_person(conn, &visitor.person)?.is_empty(),
        applied_language: applied.language,
        applied_time_zone: applied.time_zone,
    })
}

/// Replaces what a person chose. Each change has its event, whose actor is the person.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn replace(tx: &mut Tx<'_>, visitor: &Visitor, new: &NewPreferences) -> Result<()> {
    let chosen = Choices {
        locale: new.locale.clone(),
        time_zone: new.time_zone.clone(),
    };
    choices::choose(tx, visitor.key, &chosen)?;
    if new.end_short_messages {
        for phone in endpoint::list_of_person(tx.conn, &visitor.person)? {
            endpoint::delete(tx, &phone.id)?;
        }
    }
    opt_out::choose(tx, &visitor.person, new.optional_emails)
}
