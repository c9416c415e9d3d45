//! The scope's files, held open from the check to the start, so that no other file can get their inodes.
//!
//! The child opens each path again in its own mount namespace and compares inodes. An inode whose file is removed
//! is free for the next file that is made; one that is held is not.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::SandboxError;
use crate::layout::{Found, Parts, c_string};
use crate::sys::{self, Inode};

/// Opens what was found once more, for as long as the plan lives.
pub(super) fn hold(parts: &Parts) -> Result<Vec<OwnedFd>, SandboxError> {
    let granted = parts.grants.iter().map(|grant| &grant.found);
    let others = parts
        .hidden
        .iter()
        .chain(&parts.sockets)
        .chain(&parts.client);
    let copied = parts.copies.iter().map(|copy| &copy.found);
    granted.chain(others).chain(copied).map(open).collect()
}

fn open(found: &Found) -> Result<OwnedFd, SandboxError> {
    let failed = |source| SandboxError::Open {
        path: found.path.clone(),
        source,
    };
    let name = c_string(found.path.as_os_str().as_bytes(), "a path")?;
    let fd = sys::open_path(libc::AT_FDCWD, &name).map_err(|errno| failed(errno.into()))?;
    // SAFETY: openat2 has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let stat = rustix::fs::fstat(&fd).map_err(|errno| failed(errno.into()))?;
    let is_found = found.inode
        == Inode {
            dev: stat.st_dev,
            ino: stat.st_ino,
        };
    if is_found {
        Ok(fd)
    } else {
        Err(failed(io::Error::from_raw_os_error(libc::ESTALE)))
    }
}
