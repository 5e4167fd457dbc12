//! A checkpoint: the size and the root of the Merkle tree over the audit events. Whoever has an old checkpoint can prove that the
//! trail of today begins with exactly the events that it had then.
//!
//! The leaf of an event is its hash in the chain (32 bytes). So an event is proven without showing any other, and the chain is not
//! changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::{self, Hash};
use super::tiles;
use crate::base::error::{Error, Result};
use crate::db::Conn;

/// The size and the root of the tree of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the installation, which is also the name of its key.
    pub origin: String,
    /// The number of events.
    pub size: i64,
    /// The root of the tree over these events.
    pub root: [u8; 32],
}

/// Checks the name of an installation.
///
/// # Errors
/// A sentence, if the name cannot stand in a checkpoint.
pub fn check_origin(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() || name.len() > 200 {
        return Err("must have from 1 to 200 characters".to_owned());
    }
    // A checkpoint stands in an email header, which has ASCII only, and a key is written as NAME+HASH+KEY.
    match name.chars().find(|c| !c.is_ascii_graphic() || *c == '+') {
        None => Ok(()),
        Some('+') => Err("must not contain a plus sign".to_owned()),
        Some(_) => Err("must have ASCII characters only, without spaces".to_owned()),
    }
}

impl Checkpoint {
    /// Returns the value of the header `Candor-Audit` of an email: `ORIGIN SIZE ROOT`, with the root in base64.
    pub fn header_value(&self) -> String {
        format!("{} {} {}", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the value of the header `Candor-Audit`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse_header(value: &str) -> std::result::Result<Checkpoint, String> {
        // A server on the way may have folded the line.
        let parts: Vec<&str> = value.split_ascii_whitespace().collect();
        let [origin, size, root] = parts[..] else {
            return Err("must be ORIGIN SIZE ROOT".to_owned());
        };
        Checkpoint::from_parts(origin, size, root)
    }

    /// Returns the text that is signed (C2SP `tlog-checkpoint`): origin, size and root, each on its line.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text of a checkpoint. Lines below the first three are extensions, which Candor does not use.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> std::result::Result<Checkpoint, String> {
        let mut lines = text.split('\n');
        match (lines.next(), lines.next(), lines.next()) {
            (Some(origin), Some(size), Some(root)) => Checkpoint::from_parts(origin, size, root),
            _ => Err("a checkpoint has three lines: origin, size and root".to_owned()),
        }
    }

    fn from_parts(origin: &str, size: &str, root: &str) -> std::result::Result<Checkpoint, String> {
        check_origin(origin).map_err(|reason| format!("the origin {reason}"))?;
        let wrong = "the size must be a whole number without zeros before it";
        let number: i64 = size.parse().map_err(|_| wrong)?;
        if number < 0 || number.to_string() != size {
            return Err(wrong.to_owned());
        }
        let root: Hash = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("the root must be 32 bytes in base64")?;
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: number,
            root,
        })
    }
}

/// Returns the checkpoint of the trail as it is now. It reads the roots of complete tiles and the events after them, so that the
/// time does not depend on the length of the trail. It needs no lock: events of transactions that are not committed are not in it.
///
/// # Errors
/// An error of the database, `Internal` if an event is missing.
pub fn current(conn: &mut Conn, origin: &str) -> Result<Checkpoint> {
    let size = tiles::size(conn)?;
    at(conn, origin, size)
}

/// Returns the checkpoint of the first events. The size must not be larger than the trail.
///
/// # Errors
/// `Invalid` if the trail is shorter, an error of the database, `Internal` if an event is missing.
pub fn at(conn: &mut Conn, origin: &str, size: i64) -> Result<Checkpoint> {
    if size < 0 || size > tiles::size(conn)? {
        return Err(Error::invalid(
            "?size",
            "is not the size of this trail or of an earlier one",
        ));
    }
    let leaves = size.unsigned_abs();
    let roots = tiles::roots(conn, &merkle::subtrees((0, leaves)))?;
    Ok(Checkpoint {
        origin: origin.to_owned(),
        size,
        root: merkle::joined(&roots),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_line() {
        for wrong in ["", "a b", "a+b", "ä", "a\nb", &"a".repeat(201)] {
            assert!(check_origin(wrong).is_err(), "{wrong:?}");
        }
        assert!(check_origin("candor.example.com/audit").is_ok());
    }

    #[test]
    fn a_header_is_read_back_and_nothing_else_is() {
        let checkpoint = Checkpoint {
            origin: "candor.example.com".to_owned(),
            size: 1_204,
            root: [7; 32],
        };
        let value = checkpoint.header_value();
        assert_eq!(Checkpoint::parse_header(&value).unwrap(), checkpoint);
        assert_eq!(
            Checkpoint::parse_header(&value.replace(' ', "\r\n\t")).unwrap(),
            checkpoint
        );
        assert_eq!(Checkpoint::parse(&checkpoint.text()).unwrap(), checkpoint);
        for wrong in [
            "",
            "candor.example.com",
            &value.replace("1204", "-1"),
            &value.replace("1204", "01204"),
            &value.replace("1204", "+1204"),
            &value.replace("1204", "99999999999999999999"),
            &format!("{value}A"),
            &format!("{value} more"),
            &value.replace("candor.", "candor+"),
        ] {
            assert!(Checkpoint::parse_header(wrong).is_err(), "{wrong}");
        }
    }
}
