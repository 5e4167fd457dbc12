//! The request to an authority.

use yasna::models::ObjectIdentifier;

use super::algorithm::SHA_256;
use crate::audit::merkle::Hash;
use crate::base::error::{Error, Result};

/// The media type of a request.
pub const MEDIA: &str = "application/timestamp-query";

/// A random number that an answer repeats, so that no old answer can be passed off as a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(u64);

impl Nonce {
    /// Creates a new one.
    ///
    /// # Errors
    /// `Internal` if the machine has no random numbers.
    pub fn fresh() -> Result<Nonce> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Nonce(u64::from_be_bytes(bytes)))
    }

    /// Returns whether this number stands in an answer, as the content of an INTEGER.
    pub(super) fn is(self, integer: &[u8]) -> bool {
        let significant = integer
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(integer.len());
        let own = self.0.to_be_bytes();
        let first = own.iter().position(|byte| *byte != 0).unwrap_or(own.len());
        integer[significant..] == own[first..]
    }
}

/// Returns a request for a time stamp of this SHA-256 hash, in DER. It asks the authority to send its certificate too.
pub fn request(imprint: &Hash, nonce: Nonce) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_i64(1);
            writer.next().write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(SHA_256));
                    writer.next().write_null();
                });
                writer.next().write_bytes(imprint);
            });
            writer.next().write_u64(nonce.0);
            writer.next().write_bool(true);
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_compared_by_its_value() {
        for (number, integer) in [
            (0, vec![0]),
            (1, vec![1]),
            (0x80, vec![0, 0x80]),
            (u64::MAX, [vec![0], vec![0xff; 8]].concat()),
        ] {
            assert!(Nonce(number).is(&integer), "{number}");
            assert!(!Nonce(number ^ 1).is(&integer), "{number}");
        }
    }
}
