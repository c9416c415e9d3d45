//! Tier U0: what a cell needs of the supervisor when it stands on the host's own tree.
//!
//! There is no mount that could show less of a tree than the scope grants, and none that vanishes
//! with the cell. So hidden paths inside a grant are refused, temporary storage is a directory that
//! is removed with the cell, and the door is a socket without a name, to which only the broker leads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::SandboxError;
use crate::layout::{Found, Grant};

/// The lowest Landlock ABI: the first that keeps signals and abstract sockets inside, where there
/// is no namespace to do it.
pub(crate) const ABI_REQUIRED: i32 = 6;

/// Where these directories are made, each with a name that is not known before.
const TEMPORARY: &str = "/tmp";
const PREFIX: &str = "placet-u0-";
const TRIES: u32 = 16;

/// What a cell on the host's tree has of its own.
#[derive(Debug)]
pub(crate) struct Host {
    /// The directory that stands for /tmp, unless the scope grants that one.
    pub(crate) scratch: Option<Scratch>,
    /// Trees in which the owner may change modes and times.
    pub(crate) writable: Vec<PathBuf>,
    /// Processes and threads at a time, the reaper included.
    pub(crate) tasks_max: Option<u64>,
}

/// A directory of one cell, removed with this value. A supervisor that was killed leaves its own
/// behind, without the lock on it: whoever makes the next one removes it.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Supervisor {
            what: "make a temporary directory",
            source,
        };
        let base = fs::canonicalize(TEMPORARY).map_err(failed)?;
        sweep(&base);
        let mut last = std::io::ErrorKind::AlreadyExists.into();
        for _ in 0..TRIES {
            let path = base.join(format!("{PREFIX}{}", random_name()?));
            match make(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                // A sweeper was faster.
                Ok(None) => {}
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays, as what a program leaves in /tmp does.
        fs::remove_dir_all(&self.path).unwrap_or(());
    }
}

/// Makes a directory of this user alone and locks it; `None` when a sweeper has removed it.
fn make(path: &Path) -> io::Result<Option<File>> {
    DirBuilder::new().mode(0o700).create(path)?;
    let Some(lock) = lock(path)? else {
        return Ok(None);
    };
    let is_there = fs::symlink_metadata(path).is_ok_and(|found| {
        lock.metadata()
            .is_ok_and(|locked| (found.dev(), found.ino()) == (locked.dev(), locked.ino()))
    });
    Ok(is_there.then_some(lock))
}

/// The lock on a directory; `None` when somebody has it, or it is gone.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    match opened {
        Ok(dir) => Ok(dir.try_lock().is_ok().then_some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the directories of this user that no supervisor holds any more.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    let user = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_ours = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())
            && entry
                .metadata()
                .is_ok_and(|data| data.is_dir() && data.uid() == user);
        if is_ours && let Ok(Some(_lock)) = lock(&entry.path()) {
            fs::remove_dir_all(entry.path()).unwrap_or(());
        }
    }
}

fn random_name() -> Result<String, SandboxError> {
    let mut bytes = [0u8; 12];
    let drawn = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    drawn.map_err(|source| SandboxError::Supervisor {
        what: "draw a random name",
        source,
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Landlock grants whole trees: what lies in a granted one cannot be hidden.
pub(crate) fn check_hidden(hidden: &[Found], grants: &[Grant]) -> Result<(), SandboxError> {
    for Found { path, .. } in hidden {
        let inside = grants
            .iter()
            .find(|grant| path.starts_with(&grant.found.path));
        if let Some(grant) = inside {
            return Err(SandboxError::HiddenInsideGranted {
                hidden: path.clone(),
                granted: grant.found.path.clone(),
            });
        }
    }
    Ok(())
}

/// A listener whose name is gone.
pub(crate) struct Door {
    pub(crate) listener: OwnedFd,
    /// The socket's file, by which it can still be connected to.
    pub(crate) file: OwnedFd,
}

/// Opens a door that no path leads to: bound in a directory of this user alone, and unlinked before
/// anything of the cell runs.
pub(crate) fn open_door() -> Result<Door, SandboxError> {
    let failed = |source| SandboxError::Supervisor {
        what: "open the door",
        source,
    };
    let place = Scratch::new()?;
    let path = place.path().join("door");
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    fs::remove_file(&path).map_err(failed)?;
    Ok(Door {
        listener: listener.into(),
        file,
    })
}

/// The same file again, for another holder.
pub(crate) fn another(file: &OwnedFd) -> Result<OwnedFd, SandboxError> {
    file.try_clone().map_err(|source| SandboxError::Supervisor {
        what: "open the door",
        source,
    })
}
