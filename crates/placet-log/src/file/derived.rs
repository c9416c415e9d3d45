//! Two files that can always be computed again from the segments: where each record is, with its
//! leaf hash, and the roots of the finished tiles.
//!
//! ```text
//! derived/records  (leaf hash [32] ‖ u32 offset of its frame ‖ u32 offset of the entry therein)*
//! derived/tiles    (root of 256 leaves [32])*
//! ```
//!
//! Never synced, never believed: the tile roots are checked against the signed head when the log
//! is opened, a tile's leaves against its root and an entry against its leaf when they are read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use placet_tlog::Hash;

use crate::bytes::{Fields, narrow, wide};
use crate::file::layout::Layout;
use crate::file::store::Store;
use crate::tree::{HashTree, TILE};

const RECORD_LEN: usize = 40;

/// Where a record is in its segment, and its leaf hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) leaf: Hash,
    /// Offset of its frame in the segment.
    pub(crate) frame: u32,
    /// Offset of its length bytes in the frame.
    pub(crate) entry: u32,
}

/// The derived files, open.
#[derive(Debug)]
pub(crate) struct Derived {
    records: Store,
    tiles: Store,
}

impl Record {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.leaf.as_bytes());
        to.extend_from_slice(&self.frame.to_be_bytes());
        to.extend_from_slice(&self.entry.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            leaf: fields.hash()?,
            frame: fields.u32()?,
            entry: fields.u32()?,
        })
    }
}

impl Derived {
    /// Opens both files for writing; `None` if one is not there.
    pub(crate) fn open(layout: &Layout) -> io::Result<Option<Self>> {
        Self::open_with(
            layout,
            OpenOptions::new().read(true).write(true),
            Store::File,
        )
    }

    /// Starts both files anew beside the ones that are there. A rebuild that ends in a refusal must
    /// not have destroyed what `fsck` can still learn from them.
    pub(crate) fn stage(layout: &Layout) -> io::Result<Self> {
        fs::create_dir_all(layout.derived())?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let open = |path: PathBuf| options.open(staged(&path));
        Ok(Self {
            records: Store::File(open(layout.records())?),
            tiles: Store::File(open(layout.tiles())?),
        })
    }

    /// Puts the staged files in the place of the others. Between the two renames they are of two
    /// makes, which the check against the head and those at reading tell.
    pub(crate) fn unstage(layout: &Layout) -> io::Result<()> {
        fs::rename(staged(&layout.records()), layout.records())?;
        fs::rename(staged(&layout.tiles()), layout.tiles())
    }

    /// Opens both files for reading; `None` if one is not there.
    pub(crate) fn open_read_only(layout: &Layout) -> io::Result<Option<Self>> {
        Self::open_with(layout, OpenOptions::new().read(true), Store::Foreign)
    }

    /// Starts with neither file, and makes none.
    pub(crate) fn in_memory() -> Self {
        Self {
            records: Store::memory(),
            tiles: Store::memory(),
        }
    }

    /// Whether they are another process's to write.
    pub(crate) const fn is_foreign(&self) -> bool {
        matches!(self.records, Store::Foreign(_))
    }

    fn open_with(
        layout: &Layout,
        options: &OpenOptions,
        store: fn(File) -> Store,
    ) -> io::Result<Option<Self>> {
        match (options.open(layout.records()), options.open(layout.tiles())) {
            (Ok(records), Ok(tiles)) => Ok(Some(Self {
                records: store(records),
                tiles: store(tiles),
            })),
            (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(error)
            }
            _ => Ok(None),
        }
    }

    /// Cuts both files to what a log of `size` records has.
    pub(crate) fn truncate(&self, size: u64) -> io::Result<()> {
        self.records.set_len(size * wide(RECORD_LEN))?;
        self.tiles.set_len(size / TILE * wide(Hash::LEN))
    }

    /// Writes the records from `first` on.
    pub(crate) fn write_records(&self, first: u64, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(records.len() * RECORD_LEN);
        records.iter().for_each(|record| record.encode(&mut bytes));
        self.records.write_all_at(&bytes, first * wide(RECORD_LEN))
    }

    /// Writes the tile roots from `first` on.
    pub(crate) fn write_tiles(&self, first: u64, roots: &[Hash]) -> io::Result<()> {
        if roots.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = roots.iter().flat_map(Hash::as_bytes).copied().collect();
        self.tiles.write_all_at(&bytes, first * wide(Hash::LEN))
    }

    /// Reads `count` records from `first` on, or as many as there are.
    pub(crate) fn read_records(&self, first: u64, count: u64) -> io::Result<Vec<Record>> {
        let bytes = read_up_to(&self.records, first * wide(RECORD_LEN), count, RECORD_LEN)?;
        Ok(bytes
            .chunks_exact(RECORD_LEN)
            .filter_map(Record::decode)
            .collect())
    }

    /// Reads `count` tile roots from `first` on, or as many as there are.
    pub(crate) fn read_tiles(&self, first: u64, count: u64) -> io::Result<Vec<Hash>> {
        let bytes = read_up_to(&self.tiles, first * wide(Hash::LEN), count, Hash::LEN)?;
        Ok(bytes
            .as_chunks::<{ Hash::LEN }>()
            .0
            .iter()
            .copied()
            .map(Hash::new)
            .collect())
    }

    /// The tree of `size` leaves and the records of its unfinished tile, as the files have them;
    /// `None` if the files end before. Nothing is checked.
    pub(crate) fn load(&self, size: u64) -> io::Result<Option<(HashTree, Vec<Record>)>> {
        let tiles = size / TILE;
        let roots = self.read_tiles(0, tiles)?;
        let recent = self.read_records(tiles * TILE, size % TILE)?;
        if wide(roots.len()) != tiles || wide(recent.len()) != size % TILE {
            return Ok(None);
        }
        let mut tree = HashTree::default();
        roots.into_iter().for_each(|root| tree.push_tile(root));
        for record in &recent {
            tree.push(record.leaf);
        }
        Ok(Some((tree, recent)))
    }
}

fn staged(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn read_up_to(store: &Store, offset: u64, count: u64, width: usize) -> io::Result<Vec<u8>> {
    let there = store.len()?.saturating_sub(offset);
    let len = there.min(count.saturating_mul(wide(width)));
    let mut bytes = vec![0; narrow(len)];
    store.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
