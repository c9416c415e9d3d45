//! The right edge of a growing tree: all that an append needs to know of what came before.

use crate::hash::Hash;
use crate::tree::MAX_SIZE;
use crate::tree::prove::{HashReader, ProveError, read_checked};
use crate::tree::span::{NodeId, fold_nodes, right_edge};

/// A tree of `size` leaves, reduced to the hashes of the complete subtrees on its right edge.
///
/// Appending costs one or two hashes on average and at most 63; memory is at most 63 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// INVARIANT: one hash for each bit set in `size`, the highest bit first.
    edge: Vec<Hash>,
}

/// The tree holds [`MAX_SIZE`] leaves and takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree holds 2^63 - 1 leaves and takes no more")]
pub struct TreeFull;

/// Why a stored frontier was not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// The size is beyond [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than any log")]
    Size(u64),
    /// The right edge of a tree of that size has another number of subtrees.
    #[error("the right edge of this tree has {expected} hashes, not {found}")]
    Count {
        /// Bits set in the size.
        expected: u32,
        /// Hashes given.
        found: usize,
    },
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            edge: Vec::new(),
        }
    }

    /// Restores a frontier from its size and [edge](Self::edge), as stored.
    ///
    /// The hashes are taken as they are: compare [`root`](Self::root) with a signed checkpoint.
    ///
    /// # Errors
    ///
    /// [`FrontierError`] when the number of hashes does not fit the size.
    pub fn restore(size: u64, edge: Vec<Hash>) -> Result<Self, FrontierError> {
        if size > MAX_SIZE {
            return Err(FrontierError::Size(size));
        }
        let expected = size.count_ones();
        if usize::try_from(expected).ok() != Some(edge.len()) {
            return Err(FrontierError::Count {
                expected,
                found: edge.len(),
            });
        }
        Ok(Self { size, edge })
    }

    /// Reads the frontier of the tree of `size` leaves from stored hashes.
    ///
    /// # Errors
    ///
    /// [`ProveError::SizeBeyondLimit`], or what the reader failed with.
    pub fn read<R: HashReader + ?Sized>(
        size: u64,
        reader: &R,
    ) -> Result<Self, ProveError<R::Error>> {
        if size > MAX_SIZE {
            return Err(ProveError::SizeBeyondLimit(size));
        }
        let edge = read_checked(reader, &right_edge(size))?;
        Ok(Self { size, edge })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the complete subtrees of the right edge, largest first; see [`right_edge`].
    #[must_use]
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Root hash. Costs one hash less than the edge is long.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold_nodes(self.edge.iter()).unwrap_or(Hash::EMPTY_ROOT)
    }

    /// Appends a leaf and returns its index.
    ///
    /// # Errors
    ///
    /// [`TreeFull`] at [`MAX_SIZE`]; the tree is unchanged then.
    pub fn append(&mut self, leaf: Hash) -> Result<u64, TreeFull> {
        if self.size >= MAX_SIZE {
            return Err(TreeFull);
        }
        let index = self.size;
        let mut hash = leaf;
        // Each trailing one bit of the size is a subtree that this leaf completes a pair of.
        for _ in 0..index.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = Hash::node(&left, &hash);
            }
        }
        self.edge.push(hash);
        self.size = index.wrapping_add(1);
        Ok(index)
    }

    /// A frontier whose edge has one hash for each bit of `size`, as the caller argues.
    pub(crate) const fn assertion(size: u64, edge: Vec<Hash>) -> Self {
        Self { size, edge }
    }

    /// The edge with the place of each hash.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, Hash)> {
        right_edge(self.size)
            .into_iter()
            .zip(self.edge.iter().copied())
    }
}
