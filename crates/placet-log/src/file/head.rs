//! The latest signed checkpoint on disk: two slots, written in turn, in place.
//!
//! ```text
//! slot  "PLACETH1" ‖ u64 sequence ‖ u16 length ‖ signed note ‖ SHA-256 of all that ‖ zeros
//! ```
//!
//! 4,096 bytes each. A write touches one slot only, so whatever an interrupted one leaves, the
//! other slot still holds the checkpoint before it. The head is written after its batch is durable
//! and is itself not synced with every batch: it may be older than the log, never newer.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use placet_tlog::checkpoint::SignedCheckpoint;
use sha2::{Digest as _, Sha256};

use crate::bytes::Fields;
use crate::file::layout::{Layout, sync_dir};

const MAGIC: [u8; 8] = *b"PLACETH1";
const SLOT_LEN: usize = 4096;
const SLOTS: u64 = 2;

/// What a slot holds.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// A checkpoint, whole; its signature is not checked yet.
    Whole {
        /// Counts the writes of this log's head.
        sequence: u64,
        /// What was written.
        head: SignedCheckpoint,
    },
    /// Never written.
    Blank,
    /// Half written, or altered.
    Damaged,
}

/// Both slots, read once.
#[derive(Clone, Debug)]
pub(crate) struct Slots(pub(crate) [Slot; 2]);

/// The head file, open for writing.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
    sequence: u64,
    buffer: Vec<u8>,
}

impl HeadFile {
    /// Whether the file at its path is the one that is open. A directory that was removed or moved
    /// away takes writes that nobody will find.
    pub(crate) fn is_in_place(&self, layout: &Layout) -> io::Result<bool> {
        let (open, there) = (self.file.metadata()?, fs::symlink_metadata(layout.head())?);
        Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
    }
}

impl Slots {
    /// Reads the head; `None` if there is none.
    pub(crate) fn read(layout: &Layout) -> io::Result<Option<Self>> {
        let bytes = match fs::read(layout.head()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let slot = |at: usize| bytes.get(at * SLOT_LEN..(at + 1) * SLOT_LEN).map(decode);
        let over = bytes.len() > SLOT_LEN * 2;
        let damaged = || Slot::Damaged;
        let second = if over {
            Slot::Damaged
        } else {
            slot(1).unwrap_or_else(damaged)
        };
        Ok(Some(Self([slot(0).unwrap_or_else(damaged), second])))
    }

    /// The slot written last, of those that are whole.
    pub(crate) fn newest(&self) -> Option<(u64, &SignedCheckpoint)> {
        let whole = self.0.iter().filter_map(|slot| match slot {
            Slot::Whole { sequence, head } => Some((*sequence, head)),
            Slot::Blank | Slot::Damaged => None,
        });
        whole.max_by_key(|(sequence, _)| *sequence)
    }

    /// Whether a slot is damaged: by an interrupted write, or otherwise.
    pub(crate) fn has_damage(&self) -> bool {
        self.0.iter().any(|slot| matches!(slot, Slot::Damaged))
    }
}

impl HeadFile {
    /// Creates the head of an empty log, durably: its name appears only with its content.
    pub(crate) fn create(layout: &Layout, head: &SignedCheckpoint) -> io::Result<()> {
        let staged = layout.dir().join("head.new");
        let mut bytes = Vec::new();
        encode(&mut bytes, 0, head)?;
        bytes.resize(SLOT_LEN * 2, 0);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&staged)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        fs::rename(&staged, layout.head())?;
        sync_dir(layout.dir())
    }

    /// Opens the head for writing after the write numbered `sequence`.
    pub(crate) fn open(layout: &Layout, sequence: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(layout.head())?;
        Ok(Self {
            file,
            sequence,
            buffer: Vec::with_capacity(SLOT_LEN),
        })
    }

    /// Writes `head` over the older slot.
    pub(crate) fn write(&mut self, head: &SignedCheckpoint) -> io::Result<()> {
        let sequence = self.sequence.wrapping_add(1);
        encode(&mut self.buffer, sequence, head)?;
        let offset = (sequence % SLOTS) * SLOT_LEN as u64;
        self.file.write_all_at(&self.buffer, offset)?;
        self.sequence = sequence;
        Ok(())
    }

    /// Makes the head durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(to: &mut Vec<u8>, sequence: u64, head: &SignedCheckpoint) -> io::Result<()> {
    let note = head.to_string();
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the checkpoint is too long");
    let len = u16::try_from(note.len()).map_err(|_| too_long())?;
    to.clear();
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&sequence.to_be_bytes());
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(note.as_bytes());
    let checksum = Sha256::digest(&to);
    to.extend_from_slice(&checksum);
    if to.len() > SLOT_LEN {
        return Err(too_long());
    }
    to.resize(SLOT_LEN, 0);
    Ok(())
}

fn decode(bytes: &[u8]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Blank;
    }
    decode_whole(bytes).unwrap_or(Slot::Damaged)
}

fn decode_whole(bytes: &[u8]) -> Option<Slot> {
    let mut fields = Fields::new(bytes);
    let magic = fields.array()?;
    let sequence = fields.u64()?;
    let len = fields.u16()?;
    let note = fields.take(len.into())?;
    let summed = bytes.get(..bytes.len().checked_sub(fields.rest().len())?)?;
    let checksum: [u8; 32] = fields.array()?;
    let intact = Sha256::digest(summed).as_slice() == checksum
        && magic == MAGIC
        && fields.rest().iter().all(|byte| *byte == 0);
    let head = SignedCheckpoint::parse(note).ok()?;
    intact.then_some(Slot::Whole { sequence, head })
}
