//! What every page for customers needs: its language, its direction and its words. The pages use the layout `public/customer`.

use actix_web::HttpRequest;
use serde_json::{Map, Value, json};

use super::language;
use crate::base::error::Result;
use crate::base::language::Language;
use crate::http::App;
use crate::words::{Area, Words};

/// The language of a page for one customer, and what keeps it in the links of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken {
    /// The language of the page.
    pub language: Language,
    asked: Option<Language>,
}

impl Spoken {
    /// Returns the language of a page about one person: the one that the request asks for with `lang`, or else that of the person, or else
    /// the one that the browser prefers.
    pub fn of_person(app: &App, req: &HttpRequest, person: Option<Language>) -> Spoken {
        let asked = language::asked(req);
        Spoken {
            language: asked
                .or(person)
                .unwrap_or_else(|| language::of_request(req, app.sending.language)),
            asked,
        }
    }

    /// Returns the words of the pages for customers in this language.
    pub fn words(self) -> Result<Words> {
        Words::of(Area::Customer, self.language)
    }

    /// Returns a path of the page that stays in the language that was asked for.
    pub fn path(self, path: &str) -> String {
        match self.asked {
            Some(language) => format!("{path}?lang={language}"),
            None => path.to_owned(),
        }
    }
}

/// Returns the data of a page: `rest`, and what the layout needs. `values` are put into the words.
pub(super) fn data(
    app: &App,
    language: Language,
    title: &str,
    values: &[(&str, &str)],
    rest: Value,
) -> Result<Value> {
    let mut all: Vec<(&str, &str)> = vec![("company", &app.sending.sender)];
    all.extend_from_slice(values);
    let words = Words::of(Area::Customer, language)?;
    let mut shown = Map::new();
    for key in words.all().keys() {
        shown.insert((*key).to_owned(), json!(words.with(key, &all)?));
    }
    let mut data = match rest {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    data.insert("lang".to_owned(), json!(language));
    data.insert("dir".to_owned(), json!(language.direction()));
    data.insert("company".to_owned(), json!(app.sending.sender));
    data.insert("title".to_owned(), json!(title));
    data.insert("w".to_owned(), Value::Object(shown));
    Ok(Value::Object(data))
}
