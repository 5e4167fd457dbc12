//! The packed form of the rows of a listing. A row is stored in as few bytes as it needs, because a listing has millions
//! of them.
//!
//! A row is: the key, the number of its line, flags, the time at which it was written, the reference to a resource or a
//! person, and the values of the compared columns, in this order. Each text begins with its length. A block is rows
//! without anything between them.

use std::ops::Range;

/// The row is marked as gone.
const GONE: u8 = 1;
/// The row has a time at which it was written.
const WRITTEN: u8 = 2;
/// The row has a reference that differs from its key.
const REFERENCE: u8 = 4;
/// The reference of the row is its key.
const SAME: u8 = 8;

/// A row of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The value of the key column.
    pub key: &'a str,
    /// The number of the line, from 1.
    pub line: u64,
    /// Whether the row is marked as gone.
    pub gone: bool,
    /// When it was written, in microseconds.
    pub written_at: Option<i64>,
    /// What names the resource or the person. None if the listing does not say it.
    pub reference: Option<&'a str>,
    /// The values of the compared columns, packed. See [`Row::values`].
    values: &'a [u8],
}

/// Appends a packed row.
pub fn pack<'a>(
    to: &mut Vec<u8>,
    key: &str,
    (line, gone, written_at): (u64, bool, Option<i64>),
    reference: Option<&str>,
    values: impl Iterator<Item = Option<&'a str>>,
) {
    text(to, key);
    number(to, line);
    let same = reference == Some(key);
    let mut flags = 0;
    for (flag, set) in [
        (GONE, gone),
        (WRITTEN, written_at.is_some()),
        (SAME, same),
        (REFERENCE, reference.is_some() && !same),
    ] {
        if set {
            flags |= flag;
        }
    }
    to.push(flags);
    if let Some(at) = written_at {
        to.extend_from_slice(&at.to_le_bytes());
    }
    if let Some(reference) = reference.filter(|_| !same) {
        text(to, reference);
    }
    let place = to.len();
    to.extend_from_slice(&[0; 4]);
    for value in values {
        match value {
            None => number(to, 0),
            Some(value) => {
                number(to, value.len() as u64 + 1);
                to.extend_from_slice(value.as_bytes());
            }
        }
    }
    let length = u32::try_from(to.len() - place - 4).unwrap_or(u32::MAX);
    to[place..place + 4].copy_from_slice(&length.to_le_bytes());
}

fn number(to: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

fn text(to: &mut Vec<u8>, text: &str) {
    number(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

/// Reads packed data from its beginning. Each function returns `None` if the data is not what was packed.
struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

/// Returns the first row of `packed`, and its length in bytes. Returns `None` at the end, or if the data is damaged.
pub fn unpack(packed: &[u8]) -> Option<(Row<'_>, usize)> {
    let mut from = Packed(packed);
    let key = from.text()?;
    let line = from.number()?;
    let flags = from.byte()?;
    let written_at = match flags & WRITTEN {
        0 => None,
        _ => Some(i64::from_le_bytes(from.take(8)?.try_into().ok()?)),
    };
    let reference = match (flags & SAME, flags & REFERENCE) {
        (0, 0) => None,
        (0, _) => Some(from.text()?),
        _ => Some(key),
    };
    let length = u32::from_le_bytes(from.take(4)?.try_into().ok()?);
    let values = from.take(usize::try_from(length).ok()?)?;
    let row = Row {
        key,
        line,
        gone: flags & GONE != 0,
        written_at,
        reference,
        values,
    };
    Some((row, packed.len() - from.0.len()))
}

/// Returns where the key of the first row of `packed` is, and the length of the row. It is cheaper than [`unpack`].
pub fn key_of(packed: &[u8]) -> Option<(Range<usize>, usize)> {
    let mut from = Packed(packed);
    let length = usize::try_from(from.number()?).ok()?;
    let start = packed.len() - from.0.len();
    from.take(length)?;
    let key = start..start + length;
    from.number()?;
    let flags = from.byte()?;
    if flags & WRITTEN != 0 {
        from.take(8)?;
    }
    if flags & REFERENCE != 0 {
        let length = usize::try_from(from.number()?).ok()?;
        from.take(length)?;
    }
    let length = u32::from_le_bytes(from.take(4)?.try_into().ok()?);
    from.take(usize::try_from(length).ok()?)?;
    Some((key, packed.len() - from.0.len()))
}

impl<'a> Row<'a> {
    /// Returns the values of the compared columns, in the order of the definition. A column without a value is `None`.
    pub fn values(&self) -> impl Iterator<Item = Option<&'a str>> {
        let mut from = Packed(self.values);
        std::iter::from_fn(move || {
            let length = usize::try_from(from.number()?).ok()?;
            match length.checked_sub(1) {
                None => Some(None),
                Some(length) => std::str::from_utf8(from.take(length)?).ok().map(Some),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_packed_row_is_read_back_equal(
            key in ".{0,300}", line: u64, gone: bool, written_at: Option<i64>,
            reference in proptest::option::of(".{0,5}"),
            values in proptest::collection::vec(proptest::option::of(".{0,200}"), 0..4),
            behind in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut packed = Vec::new();
            let given = || values.iter().map(Option::as_deref);
            pack(&mut packed, &key, (line, gone, written_at), reference.as_deref(), given());
            let length = packed.len();
            packed.extend(behind);
            let (row, read) = unpack(&packed).expect("a row");
            prop_assert_eq!((row.key, row.line, row.gone, row.written_at), (key.as_str(), line, gone, written_at));
            prop_assert_eq!(row.reference, reference.as_deref());
            prop_assert_eq!(row.values().collect::<Vec<_>>(), given().collect::<Vec<_>>());
            prop_assert_eq!(read, length);
            let (place, read) = key_of(&packed).expect("a key");
            prop_assert_eq!((&packed[place], read), (key.as_bytes(), length));
        }

        #[test]
        fn damaged_data_is_no_fault(packed in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some((row, _)) = unpack(&packed) {
                row.values().for_each(drop);
            }
            let _ = key_of(&packed);
        }
    }
}
