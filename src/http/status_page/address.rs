//! The addresses of the status page, and the file that each of them has. The live page and its export use the same files.

use std::collections::BTreeSet;

use super::{calendar, feeds, site, v2, view};
use crate::base::error::Result;
use crate::base::language::Language;
use crate::http::pages::Pages;
use crate::status::StatusPage;
use site::Site;

/// Something that the public can read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// The first page of the status page, in this language.
    Home(Language),
    /// The page of an incident, by its number.
    Incident(Language, i64),
    /// The page of a component, by its ID.
    Component(Language, String),
    /// A document in the format of Statuspage.
    Json(v2::Document),
    /// The feed of incidents as Atom.
    Atom,
    /// The feed of incidents as RSS.
    Rss,
    /// The planned maintenances as a calendar.
    Calendar,
}

/// What is at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The media type, for the header `Content-Type`, with the character set.
    pub media: &'static str,
    /// The content of the file, as text: HTML, JSON, XML or an iCalendar.
    pub text: String,
    /// The path where it is now, if the address has moved. The text then says so.
    pub moved: Option<String>,
}

/// The media type of a page.
const HTML: &str = "text/html; charset=utf-8";

impl Address {
    /// Returns what is at the address. `None` if there is nothing.
    ///
    /// # Errors
    /// `Internal` if a page does not fit its data.
    pub fn content(&self, page: &StatusPage, site: &Site) -> Result<Option<Content>> {
        let found = |media: &'static str, text: String| {
            Ok(Some(Content {
                media,
                text,
                moved: None,
            }))
        };
        // The name of the brand is that of the page, of the documents and of the feeds.
        let site = &site.with_brand(&page.brand);
        match self {
            Address::Home(language) => {
                let data = view::home(page, site, *language)?;
                found(HTML, Pages::render_branded("public/status", &data, &page.brand)?)
            }
            Address::Incident(language, number) => {
                if let Some(to) = page.moved.get(number) {
                    let data = view::moved(site, *language, *number, *to)?;
                    return Ok(Some(Content {
                        media: HTML,
                        text: Pages::render_branded("public/status-moved", &data, &page.brand)?,
                        moved: Some(site::incident(*language, *to)),
                    }));
                }
                match view::incident(page, site, *language, *number)? {
                    Some(data) => found(
                        HTML,
                        Pages::render_branded("public/status-incident", &data, &page.brand)?,
                    ),
                    None => Ok(None),
                }
            }
            Address::Component(language, id) => match view::component(page, site, *language, id)? {
                Some(data) => found(
                    HTML,
                    Pages::render_branded("public/status-component", &data, &page.brand)?,
                ),
                None => Ok(None),
            },
            Address::Json(document) => found(
                "application/json; charset=utf-8",
                document.of(page, site)?.to_string(),
            ),
            Address::Atom => found("application/atom+xml; charset=utf-8", feeds::atom(page, site)?),
            Address::Rss => found("application/rss+xml; charset=utf-8", feeds::rss(page, site)?),
            Address::Calendar => found("text/calendar; charset=utf-8", calendar::calendar(page, site)),
        }
    }

    /// Returns the path of the address, as it is requested.
    pub fn path(&self) -> String {
        match self {
            Address::Home(language) => site::home(*language),
            Address::Incident(language, number) => site::incident(*language, *number),
            Address::Component(language, id) => site::component(*language, id),
            Address::Json(document) => format!("/api/v2/{}.json", document.as_str()),
            Address::Atom => "/history.atom".to_owned(),
            Address::Rss => "/history.rss".to_owned(),
            Address::Calendar => "/maintenance.ics".to_owned(),
        }
    }

    /// Returns the addresses that have something now.
    pub fn all(page: &StatusPage) -> Vec<Address> {
        let mut all: Vec<Address> = v2::Document::ALL.map(Address::Json).to_vec();
        all.extend([Address::Atom, Address::Rss, Address::Calendar]);
        let incidents = page.incidents.iter().map(|incident| incident.number);
        let reports = page.reports.iter().map(|report| report.number);
        let numbers: BTreeSet<i64> = incidents
            .chain(reports)
            .chain(page.moved.keys().copied())
            .collect();
        for language in Language::ALL {
            all.push(Address::Home(language));
            all.extend(numbers.iter().map(|number| Address::Incident(language, *number)));
            let components = page.components.iter();
            all.extend(components.map(|one| Address::Component(language, one.id.clone())));
        }
        all
    }
}
