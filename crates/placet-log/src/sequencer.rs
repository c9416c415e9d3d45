//! The contract between the log and whoever writes to it.
//!
//! A sequencer gives records a total order and makes them durable. It knows nothing of what the
//! records say, and no clock. Backends implement [`Sequencer`]; `conformance` holds what each of
//! them must keep.

use std::fmt;
use std::io;
use std::sync::Arc;

use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::tile::MAX_ENTRY_BYTES;
use placet_tlog::tree::{BatchTree, InclusionProof};
use placet_types::Index;

use crate::reader::LogReader;

/// Longest payload, in bytes: 2 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 2 << 20;

/// Most items in a batch.
pub const MAX_BATCH_ITEMS: usize = 65_536;

/// Most bytes in a batch, entries and payloads together (see [`Item::weight`]): 64 MiB.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// Bytes stored for an item besides its entry and its payload, at most.
const ITEM_OVERHEAD_BYTES: usize = 80;

/// What is appended at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The log entry: public, hashed into the tree, kept for ever. At most 65,535 bytes (C2SP).
    pub entry: Vec<u8>,
    /// Private bytes kept beside the entry, durable with it, erasable later; at most
    /// [`MAX_PAYLOAD_BYTES`]. The tree does not cover them: the entry commits to them.
    pub payload: Option<Vec<u8>>,
}

/// A total order of records.
///
/// One value is the only writer of its log. Readers are got with [`reader`](Self::reader) and may
/// be used from any thread while it writes.
pub trait Sequencer: Send {
    /// Number of records: the index that the next one gets.
    fn size(&self) -> Index {
        Index::new(self.head().claim().size())
    }

    /// The latest checkpoint, signed by the log key.
    fn head(&self) -> &Arc<SignedCheckpoint>;

    /// Appends `batch` if, and only if, the log's size is `expected`. On `Ok` all of it is
    /// durable; otherwise none of it is acknowledged.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; [`AppendError::is_still_usable`] tells whether appends may go on.
    fn append(&mut self, expected: Index, batch: &[Item]) -> Result<Appended, AppendError>;

    /// Destroys the payload at `index`. On `Ok` the destruction is durable. Doing it again, or
    /// where there never was a payload, is no error.
    ///
    /// # Errors
    ///
    /// [`EraseError`]. After [`EraseError::Failed`] the outcome is unknown and the sequencer has
    /// stopped; erasing again after reopening settles it.
    fn erase(&mut self, index: Index) -> Result<(), EraseError>;

    /// A handle for reading, cheap to clone, valid after the sequencer is gone.
    fn reader(&self) -> LogReader;
}

/// A batch that is durable.
#[derive(Clone, Debug)]
pub struct Appended {
    first: u64,
    head: Arc<SignedCheckpoint>,
    tree: BatchTree,
}

/// Why an append was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The log has another size than the caller expected. Nothing was written.
    #[error("the log has {size} records, the caller expected another number")]
    Conflict {
        /// Number of records.
        size: Index,
    },
    /// The batch is not one a log takes. Nothing was written.
    #[error("the batch was refused: {0}")]
    Refused(#[from] BatchError),
    /// Certainly not written, now or after a restart. The sequencer has stopped.
    #[error("the batch was not written: {0}")]
    NotWritten(Fault),
    /// Perhaps written. The sequencer has stopped; only reopening the log tells.
    #[error("it is unknown whether the batch was written: {0}")]
    Indeterminate(Fault),
    /// An earlier append or erasure failed. Nothing was written.
    #[error("the sequencer stopped after an earlier failure; reopen the log")]
    Stopped,
}

/// Why a batch was refused before anything was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// No items.
    #[error("a batch has at least one item")]
    Empty,
    /// More items than [`MAX_BATCH_ITEMS`].
    #[error("a batch has at most {MAX_BATCH_ITEMS} items, not {0}")]
    TooManyItems(usize),
    /// An entry of more than 65,535 bytes.
    #[error("item {at}: an entry has at most {MAX_ENTRY_BYTES} bytes, not {len}")]
    EntryTooLong {
        /// Position in the batch.
        at: usize,
        /// Bytes of the entry.
        len: usize,
    },
    /// A payload of more than [`MAX_PAYLOAD_BYTES`].
    #[error("item {at}: a payload has at most {MAX_PAYLOAD_BYTES} bytes, not {len}")]
    PayloadTooLong {
        /// Position in the batch.
        at: usize,
        /// Bytes of the payload.
        len: usize,
    },
    /// More bytes than [`MAX_BATCH_BYTES`].
    #[error("a batch weighs at most {MAX_BATCH_BYTES} bytes, not {0}")]
    TooHeavy(usize),
    /// The tree holds 2^63 − 1 leaves.
    #[error("the log is full")]
    TreeFull,
}

/// Why a payload was not erased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// The log has no record of this index.
    #[error("the log has {size} records, none at {index}")]
    NoSuchRecord {
        /// Index asked for.
        index: Index,
        /// Number of records.
        size: Index,
    },
    /// The record's place in the log could not be read.
    #[error("the record could not be read: {0}")]
    Read(#[from] crate::reader::ReadError),
    /// A write failed. The sequencer has stopped.
    #[error("it is unknown whether the payload was erased: {0}")]
    Failed(Fault),
    /// An earlier append or erasure failed. Nothing was written.
    #[error("the sequencer stopped after an earlier failure; reopen the log")]
    Stopped,
}

/// A step that failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct Fault {
    step: Step,
    error: io::Error,
}

/// The steps of opening, appending and erasing that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Creating a directory.
    CreateDirectory,
    /// Opening or locking the lock file.
    OpenLock,
    /// Listing or reading segments.
    ReadSegments,
    /// Creating a segment.
    CreateSegment,
    /// Making a new file's name durable.
    SyncDirectory,
    /// Looking whether the files that are open are still the ones at their paths.
    FindFiles,
    /// Writing a frame.
    WriteFrame,
    /// Making a frame durable.
    SyncFrame,
    /// Cutting a torn tail.
    CutTail,
    /// Reading or writing the files that are derived from the segments.
    DerivedFiles,
    /// Reading the head.
    ReadHead,
    /// Writing the head.
    WriteHead,
    /// Making the head durable.
    SyncHead,
    /// Overwriting a payload.
    OverwritePayload,
    /// Making an erasure durable.
    SyncErasure,
}

impl Item {
    /// An entry without a payload.
    #[must_use]
    pub const fn public(entry: Vec<u8>) -> Self {
        Self {
            entry,
            payload: None,
        }
    }

    /// Bytes that the item counts for in [`MAX_BATCH_BYTES`]; never less than it takes on disk.
    #[must_use]
    pub fn weight(&self) -> usize {
        let payload = self.payload.as_ref().map_or(0, Vec::len);
        self.entry
            .len()
            .saturating_add(payload)
            .saturating_add(ITEM_OVERHEAD_BYTES)
    }
}

impl Appended {
    pub(crate) const fn new(first: u64, head: Arc<SignedCheckpoint>, tree: BatchTree) -> Self {
        Self { first, head, tree }
    }

    /// Index of the batch's first item; the others follow it.
    #[must_use]
    pub const fn first(&self) -> Index {
        Index::new(self.first)
    }

    /// The checkpoint right after the batch.
    #[must_use]
    pub const fn head(&self) -> &Arc<SignedCheckpoint> {
        &self.head
    }

    /// Inclusion proof of the record at `index` under [`head`](Self::head); `None` unless the
    /// record is of this batch.
    #[must_use]
    pub fn inclusion_proof(&self, index: Index) -> Option<InclusionProof> {
        if index < self.first() {
            return None;
        }
        self.tree.prove_inclusion(index.get()).ok()
    }
}

impl AppendError {
    /// Whether the sequencer takes further appends.
    #[must_use]
    pub const fn is_still_usable(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Refused(_) => true,
            Self::NotWritten(_) | Self::Indeterminate(_) | Self::Stopped => false,
        }
    }
}

impl Fault {
    pub(crate) const fn new(step: Step, error: io::Error) -> Self {
        Self { step, error }
    }

    /// Which step failed.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// What the operating system said.
    #[must_use]
    pub const fn error(&self) -> &io::Error {
        &self.error
    }
}

/// Names the step that an I/O error comes from.
pub(crate) trait At<T> {
    /// Wraps the error with its step.
    fn at(self, step: Step) -> Result<T, Fault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(step, error))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateDirectory => "creating a directory",
            Self::OpenLock => "opening the lock",
            Self::ReadSegments => "reading the segments",
            Self::CreateSegment => "creating a segment",
            Self::SyncDirectory => "syncing a directory",
            Self::FindFiles => "looking for the log's files",
            Self::WriteFrame => "writing a frame",
            Self::SyncFrame => "syncing a frame",
            Self::CutTail => "cutting the torn tail",
            Self::DerivedFiles => "reading or writing the derived files",
            Self::ReadHead => "reading the head",
            Self::WriteHead => "writing the head",
            Self::SyncHead => "syncing the head",
            Self::OverwritePayload => "overwriting a payload",
            Self::SyncErasure => "syncing an erasure",
        })
    }
}

/// Checks what every backend checks before it writes.
pub(crate) fn check_batch(batch: &[Item]) -> Result<(), BatchError> {
    if batch.is_empty() {
        return Err(BatchError::Empty);
    }
    if batch.len() > MAX_BATCH_ITEMS {
        return Err(BatchError::TooManyItems(batch.len()));
    }
    for (at, item) in batch.iter().enumerate() {
        if item.entry.len() > MAX_ENTRY_BYTES {
            return Err(BatchError::EntryTooLong {
                at,
                len: item.entry.len(),
            });
        }
        let len = item.payload.as_ref().map_or(0, Vec::len);
        if len > MAX_PAYLOAD_BYTES {
            return Err(BatchError::PayloadTooLong { at, len });
        }
    }
    let weight = batch
        .iter()
        .fold(0_usize, |sum, item| sum.saturating_add(item.weight()));
    if weight > MAX_BATCH_BYTES {
        Err(BatchError::TooHeavy(weight))
    } else {
        Ok(())
    }
}
