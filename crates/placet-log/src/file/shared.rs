//! What readers and the writer of a log on disk share.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use placet_tlog::Hash;
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::tree::NodeId;
use placet_types::Index;

use crate::bytes::{Fields, narrow, wide};
use crate::file::derived::{Derived, Record};
use crate::file::frame::{HEADER_LEN, Header, Preamble, Stored, read_stored, split_entry};
use crate::file::layout::Layout;
use crate::file::read::{Frame, read_frame};
use crate::file::recover::push_record;
use crate::file::window::Window;
use crate::fsck::damage::Damage;
use crate::reader::{Payload, ReadError, Source};
use crate::tree::{HashTree, TILE, fold, node_of_leaves};

/// Checked tiles kept in memory, 10 KiB each.
const CACHED_TILES: usize = 64;
/// Segments kept open.
const OPEN_SEGMENTS: usize = 64;
/// Bytes read for one entry, before its length is known.
const READ_ONE: usize = 4 << 10;
/// Bytes read at a time when entries are read in order, and given out at once.
const READ_MANY: usize = 256 << 10;

/// Everything that readers need, behind locks that are held for memory only, never for the disk.
#[derive(Debug)]
pub(crate) struct Shared {
    layout: Layout,
    derived: Derived,
    view: RwLock<View>,
    /// Tiles whose leaves were checked against the tree, the latest used first.
    tiles: Mutex<VecDeque<(u64, Arc<Vec<Record>>)>>,
    files: Mutex<VecDeque<(u64, Arc<File>)>>,
    /// The frame that was opened last: whoever reads payloads in order wants it again for each of a batch.
    opened: Mutex<Option<Opened>>,
    /// Held while a payload is read, and exclusively while one is overwritten.
    erasing: RwLock<()>,
}

/// What is published: never more than is durable.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) head: Arc<SignedCheckpoint>,
    pub(crate) tree: HashTree,
    /// Records of the unfinished tile.
    pub(crate) recent: Vec<Record>,
    /// First index of each segment.
    pub(crate) segments: Vec<u64>,
}

/// A frame whose seal was checked. Nothing of this ever changes.
#[derive(Clone, Debug)]
struct Opened {
    segment: u64,
    offset: u64,
    preamble: Arc<Preamble>,
}

/// A record's frame, opened.
pub(crate) struct Located {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) preamble: Arc<Preamble>,
    /// Position of the record in the frame.
    pub(crate) at: usize,
}

impl Shared {
    pub(crate) fn new(layout: Layout, derived: Derived, view: View) -> Self {
        Self {
            layout,
            derived,
            view: RwLock::new(view),
            tiles: Mutex::default(),
            files: Mutex::default(),
            opened: Mutex::default(),
            erasing: RwLock::default(),
        }
    }

    pub(crate) fn derived(&self) -> &Derived {
        &self.derived
    }

    /// Makes a durable batch visible.
    pub(crate) fn publish(&self, head: &Arc<SignedCheckpoint>, records: &[Record], segment: u64) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let View {
            tree,
            recent,
            segments,
            ..
        } = &mut *view;
        let mut roots = Vec::new();
        for record in records {
            push_record(tree, recent, *record, &mut roots);
        }
        if segments.last() != Some(&segment) {
            segments.push(segment);
        }
        view.head = Arc::clone(head);
    }

    /// Keeps payloads from being read while one is overwritten.
    pub(crate) fn erase_guard(&self) -> RwLockWriteGuard<'_, ()> {
        self.erasing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the frame of a published record.
    pub(crate) fn locate(&self, index: u64) -> Result<Located, ReadError> {
        let record = self.record(index)?;
        if let Some(located) = self.locate_at(index, record)? {
            return Ok(located);
        }
        let record = self.rescanned(index)?;
        let damage = Damage::FrameSeal;
        self.locate_at(index, record)?
            .ok_or_else(|| damaged(index, damage))
    }

    fn locate_at(&self, index: u64, record: Record) -> Result<Option<Located>, ReadError> {
        let segment = self.segment_of(index);
        let offset = u64::from(record.frame);
        let Some(preamble) = self.preamble(segment, offset)? else {
            return Ok(None);
        };
        let header = &preamble.header;
        if !(header.first..header.end()).contains(&index) {
            return Ok(None);
        }
        let at = narrow(index - header.first);
        Ok(Some(Located {
            segment,
            offset,
            preamble,
            at,
        }))
    }

    /// The preamble of the frame at `offset`, if there is one whose seal holds.
    fn preamble(&self, segment: u64, offset: u64) -> io::Result<Option<Arc<Preamble>>> {
        let known = lock(&self.opened).clone();
        if let Some(known) = known.filter(|it| (it.segment, it.offset) == (segment, offset)) {
            return Ok(Some(known.preamble));
        }
        let mut window = self.window(segment, READ_ONE)?;
        let Some(header) = window.bytes(offset, HEADER_LEN)?.and_then(Header::decode) else {
            return Ok(None);
        };
        let Some(bytes) = window.bytes(offset, header.preamble_len())? else {
            return Ok(None);
        };
        let (preamble, sealed) = Preamble::decode(header, bytes);
        if !sealed {
            return Ok(None);
        }
        let preamble = Arc::new(preamble);
        *lock(&self.opened) = Some(Opened {
            segment,
            offset,
            preamble: Arc::clone(&preamble),
        });
        Ok(Some(preamble))
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment_of(&self, index: u64) -> u64 {
        let view = self.view();
        let after = view.segments.partition_point(|first| *first <= index);
        after
            .checked_sub(1)
            .and_then(|at| view.segments.get(at))
            .copied()
            .unwrap_or_default()
    }

    fn file(&self, segment: u64) -> io::Result<Arc<File>> {
        if let Some(file) = lookup(&mut lock(&self.files), segment) {
            return Ok(file);
        }
        let file = Arc::new(File::open(self.layout.segment(segment))?);
        remember(&mut lock(&self.files), segment, &file, OPEN_SEGMENTS);
        Ok(file)
    }

    fn window(&self, segment: u64, ahead: usize) -> io::Result<Window> {
        let file = self.file(segment)?;
        let len = file.metadata()?.len();
        Ok(Window::new(file, len, ahead))
    }

    /// The record at a published index, its leaf hash checked against the tree.
    fn record(&self, index: u64) -> Result<Record, ReadError> {
        let (tile, at) = (index / TILE, narrow(index % TILE));
        let records = self.tile(tile)?;
        records
            .get(at)
            .copied()
            .ok_or_else(|| damaged(index, Damage::Entry))
    }

    /// The records of a tile, finished or not, checked against the tree.
    fn tile(&self, tile: u64) -> Result<Arc<Vec<Record>>, ReadError> {
        {
            let view = self.view();
            if tile >= view.tree.tiles() {
                return Ok(Arc::new(view.recent.clone()));
            }
        }
        if let Some(records) = lookup(&mut lock(&self.tiles), tile) {
            return Ok(records);
        }
        let records = self.derived.read_records(tile * TILE, TILE)?;
        if !self.is_tile(tile, &records) {
            return self.rescan_tile(tile);
        }
        let records = Arc::new(records);
        remember(&mut lock(&self.tiles), tile, &records, CACHED_TILES);
        Ok(records)
    }

    fn is_tile(&self, tile: u64, records: &[Record]) -> bool {
        let leaves: Vec<Hash> = records.iter().map(|record| record.leaf).collect();
        wide(leaves.len()) == TILE && self.view().tree.tile_root(tile) == Some(fold(&leaves))
    }

    /// Reads a record's place from the segments: for when the derived file is wrong about it.
    fn rescanned(&self, index: u64) -> Result<Record, ReadError> {
        if index / TILE >= self.view().tree.tiles() {
            return self.record(index);
        }
        let records = self.rescan_tile(index / TILE)?;
        let record = records.get(narrow(index % TILE)).copied();
        record.ok_or_else(|| damaged(index, Damage::Entry))
    }

    /// Computes a finished tile again from the segments and repairs the derived file.
    fn rescan_tile(&self, tile: u64) -> Result<Arc<Vec<Record>>, ReadError> {
        let (start, end) = (tile * TILE, (tile + 1) * TILE);
        let mut records = Vec::new();
        let mut index = start;
        while index < end {
            let found = self.records_from(index, end)?;
            index += wide(found.len());
            records.extend(found);
        }
        if !self.is_tile(tile, &records) {
            return Err(damaged(start, Damage::RootAfter));
        }
        if !self.derived.is_foreign() {
            self.derived.write_records(start, &records)?;
        }
        let records = Arc::new(records);
        remember(&mut lock(&self.tiles), tile, &records, CACHED_TILES);
        Ok(records)
    }

    /// Records from `index` on, up to `end`, of the segment that holds `index`: at least one.
    fn records_from(&self, index: u64, end: u64) -> Result<Vec<Record>, ReadError> {
        let mut window = self.window(self.segment_of(index), READ_MANY)?;
        let (mut offset, mut records) = (0, Vec::new());
        while let Some(header) = window.bytes(offset, HEADER_LEN)?.and_then(Header::decode) {
            if header.first >= end {
                break;
            }
            if header.end() > index {
                let frame = sound_frame(&mut window, offset, header.first)?;
                let found = frame.records().unwrap_or_default().into_iter();
                let wanted = (header.first..end)
                    .zip(found)
                    .filter(|(at, _)| *at >= index);
                records.extend(wanted.map(|(_, record)| record));
            }
            offset += wide(header.frame_len());
        }
        let none = records.is_empty();
        if none {
            Err(damaged(index, Damage::FrameHeader))
        } else {
            Ok(records)
        }
    }

    /// Reads entries that lie in one segment, as the given records say, until `READ_MANY` bytes.
    fn read_entries(&self, first: u64, records: &[Record]) -> Result<Vec<Vec<u8>>, ReadError> {
        let ahead = if records.len() > 1 {
            READ_MANY
        } else {
            READ_ONE
        };
        let mut window = self.window(self.segment_of(first), ahead)?;
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        for (index, record) in (first..).zip(records) {
            let entry = match read_entry(&mut window, *record)? {
                Some(entry) => entry,
                None => read_entry(&mut window, self.rescanned(index)?)?
                    .ok_or_else(|| damaged(index, Damage::Entry))?,
            };
            bytes = bytes.saturating_add(entry.len());
            entries.push(entry);
            if bytes > READ_MANY {
                break;
            }
        }
        Ok(entries)
    }
}

impl Source for Shared {
    fn head(&self) -> Arc<SignedCheckpoint> {
        Arc::clone(&self.view().head)
    }

    fn nodes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, ReadError> {
        // Nodes of one request often lie in one tile.
        let mut held: Option<(u64, Vec<Hash>)> = None;
        let node = |node: &NodeId| {
            if let Some(hash) = self.view().tree.upper(*node) {
                return Ok(hash);
            }
            let tile = (node.index() << node.level()) / TILE;
            if held.as_ref().is_none_or(|(index, _)| *index != tile) {
                let leaves = self.tile(tile)?.iter().map(|record| record.leaf).collect();
                held = Some((tile, leaves));
            }
            let leaves = held.as_ref().map_or(&[][..], |(_, leaves)| leaves);
            let missing = || ReadError::NoSuchTree {
                asked: node.end(),
                size: self.view().size(),
            };
            node_of_leaves(*node, tile, leaves).ok_or_else(missing)
        };
        nodes.iter().map(node).collect()
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        let tile = range.start / TILE;
        let records = self.tile(tile)?;
        let end = range
            .end
            .min(self.segment_end(range.start))
            .min((tile + 1) * TILE);
        let (from, to) = (narrow(range.start - tile * TILE), narrow(end - tile * TILE));
        let records = records.get(from..to.min(records.len())).unwrap_or_default();
        self.read_entries(range.start, records)
    }

    fn payload(&self, index: u64) -> Result<Payload, ReadError> {
        let located = self.locate(index)?;
        let range = located.payload().filter(|range| !range.is_empty());
        let Some(range) = range else {
            return Ok(Payload::None);
        };
        let payload = self.stored(located.segment, range.clone())?;
        if payload != Payload::Damaged {
            return Ok(payload);
        }
        // A writer in another process does not wait for us: this may be half of an erasure. Its
        // first step was durable before, so a second look tells.
        self.stored(located.segment, range)
    }
}

impl Shared {
    fn stored(&self, segment: u64, range: Range<u64>) -> Result<Payload, ReadError> {
        let _reading = self.erasing.read().unwrap_or_else(PoisonError::into_inner);
        let mut window = self.window(segment, 0)?;
        let bytes = window.bytes(range.start, narrow(range.end - range.start))?;
        Ok(match bytes.map_or(Stored::Damaged, read_stored) {
            Stored::Present(payload) => Payload::Present(payload.to_vec()),
            Stored::Erased | Stored::HalfErased => Payload::Erased,
            Stored::Damaged => Payload::Damaged,
        })
    }

    /// Index at which the segment of `index` ends, as far as segments are known.
    fn segment_end(&self, index: u64) -> u64 {
        let view = self.view();
        let after = view.segments.partition_point(|first| *first <= index);
        view.segments.get(after).copied().unwrap_or(u64::MAX)
    }
}

impl View {
    fn size(&self) -> u64 {
        self.head.claim().size()
    }
}

impl Located {
    /// Where the record's payload lies in the segment. Empty if it has none.
    pub(crate) fn payload(&self) -> Option<Range<u64>> {
        let base = self.offset + wide(self.preamble.header.public_len());
        let range = self.preamble.payload_range(self.at)?;
        Some(base + wide(range.start)..base + wide(range.end))
    }
}

fn damaged(index: u64, damage: Damage) -> ReadError {
    ReadError::Damaged {
        index: Index::new(index),
        damage,
    }
}

/// The entry at the place that `record` names, if it is the one that its leaf hash names.
fn read_entry(window: &mut Window, record: Record) -> io::Result<Option<Vec<u8>>> {
    let offset = u64::from(record.frame) + u64::from(record.entry);
    let Some(len) = window
        .bytes(offset, 2)?
        .and_then(|bytes| Fields::new(bytes).u16())
    else {
        return Ok(None);
    };
    let bytes = window.bytes(offset, usize::from(len) + 2)?;
    let entry = bytes.and_then(|bytes| split_entry(&mut Fields::new(bytes)));
    Ok(entry
        .filter(|entry| Hash::leaf(entry) == record.leaf)
        .map(<[u8]>::to_vec))
}

fn sound_frame(window: &mut Window, offset: u64, first: u64) -> Result<Frame, ReadError> {
    let frame = read_frame(window, offset, &placet_tlog::tree::Frontier::new())?;
    frame.map_err(|flaw| damaged(first.saturating_add(wide(flaw.at)), flaw.damage))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lookup<T>(cache: &mut VecDeque<(u64, Arc<T>)>, key: u64) -> Option<Arc<T>> {
    let at = cache.iter().position(|(held, _)| *held == key)?;
    let found = cache.remove(at)?;
    let value = Arc::clone(&found.1);
    cache.push_front(found);
    Some(value)
}

fn remember<T>(cache: &mut VecDeque<(u64, Arc<T>)>, key: u64, value: &Arc<T>, limit: usize) {
    cache.retain(|(held, _)| *held != key);
    cache.push_front((key, Arc::clone(value)));
    cache.truncate(limit);
}
