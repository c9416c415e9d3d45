//! Going through the frames of a log in order, checking each against all before it.
//!
//! The walk reads; it decides nothing. What a flaw means (a torn tail, damage) is for whoever
//! walks: [`recover`](crate::file::recover) and [`fsck`](crate::fsck).

use std::fs::File;
use std::io;
use std::sync::Arc;

use placet_tlog::Hash;
use placet_tlog::tree::Frontier;

use crate::bytes::{narrow, wide};
use crate::file::frame::Flaw;
use crate::file::layout::{Layout, Segment};
use crate::file::read::{Frame, read_frame};
use crate::file::window::Window;
use crate::fsck::damage::Damage;

/// Bytes read at a time.
const READ_AHEAD: usize = 1 << 20;
/// Bytes looked at at a time, for whether they are room: a page first says no to any frame.
const SEARCH_LEN: usize = 4096;

/// What the walk came upon.
#[derive(Debug)]
pub(crate) enum Found {
    /// The next frame; it continues the history before it.
    Frame(Frame),
    /// The end of the last segment, or the room that a writer made there for what comes next.
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
        let (check_payloads, last) = (size >= self.payloads_from, self.is_in_last_segment());
        let Some(window) = self.window()? else {
            return Ok(Found::End);
        };
        if offset == window.len() || last && is_room(window, offset)? {
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

/// Whether there are only zeros from here on. No frame begins with one.
fn is_room(window: &mut Window, offset: u64) -> io::Result<bool> {
    let mut at = offset;
    while at < window.len() {
        let len = (window.len() - at).min(wide(SEARCH_LEN));
        let bytes = window.bytes(at, narrow(len))?;
        if bytes.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            return Ok(false);
        }
        at += len;
    }
    Ok(true)
}
