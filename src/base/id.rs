//! Typed IDs: UUIDv7 for entities of Candor, and the IDs of the caller, which are checked when they arrive.
//!
//! An ID of one kind is never accepted as another kind. A UUID is never created outside [`new_uuid`].

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{ContextV7, Timestamp as UuidTime, Uuid};

use crate::base::time::Timestamp;

/// Creates a UUIDv7 with the time `now`. The IDs of one process sort in the order in which they were created.
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
            /// Creates a new ID with the time `now`.
            pub fn new(now: Timestamp) -> Self {
                $name(new_uuid(now).hyphenated().to_string())
            }

            /// Parses an ID that a caller sent.
            ///
            /// # Errors
            /// A sentence for the caller, if the text is not a UUID.
            pub fn parse(text: &str) -> Result<Self, String> {
                match Uuid::try_parse(text) {
                    Ok(uuid) => Ok($name(uuid.hyphenated().to_string())),
                    Err(_) => Err(concat!("not the ID of ", $what, " (a UUID)").to_owned()),
                }
            }

            /// Returns the ID as text.
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

uuid_id!(/// The ID of an incident.
    IncidentId, "an incident");

impl IncidentId {
    /// Creates the ID of a planned maintenance. Its affected resources and its notices hang on a row like those of an incident. It is a
    /// UUID of version 8, so that no path of an incident accepts it.
    pub fn of_maintenance(now: Timestamp) -> Self {
        let mut bytes = new_uuid(now).into_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        IncidentId(Uuid::from_bytes(bytes).hyphenated().to_string())
    }

    /// Returns whether this is the ID of a planned maintenance.
    pub fn is_of_maintenance(&self) -> bool {
        self.0.as_bytes().get(14) == Some(&b'8')
    }
}

uuid_id!(/// The ID of a notice.
    NoticeId, "a notice");
uuid_id!(/// The ID of an integration, which receives alerts from one monitoring system.
    IntegrationId, "an integration");
uuid_id!(/// The ID of an alert.
    AlertId, "an alert");
uuid_id!(/// The ID of an alert rule.
    AlertRuleId, "an alert rule");
uuid_id!(/// The ID of a silence or a maintenance window.
    MuteId, "a silence or a maintenance window");
uuid_id!(/// The ID of an API token. It is not the secret.
    TokenId, "a token");
uuid_id!(/// The ID of a time stamp of the audit trail.
    TimeStampId, "a time stamp");
uuid_id!(/// The ID of a feed key, with which a product's backend signs the tokens of its users. It is not the secret.
    FeedKeyId, "a feed key");
uuid_id!(/// The ID of an endpoint, which is a system of an account that is called about incidents.
    EndpointId, "an endpoint");
uuid_id!(/// The ID of a source of the directory.
    SourceId, "a source");
uuid_id!(/// The ID of a run of a source.
    RunId, "a run");
uuid_id!(/// The ID of an HTTP check.
    CheckId, "a check");
uuid_id!(/// The ID of a heartbeat.
    HeartbeatId, "a heartbeat");
uuid_id!(/// The ID of a comparison of what should be stored with what is stored.
    ComparisonId, "a comparison");
uuid_id!(/// The ID of an attestation, with which two people say that resources are recovered.
    AttestationId, "an attestation");
uuid_id!(/// The ID of a next step of an incident.
    NextStepId, "a next step");
uuid_id!(/// The ID of a post, which is what the public reads about an incident.
    PostId, "a post");
uuid_id!(/// The ID of a policy, which decides what is sent without a person.
    PolicyId, "a policy");
uuid_id!(/// The ID of an operator, who is a person of our own organisation.
    OperatorId, "an operator");
uuid_id!(/// The ID of an erasure, with which a person was erased or a retention was applied.
    ErasureId, "an erasure");
uuid_id!(/// The ID of a message to an operator.
    MessageId, "a message");
uuid_id!(/// The ID of a backup.
    BackupId, "a backup");
uuid_id!(/// The ID of a message that was sent from the copy of the contacts.
    EmergencyId, "an emergency notice");

/// The largest length of an ID, a type, a role or the name of a label of the caller, in characters.
pub const MAX_ID: usize = 200;

/// An identifier that the caller chose, such as an ID, a type, a role or the name of a label. It has 1 to 200
/// characters and no control character. It is cheap to clone, because an audience contains the same resources
/// many times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(Arc<str>);

impl ExternalId {
    /// Creates the identifier from a stored text, which was parsed before it was stored.
    pub(crate) fn stored(text: &str) -> Self {
        ExternalId(text.into())
    }

    /// Parses an identifier that a caller sent.
    ///
    /// # Errors
    /// A sentence for the caller, if it is empty, is too long, or contains control characters or invalid
    /// UTF-8.
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
            return Err("contains a control character".to_owned());
        }
        // actix replaces bytes that are not UTF-8 with this character. Two different IDs must not become the
        // same.
        if text.contains('\u{FFFD}') {
            return Err("is not UTF-8".to_owned());
        }
        Ok(ExternalId(Arc::from(text)))
    }

    /// Returns the identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the identifier as owned text.
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
