//! The pages of "My incidents", in the language of the person.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::answer::Declared;
use super::problem::Answer;
use crate::base::error::Error;
use crate::base::language::Language;
use crate::base::time::{Timestamp, time_zone};
use crate::customer::mine::{Mine, MyIncident, MyNotice, MyResource};
use crate::customer::pass::Named;
use crate::customer::phase_words;
use crate::customer::preferences::NewPreferences;
use crate::http::App;
use crate::words::{Area, Words, moment};

/// A time zone that the hint of the form names.
const EXAMPLE: &str = "Africa/Nairobi";

/// What the page shows besides its content.
#[derive(Default)]
pub(super) struct Shown {
    /// Whether the preferences were just saved.
    pub saved: bool,
    /// What was sent, if it could not be saved.
    pub wrong: Option<NewPreferences>,
}

/// The words of the page and of the feed, in one language.
struct Texts {
    feed: Words,
    mine: Words,
    language: Language,
}

impl Texts {
    fn of(language: Language) -> Answer<Texts> {
        Ok(Texts {
            feed: Words::of(Area::Feed, language)?,
            mine: Words::of(Area::Mine, language)?,
            language,
        })
    }

    /// The number of an incident. Null for a planned maintenance.
    fn number(&self, number: Option<i64>) -> Answer<Option<String>> {
        let said = |number: i64| self.feed.with("incident", &[("number", &number.to_string())]);
        Ok(number.map(said).transpose()?)
    }

    /// The words that the templates use by their keys.
    fn all(&self) -> BTreeMap<&'static str, &'static str> {
        let mut all = self.feed.all();
        all.extend(self.mine.all());
        all
    }

    /// The frame of every page.
    fn frame(&self, app: &App, title: &str) -> Value {
        json!({
            "company": app.sending.sender, "title": title, "w": self.all(), "language": self.language,
            "direction": self.language.direction(),
        })
    }
}

fn with(mut frame: Value, more: Value) -> Value {
    if let (Value::Object(frame), Value::Object(more)) = (&mut frame, more) {
        frame.extend(more);
    }
    frame
}

/// Answers with the page that has only a button. With several people, it has one for each of them.
pub(super) fn button(app: &App, language: Language, action: &str, people: &[Named]) -> Answer<Declared> {
    let texts = Texts::of(language)?;
    let frame = texts.frame(app, texts.feed.text("mine")?);
    let said = texts
        .mine
        .with("open_text", &[("company", &app.sending.sender)])?;
    let data = with(frame, json!({"action": action, "people": people, "said": said}));
    Ok(Declared(app.pages.answer("public/mine-open", &data)?))
}

/// Answers with the page that says how to open the page.
pub(super) fn closed(app: &App, language: Language) -> Answer<HttpResponse> {
    let texts = Texts::of(language)?;
    let frame = texts.frame(app, texts.mine.text("closed_title")?);
    app.pages
        .answer_with(StatusCode::UNAUTHORIZED, "public/mine-closed", &frame)
}

/// Answers with the page.
pub(super) fn page(app: &App, mine: &Mine, session: &str, shown: &Shown) -> Answer<Declared> {
    let texts = Texts::of(mine.preferences.applied_language)?;
    let utc = time_zone("UTC").map_err(Error::internal)?;
    let zone = mine
        .preferences
        .applied_time_zone
        .as_deref()
        .and_then(|name| time_zone(name).ok())
        .unwrap_or(utc);
    let when = |at: Timestamp| moment(texts.language, at, Some(&zone));
    let incidents = mine
        .incidents
        .iter()
        .map(|one| {
            let last = when(one.incident.at);
            let phase = phase_words::name(one.incident.phase, texts.language)?;
            let number = one.incident.number.to_string();
            Ok(json!({
                "title": one.incident.title,
                "number": texts.feed.with("incident", &[("number", &number)])?,
                "since": one.incident.started_at
                    .map(|at| texts.mine.with("since", &[("time", &when(at))]))
                    .transpose()?,
                "last": texts.mine.with("last_notice", &[("phase", phase), ("time", &last)])?,
                "next": one.incident.next_update_at
                    .map(|at| texts.feed.with("next_update", &[("time", &when(at))]))
                    .transpose()?,
                "affected": one.affected.iter().take(SHOWN).map(|of| resource(&texts, of)).collect::<Answer<Vec<Value>>>()?,
                "more": more(&texts, one.affected.len().saturating_sub(SHOWN))?,
                "all": format!("/mine/incidents/{}", one.incident.number),
            }))
        })
        .collect::<Answer<Vec<Value>>>()?;
    let notices = mine
        .notices
        .iter()
        .map(|one| notice(&texts, one, &when))
        .collect::<Answer<Vec<Value>>>()?;
    let accounts = mine
        .accounts
        .iter()
        .map(|account| {
            let notices = account.notices.iter().map(|one| {
                let people = one.people.to_string();
                Ok(json!({
                    "title": one.title,
                    "number": texts.number(one.incident)?,
                    "at": when(one.at), "iso": one.at, "open": one.open,
                    "people": texts.mine.with("account_people", &[("count", &people)])?,
                    "recovery": one.recovery.map(|of| texts.mine.with("account_recovery", &[
                        ("recovered", &of.recovered.to_string()), ("affected", &of.affected.to_string()),
                    ])).transpose()?,
                }))
            });
            Ok(json!({
                "title": texts.mine.with("account_title", &[("name", &account.name)])?,
                "notices": notices.collect::<Answer<Vec<Value>>>()?,
            }))
        })
        .collect::<Answer<Vec<Value>>>()?;
    let preferences = &mine.preferences;
    let (locale, zone_text) = match &shown.wrong {
        Some(wrong) => (wrong.locale.clone(), wrong.time_zone.clone()),
        None => (preferences.locale.clone(), preferences.time_zone.clone()),
    };
    let chosen = locale.as_deref().and_then(Language::of_tag);
    let languages: Vec<Value> = Language::ALL
        .into_iter()
        .map(|one| json!({"value": one, "label": one.own_name(), "chosen": chosen == Some(one)}))
        .collect();
    let frame = texts.frame(app, texts.feed.text("mine")?);
    let data = with(
        frame,
        json!({
            "name": mine.name, "incidents": incidents, "notices": notices, "more_notices": mine.more_notices, "accounts": accounts,
            "saved": shown.saved, "zone_is_wrong": shown.wrong.is_some(), "key": app.links.form_key(session),
            "languages": languages,
            // A control character must not get into a page.
            "zone": zone_text.unwrap_or_default().replace(char::is_control, " "),
            "zone_hint": texts.mine.with("zone_hint", &[("example", EXAMPLE)])?,
            "phone": preferences.short_messages,
            "optional": shown.wrong.as_ref().map_or(preferences.optional_emails, |wrong| wrong.optional_emails),
            "blocked": preferences.address_blocked,
        }),
    );
    let status = match shown.wrong {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    Ok(Declared(app.pages.answer_with(status, "public/mine", &data)?))
}

/// The number of resources of an incident on the page, as in an email.
const SHOWN: usize = 25;
/// The number of resources on a page of the list of all of them.
const LISTED: usize = 200;

fn resource(texts: &Texts, of: &MyResource) -> Answer<Value> {
    Ok(json!({
        "name": of.name,
        "state": texts.mine.text(&format!("state_{}", of.state))?,
        "good": matches!(of.state.as_str(), "recovered" | "not_affected"),
    }))
}

/// Answers with the list of all resources of a person in an incident, from a place on.
pub(super) fn resources(
    app: &App,
    language: Language,
    incident: &MyIncident,
    from: usize,
) -> Answer<Declared> {
    let texts = Texts::of(language)?;
    let number = incident.incident.number.to_string();
    let title = texts.mine.with("all_title", &[("number", &number)])?;
    let all = &incident.affected;
    let shown = all.iter().skip(from).take(LISTED);
    let link = |from: usize| format!("/mine/incidents/{number}?from={from}");
    let frame = texts.frame(app, &title);
    let data = json!({
        "heading": title, "about": incident.incident.title,
        "affected": shown.map(|of| resource(&texts, of)).collect::<Answer<Vec<Value>>>()?,
        "previous": (from > 0).then(|| link(from.saturating_sub(LISTED))),
        "next": (all.len().saturating_sub(from) > LISTED).then(|| link(from + LISTED)),
    });
    Ok(Declared(
        app.pages.answer("public/mine-resources", &with(frame, data))?,
    ))
}

fn more(texts: &Texts, left: usize) -> Answer<Option<String>> {
    match left {
        0 => Ok(None),
        left => Ok(Some(texts.feed.with("more", &[("count", &left.to_string())])?)),
    }
}

fn notice(texts: &Texts, one: &MyNotice, when: &impl Fn(Timestamp) -> String) -> Answer<Value> {
    let notice = &one.notice;
    let answer = match one.answer.as_ref().and_then(|answer| answer.answer.as_deref()) {
        Some(word) => {
            let word = texts.mine.text(&format!("answer_{word}"))?;
            Some(texts.mine.with("your_answer", &[("answer", word)])?)
        }
        None => None,
    };
    let action = notice.customer_action.as_ref();
    Ok(json!({
        "title": notice.title,
        "phase": phase_words::name(notice.phase, texts.language)?,
        "number": texts.number(notice.incident)?,
        "at": when(notice.at), "iso": notice.at,
        "paragraphs": notice.message.split("\n\n").collect::<Vec<_>>(),
        "action": action.filter(|action| action.required).map(|action| action.text.clone()),
        "no_action": action.is_some_and(|action| !action.required),
        "corrected": notice.corrected.is_some(),
        "answer": answer,
        "answer_url": notice.answer_url,
    }))
}
