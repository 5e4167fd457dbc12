//! Forms that change something. A form is read and proven to come from a page of Candor. [`super::form`] says what is in it.
//!
//! - A form without its key, or from a caller without the role, is never accepted.
//! - A field is never ignored.
//! - A field that is given twice is an error.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use actix_web::http::header::LOCATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;

use super::kept::Kept;
use super::same_origin;
use super::signed_in::SignedIn;
use crate::audit::{Action, Actor};
use crate::base::code::Code;
use crate::base::error::{Error, FieldError};
use crate::http::extract::{is_media, read_body};
use crate::http::problem::Problem;
use crate::http::routes::Routes;
use crate::http::{App, auth};

/// The largest size of a form, in bytes.
const MAX_FORM: usize = 512 * 1024;
/// The name of the field with the key of the form.
const KEY: &str = "form_key";

/// A form that was sent from a page of the caller's session.
pub struct Filled {
    /// The caller who sent the form.
    pub by: SignedIn,
    /// The fields of the form.
    pub fields: Fields,
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
                // The form may be one of an earlier session. Its text is shown again, with a key of this one.
                if same_origin::is(&app, req.headers())
                    && let Some(routes) = req.app_data::<web::Data<Routes>>()
                    && let Some(kept) = Kept::new(routes, &path, fields.0)
                {
                    req.extensions_mut().insert(kept);
                }
                auth::record(&app, &by.0.actor(), Action::AccessForbidden, method, path).await?;
                let why =
                    "the form does not belong to this session; open the page again and repeat the change";
                return Err(Error::Forbidden(why.to_owned()).code(Code::FormExpired).into());
            }
            Ok(Filled { by, fields })
        })
    }
}

impl Filled {
    /// Returns the caller who sent the form, as the actor for the audit trail.
    pub fn actor(&self) -> Actor {
        self.by.0.actor()
    }
}

/// Redirects to a page. The browser loads it with GET, so a reload does not send the form again.
pub fn back_to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .insert_header(("cache-control", "no-store"))
        .finish()
}

/// The fields of a form by name, with `\n` as line breaks.
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    fn read(body: &[u8]) -> Result<Self, Error> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            let value = value.replace("\r\n", "\n");
            if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                return Err(Error::invalid(format!("/{name}"), "contains a control character"));
            }
            if fields.insert(name.to_string(), value).is_some() {
                return Err(Error::invalid(format!("/{name}"), "is given twice"));
            }
        }
        Ok(Fields(fields))
    }

    /// Removes and returns a field without white space around it. An absent field is empty.
    pub fn take(&mut self, name: &str) -> String {
        self.0
            .remove(name)
            .map_or_else(String::new, |value| value.trim().to_owned())
    }

    /// Removes the fields whose names begin like this, and returns the rest of their names.
    pub fn take_below(&mut self, prefix: &str) -> Vec<String> {
        let of = |name: &String| name.strip_prefix(prefix).map(str::to_owned);
        let found: Vec<String> = self.0.keys().filter_map(of).collect();
        self.0.retain(|name, _| !name.starts_with(prefix));
        found
    }

    /// Checks that no field is left.
    ///
    /// # Errors
    /// `Invalid` with the name of a field that the form does not have.
    pub fn finish(self) -> Result<(), Error> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!("/{name}"), "is no field of this form")),
        }
    }
}

/// The errors of a form.
#[derive(Default)]
pub struct Wrong(Vec<FieldError>);

impl Wrong {
    /// Returns the errors that the domain reports about an input, so that the form can show them.
    ///
    /// # Errors
    /// The error itself, if it is not about the input.
    pub fn of(error: Error) -> Result<Self, Error> {
        match error {
            Error::Invalid { errors, .. } => Ok(Wrong(errors)),
            Error::Conflict(detail) => Ok(Wrong(vec![FieldError::at("", detail)])),
            Error::Coded(_, inner) => Wrong::of(*inner),
            other => Err(other),
        }
    }

    /// Adds an error for the field at a JSON pointer.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError::at(pointer, detail));
    }

    /// Adds the errors for fields that have no errors yet.
    pub fn join(&mut self, other: Wrong) {
        let field = |error: &FieldError| {
            let pointer = error.pointer.as_deref().unwrap_or_default();
            pointer.split('/').nth(1).map(str::to_owned)
        };
        let said: Vec<Option<String>> = self.0.iter().map(field).collect();
        let more = other.0.into_iter().filter(|error| !said.contains(&field(error)));
        self.0.extend(more);
    }

    /// Returns whether there are no errors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the errors at or below a pointer: the rest of the pointer, and the reason.
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

    /// Removes and returns the reasons for a field.
    pub fn at(&mut self, pointer: &str) -> Vec<String> {
        self.below(pointer)
            .into_iter()
            .map(|(_, detail)| detail)
            .collect()
    }

    /// Removes and returns the reasons for a field with one item on each line. Each reason names its item.
    pub fn at_lines(&mut self, pointer: &str, text: &str) -> Vec<String> {
        let items: Vec<&str> = lines(text).collect();
        self.below(pointer)
            .into_iter()
            .map(|(rest, detail)| {
                let index = rest.trim_start_matches('/').split('/').next().unwrap_or("");
                match index.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    // The reason may begin with the item.
                    Some(item) if detail.starts_with(item) => detail,
                    Some(item) => format!("\u{201c}{}\u{201d} {detail}", super::view::cut(item, 80)),
                    None => detail,
                }
            })
            .collect()
    }

    /// Returns the errors that belong to no field.
    pub fn rest(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|error| match (error.pointer.as_deref(), error.line) {
                (None | Some(""), Some(line)) => format!("Line {line}: {}", error.detail),
                (None | Some(""), None) => error.detail,
                (Some(pointer), _) => format!("{pointer}: {}", error.detail),
            })
            .collect()
    }
}

/// Returns the lines of a field that are not empty.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}
