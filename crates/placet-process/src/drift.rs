//! Drift: whether what a decision was about is still what it was.
//!
//! Watched are the file at the program's path, the files that the scope pins, the gateway's own
//! program, and what the machine says of itself. The kernel's notices (inotify) make it quick, for whatever
//! lives longer than a moment; a timer makes it sure: nothing hangs on a notice that came. A file counts as changed when it is
//! another file or has other contents; a time stamp alone changes nothing. Since one that was
//! already mapped can be written without one, small files are read anew from time to time.
//!
//! Limits: contents that were changed and changed back between two looks are not noticed, and a file
//! beyond [`READ_AGAIN_BYTES_MAX`] is only read again when its stamps change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use placet_evidence::Environment;
use placet_sandbox::FileIdentity;
use placet_types::canonical;
use placet_types::{AbsPath, DenialCode, Digest, DomainName};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};

use crate::attest;
use crate::program::Program;

/// How often files are looked at, whatever the kernel tells.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after the first look the kernel is asked for notices. To close a queue of notices takes it some 20 ms,
/// which a short command would wait for at its end.
const LISTEN_AFTER: Duration = Duration::from_millis(300);
/// How often small files are read again although nothing shows a change.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// Files that are read again for nothing.
const READ_AGAIN_BYTES_MAX: u64 = 1 << 20;
/// How often what the machine says of itself is read.
const ATTEST_EVERY: Duration = Duration::from_secs(2);
/// How often it is tried what it can enforce.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Largest file that can be pinned.
const PINNED_BYTES_MAX: u64 = 64 << 20;
/// Most files that one execution can pin.
const PINNED_MAX: usize = 256;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drifted {
    pub(crate) code: DenialCode,
    pub(crate) what: String,
}

/// Why a file cannot be pinned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnwatchableError {
    /// It cannot be measured.
    #[error("the pinned file {0} cannot be measured: {1}")]
    Io(AbsPath, io::Error),
    /// Too many.
    #[error("the scope pins {0} files, and at most {PINNED_MAX} can be watched")]
    Many(usize),
}

/// What is watched for one execution.
#[derive(Debug)]
pub(crate) struct Drift {
    files: Vec<Watched>,
    notices: Option<OwnedFd>,
    /// When the first look was, until there are notices.
    began: Option<Duration>,
    environment: Environment,
    domain: DomainName,
    looked: Duration,
    read: Duration,
    attested: Duration,
    probed: Duration,
    found: Option<Drifted>,
}

#[derive(Debug)]
struct Watched {
    role: Role,
    path: PathBuf,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Program,
    Pinned,
    Gateway,
}

/// A state of what is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Present {
        identity: FileIdentity,
        digest: Digest,
    },
    /// A program that is running: its file cannot be written, so only another file is a change.
    Running {
        dev: u64,
        ino: u64,
    },
}

impl Drop for Drift {
    /// The kernel takes some 15 ms to close a queue of notices, which nobody should wait for.
    fn drop(&mut self) {
        if let Some(notices) = self.notices.take() {
            let close = move || drop(notices);
            // Where there can be no thread, it is closed here.
            drop(thread::Builder::new().spawn(close));
        }
    }
}

/// The files that a scope pins, as they are.
#[derive(Debug, Default)]
pub(crate) struct Pinned(BTreeMap<AbsPath, State>);

impl Pinned {
    /// Measures each of them. One that is not there is pinned as that.
    pub(crate) fn measure(paths: &BTreeSet<AbsPath>) -> Result<Self, UnwatchableError> {
        if paths.len() > PINNED_MAX {
            return Err(UnwatchableError::Many(paths.len()));
        }
        let state = |path: &AbsPath| {
            let state = State::of(Path::new(path.as_str()));
            state
                .map(|state| (path.clone(), state))
                .map_err(|error| UnwatchableError::Io(path.clone(), error))
        };
        paths.iter().map(state).collect::<Result<_, _>>().map(Self)
    }

    /// Canonical JSON of the measurements, if there are any.
    pub(crate) fn to_canonical(&self) -> Option<String> {
        let digests: BTreeMap<&str, Option<Digest>> = self
            .0
            .iter()
            .map(|(path, state)| (path.as_str(), state.digest()))
            .collect();
        let bytes = canonical::to_bytes(&digests).ok()?;
        (!digests.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drift {
    /// Begins to watch.
    pub(crate) fn watch(
        program: &Program,
        pinned: Pinned,
        environment: Environment,
        domain: DomainName,
    ) -> Self {
        let running = Watched {
            role: Role::Program,
            path: PathBuf::from(program.path.as_str()),
            state: State::Present {
                identity: program.identity,
                digest: program.digest,
            },
        };
        let pinned = pinned.0.into_iter().map(|(path, state)| Watched {
            role: Role::Pinned,
            path: PathBuf::from(path.as_str()),
            state,
        });
        let files: Vec<Watched> = [running]
            .into_iter()
            .chain(pinned)
            .chain(gateway())
            .collect();
        Self {
            notices: None,
            began: None,
            files,
            environment,
            domain,
            looked: Duration::ZERO,
            read: Duration::ZERO,
            attested: Duration::ZERO,
            probed: Duration::ZERO,
            found: None,
        }
    }

    /// Readable when the kernel has something to tell.
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.notices.as_ref().map(|notices| notices.as_fd())
    }

    /// Looks, where a notice came or it is time; gives the first thing that was found to have changed.
    pub(crate) fn look(&mut self, (now, noticed): (Duration, bool)) -> Option<&Drifted> {
        if self.found.is_some() {
            return self.found.as_ref();
        }
        if self.probed.is_zero() {
            // The first look; probing can wait until there is something to notice.
            (self.read, self.attested, self.probed) = (now, now, now);
            self.began = Some(now);
        }
        let listens_now = self.listen(now);
        if listens_now
            || (noticed && self.was_told())
            || now.saturating_sub(self.looked) >= LOOK_EVERY
        {
            self.looked = now;
            let again = now.saturating_sub(self.read) >= READ_AGAIN_EVERY;
            if again {
                self.read = now;
            }
            self.found = self.files.iter_mut().find_map(|file| file.look(again));
        }
        if self.found.is_none() && now.saturating_sub(self.attested) >= ATTEST_EVERY {
            self.attested = now;
            let probe = now.saturating_sub(self.probed) >= PROBE_EVERY;
            if probe {
                self.probed = now;
            }
            self.found = self.attest(probe);
        }
        self.found.as_ref()
    }

    /// Asks for notices once it is time; `true` when that was just done, so that what changed before is
    /// looked for.
    fn listen(&mut self, now: Duration) -> bool {
        let due = |began: &mut Duration| now.saturating_sub(*began) >= LISTEN_AFTER;
        if self.began.take_if(due).is_none() {
            return false;
        }
        self.notices = notices(&self.files);
        true
    }

    fn attest(&self, probe: bool) -> Option<Drifted> {
        let drifted = || attest::drifted(&self.environment, &self.domain, probe);
        // A probe can fail for want of a process; one that fails twice in a row is believed.
        let part = drifted().and_then(|_| drifted())?;
        Some(Drifted {
            code: DenialCode::EnvironmentUntrusted,
            what: format!("the machine's {part} is not the one that was decided about"),
        })
    }

    /// Empties what the kernel told. What it was does not matter: everything is looked at.
    fn was_told(&self) -> bool {
        let Some(notices) = &self.notices else {
            return false;
        };
        let mut buffer = [0; 4096];
        let mut told = false;
        while rustix::io::read(notices, &mut buffer).is_ok_and(|read| read > 0) {
            told = true;
        }
        told
    }
}

impl Watched {
    fn look(&mut self, again: bool) -> Option<Drifted> {
        let path = &self.path;
        match self.state.now(path, again) {
            Ok(state) if state.is_same_as(&self.state) => {
                self.state = state;
                None
            }
            Ok(_) => Some(self.drifted("changed")),
            Err(error) => Some(self.drifted(&format!("cannot be measured any more ({error})"))),
        }
    }

    fn drifted(&self, how: &str) -> Drifted {
        let (code, what) = match self.role {
            Role::Program => (DenialCode::RuntimeIntegrity, "the program"),
            Role::Pinned => (DenialCode::RuntimeIntegrity, "the pinned file"),
            Role::Gateway => (
                DenialCode::EnvironmentUntrusted,
                "the gateway's own program",
            ),
        };
        Drifted {
            code,
            what: format!("{what} {} {how}", self.path.display()),
        }
    }
}

impl State {
    fn of(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Self::Absent),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        if metadata.len() > PINNED_BYTES_MAX {
            return Err(io::Error::other("it is larger than 64 MiB"));
        }
        let mut bytes = Vec::new();
        (&file).take(PINNED_BYTES_MAX).read_to_end(&mut bytes)?;
        let identity = FileIdentity::of_metadata(&metadata);
        if FileIdentity::of_metadata(&file.metadata()?) != identity {
            return Err(io::Error::other("it changed while it was measured"));
        }
        Ok(Self::Present {
            identity,
            digest: Digest::of(&bytes),
        })
    }

    /// What is there now, read again only where that can tell something.
    fn now(&self, path: &Path, again: bool) -> io::Result<Self> {
        let identity = match FileIdentity::of_path(path) {
            Ok(identity) => identity,
            Err(error) if is_absence(&error) => return Ok(Self::Absent),
            Err(error) => return Err(error),
        };
        match self {
            Self::Running { .. } => Ok(Self::Running {
                dev: identity.dev,
                ino: identity.ino,
            }),
            Self::Present {
                identity: before, ..
            } if *before == identity && !(again && identity.size <= READ_AGAIN_BYTES_MAX) => {
                Ok(*self)
            }
            Self::Present { .. } | Self::Absent => Self::of(path),
        }
    }

    /// Whether it is the same as far as anybody decided about it.
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present { .. }, Self::Present { .. }) => self.digest() == other.digest(),
            _ => self == other,
        }
    }

    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Present { digest, .. } => Some(*digest),
            Self::Absent | Self::Running { .. } => None,
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The program of this process. Where that cannot be found out, no file is watched for it.
fn gateway() -> Option<Watched> {
    let running = FileIdentity::of_path(Path::new("/proc/self/exe")).ok()?;
    let path = fs::read_link("/proc/self/exe").ok()?;
    Some(Watched {
        role: Role::Gateway,
        path,
        state: State::Running {
            dev: running.dev,
            ino: running.ino,
        },
    })
}

/// A queue of notices about the files and the names they stand under. Without one, or without a
/// part of it, the timer is all there is.
fn notices(files: &[Watched]) -> Option<OwnedFd> {
    let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let of_file =
        WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
    let of_dir = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    let told = |path: &Path, of| inotify::add_watch(&queue, path, of).is_ok();
    // What cannot be watched is looked at all the same.
    let watched = files.iter().filter(|file| {
        let dir = file.path.parent();
        let by_name = dir.is_some_and(|dir| told(dir, of_dir | WatchFlags::MASK_ADD));
        told(&file.path, of_file) || by_name
    });
    (watched.count() > 0).then_some(queue)
}

#[cfg(test)]
mod tests;
