//! Comparing the derived files with what the segments say.

use std::fmt;
use std::io;

use placet_types::Index;

use crate::bytes::{narrow, wide};
use crate::file::derived::{Derived, Record};
use crate::file::layout::Layout;
use crate::file::read::Frame;
use crate::tree::{HashTree, TILE};

/// Records read at a time.
const CHUNK: u64 = 16_384;

/// The first thing wrong in the derived files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DerivedFault {
    /// A file is not there.
    Missing,
    /// The place or leaf hash of a record is wrong or not there.
    Record(Index),
    /// The root of a finished tile is wrong or not there.
    Tile(u64),
}

impl fmt::Display for DerivedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("a derived file is missing"),
            Self::Record(index) => write!(f, "the derived record of {index} is wrong"),
            Self::Tile(tile) => write!(f, "the derived root of tile {tile} is wrong"),
        }
    }
}

/// Follows the walk and compares. Records beyond the head may be missing: they are written after
/// the frame.
pub(crate) struct DerivedCheck {
    derived: Option<Derived>,
    head_size: u64,
    chunk: Vec<Record>,
    chunk_start: u64,
    tree: HashTree,
    fault: Option<DerivedFault>,
}

impl DerivedCheck {
    pub(crate) fn new(layout: &Layout, head_size: u64) -> io::Result<Self> {
        let derived = Derived::open_read_only(layout)?;
        let fault = if derived.is_none() {
            Some(DerivedFault::Missing)
        } else {
            None
        };
        let (chunk, tree) = (Vec::new(), HashTree::default());
        Ok(Self {
            derived,
            head_size,
            chunk,
            chunk_start: 0,
            tree,
            fault,
        })
    }

    /// Compares the records of a sound frame, the next in order.
    pub(crate) fn compare(&mut self, frame: &Frame) -> io::Result<()> {
        let records = frame.records().unwrap_or_default();
        for (index, record) in (frame.preamble.header.first..).zip(records) {
            self.tree.push(record.leaf);
            if index < self.head_size && self.fault.is_none() && self.read(index)? != Some(record) {
                self.fault = Some(DerivedFault::Record(Index::new(index)));
            }
        }
        Ok(())
    }

    /// Compares the tile roots of the first `size` records, and gives the first fault of all.
    pub(crate) fn finish(&mut self, size: u64) -> io::Result<Option<DerivedFault>> {
        let (None, Some(derived)) = (self.fault, &self.derived) else {
            return Ok(self.fault);
        };
        let count = size / TILE;
        let roots = derived.read_tiles(0, count)?;
        let wrong = |tile: &u64| {
            let made = self.tree.tile_root(*tile);
            made.is_none() || roots.get(narrow(*tile)).copied() != made
        };
        Ok((0..count).find(wrong).map(DerivedFault::Tile))
    }

    /// The first entry of the frame whose leaf hash is another in the derived file. That file
    /// proves nothing, but whoever alters an entry seldom thinks of it.
    pub(crate) fn first_difference(&self, frame: &Frame) -> Option<u64> {
        let header = &frame.preamble.header;
        let derived = self.derived.as_ref()?;
        let held = derived
            .read_records(header.first, wide(header.count))
            .ok()?;
        let rows = frame.preamble.rows.iter();
        let mut pairs = (header.first..).zip(held.iter().zip(rows));
        pairs
            .find(|(_, (held, row))| held.leaf != row.leaf)
            .map(|(index, _)| index)
    }

    fn read(&mut self, index: u64) -> io::Result<Option<Record>> {
        let end = self.chunk_start.saturating_add(wide(self.chunk.len()));
        if index < self.chunk_start || index >= end {
            let Some(derived) = &self.derived else {
                return Ok(None);
            };
            self.chunk = derived.read_records(index, CHUNK)?;
            self.chunk_start = index;
        }
        Ok(self
            .chunk
            .get(narrow(index.saturating_sub(self.chunk_start)))
            .copied())
    }
}
