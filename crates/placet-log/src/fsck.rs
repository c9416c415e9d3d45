//! Checking a log from its first byte to its last, trusting nothing but the log's public key.
//!
//! Reads only, needs no lock, and may run beside a writer: it judges the log up to the head that
//! it finds when it begins. [`check`] tells damage of the evidence, which nothing here can undo and
//! which keeps the log from opening, from damage of derived files, which [`repair`] undoes.

pub mod damage;
mod derived;
mod first;
pub(crate) mod narrow;

use std::io;
use std::path::Path;

use placet_tlog::Hash;
use placet_tlog::note::VerifierKey;
use placet_tlog::tree::Frontier;
use placet_types::Index;

use crate::bytes::wide;
use crate::file::behind::has_frame_behind;
use crate::file::frame::Stored;
use crate::file::head::Slots;
use crate::file::layout::{Layout, Segment};
use crate::file::open::{acquire, read_head};
use crate::file::read::Frame;
use crate::file::recover::Recover;
use crate::file::walk::{Found, Place, Walk};
use crate::file::{EntryCheck, OpenError, Recovery};
use crate::fsck::damage::Damage;
use crate::fsck::derived::DerivedCheck;

pub use derived::DerivedFault;
pub use first::first_entry;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Records that were read and are sound, from index 0 without a gap.
    pub size: u64,
    /// Root of those records.
    pub root: Hash,
    /// Frames that hold them.
    pub frames: u64,
    /// Segment files of the log.
    pub segments: usize,
    /// The signed head.
    pub head: HeadState,
    /// The first bad index and what is wrong with it.
    pub evidence: Option<BadRecord>,
    /// Bytes at the very end that are no whole frame: an append that was interrupted, or is under
    /// way. Opening the log cuts them.
    pub torn_bytes: u64,
    /// The first thing wrong in the files that can be computed again.
    pub derived: Option<DerivedFault>,
    /// The payloads of the sound records.
    pub payloads: Payloads,
}

/// A bad record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// The lowest index with damage.
    pub index: Index,
    /// What is wrong.
    pub damage: Damage,
}

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadState {
    /// Signed by the log key.
    Signed {
        /// Records it states.
        size: u64,
        /// One of its two slots is not readable: interrupted while written, or altered. The next
        /// append writes over it.
        damaged_slot: bool,
    },
    /// No readable head. Without one the log does not open, unless it has no records either.
    Missing,
    /// Not signed by the given key, or of another log.
    NotSigned,
}

/// Counts of payloads by what is stored. They are not covered by the tree: the entries commit to
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payloads {
    /// As they were written.
    pub present: u64,
    /// Erased to the last byte.
    pub erased: u64,
    /// Marked as erased while bytes are left: erasing again completes it.
    pub half_erased: u64,
    /// Altered.
    pub damaged: u64,
    /// The first that is half erased or damaged.
    pub first_bad: Option<Index>,
}

/// How far [`check`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records read.
    pub records: u64,
    /// Bytes of segments gone through.
    pub bytes: u64,
    /// Bytes of all segments.
    pub bytes_total: u64,
}

/// Why a log was not checked to its end.
#[derive(Debug, thiserror::Error)]
#[error("the log could not be read: {0}")]
pub struct FsckError(#[from] io::Error);

impl Report {
    /// Whether the evidence is whole and signed: the log opens, and every record and proof is right.
    #[must_use]
    pub const fn is_evidence_sound(&self) -> bool {
        self.evidence.is_none() && matches!(self.head, HeadState::Signed { .. })
    }

    /// Whether nothing at all is amiss. A torn tail is something.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.evidence.is_none()
            && matches!(
                self.head,
                HeadState::Signed {
                    damaged_slot: false,
                    ..
                }
            )
            && self.torn_bytes == 0
            && self.derived.is_none()
            && self.payloads.first_bad.is_none()
    }
}

/// Checks the log in `dir` against the public half of its key. `progress` is called now and then.
///
/// `entry_check` judges the entries beyond the head, and helps to find the culprit in a frame that
/// was altered so well that only the signed head gives it away.
///
/// # Errors
///
/// [`FsckError`] when the operating system fails. Damage is no error but in the report.
pub fn check(
    dir: &Path,
    key: &VerifierKey,
    entry_check: &EntryCheck,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, FsckError> {
    let layout = Layout::new(dir);
    let head = read_state(&layout, key)?;
    let segments = layout.list_segments()?;
    let derived = DerivedCheck::new(&layout, head.size())?;
    let bytes_total = segments.iter().map(|segment| segment.len).sum();
    let mut check = Check {
        layout: &layout,
        segments: &segments,
        key,
        entry_check,
        derived,
        head,
    };
    let report = check.run(&mut |records, bytes| {
        progress(Progress {
            records,
            bytes,
            bytes_total,
        });
    });
    Ok(report?)
}

/// Computes the derived files again from the segments, under the lock of the directory. As every
/// opening does, it also cuts a torn tail.
///
/// # Errors
///
/// [`OpenError`], as opening the log would give; [`OpenError::Locked`] while there is a writer.
pub fn repair(
    dir: &Path,
    key: &VerifierKey,
    entry_check: &EntryCheck,
) -> Result<Recovery, OpenError> {
    let layout = Layout::new(dir);
    let _lock = acquire(&layout)?;
    let (head, _) = read_head(&layout, key)?.ok_or(OpenError::HeadMissing)?;
    let recover = Recover {
        layout: &layout,
        key,
        head: &head,
        check: entry_check,
    };
    let recovered = recover.rebuild()?;
    Ok(recovered.report)
}

/// The head as found when the check begins.
struct Head {
    state: HeadState,
    root: Option<Hash>,
}

impl Head {
    /// Records that the log must have.
    const fn size(&self) -> u64 {
        match self.state {
            HeadState::Signed { size, .. } => size,
            HeadState::Missing | HeadState::NotSigned => 0,
        }
    }
}

fn read_state(layout: &Layout, key: &VerifierKey) -> io::Result<Head> {
    let slots = Slots::read(layout)?;
    let unsigned = |state| Head { state, root: None };
    let Some((slots, (_, head))) = slots.as_ref().and_then(|s| Some((s, s.newest()?))) else {
        return Ok(unsigned(HeadState::Missing));
    };
    if head.open(&[key]).is_err() {
        return Ok(unsigned(HeadState::NotSigned));
    }
    let (size, damaged_slot) = (head.claim().size(), slots.has_damage());
    Ok(Head {
        state: HeadState::Signed { size, damaged_slot },
        root: Some(*head.claim().root()),
    })
}

struct Check<'a> {
    layout: &'a Layout,
    segments: &'a [Segment],
    key: &'a VerifierKey,
    entry_check: &'a EntryCheck,
    derived: DerivedCheck,
    head: Head,
}

impl Check<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Report> {
        let mut walk = Walk::new(self.layout, self.segments, 0, 0, Frontier::new());
        walk.check_payloads_from(self.head.size());
        let (mut payloads, mut frames) = (Payloads::default(), 0);
        let (mut evidence, mut torn_bytes) = (None, 0);
        let mut passed = 0;
        while evidence.is_none() {
            match walk.next()? {
                Found::Frame(frame) => {
                    frames += 1;
                    passed += wide(frame.preamble.header.frame_len());
                    self.derived.compare(&frame)?;
                    payloads.count(&frame, &mut walk)?;
                    evidence = self.judge_frame(&frame, &walk)?;
                    progress(walk.size(), passed);
                }
                Found::End => break,
                Found::Foreign(place) => evidence = Some(self.narrow(&mut walk, place)?),
                Found::Torn(place) => {
                    torn_bytes = self.judge_torn(&mut walk, place, &mut evidence)?;
                    break;
                }
            }
        }
        let (size, root, head) = (walk.size(), walk.root(), self.head.size());
        if evidence.is_none() && size < head {
            evidence = Some(Place {
                index: size,
                damage: Damage::Truncated { head },
            });
        }
        let evidence = evidence.map(BadRecord::from);
        let derived = self.derived.finish(size.min(head))?;
        let (segments, head) = (self.segments.len(), self.head.state);
        Ok(Report {
            size,
            root,
            frames,
            segments,
            head,
            evidence,
            torn_bytes,
            derived,
            payloads,
        })
    }

    /// Judges a whole frame by the head: what it covers by its root, what lies beyond by itself.
    fn judge_frame(&self, frame: &Frame, walk: &Walk<'_>) -> io::Result<Option<Place>> {
        let Some(root) = self.head.root else {
            return Ok(None);
        };
        let (header, head) = (&frame.preamble.header, self.head.size());
        if header.first >= head {
            return Ok(frame.judge_unsigned(self.key, self.entry_check));
        }
        let wrong = header.end() > head || (header.end() == head && walk.root() != root);
        if !wrong {
            return Ok(None);
        }
        let damage = Damage::HeadRoot { head };
        let culprit = narrow::culprit(self.layout, self.segments, self.key, head)?;
        let place = Place {
            index: header.first,
            damage,
        };
        Ok(Some(match culprit {
            Some(frame) => self.within(&frame, damage),
            None => place,
        }))
    }

    /// Finds the index that is to blame for a frame that does not continue what is before it.
    fn narrow(&self, walk: &mut Walk<'_>, place: Place) -> io::Result<Place> {
        let frame = if place.damage == Damage::RootBefore {
            narrow::culprit(self.layout, self.segments, self.key, place.index)?
        } else if place.damage == Damage::RootAfter {
            walk.frame_here()?
        } else {
            None
        };
        Ok(frame.map_or(place, |frame| self.within(&frame, place.damage)))
    }

    /// The first entry of the frame that the derived leaf hashes or the entry check speak against;
    /// the frame's first, if neither does.
    fn within(&self, frame: &Frame, damage: Damage) -> Place {
        let first = frame.preamble.header.first;
        let differs = self.derived.first_difference(frame);
        let refused = || {
            let mut entries = (first..).zip(frame.entries());
            let refuses =
                |(at, entry): &(u64, &[u8])| !self.entry_check.accepts(Index::new(*at), entry);
            entries.find(refuses).map(|(at, _)| at)
        };
        match differs.or_else(refused) {
            Some(index) => Place {
                index,
                damage: Damage::Entry,
            },
            None => Place {
                index: first,
                damage,
            },
        }
    }

    /// Bytes that an opening would cut, or else the damage.
    fn judge_torn(
        &self,
        walk: &mut Walk<'_>,
        place: Place,
        evidence: &mut Option<Place>,
    ) -> io::Result<u64> {
        let (size, last) = (walk.size(), walk.is_in_last_segment());
        let Some((segment, offset)) = walk.position() else {
            return Ok(0);
        };
        let torn = segment.len.saturating_sub(offset);
        let behind = match walk.window()? {
            Some(window) if last => has_frame_behind(window, offset, size, self.key)?,
            _ => true,
        };
        if size < self.head.size() || self.head.root.is_none() {
            *evidence = Some(place);
        } else if behind {
            *evidence = Some(Place {
                index: size,
                damage: Damage::TornMiddle,
            });
        }
        Ok(if evidence.is_none() { torn } else { 0 })
    }
}

impl Payloads {
    fn count(&mut self, frame: &Frame, walk: &mut Walk<'_>) -> io::Result<()> {
        let first = frame.preamble.header.first;
        let Some(window) = walk.window()? else {
            return Ok(());
        };
        frame.payloads(window, |at, stored| {
            let (counter, bad) = match stored {
                Stored::Present(_) => (&mut self.present, false),
                Stored::Erased => (&mut self.erased, false),
                Stored::HalfErased => (&mut self.half_erased, true),
                Stored::Damaged => (&mut self.damaged, true),
            };
            *counter += 1;
            if bad {
                self.first_bad
                    .get_or_insert(Index::new(first.saturating_add(wide(at))));
            }
            true
        })
    }
}

impl From<Place> for BadRecord {
    fn from(place: Place) -> Self {
        Self {
            index: Index::new(place.index),
            damage: place.damage,
        }
    }
}
