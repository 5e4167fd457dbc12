//! `/admin/limits`: the limits above which other people must approve a notice, and when break glass was last used and rehearsed.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::as_json::{self, AS_JSON};
use super::done::done;
use super::field::Field;
use super::filled::{Filled, lines};
use super::form::{Form, Saved, Use};
use super::frame::Frame;
use super::notation::{read_duration, read_share, share, write_duration, write_share};
use super::signed_in::SignedIn;
use super::view::When;
use crate::auth::Role;
use crate::base::time::Timestamp;
use crate::http::App;
use crate::http::admin_page::Pages;
use crate::http::problem::Answer;
use crate::notice::{self, GlassBroken, Limits, Rehearsal, limits};

pub(super) fn routes(pages: &mut Pages) {
    pages
        .show("/limits", Role::Admin, show)
        .does(&["GET /api/v1/limits", "GET /api/v1/break-glass"])
        .send("/limits", Role::Admin, replace)
        .does(&["PUT /api/v1/limits", "PATCH /api/v1/limits"])
        .show("/limits/json", Role::Admin, show_json)
        .send("/limits/json", Role::Admin, replace_json)
        .does(&["PUT /api/v1/limits"])
        .send("/limits/rehearse", Role::Admin, rehearse)
        .does(&["POST /api/v1/break-glass/rehearse"]);
}

const PATH: &str = "/admin/limits";
const PART: &str = "Limits";
/// The largest limit on a number of recipients.
const MOST: (i64, i64, i64) = (0, 100_000_000, 1);
const WHOLE: &str = "must be a whole number from 0 to 100000000";

const LIMITS: &[Field] = &[
    Field::number(
        "recipients",
        "Recipients of one notice",
        "People and systems of accounts. With 0, every notice needs an approval.",
        MOST,
        WHOLE,
    ),
    Field::number(
        "recipients_per_incident",
        "Recipients of one incident",
        "All notices of the incident that were sent without approval count. If empty, there is no such limit.",
        MOST,
        WHOLE,
    ),
    Field::number(
        "recipients_per_hour",
        "Recipients within one hour",
        "All notices that were sent without approval count, over all incidents. If empty, there is no such limit.",
        MOST,
        WHOLE,
    )
    .beside(),
    Field::own(
        "share_of_directory",
        "Share of the directory",
        "A share of the people who have an address, such as 20 %. If empty, there is no such limit.",
        read_share,
        write_share,
    )
    .one_line(),
    Field::own(
        "sms_price",
        "Price of short messages",
        "What the short messages of one notice may cost, in the currency of CANDOR_SMS_PRICE, such as 25. If empty, there is no such limit.",
        read_price,
        write_price,
    )
    .one_line()
    .beside(),
    Field::own(
        "by",
        "Other limits by severity and phase",
        "On each line, write a severity, a phase or both, an equals sign and the recipients of one notice, such as minor update = 100. The smallest one that matches replaces the limit for one notice.",
        read_by,
        write_by,
    ),
    Field::number(
        "approvals",
        "People who must approve",
        "",
        (1, 5, 1),
        "must be a whole number from 1 to 5",
    ),
    Field::own(
        "approval_expires_after",
        "An approval is valid for",
        "From 1 minute to 7 days, such as 1 hour.",
        read_duration,
        write_duration,
    )
    .one_line()
    .beside(),
    Field::own(
        "hold_if",
        "Hold sending above these shares",
        "On each line, write bounced, complained or still_broken, an equals sign and a share, such as bounced = 5 %.",
        read_hold,
        write_hold,
    ),
];

const REHEARSAL: &[Field] = &[Field::long_text(
    "reason",
    "Who rehearsed it, and how",
    "At least 10 characters. Nothing is sent or allowed by this. The audit trail keeps it.",
)];

/// Reads a price. Nothing is no limit.
fn read_price(text: &str) -> Result<Value, Vec<String>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Value::Null);
    }
    text.parse::<f64>()
        .ok()
        .filter(|price| price.is_finite())
        .map(|price| json!(price))
        .ok_or_else(|| vec!["must be a price, such as 25 or 2.50".to_owned()])
}

fn write_price(value: &Value) -> String {
    value.as_f64().map(|price| price.to_string()).unwrap_or_default()
}

/// Reads the limits by severity and phase, one on each line.
fn read_by(text: &str) -> Result<Value, Vec<String>> {
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for line in lines(text) {
        match entry(line) {
            Some(entry) => read.push(entry),
            None => wrong.push(format!(
                "\u{201c}{line}\u{201d} must be a severity, a phase or both, an equals sign and a whole number, such as minor update = 100"
            )),
        }
    }
    if wrong.is_empty() {
        Ok(json!(read))
    } else {
        Err(wrong)
    }
}

fn entry(line: &str) -> Option<Value> {
    let (words, recipients) = line.split_once('=')?;
    let recipients: i64 = recipients.trim().parse().ok()?;
    let mut entry = Map::new();
    for word in words.split_whitespace() {
        let field = match crate::incident::Severity::parse(word) {
            Ok(_) => "severity",
            Err(_) => "phase",
        };
        if entry.insert(field.to_owned(), json!(word)).is_some() {
            return None;
        }
    }
    entry.insert("recipients".to_owned(), json!(recipients));
    Some(Value::Object(entry))
}

fn write_by(stored: &Value) -> String {
    let entries = stored.as_array().into_iter().flatten();
    let lines = entries.map(|entry| {
        let words = ["severity", "phase"]
            .into_iter()
            .filter_map(|name| entry[name].as_str());
        format!(
            "{} = {}",
            words.collect::<Vec<_>>().join(" "),
            entry["recipients"]
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads the shares above which sending is held, one on each line.
fn read_hold(text: &str) -> Result<Value, Vec<String>> {
    let (mut read, mut wrong) = (Map::new(), Vec::new());
    for line in lines(text) {
        let said = line
            .split_once('=')
            .and_then(|(name, text)| Some((name.trim(), json!(share(text)?))));
        match said {
            Some((name, share)) => {
                if read.insert(name.to_owned(), share).is_some() {
                    wrong.push(format!(
                        "\u{201c}{line}\u{201d} repeats a name that another line has"
                    ));
                }
            }
            None => wrong.push(format!(
                "\u{201c}{line}\u{201d} must be a name, an equals sign and a share, such as bounced = 5 %"
            )),
        }
    }
    if wrong.is_empty() {
        Ok(Value::Object(read))
    } else {
        Err(wrong)
    }
}

fn write_hold(stored: &Value) -> String {
    let shares = stored.as_object().into_iter().flatten();
    let lines = shares.map(|(name, share)| format!("{name} = {}", write_share(share)));
    lines.collect::<Vec<_>>().join("\n")
}

fn at(last: &str, button: &'static str) -> Use<'static> {
    Use {
        action: format!("{PATH}{last}"),
        button,
        within: (PART, PATH.to_owned()),
    }
}

/// The form of the current limits.
fn form_of(limits: &Limits, now: Timestamp) -> Option<Form> {
    Form::of(LIMITS, &json!(limits), now)
}

fn last(broken: Option<&GlassBroken>) -> Value {
    broken.map_or(Value::Null, |broken| {
        json!({
            "at": When::utc(broken.at), "by": broken.by, "reason": broken.reason,
            "notice": broken.notice.as_ref().map(|id| format!("/admin/notices/{id}")),
        })
    })
}

/// Shows the page, with forms that were sent and have errors, or with new ones.
async fn page(
    app: &App,
    by: &SignedIn,
    typed: Option<Form>,
    rehearsal: Option<Form>,
    status: StatusCode,
) -> Answer<HttpResponse> {
    let sending = app.sending.clone();
    let (limits, glass) = app
        .db
        .read(move |conn| Ok((limits::read(conn, &sending)?, notice::break_glass_state(conn)?)))
        .await?;
    let here = |form: Form, last: &str, button: &'static str| {
        let mut shown = form.shown(&at(last, button));
        shown["back"] = Value::Null;
        shown
    };
    let form = typed.or_else(|| form_of(&limits, app.clock().now()));
    let open = status != StatusCode::OK;
    let data = json!({
        "page": Frame::new(app, by, PART, PART),
        "form": form.map(|form| here(form.within("limits"), "", "Save limits")),
        "rehearsal": here(rehearsal.unwrap_or_else(|| Form::new(REHEARSAL)).within("rehearsal"), "/rehearse", "Record rehearsal"),
        "open": open,
        "last_used": last(glass.last_used.as_ref()),
        "last_rehearsed": last(glass.last_rehearsed.as_ref()),
        "as_json": format!("{PATH}/json"),
    });
    app.pages.answer_with(status, "admin/limits", &data)
}

async fn show(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    page(&app, &by, None, None, StatusCode::OK).await
}

async fn replace(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(LIMITS, sent.fields)?);
    let (actor, sending) = (by.0.actor(), app.sending.clone());
    let store = async |new: Limits| {
        app.db
            .write(&actor, move |tx| limits::replace(tx, &new, &sending))
            .await
    };
    let check = async |new: Limits| new.check();
    match form.save_checked(app.clock().now(), store, check).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The limits are saved.")),
        Saved::Again(form) => page(&app, &by, Some(form), None, StatusCode::UNPROCESSABLE_ENTITY).await,
    }
}

const JSON_TITLE: &str = "Change the limits as JSON";

async fn show_json(app: web::Data<App>, by: SignedIn) -> Answer<HttpResponse> {
    let sending = app.sending.clone();
    let limits = app.db.read(move |conn| limits::read(conn, &sending)).await?;
    let at = at("/json", "Save limits");
    as_json::of(&limits)?.page(&app, &by, (JSON_TITLE, PART), as_json::EXPLAINED, &at)
}

async fn replace_json(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(AS_JSON, sent.fields)?);
    let (actor, sending) = (by.0.actor(), app.sending.clone());
    let store = async |typed: as_json::Typed| {
        let new: Limits = typed.input()?;
        let stored = app
            .db
            .write(&actor, move |tx| limits::replace(tx, &new, &sending))
            .await;
        stored.map_err(as_json::at_field)
    };
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(&app, PATH, "The limits are saved.")),
        Saved::Again(form) => {
            let at = at("/json", "Save limits");
            form.page(&app, &by, (JSON_TITLE, PART), as_json::EXPLAINED, &at)
        }
    }
}

async fn rehearse(app: web::Data<App>, sent: Filled) -> Answer<HttpResponse> {
    let (by, form) = (sent.by, Form::read(REHEARSAL, sent.fields)?);
    let actor = by.0.actor();
    let store = async |said: Rehearsal| app.db.write(&actor, move |tx| notice::rehearse(tx, &said)).await;
    match form.save(app.clock().now(), store).await? {
        Saved::Done(_) => Ok(done(
            &app,
            &format!("{PATH}#break-glass"),
            "The rehearsal is recorded.",
        )),
        Saved::Again(form) => page(&app, &by, None, Some(form), StatusCode::UNPROCESSABLE_ENTITY).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_form_read_as_they_are_written() {
        let by = json!([{"severity": "minor", "phase": "update", "recipients": 100}, {"phase": "report", "recipients": 0}]);
        assert_eq!(write_by(&by), "minor update = 100\nreport = 0");
        assert_eq!(read_by(&write_by(&by)), Ok(by));
        let hold = json!({"bounced": 0.05, "complained": 0.002, "still_broken": 0.2});
        assert_eq!(read_hold(&write_hold(&hold)), Ok(hold));
        assert_eq!(write_hold(&json!({"bounced": 0.05})), "bounced = 5 %");
        assert_eq!(read_hold("bounced = 0.05"), read_hold("bounced = 5 %"));
        for wrong in ["minor = many", "minor major = 5", "minor"] {
            assert!(read_by(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "bounced",
            "bounced = much",
            "bounced = 0.1\nbounced = 0.2",
            "bounced = inf",
        ] {
            assert!(read_hold(wrong).is_err(), "{wrong}");
        }
    }
}
