//! Opening a log: from whatever an interrupted write left to a state that appends can go on from.
//!
//! The signed head says how far the log must reach. Up to there, anything amiss is damage and a
//! refusal. Beyond it lies at most what was written but perhaps never acknowledged: whole frames
//! are kept (their caller may have been answered), a torn one at the very end is cut.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use placet_tlog::Hash;
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::note::VerifierKey;
use placet_tlog::tree::Frontier;
use placet_types::Index;

use crate::bytes::wide;
use crate::file::behind::has_frame_behind;
use crate::file::derived::{Derived, Record};
use crate::file::frame::{HEADER_LEN, Header};
use crate::file::layout::{Layout, Segment, sync_dir};
use crate::file::read::Frame;
use crate::file::tail::Tail;
use crate::file::walk::{Found, Place, Walk};
use crate::file::{EntryCheck, OpenError, Recovery};
use crate::fsck::damage::Damage;
use crate::fsck::narrow::culprit;
use crate::sequencer::{At as _, Step};
use crate::tree::HashTree;

/// Records between two writes of the derived files while they are rebuilt.
const REBUILD_BATCH: usize = 16_384;
/// A log that appends can go on from, its tail durable.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) derived: Derived,
    pub(crate) tree: HashTree,
    pub(crate) recent: Vec<Record>,
    pub(crate) frontier: Frontier,
    pub(crate) segments: Vec<u64>,
    /// Bytes of the last segment.
    pub(crate) end: u64,
    pub(crate) report: Recovery,
}

/// What recovery works on.
pub(crate) struct Recover<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) key: &'a VerifierKey,
    pub(crate) head: &'a SignedCheckpoint,
    pub(crate) check: &'a EntryCheck,
}

/// Grows the tree and writes the derived files behind it.
pub(crate) struct Builder {
    pub(crate) derived: Derived,
    pub(crate) tree: HashTree,
    pub(crate) recent: Vec<Record>,
    /// Records and tile roots not written yet; each list ends where the tree does.
    records: Vec<Record>,
    roots: Vec<Hash>,
}

impl Recover<'_> {
    /// Brings the log into a state to go on from, or says why it refuses.
    pub(crate) fn run(&self) -> Result<Recovered, OpenError> {
        let segments = self.layout.list_segments().at(Step::ReadSegments)?;
        match self.trust_derived(&segments).at(Step::DerivedFiles)? {
            Some((builder, at, offset)) => self.run_from(&segments, builder, at, offset),
            None => self.rebuild(),
        }
    }

    /// As [`run`](Self::run), but reads all of the log and computes the derived files again.
    pub(crate) fn rebuild(&self) -> Result<Recovered, OpenError> {
        let segments = self.layout.list_segments().at(Step::ReadSegments)?;
        let builder = Builder::new(Derived::stage(self.layout).at(Step::DerivedFiles)?);
        let mut recovered = self.run_from(&segments, builder, 0, 0)?;
        Derived::unstage(self.layout).at(Step::DerivedFiles)?;
        recovered.report.derived_rebuilt = true;
        Ok(recovered)
    }

    fn run_from(
        &self,
        segments: &[Segment],
        builder: Builder,
        at: usize,
        offset: u64,
    ) -> Result<Recovered, OpenError> {
        let frontier = builder.tree.frontier().unwrap_or_default();
        let walk = Walk::new(self.layout, segments, at, offset, frontier);
        let (mut builder, end, report) = self.walk(walk, builder)?;
        // Names that an earlier writer made and may have died before syncing.
        sync_dir(self.layout.dir()).at(Step::SyncDirectory)?;
        sync_dir(&self.layout.segments()).at(Step::SyncDirectory)?;
        builder.flush().at(Step::DerivedFiles)?;
        let Builder {
            derived,
            tree,
            recent,
            ..
        } = builder;
        derived.truncate(tree.size()).at(Step::DerivedFiles)?;
        let frontier = tree.frontier().unwrap_or_default();
        let segments = segments.iter().map(|segment| segment.first).collect();
        Ok(Recovered {
            derived,
            tree,
            recent,
            frontier,
            segments,
            end,
            report,
        })
    }

    /// The state at the head from the derived files, if they lead to the signed root and fit the
    /// segments: then nothing before the head has to be read.
    fn trust_derived(&self, segments: &[Segment]) -> io::Result<Option<(Builder, usize, u64)>> {
        match Derived::open(self.layout)? {
            Some(derived) => self.trust(derived, segments),
            None => Ok(None),
        }
    }

    /// As [`trust_derived`](Self::trust_derived), with files that are open. Writes nothing.
    pub(crate) fn trust(
        &self,
        derived: Derived,
        segments: &[Segment],
    ) -> io::Result<Option<(Builder, usize, u64)>> {
        let head = self.head.claim();
        let Some((tree, recent)) = derived.load(head.size())? else {
            return Ok(None);
        };
        if tree.root() != Some(*head.root()) {
            return Ok(None);
        }
        let Some((at, offset)) = self.end_of_head(&derived, segments)? else {
            return Ok(None);
        };
        let builder = Builder {
            tree,
            recent,
            ..Builder::new(derived)
        };
        Ok(Some((builder, at, offset)))
    }

    /// Where the frame that ends at the head's size ends. Checks on the way that every segment
    /// reaches to where the next one begins.
    fn end_of_head(
        &self,
        derived: &Derived,
        segments: &[Segment],
    ) -> io::Result<Option<(usize, u64)>> {
        let size = self.head.claim().size();
        if size == 0 {
            return Ok(Some((0, 0)));
        }
        if segments.first().is_none_or(|segment| segment.first != 0) {
            return Ok(None);
        }
        for (at, segment) in segments.iter().enumerate() {
            let next = segments
                .get(at + 1)
                .map(|next| next.first)
                .filter(|first| *first < size);
            let Some(end) = self.frame_end(derived, segment, next.unwrap_or(size))? else {
                return Ok(None);
            };
            match next {
                Some(_) if end == segment.len => {}
                None if end <= segment.len => return Ok(Some((at, end))),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Offset of the end of the segment's frame whose last record is the one before `index`.
    fn frame_end(
        &self,
        derived: &Derived,
        segment: &Segment,
        index: u64,
    ) -> io::Result<Option<u64>> {
        let before = derived.read_records(index.saturating_sub(1), 1)?;
        let Some(record) = before.first() else {
            return Ok(None);
        };
        let file = File::open(self.layout.segment(segment.first))?;
        let mut bytes = [0; HEADER_LEN];
        let offset = u64::from(record.frame);
        if offset + wide(HEADER_LEN) > segment.len {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, offset)?;
        let header = Header::decode(&bytes).filter(|header| header.end() == index);
        Ok(header.map(|header| offset + wide(header.frame_len())))
    }

    /// Goes through what is not known yet: all of the log, or what lies beyond the head.
    fn walk(
        &self,
        mut walk: Walk<'_>,
        mut builder: Builder,
    ) -> Result<(Builder, u64, Recovery), OpenError> {
        walk.check_payloads_from(self.head.claim().size());
        let (mut report, mut tail) = (Recovery::default(), Tail::default());
        loop {
            self.check_head_root(&walk)?;
            match walk.next().at(Step::ReadSegments)? {
                Found::Frame(frame) => {
                    self.accept(&frame, &walk, &mut tail, &mut report)?;
                    builder.add(&frame).at(Step::DerivedFiles)?;
                }
                Found::End => break,
                Found::Foreign(place) => return Err(place.into()),
                Found::Torn(place) => {
                    report.cut_bytes = self.judge_torn(&mut walk, place)?;
                    tail.cut(&walk);
                    break;
                }
            }
        }
        let (size, head) = (walk.size(), self.head.claim().size());
        if size < head {
            return Err(OpenError::Truncated {
                size: Index::new(size),
                head: Index::new(head),
            });
        }
        // Room of an earlier writer is cut like a torn end, and counted as nothing that was lost.
        if walk
            .position()
            .is_some_and(|(segment, offset)| offset < segment.len)
        {
            tail.cut(&walk);
        }
        tail.make_durable(self.layout)?;
        let end = walk.position().map_or(0, |(_, offset)| offset);
        Ok((builder, end, report))
    }

    /// Where the walk reaches the head's size, the entries must make the root that it signs.
    pub(crate) fn check_head_root(&self, walk: &Walk<'_>) -> Result<(), OpenError> {
        let head = self.head.claim();
        if walk.size() != head.size() || walk.root() == *head.root() {
            return Ok(());
        }
        let segments = self.layout.list_segments().at(Step::ReadSegments)?;
        let frame = culprit(self.layout, &segments, self.key, head.size());
        let frame = frame.at(Step::ReadSegments)?;
        let index = Index::new(frame.map_or(0, |frame| frame.preamble.header.first));
        Err(OpenError::Damaged {
            index,
            damage: Damage::HeadRoot { head: head.size() },
        })
    }

    /// Judges a whole frame. One beyond the head was perhaps never acknowledged, and the head's
    /// signature does not cover it.
    fn accept(
        &self,
        frame: &Frame,
        walk: &Walk<'_>,
        tail: &mut Tail,
        report: &mut Recovery,
    ) -> Result<(), OpenError> {
        let header = &frame.preamble.header;
        let head = self.head.claim().size();
        if header.first < head {
            // A head is written between frames, so none of them reaches across it.
            let place = Place {
                index: header.first,
                damage: Damage::HeadRoot { head },
            };
            return if header.end() <= head {
                Ok(())
            } else {
                Err(place.into())
            };
        }
        if let Some(place) = frame.judge_unsigned(self.key, self.check) {
            return Err(place.into());
        }
        report.kept_records += wide(header.count);
        tail.keep(walk, frame);
        Ok(())
    }

    /// Decides whether bytes that are no frame are the remains of an interrupted write, and cuts
    /// them if so. Returns their number.
    fn judge_torn(&self, walk: &mut Walk<'_>, place: Place) -> Result<u64, OpenError> {
        let (size, head) = (walk.size(), self.head.claim().size());
        let last = walk.is_in_last_segment();
        if size < head {
            let short = last && place.damage == Damage::FrameCutShort;
            let (size, head) = (Index::new(size), Index::new(head));
            return Err(if short {
                OpenError::Truncated { size, head }
            } else {
                place.into()
            });
        }
        let Some((segment, offset)) = walk.position() else {
            return Ok(0);
        };
        let torn = segment.len.saturating_sub(offset);
        let behind = match walk.window().at(Step::ReadSegments)? {
            Some(window) if last => has_frame_behind(window, offset, size, self.key),
            _ => Ok(true),
        };
        if behind.at(Step::ReadSegments)? {
            return Err(Place {
                index: size,
                damage: Damage::TornMiddle,
            }
            .into());
        }
        Ok(torn)
    }
}

impl Builder {
    pub(crate) fn new(derived: Derived) -> Self {
        let tree = HashTree::default();
        Self {
            derived,
            tree,
            recent: Vec::new(),
            records: Vec::new(),
            roots: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, frame: &Frame) -> io::Result<()> {
        let records = frame.records();
        let records = records.ok_or_else(|| io::Error::other("an offset exceeds 32 bits"))?;
        for record in records {
            push_record(&mut self.tree, &mut self.recent, record, &mut self.roots);
            self.records.push(record);
        }
        if self.records.len() >= REBUILD_BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let first = self.tree.size().saturating_sub(wide(self.records.len()));
        self.derived.write_records(first, &self.records)?;
        let first = self.tree.tiles().saturating_sub(wide(self.roots.len()));
        self.derived.write_tiles(first, &self.roots)?;
        self.records.clear();
        self.roots.clear();
        Ok(())
    }
}

/// Adds a record to the tree and to the records of the unfinished tile.
pub(crate) fn push_record(
    tree: &mut HashTree,
    recent: &mut Vec<Record>,
    record: Record,
    roots: &mut Vec<Hash>,
) {
    recent.push(record);
    if let Some(root) = tree.push(record.leaf) {
        roots.push(root);
        recent.clear();
    }
}

impl From<Place> for OpenError {
    fn from(place: Place) -> Self {
        Self::Damaged {
            index: Index::new(place.index),
            damage: place.damage,
        }
    }
}
