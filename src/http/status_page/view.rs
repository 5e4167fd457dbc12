//! The data of the pages in a language.

use serde_json::{Value, json};

use super::bars;
use super::site::{self, Site};
use crate::base::error::Result;
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::http::report_blocks::shown;
use crate::incident::report::Published;
use crate::status::component::Component;
use crate::status::post::{Post, States};
use crate::status::{self, Indicator, MaintenanceState, PublicIncident, StatusPage};
use crate::words::{Area, Words, moment};

/// The largest number of past incidents on the page. The feeds have more.
const PAST: usize = 30;
/// With more components than this, the page shows the history only of those with problems.
const BARS: usize = 40;
/// How much text of reports the page contains, in bytes. Of the others it has the titles, so that it stays small.
const REPORT_TEXT: usize = 8_000;
/// How many posts of a current incident the page shows, if there is one such incident. With more of them it shows only the newest post.
const POSTS: usize = 3;

/// Returns the words of the pages.
fn words(language: Language) -> Result<Words> {
    Words::of(Area::Status, language)
}

/// The frame of a page. `behind` is the path behind the language, so that the page can be read in another one.
fn frame(site: &Site, language: Language, title: &str, behind: &str) -> Result<Value> {
    let page = Words::of(Area::Page, language)?;
    let languages = Language::ALL.map(|one| {
        json!({
            "code": one, "name": one.own_name(), "path": format!("{}{behind}", site::home(one)),
            "current": one == language,
        })
    });
    Ok(json!({
        "title": title, "company": site.company, "to": null, "lang": language, "dir": language.direction(),
        "home": site::home(language), "languages": languages, "language": page.text("language")?,
        "here": page.text("status_page")?,
        // The page may be an export on another server, and the form needs Candor.
        "subscribe": format!("{}/status/subscribe?lang={language}", site.public_url),
        "subscribe_text": Words::of(Area::Subscription, language)?.text("link")?,
        "w": words(language)?.all(),
    }))
}

/// Returns a time for readers of a language.
fn time(at: Timestamp, language: Language) -> Value {
    json!({"text": moment(language, at, None), "iso": at.to_string()})
}

/// The states of components, in the order of the page.
fn states(page: &StatusPage, states: &States, w: Words) -> Result<Vec<Value>> {
    let known = page.components.iter();
    let order = known.filter_map(|one| Some((one.id.as_str(), *states.get(&one.id)?)));
    order
        .map(|(id, state)| {
            Ok(json!({
                "name": page.names.get(id), "state": state, "word": w.text(state.as_str())?,
            }))
        })
        .collect()
}

fn post(page: &StatusPage, one: &Post, language: Language, w: Words) -> Result<Value> {
    Ok(json!({
        "status": one.status, "word": w.text(one.status.as_str())?, "message": one.message(language),
        "at": time(one.at, language), "states": states(page, &one.components, w)?,
    }))
}

fn posts<'a>(
    page: &StatusPage,
    posts: impl Iterator<Item = &'a Post>,
    language: Language,
    w: Words,
) -> Result<Vec<Value>> {
    posts.map(|one| post(page, one, language, w)).collect()
}

/// A word of the style for how bad something is.
fn tone(indicator: Indicator) -> &'static str {
    match indicator {
        Indicator::None => "ok",
        Indicator::Maintenance => "info",
        Indicator::Minor => "warn",
        Indicator::Major | Indicator::Critical => "bad",
    }
}

fn row(page: &StatusPage, one: &Component, language: Language, w: Words) -> Result<Value> {
    let state = page.state(&one.id);
    let days = status::days(&one.id, one.created_at, &page.incidents, page.as_of);
    let problems = bars::problems(&days);
    let bars = match page.components.len() <= BARS || problems > 0 {
        true => json!({
            "runs": bars::runs(&days),
            "label": w.with("days_with", &[("count", &problems.to_string())])?,
        }),
        false => Value::Null,
    };
    Ok(json!({
        "name": one.name, "path": site::component(language, &one.id), "state": state,
        "tone": tone(state.into()), "word": w.text(state.as_str())?, "bars": bars,
    }))
}

/// The components by group.
fn groups(page: &StatusPage, language: Language, w: Words) -> Result<Vec<Value>> {
    let mut groups: Vec<(Option<&str>, Vec<Value>)> = Vec::new();
    for one in &page.components {
        let row = row(page, one, language, w)?;
        match groups.last_mut() {
            Some((name, rows)) if *name == one.group.as_deref() => rows.push(row),
            _ => groups.push((one.group.as_deref(), vec![row])),
        }
    }
    let groups = groups.into_iter();
    Ok(groups
        .map(|(name, rows)| json!({"name": name, "rows": rows}))
        .collect())
}

/// A published report. `whole` says whether its text is shown.
fn report(one: &Published, language: Language, whole: bool) -> Value {
    let sections: Vec<Value> = one
        .sections
        .iter()
        .filter(|_| whole)
        .map(|section| json!({"heading": section.heading, "blocks": shown(&section.text)}))
        .collect();
    let corrections: Vec<Value> = one
        .corrections
        .iter()
        .filter(|_| whole)
        .map(|one| json!({"note": one.note, "at": time(one.at, language)}))
        .collect();
    json!({
        "number": one.number, "title": one.title, "path": site::incident(language, one.number),
        "published": time(one.published_at, language), "sections": sections, "corrections": corrections,
    })
}

/// The reports, newest first: with their texts as long as the page stays small.
fn reports(page: &StatusPage, language: Language) -> Vec<Value> {
    let mut left = REPORT_TEXT;
    page.reports
        .iter()
        .take(PAST)
        .map(|one| {
            let texts = one.sections.iter().map(|section| section.text.len());
            let length: usize = texts.sum();
            let whole = length <= left;
            left = left.saturating_sub(length);
            report(one, language, whole)
        })
        .collect()
}

fn maintenances(page: &StatusPage, language: Language, w: Words) -> Result<Vec<Value>> {
    let coming = page
        .maintenances
        .iter()
        .filter(|one| one.state(page.as_of) != MaintenanceState::Completed);
    coming
        .map(|one| {
            let text = |at| time(at, language)["text"].as_str().unwrap_or_default().to_owned();
            let (from, until) = (text(one.starts_at), text(one.ends_at));
            Ok(json!({
                "title": one.title, "message": one.message,
                "when": w.with("from_until", &[("from", &from), ("until", &until)])?,
            }))
        })
        .collect()
}

/// A line about an incident that is over.
fn past(page: &StatusPage, one: &PublicIncident, language: Language) -> Result<Value> {
    Ok(json!({
        "title": page.title(one, language)?, "path": site::incident(language, one.number),
        "tone": tone(one.impact()), "began": time(one.began_at(), language),
        "ended": one.resolved_at().map(|at| time(at, language)),
    }))
}

/// Returns the data of the page.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn home(page: &StatusPage, site: &Site, language: Language) -> Result<Value> {
    let w = words(language)?;
    let heading = w.with("title", &[("company", &site.company)])?;
    let mut data = frame(site, language, &heading, "")?;
    let open: Vec<&PublicIncident> = page.open().collect();
    let most = if open.len() > 1 { 1 } else { POSTS };
    let current = open.iter().map(|one| {
        Ok(json!({
            "title": page.title(one, language)?, "path": site::incident(language, one.number),
            "status": one.status(), "word": w.text(one.status().as_str())?,
            "tone": tone(one.impact().max(Indicator::Minor)),
            "states": states(page, &one.affects(), w)?,
            "posts": posts(page, one.posts.iter().rev().take(most), language, w)?,
        }))
    });
    let indicator = page.indicator();
    data["tone"] = json!(tone(indicator));
    data["all"] = json!(w.text(&format!("all_{indicator}"))?);
    data["current"] = json!(current.collect::<Result<Vec<_>>>()?);
    data["groups"] = json!(groups(page, language, w)?);
    data["maintenances"] = json!(maintenances(page, language, w)?);
    let over: Vec<&PublicIncident> = page.past().collect();
    let shown = over.iter().take(PAST).map(|one| past(page, one, language));
    data["past"] = json!(shown.collect::<Result<Vec<_>>>()?);
    data["more_past"] = json!(over.len() > PAST);
    data["reports"] = json!(reports(page, language));
    Ok(data)
}

/// Returns the data of the page of an incident. `None` if nothing about it is public.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn incident(page: &StatusPage, site: &Site, language: Language, number: i64) -> Result<Option<Value>> {
    let (found, published) = (page.incident(number), page.report(number));
    let w = words(language)?;
    let numbered = w.with("incident", &[("number", &number.to_string())])?;
    let name = match (found, published) {
        (Some(one), _) => page.title(one, language)?,
        (None, Some(report)) => report.title.clone(),
        (None, None) => return Ok(None),
    };
    let tab = format!("{name} · {}", site.company);
    let mut data = frame(site, language, &tab, &format!("/incidents/{number}"))?;
    data["name"] = json!(name);
    data["numbered"] = json!(numbered);
    data["report"] = json!(published.map(|one| report(one, language, true)));
    data["incident"] = match found {
        None => Value::Null,
        Some(one) => json!({
            "word": w.text(one.status().as_str())?,
            "tone": if one.is_open() { tone(one.impact().max(Indicator::Minor)) } else { "ok" },
            "states": states(page, &one.affects(), w)?,
            "posts": posts(page, one.posts.iter().rev(), language, w)?,
        }),
    };
    Ok(Some(data))
}

/// Returns the data of the page of an incident that is a part of another one now.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn moved(site: &Site, language: Language, number: i64, to: i64) -> Result<Value> {
    let w = words(language)?;
    let name = w.with("incident", &[("number", &number.to_string())])?;
    let tab = format!("{name} · {}", site.company);
    let mut data = frame(site, language, &tab, &format!("/incidents/{number}"))?;
    data["name"] = json!(name);
    data["text"] = json!(w.with("moved", &[("number", &to.to_string())])?);
    data["to"] = json!(site::incident(language, to));
    Ok(data)
}

/// Returns the data of the page of a component. `None` if there is no such component.
///
/// # Errors
/// An internal error, if a text is missing.
pub fn component(page: &StatusPage, site: &Site, language: Language, id: &str) -> Result<Option<Value>> {
    let Some(one) = page.components.iter().find(|one| one.id == id) else {
        return Ok(None);
    };
    let w = words(language)?;
    let tab = format!("{} · {}", one.name, site.company);
    let mut data = frame(site, language, &tab, &format!("/components/{id}"))?;
    let state = page.state(id);
    let days = status::days(id, one.created_at, &page.incidents, page.as_of);
    let titled = |number: &i64| {
        let incident = page.incident(*number)?;
        let title = page.title(incident, language).ok()?;
        Some(json!({"title": title, "path": site::incident(language, *number)}))
    };
    let bad = days.iter().rev().filter(|day| !day.incidents.is_empty());
    let bad = bad.filter_map(|day| {
        let state = day.state?;
        Some(json!({
            "date": &day.begins.to_string()[..10], "tone": tone(state.into()), "word": w.text(state.as_str()).ok()?,
            "incidents": day.incidents.iter().filter_map(titled).collect::<Vec<_>>(),
        }))
    });
    data["name"] = json!(one.name);
    data["group"] = json!(one.group);
    data["tone"] = json!(tone(state.into()));
    data["word"] = json!(w.text(state.as_str())?);
    data["bars"] = json!({
        "runs": bars::runs(&days),
        "label": w.with("days_with", &[("count", &bars::problems(&days).to_string())])?,
    });
    data["days"] = bad.collect();
    Ok(Some(data))
}
