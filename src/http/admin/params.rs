//! The query parameters of pages.
//!
//! No parameter is ignored. Only an empty field of a form means "not given", because browsers send every
//! field.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::error::Error;
use crate::base::time::Timestamp;
use crate::http::extract::parse_query;
use crate::http::problem::Problem;

/// The parameters of a form that was sent with GET.
pub struct Form<T>(pub T);

/// The parameter of a page with a list and nothing else: where this part of the list begins.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paged {
    pub cursor: Option<String>,
}

impl<T: DeserializeOwned> FromRequest for Form<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(parse_filled(req.query_string()).map(Form).map_err(Problem::from))
    }
}

/// Parses the fields of a form. An empty field is one that is not given.
///
/// # Errors
/// `Invalid` if a field is unknown, given twice or wrong.
pub(super) fn parse_filled<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    let mut filled = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = value.trim();
        if !value.is_empty() {
            filled.append_pair(&name, value);
        }
    }
    parse_query(&filled.finish())
}

/// Reads the time as of which a selector is evaluated. An empty text means now.
///
/// # Errors
/// `Invalid` at `/as_of` if it is not a time with an offset.
pub(super) fn as_of(text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let read = text
        .filter(|text| !text.is_empty())
        .map(Timestamp::parse)
        .transpose();
    read.map_err(|detail| Error::invalid("/as_of", detail))
}
