//! The connect broker: what leaves the cell's network leaves it by the supervisor's hand.
//!
//! # How it works
//!
//! The cell has a network namespace of its own that leads nowhere. connect(2) stops in the kernel
//! (seccomp user notification) and a thread of the supervisor, one for each tree, hears of it. That is
//! so in every cell, also where no peer is in scope: a socket that has a path is reached by its file
//! from any network namespace, and neither read-only mounts nor Landlock (before ABI 9) stand in the way. It copies the address out of the caller's memory, once, and takes a
//! copy of the caller's socket. It judges the copied address. If it is to be reached, it makes a
//! socket in its own namespace, connects that to the copied address, and puts it in the place of
//! the caller's descriptor. It never lets the caller's own call go on: the kernel would read the
//! address again, and another thread could have changed it in between. There is no proxy in the
//! data path and nothing that a program has to know.
//!
//! | call | answer |
//! |---|---|
//! | TCP to a listed peer | a connected socket; in progress where the caller's does not block |
//! | TCP to another | EACCES, or the supervisor is asked |
//! | to 127.0.0.0/8, `::1` or the unspecified address, unless listed | made on the caller's socket: the loopback is the cell's own |
//! | UDP and others to elsewhere | EACCES |
//! | AF_UNIX, abstract | made on the caller's socket: abstract names are the cell's own |
//! | AF_UNIX, a path on `/tmp`, `/run` or `/dev/shm` of the cell's own | made on the caller's socket |
//! | AF_UNIX, a path elsewhere, where the cell listens itself | made on the caller's socket |
//! | AF_UNIX, a path elsewhere | only if listed: a host's service may listen there |
//!
//! What is not trapped cannot leave: sending to an address and raw packets meet the empty namespace;
//! MPTCP, io_uring and other families are refused by the filter. AF_UNIX datagram sockets could send
//! to a path without connecting, so there are none (EPERM). Whose socket a path is, the kernel says
//! (sock_diag(7), asked in the cell's network): one that was bound in the cell is the cell's.
//!
//! A socket that was handed out is one of the supervisor's network for good, also when its
//! connection has failed or ended. So that it leads nowhere else: TCP fast open, which connects by
//! sending, is off (EOPNOTSUPP); listen(2) is trapped as well and refused on it; its connection
//! cannot be dissolved (EACCES); and the loopback, on it the host's, is refused. A connect to a
//! listed peer on it gets a new socket again.
//!
//! # What a program can notice
//!
//! The new socket has the options, blocking mode and close-on-exec flag of the old one. It does not
//! have its local address, and duplicates of the descriptor and epoll registrations made before
//! the connect stay with the old socket. What ioctl(2) tells of network interfaces on it is the
//! supervisor's. Who asks for the process at the other end of an AF_UNIX socket (SO_PEERCRED) sees
//! the supervisor's. A blocking connect is interrupted by signals, and taken up again when the
//! program calls again. A program whose file the supervisor cannot read (see the exec gate) cannot
//! be served, and gets EACCES.
//!
//! # How it can fail
//!
//! When the supervisor dies the tree ends; when only the thread is gone, connects answer ENOSYS.
//! When it hangs, connects wait, and the lease ends the tree. Reports wait in a bounded queue; when
//! it is full, so do connects. At most 128 connects of one tree wait at once; more get EAGAIN.
//!
//! Bytes are counted by the kernel: it tells the numbers of every TCP socket that it destroys. The
//! thread keeps no copy of the socket, which would delay the end that the peer sees.

mod address;
mod attempt;
mod judge;
mod metadata;
mod meter;
mod options;
mod own;
mod resolved;
mod rules;
mod server;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::queue::Queue;

pub(crate) use judge::OnHost;
pub(crate) use own::Own;
pub use resolved::Resolved;
pub use rules::{Peers, is_special};
pub(crate) use server::{Server, Setting, start};

/// Who outside of its own network is reached by a tree: each cell has a broker, and it goes by this.
#[derive(Clone, Debug)]
pub struct EgressRules {
    /// Over TCP. One that covers the loopback means the host's, and takes the cell's own away.
    pub peers: Vec<Peers>,
    /// Over TCP as well: what names have led to since the cell was started, where names are in scope.
    pub resolved: Option<Resolved>,
    /// What becomes of connects over TCP that these cover.
    pub listed: Listed,
    /// Over AF_UNIX stream or packet sockets: canonical paths; a directory means all below it.
    pub sockets: Vec<PathBuf>,
    /// Everything else outside.
    pub others: Others,
}

impl EgressRules {
    /// Nobody is reached. Sockets of the cell's own are all the same.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            peers: Vec::new(),
            resolved: None,
            listed: Listed::Make,
            sockets: Vec::new(),
            others: Others::Refuse,
        }
    }

    /// Whether they are the same, of a cell for which no names are looked up: what those lead to is each cell's own.
    pub(crate) fn covers_the_same_as(&self, other: &Self) -> bool {
        let Self {
            peers,
            resolved,
            listed,
            sockets,
            others,
        } = self;
        resolved.is_none()
            && other.resolved.is_none()
            && (peers, sockets) == (&other.peers, &other.sockets)
            && (listed, others) == (&other.listed, &other.others)
    }

    /// Whether any connection could leave the cell's network.
    pub(crate) fn leads_out(&self) -> bool {
        !self.peers.is_empty() || self.resolved.is_some() || self.others != Others::Refuse
    }
}

/// What becomes of connects over TCP that a list covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// They are made.
    Make,
    /// The supervisor is asked about each, as by [`Others::Ask`].
    Ask {
        /// As there.
        patience: Duration,
    },
}

/// What becomes of connects that no list covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They are refused.
    Refuse,
    /// The supervisor is asked, by [`ConnectReport::Asked`], and answers with [`Broker::answer`].
    /// It is also asked about private networks and metadata services. UDP stays refused.
    Ask {
        /// How long the connect waits for the answer, in CLOCK_BOOTTIME, before it is refused.
        patience: Duration,
    },
}

/// One connect of one tree, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectId(pub u64);

/// A connect that was trapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectCall {
    /// Which one it is.
    pub id: ConnectId,
    /// The thread, in the supervisor's pid namespace: of a process with one thread its number.
    pub thread: u32,
    /// Where to.
    pub to: Peer,
}

/// Where a connect goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A host and port, over TCP. A v4-mapped address is given as the IPv4 address it means.
    Tcp(SocketAddr),
    /// A host and port, over UDP or another protocol.
    NotTcp(SocketAddr),
    /// An AF_UNIX socket, by its path in the cell, resolved; an abstract one by its name behind `@`, where
    /// those are the host's.
    Socket(PathBuf),
}

/// Why a connect was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectRefusal {
    /// No list covers it.
    Unlisted,
    /// Only TCP leaves the cell.
    NotTcp,
    /// The supervisor answered so.
    Denied,
    /// The supervisor did not answer in time.
    Unanswered,
}

/// What the supervisor answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectVerdict {
    /// Make it.
    Allow,
    /// Answer EACCES.
    Refuse,
}

/// What happened to the connects that lead out of the cell. Each is reported once as opened,
/// refused or failed, before the caller hears of it; one over TCP that was opened, once as closed.
#[derive(Clone, Debug)]
pub enum ConnectReport {
    /// It waits for [`Broker::answer`].
    Asked(Arc<ConnectCall>),
    /// The caller gets a socket that is connected, or on its way where it does not block.
    Opened(Arc<ConnectCall>),
    /// The caller gets EACCES.
    Refused {
        /// The connect.
        call: Arc<ConnectCall>,
        /// Why.
        why: ConnectRefusal,
    },
    /// It was allowed, and the peer or the network said no.
    Failed {
        /// The connect.
        call: Arc<ConnectCall>,
        /// The error number that the caller gets.
        errno: i32,
    },
    /// The connection is over.
    Closed {
        /// Which.
        id: ConnectId,
        /// At least this much, where the kernel did not tell the end before the tree was gone; `None` when it
        /// never said anything.
        bytes: Option<Traffic>,
    },
}

/// What went over one TCP connection, payload in bytes. The start and the orderly end of a
/// direction count as one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Sent, and acknowledged by the peer.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// The supervisor's end of the broker. Clones share it; it outlives the tree.
///
/// Its descriptor is readable while reports wait. At most 256 wait: beyond that, connects do.
#[derive(Clone)]
pub struct Broker {
    queue: Arc<Queue<ConnectReport, ConnectVerdict>>,
    /// `None` where no connection can leave.
    open: Option<Arc<meter::Open>>,
}

impl Broker {
    /// Takes the reports that have come in, oldest first. Does not wait.
    #[must_use]
    pub fn reports(&self) -> Vec<ConnectReport> {
        self.queue.take()
    }

    /// What has gone by now over the TCP connections that are open, as the kernel counts it. One that is
    /// being closed may be left out, and is in its [`ConnectReport::Closed`]; none is in both.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let none = Traffic {
            sent: 0,
            received: 0,
        };
        self.open.as_ref().map_or(none, |open| open.traffic())
    }

    /// Answers one [`ConnectReport::Asked`]. `false` when it does not wait any more.
    pub fn answer(&self, id: ConnectId, verdict: ConnectVerdict) -> bool {
        self.queue.answer(id.0, verdict)
    }
}

impl AsFd for Broker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.reports_ready()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}
