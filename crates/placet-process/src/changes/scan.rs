//! From the upper layer of an overlay to the list of changes.
//!
//! Marks of overlayfs are what they are because nothing inside can make them: devices cannot be made,
//! and `user.overlay.*` cannot be set through the overlay itself.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

use super::read::{before, digest_of, kind, link_target};
use super::{After, Before, CHANGES_MAX, Change, DEPTH_MAX, FileKind, RawPath};

const OPAQUE: &str = "user.overlay.opaque";

/// One overlay.
pub(super) struct Scan {
    /// Which tree.
    pub(super) tree: usize,
    /// When the copy began, nanoseconds since the epoch.
    pub(super) began_ns: i64,
    pub(super) changes: Vec<Change>,
}

/// A directory of both layers.
struct Place<'a> {
    upper: BorrowedFd<'a>,
    /// The directory below it; absent where there is none.
    lower: Option<BorrowedFd<'a>>,
    /// Whether the upper one hides all that is in the lower one.
    opaque: bool,
    path: RawPath,
    depth: usize,
}

impl Scan {
    /// Adds the changes of one overlay.
    ///
    /// # Errors
    ///
    /// What the operating system says; `InvalidData` past the bounds.
    pub(super) fn run(&mut self, upper: &OwnedFd, lower: &OwnedFd) -> io::Result<()> {
        self.directory(&Place {
            upper: upper.as_fd(),
            lower: Some(lower.as_fd()),
            opaque: false,
            path: RawPath::new(Vec::new()),
            depth: 0,
        })
    }

    fn directory(&mut self, place: &Place<'_>) -> io::Result<()> {
        if place.depth > DEPTH_MAX {
            return Err(too_much("directories nest too deep to be reviewed"));
        }
        let names = names(place.upper)?;
        for name in &names {
            self.entry(place, name)?;
        }
        if let Some(lower) = place.lower.filter(|_| place.opaque) {
            for name in self::names(lower)?.difference(&names) {
                self.removed(place, lower, name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, place: &Place<'_>, name: &CStr) -> io::Result<()> {
        let stat = statat(place.upper, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let old = place
            .lower
            .map(|lower| stat_if_there(lower, name))
            .transpose()?
            .flatten();
        if is_whiteout(&stat) {
            return match place.lower.filter(|_| old.is_some()) {
                Some(lower) => self.removed(place, lower, name),
                None => Ok(()),
            };
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.subdirectory(place, name, &stat, old.as_ref());
        }
        // What was a directory is gone with everything in it.
        let was_dir = old.as_ref().is_some_and(is_dir);
        if let Some(lower) = place.lower.filter(|_| was_dir) {
            self.removed_content(place, lower, name)?;
        }
        let after = file(place.upper, name, &stat)?;
        if let (Some(lower), Some(old)) = (place.lower, &old)
            && is_same(lower, name, old, &after)?
        {
            return Ok(());
        }
        self.push(place, name, old.as_ref(), Some(after))
    }

    fn subdirectory(
        &mut self,
        place: &Place<'_>,
        name: &CStr,
        stat: &Stat,
        old: Option<&Stat>,
    ) -> io::Result<()> {
        let upper = open_upper_dir(place.upper, name, stat)?;
        let was_dir = old.is_some_and(is_dir);
        let lower = match place.lower.filter(|_| was_dir) {
            Some(lower) => Some(open_dir(lower, name)?),
            None => None,
        };
        let mode_differs = old.is_none_or(|old| permissions(old) != permissions(stat));
        if !was_dir || mode_differs {
            let after = After {
                digest: None,
                kind: FileKind::Directory,
                mode: permissions(stat),
                size: 0,
                target: None,
            };
            self.push(place, name, old, Some(after))?;
        }
        let mut value = [0_u8; 1];
        let marked = matches!(fgetxattr(&upper, OPAQUE, &mut value), Ok(1) if value == *b"y");
        self.directory(&Place {
            upper: upper.as_fd(),
            lower: lower.as_ref().map(AsFd::as_fd),
            opaque: place.opaque || marked,
            path: place.path.join(name.to_bytes()),
            depth: place.depth + 1,
        })
    }

    /// Something of the lower layer is gone, with everything in it.
    fn removed(&mut self, place: &Place<'_>, lower: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let Some(stat) = stat_if_there(lower, name)? else {
            return Ok(());
        };
        if is_dir(&stat) {
            self.removed_content(place, lower, name)?;
        }
        self.push(place, name, Some(&stat), None)
    }

    fn removed_content(
        &mut self,
        place: &Place<'_>,
        lower: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        if place.depth > DEPTH_MAX {
            return Err(too_much("directories nest too deep to be reviewed"));
        }
        let dir = open_dir(lower, name)?;
        let inner = Place {
            upper: place.upper,
            lower: Some(dir.as_fd()),
            opaque: true,
            path: place.path.join(name.to_bytes()),
            depth: place.depth + 1,
        };
        for name in names(dir.as_fd())? {
            self.removed(&inner, dir.as_fd(), &name)?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        place: &Place<'_>,
        name: &CStr,
        old: Option<&Stat>,
        after: Option<After>,
    ) -> io::Result<()> {
        if self.changes.len() >= CHANGES_MAX {
            return Err(too_much("there are too many changes to be reviewed"));
        }
        let before = old.map(before);
        let raced = match &before {
            Some(before) => before.ctime_ns >= self.began_ns,
            // Whether it was there before shows only in the directory.
            None => place.lower.map_or(Ok(false), |lower| self.touched(lower))?,
        };
        self.changes.push(Change {
            after,
            before,
            path: place.path.join(name.to_bytes()),
            raced,
            tree: self.tree,
        });
        Ok(())
    }

    /// Whether names came to a directory or went from it since the copy began.
    fn touched(&self, dir: BorrowedFd<'_>) -> io::Result<bool> {
        let found: Before = before(&rustix::fs::fstat(dir)?);
        Ok(found.mtime_ns >= self.began_ns)
    }
}

fn too_much(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn is_dir(stat: &Stat) -> bool {
    kind(stat) == FileKind::Directory
}

fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// A character device with number 0: overlayfs keeps everyone else from making one.
fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn stat_if_there(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, DIR, Mode::empty())?)
}

/// A governed program may have taken its own permissions away.
pub(super) fn open_upper_dir(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<OwnedFd> {
    match openat(dir, name, DIR, Mode::empty()) {
        Err(Errno::ACCESS) => {
            super::read::unlock(dir, name, stat)?;
            open_dir(dir, name)
        }
        opened => Ok(opened?),
    }
}

pub(super) fn names(dir: BorrowedFd<'_>) -> io::Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.insert(name.to_owned());
        }
        if names.len() > CHANGES_MAX {
            return Err(too_much("a directory has too many entries to be reviewed"));
        }
    }
    Ok(names)
}

fn file(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<After> {
    let kind = kind(stat);
    let is = |wanted| kind == wanted;
    Ok(After {
        digest: is(FileKind::File)
            .then(|| digest_of(dir, name, stat))
            .transpose()?,
        kind,
        mode: permissions(stat),
        size: if is(FileKind::File) {
            stat.st_size.unsigned_abs()
        } else {
            0
        },
        target: is(FileKind::Symlink)
            .then(|| link_target(dir, name))
            .transpose()?,
    })
}

/// Whether the upper file is the lower one: a file that was opened for writing is copied up as it is.
fn is_same(lower: BorrowedFd<'_>, name: &CStr, old: &Stat, after: &After) -> io::Result<bool> {
    if kind(old) != after.kind || permissions(old) != after.mode {
        return Ok(false);
    }
    match after.kind {
        FileKind::File if old.st_size.unsigned_abs() != after.size => Ok(false),
        FileKind::File => match digest_of(lower, name, old) {
            Ok(digest) => Ok(Some(digest) == after.digest),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(error),
        },
        FileKind::Symlink => Ok(Some(link_target(lower, name)?) == after.target),
        FileKind::Directory | FileKind::Fifo | FileKind::Socket | FileKind::Device => Ok(true),
    }
}
