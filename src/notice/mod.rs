//! Notices: the messages to customers about an incident. A notice is drafted, previewed, approved and sent
//! once.
//!
//! ```text
//! draft ─(send: frozen recipients and texts)─► queued ─► sending ─► sent
//!                                                 └────────┴─(stop)─► stopped ─(resume)─► queued
//! ```
//!
//! Nobody gets an email who was not in the preview, and nobody gets a text that was not in the preview. One
//! notice sends one email to an address.

mod above;
pub mod again;
mod approval;
pub mod approval_asked;
mod approvals;
mod asked;
mod authors;
mod belongs;
pub mod brand_preview;
pub mod branding;
mod break_glass;
pub mod calendar;
mod changes;
mod claims;
mod compared;
pub mod compose;
pub mod correct;
mod corrections;
pub mod counts;
pub mod delivery_state;
mod digest;
mod discard;
mod draft;
mod drill;
pub mod endpoint_message;
mod endpoints;
pub mod erased;
pub mod history;
mod hold_if;
mod impaired;
pub mod limits;
mod listed;
mod notified;
mod overview;
pub mod payload;
mod placeholder;
mod plan;
pub mod planned;
mod planned_change;
pub mod planned_mail;
mod preview;
mod progress;
mod promise;
mod recipients;
mod relapses;
mod reminders;
pub mod report_draft;
mod required;
mod restored;
mod resume;
mod row;
mod sample;
mod send;
mod sending;
mod sharing;
mod sms;
pub mod sms_text;
mod standing;
pub mod state;
mod still_correct;
mod suggested;
pub mod template;
mod template_log;
pub mod template_preview;
pub mod template_versions;
pub mod templates;
pub mod to_one;
mod translation;
pub mod unattended;
pub mod values;
mod view;
pub mod wave_steps;
pub mod waves;
mod words;
mod wrongly_told;

use diesel::prelude::*;

pub use above::{Exceeded, Figure, LimitName};
pub use approval::{approve, list as list_approvals, list_for as approvals_for, own_part};
pub use approval_asked::ApprovalAsked;
pub use approvals::{Approval, ApprovalKind};
pub use asked::{Asked, AskedPeople, answered, asked, counted_from, remind};
pub use authors::add_author;
pub use belongs::{incident_of, incident_of_delivery};
pub use break_glass::{
    BreakGlass, BreakGlassState, GlassBroken, Rehearsal, break_glass, rehearse, state as break_glass_state,
};
pub use changes::{ChangedLine, ChangedSince, ChangedText, Changes, LineChange, changes};
pub use compared::{Compared, ComparedPerson, LargestAccount};
pub use counts::{DeliveryCounts, NoticeCounts, Partition};
pub use delivery_state::DeliveryState;
pub use digest::Digest;
pub use discard::discard;
pub(crate) use draft::check_new;
pub use draft::{NewNotice, NoticePatch, change, draft, resolve_and_draft};
pub use endpoints::EndpointRecipient;
pub use impaired::{ImpairedRecipient, StillImpaired};
pub use limits::Limits;
pub use listed::{Listed, recipient_at, recipients};
pub use notified::{Missed, Reached};
pub use overview::{Emails, Overview};
pub use plan::Plan;
pub use preview::{EndpointSample, Preview, Previewed, SmsSample, preview, previewed};
pub use recipients::{Packed, Recipient, Recipients};
pub use restored::{OfAccount, Restoration, Restorations, by_account, incidents_in_recovery};
pub use resume::{Resumed, is_settled, resume, unsent};
pub use row::{CustomerAction, EMAIL, Translation, Translations};
pub(crate) use row::{Row as NoticeRow, locked};
use row::{Row, row};
pub use sample::{Sample, SampleRecipient, sample_of_sent, sample_of_text};
pub use send::{Stopped, catch_up, finished, note_first_notified, send, stop, stopped};
pub use sending::{Sending, SmsPrice, SmsTerms};
pub use sms::SmsCost;
pub use standing::Standing;
pub use state::{NoticeState, stopped_before};
pub use suggested::suggested;
pub use translation::LanguageUse;
pub use view::{Notice, being_sent, get, list, newest, of_incidents, state_of};
pub use wave_steps::{ContinueWith, Hold, continue_with, hold};
pub use waves::{SendNotice, WaveView};

use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::db::Conn;
use crate::db::schema::notices as n;
use crate::notice::template::Phase;

/// Returns whether the last that was sent about an incident says that it is over. A notice that nobody got, because it was
/// stopped before, does not count.
///
/// # Errors
/// Database errors.
pub fn was_said_to_be_over(conn: &mut Conn, incident: &IncidentId) -> Result<bool> {
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::state.ne(NoticeState::Draft))
        .order((n::queued_at.desc(), n::id.desc()))
        .load(conn)?;
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    // A reminder asks a few people again and says nothing new. A correction is for people whom the incident does not affect.
    let reminders = reminders::among(conn, &ids)?;
    for row in rows
        .into_iter()
        .filter(|row| !reminders.contains(row.id.as_str()))
        // A recovery says nothing about the incident as a whole.
        .filter(|row| ![Phase::Correction, Phase::Recovery].iter().any(|one| row.phase == one.as_str()))
    {
        let reached = row.state()? != NoticeState::Stopped
            || !counts::in_states(conn, &row.id, &[DeliveryState::Sent, DeliveryState::Bounced])?.is_empty();
        if reached {
            return Ok(matches!(row.phase()?, Phase::Resolution | Phase::Report));
        }
    }
    Ok(false)
}

/// Returns the number of people who are affected now and to whom neither this notice nor a catch-up of it was
/// delivered.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn not_told_yet(conn: &mut Conn, id: &NoticeId) -> Result<usize> {
    let row = row(conn, id)?;
    if row.state()?.is_draft() {
        return Ok(0);
    }
    plan::missing(conn, &row)
}
