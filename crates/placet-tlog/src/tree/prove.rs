//! Making proofs from stored hashes (RFC 6962, sections 2.1.1 and 2.1.2).
//!
//! A proof is planned first, as spans of leaves; only then are hashes read, all in one call, so
//! that a reader over tiles or a network can fetch together what it needs.

use std::convert::Infallible;

use crate::hash::Hash;
use crate::tree::span::{NodeId, Span, fold_nodes, right_edge};
use crate::tree::{ConsistencyProof, InclusionProof, MAX_SIZE};

/// Gives the hashes of complete subtrees.
pub trait HashReader {
    /// Why hashes could not be read.
    type Error;

    /// Reads the hash of each node, in the order asked.
    ///
    /// Only nodes that the tree holds whole are asked for. The hashes are used as they are: a
    /// proof made from wrong ones does not verify, and
    /// [`AuthenticTiles`](crate::tile::AuthenticTiles) checks them beforehand.
    ///
    /// # Errors
    ///
    /// Whatever keeps the reader from giving every one of the hashes.
    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, Self::Error>;
}

/// Why no proof was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError<E = Infallible> {
    /// The size is beyond [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than any log")]
    SizeBeyondLimit(u64),
    /// The tree has no leaf of this index.
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoSuchLeaf {
        /// Leaf asked for.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The older tree is the larger one.
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    Shrinks {
        /// Leaves in the older tree.
        old: u64,
        /// Leaves in the newer tree.
        new: u64,
    },
    /// The reader gave another number of hashes than it was asked for.
    #[error("the reader gave {found} hashes where {asked} were asked for")]
    ReaderCount {
        /// Hashes asked for.
        asked: usize,
        /// Hashes given.
        found: usize,
    },
    /// The hashes could not be read.
    #[error("stored hashes could not be read: {0}")]
    Read(E),
}

/// Proves that the leaf `index` is in the tree of `size` leaves: `PATH(m, D[n])`.
///
/// # Errors
///
/// [`ProveError`] when there is no such leaf, or its siblings cannot be read.
pub fn prove_inclusion<R: HashReader + ?Sized>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<InclusionProof, ProveError<R::Error>> {
    let spans = plan_inclusion(index, size).map_err(PlanError::widen)?;
    read_spans(reader, &spans).map(InclusionProof::assertion)
}

/// Proves that the tree of `new` leaves extends the tree of `old` leaves: `PROOF(m, D[n])`.
///
/// The proof is empty when the sizes are equal, and when the older tree is empty.
///
/// # Errors
///
/// [`ProveError`] when `old > new`, or the hashes cannot be read.
pub fn prove_consistency<R: HashReader + ?Sized>(
    old: u64,
    new: u64,
    reader: &R,
) -> Result<ConsistencyProof, ProveError<R::Error>> {
    let spans = plan_consistency(old, new).map_err(PlanError::widen)?;
    read_spans(reader, &spans).map(ConsistencyProof::assertion)
}

/// Root hash of the tree of `size` leaves.
///
/// # Errors
///
/// [`ProveError`] when the size is beyond the limit, or the right edge cannot be read.
pub fn read_root<R: HashReader + ?Sized>(
    size: u64,
    reader: &R,
) -> Result<Hash, ProveError<R::Error>> {
    if size > MAX_SIZE {
        return Err(ProveError::SizeBeyondLimit(size));
    }
    let edge = read_checked(reader, &right_edge(size))?;
    Ok(fold_nodes(edge.iter()).unwrap_or(Hash::EMPTY_ROOT))
}

/// What is wrong with the question itself.
pub(crate) enum PlanError {
    SizeBeyondLimit(u64),
    NoSuchLeaf { index: u64, size: u64 },
    Shrinks { old: u64, new: u64 },
}

impl PlanError {
    pub(crate) fn widen<E>(self) -> ProveError<E> {
        match self {
            Self::SizeBeyondLimit(size) => ProveError::SizeBeyondLimit(size),
            Self::NoSuchLeaf { index, size } => ProveError::NoSuchLeaf { index, size },
            Self::Shrinks { old, new } => ProveError::Shrinks { old, new },
        }
    }
}

/// Spans whose hashes are the inclusion proof, the leaf's sibling first.
pub(crate) fn plan_inclusion(index: u64, size: u64) -> Result<Vec<Span>, PlanError> {
    if size > MAX_SIZE {
        return Err(PlanError::SizeBeyondLimit(size));
    }
    let mut at = match Span::tree(size) {
        Some(tree) if index < size => tree,
        _ => return Err(PlanError::NoSuchLeaf { index, size }),
    };
    let mut siblings = Vec::new();
    while let Some((left, right)) = at.split() {
        let (next, sibling) = if index < left.end() {
            (left, right)
        } else {
            (right, left)
        };
        siblings.push(sibling);
        at = next;
    }
    siblings.reverse();
    Ok(siblings)
}

/// Spans whose hashes are the consistency proof, in the order of RFC 6962.
pub(crate) fn plan_consistency(old: u64, new: u64) -> Result<Vec<Span>, PlanError> {
    if new > MAX_SIZE {
        return Err(PlanError::SizeBeyondLimit(new));
    }
    if old > new {
        return Err(PlanError::Shrinks { old, new });
    }
    let mut spans = Vec::new();
    let (Some(mut at), true) = (Span::tree(new), 0 < old && old < new) else {
        return Ok(spans);
    };
    // Walks down to the node that ends where the old tree ends. That node's hash is left out when
    // it is the whole old tree, whose root the verifier has (SUBPROOF's flag b).
    while at.end() != old {
        let Some((left, right)) = at.split() else {
            break;
        };
        let (next, sibling) = if old <= left.end() {
            (left, right)
        } else {
            (right, left)
        };
        spans.push(sibling);
        at = next;
    }
    if at.len() != old {
        spans.push(at);
    }
    spans.reverse();
    Ok(spans)
}

fn read_spans<R: HashReader + ?Sized>(
    reader: &R,
    spans: &[Span],
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    let nodes: Vec<NodeId> = spans.iter().flat_map(|span| span.nodes()).collect();
    let mut hashes = read_checked(reader, &nodes)?.into_iter();
    // INVARIANT: `hashes` holds one hash for each node of each span, in this order.
    let folded = spans.iter().filter_map(|span| {
        let parts: Vec<Hash> = hashes.by_ref().take(span.nodes().count()).collect();
        fold_nodes(parts.iter())
    });
    Ok(folded.collect())
}

/// Reads `nodes` and holds the reader to its promise of one hash for each.
pub(crate) fn read_checked<R: HashReader + ?Sized>(
    reader: &R,
    nodes: &[NodeId],
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    let hashes = reader.read_hashes(nodes).map_err(ProveError::Read)?;
    if hashes.len() != nodes.len() {
        return Err(ProveError::ReaderCount {
            asked: nodes.len(),
            found: hashes.len(),
        });
    }
    Ok(hashes)
}
