//! IDs in the path of a request.

use super::problem::{Answer, Problem};
use crate::base::error::Error;
use crate::base::id::ExternalId;

/// Parses an ID of the caller in a path.
pub(super) fn external(name: &str, text: &str) -> Answer<ExternalId> {
    ExternalId::parse(text).map_err(|detail| Problem::Domain(Error::invalid(format!("{{{name}}}"), detail)))
}

/// Parses an ID of Candor in a path. A text that cannot be an ID is answered with "not found".
pub(super) fn own<T>(what: &str, parsed: Result<T, String>) -> Answer<T> {
    parsed.map_err(|_| Problem::Domain(Error::NotFound(format!("{what} with this ID"))))
}
