//! The part of the tree that one batch of appends makes: proofs for its members without reading
//! anything that was stored before.

use crate::hash::Hash;
use crate::tree::prove::{PlanError, plan_consistency, plan_inclusion};
use crate::tree::span::{NodeId, Span};
use crate::tree::{
    ConsistencyProof, Frontier, HashReader, InclusionProof, MAX_SIZE, ProveError, TreeFull,
};

/// A batch of leaves on top of a [`Frontier`], at the batch's final size.
///
/// Holds every complete subtree that the batch finished, and the frontier it started from:
/// about twice as many hashes as the batch has leaves. Building it hashes once per new node; each
/// inclusion proof afterwards copies at most 63 hashes and computes none.
#[derive(Clone, Debug)]
pub struct BatchTree {
    old_size: u64,
    size: u64,
    levels: Vec<Level>,
    /// `tails[i]` is the hash of the right edge's subtrees `i..` together; the first is the root.
    tails: Vec<(NodeId, Hash)>,
}

/// The known nodes of one level: `first`, `first + 1`, …
///
/// INVARIANT: `first` is even and the nodes reach to the last complete one of the level, so that
/// a node made by the batch has its sibling here as well, if that sibling is complete.
#[derive(Clone, Debug)]
struct Level {
    first: u64,
    hashes: Vec<Hash>,
}

/// A node that this batch neither made nor started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {} of level {} lies outside the batch", .0.index(), .0.level())]
pub struct OutsideBatch(pub NodeId);

impl BatchTree {
    /// Appends `leaves`, the leaf hashes of a batch in order, to the tree `before`.
    ///
    /// # Errors
    ///
    /// [`TreeFull`] when the tree would pass [`MAX_SIZE`].
    pub fn new(before: &Frontier, leaves: Vec<Hash>) -> Result<Self, TreeFull> {
        let old_size = before.size();
        let added = u64::try_from(leaves.len()).map_err(|_| TreeFull)?;
        let size = old_size
            .checked_add(added)
            .filter(|size| *size <= MAX_SIZE)
            .ok_or(TreeFull)?;
        let levels = build_levels(before, leaves);
        let mut batch = Self {
            old_size,
            size,
            levels,
            tails: Vec::new(),
        };
        batch.tails = batch.fold_right_edge();
        Ok(batch)
    }

    /// Leaves before the batch.
    #[must_use]
    pub const fn old_size(&self) -> u64 {
        self.old_size
    }

    /// Leaves after the batch: the size that its proofs are for.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root hash after the batch.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tails
            .first()
            .map_or(Hash::EMPTY_ROOT, |(_, root)| *root)
    }

    /// The frontier after the batch, from which the next one starts.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let edge = self
            .tails
            .iter()
            .filter_map(|(node, _)| self.known(*node))
            .collect();
        // INVARIANT: the batch knows its whole right edge, one node for each bit of its size.
        Frontier::assertion(self.size, edge)
    }

    /// Inclusion proof at the batch's final size for `index`, a member of the batch.
    ///
    /// # Errors
    ///
    /// [`ProveError::NoSuchLeaf`] beyond the batch; [`ProveError::Read`] with [`OutsideBatch`] for
    /// a leaf from before it, unless all its siblings happen to be known.
    pub fn prove_inclusion(&self, index: u64) -> Result<InclusionProof, ProveError<OutsideBatch>> {
        let spans = plan_inclusion(index, self.size).map_err(PlanError::widen)?;
        self.span_hashes(&spans).map(InclusionProof::assertion)
    }

    /// Consistency proof from the size before the batch to the size after it.
    ///
    /// # Errors
    ///
    /// None that a caller can bring about: every hash needed is known to the batch.
    pub fn prove_consistency(&self) -> Result<ConsistencyProof, ProveError<OutsideBatch>> {
        let spans = plan_consistency(self.old_size, self.size).map_err(PlanError::widen)?;
        self.span_hashes(&spans).map(ConsistencyProof::assertion)
    }

    fn span_hashes(&self, spans: &[Span]) -> Result<Vec<Hash>, ProveError<OutsideBatch>> {
        spans
            .iter()
            .map(|span| self.span_hash(*span).map_err(ProveError::Read))
            .collect()
    }

    /// A span of more than one node reaches to the end of the tree: it is a tail of the edge.
    fn span_hash(&self, span: Span) -> Result<Hash, OutsideBatch> {
        let mut nodes = span.nodes();
        let Some(head) = nodes.next() else {
            return Ok(Hash::EMPTY_ROOT);
        };
        let hash = if nodes.next().is_none() {
            self.known(head)
        } else {
            self.tails
                .iter()
                .find(|(node, _)| *node == head)
                .map(|(_, hash)| *hash)
        };
        hash.ok_or(OutsideBatch(head))
    }

    fn known(&self, node: NodeId) -> Option<Hash> {
        let level = self.levels.get(usize::from(node.level()))?;
        let offset = node.index().checked_sub(level.first)?;
        level.hashes.get(usize::try_from(offset).ok()?).copied()
    }

    fn fold_right_edge(&self) -> Vec<(NodeId, Hash)> {
        let mut tails = Vec::new();
        let mut below: Option<Hash> = None;
        for node in crate::tree::right_edge(self.size).into_iter().rev() {
            // INVARIANT: an edge node was in the frontier or made by the batch: it is known.
            let Some(hash) = self.known(node) else {
                continue;
            };
            let tail = below.map_or(hash, |right| Hash::node(&hash, &right));
            tails.push((node, tail));
            below = Some(tail);
        }
        tails.reverse();
        tails
    }
}

/// Each level holds the old edge's node of that level, if there is one, then the batch's.
///
/// Node `i` of level `l` is new when `i >= old_size >> l`; the old edge has a node at level `l`
/// when `old_size >> l` is odd, and that node is the one just before. Either way the first known
/// index is even, so pairs line up.
fn build_levels(before: &Frontier, leaves: Vec<Hash>) -> Vec<Level> {
    let mut edge: Vec<(NodeId, Hash)> = before.nodes().collect();
    let mut levels = Vec::new();
    let mut fresh = leaves;
    for level in 0_u8..63 {
        let old = match edge.last() {
            Some((node, _)) if node.level() == level => edge.pop().map(|(_, hash)| hash),
            _ => None,
        };
        if fresh.is_empty() && old.is_none() && edge.is_empty() {
            break;
        }
        let hashes: Vec<Hash> = old.into_iter().chain(fresh).collect();
        fresh = hashes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[l, r]| Hash::node(l, r))
            .collect();
        levels.push(Level {
            first: before.size() >> level & !1,
            hashes,
        });
    }
    levels
}

impl HashReader for BatchTree {
    type Error = OutsideBatch;

    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, OutsideBatch> {
        nodes
            .iter()
            .map(|node| self.known(*node).ok_or(OutsideBatch(*node)))
            .collect()
    }
}
