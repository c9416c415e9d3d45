//! The Merkle tree as the log holds it in memory: everything above the leaves.
//!
//! One hash for each 256 leaves, the levels above those, and the leaves of the last, unfinished
//! tile: 64 bytes for each 256 records. Leaf hashes of finished tiles are somewhere else; whoever
//! holds this tree can check them against it.

use placet_tlog::Hash;
use placet_tlog::tree::{Frontier, NodeId, right_edge};

use crate::bytes::{narrow, wide};

/// Leaves under one hash of the lowest level held here.
pub(crate) const TILE: u64 = 256;

/// Tree level of a finished tile's root.
pub(crate) const TILE_LEVEL: u8 = 8;

/// All complete subtrees of 256 leaves and more, and the leaves after the last of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashTree {
    /// `upper[k]` holds the complete nodes of level `8 + k`, from the left.
    upper: Vec<Vec<Hash>>,
    /// Fewer than 256.
    tail: Vec<Hash>,
}

impl HashTree {
    /// Number of leaves.
    pub(crate) fn size(&self) -> u64 {
        self.tiles() * TILE + wide(self.tail.len())
    }

    /// Number of finished tiles.
    pub(crate) fn tiles(&self) -> u64 {
        self.upper.first().map_or(0, |level| wide(level.len()))
    }

    /// Appends a leaf; returns the root of the tile that it finished, if it did.
    pub(crate) fn push(&mut self, leaf: Hash) -> Option<Hash> {
        self.tail.push(leaf);
        if wide(self.tail.len()) < TILE {
            return None;
        }
        let root = fold(&self.tail);
        self.tail.clear();
        self.push_tile(root);
        Some(root)
    }

    /// Appends a finished tile. The tail must be empty.
    pub(crate) fn push_tile(&mut self, root: Hash) {
        let mut carry = root;
        for level in 0.. {
            if self.upper.len() == level {
                self.upper.push(Vec::new());
            }
            let Some(nodes) = self.upper.get_mut(level) else {
                return;
            };
            nodes.push(carry);
            match nodes.as_slice() {
                [.., left, right] if nodes.len() % 2 == 0 => carry = Hash::node(left, right),
                _ => return,
            }
        }
    }

    /// Hash of a node at tree level 8 or higher, if it is complete.
    pub(crate) fn upper(&self, node: NodeId) -> Option<Hash> {
        let level = self
            .upper
            .get(usize::from(node.level().checked_sub(TILE_LEVEL)?))?;
        level.get(narrow(node.index())).copied()
    }

    /// Root of the finished tile `index`.
    pub(crate) fn tile_root(&self, index: u64) -> Option<Hash> {
        self.upper.first()?.get(narrow(index)).copied()
    }

    /// The frontier at the tree's own size.
    pub(crate) fn frontier(&self) -> Option<Frontier> {
        let edge: Option<Vec<Hash>> = right_edge(self.size())
            .into_iter()
            .map(|node| self.edge_node(node))
            .collect();
        Frontier::restore(self.size(), edge?).ok()
    }

    /// Root at the tree's own size.
    pub(crate) fn root(&self) -> Option<Hash> {
        self.frontier().map(|frontier| frontier.root())
    }

    fn edge_node(&self, node: NodeId) -> Option<Hash> {
        if node.level() >= TILE_LEVEL {
            return self.upper(node);
        }
        // Nodes of the edge below a tile's root lie in the tail: the tail begins at a multiple of
        // 256, and they come after every node of 256 leaves.
        node_of_leaves(node, self.tiles(), &self.tail)
    }
}

/// Hash of a node below level 8 from the leaves of the tile it lies in.
pub(crate) fn node_of_leaves(node: NodeId, tile: u64, leaves: &[Hash]) -> Option<Hash> {
    let start = (node.index() << node.level()).checked_sub(tile * TILE)?;
    let end = start.checked_add(1_u64 << node.level())?;
    leaves.get(narrow(start)..narrow(end)).map(fold)
}

/// Root over a power of two of hashes.
pub(crate) fn fold(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        let pairs = level.as_chunks::<2>().0.iter();
        level = pairs.map(|[left, right]| Hash::node(left, right)).collect();
    }
    level.first().copied().unwrap_or(Hash::EMPTY_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_agrees_with_the_frontier_at_every_size() {
        let (mut tree, mut frontier) = (HashTree::default(), Frontier::new());
        for i in 0..1_500_u64 {
            assert_eq!(tree.root(), Some(frontier.root()), "size {i}");
            let leaf = Hash::leaf(&i.to_be_bytes());
            tree.push(leaf);
            frontier.append(leaf).unwrap();
        }
        assert_eq!(tree.size(), 1_500);
        assert_eq!(tree.tiles(), 5);
    }
}
