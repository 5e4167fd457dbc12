//! The digest of a preview, with which the caller says what is to be approved or sent.

use serde::Deserialize;

use crate::base::code::Code;
use crate::base::error::Error;

/// The digest of a preview, which the caller sends back.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// The digest that the preview returned.
    pub digest: String,
}

pub(super) fn changed() -> Error {
    Error::Conflict(
        "the recipients or the text have changed after the preview with this digest; preview the notice again and \
        check it".to_owned(),
    ).code(Code::ChangedSincePreview)
}
