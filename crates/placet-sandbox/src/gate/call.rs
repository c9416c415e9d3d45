//! What a process at exec-stop shows of itself in /proc: its image and its script.
//!
//! At that point its memory belongs to it alone and it has run nothing. It can only be killed, and
//! its number stays its own until this thread has reaped it. Everything read here is bounded.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use super::Script;
use super::stack::Stack;
use crate::process::{self, Process};
use crate::spec::FileIdentity;

/// At most four interpreters in a row, with one argument each, stand before a script.
const SCRIPT_AT_MAX: usize = 9;

/// The file a process was started from.
pub(super) struct Image {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) identity: FileIdentity,
    pub(super) links: u64,
    pub(super) writable: bool,
}

/// The image, opened through the process itself: no path is followed.
pub(super) fn image(process: &Process) -> Result<Image, Errno> {
    let file = process.file("exe")?;
    let stat = process::stat(&file)?;
    let mount = rustix::fs::fstatvfs(&file)?;
    Ok(Image {
        path: process::path_of(&file)?,
        identity: FileIdentity::of_stat(&stat),
        links: stat.st_nlink,
        writable: !mount.f_flag.contains(StatVfsMountFlags::RDONLY),
        file,
    })
}

/// The script, if the image is an interpreter that was started for one. The kernel passes the name
/// that execve got on to the interpreter, as one of its first arguments, and that name leads to
/// another file than the image.
pub(super) fn script(
    process: &Process,
    stack: &mut Stack,
    argv: &[OsString],
    image: FileIdentity,
) -> Option<Script> {
    let early = argv.get(1..argv.len().min(SCRIPT_AT_MAX.saturating_add(1)))?;
    if early.is_empty() {
        return None;
    }
    let name = stack.executed_name()?;
    if !early.contains(&name) {
        return None;
    }
    let file = find(process, Path::new(&name)).ok()?;
    let found = FileIdentity::of_stat(&process::stat(&file).ok()?);
    if (found.dev, found.ino) == (image.dev, image.ino) {
        return None;
    }
    Some(Script {
        path: process::path_of(&file).ok()?,
        identity: found,
    })
}

fn find(process: &Process, name: &Path) -> Result<OwnedFd, Errno> {
    match name.strip_prefix("/dev/fd") {
        // How the kernel spells a name that was relative to a descriptor.
        Ok(below) => process.resolve_absolute(&below_descriptor(process, below)?),
        Err(_) => process.resolve(name),
    }
}

fn below_descriptor(process: &Process, path: &Path) -> Result<PathBuf, Errno> {
    let mut parts = path.components();
    let number = parts.next().ok_or(Errno::NOENT)?;
    let base = process.link(&format!("fd/{}", Path::new(&number).display()))?;
    let rest = parts.as_path();
    Ok(if rest.as_os_str().is_empty() {
        base
    } else {
        base.join(rest)
    })
}
