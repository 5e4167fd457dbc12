//! The forms on the page of a notice: send it, at once or in waves, stop it, hold it, continue, and resume it. [`super::sending`]
//! does what they ask for.
//!
//! The form that sends contains the digest of the preview on its page. The form for the next wave contains its number, so sending
//! it twice begins only one wave.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::field::Field;
use super::filled::Fields;
use super::form::{Form, Use};
use super::view::{When, count};
use crate::base::error::{Error, Result};
use crate::notice::waves::Wave;
use crate::notice::{Notice, Preview, SendNotice};

/// The words of the field `waves`.
const AT_ONCE: &str = "at_once";
const IN_WAVES: &str = "in_waves";

const SEND: &[Field] = &[
    Field::choice(
        "waves",
        "To whom first",
        "The first wave goes to people of as many accounts as possible.",
        &[
            (AT_ONCE, "Everybody at once"),
            (IN_WAVES, "In waves: 10 people, then 10 %, then the rest"),
        ],
        "must be at_once or in_waves",
    ),
    Field::choice(
        "pause",
        "Between two waves",
        "Only for waves. If too many emails bounce, or too many people complain or still have the problem, the next wave does not begin automatically.",
        &[
            ("manual", "A person begins each wave"),
            ("PT10M", "Pause of 10 minutes"),
            ("PT1H", "Pause of 1 hour"),
        ],
        "must be manual, PT10M or PT1H",
    ),
    Field::kept("digest"),
];

/// Returns the card about the waves, with the buttons for those who may send.
pub(super) fn wave(notice: &Notice, zone: Option<&TimeZone>, may_send: bool) -> Option<Value> {
    let wave = notice.wave.as_ref()?;
    let page = format!("/admin/notices/{}", notice.id);
    let being_sent = notice.state.is_being_sent();
    let going_on = being_sent && wave.has_next();
    Some(json!({
        "label": format!("Wave {} of {}", wave.current, wave.of),
        "sending": being_sent && !wave.ended,
        "waits": going_on && wave.ended && wave.next_at.is_none() && wave.held_because.is_none(),
        "next": When::maybe(wave.next_at.filter(|_| going_on), zone),
        "next_iso": wave.next_at.filter(|_| going_on).map(|at| at.to_string()),
        "held": wave.held_because.as_ref().filter(|_| going_on),
        "hold": (may_send && going_on && wave.held_because.is_none()).then(|| format!("{page}/hold")),
        "begin": (may_send && going_on).then(|| json!({
            "action": format!("{page}/continue"),
            "label": format!("Begin wave {} of {} now", wave.current + 1, wave.of),
            "fields": [{"name": "wave", "value": (wave.current + 1).to_string()}],
            "text": match wave.current + 1 == wave.of {
                true => format!("It is the last wave: it sends {}.", left(notice, wave.recipients)),
                false => format!(
                    "It sends a part of {} that {} in no wave yet. The others wait.",
                    left(notice, wave.recipients),
                    if in_no_wave(notice, wave.recipients) == 1 { "is" } else { "are" },
                ),
            },
            "button": format!("Begin wave {}", wave.current + 1),
        })),
    }))
}

/// Returns the number of emails after the first ones, which are in the waves so far.
fn in_no_wave(notice: &Notice, begun: i64) -> i64 {
    (notice.counts.mails.total() - begun).max(0)
}

fn left(notice: &Notice, begun: i64) -> String {
    let n = usize::try_from(in_no_wave(notice, begun)).unwrap_or_default();
    count(n, "email", "emails")
}

/// Returns the buttons that stop and resume a notice. `unsent` is the number of deliveries that resuming it would send.
pub(super) fn buttons(notice: &Notice, unsent: i64) -> Value {
    let page = format!("/admin/notices/{}", notice.id);
    json!({
        "stop": notice.state.is_being_sent().then(|| format!("{page}/stop")),
        "resume": (unsent > 0).then(|| json!({
            "action": format!("{page}/resume"),
            "button": format!("Resume and send to {}{}", recipients(unsent, notice.channels.is_empty()), mark(notice.drill)),
        })),
    })
}

/// Returns what a button says if no customer gets anything.
fn mark(drill: bool) -> &'static str {
    if drill { ", DRILL" } else { "" }
}

/// Returns the number of those who get something. Systems of accounts are no people.
fn recipients(number: i64, only_people: bool) -> String {
    let number = usize::try_from(number).unwrap_or_default();
    match only_people {
        true => count(number, "person", "people"),
        false => count(number, "recipient", "recipients"),
    }
}

/// Returns the form that sends a draft to this many people. `None` if it cannot be sent: it has no recipients, something in it is to be
/// replaced, something of a recipient of a resolution is not restored, or an approval is missing.
pub(super) fn send_form(preview: &Preview, people: i64, action: String) -> Option<Value> {
    let calls = preview.systems();
    if preview.recipients + calls == 0
        || !preview.missing_values.is_empty()
        || preview.has_placeholders
        || preview
            .still_impaired
            .as_ref()
            .is_some_and(|one| !one.acknowledged)
        || (preview.approval_required && !preview.approved)
    {
        return None;
    }
    let to = match preview.recipients {
        0 => count(calls, "system", "systems"),
        _ => count(usize::try_from(people).unwrap_or_default(), "person", "people"),
    };
    let button = format!("Send to {to}{}", mark(preview.drill));
    let at = Use {
        action,
        button: &button,
        within: ("", String::new()),
    };
    let mut form = Form::new(SEND).within("send").shown(&at);
    form["digest"] = json!(preview.digest);
    Some(form)
}

/// Reads the form that sends a draft.
///
/// # Errors
/// `Invalid` if it does not come from the page.
pub(super) fn read(fields: Fields) -> Result<SendNotice> {
    let form = Form::read(SEND, fields)?;
    let (waves, pause) = match form.text("waves") {
        AT_ONCE => (None, None),
        IN_WAVES => (Some(in_waves()), Some(form.text("pause").to_owned())),
        _ => return Err(Error::invalid("/waves", "must be at_once or in_waves")),
    };
    Ok(SendNotice {
        digest: form.text("digest").to_owned(),
        waves,
        pause,
    })
}

/// 10 people, then 10 %, then the rest.
fn in_waves() -> Vec<Wave> {
    let (people, percent, rest) = (Some(10), Some(10), Some(true));
    let none = Wave::default;
    vec![
        Wave { people, ..none() },
        Wave { percent, ..none() },
        Wave { rest, ..none() },
    ]
}
