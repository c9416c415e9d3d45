//! Trees that a cell changes as copies: what must hold of them, checked before anything is mounted.
//!
//! An overlay shows one file system, under inode numbers that need not be those outside. So a part of
//! a copied tree that is mounted, hidden or granted differently could be neither shown nor checked
//! by its inode: such a scope is refused instead of being enforced nearly.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lremovexattr, lsetxattr};

use crate::error::{NotCopyable, SandboxError};
use crate::layout::{Access, Found, c_string};
use crate::looked::Looked;
use crate::prepare::find;
use crate::spec::Copied;
use crate::text::kernel_file;

/// In the name space that overlays with `userxattr` use themselves.
const PROBE: &str = "user.overlay.probe";

/// A tree that is shown as a copy.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) found: Found,
    pub(crate) upper: CString,
    pub(crate) work: CString,
}

/// Opens the trees and checks what they and their directories must be.
pub(crate) fn find_all(copied: &[Copied], looked: &Looked) -> Result<Vec<Copy>, SandboxError> {
    if copied.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = mount_points()?;
    copied
        .iter()
        .map(|one| find_one(one, &mounts, looked))
        .collect()
}

fn find_one(copied: &Copied, mounts: &[PathBuf], looked: &Looked) -> Result<Copy, SandboxError> {
    let tree = copied.tree.as_path();
    let refuse = |why| SandboxError::NotCopyable {
        path: tree.to_path_buf(),
        why,
    };
    let found = find(tree, looked)?;
    if !found.is_dir {
        return Err(refuse(NotCopyable::NotDirectory));
    }
    let below = |mount: &&PathBuf| mount.starts_with(tree) && *mount != tree;
    if let Some(mount) = mounts.iter().find(below) {
        return Err(refuse(NotCopyable::MountInside(mount.clone())));
    }
    let upper = copied.upper.as_path();
    lsetxattr(upper, PROBE, b"y", XattrFlags::empty())
        .and_then(|()| lremovexattr(upper, PROBE))
        .map_err(|errno| refuse(NotCopyable::NoAttributes(errno.into())))?;
    Ok(Copy {
        found,
        upper: option(&copied.upper, refuse)?,
        work: option(&copied.work, refuse)?,
    })
}

/// A path as a mount option, in which overlayfs reads a backslash as an escape.
fn option(
    path: &Path,
    refuse: impl Fn(NotCopyable) -> SandboxError,
) -> Result<CString, SandboxError> {
    if path.as_os_str().as_bytes().contains(&b'\\') {
        return Err(refuse(NotCopyable::BadPath));
    }
    c_string(path.as_os_str().as_bytes(), "a path")
}

/// Everything in a copy must be granted as the copy is, and nothing hidden.
pub(crate) fn check_alike<'a>(
    copies: &[Copy],
    hidden: impl IntoIterator<Item = &'a Found>,
    grants: impl IntoIterator<Item = (&'a Path, Access)>,
) -> Result<(), SandboxError> {
    let own = |path: &Path| {
        copies
            .iter()
            .find(|copy| path.starts_with(&copy.found.path))
    };
    let refuse = |copy: &Copy, path: &Path| SandboxError::NotCopyable {
        path: copy.found.path.clone(),
        why: NotCopyable::GrantInside(path.to_path_buf()),
    };
    let grants: Vec<(&Path, Access)> = grants.into_iter().collect();
    let access = |path: &Path| grants.iter().find(|(at, _)| *at == path).map(|(_, is)| *is);
    for (path, granted) in &grants {
        if let Some(copy) = own(path)
            && access(&copy.found.path) != Some(*granted)
        {
            return Err(refuse(copy, path));
        }
    }
    for found in hidden {
        if let Some(copy) = own(&found.path) {
            return Err(refuse(copy, &found.path));
        }
    }
    Ok(())
}

/// Where anything is mounted in this mount namespace.
fn mount_points() -> Result<Vec<PathBuf>, SandboxError> {
    let text = kernel_file("/proc/self/mountinfo").map_err(|source| SandboxError::Supervisor {
        what: "read the mounts",
        source,
    })?;
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect())
}

/// The kernel writes space, tab, line feed and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = code.map_or(after, |_| after.get(3..).unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_they_are() {
        assert_eq!(unescape(b"/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescape(b"/plain\\9"), b"/plain\\9");
        assert!(mount_points().unwrap().contains(&PathBuf::from("/")));
    }
}
