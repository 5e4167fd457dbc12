//! The limits above which other people must approve a notice, and the rates at which a notice is held. An admin stores them as
//! one document. Without it, the limit on recipients is that of the setting `CANDOR_MAX_AUDIENCE`.
//!
//! Every send without an approval takes one lock before it counts, so that two sends at the same time cannot both stay below
//! a limit that they exceed together.

use diesel::prelude::*;
use diesel::upsert::excluded;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

use super::sending::Sending;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::merge_patch::patched;
use crate::base::time;
use crate::db::Conn;
use crate::db::dialect::{lock_limits, on_backend};
use crate::db::schema::settings as s;
use crate::incident::Severity;
use crate::notice::template::Phase;

/// The name of the document among the stored settings.
const NAME: &str = "sending_limits";
/// The largest limit on a number of recipients.
const MOST: i64 = 100_000_000;
/// The largest number of people who must approve.
const MOST_APPROVALS: i64 = 5;
/// The shortest and the longest time for which an approval is valid.
const VALID: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(7 * 86_400));
/// The largest number of limits by severity and phase.
const MOST_ENTRIES: usize = 50;

/// The limits. Above each of them, other people must approve a notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SendingLimits)]
pub struct Limits {
    /// The largest number of recipients of one notice: people and endpoints. With 0, every notice needs an approval.
    pub recipients: i64,
    /// The largest number of recipients of all notices of one incident that were sent without an approval, this notice
    /// included. Null means no limit.
    #[serde(default)]
    pub recipients_per_incident: Option<i64>,
    /// The largest number of recipients of all notices that were sent without an approval within one hour, over all
    /// incidents, this notice included. Null means no limit.
    #[serde(default)]
    pub recipients_per_hour: Option<i64>,
    /// The largest share of the people in the directory who have an address and are not archived, from 0 to 1. Null means no
    /// limit.
    #[serde(default)]
    pub share_of_directory: Option<f64>,
    /// What the short messages of one notice may cost at most, in the currency of `CANDOR_SMS_PRICE`. Left out means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_price: Option<f64>,
    /// The number of different people who must approve, from 1 to 5.
    #[serde(default = "one")]
    pub approvals: i64,
    /// How long an approval is valid, as an ISO 8601 duration from one minute to seven days.
    #[serde(default = "one_hour")]
    pub approval_expires_after: String,
    /// The shares at which sending is held.
    #[serde(default)]
    pub hold_if: HoldIf,
    /// Other limits on the recipients of one notice, by severity and phase. Of the entries that match, the one with the
    /// smallest number replaces `recipients`.
    #[serde(default)]
    pub by: Vec<LimitBy>,
}

fn one() -> i64 {
    1
}

fn one_hour() -> String {
    "PT1H".to_owned()
}

/// The shares of the recipients, from 0 to 1, above which sending is held. A value that is left out is the default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldIf {
    /// The share of emails that bounced. The default is 0.05.
    pub bounced: f64,
    /// The share of emails that were reported as spam. The default is 0.002.
    pub complained: f64,
    /// The share of people who answered that it is still broken. The default is 0.2.
    pub still_broken: f64,
}

impl Default for HoldIf {
    fn default() -> Self {
        HoldIf {
            bounced: 0.05,
            complained: 0.002,
            still_broken: 0.2,
        }
    }
}

/// A limit for the notices of one severity, of one phase, or of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitBy {
    /// The severity of the incident. Without it, every severity matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The phase of the notice. Without it, every phase matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The largest number of recipients of one notice.
    pub recipients: i64,
}

impl Limits {
    /// The limits without a stored document.
    fn of_settings(sending: &Sending) -> Limits {
        Limits {
            recipients: i64::try_from(sending.max_audience).unwrap_or(MOST),
            recipients_per_incident: None,
            recipients_per_hour: None,
            share_of_directory: None,
            sms_price: None,
            approvals: one(),
            approval_expires_after: one_hour(),
            hold_if: HoldIf::default(),
            by: Vec::new(),
        }
    }

    /// Returns the limit on the recipients of one notice of this severity and phase.
    pub fn recipients_of(&self, severity: &str, phase: Phase) -> i64 {
        let matches = |entry: &&LimitBy| {
            entry.severity.is_none_or(|of| of.as_str() == severity)
                && entry.phase.is_none_or(|of| of == phase)
        };
        let entries = self.by.iter().filter(matches).map(|entry| entry.recipients);
        entries.min().unwrap_or(self.recipients)
    }

    /// Returns how long an approval is valid.
    ///
    /// # Errors
    /// `Internal` if the stored document is damaged.
    pub fn approval_valid_for(&self) -> Result<Duration> {
        time::duration(&self.approval_expires_after).map_err(Error::internal)
    }

    /// Returns the number of people who must approve.
    pub fn approvals(&self) -> usize {
        usize::try_from(self.approvals).unwrap_or(1).max(1)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// `Invalid` with each wrong field.
    pub fn check(&self) -> Result<()> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: String, detail: String| errors.push(FieldError::at(pointer, detail));
        let counts = [
            ("/recipients", Some(self.recipients)),
            ("/recipients_per_incident", self.recipients_per_incident),
            ("/recipients_per_hour", self.recipients_per_hour),
        ];
        let entries = self.by.iter().enumerate();
        let entries =
            entries.map(|(index, entry)| (format!("/by/{index}/recipients"), Some(entry.recipients)));
        let counts = counts
            .into_iter()
            .map(|(pointer, count)| (pointer.to_owned(), count));
        for (pointer, count) in counts.chain(entries) {
            if count.is_some_and(|count| !(0..=MOST).contains(&count)) {
                wrong(pointer, format!("must be a whole number from 0 to {MOST}"));
            }
        }
        let HoldIf {
            bounced,
            complained,
            still_broken,
        } = self.hold_if;
        for (pointer, share) in [
            ("/share_of_directory", self.share_of_directory),
            ("/hold_if/bounced", Some(bounced)),
            ("/hold_if/complained", Some(complained)),
            ("/hold_if/still_broken", Some(still_broken)),
        ] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                wrong(
                    pointer.to_owned(),
                    "must be a share from 0 to 1, such as 0.2".to_owned(),
                );
            }
        }
        if self
            .sms_price
            .is_some_and(|price| !(0.0..=MOST as f64).contains(&price))
        {
            wrong(
                "/sms_price".to_owned(),
                format!("must be a price from 0 to {MOST}"),
            );
        }
        if !(1..=MOST_APPROVALS).contains(&self.approvals) {
            let detail = format!("must be a whole number from 1 to {MOST_APPROVALS}");
            wrong("/approvals".to_owned(), detail);
        }
        match time::duration(&self.approval_expires_after) {
            Ok(time) if (VALID.0..=VALID.1).contains(&time) => {}
            Ok(_) => wrong(
                "/approval_expires_after".to_owned(),
                "must be a duration from one minute (PT1M) to seven days (P7D)".to_owned(),
            ),
            Err(detail) => wrong("/approval_expires_after".to_owned(), detail),
        }
        for (index, entry) in self.by.iter().enumerate() {
            if entry.severity.is_none() && entry.phase.is_none() {
                let detail = "needs a severity, a phase, or both; recipients is the limit for all others";
                wrong(format!("/by/{index}"), detail.to_owned());
            }
        }
        if self.by.len() > MOST_ENTRIES {
            wrong("/by".to_owned(), format!("has more than {MOST_ENTRIES} entries"));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Error::fields(errors))
        }
    }
}

/// Returns the shares above which a notice is held.
///
/// # Errors
/// An error of the database.
pub(super) fn hold_if(conn: &mut Conn) -> Result<HoldIf> {
    Ok(stored(conn)?.map(|limits| limits.hold_if).unwrap_or_default())
}

fn stored(conn: &mut Conn) -> Result<Option<Limits>> {
    let document: Option<String> = s::table.find(NAME).select(s::value).first(conn).optional()?;
    Ok(document.as_deref().map(serde_json::from_str).transpose()?)
}

/// Returns the current limits.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn, sending: &Sending) -> Result<Limits> {
    Ok(stored(conn)?.unwrap_or_else(|| Limits::of_settings(sending)))
}

/// Returns how many people must approve a notice that is above a limit.
pub(super) fn approvals_needed(conn: &mut Conn) -> Result<usize> {
    Ok(stored(conn)?.map_or(1, |limits| limits.approvals()))
}

/// Waits until no other transaction counts, sends or changes the limits, until this transaction ends. It is taken after the locks of
/// the incident and the notice.
///
/// # Errors
/// An error of the database.
pub fn hold(conn: &mut Conn) -> Result<()> {
    lock_limits(conn)
}

/// Replaces the limits. If nothing changes, no event is written.
///
/// # Errors
/// `Invalid` with each wrong field.
pub fn replace(tx: &mut Tx<'_>, new: &Limits, sending: &Sending) -> Result<Limits> {
    new.check()?;
    hold(tx.conn)?;
    let before = read(tx.conn, sending)?;
    if stored(tx.conn)?.as_ref() == Some(new) {
        return Ok(before);
    }
    let document = serde_json::to_string(new)?;
    on_backend!(&mut *tx.conn, c => diesel::insert_into(s::table)
        .values((s::name.eq(NAME), s::value.eq(&document)))
        .on_conflict(s::name)
        .do_update()
        .set(s::value.eq(excluded(s::value)))
        .execute(c))?;
    tx.record(
        Event::new(Action::LimitsChanged, "limits", "limits")
            .before(json!(before))
            .after(json!(new)),
    );
    Ok(new.clone())
}

/// Changes some of the limits with a JSON merge patch. What is left out keeps its value, and null removes a limit.
///
/// # Errors
/// `Invalid` with each wrong field.
pub fn change(tx: &mut Tx<'_>, patch: &Value, sending: &Sending) -> Result<Limits> {
    hold(tx.conn)?;
    let before = read(tx.conn, sending)?;
    let after: Limits = patched(&before, patch)?;
    replace(tx, &after, sending)
}
