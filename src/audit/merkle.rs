//! The Merkle tree of RFC 6962 (and RFC 9162): hashes, roots, and proofs of inclusion and consistency. It has no I/O.
//!
//! A leaf is hashed with the byte 0x00 before it and a node with 0x01, so that no leaf can be read as a node. Sizes and
//! positions are counted in leaves, and positions begin at 0.
//!
//! - A proof that has a hash too few or too many is refused.
//! - No input makes a function of this module panic or loop without an end.

use sha2::{Digest, Sha256};

/// A SHA-256 hash of a leaf, of a node or of a root, as 32 bytes.
pub type Hash = [u8; 32];

/// Returns the hash of a leaf with this content.
pub fn leaf_hash(content: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0x00])
        .chain_update(content)
        .finalize()
        .into()
}

/// Returns the hash of a node with these two children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Returns the root of the tree without leaves, which is the hash of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Returns the root of the tree with these leaves. The leaves are hashes already.
pub fn root_from(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree.root()
}

/// A tree that grows at its end. Only the roots of its complete subtrees are kept, which are at most one for each bit of the size.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees, the largest first.
    roots: Vec<Hash>,
}

impl Frontier {
    /// Returns the number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds the root of a complete subtree with `2^height` leaves. Returns whether it fits: the size must be a multiple of that
    /// number. If it does not fit, nothing is added.
    pub fn push_subtree(&mut self, height: u32, root: Hash) -> bool {
        let Some(leaves) = 1_u64.checked_shl(height) else {
            return false;
        };
        if !self.size.is_multiple_of(leaves) {
            return false;
        }
        let Some(size) = self.size.checked_add(leaves) else {
            return false;
        };
        self.size = size;
        let mut joined = root;
        for _ in 0..(size >> height).trailing_zeros() {
            let Some(left) = self.roots.pop() else { break };
            joined = node_hash(&left, &joined);
        }
        self.roots.push(joined);
        true
    }

    /// Adds all leaves of another tree at the end of this one. Returns whether they fit, see [`Frontier::push_subtree`].
    pub fn append(&mut self, other: &Frontier) -> bool {
        let heights = (0..u64::BITS)
            .rev()
            .filter(|height| other.size >> height & 1 == 1);
        heights
            .zip(&other.roots)
            .all(|(height, root)| self.push_subtree(height, *root))
    }

    /// Returns the root of the tree as it is now.
    pub fn root(&self) -> Hash {
        joined(&self.roots)
    }
}

/// A part of the leaves: from the first position up to, and without, the second one.
pub type Range = (u64, u64);

/// Returns the largest power of two that is smaller than this number of leaves, which is at least 2.
fn split(leaves: u64) -> u64 {
    1_u64 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// Returns the parts of the tree whose roots prove that a leaf is in it, in the order of the proof. There is none if the position
/// is not in the tree.
pub fn inclusion_parts(position: u64, size: u64) -> Option<Vec<Range>> {
    if position >= size {
        return None;
    }
    let (mut from, mut to) = (0, size);
    let mut parts = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if position < middle {
            parts.push((middle, to));
            to = middle;
        } else {
            parts.push((from, middle));
            from = middle;
        }
    }
    parts.reverse();
    Some(parts)
}

/// Returns the parts of the tree whose roots prove that the tree of the size `new` begins with that of the size `old`, in the order
/// of the proof. There is none if `old` is larger than `new`.
pub fn consistency_parts(old: u64, new: u64) -> Option<Vec<Range>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut from, mut to) = (0, new);
    let mut parts = Vec::new();
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            parts.push((middle, to));
            to = middle;
        } else {
            parts.push((from, middle));
            from = middle;
        }
    }
    // A reader who knows the old root needs no part that is the whole old tree.
    if from != 0 {
        parts.push((from, to));
    }
    parts.reverse();
    Some(parts)
}

/// Returns the complete subtrees of a part of the tree, as height and position among the subtrees of this height, from the left.
/// The part comes from [`inclusion_parts`] or [`consistency_parts`], or begins at 0.
pub fn subtrees(part: Range) -> Vec<(u32, u64)> {
    let (mut from, to) = part;
    let mut found = Vec::new();
    while from < to {
        let longest = u64::BITS - 1 - (to - from).leading_zeros();
        let height = if from == 0 {
            longest
        } else {
            longest.min(from.trailing_zeros())
        };
        found.push((height, from >> height));
        from += 1 << height;
    }
    found
}

/// Returns the root of a part of the tree from the roots of its complete subtrees, from the left.
pub fn joined(roots: &[Hash]) -> Hash {
    let mut roots = roots.iter().rev();
    match roots.next() {
        None => empty_root(),
        Some(last) => roots.fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// Shifts both numbers until the first one is odd or 0.
fn to_odd(first: &mut u64, second: &mut u64) {
    while *first & 1 == 0 && *first != 0 {
        *first >>= 1;
        *second >>= 1;
    }
}

/// Verifies that the leaf at this position belongs to the tree with this size and root.
pub fn verify_inclusion(position: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if position >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (position, size - 1, *leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(other, &hash);
            to_odd(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, other);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Verifies that the tree with the size `new` begins with the tree with the size `old`.
pub fn verify_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    // The root of an old tree that is complete is itself a part of the new tree, and the proof leaves it out.
    let (first, rest) = match (old.is_power_of_two(), proof.split_first()) {
        (true, _) => (*old_root, proof),
        (false, Some((first, rest))) => (*first, rest),
        (false, None) => return false,
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut before, mut now) = (first, first);
    for other in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            before = node_hash(other, &before);
            now = node_hash(other, &now);
            to_odd(&mut node, &mut last);
        } else {
            now = node_hash(&now, other);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && now == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::hex;

    /// The tree as RFC 6962 defines it, in section 2.1.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// PATH of section 2.1.1.
    fn naive_path(position: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(middle);
        let (mut path, other) = match position < middle {
            true => (naive_path(position, left), naive_root(right)),
            false => (naive_path(position - middle, right), naive_root(left)),
        };
        path.push(other);
        path
    }

    /// SUBPROOF of section 2.1.2.
    fn naive_proof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if known {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(middle);
        let (mut proof, other) = match old <= middle {
            true => (naive_proof(old, left, known), naive_root(right)),
            false => (naive_proof(old - middle, right, false), naive_root(left)),
        };
        proof.push(other);
        proof
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    /// The roots of the parts, from the leaves.
    fn roots(parts: &[Range], leaves: &[Hash]) -> Vec<Hash> {
        let of = |part: &Range| {
            let roots: Vec<Hash> = subtrees(*part)
                .into_iter()
                .map(|(height, index)| {
                    let (first, count) = ((index << height) as usize, 1_usize << height);
                    naive_root(&leaves[first..first + count])
                })
                .collect();
            joined(&roots)
        };
        parts.iter().map(of).collect()
    }

    #[test]
    fn the_roots_are_those_that_others_publish() {
        // The leaves and the roots are the test vectors of the Certificate Transparency implementations.
        let contents: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let published = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let hashes: Vec<Hash> = contents.iter().map(|content| leaf_hash(content)).collect();
        for (size, root) in published.iter().enumerate() {
            assert_eq!(hex(&root_from(&hashes[..size])), *root, "{size} leaves");
        }
    }

    #[test]
    fn proofs_are_those_of_the_definition_and_prove_nothing_else() {
        for size in 1..=70_usize {
            let all = leaves(size);
            let root = naive_root(&all);
            assert_eq!(root_from(&all), root);
            for position in 0..size {
                let parts = inclusion_parts(position as u64, size as u64).unwrap();
                let proof = roots(&parts, &all);
                assert_eq!(proof, naive_path(position, &all));
                let holds = |position: u64, leaf: &Hash, proof: &[Hash], root: &Hash| {
                    verify_inclusion(position, size as u64, leaf, proof, root)
                };
                assert!(holds(position as u64, &all[position], &proof, &root));
                // Another position, another leaf, another root, and a proof that is too long or too short.
                for other in (0..=size as u64).filter(|other| *other != position as u64) {
                    assert!(
                        !holds(other, &all[position], &proof, &root),
                        "{position} {other} {size}"
                    );
                }
                assert!(!holds(position as u64, &leaf_hash(b"x"), &proof, &root));
                assert!(!holds(position as u64, &all[position], &proof, &leaf_hash(b"x")));
                let longer = [proof.clone(), vec![root]].concat();
                assert!(!holds(position as u64, &all[position], &longer, &root));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!holds(position as u64, &all[position], shorter, &root));
                }
            }
            for old in 0..=size {
                let old_root = naive_root(&all[..old]);
                let parts = consistency_parts(old as u64, size as u64).unwrap();
                let proof = roots(&parts, &all);
                if old > 0 {
                    assert_eq!(proof, naive_proof(old, &all, true));
                }
                let holds = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                    verify_consistency(old as u64, size as u64, old_root, new_root, proof)
                };
                assert!(holds(&old_root, &root, &proof), "{old} {size}");
                assert!(!holds(&leaf_hash(b"x"), &root, &proof));
                assert!(old == 0 || !holds(&old_root, &leaf_hash(b"x"), &proof));
                assert!(!holds(&old_root, &root, &[proof.clone(), vec![root]].concat()));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!holds(&old_root, &root, shorter));
                }
            }
        }
        assert_eq!(inclusion_parts(3, 3), None);
        assert_eq!(consistency_parts(4, 3), None);
    }

    #[test]
    fn a_frontier_takes_whole_subtrees() {
        let all = leaves(1_000);
        let mut tree = Frontier::default();
        assert!(tree.push_subtree(9, naive_root(&all[..512])));
        assert!(tree.push_subtree(8, naive_root(&all[512..768])));
        // 768 is no multiple of 512.
        assert!(!tree.push_subtree(9, all[0]));
        let mut rest = Frontier::default();
        for leaf in &all[768..] {
            rest.push(*leaf);
        }
        assert!(tree.append(&rest));
        assert_eq!((tree.size(), tree.root()), (1_000, naive_root(&all)));
    }
}
