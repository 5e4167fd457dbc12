//! The columns that a comparison compares, and what kind of value each of them contains.

crate::base::enums::word_enum! {
    /// What a column contains. The kind decides how a value is normalised and when two values are the same.
    ColumnKind, "a kind of a column" {
        /// A number of bytes, in decimal digits.
        Size = "size",
        /// A checksum in hexadecimal digits or base64, or the ETag of an object.
        Checksum = "checksum",
        /// A point in time.
        Time = "time",
        /// Any text. It is compared byte by byte.
        Text = "text",
    }
}

/// A column of both listings whose values a comparison compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name of the column, as the comparison calls it. A layout can map it to another name.
    pub name: String,
    /// What the column contains.
    pub kind: ColumnKind,
}
