//! What a tree opens, starts and connects to, for whoever wants to learn what it needs.
//!
//! Read from the memory of the stopped caller, which another thread of it may change before the call
//! is made: good enough to learn from, and nothing is ever decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{ExecCall, ImageDigest};
use crate::broker::inet_address;
use crate::process::{Process, path_of};
use crate::sys;

/// Distinct files and peers that are noted.
const NOTED_MAX: usize = 100_000;
/// Longest path, as the kernel has it.
const PATH_BYTES_MAX: usize = 4096;
/// Longest socket address that is looked at.
const ADDRESS_BYTES_MAX: usize = 128;

/// What a tree has done.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Files by their path, symbolic links resolved as far as they were there.
    pub opened: BTreeMap<PathBuf, Opened>,
    /// Programs that started.
    pub programs: BTreeMap<PathBuf, Option<ImageDigest>>,
    /// Whom it wanted to connect to.
    pub peers: BTreeSet<SocketAddr>,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// For reading.
    pub read: bool,
    /// For writing, or to be made.
    pub written: bool,
    /// It was not there, as the tree saw it.
    pub missing: bool,
}

/// Notes, shared between the tracer and the supervisor.
#[derive(Clone, Debug, Default)]
pub(super) struct Observer {
    seen: Arc<Mutex<Observed>>,
}

impl Observer {
    pub(super) fn seen(&self) -> Observed {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    pub(super) fn started(&self, call: &ExecCall) {
        let Some(image) = &call.image else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.programs.len() < NOTED_MAX {
            seen.programs.insert(image.path.clone(), image.digest);
            if let Some(script) = &call.script {
                seen.programs.insert(script.path.clone(), None);
            }
        }
    }

    /// Notes the call at which a tracee stands. One that cannot be read is not noted.
    pub(super) fn call(&self, pid: i32) {
        let Ok((number, arguments)) = sys::shown_call(pid) else {
            return;
        };
        if number == libc::SYS_connect {
            self.connect(pid, arguments);
        } else if let Some(open) = Open::of(pid, number, arguments) {
            self.open(pid, &open);
        }
    }

    fn connect(&self, pid: i32, [_, at, length, ..]: [u64; 6]) {
        let mut bytes = [0; ADDRESS_BYTES_MAX];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(buffer) = bytes.get_mut(..length.min(ADDRESS_BYTES_MAX)) else {
            return;
        };
        let read = sys::read_memory(pid, at, buffer).unwrap_or(0);
        let peer = bytes.get(..read).and_then(inet_address);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.peers.len() < NOTED_MAX {
            seen.peers.extend(peer);
        }
    }

    fn open(&self, pid: i32, open: &Open) {
        let Ok(process) = Process::open(pid) else {
            return;
        };
        let base = match open.directory {
            libc::AT_FDCWD => process.link("cwd"),
            directory => process.link(&format!("fd/{directory}")),
        };
        let path = if open.path.is_absolute() {
            open.path.clone()
        } else {
            base.unwrap_or_default().join(&open.path)
        };
        let found = process.resolve_absolute(&path).and_then(|fd| path_of(&fd));
        let missing = found.is_err();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = found.unwrap_or_else(|_| plain(&path));
        if seen.opened.len() >= NOTED_MAX && !seen.opened.contains_key(&key) {
            return;
        }
        let noted = seen.opened.entry(key).or_insert(Opened {
            missing,
            ..Opened::default()
        });
        noted.read |= open.reads;
        noted.written |= open.writes;
        noted.missing &= missing;
    }
}

/// A call that opens a file.
struct Open {
    directory: i32,
    path: PathBuf,
    reads: bool,
    writes: bool,
}

impl Open {
    fn of(pid: i32, number: i64, arguments: [u64; 6]) -> Option<Self> {
        let [first, second, third, ..] = arguments;
        let (directory, at, flags) = match number {
            libc::SYS_openat => (low(first), second, third),
            libc::SYS_openat2 => {
                let mut how = [0; 8];
                let whole = sys::read_memory(pid, third, &mut how) == Ok(8);
                whole.then(|| (low(first), second, u64::from_ne_bytes(how)))?
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => (libc::AT_FDCWD, first, second),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_creat => (libc::AT_FDCWD, first, u64::from(WRITES)),
            _ => return None,
        };
        let flags = low(flags).unsigned_abs();
        let access = flags & libc::O_ACCMODE.unsigned_abs();
        let writes = access != libc::O_RDONLY.unsigned_abs() || flags & WRITES != 0;
        Some(Self {
            directory,
            path: path(pid, at)?,
            reads: access != libc::O_WRONLY.unsigned_abs(),
            writes,
        })
    }
}

const WRITES: u32 = (libc::O_CREAT | libc::O_TRUNC).unsigned_abs();

/// The half of an argument that the kernel takes as an int.
pub(super) fn low(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

pub(super) fn path(pid: i32, at: u64) -> Option<PathBuf> {
    let mut bytes = vec![0; PATH_BYTES_MAX];
    // Memory may end within the buffer, and the path before that.
    let page = 4096 - usize::try_from(at % 4096).unwrap_or(0);
    let mut read = sys::read_memory(pid, at, bytes.get_mut(..page)?).ok()?;
    if !bytes.get(..read)?.contains(&0) && read == page {
        let rest = bytes.get_mut(page..)?;
        let after = at.checked_add(u64::try_from(page).ok()?)?;
        read = read.saturating_add(sys::read_memory(pid, after, rest).unwrap_or(0));
    }
    let end = bytes.get(..read)?.iter().position(|byte| *byte == 0)?;
    bytes.truncate(end);
    (!bytes.is_empty()).then(|| PathBuf::from(OsString::from_vec(bytes)))
}

/// A path without `.` and `..`, by its text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::Prefix(_)
            | std::path::Component::RootDir
            | std::path::Component::Normal(_) => plain.push(part),
        }
    }
    plain
}
