//! One connect on a caller's behalf: begun, under way, finished, handed over.
//!
//! Nothing here blocks: the caller's own socket is made non-blocking for as long as it takes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;

use super::options::Fresh;
use crate::sys::{self, Errno, Sys};

/// The socket that a call was about.
pub(super) struct Caller {
    /// A copy of the caller's descriptor: the same socket.
    pub(super) socket: OwnedFd,
    pub(super) descriptor: i32,
    pub(super) family: i32,
    pub(super) blocking: bool,
    pub(super) close_on_exec: bool,
}

/// On which socket the connect is made.
pub(super) enum On {
    /// On the caller's: in the cell's own network, or AF_UNIX.
    Own {
        /// What the address leads to: the address names this descriptor.
        _pinned: Option<OwnedFd>,
    },
    /// On a new one, outside.
    New(Option<OwnedFd>),
}

pub(super) struct Attempt {
    caller: Caller,
    on: On,
    address: Vec<u8>,
    /// Whether the caller's socket has been made non-blocking.
    changed: bool,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The caller's answer: an error number, or 0.
    Finished(i32),
    /// To be looked at when [`Attempt::socket`] is writable.
    UnderWay,
    /// To be begun again in a moment.
    Busy,
}

impl Attempt {
    pub(super) fn new(caller: Caller, on: On, address: Vec<u8>) -> Self {
        Self {
            caller,
            on,
            address,
            changed: false,
        }
    }

    /// As the caller's descriptor does.
    pub(super) fn closing_on_exec(mut self, close_on_exec: bool) -> Self {
        self.caller.close_on_exec = close_on_exec;
        self
    }

    /// The socket outside, once it was begun.
    pub(super) fn outside(&self) -> Option<&OwnedFd> {
        match &self.on {
            On::New(socket) => socket.as_ref(),
            On::Own { .. } => None,
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.outside().unwrap_or(&self.caller.socket).as_fd()
    }

    pub(super) fn begin(&mut self, fresh: &mut Fresh) -> Progress {
        let tried = self.try_begin(fresh);
        self.progress(tried)
    }

    /// Looks at a connect under way: the same call again tells how it went.
    pub(super) fn go_on(&mut self) -> Progress {
        let tried = sys::connect(self.socket().as_raw_fd(), &self.address);
        self.progress(tried)
    }

    fn progress(&mut self, tried: Sys<()>) -> Progress {
        match tried {
            Ok(()) => self.finished(0),
            Err(Errno(libc::EINPROGRESS | libc::EALREADY)) if self.caller.blocking => {
                Progress::UnderWay
            }
            // AF_UNIX: the listener's queue is full.
            Err(Errno(libc::EAGAIN)) if self.caller.blocking => Progress::Busy,
            Err(Errno(errno)) => self.finished(errno),
        }
    }

    fn try_begin(&mut self, fresh: &mut Fresh) -> Sys<()> {
        if let On::New(socket) = &mut self.on {
            // SAFETY: the call has just made this descriptor for us alone.
            let new = unsafe { OwnedFd::from_raw_fd(sys::tcp_socket(self.caller.family)?) };
            fresh.carry_over(self.caller.family, &self.caller.socket, &new);
            let connected = sys::connect(new.as_raw_fd(), &self.address);
            *socket = Some(new);
            return connected;
        }
        if self.caller.blocking && !self.changed {
            self.changed = set_blocking(&self.caller.socket, false);
        }
        sys::connect(self.caller.socket.as_raw_fd(), &self.address)
    }

    fn finished(&mut self, errno: i32) -> Progress {
        if let On::New(Some(socket)) = &self.on
            && self.caller.blocking
        {
            set_blocking(socket, true);
        }
        self.restore();
        Progress::Finished(errno)
    }

    fn restore(&mut self) {
        if std::mem::take(&mut self.changed) {
            set_blocking(&self.caller.socket, true);
        }
    }

    /// Answers the caller, after it got its new socket where there is one that lives.
    ///
    /// # Errors
    /// ENOENT when the caller does not wait any more: it was interrupted, or is gone.
    pub(super) fn deliver(&self, listener: i32, id: u64, errno: i32) -> Sys<()> {
        let lives = errno == 0 || errno == libc::EINPROGRESS;
        let Some(socket) = self.outside().filter(|_| lives) else {
            return sys::answer(listener, id, errno);
        };
        let target = self.caller.descriptor.unsigned_abs();
        let (source, cloexec) = (socket.as_raw_fd(), self.caller.close_on_exec);
        match sys::replace_descriptor(listener, id, source, target, cloexec) {
            Ok(()) => sys::answer(listener, id, errno),
            Err(Errno(libc::ENOENT)) => Err(Errno(libc::ENOENT)),
            // The caller has closed it, or may not have so many.
            Err(Errno(errno)) => sys::answer(listener, id, errno),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Changes the mode of a socket, for everybody who has it; gives whether that was done.
fn set_blocking(socket: &OwnedFd, blocking: bool) -> bool {
    let Ok(flags) = rustix::fs::fcntl_getfl(socket) else {
        return false;
    };
    let mut wanted = flags;
    wanted.set(OFlags::NONBLOCK, !blocking);
    rustix::fs::fcntl_setfl(socket, wanted).is_ok()
}
