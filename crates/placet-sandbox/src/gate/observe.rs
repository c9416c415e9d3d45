//! What a tree opens and starts, for whoever wants to learn what it needs. Whom it connects to, the broker
//! reports.
//!
//! Read from the memory of the stopped caller, which another thread of it may change before the call
//! is made: good enough to learn from, and nothing is ever decided by it.
//!
//! Only a tree that is to be observed is: in one that is shown nothing of, the tracer asks the kernel for
//! no such stops, so a tree that brings a filter of its own gets ENOSYS from it and no notes are kept. What
//! is noted of one is bounded in bytes, and [`Observed::incomplete`] tells of the rest.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{ExecCall, ImageDigest};
use crate::process::{Process, path_of};
use crate::sys;

/// What notes may take in memory, about: their texts, and [`NOTE_BYTES`] for each.
const NOTED_BYTES_MAX: usize = 8 << 20;
/// What a note takes beside its text.
const NOTE_BYTES: usize = 128;
/// Longest path, as the kernel has it.
const PATH_BYTES_MAX: usize = 4096;

/// What a tree has done.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Files by their path, symbolic links resolved as far as they were there.
    pub opened: BTreeMap<PathBuf, Opened>,
    /// Programs that started.
    pub programs: BTreeMap<PathBuf, Option<ImageDigest>>,
    /// It did more than is noted: some 30,000 distinct files and programs are.
    pub incomplete: bool,
}

/// What a tree's filter shows the tracer, and so what that asks the kernel for and takes note of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// What is opened.
    pub(crate) opens: bool,
    /// What is made executable.
    pub(crate) making: bool,
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
#[derive(Clone, Debug)]
pub(super) struct Observer {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug)]
struct Notes {
    seen: Observed,
    bytes_left: usize,
}

impl Notes {
    fn new(bytes_left: usize) -> Self {
        Self {
            seen: Observed::default(),
            bytes_left,
        }
    }

    /// Whether one more note with so much text may be kept.
    fn has_room(&mut self, text: usize) -> bool {
        let left = self.bytes_left.checked_sub(text.saturating_add(NOTE_BYTES));
        self.bytes_left = left.unwrap_or(self.bytes_left);
        self.seen.incomplete |= left.is_none();
        left.is_some()
    }

    fn program(&mut self, path: &Path, digest: Option<ImageDigest>) {
        let known = self.seen.programs.contains_key(path);
        if known || self.has_room(path.as_os_str().len()) {
            self.seen.programs.insert(path.to_path_buf(), digest);
        }
    }

    fn opened(&mut self, path: PathBuf, opened: Opened) {
        if !self.seen.opened.contains_key(&path) && !self.has_room(path.as_os_str().len()) {
            return;
        }
        let noted = self.seen.opened.entry(path).or_insert(Opened {
            missing: opened.missing,
            ..Opened::default()
        });
        noted.read |= opened.read;
        noted.written |= opened.written;
        noted.missing &= opened.missing;
    }
}

impl Observer {
    /// `None` where nothing is to be observed.
    pub(super) fn new(shown: Shown) -> Option<Self> {
        shown.opens.then(|| Self {
            notes: Arc::new(Mutex::new(Notes::new(NOTED_BYTES_MAX))),
        })
    }

    fn note<T>(&self, act: impl FnOnce(&mut Notes) -> T) -> T {
        // Every change is complete before anything could panic.
        act(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn seen(&self) -> Observed {
        self.note(|notes| notes.seen.clone())
    }

    pub(super) fn started(&self, call: &ExecCall) {
        let Some(image) = &call.image else { return };
        self.note(|notes| {
            notes.program(&image.path, image.digest);
            if let Some(script) = &call.script {
                notes.program(&script.path, None);
            }
        });
    }

    /// Notes the call at which a tracee stands. One that cannot be read is not noted.
    pub(super) fn call(&self, pid: i32) {
        let Ok((number, arguments)) = sys::shown_call(pid) else {
            return;
        };
        if let Some(open) = Open::of(pid, number, arguments) {
            self.open(pid, &open);
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
        let path = found.unwrap_or_else(|_| plain(&path));
        let opened = Opened {
            read: open.reads,
            written: open.writes,
            missing,
        };
        self.note(|notes| notes.opened(path, opened));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_bounded_in_bytes_and_tell_of_the_rest() {
        let mut notes = Notes::new(10 * (NOTE_BYTES + 100));
        for number in 0..20 {
            let path = PathBuf::from(format!("/{number:0>99}"));
            for _ in 0..3 {
                notes.opened(path.clone(), Opened::default());
            }
        }
        assert_eq!(notes.seen.opened.len(), 10);
        assert!(notes.seen.incomplete);
        // What is noted already takes no more.
        let again = PathBuf::from(format!("/{:0>99}", 3));
        let written = Opened {
            written: true,
            ..Opened::default()
        };
        notes.opened(again.clone(), written);
        assert!(notes.seen.opened[&again].written);
        notes.program(Path::new("/program"), None);
        assert!(notes.seen.programs.is_empty());
    }

    #[test]
    fn few_notes_are_complete() {
        let mut notes = Notes::new(NOTED_BYTES_MAX);
        notes.opened("/a".into(), Opened::default());
        notes.program(Path::new("/program"), None);
        assert!(!notes.seen.incomplete);
    }

    #[test]
    fn nothing_is_noted_where_nothing_is_observed() {
        let nothing = Shown::default();
        assert!(Observer::new(nothing).is_none());
        let making = Shown {
            making: true,
            ..nothing
        };
        assert!(Observer::new(making).is_none());
        let opens = Shown {
            opens: true,
            ..nothing
        };
        assert!(Observer::new(opens).is_some());
    }
}
