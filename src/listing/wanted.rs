//! What a comparison wants to know of each row of a listing.

use super::column::Column;

/// The columns that a comparison uses, by the names that it gives them.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The column that identifies a row. The rows of two listings with the same value belong together.
    pub key: &'a str,
    /// The column that names the resource or the person.
    pub id: &'a str,
    /// Whether the listing must have the column `id`. Without it, rows have no ID.
    pub id_required: bool,
    /// The columns whose values are read beside the key.
    pub compare: &'a [Column],
}

impl<'a> Wanted<'a> {
    /// Returns the names of all columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        [self.key, self.id]
            .into_iter()
            .chain(self.compare.iter().map(|column| column.name.as_str()))
    }

    /// Returns the names of the columns that the listing must have.
    pub(super) fn needed(&self) -> impl Iterator<Item = &'a str> {
        let id = self.id_required.then_some(self.id);
        std::iter::once(self.key)
            .chain(id)
            .chain(self.compare.iter().map(|column| column.name.as_str()))
    }
}
