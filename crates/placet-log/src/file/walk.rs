//! Going through the frames of a log in order, checking each against all before it.
//!
//! The walk reads; it decides nothing. What a flaw means (a torn tail, damage) is for whoever
//! walks: [`recover`](crate::file::recover) and [`fsck`](crate::fsck).

use std::fs::File;
use std::io;
use std::sync::Arc;

use placet_tlog::Hash;
use placet_tlog::note::VerifierKey;
use placet_tlog::tree::Frontier;
use placet_types::Index;

use crate::bytes::{Fields, wide};
use crate::file::EntryCheck;
use crate::file::derived::Record;
use crate::file::frame::{
    Flaw, HEADER_LEN, Header, MAGIC, Preamble, Stored, read_stored, split_entry,
};
use crate::file::layout::{Layout, Segment};
use crate::file::window::Window;
use crate::fsck::damage::Damage;
use crate::vouch;

/// Bytes read at a time.
const READ_AHEAD: usize = 1 << 20;

/// A frame whose seal and entries are sound.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) preamble: Preamble,
    pub(crate) entries: Vec<u8>,
    /// Offset in its segment.
    pub(crate) offset: u64,
}

/// What the walk came upon.
#[derive(Debug)]
pub(crate) enum Found {
    /// The next frame; it continues the history before it.
    Frame(Frame),
    /// The end of the last segment.
    End,
    /// Bytes that are no whole frame: altered, or torn by an interrupted write.
    Torn(Place),
    /// Whole, but not a continuation of the history before: no interrupted write does that.
    Foreign(Place),
}

/// Something wrong at an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) damage: Damage,
}

/// A position in the log, with everything needed to judge what follows.
pub(crate) struct Walk<'a> {
    layout: &'a Layout,
    segments: &'a [Segment],
    /// Position of the current segment in the list.
    at: usize,
    /// Offset of the next frame in the current segment.
    offset: u64,
    window: Option<Window>,
    frontier: Frontier,
    root: Hash,
    /// Frames from this index on count as torn when a payload was not wholly written.
    payloads_from: u64,
}

impl<'a> Walk<'a> {
    /// Starts where `frontier` ends, at `offset` of the segment numbered `at`.
    pub(crate) fn new(
        layout: &'a Layout,
        segments: &'a [Segment],
        at: usize,
        offset: u64,
        frontier: Frontier,
    ) -> Self {
        let root = frontier.root();
        let (window, payloads_from) = (None, u64::MAX);
        Self {
            layout,
            segments,
            at,
            offset,
            window,
            frontier,
            root,
            payloads_from,
        }
    }

    /// Has frames from `index` on count as torn when a payload is not as it was written. For what
    /// may be the remains of an interrupted write: elsewhere a payload is not evidence.
    pub(crate) const fn check_payloads_from(&mut self, index: u64) {
        self.payloads_from = index;
    }

    /// Number of records before the next frame.
    pub(crate) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root of those records.
    pub(crate) const fn root(&self) -> Hash {
        self.root
    }

    /// The segment that the walk is in, and the offset of the next frame.
    pub(crate) fn position(&self) -> Option<(&Segment, u64)> {
        self.segments
            .get(self.at)
            .map(|segment| (segment, self.offset))
    }

    /// Whether segments follow the one that the walk is in.
    pub(crate) const fn is_in_last_segment(&self) -> bool {
        self.at + 1 >= self.segments.len()
    }

    /// The open segment.
    pub(crate) fn window(&mut self) -> io::Result<Option<&mut Window>> {
        if self.window.is_none() {
            let Some(segment) = self.segments.get(self.at) else {
                return Ok(None);
            };
            let file = Arc::new(File::open(self.layout.segment(segment.first))?);
            self.window = Some(Window::new(file, segment.len, READ_AHEAD));
        }
        Ok(self.window.as_mut())
    }

    /// Reads and checks the next frame.
    pub(crate) fn next(&mut self) -> io::Result<Found> {
        if let Some(place) = self.enter_segment() {
            return Ok(Found::Foreign(place));
        }
        let offset = self.offset;
        let (size, frontier) = (self.size(), self.frontier.clone());
        let check_payloads = size >= self.payloads_from;
        let Some(window) = self.window()? else {
            return Ok(Found::End);
        };
        if offset == window.len() {
            return Ok(Found::End);
        }
        let torn = |flaw: Flaw| {
            let index = size.saturating_add(wide(flaw.at));
            Ok(Found::Torn(Place {
                index,
                damage: flaw.damage,
            }))
        };
        let frame = match read_frame(window, offset, &frontier)? {
            Ok(frame) => frame,
            Err(flaw) => return torn(flaw),
        };
        if let (true, Some(at)) = (check_payloads, frame.torn_payload(window)?) {
            return torn(Flaw {
                at,
                damage: Damage::Payload,
            });
        }
        if let Err(damage) = self.link(&frame) {
            return Ok(Found::Foreign(Place {
                index: size,
                damage,
            }));
        }
        self.offset += wide(frame.preamble.header.frame_len());
        Ok(Found::Frame(frame))
    }

    /// The frame that the walk stands before, taken by itself, if it is whole.
    pub(crate) fn frame_here(&mut self) -> io::Result<Option<Frame>> {
        let (offset, frontier) = (self.offset, self.frontier.clone());
        let Some(window) = self.window()? else {
            return Ok(None);
        };
        Ok(read_frame(window, offset, &frontier)?.ok())
    }

    /// Moves on to the next segment at the end of one; reports one that begins elsewhere.
    fn enter_segment(&mut self) -> Option<Place> {
        let segment = self.segments.get(self.at)?;
        if self.offset == segment.len && !self.is_in_last_segment() {
            self.at += 1;
            self.offset = 0;
            self.window = None;
        }
        let first = self.segments.get(self.at)?.first;
        let misplaced = self.offset == 0 && first != self.size();
        misplaced.then_some(Place {
            index: self.size(),
            damage: Damage::SegmentOrder,
        })
    }

    /// Checks that the frame continues the history, and makes it part of it.
    fn link(&mut self, frame: &Frame) -> Result<(), Damage> {
        let header = &frame.preamble.header;
        if header.first != self.size() {
            return Err(Damage::FrameIndex(header.first));
        }
        if header.before != self.root {
            return Err(Damage::RootBefore);
        }
        let mut frontier = self.frontier.clone();
        for row in &frame.preamble.rows {
            frontier.append(row.leaf).map_err(|_| Damage::FrameHeader)?;
        }
        let root = frontier.root();
        if root != header.after {
            return Err(Damage::RootAfter);
        }
        self.frontier = frontier;
        self.root = root;
        Ok(())
    }
}

impl Frame {
    /// Where each record of the frame is. `None` if an offset does not fit, which the limits on
    /// segments and batches exclude.
    pub(crate) fn records(&self) -> Option<Vec<Record>> {
        let frame = u32::try_from(self.offset).ok()?;
        let mut entry = self.preamble.header.preamble_len();
        let mut rest = Fields::new(&self.entries);
        let mut records = Vec::with_capacity(self.preamble.rows.len());
        for row in &self.preamble.rows {
            let at = u32::try_from(entry).ok()?;
            records.push(Record {
                leaf: row.leaf,
                frame,
                entry: at,
            });
            entry += split_entry(&mut rest)?.len() + 2;
        }
        Some(records)
    }

    /// The entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Fields::new(&self.entries);
        std::iter::from_fn(move || split_entry(&mut rest))
    }

    /// Whether the log key signed the history that the frame builds on.
    pub(crate) fn is_vouched_for_by(&self, key: &VerifierKey) -> bool {
        vouches(&self.preamble.header, key)
    }

    /// Judges a frame that no head covers: by the log key's signature on what it builds on, and
    /// its entries by the caller's check.
    pub(crate) fn judge_unsigned(&self, key: &VerifierKey, check: &EntryCheck) -> Option<Place> {
        let first = self.preamble.header.first;
        if !self.is_vouched_for_by(key) {
            return Some(Place {
                index: first,
                damage: Damage::Signature,
            });
        }
        let mut entries = (first..).zip(self.entries());
        let refused = entries.find(|(at, entry)| !check.accepts(Index::new(*at), entry));
        refused.map(|(index, _)| Place {
            index,
            damage: Damage::Unvouched,
        })
    }

    /// The first item whose payload is not as it was written, and not erased either.
    fn torn_payload(&self, window: &mut Window) -> io::Result<Option<usize>> {
        let mut torn = None;
        self.payloads(window, |at, stored| {
            if *stored == Stored::Damaged {
                torn = Some(at);
            }
            torn.is_none()
        })?;
        Ok(torn)
    }

    /// Reads every payload of the frame and gives its state to `see`, until `see` returns false.
    pub(crate) fn payloads(
        &self,
        window: &mut Window,
        mut see: impl FnMut(usize, &Stored<'_>) -> bool,
    ) -> io::Result<()> {
        let base = self.offset + wide(self.preamble.header.public_len());
        for at in 0..self.preamble.rows.len() {
            let Some(range) = self
                .preamble
                .payload_range(at)
                .filter(|range| !range.is_empty())
            else {
                continue;
            };
            let bytes = window.bytes(base + wide(range.start), range.len())?;
            if !see(at, &bytes.map_or(Stored::Damaged, read_stored)) {
                break;
            }
        }
        Ok(())
    }
}

fn vouches(header: &Header, key: &VerifierKey) -> bool {
    vouch::verifies(key, header.first, header.before, &header.vouch)
}

/// Reads the frame at `offset` and checks everything about it that needs no other frame.
/// `frontier`, the history before it, only helps to say what is wrong.
pub(crate) fn read_frame(
    window: &mut Window,
    offset: u64,
    frontier: &Frontier,
) -> io::Result<Result<Frame, Flaw>> {
    let flaw = |damage| Ok(Err(Flaw { at: 0, damage }));
    let Some(bytes) = window.bytes(offset, HEADER_LEN)? else {
        return flaw(Damage::FrameCutShort);
    };
    let Some(header) = Header::decode(bytes) else {
        return flaw(Damage::FrameHeader);
    };
    let (preamble_len, public_len) = (header.preamble_len(), header.public_len());
    let frame_end = offset.saturating_add(wide(header.frame_len()));
    let Some(bytes) = window.bytes(offset, public_len)? else {
        return flaw(Damage::FrameCutShort);
    };
    let (preamble, sealed) = Preamble::decode(header, bytes);
    let entries = bytes.get(preamble_len..).unwrap_or_default().to_vec();
    if !sealed {
        return Ok(Err(diagnose(&preamble, &entries, frontier)));
    }
    if let Err(flaw) = preamble.check_entries(&entries) {
        return Ok(Err(flaw));
    }
    if !preamble.has_sound_payload_lengths() {
        return flaw(Damage::FrameHeader);
    }
    if frame_end > window.len() {
        return flaw(Damage::FrameCutShort);
    }
    Ok(Ok(Frame {
        preamble,
        entries,
        offset,
    }))
}

/// Says which part of a frame with a broken seal was altered.
fn diagnose(preamble: &Preamble, entries: &[u8], frontier: &Frontier) -> Flaw {
    let Err(flaw) = preamble.check_entries(entries) else {
        return Flaw {
            at: 0,
            damage: Damage::FrameSeal,
        };
    };
    let mut made = frontier.clone();
    let mut rest = Fields::new(entries);
    for _ in 0..preamble.header.count {
        let Some(entry) = split_entry(&mut rest) else {
            return flaw;
        };
        if made.append(Hash::leaf(entry)).is_err() {
            return flaw;
        }
    }
    // The entries make the root that the frame states: then the hash in the table is the odd one.
    let sound = made.root() == preamble.header.after;
    if sound {
        Flaw {
            at: flaw.at,
            damage: Damage::LeafHash,
        }
    } else {
        flaw
    }
}

/// Whether a whole frame of this log, of records after `size`, begins anywhere after `offset`.
///
/// Payload bytes are the callers' and could spell a frame. Only one that builds on a history signed
/// by the log key counts, and no caller can sign one of more than `size` records.
pub(crate) fn has_frame_behind(
    window: &mut Window,
    offset: u64,
    size: u64,
    key: &VerifierKey,
) -> io::Result<bool> {
    let mut at = offset.saturating_add(1);
    while let Some(found) = find_magic(window, at)? {
        if is_frame_of(window, found, size, key)? {
            return Ok(true);
        }
        at = found.saturating_add(1);
    }
    Ok(false)
}

fn is_frame_of(window: &mut Window, offset: u64, size: u64, key: &VerifierKey) -> io::Result<bool> {
    let Some(header) = window.bytes(offset, HEADER_LEN)?.and_then(Header::decode) else {
        return Ok(false);
    };
    let preamble_len = header.preamble_len();
    let Some(bytes) = window.bytes(offset, preamble_len)? else {
        return Ok(false);
    };
    let (preamble, sealed) = Preamble::decode(header, bytes);
    Ok(sealed && preamble.header.first > size && vouches(&preamble.header, key))
}

fn find_magic(window: &mut Window, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while at < window.len() {
        let len = (window.len() - at).min(wide(READ_AHEAD));
        let Some(bytes) = window.bytes(at, crate::bytes::narrow(len))? else {
            return Ok(None);
        };
        if let Some(found) = bytes.windows(MAGIC.len()).position(|part| part == MAGIC) {
            return Ok(Some(at + wide(found)));
        }
        // Overlaps, so that a magic across two reads is seen.
        let seen = wide(bytes.len().saturating_sub(MAGIC.len() - 1));
        if seen == 0 {
            return Ok(None);
        }
        at += seen;
    }
    Ok(None)
}
