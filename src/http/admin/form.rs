//! A form of the admin pages, declared as a list of fields.
//!
//! A page declares its fields once. From that, the form is read, shown by the partial `admin/form`, and turned into the body
//! that the API takes for the same change. So a form and the API have one input type and one function, and an error of the
//! API stands at the field to which its JSON pointer leads. Everything that was typed is kept.
//!
//! Reading a form and showing it again never changes a value.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::field::{Field, Kind, ZONE};
use super::filled::{Fields, Wrong};
use super::frame::Frame;
use super::matchers::Rows;
use super::signed_in::SignedIn;
use super::version;
use super::view::cut;
use crate::base::error::{Error, Result, misfit};
use crate::base::time::{Timestamp, time_zone};
use crate::http::App;
use crate::http::problem::Answer;

/// How long after now a time is taken to be that cannot be read, so that the other fields can be checked.
const LATER: std::time::Duration = std::time::Duration::from_secs(2 * 3_600);

/// A form as it was typed.
pub struct Form {
    fields: &'static [Field],
    typed: BTreeMap<&'static str, String>,
    rows: Rows,
    options: BTreeMap<&'static str, Vec<(String, String)>>,
    wrong: Wrong,
    /// What stands before the names in the ids of the elements.
    within: &'static str,
    /// Whether the answer is a file, so that the page with the form stays.
    downloads: bool,
}

/// What became of a form that was sent.
pub enum Saved<R> {
    /// The content of the form was stored. The value is the result.
    Done(R),
    /// It has errors, and is shown again.
    Again(Form),
}

/// Where a form is, and what is done with it.
pub struct Use<'a> {
    /// The path that it is sent to.
    pub action: String,
    /// The label of its button, which is a verb.
    pub button: &'a str,
    /// The name and the path of the page that it belongs to.
    pub within: (&'a str, String),
}

impl Form {
    fn empty(fields: &'static [Field]) -> Form {
        Form {
            fields,
            typed: BTreeMap::new(),
            rows: Rows::default(),
            options: BTreeMap::new(),
            wrong: Wrong::default(),
            within: "",
            downloads: false,
        }
    }

    /// Says that the answer is a file. The page with the form then stays, and the form can be sent again.
    pub fn downloading(mut self) -> Form {
        self.downloads = true;
        self
    }

    /// A new form. Only choices have a value.
    pub fn new(fields: &'static [Field]) -> Form {
        fields.iter().fold(Form::empty(fields), |form, field| {
            form.with(field.name, field.initial())
        })
    }

    /// Reads the fields of a form that was sent.
    ///
    /// # Errors
    /// `Invalid`, if it has a field that the form does not declare.
    pub fn read(fields: &'static [Field], mut sent: Fields) -> Result<Form> {
        let mut form = Form::empty(fields);
        for field in fields {
            match field.kind {
                Kind::Matchers => form.rows = Rows::read(&mut sent),
                Kind::Set { .. } => {
                    let chosen = sent.take_below(&field.box_of(""));
                    form.typed.insert(field.name, chosen.join("\n"));
                }
                _ => {
                    form.typed.insert(field.name, sent.take(field.name));
                }
            }
        }
        sent.finish()?;
        Ok(form)
    }

    /// The form of something stored, as the API returns it. None if a form cannot represent it, for example because a value
    /// begins with a space.
    pub fn of(fields: &'static [Field], stored: &Value, now: Timestamp) -> Option<Form> {
        let mut form = Form::new(fields);
        for field in fields {
            let value = stored.pointer(&field.pointer()).unwrap_or(&Value::Null);
            match field.kind {
                Kind::Matchers => {
                    form.rows = Rows::of(&serde_json::from_value::<Vec<_>>(value.clone()).ok()?)
                }
                Kind::Zone | Kind::Kept | Kind::Secret => {}
                _ => {
                    form.typed.insert(field.name, field.write(value));
                }
            }
        }
        // A browser sends the values without white space around them.
        let mut sent = Form::empty(fields);
        sent.rows = form.rows.as_sent();
        let trimmed = form
            .typed
            .iter()
            .map(|(name, text)| (*name, text.trim().to_owned()));
        sent.typed = trimmed.collect();
        let body = Value::Object(sent.body(now));
        let in_body = |field: &&Field| !matches!(field.kind, Kind::Zone | Kind::Kept | Kind::Secret);
        let same = |field: &Field| {
            let at = field.pointer();
            body.pointer(&at).unwrap_or(&Value::Null) == stored.pointer(&at).unwrap_or(&Value::Null)
        };
        (sent.wrong.is_empty() && fields.iter().filter(in_body).all(same)).then_some(form)
    }

    /// Sets the text of a field.
    pub fn with(mut self, name: &'static str, text: impl Into<String>) -> Form {
        self.typed.insert(name, text.into());
        self
    }

    /// Sets the time zone of the times: the one that the person prefers, or else the other one, or UTC.
    pub fn zoned(self, by: &SignedIn, otherwise: Option<&str>) -> Form {
        self.with(ZONE, by.zone().or(otherwise).unwrap_or("UTC"))
    }

    /// Gives the form a name, so that its elements have ids of their own on a page with several forms.
    pub fn within(mut self, name: &'static str) -> Form {
        self.within = name;
        self
    }

    /// Sets what the field can be chosen from: the values and their labels.
    pub fn options(mut self, name: &'static str, options: Vec<(String, String)>) -> Form {
        self.options.insert(name, options);
        self
    }

    /// The text of a field.
    pub fn text(&self, name: &str) -> &str {
        self.typed.get(name).map_or("", String::as_str)
    }

    /// Adds the version of what the form shows, in the field [`version::FIELD`]. With it, a form that is sent can be compared with
    /// what is stored then.
    pub fn versioned(self) -> Form {
        let version = self.version();
        self.with(version::FIELD.name, version)
    }

    /// The version of what the form shows: a mark of each field.
    pub fn version(&self) -> String {
        version::of(self.compared().map(|field| self.text(field.name)))
    }

    /// What is compared between the form and what is stored.
    pub fn seen(&self) -> version::Seen {
        let marks = version::marks(self.text(version::FIELD.name));
        let mut seen = version::Seen::default();
        for (field, mark) in self.compared().zip(marks) {
            seen.add(field.name, mark, self.text(field.name));
        }
        seen
    }

    fn compared(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields
            .iter()
            .filter(|field| field.name != version::FIELD.name)
    }

    /// Compares a form that was not saved with what is stored now. Where somebody has changed a field since the form was opened, the
    /// field says so. What was typed stays, and a field that nobody touched in the form gets the new value.
    pub fn compared_with(mut self, stored: &Form) -> Form {
        let seen = self.seen();
        let changed = seen.changed(stored);
        for field in self.compared().filter(|field| changed.contains(&field.name)) {
            let now = stored.text(field.name);
            if field.name == version::ARCHIVED.name {
                self.wrong("It is archived now. If you save, it is restored.");
                continue;
            }
            let said = match (seen.touched(field.name), now) {
                (Some(true), "") => "somebody emptied it since; saving replaces that".to_owned(),
                (Some(true), now) => {
                    let now = cut(&field.label_of(now), 500);
                    format!("somebody changed it to \u{201c}{now}\u{201d} since; saving replaces that")
                }
                _ => "somebody changed it since; this is the new value".to_owned(),
            };
            self.wrong.add(field.pointer(), said);
            if seen.touched(field.name) != Some(true) {
                self.typed.insert(field.name, now.to_owned());
            }
        }
        self.with(version::FIELD.name, stored.version())
    }

    /// Whether the form has errors.
    pub fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Adds an error that belongs to no field.
    pub fn wrong(&mut self, detail: &str) {
        self.wrong.add("", detail);
    }

    /// Adds the errors that the domain found, for the fields that have none yet.
    ///
    /// # Errors
    /// The error itself, if it is not about the input.
    pub fn refused(&mut self, error: Error) -> Result<()> {
        self.wrong.join(Wrong::of(error)?);
        Ok(())
    }

    /// What the API takes for this change. Values that cannot be read are left out, and their errors are added, all at once. None if
    /// there is no input without them.
    pub fn input<T: DeserializeOwned>(&mut self, now: Timestamp) -> Result<Option<T>> {
        let mut body = Value::Object(self.body(now));
        loop {
            let error = match serde_path_to_error::deserialize(body.clone()) {
                Ok(input) => return Ok(Some(input)),
                Err(error) => misfit(&error),
            };
            let pointer = match &error {
                Error::Invalid { errors, .. } => errors.first().and_then(|error| error.pointer.clone()),
                _ => None,
            };
            self.refused(error)?;
            // A reader stops at the first value that it cannot read. Without this value, it comes to the next one.
            if !pointer.is_some_and(|pointer| take_out(&mut body, &pointer)) {
                return Ok(None);
            }
        }
    }

    /// Stores the input, unless it is wrong.
    ///
    /// # Errors
    /// What `store` returns, if it is not about the input.
    pub async fn save<T: DeserializeOwned, R>(
        self,
        now: Timestamp,
        store: impl AsyncFnOnce(T) -> Result<R>,
    ) -> Result<Saved<R>> {
        self.save_checked(now, store, async |_| Ok(())).await
    }

    /// Stores the input. If a field cannot be read, `check` finds what else is wrong, so that all errors are shown at once.
    ///
    /// # Errors
    /// What `store` and `check` return, if it is not about the input.
    pub async fn save_checked<T: DeserializeOwned, R>(
        mut self,
        now: Timestamp,
        store: impl AsyncFnOnce(T) -> Result<R>,
        check: impl AsyncFnOnce(T) -> Result<()>,
    ) -> Result<Saved<R>> {
        if let Some(input) = self.input(now)? {
            if self.is_wrong() {
                if let Err(error) = check(input).await {
                    self.refused(error)?;
                }
            } else {
                match store(input).await {
                    Ok(stored) => return Ok(Saved::Done(stored)),
                    Err(error) => self.refused(error)?,
                }
            }
        }
        Ok(Saved::Again(self))
    }

    /// The body that the API takes, without the values that cannot be read.
    fn body(&mut self, now: Timestamp) -> Map<String, Value> {
        let mut body = Map::new();
        let zone = self.zone();
        for field in self.fields {
            let text = self.typed.get(field.name).map_or("", String::as_str);
            let read = match field.kind {
                Kind::Matchers => Ok(Some(json!(self.rows.matchers(&mut self.wrong)))),
                _ => field.read(text, zone.as_ref().ok()),
            };
            match read {
                Ok(Some(value)) => {
                    put(&mut body, field.name, value);
                }
                Ok(None) => {}
                Err(details) => {
                    for detail in details {
                        self.wrong.add(field.pointer(), detail);
                    }
                }
            }
            // So that the other fields can be checked.
            if matches!(field.kind, Kind::Clock { needed: Some(_) }) {
                body.entry(field.name).or_insert_with(|| json!(now.plus(LATER)));
            }
        }
        // Without a time, the time zone says nothing.
        let is_clock = |field: &&Field| matches!(field.kind, Kind::Clock { .. });
        let text = |field: &Field| self.typed.get(field.name).map_or("", String::as_str);
        let has_time = self
            .fields
            .iter()
            .filter(is_clock)
            .any(|field| !text(field).is_empty());
        let has_zone = self.typed.get(ZONE).is_some_and(|name| !name.is_empty());
        if let Err(Some(detail)) = zone
            && (has_time || has_zone)
        {
            self.wrong.add(format!("/{ZONE}"), detail);
        }
        body
    }

    /// The time zone of the times. An error without a reason if the form has none.
    fn zone(&self) -> std::result::Result<TimeZone, Option<String>> {
        match self.typed.get(ZONE).map(String::as_str) {
            None => Err(None),
            Some("") => Err(Some(
                "must not be empty; enter the time zone of these times, such as UTC or Africa/Nairobi"
                    .to_owned(),
            )),
            Some(name) => time_zone(name).map_err(Some),
        }
    }

    /// The form for the partials `admin/form` and `admin/fields`.
    pub fn shown(self, at: &Use<'_>) -> Value {
        let Form {
            fields,
            typed,
            rows,
            options,
            mut wrong,
            within,
            downloads,
        } = self;
        let failed = !wrong.is_empty();
        let mut groups: Vec<Vec<Value>> = Vec::new();
        for field in fields {
            let text = typed.get(field.name).map_or("", String::as_str);
            if matches!(field.kind, Kind::Kept) {
                continue;
            }
            let mut shown = field.shown(text, options.get(field.name), &rows, &mut wrong);
            if !within.is_empty() {
                shown["id"] = json!(format!("{within}-{}", field.name));
            }
            match groups.last_mut() {
                Some(group) if field.beside => group.push(shown),
                _ => groups.push(vec![shown]),
            }
        }
        let groups = groups.into_iter();
        json!({
            "groups": groups.map(|fields| json!({"row": fields.len() > 1, "fields": fields})).collect::<Vec<_>>(),
            "action": at.action, "button": at.button, "back": at.within.1,
            "failed": failed, "others": wrong.rest(), "version": typed.get(version::FIELD.name),
            "downloads": downloads,
        })
    }

    /// The page with the form alone. Its status is 422 if the form has errors.
    ///
    /// # Errors
    /// `Internal` if the page does not fit its data.
    pub fn page(
        self,
        app: &App,
        by: &SignedIn,
        (title, part): (&str, &str),
        explained: &str,
        at: &Use<'_>,
    ) -> Answer<HttpResponse> {
        let status = self.status();
        let data = json!({
            "page": Frame::new(app, by, title, part), "title": title, "explained": explained,
            "within": at.within.0, "form": self.shown(at),
        });
        app.pages.answer_with(status, "admin/edit", &data)
    }

    /// The status of a page with this form.
    pub fn status(&self) -> StatusCode {
        if self.is_wrong() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        }
    }
}

/// Removes the field of a body that a JSON pointer leads to, or the list that it leads into. Returns whether it was there.
fn take_out(body: &mut Value, pointer: &str) -> bool {
    let mut at = body;
    let mut names = pointer.split('/').skip(1).peekable();
    while let Some(name) = names.next() {
        let Some(fields) = at.as_object_mut() else {
            return false;
        };
        let is_last = names.peek().is_none() || !fields.get(name).is_some_and(Value::is_object);
        if is_last {
            return fields.remove(name).is_some();
        }
        match fields.get_mut(name) {
            Some(next) => at = next,
            None => return false,
        }
    }
    false
}

/// Puts a value into the body. A name such as `limits.hours` is that of a field within an object.
fn put(body: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            body.insert(name.to_owned(), value);
        }
        Some((object, rest)) => {
            let within = body.entry(object.to_owned()).or_insert_with(|| json!({}));
            if let Value::Object(within) = within {
                put(within, rest, value);
            }
        }
    }
}

impl version::Texts for Form {
    fn text_of(&self, name: &str) -> &str {
        self.text(name)
    }
}
