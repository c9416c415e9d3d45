//! The control group that limits the processes of a cell of the root user, whom RLIMIT_NPROC does
//! not bind. Nothing else is limited here, and the cells of other users need none.
//!
//! A group lives as long as the [`Group`] and is removed with it. A supervisor that is killed
//! leaves its groups empty, since the cells die with it; whoever makes the next group beside them
//! removes them. The lock on each group's directory tells the two kinds of empty groups apart: the
//! kernel lets go of it with the supervisor, and in between a new group's maker waits for a
//! sweeper, sees that its group is gone, and makes another.

mod find;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use crate::error::NoControlGroup;
use crate::pid1::Entry;
use crate::sys;

/// The kernel may take a moment after the last process was reaped.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);
/// Each lost race is with another cell or supervisor that has made progress.
const CREATIONS_MAX: u32 = 100;
/// pid 1 and the worker, which RLIMIT_NPROC would let start under any limit too.
const PROCESSES_MIN: u64 = 2;

/// Where cells get their groups, and how many processes each may have.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    /// Name of the file in a group through which a process enters.
    entry: &'static str,
    processes_max: u64,
}

/// One cell's group.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    entry: OwnedFd,
    /// Locked.
    _dir: OwnedFd,
}

impl Place {
    /// The directory `placet` at the supervisor's own group, made if it is not there. Limits on the
    /// supervisor's group hold for its cells too.
    pub(crate) fn find(processes_max: u64) -> Result<Self, NoControlGroup> {
        let parent = find::parent()?;
        let dir = parent.dir().join("placet");
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(&dir)(error));
            }
            Ok(()) | Err(_) => {}
        }
        // A file system mounted read-only refuses root too, but not to make what is there.
        rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK)
            .map_err(|errno| unusable(&dir)(errno.into()))?;
        parent.enable_below(&dir)?;
        Ok(Self {
            dir,
            entry: parent.entry(),
            processes_max,
        })
    }
}

impl Group {
    /// A new, empty group with the limit set.
    pub(crate) fn create(place: &Place) -> Result<Self, NoControlGroup> {
        sweep(&place.dir);
        for _ in 0..CREATIONS_MAX {
            let name = format!("{}-{}", std::process::id(), sys::boot_time_ns());
            let path = place.dir.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(unusable(&path)(error)),
            }
            let group = Self::open(&path, place).inspect_err(|_| drop(fs::remove_dir(&path)))?;
            if let Some(group) = group {
                return Ok(group);
            }
        }
        Err(unusable(&place.dir)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Takes possession of a directory just made; `None` when a sweeper was faster.
    fn open(path: &Path, place: &Place) -> Result<Option<Self>, NoControlGroup> {
        let Some(dir) = hold(path).map_err(unusable(path))? else {
            return Ok(None);
        };
        let processes = place.processes_max.max(PROCESSES_MIN);
        put(&path.join("pids.max"), &processes.to_string())?;
        let entry = path.join(place.entry);
        let opened = OpenOptions::new().write(true).open(&entry);
        Ok(Some(Self {
            path: path.to_path_buf(),
            entry: opened.and_then(above_streams).map_err(unusable(&entry))?,
            _dir: dir,
        }))
    }

    /// What pid 1 enters by; good for as long as this value.
    pub(crate) fn entry(&self) -> Entry {
        Entry(self.entry.as_raw_fd())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
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

/// Removes the groups that no supervisor holds any more. Those that are not empty stay: the kernel
/// refuses, and their processes are dying.
fn sweep(place: &Path) {
    let Ok(groups) = fs::read_dir(place) else {
        return;
    };
    for group in groups.flatten() {
        let path = group.path();
        let is_dir = group.file_type().is_ok_and(|kind| kind.is_dir());
        let Some(dir) = File::open(&path).ok().filter(|_| is_dir) else {
            continue;
        };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Busy or removed by another: nothing is left to do here.
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

fn put(path: &Path, text: &str) -> Result<(), NoControlGroup> {
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(unusable(path))
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> NoControlGroup {
    let path = path.to_path_buf();
    |source| NoControlGroup::Unusable { path, source }
}

#[cfg(test)]
#[path = "group/tests.rs"]
mod tests;
