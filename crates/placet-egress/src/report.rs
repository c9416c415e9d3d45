//! What is said about connections, in bounded memory.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use placet_types::PeerRule;
use rustix::event::{EventfdFlags, eventfd};

use crate::reach::Refused;

/// Events that may wait; beyond that, connections do.
const EVENTS_MAX: usize = 1024;
/// Characters of a host that are kept: a name has no more.
const HOST_CHARS_MAX: usize = 255;

/// How a peer was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// HTTP CONNECT.
    Tunnel,
    /// A plain HTTP request.
    Http,
    /// SOCKS5.
    Socks,
    /// The DNS stub: a lookup, not a connection.
    Dns,
}

/// A connection that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which one, counted from 1 in each cell.
    pub id: u64,
    /// How it was asked for.
    pub way: Way,
    /// Whom it was asked for.
    pub host: String,
    /// Where that is.
    pub address: SocketAddr,
    /// What lets it be reached.
    pub rule: PeerRule,
}

/// The end of a connection, with its payload in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub id: u64,
    /// Sent to the peer.
    pub sent: u64,
    /// Received from it.
    pub received: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It waits for [`crate::Proxy::answer`].
    Asked {
        /// Which request.
        id: u64,
        /// The host, as it was asked for.
        host: String,
        /// The port.
        port: u16,
    },
    /// A connection was made.
    Opened(Box<Opened>),
    /// It is over.
    Ended(Ended),
    /// A peer is not reached.
    Refused {
        /// How it was asked for.
        way: Way,
        /// Whom, as far as that was understood.
        host: String,
        /// At which port; 0 where none was asked for.
        port: u16,
        /// Why not.
        why: Refused,
    },
    /// A peer in scope did not answer, or there is no such name.
    Failed {
        /// How it was asked for.
        way: Way,
        /// Whom.
        host: String,
        /// At which port; 0 where none was asked for.
        port: u16,
    },
}

/// Shortens what a program said about a host.
pub(crate) fn host_text(text: &str) -> String {
    text.chars().take(HOST_CHARS_MAX).collect()
}

pub(crate) struct Events {
    waiting: Mutex<Waiting>,
    room: Condvar,
    /// Readable while events wait.
    ready: OwnedFd,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    closing: bool,
}

impl Events {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self {
            waiting: Mutex::default(),
            room: Condvar::new(),
            ready: bell()?,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is complete before anything could panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, once there is room for it. While everything ends there is: one for each
    /// connection that was open.
    pub(crate) fn put(&self, event: Event) {
        let full = |waiting: &mut Waiting| waiting.events.len() >= EVENTS_MAX && !waiting.closing;
        let waiting = self.room.wait_while(self.waiting(), full);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        waiting.events.push_back(event);
        ring(&self.ready);
    }

    /// Adds an event unless there is no room.
    pub(crate) fn offer(&self, event: Event) {
        let mut waiting = self.waiting();
        if waiting.events.len() < EVENTS_MAX {
            waiting.events.push_back(event);
            ring(&self.ready);
        }
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        let mut waiting = self.waiting();
        rustix::io::read(&self.ready, &mut [0u8; 8]).unwrap_or(0);
        self.room.notify_all();
        std::mem::take(&mut waiting.events).into()
    }

    /// Nobody waits for room any more.
    pub(crate) fn close(&self) {
        self.waiting().closing = true;
        self.room.notify_all();
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

pub(crate) fn bell() -> rustix::io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Makes an eventfd readable. It cannot fail but by its counter's limit, where it is readable.
pub(crate) fn ring(bell: &OwnedFd) {
    rustix::io::write(bell, &1u64.to_ne_bytes()).unwrap_or(0);
}
