//! Reading a log while it is written: records, proofs, tiles.
//!
//! What is read is checked: an entry against its leaf hash, a leaf hash against the tree that the
//! head signs. Damage is an error that names the index, never other bytes.

mod entries;
mod resource;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use placet_tlog::Hash;
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::tree::{
    ConsistencyProof, HashReader, InclusionProof, NodeId, ProveError, prove_consistency,
    prove_inclusion, read_root,
};
use placet_types::Index;

use crate::fsck::damage::Damage;

pub use entries::Entries;

/// Reads a log. Cheap to clone; usable from any thread, during and after the writer's life.
#[derive(Clone)]
pub struct LogReader {
    source: Arc<dyn Source>,
}

/// The private bytes beside an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// As they were appended.
    Present(Vec<u8>),
    /// Destroyed on purpose.
    Erased,
    /// Not the bytes that were appended, and not erased either.
    Damaged,
    /// The item had none.
    None,
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The log has no record of this index yet.
    #[error("the log has {size} records, none at {index}")]
    NoSuchRecord {
        /// Index asked for.
        index: Index,
        /// Number of records.
        size: Index,
    },
    /// The log has not reached this size, or the sizes are the wrong way round.
    #[error("the log of {size} records has no tree of {asked}")]
    NoSuchTree {
        /// Size asked for.
        asked: u64,
        /// Number of records.
        size: u64,
    },
    /// The log has no such tile or bundle.
    #[error("the log has no {0}")]
    NoSuchResource(String),
    /// The stored record is not the one that the head vouches for.
    #[error("the record at {index} is damaged: {damage}")]
    Damaged {
        /// Index of the record.
        index: Index,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The operating system failed.
    #[error("the log could not be read: {0}")]
    Io(#[from] io::Error),
}

/// What a backend offers for reading. Everything else is made of this.
pub(crate) trait Source: Send + Sync {
    /// The latest published checkpoint. What it covers can be read.
    fn head(&self) -> Arc<SignedCheckpoint>;

    /// Hashes of complete subtrees, all within the published size.
    fn nodes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, ReadError>;

    /// Entries from `range.start` on: at least one, not beyond `range.end`, as many as are read
    /// in one go. The range is not empty and within the published size.
    fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError>;

    /// The payload at a published index.
    fn payload(&self, index: u64) -> Result<Payload, ReadError>;
}

impl LogReader {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    /// The latest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        self.source.head()
    }

    /// Number of records.
    #[must_use]
    pub fn size(&self) -> Index {
        Index::new(self.checkpoint().claim().size())
    }

    /// The entry at `index`.
    ///
    /// # Errors
    ///
    /// [`ReadError`]
    pub fn entry(&self, index: Index) -> Result<Vec<u8>, ReadError> {
        let at = self.check_index(index)?;
        let entries = self.source.entries(at..at.saturating_add(1))?;
        let damaged = ReadError::Damaged {
            index,
            damage: Damage::Entry,
        };
        entries.into_iter().next().ok_or(damaged)
    }

    /// The entries of a range, in order, in bounded memory. A range that reaches beyond the log is
    /// cut where the log ends now.
    #[must_use]
    pub fn entries(&self, range: Range<Index>) -> Entries {
        let end = range.end.min(self.size()).get();
        Entries::new(Arc::clone(&self.source), range.start.get()..end)
    }

    /// The payload at `index`.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; a damaged payload is no error but [`Payload::Damaged`].
    pub fn payload(&self, index: Index) -> Result<Payload, ReadError> {
        let at = self.check_index(index)?;
        self.source.payload(at)
    }

    /// Root of the tree when it had `size` leaves.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchTree`] beyond the log's size, or another [`ReadError`].
    pub fn root_at(&self, size: u64) -> Result<Hash, ReadError> {
        self.check_size(size)?;
        read_root(size, self).map_err(|error| self.prove_error(error))
    }

    /// Proof that the record at `index` is in the tree of `size` leaves.
    ///
    /// # Errors
    ///
    /// [`ReadError`]
    pub fn inclusion_proof(&self, index: Index, size: u64) -> Result<InclusionProof, ReadError> {
        self.check_size(size)?;
        prove_inclusion(index.get(), size, self).map_err(|error| self.prove_error(error))
    }

    /// Proof that the tree of `new` leaves extends the tree of `old` leaves.
    ///
    /// # Errors
    ///
    /// [`ReadError`]
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<ConsistencyProof, ReadError> {
        self.check_size(new)?;
        prove_consistency(old, new, self).map_err(|error| self.prove_error(error))
    }

    fn check_index(&self, index: Index) -> Result<u64, ReadError> {
        let size = self.size();
        if index < size {
            Ok(index.get())
        } else {
            Err(ReadError::NoSuchRecord { index, size })
        }
    }

    fn check_size(&self, asked: u64) -> Result<(), ReadError> {
        let size = self.size().get();
        if asked <= size {
            Ok(())
        } else {
            Err(ReadError::NoSuchTree { asked, size })
        }
    }

    fn prove_error(&self, error: ProveError<ReadError>) -> ReadError {
        let size = self.size().get();
        match error {
            ProveError::Read(error) => error,
            ProveError::NoSuchLeaf { index, size } => ReadError::NoSuchRecord {
                index: Index::new(index),
                size: Index::new(size),
            },
            ProveError::SizeBeyondLimit(asked) | ProveError::Shrinks { old: asked, .. } => {
                ReadError::NoSuchTree { asked, size }
            }
            other @ (ProveError::ReaderCount { .. } | _) => {
                ReadError::Io(io::Error::other(other.to_string()))
            }
        }
    }
}

impl HashReader for LogReader {
    type Error = ReadError;

    fn read_hashes(&self, nodes: &[NodeId]) -> Result<Vec<Hash>, ReadError> {
        self.source.nodes(nodes)
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
