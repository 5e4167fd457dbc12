//! What a notice freezes of a planned maintenance, what its emails show of it, and the file for calendars that they have. None of it does
//! I/O.

use serde::{Deserialize, Serialize};

use super::calendar::{self, Event, Method};
use super::template::MailMaintenance;
use crate::base::enums::word_enum;
use crate::base::id::IncidentId;
use crate::base::text::undirected;
use crate::base::time::Timestamp;
use crate::maintenance::Maintenance;

word_enum! {
    /// What a notice says about a planned maintenance.
    #[schema(as = MaintenanceChange)]
    Change, "a change of a maintenance" {
        /// The maintenance is planned.
        Announced = "announced",
        /// It has other times.
        Moved = "moved",
        /// It does not take place.
        Cancelled = "cancelled",
        /// The maintenance has begun.
        Begun = "begun",
        /// The maintenance is over.
        Over = "over",
    }
}

/// A file that an email has besides its texts. It is the same for all recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The name of the file.
    pub name: &'static str,
    /// The media type, with its parameters.
    pub media: String,
    /// The content of the file: a calendar in the iCalendar format (RFC 5545).
    pub content: String,
}

/// The times of a maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When the maintenance starts, by plan.
    pub starts_at: Timestamp,
    /// When the maintenance ends, by plan.
    pub ends_at: Timestamp,
}

/// What a notice froze of a planned maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenMaintenance {
    /// What the notice says.
    pub change: Change,
    /// The ID of the maintenance.
    pub id: IncidentId,
    /// The title of the maintenance, without characters that change the direction of text.
    pub title: String,
    /// The times of the maintenance, by plan.
    #[serde(flatten)]
    pub times: Times,
    /// The times before it was moved, if this says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Times>,
    /// How often it was moved or cancelled.
    pub sequence: i64,
    changed_at: Timestamp,
    components: Vec<String>,
    domain: String,
    url: String,
}

impl FrozenMaintenance {
    /// Returns what a notice freezes. `domain` is the part of the UID after the @.
    pub fn new(of: Maintenance, change: Change, was: Option<Times>, domain: &str, public_url: &str) -> Self {
        FrozenMaintenance {
            change,
            id: of.id,
            title: undirected(&of.title).into_owned(),
            times: Times {
                starts_at: of.starts_at,
                ends_at: of.ends_at,
            },
            was: was.filter(|_| change == Change::Moved),
            sequence: of.sequence,
            changed_at: of.updated_at,
            components: of.components,
            domain: domain.to_owned(),
            url: format!("{public_url}/status"),
        }
    }

    /// Returns what an email shows. `moment` writes a time for the reader.
    pub(super) fn for_mail(&self, moment: impl Fn(Timestamp) -> String) -> MailMaintenance {
        MailMaintenance {
            change: self.change.as_str(),
            title: self.title.clone(),
            starts: moment(self.times.starts_at),
            ends: moment(self.times.ends_at),
            was_starts: self.was.map(|was| moment(was.starts_at)),
            was_ends: self.was.map(|was| moment(was.ends_at)),
            components: self.components.clone(),
        }
    }

    /// Returns the file for calendars. That it has begun or is over is no news for a calendar.
    pub fn calendar(&self, organizer: &str, description: Option<&str>) -> Option<Attachment> {
        let method = match self.change {
            Change::Announced | Change::Moved => Method::Publish,
            Change::Cancelled => Method::Cancel,
            Change::Begun | Change::Over => return None,
        };
        let event = Event {
            uid: format!("maintenance-{}@{}", self.id, self.domain),
            sequence: self.sequence,
            stamp: self.changed_at,
            starts: self.times.starts_at,
            ends: self.times.ends_at,
            summary: &self.title,
            description: description.filter(|text| !text.is_empty()),
            organizer,
            url: &self.url,
        };
        Some(Attachment {
            name: "maintenance.ics",
            media: format!("text/calendar; charset=utf-8; method={}", method.as_str()),
            content: calendar::write(method, &[event]),
        })
    }
}
