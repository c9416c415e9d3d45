//! Files, directories and mounts.

use std::ffi::{CStr, c_int, c_uint, c_ulong};
use std::mem::size_of;

use super::{Errno, Sys, done, last_errno, number};

/// What identifies a file for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

const OPEN_TREE_CLONE: c_uint = 1;
const AT_RECURSIVE: c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;

/// Opens `path` as O_PATH, refusing any symbolic link in it. `at` may be `AT_FDCWD`.
pub(crate) fn open_path(at: c_int, path: &CStr) -> Sys<c_int> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let how = OpenHow {
        flags: u64::from(flags.unsigned_abs()),
        mode: 0,
        resolve: libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: path is NUL terminated and how is a live open_how of the stated size.
    number(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            at,
            path.as_ptr(),
            &raw const how,
            size_of::<OpenHow>(),
        )
    })
}

/// Opens an existing file for writing.
pub(crate) fn open_write(path: &CStr) -> Sys<c_int> {
    // SAFETY: path is NUL terminated.
    let ret = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    number(ret.into())
}

/// Reads the beginning of a file; gives how much.
pub(crate) fn read_file(path: &CStr, buffer: &mut [u8]) -> Sys<usize> {
    // SAFETY: path is NUL terminated.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let fd = number(fd.into())?;
    let mut filled = 0usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: rest is live and writable for its length.
        let read = unsafe { libc::read(fd, rest.as_mut_ptr().cast(), rest.len()) };
        match usize::try_from(read) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled = filled.saturating_add(count),
        }
    }
    close(fd);
    Ok(filled)
}

/// Creates an empty file under the working directory, to mount another on; one that is there will do.
pub(crate) fn make_file(path: &CStr) -> Sys<()> {
    let mode = libc::S_IFREG | 0o444;
    // SAFETY: path is NUL terminated.
    match done(unsafe { libc::mknod(path.as_ptr(), mode, 0) }.into()) {
        Err(Errno(libc::EEXIST)) => create_file(path, 0o444, b""),
        made => made,
    }
}

/// Creates a regular file under the working directory.
pub(crate) fn create_file(path: &CStr, mode: c_uint, contents: &[u8]) -> Sys<()> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: path is NUL terminated.
    let fd = number(unsafe { libc::open(path.as_ptr(), flags, mode) }.into())?;
    let written = if contents.is_empty() {
        Ok(())
    } else {
        write_all(fd, contents)
    };
    close(fd);
    written
}

pub(crate) fn close(fd: c_int) {
    // SAFETY: callers pass descriptors they own; close invalidates nothing else. Its result says
    // nothing that matters for the descriptors used here.
    unsafe { libc::close(fd) };
}

pub(crate) fn write_all(fd: c_int, bytes: &[u8]) -> Sys<()> {
    // SAFETY: the buffer is live for its length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    match usize::try_from(written) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(Errno(libc::EIO)),
        Err(_) => Err(last_errno()),
    }
}

pub(crate) fn stat(fd: c_int) -> Sys<libc::stat> {
    // SAFETY: an all-zero stat is a valid value of that plain C struct.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: stat is a live, writable struct stat.
    done(unsafe { libc::fstat(fd, &raw mut stat) }.into())?;
    Ok(stat)
}

pub(crate) fn inode(fd: c_int) -> Sys<Inode> {
    stat(fd).map(|stat| Inode {
        dev: stat.st_dev,
        ino: stat.st_ino,
    })
}

pub(crate) fn make_dir(path: &CStr) -> Sys<()> {
    // SAFETY: path is NUL terminated.
    done(unsafe { libc::mkdir(path.as_ptr(), 0o755) }.into())
}

pub(crate) fn symlink(target: &CStr, path: &CStr) -> Sys<()> {
    // SAFETY: both paths are NUL terminated.
    done(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }.into())
}

pub(crate) fn change_dir(path: &CStr) -> Sys<()> {
    // SAFETY: path is NUL terminated.
    done(unsafe { libc::chdir(path.as_ptr()) }.into())
}

/// Works in the directory behind `fd`.
pub(crate) fn change_dir_to(fd: c_int) -> Sys<()> {
    // SAFETY: fchdir takes an integer only.
    done(unsafe { libc::fchdir(fd) }.into())
}

/// mount(2) of a new file system, or of flags on an existing mount when `kind` is empty.
pub(crate) fn mount(kind: &CStr, target: &CStr, flags: c_ulong, data: &CStr) -> Sys<()> {
    // SAFETY: all strings are NUL terminated; the kernel ignores source and type where it must.
    done(
        unsafe {
            libc::mount(
                kind.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                flags,
                data.as_ptr().cast(),
            )
        }
        .into(),
    )
}

/// A detached, recursive copy of the mounts below `fd`.
pub(crate) fn open_tree(fd: c_int) -> Sys<c_int> {
    let flags = OPEN_TREE_CLONE
        | AT_RECURSIVE
        | libc::AT_EMPTY_PATH.unsigned_abs()
        | libc::O_CLOEXEC.unsigned_abs();
    // SAFETY: the path is an empty NUL-terminated string.
    number(unsafe { libc::syscall(libc::SYS_open_tree, fd, c"".as_ptr(), flags) })
}

/// Adds attributes to every mount of a detached tree.
pub(crate) fn mount_set_attributes(fd: c_int, set: u64) -> Sys<()> {
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = AT_RECURSIVE | libc::AT_EMPTY_PATH.unsigned_abs();
    // SAFETY: attr is a live mount_attr of the stated size; the path is empty.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
}

const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;

/// A detached overlay whose lower layer is the working directory. It keeps what it knows in user
/// attributes, as the owner of a user namespace may.
pub(crate) fn mount_overlay(upper: &CStr, work: &CStr, attributes: u64) -> Sys<c_int> {
    // SAFETY: the name is NUL terminated.
    let fs =
        number(unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), FSOPEN_CLOEXEC) })?;
    let options = [
        (c"lowerdir", c"."),
        (c"upperdir", upper),
        (c"workdir", work),
        // No file handles: they would have to outlive renames outside. And inode numbers as the
        // lower layer has them.
        (c"index", c"off"),
        (c"xino", c"off"),
    ];
    for (key, value) in options {
        configure(fs, FSCONFIG_SET_STRING, Some(key), Some(value))?;
    }
    configure(fs, FSCONFIG_SET_FLAG, Some(c"userxattr"), None)?;
    configure(fs, FSCONFIG_CMD_CREATE, None, None)?;
    // SAFETY: fsmount takes integers only.
    let mount =
        number(unsafe { libc::syscall(libc::SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes) })?;
    close(fs);
    Ok(mount)
}

fn configure(fs: c_int, command: c_uint, key: Option<&CStr>, value: Option<&CStr>) -> Sys<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are NUL terminated or null, as each command takes them.
    done(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs,
            command,
            pointer(key),
            pointer(value),
            0 as c_int,
        )
    })
}

/// Attaches a detached tree on the file or directory behind `target`.
pub(crate) fn move_mount(tree: c_int, target: c_int) -> Sys<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty NUL-terminated strings.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            target,
            c"".as_ptr(),
            flags,
        )
    })
}

/// Attaches a detached tree at a path below the working directory; a link is not followed.
pub(crate) fn move_mount_to(tree: c_int, target: &CStr) -> Sys<()> {
    // SAFETY: the first path is empty, the second NUL terminated.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
}

/// Makes the working directory the root and detaches the old one.
pub(crate) fn pivot_here() -> Sys<()> {
    // SAFETY: both paths are NUL terminated.
    done(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: the path is NUL terminated.
    done(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    change_dir(c"/")
}
