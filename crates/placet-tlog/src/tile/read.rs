//! Reading a tree from tiles that nobody vouches for: each is checked against a known root.
//!
//! The root decides the partial tiles on the right edge, because it is computed from every hash in
//! them. A full tile is decided by the one hash that stands for it in the level above.

use std::collections::BTreeMap;

use crate::hash::Hash;
use crate::tile::{HashTile, TileError, TileId};
use crate::tree::{Frontier, HashReader, MAX_SIZE, NodeId, right_edge};

/// Gives the bytes of hash tiles.
pub trait TileReader {
    /// Why a tile could not be read.
    type Error;

    /// Reads the tile of exactly this width. A reader that only has a wider one cuts it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the reader from giving the tile.
    fn read_tile(&self, tile: TileId) -> Result<Vec<u8>, Self::Error>;
}

/// A tree of known size and root, read from tiles; gives out no hash that the root does not cover.
#[derive(Clone, Debug)]
pub struct AuthenticTiles<R> {
    size: u64,
    /// The partial tiles of the right edge, already checked.
    edge: BTreeMap<TileId, HashTile>,
    frontier: Frontier,
    reader: R,
}

/// Why a tile was not read, or not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileReadError<E> {
    /// The size is beyond [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than any log")]
    SizeBeyondLimit(u64),
    /// The tree does not have what was asked for.
    #[error("a tree of {size} leaves does not hold node {} of level {}", .node.index(), .node.level())]
    OutsideTree {
        /// What was asked for.
        node: NodeId,
        /// Leaves in the tree.
        size: u64,
    },
    /// The tree of this size has no such tile.
    #[error("a tree of {size} leaves has no {tile}")]
    NoSuchTile {
        /// What was asked for.
        tile: TileId,
        /// Leaves in the tree.
        size: u64,
    },
    /// The reader failed.
    #[error("{tile} could not be read: {error}")]
    Read {
        /// Tile asked for.
        tile: TileId,
        /// What the reader said.
        error: E,
    },
    /// The bytes are not a tile of this width.
    #[error("{tile} is malformed: {error}")]
    Malformed {
        /// Tile read.
        tile: TileId,
        /// What is wrong.
        error: TileError,
    },
    /// The partial tiles do not lead to the root.
    #[error("the tiles of the right edge do not lead to the root")]
    RootMismatch,
    /// A full tile does not lead to its hash in the level above.
    #[error("{0} does not lead to its hash in the level above")]
    TileMismatch(TileId),
}

impl<R: TileReader> AuthenticTiles<R> {
    /// Reads the right edge of the tree of `size` leaves and checks it against `root`.
    ///
    /// # Errors
    ///
    /// [`TileReadError`] when a tile cannot be read, or the tiles do not lead to `root`.
    pub fn open(size: u64, root: &Hash, reader: R) -> Result<Self, TileReadError<R::Error>> {
        if size > MAX_SIZE {
            return Err(TileReadError::SizeBeyondLimit(size));
        }
        let mut tiles = Self {
            size,
            edge: BTreeMap::new(),
            frontier: Frontier::new(),
            reader,
        };
        let mut hashes = Vec::new();
        for node in right_edge(size) {
            let id = tiles.tile_of(node)?;
            if !tiles.edge.contains_key(&id) {
                let tile = tiles.fetch(id)?;
                tiles.edge.insert(id, tile);
            }
            hashes.extend(tiles.edge.get(&id).and_then(|tile| tile.node(node)));
        }
        let frontier = Frontier::restore(size, hashes);
        tiles.frontier = frontier.map_err(|_| TileReadError::RootMismatch)?;
        if tiles.frontier.root() != *root {
            return Err(TileReadError::RootMismatch);
        }
        Ok(tiles)
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The frontier of the tree, from which a writer goes on.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Reads a tile of this tree and checks it against the root.
    ///
    /// # Errors
    ///
    /// [`TileReadError`] when the tree has no such tile, or the tile or one above it is not right.
    pub fn tile(&self, tile: TileId) -> Result<HashTile, TileReadError<R::Error>> {
        if TileId::at(tile.level(), tile.index(), self.size) != Some(tile) {
            return Err(TileReadError::NoSuchTile {
                tile,
                size: self.size,
            });
        }
        self.checked_tile(tile, &mut BTreeMap::new())
    }

    /// The partial tiles of the right edge, lowest level first.
    pub(crate) fn edge(&self) -> impl Iterator<Item = &HashTile> {
        self.edge.values()
    }

    fn tile_of(&self, node: NodeId) -> Result<TileId, TileReadError<R::Error>> {
        let outside = TileReadError::OutsideTree {
            node,
            size: self.size,
        };
        TileId::containing(node, self.size).ok_or(outside)
    }

    fn fetch(&self, id: TileId) -> Result<HashTile, TileReadError<R::Error>> {
        let read = self.reader.read_tile(id);
        let bytes = read.map_err(|error| TileReadError::Read { tile: id, error })?;
        HashTile::decode(id, &bytes).map_err(|error| TileReadError::Malformed { tile: id, error })
    }

    /// Recurs at most seven times: each step is one level up, and level 7 is always partial.
    fn checked_tile(
        &self,
        id: TileId,
        checked: &mut BTreeMap<TileId, HashTile>,
    ) -> Result<HashTile, TileReadError<R::Error>> {
        if let Some(tile) = self.edge.get(&id).or_else(|| checked.get(&id)) {
            return Ok(tile.clone());
        }
        let tile = self.fetch(id)?;
        let node = id.parent_node().ok_or(TileReadError::TileMismatch(id))?;
        let above = self.checked_tile(self.tile_of(node)?, checked)?;
        if tile.parent_hash().is_none() || tile.parent_hash() != above.node(node) {
            return Err(TileReadError::TileMismatch(id));
        }
        checked.insert(id, tile.clone());
        Ok(tile)
    }
}

impl<R: TileReader> HashReader for AuthenticTiles<R> {
    type Error = TileReadError<R::Error>;

    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, Self::Error> {
        let mut checked = BTreeMap::new();
        let read = |node: &NodeId| {
            let tile = self.checked_tile(self.tile_of(*node)?, &mut checked)?;
            tile.node(*node).ok_or(TileReadError::OutsideTree {
                node: *node,
                size: self.size,
            })
        };
        nodes.iter().map(read).collect()
    }
}
