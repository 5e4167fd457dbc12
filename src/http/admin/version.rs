//! The version of what a form shows, so that one person does not replace the newer change of another without knowing it.
//!
//! The version has a mark of the value of each field. So it also says which fields somebody has changed in the form.

use sha2::{Digest as _, Sha256};

use super::field::Field;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

/// The field with the version. It is hidden.
pub(super) const FIELD: Field = Field::kept("version");
/// The field that says whether the thing is archived. No form sends it, but it belongs to the version: who edits something does not
/// restore it without knowing it.
pub(super) const ARCHIVED: Field = Field::kept("archived");

/// Returns the value of [`ARCHIVED`].
pub(super) fn archived(gone_at: Option<Timestamp>) -> &'static str {
    match gone_at {
        Some(_) => "yes",
        None => "",
    }
}

/// What is said when something was changed in the meantime.
const CHANGED: &str =
    "Somebody changed this since you opened it. Compare, and save again if what you typed is right.";
/// The length of a mark, in bytes.
const MARK: usize = 4;

/// Returns the version of these values.
pub(super) fn of<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.map(mark).collect()
}

fn mark(value: &str) -> String {
    let digest = Sha256::digest(value.trim().replace("\r\n", "\n"));
    digest[..MARK].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the marks of a version, in the order of the fields.
pub(super) fn marks(version: &str) -> impl Iterator<Item = &str> {
    let mark = |at: usize| version.get(at * MARK * 2..(at + 1) * MARK * 2);
    (0..).map_while(mark)
}

/// Refuses a change of something that is not what the form showed. A form without a version shows nothing of it.
///
/// # Errors
/// `Conflict` if it was changed since.
pub(super) fn check(same: bool) -> Result<()> {
    match same {
        true => Ok(()),
        false => Err(Error::Conflict(CHANGED.to_owned())),
    }
}

/// Something with a text for each field: a form.
pub(super) trait Texts {
    /// Returns the text of a field.
    fn text_of(&self, name: &str) -> &str;
}

/// What a form showed when it was opened, and which fields somebody has changed in it.
#[derive(Clone, Default)]
pub(super) struct Seen(Vec<One>);

#[derive(Clone)]
struct One {
    name: &'static str,
    was: String,
    typed: String,
}

impl Seen {
    /// Adds a field with the mark of its value when the form was opened.
    pub(super) fn add(&mut self, name: &'static str, was: &str, typed: &str) {
        self.0.push(One {
            name,
            was: was.to_owned(),
            typed: mark(typed),
        });
    }

    /// Returns whether somebody has changed a field in the form. None if the form has no version.
    pub(super) fn touched(&self, name: &str) -> Option<bool> {
        let one = self.0.iter().find(|one| one.name == name)?;
        Some(one.typed != one.was)
    }

    /// Returns the fields whose stored values are neither those that the form showed nor those that were typed.
    pub(super) fn changed(&self, stored: &impl Texts) -> Vec<&'static str> {
        let is = |one: &&One| {
            let now = mark(stored.text_of(one.name));
            now != one.was && now != one.typed
        };
        self.0.iter().filter(is).map(|one| one.name).collect()
    }

    /// Refuses to replace newer values. Fields that nobody touched in the form do not count if they are not stored again.
    ///
    /// # Errors
    /// `Conflict` if a value was changed since the form was opened.
    pub(super) fn check(&self, stored: &impl Texts, all: bool) -> Result<()> {
        let changed = self.changed(stored);
        check(!changed.iter().any(|name| all || self.touched(name) == Some(true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_a_mark_of_each_value() {
        let version = of(["a", " b\r\nc ", ""].into_iter());
        let parts: Vec<&str> = marks(&version).collect();
        assert_eq!(parts, [mark("a"), mark("b\nc"), mark("")]);
        assert_eq!(marks("").count(), 0);
        assert_eq!(marks("\u{e9}\u{e9}\u{e9}").count(), 0);
    }
}
