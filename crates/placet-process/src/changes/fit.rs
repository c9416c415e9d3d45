//! Whether a change still fits what is there.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, OFlags, readlinkat, statat};
use rustix::io::Errno;

use super::apply::MODE_BITS;
use super::read::{before, c_name, copy_digest, open_below, open_file};
use super::{After, Before, Change, FileKind, RawPath};

/// A change that can be applied.
pub(super) enum Fit {
    Fits,
    Already,
}

/// A directory that is added brings its content along; anything else needs its directory.
fn missing_parent(change: &Change, chosen: &[(usize, Vec<u8>)]) -> Result<Fit, &'static str> {
    let (parent, _) = change.path.split();
    let parent = std::os::unix::ffi::OsStrExt::as_bytes(parent.as_os_str());
    let comes = chosen
        .iter()
        .any(|(tree, path)| *tree == change.tree && path == parent);
    match (&change.before, &change.after) {
        (None, Some(_)) if comes => Ok(Fit::Fits),
        (None, Some(_)) => Err("its directory is not there: apply that too"),
        (Some(_), None) => Ok(Fit::Already),
        _ => Err("its directory is gone"),
    }
}

/// Names come to a directory and go from it, also by what was applied before. It is the same one.
fn is_same_dir(found: Option<Before>, listed: Option<Before>) -> bool {
    let (Some(found), Some(listed)) = (found, listed) else {
        return false;
    };
    found.kind == FileKind::Directory
        && (found.kind, found.ino, found.mode) == (listed.kind, listed.ino, listed.mode)
}

/// Whether what is there is what the change would leave.
fn is_applied(
    dir: BorrowedFd<'_>,
    name: &CString,
    found: Option<Before>,
    after: Option<&After>,
) -> bool {
    let (Some(found), Some(after)) = (found, after) else {
        return found.is_none() && after.is_none();
    };
    if found.kind != after.kind {
        return false;
    }
    match after.kind {
        FileKind::Directory => found.mode & MODE_BITS == after.mode & MODE_BITS,
        FileKind::Symlink => readlinkat(dir, name, Vec::new()).is_ok_and(|target| {
            Some(target.as_bytes()) == after.target.as_ref().map(RawPath::as_bytes)
        }),
        FileKind::File => {
            found.size == after.size
                && found.mode == after.mode & MODE_BITS
                && statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(io::Error::from)
                    .and_then(|stat| open_file(dir, name, &stat))
                    .and_then(|file| copy_digest(file, &mut io::sink()))
                    .is_ok_and(|digest| Some(digest) == after.digest)
        }
        FileKind::Fifo | FileKind::Socket | FileKind::Device => false,
    }
}

/// Looks at what is there.
pub(super) fn fits(
    trees: &[OwnedFd],
    change: &Change,
    chosen: &[(usize, Vec<u8>)],
) -> Result<Fit, &'static str> {
    if change.raced {
        return Err("the original changed while the execution ran");
    }
    if let Some(after) = &change.after
        && !matches!(
            after.kind,
            FileKind::File | FileKind::Directory | FileKind::Symlink
        )
    {
        return Err("it is no file, directory or link, and cannot be applied");
    }
    let tree = trees.get(change.tree).ok_or("there is no such tree")?;
    let (parent, name) = change.path.split();
    let dir = match open_below(tree, parent, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return missing_parent(change, chosen),
        Err(Errno::LOOP | Errno::XDEV) => {
            return Err("its directory is reached over a link or a mount now");
        }
        Err(_) => return Err("its directory cannot be entered"),
    };
    let name = c_name(name).map_err(|_| "it has no name")?;
    let found = match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(before(&stat)),
        Err(Errno::NOENT) => None,
        Err(_) => return Err("it cannot be looked at"),
    };
    if found == change.before || is_same_dir(found, change.before) {
        return Ok(Fit::Fits);
    }
    if is_applied(dir.as_fd(), &name, found, change.after.as_ref()) {
        return Ok(Fit::Already);
    }
    Err(match (found, &change.before) {
        (Some(_), None) => "something of this name is there now",
        (None, Some(_)) => "the original is gone",
        _ => "the original changed since",
    })
}
