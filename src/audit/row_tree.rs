//! Merkle trees over rows that are not events: the frozen recipients of a notice, and the attempts of a batch. The event of the notice
//! or of the batch contains the root. So one row can be proven to somebody who must not see the other rows.
//!
//! A row can be guessed, for example the reply "250 OK" to the next delivery. So each row is hashed with a salt of its own, which
//! nobody can compute without a key of this database. A proof shows the salt of its own row only.
//!
//! - The root depends on the rows, their order and the key. The key is made once and never changes.
//! - The root proves nothing about a row whose salt is not shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::merkle::{Frontier, Hash, inclusion_parts, leaf_hash, root_from};
use super::write::Tx;
use crate::base::error::{Error, Result};
use crate::base::random::random_secret;
use crate::base::text::hex;
use crate::db::Conn;
use crate::db::own_key::OwnKey;

/// The length of a salt, in bytes.
const SALT: usize = 16;

/// Makes the salts of the rows.
#[derive(Clone)]
pub struct Salts(Hmac<Sha256>);

impl Salts {
    /// Returns the salts of this database. The key is made at the first use.
    ///
    /// # Errors
    /// An error of the database, or of the random numbers of the system.
    pub fn of(tx: &mut Tx<'_>) -> Result<Salts> {
        Salts::new(&OwnKey::Salts.stored_or(tx.conn, random_secret)?)
    }

    /// Returns the salts of this database. `None` if no row was hashed yet.
    ///
    /// # Errors
    /// An error of the database.
    pub fn stored(conn: &mut Conn) -> Result<Option<Salts>> {
        OwnKey::Salts
            .stored(conn)?
            .map(|key| Salts::new(&key))
            .transpose()
    }

    fn new(key: &str) -> Result<Salts> {
        Hmac::new_from_slice(key.as_bytes())
            .map(Salts)
            .map_err(Error::internal)
    }

    /// Returns the salt of the row at a position of a list. `list` is the ID of the notice or of the batch.
    fn salt(&self, list: &str, position: u64) -> [u8; SALT] {
        let mut mac = self.0.clone();
        mac.update(list.as_bytes());
        mac.update(&position.to_be_bytes());
        let mut salt = [0; SALT];
        salt.copy_from_slice(&mac.finalize().into_bytes()[..SALT]);
        salt
    }
}

/// The hash of a row with its salt.
fn row_hash(salt: &[u8], row: &[u8]) -> Hash {
    leaf_hash(&[salt, row].concat())
}

/// A tree that gets the rows of one list in their order.
pub struct RowTree {
    salts: Salts,
    list: String,
    tree: Frontier,
    /// The hashes of all rows, if proofs are wanted.
    rows: Option<Vec<Hash>>,
}

impl RowTree {
    /// Starts a tree that gives only its root. `list` is the ID of the notice or of the batch.
    pub fn new(salts: Salts, list: &str) -> Self {
        RowTree {
            salts,
            list: list.to_owned(),
            tree: Frontier::default(),
            rows: None,
        }
    }

    /// Starts a tree that also gives proofs. It needs 32 bytes of memory for each row.
    pub fn for_proofs(salts: Salts, list: &str) -> Self {
        RowTree {
            rows: Some(Vec::new()),
            ..RowTree::new(salts, list)
        }
    }

    /// Adds the next row.
    pub fn add(&mut self, row: &[u8]) {
        let hash = row_hash(&self.salts.salt(&self.list, self.tree.size()), row);
        self.tree.push(hash);
        if let Some(rows) = &mut self.rows {
            rows.push(hash);
        }
    }

    /// Returns the root in hexadecimal.
    pub fn root(&self) -> String {
        hex(&self.tree.root())
    }

    /// Returns the proof for the row at a position. `None` if there is no such row, or if the tree does not give proofs.
    pub fn prove(&self, position: u64) -> Option<RowProof> {
        let rows = self.rows.as_ref()?;
        let parts = inclusion_parts(position, self.tree.size())?;
        let path = parts.into_iter().map(|(from, to)| {
            let part = rows.get(from as usize..to as usize).unwrap_or_default();
            STANDARD.encode(root_from(part))
        });
        Some(RowProof {
            position,
            rows: self.tree.size(),
            salt: hex(&self.salts.salt(&self.list, position)),
            path: path.collect(),
        })
    }
}

/// Shows that a row is part of a list, without the other rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProof {
    /// The position of the row, from 0.
    pub position: u64,
    /// The number of rows of the list.
    pub rows: u64,
    /// The salt of the row, in hexadecimal.
    pub salt: String,
    /// The hashes from the row up to the root, in base64.
    pub path: Vec<String>,
}

impl RowProof {
    /// Returns whether the row is part of the list with this root, which is in hexadecimal.
    pub fn proves(&self, row: &[u8], root: &str) -> bool {
        let Some(salt) = unhex(&self.salt) else {
            return false;
        };
        let Some(root) = unhex(root).and_then(|bytes| Hash::try_from(bytes).ok()) else {
            return false;
        };
        let path: Option<Vec<Hash>> = self
            .path
            .iter()
            .map(|text| Hash::try_from(STANDARD.decode(text).ok()?).ok())
            .collect();
        path.is_some_and(|path| {
            super::merkle::verify_inclusion(self.position, self.rows, &row_hash(&salt, row), &path, &root)
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(rows: u64) -> RowTree {
        let salts = Salts(Hmac::new_from_slice(b"key").expect("a key"));
        let mut tree = RowTree::for_proofs(salts, "list");
        for row in 0..rows {
            tree.add(row.to_string().as_bytes());
        }
        tree
    }

    #[test]
    fn each_row_is_proven_and_no_other() {
        for rows in 1..20 {
            let tree = tree(rows);
            for row in 0..rows {
                let proof = tree.prove(row).expect("a proof");
                assert!(proof.proves(row.to_string().as_bytes(), &tree.root()));
                assert!(!proof.proves(b"other", &tree.root()));
                let moved = RowProof {
                    position: (row + 1) % rows,
                    ..proof.clone()
                };
                assert_eq!(moved.proves(row.to_string().as_bytes(), &tree.root()), rows == 1);
                let salted = RowProof {
                    salt: "00".repeat(SALT),
                    ..proof
                };
                assert!(!salted.proves(row.to_string().as_bytes(), &tree.root()));
            }
            assert_eq!(tree.prove(rows), None);
        }
    }

    #[test]
    fn equal_rows_have_different_hashes() {
        let salts = Salts(Hmac::new_from_slice(b"key").expect("a key"));
        let mut tree = RowTree::for_proofs(salts, "list");
        tree.add(b"250 OK");
        tree.add(b"250 OK");
        let (first, second) = (tree.prove(0).expect("a proof"), tree.prove(1).expect("a proof"));
        assert_ne!(first.salt, second.salt);
        assert_ne!(first.path, second.path);
    }
}
