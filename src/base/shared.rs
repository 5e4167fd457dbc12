//! Text that is shared between many places. A name that appears in 100,000 reasons is stored once in memory.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A text that is cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shared(Arc<str>);

impl From<String> for Shared {
    fn from(text: String) -> Self {
        Shared(text.into())
    }
}
impl From<Box<str>> for Shared {
    fn from(text: Box<str>) -> Self {
        Shared(text.into())
    }
}
impl From<&str> for Shared {
    fn from(text: &str) -> Self {
        Shared(text.into())
    }
}
impl Deref for Shared {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}
impl PartialEq<str> for Shared {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}
impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl utoipa::PartialSchema for Shared {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}
impl utoipa::ToSchema for Shared {}
