//! Hash tiles: up to 256 consecutive hashes of one level (C2SP tlog-tiles, "Merkle Tree").

use crate::hash::Hash;
use crate::tile::{FULL_WIDTH, HEIGHT, TileId};
use crate::tree::NodeId;

/// A hash tile with its content.
///
/// INVARIANT: as many hashes as the id's width. Whether they are the right ones is for
/// [`AuthenticTiles`](crate::tile::AuthenticTiles) to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTile {
    id: TileId,
    hashes: Vec<Hash>,
}

/// Why bytes or hashes are not the content of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The bytes are not the width times 32.
    #[error("a tile of width {width} has {width} times 32 bytes, not {found}")]
    Length {
        /// Hashes that the tile should have.
        width: u16,
        /// Bytes given.
        found: usize,
    },
    /// Another number of hashes or entries than the width.
    #[error("a tile of width {width} has that many hashes, not {found}")]
    Count {
        /// Hashes that the tile should have.
        width: u16,
        /// Hashes or entries given.
        found: usize,
    },
    /// The entry at this position does not hash to the tile's hash.
    #[error("entry {0} of the bundle does not hash to the tile's leaf")]
    EntryMismatch(usize),
}

impl HashTile {
    /// A tile of these hashes.
    ///
    /// # Errors
    ///
    /// [`TileError::Count`] unless there are as many as the width.
    pub fn new(id: TileId, hashes: Vec<Hash>) -> Result<Self, TileError> {
        if hashes.len() != usize::from(id.width().get()) {
            return Err(TileError::Count {
                width: id.width().get(),
                found: hashes.len(),
            });
        }
        Ok(Self { id, hashes })
    }

    /// Reads a tile as served: the hashes, one after the other.
    ///
    /// # Errors
    ///
    /// [`TileError::Length`] unless there are 32 bytes for each.
    pub fn decode(id: TileId, bytes: &[u8]) -> Result<Self, TileError> {
        let wrong = TileError::Length {
            width: id.width().get(),
            found: bytes.len(),
        };
        let (chunks, rest) = bytes.as_chunks::<{ Hash::LEN }>();
        if !rest.is_empty() {
            return Err(wrong);
        }
        Self::new(id, chunks.iter().copied().map(Hash::new).collect()).map_err(|_| wrong)
    }

    /// The tile as served.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.hashes
            .iter()
            .flat_map(Hash::as_bytes)
            .copied()
            .collect()
    }

    /// Name of the tile.
    #[must_use]
    pub const fn id(&self) -> TileId {
        self.id
    }

    /// Its hashes, from the left.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The hash that stands for this tile in the level above; `None` for a partial tile, which
    /// must not be hashed upward.
    #[must_use]
    pub fn parent_hash(&self) -> Option<Hash> {
        if self.id.width().is_full() {
            complete_root(&self.hashes)
        } else {
            None
        }
    }

    /// Hash of a node that is in this tile or lies within its height, if the tile reaches it.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Hash> {
        if node.level() / HEIGHT != self.id.level() {
            return None;
        }
        let below = node.level() % HEIGHT;
        let first = node.index().checked_shl(u32::from(below))?;
        let own_first = self.id.index().checked_mul(u64::from(FULL_WIDTH))?;
        let start = usize::try_from(first.checked_sub(own_first)?).ok()?;
        let end = start.checked_add(1_usize.checked_shl(u32::from(below))?)?;
        complete_root(self.hashes.get(start..end)?)
    }

    /// Checks that the entries of a bundle hash to the leaves of this level 0 tile.
    ///
    /// # Errors
    ///
    /// [`TileError::Count`] or [`TileError::EntryMismatch`].
    pub fn verify_entries(&self, entries: &[&[u8]]) -> Result<(), TileError> {
        if entries.len() != self.hashes.len() {
            let width = self.id.width().get();
            return Err(TileError::Count {
                width,
                found: entries.len(),
            });
        }
        let mismatch = |(entry, hash): (&&[u8], &Hash)| Hash::leaf(entry) != *hash;
        match entries.iter().zip(&self.hashes).position(mismatch) {
            Some(at) => Err(TileError::EntryMismatch(at)),
            None => Ok(()),
        }
    }
}

/// Root over a power of two of hashes, `None` for none.
pub(crate) fn complete_root(hashes: &[Hash]) -> Option<Hash> {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[l, r]| Hash::node(l, r))
            .collect();
    }
    level.first().copied()
}
