//! Verifying proofs (RFC 9162, sections 2.1.3.2 and 2.1.4.2; the trees are those of RFC 6962).

use crate::hash::Hash;
use crate::tree::{ConsistencyProof, InclusionProof, MAX_SIZE};

/// Why an inclusion proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InclusionError {
    /// The tree is beyond [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than any log")]
    SizeBeyondLimit(u64),
    /// The tree has no leaf of this index.
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoSuchLeaf {
        /// Leaf claimed.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The proof has fewer or more hashes than the path is long.
    #[error("the proof has another length than the path from leaf {index} in {size} leaves")]
    Length {
        /// Leaf claimed.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The proof leads to another root: the leaf, its place or the proof is not of this tree.
    #[error("the proof leads to another root")]
    RootMismatch,
}

/// Why a consistency proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// The newer tree is beyond [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than any log")]
    SizeBeyondLimit(u64),
    /// The older tree is the larger one.
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    Shrinks {
        /// Leaves in the older tree.
        old: u64,
        /// Leaves in the newer tree.
        new: u64,
    },
    /// The proof has fewer or more hashes than these two sizes need.
    #[error("the proof has another length than sizes {old} and {new} need")]
    Length {
        /// Leaves in the older tree.
        old: u64,
        /// Leaves in the newer tree.
        new: u64,
    },
    /// The proof does not lead to the older root.
    #[error("the proof leads to another root of the older tree")]
    OldRootMismatch,
    /// The proof does not lead to the newer root.
    #[error("the proof leads to another root of the newer tree")]
    NewRootMismatch,
}

impl InclusionProof {
    /// Verifies that the leaf hash `leaf` is at `index` in the tree of `size` leaves with `root`.
    ///
    /// # Errors
    ///
    /// [`InclusionError`] names the first check that failed.
    pub fn verify(
        &self,
        leaf: &Hash,
        index: u64,
        size: u64,
        root: &Hash,
    ) -> Result<(), InclusionError> {
        if size > MAX_SIZE {
            return Err(InclusionError::SizeBeyondLimit(size));
        }
        let Some(mut last) = size.checked_sub(1).filter(|last| index <= *last) else {
            return Err(InclusionError::NoSuchLeaf { index, size });
        };
        let (mut at, mut hash) = (index, *leaf);
        for sibling in self.hashes() {
            if last == 0 {
                return Err(InclusionError::Length { index, size });
            }
            if at & 1 == 1 || at == last {
                hash = Hash::node(sibling, &hash);
                skip_unpaired_levels(&mut at, &mut last);
            } else {
                hash = Hash::node(&hash, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        if last != 0 {
            return Err(InclusionError::Length { index, size });
        }
        if hash == *root {
            Ok(())
        } else {
            Err(InclusionError::RootMismatch)
        }
    }
}

impl ConsistencyProof {
    /// Verifies that the tree (`new`, `new_root`) extends the tree (`old`, `old_root`).
    ///
    /// Every tree extends the empty one, by an empty proof; `old_root` must then be
    /// [`Hash::EMPTY_ROOT`].
    ///
    /// # Errors
    ///
    /// [`ConsistencyError`] names the first check that failed.
    pub fn verify(
        &self,
        old: u64,
        old_root: &Hash,
        new: u64,
        new_root: &Hash,
    ) -> Result<(), ConsistencyError> {
        if new > MAX_SIZE {
            return Err(ConsistencyError::SizeBeyondLimit(new));
        }
        if old > new {
            return Err(ConsistencyError::Shrinks { old, new });
        }
        if old == 0 || old == new {
            return self.verify_without_hashes(old, old_root, new, new_root);
        }
        self.verify_growth(old, old_root, new, new_root)
    }

    /// The two cases in which there is nothing to prove.
    fn verify_without_hashes(
        &self,
        old: u64,
        old_root: &Hash,
        new: u64,
        new_root: &Hash,
    ) -> Result<(), ConsistencyError> {
        if !self.hashes().is_empty() {
            return Err(ConsistencyError::Length { old, new });
        }
        if old == 0 && *old_root != Hash::EMPTY_ROOT {
            return Err(ConsistencyError::OldRootMismatch);
        }
        if old == new && old_root != new_root {
            return Err(ConsistencyError::NewRootMismatch);
        }
        Ok(())
    }

    /// RFC 9162, section 2.1.4.2, for `0 < old < new`.
    fn verify_growth(
        &self,
        old: u64,
        old_root: &Hash,
        new: u64,
        new_root: &Hash,
    ) -> Result<(), ConsistencyError> {
        let wrong_length = ConsistencyError::Length { old, new };
        let (mut at, mut last) = (old.wrapping_sub(1), new.wrapping_sub(1));
        let shared_levels = at.trailing_ones();
        (at, last) = (at >> shared_levels, last >> shared_levels);
        let mut hashes = self.hashes().iter();
        // A whole old tree of 2^k leaves is itself a node of the new tree: its root starts both.
        let start = if old.is_power_of_two() {
            Some(old_root)
        } else {
            hashes.next()
        };
        let mut old_hash = *start.ok_or(wrong_length)?;
        let mut new_hash = old_hash;
        for sibling in hashes {
            if last == 0 {
                return Err(wrong_length);
            }
            if at & 1 == 1 || at == last {
                old_hash = Hash::node(sibling, &old_hash);
                new_hash = Hash::node(sibling, &new_hash);
                skip_unpaired_levels(&mut at, &mut last);
            } else {
                new_hash = Hash::node(&new_hash, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        if last != 0 {
            return Err(wrong_length);
        }
        if old_hash != *old_root {
            return Err(ConsistencyError::OldRootMismatch);
        }
        if new_hash != *new_root {
            return Err(ConsistencyError::NewRootMismatch);
        }
        Ok(())
    }
}

/// On the right edge a node without a sibling moves up unchanged: skip those levels.
fn skip_unpaired_levels(at: &mut u64, last: &mut u64) {
    while *at & 1 == 0 && *at != 0 {
        (*at, *last) = (*at >> 1, *last >> 1);
    }
}
