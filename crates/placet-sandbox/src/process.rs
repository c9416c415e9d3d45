//! Another process as /proc shows it, and paths as that process would follow them.
//!
//! The directory in /proc is held open, so all answers are about one process, whoever gets its
//! number later; of a tracee it is not, which keeps its number until its tracer has reaped it. They are as of now: only a
//! process that is held still does not change meanwhile.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::sys::{self, Inode};
use crate::text::kernel_text;

/// A process or thread.
pub(crate) struct Process(Directory);

/// Its directory in /proc.
enum Directory {
    Held(OwnedFd),
    OfTracee(i32),
}

impl Process {
    pub(crate) fn open(pid: i32) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self(Directory::Held(dir)))
    }

    /// A tracee of the calling thread, for as long as that thread does not wait for its end.
    pub(crate) const fn traced(pid: i32) -> Self {
        Self(Directory::OfTracee(pid))
    }

    /// Where a name of its directory stands.
    fn at<'a>(&self, name: &'a str) -> (BorrowedFd<'_>, Cow<'a, str>) {
        match &self.0 {
            Directory::Held(dir) => (dir.as_fd(), Cow::Borrowed(name)),
            Directory::OfTracee(pid) => (CWD, Cow::Owned(format!("/proc/{pid}/{name}"))),
        }
    }

    /// Opens a file of the directory for reading.
    pub(crate) fn file(&self, name: &str) -> Result<File, Errno> {
        // A lease on the file would hold this thread up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let (dir, name) = self.at(name);
        rustix::fs::openat(dir, &*name, flags, Mode::empty()).map(File::from)
    }

    pub(crate) fn link(&self, name: &str) -> Result<PathBuf, Errno> {
        let (dir, name) = self.at(name);
        let link = rustix::fs::readlinkat(dir, &*name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(link.into_bytes())))
    }

    /// Its parent's process, in this pid namespace.
    pub(crate) fn parent(&self) -> Option<i32> {
        let mut stat = String::new();
        self.file("stat").ok()?.read_to_string(&mut stat).ok()?;
        // The second field, the name, is in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok()
    }

    /// The status flags of one of its descriptors, close-on-exec among them.
    pub(crate) fn descriptor_flags(&self, descriptor: i32) -> Option<OFlags> {
        let mut info = String::new();
        let mut file = self.file(&format!("fdinfo/{descriptor}")).ok()?;
        file.read_to_string(&mut info).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        Some(OFlags::from_bits_retain(flags))
    }

    /// What a name leads to from its working directory and root, which is not left.
    pub(crate) fn resolve(&self, name: &Path) -> Result<OwnedFd, Errno> {
        if name.is_absolute() {
            self.resolve_absolute(name)
        } else {
            self.resolve_absolute(&self.link("cwd")?.join(name))
        }
    }

    pub(crate) fn resolve_absolute(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (dir, name) = self.at("root");
        let root = rustix::fs::openat(dir, &*name, flags, Mode::empty())?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, flags, Mode::empty(), inside)
    }

    /// Which file one of its descriptors leads to. Nothing is opened.
    pub(crate) fn inode_of_descriptor(&self, descriptor: i32) -> Result<Inode, Errno> {
        let name = format!("fd/{descriptor}");
        let (dir, name) = self.at(&name);
        let stat = rustix::fs::statat(dir, &*name, rustix::fs::AtFlags::empty())?;
        Ok(Inode {
            dev: stat.st_dev,
            ino: stat.st_ino,
        })
    }

    /// Which file a path of its root leads to.
    pub(crate) fn inode_of(&self, path: &Path) -> Result<Inode, Errno> {
        inode(self.resolve_absolute(path)?)
    }
}

/// The process behind a pidfd, in this pid namespace; `None` when it has been reaped.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = kernel_text(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Whether the process behind a pidfd runs no more.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut wanted = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut wanted, Some(&Timespec::default())), Ok(1))
}

pub(crate) fn stat(file: impl AsFd) -> Result<libc::stat, Errno> {
    sys::stat(file.as_fd().as_raw_fd()).map_err(|errno| Errno::from_raw_os_error(errno.0))
}

pub(crate) fn inode(file: impl AsFd) -> Result<Inode, Errno> {
    stat(file).map(|stat| Inode {
        dev: stat.st_dev,
        ino: stat.st_ino,
    })
}

/// The path by which an open file was reached, in the mount namespace where it was.
pub(crate) fn path_of(file: impl AsFd) -> Result<PathBuf, Errno> {
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}
