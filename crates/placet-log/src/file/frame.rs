//! One frame: a batch as it lies in a segment. Bytes in, bytes out; no I/O.
//!
//! ```text
//! header   magic "PLACETF1" ‖ u64 first index ‖ u32 count ‖ u32 entries bytes ‖ u32 payloads bytes
//!          ‖ root before [32] ‖ log key's signature on (first index, root before) [64]
//!          ‖ root after [32]                                                         156 bytes
//! table    (leaf hash [32] ‖ u32 end of payload)*                                  count × 36
//! seal     SHA-256(header ‖ table)                                                          32
//! entries  (u16 length ‖ entry)*, a C2SP entry bundle without a limit of 256
//! payloads (state [1] ‖ SHA-256(payload) [32] ‖ payload)*, only of items that have one
//! ```
//!
//! The seal covers the leaf hashes, and those cover the entries: altered bytes are pinned to one
//! entry. Nothing outside the payload section depends on a payload, so that one can be erased in
//! place; its digest lies with it and goes with it, so that a guess cannot be confirmed afterwards.

use std::ops::Range;

use placet_tlog::Hash;
use placet_tlog::tile::push_entry;
use sha2::{Digest as _, Sha256};

use crate::bytes::{Fields, narrow, wide};
use crate::fsck::damage::Damage;
use crate::sequencer::{Item, MAX_BATCH_BYTES, MAX_BATCH_ITEMS};

/// Format and version.
pub(crate) const MAGIC: [u8; 8] = *b"PLACETF1";
/// Bytes of the fixed header.
pub(crate) const HEADER_LEN: usize = 156;
/// Bytes of a table row.
const ROW_LEN: usize = 36;
/// Bytes of the seal.
const SEAL_LEN: usize = 32;
/// Bytes before each payload: its state and its digest.
pub(crate) const PAYLOAD_HEAD_LEN: usize = 33;
/// State of a payload that is there.
pub(crate) const PRESENT: u8 = b'P';
/// State of a payload whose erasure has begun. One byte: it is never half written.
pub(crate) const ERASED: u8 = b'E';

/// The fixed header. Lengths are within the limits of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) first: u64,
    pub(crate) count: usize,
    pub(crate) entries_len: usize,
    pub(crate) payloads_len: usize,
    pub(crate) before: Hash,
    pub(crate) vouch: [u8; 64],
    pub(crate) after: Hash,
}

/// Header and table, without entries and payloads.
#[derive(Clone, Debug)]
pub(crate) struct Preamble {
    pub(crate) header: Header,
    pub(crate) rows: Vec<Row>,
}

/// What the table says of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) leaf: Hash,
    /// End of its payload in the payload section; where the one before it ends, if it has none.
    pub(crate) payload_end: u32,
}

/// What is wrong in a frame, and with which of its entries (0 for the frame as a whole).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) at: usize,
    pub(crate) damage: Damage,
}

/// The history that a frame builds on and the one that it makes.
pub(crate) struct Link {
    pub(crate) first: u64,
    pub(crate) before: Hash,
    pub(crate) vouch: [u8; 64],
    pub(crate) after: Hash,
}

impl Header {
    /// Reads a header, whose lengths may then be relied on for sizing reads.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.array()? != MAGIC {
            return None;
        }
        let header = Self {
            first: fields.u64()?,
            count: usize::try_from(fields.u32()?).ok()?,
            entries_len: usize::try_from(fields.u32()?).ok()?,
            payloads_len: usize::try_from(fields.u32()?).ok()?,
            before: fields.hash()?,
            vouch: fields.array()?,
            after: fields.hash()?,
        };
        header.is_within_limits().then_some(header)
    }

    fn is_within_limits(&self) -> bool {
        (1..=MAX_BATCH_ITEMS).contains(&self.count)
            && self.entries_len >= self.count * 2
            && self.entries_len <= MAX_BATCH_BYTES
            && self.payloads_len <= MAX_BATCH_BYTES
            && self.first.checked_add(wide(self.count)).is_some()
    }

    /// Bytes of header, table and seal.
    pub(crate) const fn preamble_len(&self) -> usize {
        preamble_len(self.count)
    }

    /// Bytes before the payloads.
    pub(crate) const fn public_len(&self) -> usize {
        self.preamble_len() + self.entries_len
    }

    /// Bytes of the whole frame.
    pub(crate) const fn frame_len(&self) -> usize {
        self.public_len() + self.payloads_len
    }

    /// Index after the last of the frame.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(wide(self.count))
    }
}

/// Bytes of header, table and seal of a frame of `count` items.
pub(crate) const fn preamble_len(count: usize) -> usize {
    HEADER_LEN + count * ROW_LEN + SEAL_LEN
}

impl Preamble {
    /// Splits header and table off `bytes`, which must begin with the whole preamble. The rows
    /// are given even if the seal does not match, to find out what was altered.
    pub(crate) fn decode(header: Header, bytes: &[u8]) -> (Self, bool) {
        let sealed = bytes
            .get(..HEADER_LEN + header.count * ROW_LEN)
            .unwrap_or_default();
        let seal = bytes
            .get(sealed.len()..header.preamble_len())
            .unwrap_or_default();
        let rows = sealed.get(HEADER_LEN..).unwrap_or_default();
        let rows: Vec<Row> = rows.chunks_exact(ROW_LEN).filter_map(Row::decode).collect();
        let intact = Sha256::digest(sealed).as_slice() == seal;
        (Self { header, rows }, intact)
    }

    /// Checks what the seal cannot: that the payloads fill their section and each is long enough.
    pub(crate) fn has_sound_payload_lengths(&self) -> bool {
        let sound = |at| match self.payload_range(at) {
            Some(range) => range.is_empty() || range.len() >= PAYLOAD_HEAD_LEN,
            None => false,
        };
        let end = self.rows.last().map_or(0, |row| row.payload_end);
        (0..self.rows.len()).all(sound) && usize::try_from(end) == Ok(self.header.payloads_len)
    }

    /// Where the payload of the item `at` lies in the payload section. Empty if it has none.
    pub(crate) fn payload_range(&self, at: usize) -> Option<Range<usize>> {
        let start = match at.checked_sub(1) {
            Some(before) => self.rows.get(before)?.payload_end,
            None => 0,
        };
        let end = self.rows.get(at)?.payload_end;
        (start <= end).then_some(narrow(start.into())..narrow(end.into()))
    }

    /// Checks every entry against its leaf hash, and that they fill the section exactly.
    pub(crate) fn check_entries(&self, entries: &[u8]) -> Result<(), Flaw> {
        let mut rest = Fields::new(entries);
        for (at, row) in self.rows.iter().enumerate() {
            let entry = split_entry(&mut rest).ok_or(Flaw {
                at,
                damage: Damage::Entry,
            })?;
            if Hash::leaf(entry) != row.leaf {
                return Err(Flaw {
                    at,
                    damage: Damage::Entry,
                });
            }
        }
        let at = self.rows.len().saturating_sub(1);
        let fill = rest.rest().is_empty();
        if fill {
            Ok(())
        } else {
            Err(Flaw {
                at,
                damage: Damage::EntryLengths,
            })
        }
    }
}

impl Row {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            leaf: fields.hash()?,
            payload_end: fields.u32()?,
        })
    }
}

/// Takes one entry off the front.
pub(crate) fn split_entry<'a>(rest: &mut Fields<'a>) -> Option<&'a [u8]> {
    let len = rest.u16()?;
    rest.take(usize::from(len))
}

/// Writes the frame of a batch that passed `check_batch` over `to`.
///
/// `None` if an entry or a sum of lengths were too long, which that check excludes.
pub(crate) fn encode(to: &mut Vec<u8>, link: &Link, leaves: &[Hash], batch: &[Item]) -> Option<()> {
    to.clear();
    let entries_len: usize = batch.iter().map(|item| item.entry.len() + 2).sum();
    let payloads_len: usize = batch.iter().map(payload_len).sum();
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&link.first.to_be_bytes());
    for len in [batch.len(), entries_len, payloads_len] {
        to.extend_from_slice(&u32::try_from(len).ok()?.to_be_bytes());
    }
    to.extend_from_slice(link.before.as_bytes());
    to.extend_from_slice(&link.vouch);
    to.extend_from_slice(link.after.as_bytes());
    encode_table(to, leaves, batch)?;
    let seal = Sha256::digest(&to);
    to.extend_from_slice(&seal);
    for item in batch {
        push_entry(to, &item.entry).ok()?;
    }
    for payload in batch.iter().filter_map(|item| item.payload.as_ref()) {
        to.push(PRESENT);
        to.extend_from_slice(&Sha256::digest(payload));
        to.extend_from_slice(payload);
    }
    Some(())
}

fn encode_table(to: &mut Vec<u8>, leaves: &[Hash], batch: &[Item]) -> Option<()> {
    let mut end = 0_usize;
    for (leaf, item) in leaves.iter().zip(batch) {
        end += payload_len(item);
        to.extend_from_slice(leaf.as_bytes());
        to.extend_from_slice(&u32::try_from(end).ok()?.to_be_bytes());
    }
    Some(())
}

fn payload_len(item: &Item) -> usize {
    item.payload
        .as_ref()
        .map_or(0, |payload| payload.len() + PAYLOAD_HEAD_LEN)
}

/// What the stored form of a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// There, and as it was written.
    Present(&'a [u8]),
    /// Erased to the last byte.
    Erased,
    /// The erasure was recorded, but bytes are left.
    HalfErased,
    /// Altered, or never wholly written.
    Damaged,
}

/// Reads the stored form of one payload.
pub(crate) fn read_stored(bytes: &[u8]) -> Stored<'_> {
    match bytes.split_first() {
        Some((&PRESENT, rest)) => match rest.split_first_chunk::<32>() {
            Some((digest, payload)) if Sha256::digest(payload).as_slice() == digest => {
                Stored::Present(payload)
            }
            _ => Stored::Damaged,
        },
        Some((&ERASED, rest)) if rest.iter().all(|byte| *byte == 0) => Stored::Erased,
        Some((&ERASED, _)) => Stored::HalfErased,
        _ => Stored::Damaged,
    }
}
