//! Reading one frame from a segment and judging it by itself.

use std::io;

use placet_tlog::Hash;
use placet_tlog::note::VerifierKey;
use placet_tlog::tree::Frontier;
use placet_types::Index;

use crate::bytes::{Fields, wide};
use crate::file::EntryCheck;
use crate::file::derived::Record;
use crate::file::frame::{Flaw, HEADER_LEN, Header, Preamble, Stored, read_stored, split_entry};
use crate::file::walk::Place;
use crate::file::window::Window;
use crate::fsck::damage::Damage;
use crate::vouch;

/// A frame whose seal and entries are sound.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) preamble: Preamble,
    pub(crate) entries: Vec<u8>,
    /// Offset in its segment.
    pub(crate) offset: u64,
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
    pub(crate) fn torn_payload(&self, window: &mut Window) -> io::Result<Option<usize>> {
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

pub(crate) fn vouches(header: &Header, key: &VerifierKey) -> bool {
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
