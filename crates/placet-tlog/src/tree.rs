//! The Merkle tree of RFC 6962: growing it, proving from it, verifying against it.
//!
//! Nothing here stores the tree. A log writer keeps a [`Frontier`] (at most 63 hashes) and, while a
//! batch is written, a [`BatchTree`]; whoever proves about older leaves brings a [`HashReader`];
//! whoever verifies needs only the proof.
//!
//! Sizes and indices are counts of leaves, at most [`MAX_SIZE`].

mod batch;
mod frontier;
mod proof;
mod prove;
mod span;
mod verify;

pub use batch::{BatchTree, OutsideBatch};
pub use frontier::{Frontier, FrontierError, TreeFull};
pub use proof::{ConsistencyProof, InclusionProof, ProofTooLong};
pub use prove::{HashReader, ProveError, prove_consistency, prove_inclusion, read_root};
pub use span::{NodeId, right_edge};
pub use verify::{ConsistencyError, InclusionError};

/// Largest tree: 2^63 − 1 leaves, so that sizes fit the signed integers of other implementations
/// (Go's `tlog` package counts in `int64`).
pub const MAX_SIZE: u64 = u64::MAX >> 1;

/// Most hashes in a proof: a tree of [`MAX_SIZE`] leaves is 63 levels high, and a consistency
/// proof may need one hash more.
pub const MAX_PROOF_HASHES: usize = 64;

#[cfg(test)]
mod tests;
