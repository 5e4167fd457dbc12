//! Typed ids: UUIDv7 for what the API shows, and the caller's own ids, checked once at the edge.
//!
//! Must never happen here: one kind of id accepted where another is meant, or an id made outside [`new_uuid`].

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{ContextV7, Timestamp as UuidTime, Uuid};

use crate::base::time::Timestamp;

/// A new UUIDv7 whose time is `now`; ids of one process sort in the order they were made.
pub fn new_uuid(now: Timestamp) -> Uuid {
    static CONTEXT: OnceLock<Mutex<ContextV7>> = OnceLock::new();
    let (seconds, nanos) = now.unix();
    Uuid::new_v7(UuidTime::from_unix(
        CONTEXT.get_or_init(|| Mutex::new(ContextV7::new())),
        seconds,
        nanos,
    ))
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow, Serialize)]
        #[diesel(sql_type = Text)]
        #[serde(transparent)]
        pub struct $name(String);

        crate::base::columns::newtype_columns!($name, Text, String);

        impl $name {
            /// A new id, made at `now`.
            pub fn new(now: Timestamp) -> Self {
                $name(new_uuid(now).hyphenated().to_string())
            }

            /// Parses what a caller sent.
            ///
            /// # Errors
            /// A sentence for the caller where it is not a UUID.
            pub fn parse(text: &str) -> Result<Self, String> {
                match Uuid::try_parse(text) {
                    Ok(uuid) => Ok($name(uuid.hyphenated().to_string())),
                    Err(_) => Err(concat!("not the id of ", $what, " (a UUID)").to_owned()),
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, SchemaType, Type};
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .format(Some(SchemaFormat::Custom("uuid".to_owned())))
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
    };
}

uuid_id!(/// An incident.
    IncidentId, "an incident");
uuid_id!(/// A notice.
    NoticeId, "a notice");
uuid_id!(/// An integration: somewhere that alerts come from.
    IntegrationId, "an integration");
uuid_id!(/// An alert.
    AlertId, "an alert");
uuid_id!(/// A rule for alerts.
    AlertRuleId, "a rule for alerts");
uuid_id!(/// A silence or a maintenance window.
    QuietId, "a silence or a maintenance window");
uuid_id!(/// An API token (not the secret itself).
    TokenId, "a token");
uuid_id!(/// An endpoint: where an account's own systems hear of incidents.
    EndpointId, "an endpoint");
uuid_id!(/// A source of the directory.
    SourceId, "a source");
uuid_id!(/// A run of a source.
    RunId, "a run");
uuid_id!(/// An HTTP check.
    CheckId, "a check");
uuid_id!(/// A heartbeat.
    HeartbeatId, "a heartbeat");
uuid_id!(/// A next step of an incident.
    NextStepId, "a next step");
uuid_id!(/// A policy: what happens without a person.
    PolicyId, "a policy");
uuid_id!(/// An operator: somebody of our own who is on call.
    OperatorId, "an operator");
uuid_id!(/// A message to an operator.
    MessageId, "a message");

/// Longest id, type, role or label that a caller may use, in characters.
pub const MAX_ID: usize = 200;

/// A word of the caller's own: an id, a type, a role, a label's name. 1 to 200 characters, none of them a control character.
/// Cheap to clone: an audience names the same resources again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(Arc<str>);

impl ExternalId {
    /// One that was parsed before it was stored.
    pub(crate) fn stored(text: &str) -> Self {
        ExternalId(text.into())
    }

    /// Parses what a caller sent.
    ///
    /// # Errors
    /// A sentence for the caller where it is empty, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let length = text.chars().count();
        if length > MAX_ID {
            return Err(format!(
                "is {length} characters long; at most {MAX_ID} are allowed"
            ));
        }
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        // What actix puts in the place of bytes that are not UTF-8: two ids must not become one.
        if text.contains('\u{FFFD}') {
            return Err("is not UTF-8".to_owned());
        }
        Ok(ExternalId(Arc::from(text)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as owned text.
    pub fn into_string(self) -> String {
        self.0.as_ref().to_owned()
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl Serialize for ExternalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for ExternalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        ExternalId::parse(&text).map_err(serde::de::Error::custom)
    }
}
impl utoipa::PartialSchema for ExternalId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .min_length(Some(1))
            .max_length(Some(MAX_ID))
            .into()
    }
}
impl utoipa::ToSchema for ExternalId {}
