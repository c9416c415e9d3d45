//! One control group: made, held by a lock, entered, ended and removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use super::find::Version;
use super::{Branch, put, unusable};
use crate::error::NoControlGroup;
use crate::sys;

/// The kernel may take a moment after the last process was reaped.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);
/// Killed processes end by themselves; one that is stuck in the kernel is left to the next sweep.
const EMPTYINGS_MAX: u32 = 40;
const EMPTYING_NS: i64 = 50_000_000;
/// Each lost race is with another cell or supervisor that has made progress.
const CREATIONS_MAX: u32 = 100;

/// One group of one cell.
#[derive(Debug)]
pub(super) struct Node {
    path: PathBuf,
    /// Locked.
    dir: OwnedFd,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    /// Version 1: the file through which a thread moves itself in, for which, unlike for a process,
    /// the kernel need not stop all forks of the machine.
    One {
        tasks: OwnedFd,
    },
    Two {
        kill: OwnedFd,
        events: OwnedFd,
    },
}

impl Node {
    /// A new, empty group with its bounds set.
    pub(super) fn create(branch: &Branch) -> Result<Self, NoControlGroup> {
        sweep(&branch.dir);
        for _ in 0..CREATIONS_MAX {
            let name = format!("{}-{}", std::process::id(), sys::boot_time_ns());
            let path = branch.dir.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(unusable(&path)(error)),
            }
            let node = Self::open(&path, branch).inspect_err(|_| drop(fs::remove_dir(&path)))?;
            if let Some(node) = node {
                return Ok(node);
            }
        }
        Err(unusable(&branch.dir)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Takes possession of a directory just made; `None` when a sweeper was faster.
    fn open(path: &Path, branch: &Branch) -> Result<Option<Self>, NoControlGroup> {
        let Some(dir) = hold(path).map_err(unusable(path))? else {
            return Ok(None);
        };
        for setting in &branch.settings {
            let file = path.join(setting.file);
            if !setting.optional || file.exists() {
                put(&file, &setting.value)?;
            }
        }
        let open = |name: &str, options: &mut OpenOptions| {
            let file = path.join(name);
            let opened = options.open(&file).and_then(above_streams);
            opened.map_err(unusable(&file))
        };
        let ends = match branch.version {
            Version::One => Ends::One {
                tasks: open("tasks", OpenOptions::new().write(true))?,
            },
            Version::Two => Ends::Two {
                kill: open("cgroup.kill", OpenOptions::new().write(true))?,
                events: open("cgroup.events", OpenOptions::new().read(true))?,
            },
        };
        Ok(Some(Self {
            path: path.to_path_buf(),
            dir,
            ends,
        }))
    }

    /// The directory for a clone into the group.
    pub(super) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match &self.ends {
            Ends::One { .. } => None,
            Ends::Two { .. } => Some(self.dir.as_fd()),
        }
    }

    pub(super) fn entry(&self) -> Option<RawFd> {
        match &self.ends {
            Ends::One { tasks } => Some(tasks.as_raw_fd()),
            Ends::Two { .. } => None,
        }
    }

    /// Kills whatever is in it.
    pub(super) fn kill(&self) -> bool {
        match &self.ends {
            Ends::One { .. } => false,
            Ends::Two { kill, .. } => rustix::io::write(kill, b"1").is_ok(),
        }
    }

    /// Waits until nothing is in it, or for as long as that makes sense.
    fn await_empty(&self) {
        let Ends::Two { events, .. } = &self.ends else {
            return;
        };
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: EMPTYING_NS,
        };
        for _ in 0..EMPTYINGS_MAX {
            // Reading comes first: the kernel tells of each change after the last reading.
            if !is_populated(events) {
                return;
            }
            let mut changed = [PollFd::new(events, PollFlags::PRI)];
            poll(&mut changed, Some(&timeout)).unwrap_or(0);
        }
    }
}

/// Whether a process is left in the group of these events. What cannot be read has been removed.
fn is_populated(events: &OwnedFd) -> bool {
    let mut text = [0u8; 128];
    let read = rustix::io::pread(events, &mut text, 0).unwrap_or(0);
    let text = text.get(..read).unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .any(|line| line == b"populated 1")
}

impl Node {
    /// The cell is over; whoever came in from outside goes as well.
    pub(super) fn empty(&self) {
        if self.kill() {
            self.await_empty();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.empty();
        for _ in 0..REMOVALS_MAX {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    thread::sleep(REMOVAL_PAUSE);
                }
                Ok(()) | Err(_) => return,
            }
        }
    }
}

/// Ends and removes the groups that no supervisor holds any more. Those that are not empty yet
/// stay for the next sweep: the kernel refuses, and their processes are dying.
fn sweep(place: &Path) {
    let Ok(groups) = fs::read_dir(place) else {
        return;
    };
    for group in groups.flatten() {
        if !group.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = group.path();
        let Ok(dir) = File::open(&path) else {
            continue;
        };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
            // Busy or removed by another.
            && fs::remove_dir(&path).is_err()
            // Without a supervisor nobody else would. Version 1 has no such file.
            && put(&path.join("cgroup.kill"), "1").is_ok()
        {
            drop(fs::remove_dir(&path));
        }
    }
}

/// Locks a directory just made; `None` when a sweeper was faster and it is gone.
fn hold(path: &Path) -> io::Result<Option<OwnedFd>> {
    let dir = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => above_streams(opened?)?,
    };
    retry_on_intr(|| flock(&dir, FlockOperation::LockExclusive))?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.ino() == rustix::fs::fstat(&dir)?.st_ino).then_some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A worker keeps whatever has the number of a standard stream.
fn above_streams(file: File) -> io::Result<OwnedFd> {
    let fd = OwnedFd::from(file);
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

#[cfg(test)]
#[path = "node/tests.rs"]
mod tests;
