//! A person as an audience shows them, and whether an email can reach the person.

use serde::Serialize;

/// A person, with the data that an audience shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PersonRef {
    /// The caller's ID of the person.
    pub id: String,
    /// The name of the person.
    pub name: String,
    /// The email address. Empty if none is known.
    pub email: String,
}

pub(super) fn unreachable(person: &PersonRef) -> Option<String> {
    if person.email.is_empty() {
        return Some("no address".to_owned());
    }
    crate::directory::check_address(&person.email)
        .err()
        .map(|reason| format!("the address {reason}"))
}
