//! Changes of mode and times, for a cell that stands on the host's tree.
//!
//! Landlock restricts neither, and where no mount is read-only the owner could change them on every
//! file that it has. So these calls are trapped, and the supervisor makes the change on the file
//! that it has opened and judged: nothing is read twice.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_NOW};

use crate::process::{self, Process};
use crate::sys::{self, Errno, Sys, Trapped};

/// PATH_MAX, the NUL included.
const PATH_BYTES_MAX: usize = 4096;
/// Set-user-id and set-group-id: a program that is started outside must not be made one.
const SET_ID: u32 = 0o6000;

/// What is to be changed.
enum Change {
    Mode(u32),
    Times(Timestamps),
}

/// On which file.
enum Target {
    Descriptor(i32),
    Path {
        at: i32,
        path: PathBuf,
        follow: bool,
    },
}

/// Makes the change, if the file lies in a tree that the cell may write and belongs to its user.
pub(super) fn serve(call: &Trapped, trees: &[PathBuf], still_waits: &dyn Fn() -> bool) -> Sys<()> {
    let (target, change) = read(call)?;
    let file = open(call.thread, target)?;
    // What was read was of this call only if it still waits.
    if !still_waits() {
        return Err(Errno(libc::ESRCH));
    }
    let stat = process::stat(&file).map_err(bare)?;
    let path = process::path_of(&file).map_err(bare)?;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if !trees.iter().any(|tree| path.starts_with(tree)) {
        return Err(Errno(libc::EACCES));
    }
    if !own {
        return Err(Errno(libc::EPERM));
    }
    match change {
        Change::Mode(mode) => {
            let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            change_mode(&file, mode, is_dir)
        }
        Change::Times(times) => {
            let flags = AtFlags::EMPTY_PATH;
            rustix::fs::utimensat(&file, "", &times, flags).map_err(bare)
        }
    }
}

fn change_mode(file: &OwnedFd, mode: u32, is_dir: bool) -> Sys<()> {
    if !is_dir && mode & SET_ID != 0 {
        return Err(Errno(libc::EPERM));
    }
    // The link leads to the file that is open, whatever its path is by now.
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::chmod(link, Mode::from_raw_mode(mode & 0o7777)).map_err(bare)
}

fn bare(errno: rustix::io::Errno) -> Errno {
    Errno(errno.raw_os_error())
}

/// Takes the call apart.
fn read(call: &Trapped) -> Sys<(Target, Change)> {
    let [a, b, c, d, ..] = call.args;
    let thread = call.thread;
    let number = i64::from(call.call);
    let path = |at, pointer, follow| {
        Ok(Target::Path {
            at,
            path: path_at(thread, pointer)?,
            follow,
        })
    };
    #[cfg(target_arch = "x86_64")]
    let here = libc::AT_FDCWD;
    match number {
        libc::SYS_fchmod => Ok((Target::Descriptor(int(a)), Change::Mode(word(b)))),
        libc::SYS_fchmodat => Ok((path(int(a), b, true)?, Change::Mode(word(c)))),
        crate::seccomp::SYS_FCHMODAT2 => {
            let target = flagged(thread, int(a), b, word(d))?;
            Ok((target, Change::Mode(word(c))))
        }
        libc::SYS_utimensat => {
            let target = if b == 0 {
                Target::Descriptor(int(a))
            } else {
                flagged(thread, int(a), b, word(d))?
            };
            Ok((target, Change::Times(nanoseconds(thread, c)?)))
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod => Ok((path(here, a, true)?, Change::Mode(word(b)))),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utime => Ok((path(here, a, true)?, Change::Times(seconds(thread, b)?))),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utimes => Ok((
            path(here, a, true)?,
            Change::Times(microseconds(thread, b)?),
        )),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_futimesat => {
            let times = Change::Times(microseconds(thread, c)?);
            Ok((path(int(a), b, true)?, times))
        }
        _ => Err(Errno(libc::ENOSYS)),
    }
}

/// A path with `AT_` flags.
fn flagged(thread: i32, at: i32, pointer: u64, flags: u32) -> Sys<Target> {
    let nofollow = libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    let empty = libc::AT_EMPTY_PATH.unsigned_abs();
    if flags & !(nofollow | empty) != 0 {
        return Err(Errno(libc::EINVAL));
    }
    let path = path_bytes(thread, pointer)?;
    if path.is_empty() && flags & empty != 0 && at >= 0 {
        return Ok(Target::Descriptor(at));
    }
    Ok(Target::Path {
        at,
        path: named(&path)?,
        follow: flags & nofollow == 0,
    })
}

fn path_at(thread: i32, pointer: u64) -> Sys<PathBuf> {
    named(&path_bytes(thread, pointer)?)
}

fn named(path: &[u8]) -> Sys<PathBuf> {
    if path.is_empty() {
        return Err(Errno(libc::ENOENT));
    }
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// A NUL-terminated string of the caller's, copied once.
fn path_bytes(thread: i32, pointer: u64) -> Sys<Vec<u8>> {
    let mut bytes = vec![0u8; PATH_BYTES_MAX];
    let read = sys::read_memory(thread, pointer, &mut bytes)?;
    bytes.truncate(read);
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => {
            bytes.truncate(end);
            Ok(bytes)
        }
        None if read < PATH_BYTES_MAX => Err(Errno(libc::EFAULT)),
        None => Err(Errno(libc::ENAMETOOLONG)),
    }
}

fn open(thread: i32, target: Target) -> Sys<OwnedFd> {
    match target {
        Target::Descriptor(descriptor) => {
            let taken = sys::take_descriptor(thread, descriptor)?;
            // SAFETY: the call has just made this descriptor for us alone.
            Ok(unsafe { OwnedFd::from_raw_fd(taken) })
        }
        Target::Path { at, path, follow } => {
            let process = Process::open(thread).map_err(bare)?;
            find(&process, at, &path, follow).map_err(bare)
        }
    }
}

/// What a name leads to for the caller. Links of /proc that lead to open files are not followed:
/// here they would be the supervisor's own.
fn find(
    process: &Process,
    at: i32,
    path: &Path,
    follow: bool,
) -> Result<OwnedFd, rustix::io::Errno> {
    let whole = if path.is_absolute() {
        path.to_path_buf()
    } else if at == libc::AT_FDCWD {
        process.link("cwd")?.join(path)
    } else {
        process.link(&format!("fd/{at}"))?.join(path)
    };
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    rustix::fs::openat2(
        rustix::fs::CWD,
        whole,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
}

/// Both supported architectures are little-endian.
fn word(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or(0)
}

fn int(argument: u64) -> i32 {
    i32::from_ne_bytes(word(argument).to_ne_bytes())
}

fn now() -> Timestamps {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
}

/// `struct timespec[2]`; null is now.
fn nanoseconds(thread: i32, pointer: u64) -> Sys<Timestamps> {
    times(thread, pointer, Some)
}

/// `struct timeval[2]`; null is now.
#[cfg(target_arch = "x86_64")]
fn microseconds(thread: i32, pointer: u64) -> Sys<Timestamps> {
    let is_whole = |micros: &i64| (0..1_000_000).contains(micros);
    times(thread, pointer, |micros| {
        Some(micros).filter(is_whole)?.checked_mul(1000)
    })
}

fn times(thread: i32, pointer: u64, nanos: impl Fn(i64) -> Option<i64>) -> Sys<Timestamps> {
    if pointer == 0 {
        return Ok(now());
    }
    let [a, b, c, d] = words::<4>(thread, pointer)?;
    let time = |secs, fraction| {
        Some(Timespec {
            tv_sec: secs,
            tv_nsec: nanos(fraction)?,
        })
    };
    let pair = time(a, b).zip(time(c, d)).ok_or(Errno(libc::EINVAL))?;
    Ok(Timestamps {
        last_access: pair.0,
        last_modification: pair.1,
    })
}

/// `struct utimbuf`; null is now.
#[cfg(target_arch = "x86_64")]
fn seconds(thread: i32, pointer: u64) -> Sys<Timestamps> {
    if pointer == 0 {
        return Ok(now());
    }
    let [access, modification] = words::<2>(thread, pointer)?;
    let time = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
    Ok(Timestamps {
        last_access: time(access),
        last_modification: time(modification),
    })
}

fn words<const N: usize>(thread: i32, pointer: u64) -> Sys<[i64; N]> {
    let mut bytes = vec![0u8; N.saturating_mul(8)];
    if sys::read_memory(thread, pointer, &mut bytes)? != bytes.len() {
        return Err(Errno(libc::EFAULT));
    }
    let mut words = [0i64; N];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = i64::from_ne_bytes(*chunk);
    }
    Ok(words)
}
