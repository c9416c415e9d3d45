//! The side of the gateway that stays: a slot that is its own, a socket while it waits, one caller at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, socket_with,
};
use rustix::process::{Pid, PidfdFlags, fchdir, geteuid, pidfd_open};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use zeroize::Zeroizing;

use super::{Alike, Answer, Leaving, OFFER_BYTES_MAX, Offer, alike, own_variables};
use crate::terminal::{FromFront, Front, Link, ToFront};

/// How long a caller may take to say what it wants.
const OFFER_PATIENCE: Duration = Duration::from_secs(1);

/// Where a gateway of this number waits. By the descriptor of the directory, whose path may be too long for an address.
pub(super) fn address(dir: &OwnedFd, slot: usize) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{slot}.sock", dir.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

/// The right to be the gateway of a number; one process at a time has it.
#[derive(Debug)]
pub struct Slot {
    dir: OwnedFd,
    number: usize,
    path: PathBuf,
    _lock: File,
}

impl Slot {
    /// Takes it, unless another process has it.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn take(sockets: &Path, number: usize) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(sockets.join(format!("{number}.lock")))?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Some(Self {
            dir: open(sockets, flags, Mode::empty())?,
            number,
            path: sockets.to_owned(),
            _lock: lock,
        }))
    }

    /// Listens for the next caller.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn wait(&self) -> io::Result<Waiting<'_>> {
        self.take_away();
        let listener = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&listener, &address(&self.dir, self.number)?)?;
        // One more may come before it is seen that somebody has; it is told so by the end of the connection.
        listen(&listener, 1)?;
        Ok(Waiting {
            slot: self,
            listener,
        })
    }

    /// Whether the directory is still the one that it was.
    #[must_use]
    pub fn is_there(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let own = rustix::fs::fstat(&self.dir);
        let now = std::fs::metadata(&self.path);
        own.is_ok_and(|own| now.is_ok_and(|now| own.st_ino == now.ino() && own.st_dev == now.dev()))
    }

    fn take_away(&self) {
        // One that is not there need not be removed.
        unlinkat(&self.dir, format!("{}.sock", self.number), AtFlags::empty()).unwrap_or(());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.take_away();
    }
}

/// A gateway that waits for a caller.
#[derive(Debug)]
pub struct Waiting<'a> {
    slot: &'a Slot,
    listener: OwnedFd,
}

impl Waiting<'_> {
    /// Waits this long for a caller. The outer `None`: nobody came. Whoever is declined, with what for, runs by itself.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn visit(&self, patience: Duration) -> io::Result<Option<Result<Visit, String>>> {
        let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).ok();
        // An interrupted wait is a short one.
        if poll(&mut polled, timeout.as_ref()).unwrap_or(0) == 0 {
            return Ok(None);
        }
        match accept_with(&self.listener, SocketFlags::CLOEXEC) {
            Ok(stream) => Ok(Some(receive(stream))),
            // Gone again.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// From here on it works, and whoever comes finds nobody here.
    fn leave(self) {
        self.slot.take_away();
    }
}

/// A caller whose command this gateway can take.
#[derive(Debug)]
pub struct Visit {
    link: Link,
    pid: Pid,
    offer: Offer,
    cwd: OwnedFd,
    streams: [OwnedFd; 3],
}

fn receive(stream: OwnedFd) -> Result<Visit, String> {
    let failed = |error: io::Error| error.to_string();
    let errno = |error: Errno| error.to_string();
    let peer = socket_peercred(&stream).map_err(errno)?;
    if peer.uid != geteuid() {
        return Err("another user".to_owned());
    }
    // Whoever it was, it is the same process before and after it was looked at.
    let alive = pidfd_open(peer.pid, PidfdFlags::empty()).map_err(errno)?;
    set_socket_timeout(&stream, Timeout::Recv, Some(OFFER_PATIENCE)).map_err(errno)?;
    let link = Link::over(stream);
    let declined = |why: String| {
        // One that is gone need not be told.
        drop(link.send(&Answer::Declined, &[], SendFlags::DONTWAIT));
        why
    };
    let Some((FromFront::Offer, fds)) = link.receive(RecvFlags::empty()).map_err(failed)? else {
        return Err(declined("no offer".to_owned()));
    };
    let [text, cwd, input, output, error] =
        <[OwnedFd; 5]>::try_from(fds).map_err(|_| declined("no offer".to_owned()))?;
    let offer = read(text).map_err(|error| declined(error.to_string()))?;
    if let Some(part) = differs(&offer, peer.pid).map_err(|error| declined(error.to_string()))? {
        return Err(declined(part));
    }
    let mut polled = [PollFd::new(&alive, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if !matches!(poll(&mut polled, Some(&at_once)), Ok(0)) {
        return Err("it is gone".to_owned());
    }
    Ok(Visit {
        pid: peer.pid,
        offer,
        cwd,
        streams: [input, output, error],
        link,
    })
}

/// In what the caller stands otherwise than this process.
fn differs(offer: &Offer, pid: Pid) -> io::Result<Option<String>> {
    let own = Alike::own()?;
    if let Some(part) = own.differs_in(&Alike::of(pid)?) {
        return Ok(Some(part.to_owned()));
    }
    let only = alike::own_only();
    let differing = only
        .iter()
        .find(|(name, text)| offer.own_only.get(*name) != Some(text));
    if let Some((name, _)) = differing {
        return Ok(Some(name.clone()));
    }
    Ok((own_variables().as_ref() != Some(&offer.own)).then(|| "environment".to_owned()))
}

fn read(text: OwnedFd) -> io::Result<Offer> {
    let mut file = File::from(text);
    let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if bytes > OFFER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.rewind()?;
    // It holds an environment, and this process stays.
    let mut read = Zeroizing::new(Vec::with_capacity(bytes));
    file.take(bytes as u64).read_to_end(&mut read)?;
    serde_json::from_slice(&read).map_err(io::Error::from)
}

/// A caller whose command this gateway has taken. Its standard streams and working directory are this process's.
#[derive(Debug)]
pub struct Taken {
    /// What it wants.
    pub offer: Offer,
    /// The caller, as the front of its command.
    pub front: Front,
}

impl Visit {
    /// Takes the command. From here on nobody finds this gateway until it waits again.
    ///
    /// # Errors
    ///
    /// What the operating system says; the caller then runs by itself.
    pub fn take(self, waiting: Waiting<'_>) -> io::Result<Taken> {
        waiting.leave();
        fchdir(&self.cwd)?;
        let [input, output, error] = &self.streams;
        dup2_stdin(input)?;
        dup2_stdout(output)?;
        dup2_stderr(error)?;
        // A caller that does not wait any more has gone its own way.
        self.link.send(&Answer::Taken, &[], SendFlags::DONTWAIT)?;
        Ok(Taken {
            offer: self.offer,
            front: Front::handed(self.link, Some(self.pid), self.streams),
        })
    }
}

/// A front whose command is over.
#[derive(Debug)]
pub struct Parting(pub(crate) Link);

impl Parting {
    /// Lets go of whatever this process has of the caller, and tells it how to leave.
    ///
    /// # Errors
    ///
    /// What the operating system says: this process must not work for anybody else then.
    pub fn leave(self, leaving: Leaving) -> io::Result<()> {
        // Closed streams first: whoever reads them to the end must not wait for this process.
        detach()?;
        // One that is gone need not be told.
        drop(
            self.0
                .send(&ToFront::Leave(leaving), &[], SendFlags::DONTWAIT),
        );
        Ok(())
    }
}

/// No standard streams and no directory of anybody.
///
/// # Errors
///
/// What the operating system says.
pub fn detach() -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(null.as_fd())?;
    dup2_stdout(null.as_fd())?;
    dup2_stderr(null.as_fd())?;
    std::env::set_current_dir("/")
}
