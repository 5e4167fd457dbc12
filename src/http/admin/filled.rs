//! Forms that change something: read, proven to come from a page of ours, and shown again with what is wrong beside what was
//! typed.
//!
//! Must never happen here: a form taken without its key or without the role, a field that is passed over, or a field that
//! means something else when it is given twice.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use actix_web::http::header::LOCATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use super::session::SignedIn;
use crate::audit::{Action, Actor};
use crate::auth::Role;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError};
use crate::http::App;
use crate::http::auth;
use crate::http::extract::{is_media, read_body};
use crate::http::problem::{Answer, Problem};

/// Largest form, in bytes.
const MAX_FORM: usize = 512 * 1024;
/// The field that holds the form's key.
const KEY: &str = "form_key";

/// A form that came from a page of the caller's session.
pub struct Filled {
    /// Whoever sent it.
    pub by: SignedIn,
    /// What it held.
    pub fields: Fields,
    method: String,
    path: String,
}

impl FromRequest for Filled {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let req = req.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            let by = SignedIn::extract(&req).await?;
            let app = web::Data::<App>::extract(&req)
                .await
                .map_err(|_| Problem::Domain(Error::internal("the application is not configured")))?;
            if !is_media(&req, "application/x-www-form-urlencoded") {
                return Err(Problem::UnsupportedMedia("application/x-www-form-urlencoded"));
            }
            let body = read_body(&req, &mut payload, MAX_FORM).await?;
            let (method, path) = (req.method().to_string(), req.path().to_owned());
            let mut fields = Fields::read(&body)?;
            if !by.sent(&app, &fields.take(KEY)) {
                auth::record(&app, &by.0.actor(), Action::AccessForbidden, method, path).await?;
                let why = "the form did not come from a page of this session; open the page again";
                return Err(Error::Forbidden(why.to_owned()).code(Code::FormExpired).into());
            }
            Ok(Filled {
                by,
                fields,
                method,
                path,
            })
        })
    }
}

impl Filled {
    /// Whoever sent it, where they have this role.
    ///
    /// # Errors
    /// `Forbidden`, which is recorded.
    pub async fn needs(&self, app: &App, role: Role) -> Answer<Actor> {
        needs(app, &self.by, role, &self.method, &self.path).await
    }
}

/// Whoever is signed in, where they have this role.
///
/// # Errors
/// `Forbidden`, which is recorded.
pub async fn needs(app: &App, by: &SignedIn, role: Role, method: &str, path: &str) -> Answer<Actor> {
    let actor = by.0.actor();
    if by.0.role.covers(role) {
        return Ok(actor);
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    auth::record(app, &actor, Action::AccessForbidden, method, path).await?;
    let why = format!("this needs the role {role}; you have the role {}", by.0.role);
    Err(Error::Forbidden(why).code(Code::RoleMissing).into())
}

/// Back to a page, which the browser asks for anew: what was sent is not sent twice.
pub fn back_to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .insert_header(("cache-control", "no-store"))
        .finish()
}

/// The fields of a form by their names, with the line breaks of this machine.
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    fn read(body: &[u8]) -> Result<Self, Error> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            let value = value.replace("\r\n", "\n");
            if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                return Err(Error::invalid(format!("/{name}"), "holds a control character"));
            }
            if fields.insert(name.to_string(), value).is_some() {
                return Err(Error::invalid(format!("/{name}"), "is given twice"));
            }
        }
        Ok(Fields(fields))
    }

    /// A field without the space around it; one that is not there is empty.
    pub fn take(&mut self, name: &str) -> String {
        self.0
            .remove(name)
            .map_or_else(String::new, |value| value.trim().to_owned())
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// `Invalid`, naming a field that the form does not have.
    pub fn finish(self) -> Result<(), Error> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!("/{name}"), "is no field of this form")),
        }
    }
}

/// What is wrong with a form.
#[derive(Default)]
pub struct Wrong(Vec<FieldError>);

impl Wrong {
    /// What the domain says of an input, to be shown in the form.
    ///
    /// # Errors
    /// Whatever is not about the input.
    pub fn of(error: Error) -> Result<Self, Error> {
        match error {
            Error::Invalid { errors, .. } => Ok(Wrong(errors)),
            Error::Conflict(detail) => Ok(Wrong(vec![FieldError::at("", detail)])),
            Error::Coded(_, inner) => Wrong::of(*inner),
            other => Err(other),
        }
    }

    /// One more.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError::at(pointer, detail));
    }

    /// What else is wrong, with fields of which nothing is said yet.
    pub fn join(&mut self, other: Wrong) {
        let field = |error: &FieldError| {
            let pointer = error.pointer.as_deref().unwrap_or_default();
            pointer.split('/').nth(1).map(str::to_owned)
        };
        let said: Vec<Option<String>> = self.0.iter().map(field).collect();
        let more = other.0.into_iter().filter(|error| !said.contains(&field(error)));
        self.0.extend(more);
    }

    /// Whether anything is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out what is wrong at or below a pointer: what is behind it, and the reason.
    fn below(&mut self, pointer: &str) -> Vec<(String, String)> {
        let (of, others) = std::mem::take(&mut self.0).into_iter().partition(|error| {
            error
                .pointer
                .as_deref()
                .and_then(|at| at.strip_prefix(pointer))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        self.0 = others;
        let of: Vec<FieldError> = of;
        of.into_iter()
            .map(|error| {
                let rest = error.pointer.unwrap_or_default()[pointer.len()..].to_owned();
                (rest, error.detail)
            })
            .collect()
    }

    /// The reasons at a field.
    pub fn at(&mut self, pointer: &str) -> Vec<String> {
        self.below(pointer)
            .into_iter()
            .map(|(_, detail)| detail)
            .collect()
    }

    /// The reasons at a field of a line for each item, naming the item.
    pub fn at_lines(&mut self, pointer: &str, text: &str) -> Vec<String> {
        let items: Vec<&str> = lines(text).collect();
        self.below(pointer)
            .into_iter()
            .map(|(rest, detail)| {
                let index = rest.trim_start_matches('/').split('/').next().unwrap_or("");
                match index.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    Some(item) => format!("\u{201c}{}\u{201d} {detail}", super::view::cut(item, 80)),
                    None => detail,
                }
            })
            .collect()
    }

    /// What belongs to no field.
    pub fn rest(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|error| match error.pointer.as_deref() {
                None | Some("") => error.detail,
                Some(pointer) => format!("{pointer}: {}", error.detail),
            })
            .collect()
    }
}

/// The lines of a field that hold something.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// A field of a form as its page shows it.
pub fn field(name: &str, label: &str, hint: &str, value: &str, errors: Vec<String>) -> Value {
    json!({
        "name": name, "label": label, "hint": hint, "value": value, "errors": errors, "type": "text",
        "rows": null, "options": null,
    })
}

/// A field of one or more lines.
pub fn lined(mut field: Value, least: usize) -> Value {
    let held = field["value"].as_str().unwrap_or("").lines().count();
    field["rows"] = json!(held.clamp(least, 12));
    field
}

/// A field of another kind: `number`, `datetime-local`.
pub fn typed(mut field: Value, kind: &str) -> Value {
    field["type"] = json!(kind);
    field
}

/// A field with a list to choose from.
pub fn choice<'a>(mut field: Value, options: impl IntoIterator<Item = (&'a str, String)>) -> Value {
    let value = field["value"].clone();
    field["options"] = options
        .into_iter()
        .map(|(option, label)| json!({"value": option, "label": label, "selected": value == option}))
        .collect();
    field
}
