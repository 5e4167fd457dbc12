//! The names of tiles of C2SP `tlog-tiles`: `tile/LEVEL/NUMBER` and `tile/entries/NUMBER`, each with `.p/WIDTH` behind it for a tile that
//! is not complete. This module does no I/O.
//!
//! - Each tile has exactly one name. A number with a zero too many or too few is no name.

/// The number of hashes in a complete tile.
pub const WIDTH: i64 = 256;

/// What a tile contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Hashes of a level of the tree. Level 0 has the leaves.
    Hashes(u32),
    /// The entries, whose hashes are the leaves.
    Entries,
}

/// The name of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePath {
    /// What the tile contains.
    pub content: Content,
    /// The position of the tile in its level, from 0.
    pub number: i64,
    /// The number of hashes or entries, from 1 to 256.
    pub width: i64,
}

/// The highest level of the format.
const MAX_LEVEL: u32 = 63;

/// Reads a number without zeros at its beginning.
fn plain(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    (digits && shortest).then(|| text.parse().ok())?
}

impl TilePath {
    /// Reads the two parts of a name: the level, or `entries`, and everything behind it. The number is written in groups of three
    /// digits, and all of them but the last begin with an `x`: `x001/x234/067`.
    pub fn parse(level: &str, rest: &str) -> Option<TilePath> {
        let content = match level {
            "entries" => Content::Entries,
            level => Content::Hashes(plain(level).filter(|level| *level <= MAX_LEVEL)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, WIDTH),
            Some((number, width)) => {
                let width = i64::from(plain(width)?);
                (number, Some(width).filter(|width| (1..WIDTH).contains(width))?)
            }
        };
        let mut value: i64 = 0;
        let mut groups = number.split('/').peekable();
        let several = number.contains('/');
        let mut first = true;
        while let Some(group) = groups.next() {
            let digits = match groups.peek() {
                Some(_) => group.strip_prefix('x')?,
                None => group,
            };
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            // A group of zeros before the others would be a second name of the same tile.
            if first && several && digits == "000" {
                return None;
            }
            first = false;
            value = value.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        Some(TilePath {
            content,
            number: value,
            width,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, TilePath};

    #[test]
    fn a_tile_has_one_name() {
        let read = |level, rest| TilePath::parse(level, rest);
        let tile = |content, number, width| {
            Some(TilePath {
                content,
                number,
                width,
            })
        };
        assert_eq!(read("0", "000"), tile(Content::Hashes(0), 0, 256));
        assert_eq!(read("2", "005.p/255"), tile(Content::Hashes(2), 5, 255));
        assert_eq!(
            read("63", "x001/x234/067"),
            tile(Content::Hashes(63), 1_234_067, 256)
        );
        assert_eq!(read("entries", "x001/000.p/1"), tile(Content::Entries, 1_000, 1));
        for (level, rest) in [
            ("64", "000"),
            ("00", "000"),
            ("-1", "000"),
            ("data", "000"),
            ("0", ""),
            ("0", "0"),
            ("0", "0000"),
            ("0", "x000"),
            ("0", "x000/001"),
            ("0", "001/001"),
            ("0", "x001/x001"),
            ("0", "000.p/0"),
            ("0", "000.p/256"),
            ("0", "000.p/01"),
            ("0", "000.p/"),
            ("0", "x999/x999/x999/x999/x999/x999/x999/999"),
        ] {
            assert_eq!(read(level, rest), None, "{level} {rest}");
        }
    }
}
