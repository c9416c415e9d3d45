//! Tiles: the Merkle tree and the entries as immutable resources (C2SP tlog-tiles).
//!
//! This file names them; `hashes` and `entries` are what is in them; `read` checks tiles of
//! unknown origin against a root; `write` says which tiles a growing log has to write.

mod entries;
mod hashes;
mod path;
mod read;
mod write;

use crate::tree::NodeId;

pub use entries::{
    BundleError, EntryTooLong, MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, decode_entries, push_entry,
};
pub use hashes::{HashTile, TileError};
pub use path::{PathError, Resource};
pub use read::{AuthenticTiles, TileReadError, TileReader};
pub use write::EdgeTiles;

/// Height of a tile in tree levels: a tile holds up to 2^8 hashes.
pub const HEIGHT: u8 = 8;

/// Hashes in a full tile.
pub const FULL_WIDTH: u16 = 256;

/// Highest level a path may name. No tree of 64-bit size has tiles above level 7.
pub const MAX_LEVEL: u8 = 63;

/// Number of hashes or entries: 1 to 255 in a partial tile, 256 in a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(u16);

/// Names a hash tile: `tile/<L>/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: u8,
    index: u64,
    width: Width,
}

/// Names an entry bundle: `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    index: u64,
    width: Width,
}

impl Width {
    /// A full tile.
    pub const FULL: Self = Self(FULL_WIDTH);

    /// A width of 1 to 256, or `None`.
    #[must_use]
    pub const fn new(width: u16) -> Option<Self> {
        if width == 0 || width > FULL_WIDTH {
            None
        } else {
            Some(Self(width))
        }
    }

    /// Number of hashes or entries, 1 to 256.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether this is a full tile or bundle.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.0 == FULL_WIDTH
    }
}

impl TileId {
    /// The tile, or `None` for a level above [`MAX_LEVEL`].
    #[must_use]
    pub const fn new(level: u8, index: u64, width: Width) -> Option<Self> {
        if level > MAX_LEVEL {
            None
        } else {
            Some(Self {
                level,
                index,
                width,
            })
        }
    }

    /// Level of the tile: its hashes are nodes at 8 times this tree level.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Index within the level.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// Number of hashes.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }

    /// The tile in which a tree of `size` leaves holds `node`, or the hashes below it.
    ///
    /// `None` when the tree does not hold the node whole.
    #[must_use]
    pub fn containing(node: NodeId, size: u64) -> Option<Self> {
        if node.end() > size {
            return None;
        }
        let level = node.level() / HEIGHT;
        // INVARIANT: `index << (level % 8)` is at most `end >> 8 * (level / 8)`: no bit is lost.
        let index = (node.index() << (node.level() % HEIGHT)) >> HEIGHT;
        Self::at(level, index, size)
    }

    /// The node whose hash is the root of this tile when it is full: it is in the level above.
    pub(crate) fn parent_node(self) -> Option<NodeId> {
        NodeId::new(self.level.checked_add(1)?.checked_mul(HEIGHT)?, self.index)
    }

    /// Tiles that a tree of `size` leaves consists of, level by level, each level from the left.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        Self::changed(0, size)
    }

    /// Tiles that a tree of `new` leaves has and one of `old` leaves has not.
    ///
    /// Empty unless `old < new`.
    pub fn changed(old: u64, new: u64) -> impl Iterator<Item = Self> {
        (0..8_u8).flat_map(move |level| {
            let (before, after) = (hashes_at(level, old), hashes_at(level, new));
            let first = if before < after {
                before >> HEIGHT
            } else {
                u64::MAX
            };
            (first..=after.saturating_sub(1) >> HEIGHT)
                .filter_map(move |index| Self::at(level, index, new))
        })
    }

    /// The nodes whose hashes the tile holds, from the left.
    ///
    /// Shorter than the width where no tree of 64-bit size reaches.
    pub fn nodes(self) -> impl Iterator<Item = NodeId> {
        let level = self.level.saturating_mul(HEIGHT);
        let first = self.index.checked_mul(u64::from(FULL_WIDTH));
        (0..u64::from(self.width.get()))
            .filter_map(move |offset| NodeId::new(level, first?.checked_add(offset)?))
    }

    /// The tile at this place in a tree of `size` leaves, as wide as that tree has it.
    #[must_use]
    pub fn at(level: u8, index: u64, size: u64) -> Option<Self> {
        width_at(hashes_at(level, size), index).map(|width| Self {
            level,
            index,
            width,
        })
    }
}

impl BundleId {
    /// The bundle of this index and width.
    #[must_use]
    pub const fn new(index: u64, width: Width) -> Self {
        Self { index, width }
    }

    /// Index of the bundle: its first entry is 256 times that.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// Number of entries.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }

    /// The bundle in which a log of `size` entries holds `entry`, or `None` if it does not.
    #[must_use]
    pub fn containing(entry: u64, size: u64) -> Option<Self> {
        if entry >= size {
            return None;
        }
        let index = entry >> HEIGHT;
        width_at(size, index).map(|width| Self { index, width })
    }

    /// Bundles that a log of `new` entries has and one of `old` entries has not.
    ///
    /// Empty unless `old < new`.
    pub fn changed(old: u64, new: u64) -> impl Iterator<Item = Self> {
        let first = if old < new { old >> HEIGHT } else { u64::MAX };
        (first..=new.saturating_sub(1) >> HEIGHT)
            .filter_map(move |index| width_at(new, index).map(|width| Self { index, width }))
    }

    /// The level 0 hash tile that holds the leaf hashes of these entries.
    #[must_use]
    pub const fn leaf_tile(self) -> TileId {
        TileId {
            level: 0,
            index: self.index,
            width: self.width,
        }
    }
}

/// Hashes that a tree of `size` leaves has at tile level `level`: floor(size / 256^level).
const fn hashes_at(level: u8, size: u64) -> u64 {
    // A shift of 64 or more would be all the hashes there are, of trees that cannot be.
    if level >= 8 {
        0
    } else {
        size >> (level * HEIGHT)
    }
}

/// Width of tile `index` on a level of `count` hashes; `None` for a tile that is empty.
fn width_at(count: u64, index: u64) -> Option<Width> {
    let full = count >> HEIGHT;
    if index < full {
        return Some(Width::FULL);
    }
    let rest = u16::try_from(count & 0xff).ok()?;
    if index == full {
        Width::new(rest)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
