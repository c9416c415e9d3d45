//! Bytes both ways between a client and its peer, until both directions are over.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::chunked::Chunked;

const BUFFER_BYTES: usize = 16 << 10;
/// How long a connection of which one side has ended may rest. An end of one direction cannot be told
/// from the end of a program.
const HALF_OPEN_SECS: i64 = 300;

/// How much of what a client sends belongs to its one request.
#[derive(Debug)]
pub(crate) enum Upward {
    /// All of it, and its end is the peer's to know.
    Stream,
    /// So many bytes more.
    Sized(u64),
    Chunked(Chunked),
}

impl Upward {
    /// How many of these bytes go to the peer; an error when the client says something else. What comes
    /// after its request goes nowhere: a second one has no place on this connection.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream => Ok(bytes.len()),
            Self::Sized(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left = left.saturating_sub(count(taken));
                Ok(taken)
            }
            Self::Chunked(chunked) => chunked
                .take(bytes)
                .map_err(|_| io::ErrorKind::InvalidData.into()),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Stream => false,
            Self::Sized(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_over(),
        }
    }
}

/// One direction.
struct Flow<'a> {
    buffer: Vec<u8>,
    written: usize,
    ended: bool,
    /// The end has been passed on.
    closed: bool,
    carried: u64,
    /// Of all connections, as it happens.
    total: &'a AtomicU64,
}

/// What went over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

pub(crate) struct Relay<'a> {
    client: &'a TcpStream,
    peer: &'a TcpStream,
    /// Readable when everything ends.
    bell: BorrowedFd<'a>,
    upward: Upward,
    up: Flow<'a>,
    down: Flow<'a>,
}

#[derive(Clone, Copy, Default)]
struct Ready {
    client: bool,
    peer: bool,
}

impl<'a> Flow<'a> {
    fn new(pending: Vec<u8>, total: &'a AtomicU64) -> Self {
        Self {
            buffer: pending,
            written: 0,
            ended: false,
            closed: false,
            carried: 0,
            total,
        }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.written..).unwrap_or_default()
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.pending().is_empty()
    }

    /// Reads what is there, if the buffer is empty; gives whether something new came.
    fn pull(&mut self, mut source: &TcpStream) -> io::Result<bool> {
        if !self.wants_input() {
            return Ok(false);
        }
        self.buffer.resize(BUFFER_BYTES, 0);
        self.written = 0;
        let read = patient(source.read(&mut self.buffer));
        self.buffer
            .truncate(read.as_ref().map_or(0, |read| read.unwrap_or(0)));
        let read = read?;
        self.ended = read == Some(0);
        Ok(read.is_some_and(|read| read > 0))
    }

    fn push(&mut self, mut sink: &TcpStream) -> io::Result<()> {
        while !self.pending().is_empty() {
            let Some(wrote) = patient(sink.write(self.pending()))? else {
                return Ok(());
            };
            if wrote == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written = self.written.saturating_add(wrote);
            self.carried = self.carried.saturating_add(count(wrote));
            self.total.fetch_add(count(wrote), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Passes the end on, once all before it is.
    fn close(&mut self, sink: &TcpStream) {
        if self.ended && self.pending().is_empty() && !self.closed {
            self.closed = true;
            // A peer that is gone has heard of it.
            sink.shutdown(Shutdown::Write).unwrap_or(());
        }
    }
}

impl<'a> Relay<'a> {
    /// What is carried is counted into `total` as it goes.
    pub(crate) fn new(
        client: &'a TcpStream,
        peer: &'a TcpStream,
        bell: BorrowedFd<'a>,
        (upward, total): (Upward, &'a AtomicU64),
    ) -> Self {
        Self {
            client,
            peer,
            bell,
            upward,
            up: Flow::new(Vec::new(), total),
            down: Flow::new(Vec::new(), total),
        }
    }

    /// Carries `before`, which goes to the peer as it is, then `pending`, which came from the client, and
    /// then whatever comes. Both sockets do not block.
    pub(crate) fn run(mut self, before: Vec<u8>, pending: &[u8]) -> Carried {
        // However it ends: both sockets are closed by who owns them.
        self.carry(before, pending).unwrap_or(());
        Carried {
            sent: self.up.carried,
            received: self.down.carried,
        }
    }

    fn carry(&mut self, before: Vec<u8>, pending: &[u8]) -> io::Result<()> {
        let taken = self.upward.take(pending)?;
        self.up.buffer = before;
        self.up
            .buffer
            .extend(pending.get(..taken).unwrap_or_default());
        self.up.push(self.peer)?;
        while !(self.down.closed && (self.up.closed || self.is_request_over())) {
            let Some(ready) = self.wait() else {
                return Ok(());
            };
            self.upwards(ready)?;
            self.downwards(ready)?;
        }
        Ok(())
    }

    fn is_request_over(&self) -> bool {
        self.upward.is_over()
    }

    fn upwards(&mut self, ready: Ready) -> io::Result<()> {
        if ready.client && !self.is_request_over() && self.up.pull(self.client)? {
            let taken = self.upward.take(&self.up.buffer)?;
            self.up.buffer.truncate(taken);
        }
        if ready.client || ready.peer {
            self.up.push(self.peer)?;
        }
        // A request that is over leaves its direction open: peers take its end for a lost client.
        if matches!(self.upward, Upward::Stream) {
            self.up.close(self.peer);
        } else if self.up.ended {
            if !self.is_request_over() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.up.closed = true;
        }
        Ok(())
    }

    fn downwards(&mut self, ready: Ready) -> io::Result<()> {
        if ready.peer {
            self.down.pull(self.peer)?;
        }
        self.down.push(self.client)?;
        self.down.close(self.client);
        Ok(())
    }

    /// Waits for something to do; `None` when everything ends.
    fn wait(&self) -> Option<Ready> {
        let wanted = |input: bool, output: &Flow<'_>| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, input);
            flags.set(PollFlags::OUT, !output.pending().is_empty());
            flags
        };
        let more = self.up.wants_input() && !self.is_request_over();
        let client = wanted(more, &self.down);
        let peer = wanted(self.down.wants_input(), &self.up);
        let mut polled = vec![PollFd::new(&self.bell, PollFlags::IN)];
        // One that nothing is wanted of would only say again that it is gone.
        if !client.is_empty() {
            polled.push(PollFd::from_borrowed_fd(self.client.as_fd(), client));
        }
        if !peer.is_empty() {
            polled.push(PollFd::from_borrowed_fd(self.peer.as_fd(), peer));
        }
        let half_open = Timespec {
            tv_sec: HALF_OPEN_SECS,
            tv_nsec: 0,
        };
        let half = self.up.ended || self.down.ended || self.is_request_over();
        let bound = half.then_some(&half_open);
        let found = rustix::io::retry_on_intr(|| poll(&mut polled, bound)).ok()?;
        let mut revents = polled.iter().map(|fd| !fd.revents().is_empty());
        let rung = revents.next().unwrap_or(true);
        if rung || found == 0 {
            return None;
        }
        let mut next = |is_there: bool| is_there && revents.next().unwrap_or(false);
        Some(Ready {
            client: next(!client.is_empty()),
            peer: next(!peer.is_empty()),
        })
    }
}

/// `None` for what has to be tried again later.
fn patient(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
