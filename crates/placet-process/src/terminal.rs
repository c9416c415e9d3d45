//! A governed command at a terminal.
//!
//! The command has a terminal of its own, made in its cell; the user's it never holds. Two processes
//! stand between them. The **front** is what the user's shell started: it is in the shell's job, has
//! the user's terminal, and carries bytes, sizes and keys. The **supervisor** is in a session of its own,
//! where no key reaches it: so the job can be stopped and continued while the lease is renewed.
//!
//! | the user | the front | the tree |
//! |---|---|---|
//! | types, or sees | carries bytes, its own terminal in raw mode | reads, or writes, its terminal |
//! | changes the size | sets it | gets SIGWINCH |
//! | Ctrl-Z | restores its terminal, stops its own job | was stopped by its own terminal |
//! | `fg`, `bg` | turns the tree's terminal to it, or away | goes on |
//! | kills or stops the front | | is ended, or stopped, by the supervisor |
//!
//! Where only some streams are terminals, as in `placet run -- make | less`, nobody knows whether the
//! command will use the terminal at all. Then the user's stays as it is, and the command in the
//! background of its own. If it reads, the kernel stops it with SIGTTIN, and then it gets the keys.
//!
//! Inside a cell the front is the client at the door, and all of it is the same.

mod front;
mod holder;
mod relay;
mod user;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use placet_authority::node::wire::DeferredBody;
use placet_evidence::CheckedDenial;
use placet_types::{ExecutionId, Index};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::resident::Leaving;

pub use front::Front;
pub use holder::{Heard, HeldStreams, Holder};
pub(crate) use relay::Relay;
pub use relay::{InFront, in_front};
pub use user::any_stream_is_terminal as is_at_terminal;

/// Longest message between the two.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest text in one, in letters.
const WORDS_MAX: usize = 512;

/// What a command waits for, before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitsFor {
    /// The execution that is to be approved.
    pub exec: ExecutionId,
    /// The record that says so.
    pub record: Index,
    /// Whose approval, and until when.
    pub whose: String,
}

impl WaitsFor {
    /// What a deferral says.
    #[must_use]
    pub fn of(deferred: &DeferredBody) -> Self {
        let whose = format!(
            "{}, until {}",
            deferred.waiting.in_words(),
            deferred.waiting.until
        );
        Self {
            exec: deferred.exec,
            record: deferred.index,
            whose: whose.chars().take(WORDS_MAX).collect(),
        }
    }
}

/// Why a command was not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which check, which code, what failed.
    pub denial: CheckedDenial,
    /// The execution that would have been.
    pub exec: Option<ExecutionId>,
    /// The record that says so.
    pub record: Index,
}

impl Refused {
    /// What an outcome says, where it is a denial.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let Outcome::Denied {
            denial,
            exec,
            index,
        } = outcome
        else {
            return None;
        };
        let reason = denial.reason.chars().take(WORDS_MAX).collect();
        Some(Self {
            denial: CheckedDenial {
                reason,
                ..denial.clone()
            },
            exec: *exec,
            record: *index,
        })
    }
}

/// From the supervisor to the front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToFront {
    /// The command is over, and so is the supervisor's part in it: the front leaves like this. Only a gateway that stays says it.
    Leave(Leaving),
    /// The other end of the cell's terminal comes with this.
    Terminal,
    /// The start is recorded, and the command runs.
    Started(ExecutionId),
    /// The command was stopped by this signal.
    Stopped(i32),
    /// It waits for approvals.
    Waits(WaitsFor),
    /// It was denied: nothing ran.
    Denied(Refused),
    /// Something that the user is to see at once.
    Note(String),
    /// Nothing of the tree is left, and its end is recorded.
    Over,
}

/// From the front to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromFront {
    /// A command for a gateway that stays: its description, the working directory and the standard streams come with this.
    Offer,
    /// The standard streams come with this.
    Streams,
    /// The terminal is set up. Whether the command begins in its foreground.
    Ready {
        /// Whether keys are carried from the beginning.
        foreground: bool,
    },
    /// Go on, with the keys.
    Foreground,
    /// Go on, without.
    Background,
    /// Pass a signal on.
    Signal {
        /// Its number.
        signal: i32,
        /// To the group in the foreground instead of the program.
        group: bool,
    },
    /// The user's terminal is as it was found.
    Restored,
}

/// One end of the connection of a front and a supervisor. Each message is one datagram.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends without waiting; `WouldBlock` when the other end has too much to read.
    pub(crate) fn send<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = flags | SendFlags::NOSIGNAL;
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, flags)?;
        Ok(())
    }

    /// The next message with what came along; `None` is the end.
    pub(crate) fn receive<T: DeserializeOwned>(
        &self,
        flags: RecvFlags,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        )?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        match bytes.get(..got.bytes) {
            Some([]) | None => Ok(None),
            Some(message) => {
                let message = serde_json::from_slice(message)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(Some((message, fds)))
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
