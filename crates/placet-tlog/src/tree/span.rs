//! Positions in the tree: complete subtrees, and spans of leaves made of them.

use crate::hash::Hash;
use crate::tree::MAX_SIZE;

/// A complete subtree: the `2^level` leaves that start at `index << level`.
///
/// Level 0 is a leaf. Once its last leaf is in the tree, the hash of such a node never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    level: u8,
    index: u64,
}

impl NodeId {
    /// The node at `level`, `index`, or `None` if no tree of [`MAX_SIZE`] leaves holds it whole.
    #[must_use]
    pub const fn new(level: u8, index: u64) -> Option<Self> {
        if level >= 63 || index >= MAX_SIZE >> level {
            return None;
        }
        Some(Self { level, index })
    }

    /// The leaf at `index`, or `None` from [`MAX_SIZE`] on.
    #[must_use]
    pub const fn leaf(index: u64) -> Option<Self> {
        Self::new(0, index)
    }

    /// Height above the leaves, 0 to 62.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Position among the nodes of its level, from the left.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// Size of the smallest tree that holds the node whole.
    #[must_use]
    pub const fn end(self) -> u64 {
        // INVARIANT: index < MAX_SIZE >> level, so neither step overflows.
        self.index.wrapping_add(1) << self.level
    }
}

/// Leaves `start..end` that hang under one node of some tree of `end` leaves or more.
///
/// INVARIANT: `start < end <= MAX_SIZE`, and `start` is a multiple of the smallest power of two
/// that is at least `end - start`. Both hold by construction in `prove`, which only halves spans
/// as RFC 6962 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// The whole tree of `size` leaves, or `None` for an empty or too large one.
    pub(crate) const fn tree(size: u64) -> Option<Self> {
        if size == 0 || size > MAX_SIZE {
            return None;
        }
        Some(Self {
            start: 0,
            end: size,
        })
    }

    /// Number of leaves.
    pub(crate) const fn len(self) -> u64 {
        self.end.wrapping_sub(self.start)
    }

    pub(crate) const fn end(self) -> u64 {
        self.end
    }

    /// The two children: the left one takes the largest power of two smaller than the length
    /// (RFC 6962, section 2.1). `None` for a single leaf.
    pub(crate) const fn split(self) -> Option<(Self, Self)> {
        let len = self.len();
        if len < 2 {
            return None;
        }
        let half = 1_u64 << len.wrapping_sub(1).ilog2();
        let middle = self.start.wrapping_add(half);
        Some((
            Self {
                start: self.start,
                end: middle,
            },
            Self {
                start: middle,
                end: self.end,
            },
        ))
    }

    /// Complete subtrees that make up the span, largest first.
    pub(crate) fn nodes(self) -> impl Iterator<Item = NodeId> {
        let len = self.len();
        let mut at = self.start;
        (0_u8..63)
            .rev()
            .filter(move |level| len >> level & 1 == 1)
            .map(move |level| {
                let node = NodeId {
                    level,
                    index: at >> level,
                };
                at = node.end();
                node
            })
    }
}

/// Complete subtrees that make up a tree of `size` leaves, largest (leftmost) first.
///
/// These are the hashes that a [`Frontier`](crate::tree::Frontier) of that size holds. Empty when
/// `size` is 0 or beyond [`MAX_SIZE`].
#[must_use]
pub fn right_edge(size: u64) -> Vec<NodeId> {
    Span::tree(size)
        .map(|span| span.nodes().collect())
        .unwrap_or_default()
}

/// Hash of a span from the hashes of its [`Span::nodes`], `None` for no hashes.
///
/// The smaller subtrees on the right pair up first: that is the shape of RFC 6962's tree.
pub(crate) fn fold_nodes<'a>(nodes: impl DoubleEndedIterator<Item = &'a Hash>) -> Option<Hash> {
    nodes
        .rev()
        .copied()
        .reduce(|right, left| Hash::node(&left, &right))
}
