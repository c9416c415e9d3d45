//! What Landlock refused the tree, as the kernel's audit tells it: evidence, not enforcement. What the second
//! exec gate refused ([`crate::opens`]) is told here as well.
//!
//! The kernel logs a refusal by the number of the Landlock domain, and the first time it names the
//! process that made the domain: the cell's worker. From then on the domain is known, and with it
//! each refusal of this tree, whichever process it met. Needs Landlock ABI 7, audit switched on
//! and the right to read it (CAP_AUDIT_READ, in the first pid namespace, whose numbers the records use).
//! This crate never switches audit on: it is the host's, and costs every process of it.
//!
//! What is not shown to the cell at all is not refused by Landlock but missing (ENOENT), and a write on a read-only mount is
//! refused by the mount (EROFS): neither is told here.

mod reader;
mod record;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::queue::{Queue, Urgency};

pub(crate) use reader::{Audit, Reader, audit_is_on, start};

/// What was refused, by the strongest of the rights that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeniedAccess {
    /// Reading a file or a directory.
    Read,
    /// Writing, making, moving or removing.
    Write,
    /// Starting a program.
    Execute,
    /// TCP, where the cell has no loopback.
    Network,
    /// Signals and abstract sockets that lead outside, tracing, mounting, device controls.
    Other,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was refused.
    pub access: DeniedAccess,
    /// The rights that were missing, in the kernel's words and separated by commas, like
    /// `fs.write_file,fs.truncate`; of the second exec gate `exec.untraced` or
    /// `exec.outside_scope`.
    pub rights: String,
    /// The file or directory, by its path in the cell; of something to be made or removed, the
    /// directory that it would be in. `None` where it is about no file, or its path is too long.
    pub path: Option<PathBuf>,
    /// The process, in the supervisor's pid namespace, where audit says so.
    pub pid: Option<u32>,
}

/// The supervisor's end of the refusals of one cell. Clones share it; it outlives the tree.
///
/// Its descriptor is readable while reports wait. At most 256 wait; what comes beyond that is
/// counted and dropped, since nothing in the tree waits for it.
#[derive(Clone)]
pub struct Denials {
    queue: Arc<Queue<Denial, ()>>,
    lost: Arc<AtomicU64>,
}

impl Denials {
    /// For a cell's watchers to tell it.
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self {
            queue: Arc::new(Queue::new()?),
            lost: Arc::default(),
        })
    }

    /// Reports one, or counts it.
    pub(crate) fn tell(&self, denial: Denial) {
        if !self.queue.put(denial, Urgency::Now) {
            self.lose();
        }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the reports that have come in, oldest first. Does not wait.
    #[must_use]
    pub fn reports(&self) -> Vec<Denial> {
        self.queue.take()
    }

    /// How many found no room, or were dropped by the kernel before they could be read; of those the number is
    /// not known and each loss counts as one.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl AsFd for Denials {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.reports_ready()
    }
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denials").finish_non_exhaustive()
    }
}
