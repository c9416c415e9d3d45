//! What a process at exec-stop shows of itself in /proc: its image, its parent, its script.
//!
//! At that point its memory belongs to it alone and it has run nothing, so what the kernel put on
//! its stack is still there as it was. It can only be killed; its number stays its own until this
//! thread has reaped it. Everything read here is bounded.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::Script;
use super::stack::Stack;
use crate::spec::FileIdentity;
use crate::sys::{self, Inode};

/// At most four interpreters in a row, with one argument each, stand before a script.
const SCRIPT_AT_MAX: usize = 9;

/// A process at exec-stop.
pub(super) struct Stopped {
    /// Its directory in /proc.
    dir: OwnedFd,
}

/// The file it was started from.
pub(super) struct Image {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) identity: FileIdentity,
    pub(super) links: u64,
    pub(super) writable: bool,
}

impl Stopped {
    pub(super) fn open(pid: i32) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self { dir })
    }

    fn open_file(&self, name: &str) -> Result<File, Errno> {
        // A lease on the file would hold this thread up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::openat(&self.dir, name, flags, Mode::empty()).map(File::from)
    }

    fn read_link(&self, name: &str) -> Result<PathBuf, Errno> {
        let link = rustix::fs::readlinkat(&self.dir, name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(link.into_bytes())))
    }

    /// Its parent's process, in the supervisor's pid namespace.
    pub(super) fn parent(&self) -> Option<i32> {
        let mut stat = String::new();
        self.open_file("stat")
            .ok()?
            .read_to_string(&mut stat)
            .ok()?;
        // The second field, the name, is in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok()
    }

    /// The image, opened through the process itself: no path is followed.
    pub(super) fn image(&self) -> Result<Image, Errno> {
        let file = self.open_file("exe")?;
        let stat = stat(&file)?;
        let mount = rustix::fs::fstatvfs(&file)?;
        Ok(Image {
            path: self.read_link("exe")?,
            identity: FileIdentity::of_stat(&stat),
            links: stat.st_nlink,
            writable: !mount.f_flag.contains(StatVfsMountFlags::RDONLY),
            file,
        })
    }

    /// The script, if the image is an interpreter that was started for one. The kernel passes the
    /// name that execve got on to the interpreter, as one of its first arguments, and that name
    /// leads to another file than the image.
    pub(super) fn script(
        &self,
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
        let file = self.resolve(Path::new(&name)).ok()?;
        let found = identity(&file).ok()?;
        if (found.dev, found.ino) == (image.dev, image.ino) {
            return None;
        }
        Some(Script {
            path: path_of(&file).ok()?,
            identity: found,
        })
    }

    /// Opens a name as the process would, without leaving its root.
    fn resolve(&self, name: &Path) -> Result<OwnedFd, Errno> {
        let absolute = match name.strip_prefix("/dev/fd") {
            // How the kernel spells a name that was relative to a descriptor.
            Ok(below) => self.below_descriptor(below)?,
            Err(_) if name.is_absolute() => name.to_path_buf(),
            Err(_) => self.read_link("cwd")?.join(name),
        };
        self.open_inside(&absolute)
    }

    fn below_descriptor(&self, path: &Path) -> Result<PathBuf, Errno> {
        let mut parts = path.components();
        let number = parts.next().ok_or(Errno::NOENT)?;
        let base = self.read_link(&format!("fd/{}", Path::new(&number).display()))?;
        let rest = parts.as_path();
        Ok(if rest.as_os_str().is_empty() {
            base
        } else {
            base.join(rest)
        })
    }

    /// Opens a path of the cell to learn what it is.
    fn open_inside(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&self.dir, "root", flags, Mode::empty())?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, flags, Mode::empty(), inside)
    }

    /// Which file a path of the cell leads to.
    pub(super) fn inode_inside(&self, path: &Path) -> Result<Inode, Errno> {
        let stat = stat(self.open_inside(path)?)?;
        Ok(Inode {
            dev: stat.st_dev,
            ino: stat.st_ino,
        })
    }
}

fn identity(file: impl AsFd) -> Result<FileIdentity, Errno> {
    stat(file).map(|stat| FileIdentity::of_stat(&stat))
}

fn stat(file: impl AsFd) -> Result<libc::stat, Errno> {
    sys::stat(file.as_fd().as_raw_fd()).map_err(|errno| Errno::from_raw_os_error(errno.0))
}

/// The path by which an open file was reached.
fn path_of(file: &OwnedFd) -> Result<PathBuf, Errno> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}
