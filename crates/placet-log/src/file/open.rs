//! Opening the log of a directory, creating it where there is none.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use placet_tlog::Hash;
use placet_tlog::checkpoint::SignedCheckpoint;
use placet_tlog::note::{NoteSigner, VerifierKey};
use placet_types::Index;

use crate::file::derived::Derived;
use crate::file::head::{HeadFile, Slots};
use crate::file::layout::{Layout, sync_parent};
use crate::file::recover::{Recover, Recovered};
use crate::file::shared::{Shared, View};
use crate::file::{FileLog, OpenSegment};
use crate::fsck::damage::Damage;
use crate::sequencer::{At as _, Fault, Step};
use crate::vouch;

/// Size at which a segment is closed and the next one begun, unless said otherwise: 64 MiB.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Largest such size: offsets within a segment have 32 bits, and the last frame may overshoot.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// How to open a log.
#[derive(Debug)]
pub struct FileOptions {
    dir: PathBuf,
    signer: NoteSigner,
    check: EntryCheck,
    segment_bytes: u64,
}

/// Judges an entry that the log key does not vouch for: one beyond the signed head, which an
/// interrupted append left there, or somebody else put there.
///
/// The authority verifies the entry's own signature.
#[derive(Clone)]
pub struct EntryCheck(Option<Arc<Check>>);

type Check = dyn Fn(Index, &[u8]) -> bool + Send + Sync;

/// A log that was opened, and what recovery found.
#[derive(Debug)]
pub struct Opened {
    /// The writer.
    pub log: FileLog,
    /// What an earlier writer had left to settle.
    pub recovery: Recovery,
}

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records beyond the signed head that were whole, and are kept.
    pub kept_records: u64,
    /// Bytes of a torn frame at the end that were cut.
    pub cut_bytes: u64,
    /// The derived files were missing or wrong, and were computed again.
    pub derived_rebuilt: bool,
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another value in this one, writes to the log.
    #[error("the log is locked by another writer")]
    Locked,
    /// There are records but no readable head: what the log must hold is unknown.
    #[error("the log has records but no readable head")]
    HeadMissing,
    /// The head is not signed by the given key, or is of another log.
    #[error("the head is not signed by the given log key")]
    HeadNotSigned,
    /// The log ends before the size that its head states.
    #[error("the log was cut off: it has {size} records, its head states {head}")]
    Truncated {
        /// Number of sound records.
        size: Index,
        /// Size that the signed head states.
        head: Index,
    },
    /// The evidence is damaged.
    #[error("the log is damaged at {index}: {damage}")]
    Damaged {
        /// The first bad index.
        index: Index,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The operating system failed.
    #[error("the log could not be opened: {0}")]
    Failed(#[from] Fault),
}

impl FileOptions {
    /// The log in `dir`, which signs with `signer`, whose name is the origin.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, signer: NoteSigner, check: EntryCheck) -> Self {
        Self {
            dir: dir.into(),
            signer,
            check,
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// Closes segments once they have this many bytes; at most 1 GiB. May differ from one opening
    /// to the next.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.min(MAX_SEGMENT_BYTES);
        self
    }

    /// Opens the log for writing, or creates an empty one in a directory that has none.
    ///
    /// With sound derived files this reads what lies beyond the signed head and little else;
    /// without, all of the log, once, and computes them again.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. Nothing of the evidence is changed then, but that a torn tail may be cut.
    pub fn open(self) -> Result<Opened, OpenError> {
        let layout = Layout::new(&self.dir);
        fs::create_dir_all(layout.dir()).at(Step::CreateDirectory)?;
        let lock = acquire(&layout)?;
        let key = self.signer.verifier_key();
        let (head, sequence) = match read_head(&layout, key)? {
            Some(found) => found,
            None => (create(&layout, &self.signer)?, 0),
        };
        let recover = Recover {
            layout: &layout,
            key,
            head: &head,
            check: &self.check,
        };
        let recovered = recover.run()?;
        let mut head_file = HeadFile::open(&layout, sequence).at(Step::WriteHead)?;
        let head = self.sign_head(head, &recovered, &mut head_file)?;
        self.into_log(layout, lock, head, head_file, recovered)
    }

    /// Signs what recovery kept beyond the head; it is durable by now.
    fn sign_head(
        &self,
        head: Arc<SignedCheckpoint>,
        recovered: &Recovered,
        file: &mut HeadFile,
    ) -> Result<Arc<SignedCheckpoint>, OpenError> {
        let frontier = &recovered.frontier;
        if frontier.size() == head.claim().size() {
            return Ok(head);
        }
        let head = vouch::sign(&self.signer, frontier.size(), frontier.root());
        let head = head.ok_or(OpenError::HeadNotSigned)?;
        file.write(&head).at(Step::WriteHead)?;
        Ok(head)
    }

    fn into_log(
        self,
        layout: Layout,
        lock: File,
        head: Arc<SignedCheckpoint>,
        head_file: HeadFile,
        recovered: Recovered,
    ) -> Result<Opened, OpenError> {
        let Recovered {
            derived,
            tree,
            recent,
            frontier,
            segments,
            end,
            report,
        } = recovered;
        let segment = segments
            .last()
            .copied()
            .map(|first| open_segment(&layout, first, end));
        let segment = segment.transpose()?;
        let vouch = vouch::signature(&head, self.signer.verifier_key());
        let view = View {
            head: Arc::clone(&head),
            tree,
            recent,
            segments,
        };
        let log = FileLog {
            _lock: lock,
            shared: Arc::new(Shared::new(layout.clone(), derived, view)),
            layout,
            segment_bytes: self.segment_bytes,
            head,
            head_file,
            vouch: vouch.ok_or(OpenError::HeadNotSigned)?,
            signer: self.signer,
            frontier,
            segment,
            frame: Vec::new(),
            stopped: false,
        };
        Ok(Opened {
            log,
            recovery: report,
        })
    }
}

impl EntryCheck {
    /// Keeps an entry beyond the signed head only if `accepts` says so.
    pub fn new(accepts: impl Fn(Index, &[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(accepts)))
    }

    /// Trusts whoever can write to the directory: for entries that carry no proof of their own.
    #[must_use]
    pub const fn none_required() -> Self {
        Self(None)
    }

    pub(crate) fn accepts(&self, index: Index, entry: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|check| check(index, entry))
    }

    pub(crate) const fn is_required(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for EntryCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryCheck(required: {})", self.is_required())
    }
}

/// Takes the directory's lock. It belongs to the open file: it ends with the process, or earlier.
pub(crate) fn acquire(layout: &Layout) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(layout.lock());
    let file = file.at(Step::OpenLock)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked),
        Err(TryLockError::Error(error)) => Err(Fault::new(Step::OpenLock, error).into()),
    }
}

/// The newest head and the number of its write; `None` where no log was ever created.
pub(crate) fn read_head(
    layout: &Layout,
    key: &VerifierKey,
) -> Result<Option<(Arc<SignedCheckpoint>, u64)>, OpenError> {
    let Some(slots) = Slots::read(layout).at(Step::ReadHead)? else {
        return if has_segments(layout)? {
            Err(OpenError::HeadMissing)
        } else {
            Ok(None)
        };
    };
    let (sequence, head) = slots.newest().ok_or(OpenError::HeadMissing)?;
    head.open(&[key]).map_err(|_| OpenError::HeadNotSigned)?;
    Ok(Some((Arc::new(head.clone()), sequence)))
}

fn has_segments(layout: &Layout) -> Result<bool, Fault> {
    match layout.list_segments() {
        Ok(segments) => Ok(!segments.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fault::new(Step::ReadSegments, error)),
    }
}

/// Creates an empty log. Its head comes last: without one, there is no log yet, and all of this is
/// done again.
fn create(layout: &Layout, signer: &NoteSigner) -> Result<Arc<SignedCheckpoint>, OpenError> {
    sync_parent(layout.dir()).at(Step::SyncDirectory)?;
    fs::create_dir_all(layout.segments()).at(Step::CreateDirectory)?;
    Derived::stage(layout).at(Step::DerivedFiles)?;
    Derived::unstage(layout).at(Step::DerivedFiles)?;
    let head = vouch::sign(signer, 0, Hash::EMPTY_ROOT).ok_or(OpenError::HeadNotSigned)?;
    HeadFile::create(layout, &head).at(Step::WriteHead)?;
    Ok(head)
}

fn open_segment(layout: &Layout, first: u64, end: u64) -> Result<OpenSegment, Fault> {
    let file = OpenOptions::new().write(true).open(layout.segment(first));
    Ok(OpenSegment {
        first,
        file: file.at(Step::ReadSegments)?,
        end,
        room: end,
    })
}
