//! What a growing log has to write: the tiles that a batch changes, with their content.

use crate::hash::Hash;
use crate::tile::{AuthenticTiles, FULL_WIDTH, HashTile, TileId, TileReader, Width};
use crate::tree::{MAX_SIZE, TreeFull};

/// The partial tiles on the right edge of a tree: at most 8 × 255 hashes.
///
/// A log writer keeps one beside its [`Frontier`](crate::tree::Frontier). Nothing is ever read
/// again to write the next tiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeTiles {
    size: u64,
    /// Hashes of the partial tile of each level, level 0 first.
    ///
    /// INVARIANT: `levels[l].len()` is `floor(size / 256^l) mod 256`; missing levels are empty.
    levels: Vec<Vec<Hash>>,
}

impl EdgeTiles {
    /// The edge of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            levels: Vec::new(),
        }
    }

    /// Takes the edge over from tiles that were checked against a root.
    #[must_use]
    pub fn resume<R: TileReader>(tiles: &AuthenticTiles<R>) -> Self {
        let mut levels = Vec::new();
        for tile in tiles.edge() {
            levels.resize(usize::from(tile.id().level()), Vec::new());
            levels.push(tile.hashes().to_vec());
        }
        Self {
            size: tiles.size(),
            levels,
        }
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends leaf hashes and returns every tile that the tree has now and had not before: those
    /// filled on the way and the partial ones at its end, lowest level first.
    ///
    /// These are [`TileId::changed`] from the old to the new size. All must be stored durably
    /// before a checkpoint of the new size is published.
    ///
    /// # Errors
    ///
    /// [`TreeFull`] when the tree would pass [`MAX_SIZE`]; the edge is unchanged then.
    pub fn extend(&mut self, leaves: &[Hash]) -> Result<Vec<HashTile>, TreeFull> {
        let added = u64::try_from(leaves.len()).map_err(|_| TreeFull)?;
        let old = self.size;
        let size = old
            .checked_add(added)
            .filter(|size| *size <= MAX_SIZE)
            .ok_or(TreeFull)?;
        let mut tiles = Vec::new();
        let mut fresh = leaves.to_vec();
        for level in 0..8_u8 {
            if fresh.is_empty() {
                break;
            }
            fresh = self.extend_level(level, &fresh, old, &mut tiles);
        }
        self.size = size;
        Ok(tiles)
    }

    /// Adds hashes to one level, pushes its changed tiles, returns the hashes for the level above.
    fn extend_level(
        &mut self,
        level: u8,
        fresh: &[Hash],
        old_size: u64,
        tiles: &mut Vec<HashTile>,
    ) -> Vec<Hash> {
        let at = usize::from(level);
        if self.levels.len() <= at {
            self.levels.resize(at.saturating_add(1), Vec::new());
        }
        let Some(slot) = self.levels.get_mut(at) else {
            return Vec::new();
        };
        let mut hashes = std::mem::take(slot);
        hashes.extend_from_slice(fresh);
        let mut above = Vec::new();
        let first = (old_size >> (level * 8)) >> 8;
        for (index, part) in (first..).zip(hashes.chunks(usize::from(FULL_WIDTH))) {
            let Some(tile) = tile_of(level, index, part) else {
                continue;
            };
            match tile.parent_hash() {
                Some(hash) => above.push(hash),
                None => *slot = part.to_vec(),
            }
            tiles.push(tile);
        }
        above
    }
}

/// The tile of these hashes, which are 1 to 256.
fn tile_of(level: u8, index: u64, hashes: &[Hash]) -> Option<HashTile> {
    let width = Width::new(u16::try_from(hashes.len()).ok()?)?;
    HashTile::new(TileId::new(level, index, width)?, hashes.to_vec()).ok()
}
