//! Paths of the host that were looked at for one cell: each once, however many lists it stands in.
//!
//! Whoever writes a [`CellSpec`](crate::CellSpec) leaves out what is not there, and the preparation opens what is left. Both are one look: what was seen is held open, and is
//! what the cell is prepared with. The cell itself opens each path again in its own mount namespace, and compares.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FileType, fstat};

use crate::layout::c_string;
use crate::sys::{self, Errno, Inode};

/// What was looked at. A clone is the same one.
#[derive(Clone, Default)]
pub struct Looked(Arc<Mutex<HashMap<PathBuf, sys::Sys<Seen>>>>);

/// What stands at a path.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) inode: Inode,
    pub(crate) kind: FileType,
}

impl Looked {
    /// Whether something stands at a path that no link leads through; `None` where it takes more than one look to know.
    #[must_use]
    pub fn stands(&self, path: &Path) -> Option<bool> {
        match self.at(path) {
            Ok(_) => Some(true),
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => Some(false),
            Err(_) => None,
        }
    }

    /// What stands there, or why that is not known: as it was the first time.
    pub(crate) fn at(&self, path: &Path) -> sys::Sys<Seen> {
        let mut all = self.all();
        if let Some(seen) = all.get(path) {
            return seen.clone();
        }
        let seen = look(path);
        all.insert(path.to_path_buf(), seen.clone());
        seen
    }

    /// Whether everything that was looked at is, by a later look, what it was.
    pub(crate) fn is_still(&self, later: &Self) -> bool {
        let same = |(path, before): (&PathBuf, &sys::Sys<Seen>)| match (before, later.at(path)) {
            (Ok(before), Ok(now)) => (before.inode, before.kind) == (now.inode, now.kind),
            (Err(before), Err(now)) => *before == now,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        // The same look is no later one.
        !Arc::ptr_eq(&self.0, &later.0) && self.all().iter().all(same)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<PathBuf, sys::Sys<Seen>>> {
        // Whoever panicked with it has left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(path: &Path) -> sys::Sys<Seen> {
    let name = c_string(path.as_os_str().as_bytes(), "a path").map_err(|_| Errno(libc::EINVAL))?;
    let fd = sys::open_path(libc::AT_FDCWD, &name)?;
    // SAFETY: openat2 has just made this descriptor for us alone.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    let stat = fstat(&file).map_err(|errno| Errno(errno.raw_os_error()))?;
    Ok(Seen {
        file: Arc::new(file),
        inode: Inode {
            dev: stat.st_dev,
            ino: stat.st_ino,
        },
        kind: FileType::from_raw_mode(stat.st_mode),
    })
}

impl fmt::Debug for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_looked_at_once_for_one_cell() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (there, later) = (dir.join("there"), dir.join("later"));
        std::fs::write(&there, "").unwrap();
        let looked = Looked::default();
        assert_eq!(looked.stands(&there), Some(true));
        assert_eq!(looked.stands(&later), Some(false));
        let before = looked.at(&there).unwrap().inode;
        let again = Looked::default();
        assert!(looked.is_still(&again));
        assert!(!looked.is_still(&looked));
        std::fs::rename(&there, &later).unwrap();
        std::fs::write(&there, "").unwrap();
        assert_eq!(looked.at(&there).unwrap().inode, before);
        assert_eq!(looked.stands(&later), Some(false));
        assert_eq!(again.at(&there).unwrap().inode, before);
        // Another look finds another file, and the one that was not there.
        let now = Looked::default();
        assert_ne!(now.at(&there).unwrap().inode, before);
        assert_eq!(now.at(&later).unwrap().inode, before);
        assert!(!looked.is_still(&now));
        std::fs::remove_file(&later).unwrap();
        std::fs::remove_file(&there).unwrap();
        assert!(!looked.is_still(&Looked::default()));
        // A link takes more than one look.
        std::os::unix::fs::symlink(&there, dir.join("link")).unwrap();
        assert_eq!(looked.stands(&dir.join("link")), None);
    }
}
