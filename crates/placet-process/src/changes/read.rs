//! Reading files that a governed program made: by descriptor, following nothing, waiting for nobody.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use placet_types::Digest;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;
use sha2::{Digest as _, Sha256};

use super::{Before, FileKind, RawPath};

const CHUNK: usize = 256 << 10;

/// What a file holds, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text, whole.
    Text(String),
    /// Something else, or more than is shown.
    Binary,
}

/// Longest file that is shown as text.
const TEXT_BYTES_MAX: u64 = 1 << 20;

pub(super) fn kind(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => FileKind::Device,
    }
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the types of stat differ between architectures"
)]
pub(super) fn before(stat: &Stat) -> Before {
    let nanos = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
    Before {
        ctime_ns: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        ino: stat.st_ino,
        kind: kind(stat),
        mode: stat.st_mode & 0o7777,
        mtime_ns: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        size: stat.st_size.unsigned_abs(),
    }
}

/// Opens a directory by its path, over no symbolic link.
pub(super) fn open_tree(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)
}

/// Opens what is below a directory, over no symbolic link and no mount.
pub(super) fn open_below(dir: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens a regular file that was looked at; anything else that came in its place is an error.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<File> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let found = fstat(&file)?;
    if (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino) && kind(&found) == FileKind::File
    {
        Ok(File::from(file))
    } else {
        Err(io::Error::other("a file was changed while it was read"))
    }
}

/// Gives the owner its rights back. What they were stands in the list.
pub(super) fn unlock(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode((stat.st_mode & 0o7777) | 0o700);
    // fchmodat follows links, so it is only used on what was seen to be none; nothing governed is
    // left that could swap it.
    rustix::fs::chmodat(dir, name, mode, AtFlags::empty())
}

pub(super) fn digest_of(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<Digest> {
    let file = open_file(dir, name, stat);
    let file = match file {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(dir, name, stat)?;
            open_file(dir, name, stat)?
        }
        file => file?,
    };
    copy_digest(file, &mut io::sink())
}

/// Copies a file and gives the digest of what was copied.
pub(super) fn copy_digest(mut file: File, to: &mut impl io::Write) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Digest::new(hash.finalize().into()));
        }
        hash.update(bytes);
        to.write_all(bytes)?;
    }
}

pub(super) fn link_target(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<RawPath> {
    let target = readlinkat(dir, name, Vec::new())?;
    Ok(RawPath::new(target.into_bytes()))
}

/// The content of a file for a person to read.
pub(super) fn content(tree: &OwnedFd, path: &RawPath) -> io::Result<Content> {
    let (parent, name) = path.split();
    let dir = open_below(tree, parent, OFlags::PATH | OFlags::DIRECTORY)?;
    let name = c_name(name)?;
    let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind(&stat) != FileKind::File || stat.st_size.unsigned_abs() > TEXT_BYTES_MAX {
        return Ok(Content::Binary);
    }
    let mut bytes = Vec::new();
    let file = open_file(dir.as_fd(), &name, &stat)?;
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let is_text = !bytes.contains(&0) && bytes.len() as u64 <= TEXT_BYTES_MAX;
    Ok(String::from_utf8(bytes)
        .ok()
        .filter(|_| is_text)
        .map_or(Content::Binary, Content::Text))
}

pub(super) fn c_name(name: &OsStr) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::CString::new(name.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}
