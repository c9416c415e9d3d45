//! The caller's side: finds a gateway that waits, hands the command over, and stays as its front.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, fstat, memfd_create, open, openat};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, socket_with,
};
use rustix::process::geteuid;
use std::time::Duration;

use placet_authority::dir::GATEWAYS_MAX;

use super::{Answer, Leaving, OFFER_BYTES_MAX, Offer, alike};
use crate::signals::{Signals, end_by};
use crate::terminal::{FromFront, Link, Relay, ToFront, is_at_terminal};

/// How long a gateway may take to say whether it takes a command. One that says so later is not heard any more, and runs nothing.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// What became of a command that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is over, and this process leaves like this. Whatever there was to be said was said.
    Left(Leaving),
    /// The gateway was killed, and what it ran with it.
    Lost {
        /// Whether the command may have run.
        began: bool,
    },
}

/// Hands a command to a gateway of this user that waits at `sockets`; `None` where there is none that takes it: then nothing was asked
/// for.
///
/// # Errors
///
/// What the operating system says once a gateway has the command.
pub fn hand_over(sockets: &Path, offer: &Offer) -> io::Result<Option<Ended>> {
    let Some(link) = taken(sockets, offer) else {
        return Ok(None);
    };
    let ended = if is_at_terminal() {
        let mut relay = Relay::handed(link)?;
        let is_over = relay.run();
        match relay.leaving() {
            Some(leaving) => Ended::Left(leaving),
            None => Ended::Lost { began: !is_over },
        }
    } else {
        stay(&link)?
    };
    Ok(Some(ended))
}

/// The connection of a gateway that has taken the command.
fn taken(sockets: &Path, offer: &Offer) -> Option<Link> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = open(sockets, flags, Mode::empty()).ok()?;
    let found = fstat(&dir).ok()?;
    // Nobody else can have put a socket there.
    if found.st_uid != geteuid().as_raw() || found.st_mode & 0o077 != 0 {
        return None;
    }
    let mut written = None;
    for slot in 0..GATEWAYS_MAX {
        let Some(link) = reach(&dir, slot) else {
            continue;
        };
        if written.is_none() {
            written = Some(write(offer).ok()?);
        }
        if let Some((text, cwd)) = &written
            && propose(&link, text, cwd).unwrap_or(false)
        {
            return Some(link);
        }
    }
    None
}

fn reach(dir: &OwnedFd, slot: usize) -> Option<Link> {
    let address = super::host::address(dir, slot).ok()?;
    let stream = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .ok()?;
    connect(&stream, &address).ok()?;
    // Whoever listens is this very user, and not only somebody who can write here.
    let peer = socket_peercred(&stream).ok()?;
    (peer.uid == geteuid()).then_some(())?;
    rustix::io::ioctl_fionbio(&stream, false).ok()?;
    set_socket_timeout(&stream, Timeout::Recv, Some(ANSWER_PATIENCE)).ok()?;
    Some(Link::over(stream))
}

/// The offer as memory that goes over by descriptor, and the working directory.
fn write(offer: &Offer) -> io::Result<(OwnedFd, OwnedFd)> {
    let text = serde_json::to_vec(offer).map_err(io::Error::other)?;
    if text.len() > OFFER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let memory = memfd_create("placet-offer", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&text)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cwd = openat(CWD, ".", flags, Mode::empty())?;
    Ok((file.into(), cwd))
}

/// Gives whether the gateway took it.
fn propose(link: &Link, text: &OwnedFd, cwd: &OwnedFd) -> io::Result<bool> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let fds: [BorrowedFd<'_>; 5] = [
        text.as_fd(),
        cwd.as_fd(),
        input.as_fd(),
        output.as_fd(),
        error.as_fd(),
    ];
    link.send(&FromFront::Offer, &fds, SendFlags::empty())?;
    let answer = link.receive::<Answer>(RecvFlags::empty())?;
    Ok(matches!(answer, Some((Answer::Taken, _))))
}

/// A front without a terminal: passes signals on until it is told how to leave.
fn stay(link: &Link) -> io::Result<Ended> {
    let mut signals = Signals::take_over()?;
    let mut began = false;
    // A signal that came when it was not known yet whether the command runs.
    let mut before = None;
    loop {
        let mut polled = [
            PollFd::new(link, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        poll(&mut polled, None).unwrap_or(0);
        for sent in signals.pending() {
            before = before.or((!began).then_some(sent.signal));
            let message = FromFront::Signal {
                signal: sent.signal,
                group: sent.by_kernel,
            };
            // A gateway that cannot be told has ended, which shows at once.
            drop(link.send(&message, &[], SendFlags::empty()));
        }
        loop {
            match link.receive::<ToFront>(RecvFlags::DONTWAIT) {
                Ok(Some((ToFront::Leave(leaving), _))) => {
                    if let Some(signal) = before.filter(|_| !began) {
                        // As it would have ended a `placet run` that waits to be permitted.
                        end_by(signal);
                    }
                    return Ok(Ended::Left(leaving));
                }
                Ok(Some((ToFront::Started(_), _))) => began = true,
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(None) | Err(_) => return Ok(Ended::Lost { began }),
            }
        }
    }
}

impl Offer {
    /// What is said of the caller itself, beside its command.
    #[must_use]
    pub fn own_only() -> std::collections::BTreeMap<String, String> {
        alike::own_only()
    }
}

/// Whether the directory that gateways would wait in is there at all.
#[must_use]
pub fn is_offered(sockets: &Path) -> bool {
    std::fs::metadata(sockets).is_ok_and(|found| found.uid() == geteuid().as_raw())
}
