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
        "Only for waves. If too many emails bounce, or too many people complain or still have the problem, the next wave does not begin by itself.",
        &[
            ("manual", "A person begins each wave"),
            ("PT10M", "Pause of 10 minutes"),
            ("PT1H", "Pause of 1 hour"),
        ],
        "must be manual, PT10M or PT1H",
    ),
    Field::kept("digest"),
];

/// Returns what the page of a notice shows about sending it, for everybody: the waves.
pub(super) fn wave(notice: &Notice, zone: Option<&TimeZone>) -> Option<Value> {
    let wave = notice.wave.as_ref()?;
    let going_on = notice.state.is_being_sent() && wave.has_next();
    Some(json!({
        "label": format!("Wave {} of {}", wave.current, wave.of),
        "sending": notice.state.is_being_sent() && !wave.ended,
        "waits": going_on && wave.ended && wave.next_at.is_none() && wave.held_because.is_none(),
        "next": When::maybe(wave.next_at, zone),
        "held": wave.held_because.as_ref().filter(|_| going_on),
    }))
}

/// Returns the forms for the page of a notice. `unsent` is the number of deliveries that resuming it would send.
pub(super) fn shown(notice: &Notice, preview: Option<&Preview>, unsent: i64) -> Value {
    let page = format!("/admin/notices/{}", notice.id);
    let action = |last: &str| format!("{page}/{last}");
    let being_sent = notice.state.is_being_sent();
    let further = notice.wave.as_ref().filter(|wave| being_sent && wave.has_next());
    json!({
        "send": preview.and_then(|preview| send_form(preview, action("send"))),
        "stop": being_sent.then(|| action("stop")),
        "hold": further.filter(|wave| wave.held_because.is_none()).map(|_| action("hold")),
        "next": further.map(|wave| json!({
            "action": action("continue"), "wave": wave.current + 1,
            "button": format!("Begin wave {} of {} now", wave.current + 1, wave.of),
        })),
        "resume": (unsent > 0).then(|| json!({
            "action": action("resume"),
            "button": format!("Resume and send to {}, {}", recipients(unsent, notice.channels.is_empty()), how(notice.drill)),
        })),
    })
}

/// Returns the word that says whether customers get it.
fn how(drill: bool) -> &'static str {
    if drill { "DRILL" } else { "LIVE" }
}

/// Returns the number of those who get something. Systems of accounts are no people.
fn recipients(number: i64, only_people: bool) -> String {
    let number = usize::try_from(number).unwrap_or_default();
    match only_people {
        true => count(number, "person", "people"),
        false => count(number, "recipient", "recipients"),
    }
}

/// Returns the form that sends a draft, unless it has no recipients or an approval is missing.
fn send_form(preview: &Preview, action: String) -> Option<Value> {
    let calls: usize = preview.channels.values().sum();
    if preview.recipients + calls == 0
        || !preview.missing_values.is_empty()
        || (preview.approval_required && !preview.approved)
    {
        return None;
    }
    let to = match preview.recipients {
        0 => count(calls, "system", "systems"),
        people => count(people, "person", "people"),
    };
    let button = format!("Send to {to}, {}", how(preview.drill));
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
