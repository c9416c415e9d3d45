//! The thread that reads the host's audit for one cell and keeps what is about it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::record::{Record, Told};
use super::{Denial, Denials};
use crate::error::SandboxError;
use crate::sys::{self, Errno};
use crate::tree::failed;

/// The host's audit, open for reading from now on.
#[derive(Debug)]
pub(crate) struct Audit {
    socket: OwnedFd,
}

/// The supervisor's hold on the thread.
#[derive(Debug)]
pub(crate) struct Reader {
    thread: Option<JoinHandle<()>>,
    /// Rung when the tree has ended.
    over: Arc<OwnedFd>,
}

struct Reading {
    audit: Audit,
    over: Arc<OwnedFd>,
    /// The process that made the cell's domain.
    worker: i32,
    domain: Option<u64>,
    /// Whether audit is on, by its own word or by a record.
    on: bool,
    /// Events of which more may come, oldest first.
    open: VecDeque<Event>,
    denials: Denials,
}

/// A refusal as far as it has been told.
struct Event {
    number: u64,
    domain: u64,
    denial: Denial,
}

/// Events of all domains of the host that are not complete.
const OPEN_MAX: usize = 256;
/// The kernel's own bound on a record.
const RECORD_BYTES_MAX: usize = 8192 + 64;
/// Enough for a burst while this thread does not run.
const SOCKET_BYTES: i32 = 1 << 20;
/// An event whose end is not told is complete when nothing has come for so long.
const QUIET_NS: i64 = 50_000_000;
/// After the tree's end: the kernel hands its records on from a thread of its own.
const LAST_QUIET_NS: i64 = 3_000_000;
const LAST_LOOKS: u32 = 64;
const STACK_BYTES: usize = 128 << 10;

impl Audit {
    /// Listens, if this process may, whether or not audit is on: it may be switched on later, and
    /// to ask makes the kernel start a thread to answer, which costs more than to listen.
    ///
    /// # Errors
    /// EPERM: it may not. ENOTCONN: the process numbers of the records are of another pid namespace
    /// than this process's. Others: this kernel has no audit.
    pub(crate) fn open() -> Result<Self, Errno> {
        let socket = sys::audit_records(SOCKET_BYTES)?;
        // SAFETY: socket(2) has just made this descriptor for us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        if sys::is_first_pid_namespace() {
            Ok(Self { socket })
        } else {
            Err(Errno(libc::ENOTCONN))
        }
    }
}

/// Whether the host's audit is on.
pub(crate) fn audit_is_on() -> bool {
    sys::audit_is_on().unwrap_or(false)
}

/// Starts reading for a cell with this worker.
///
/// # Errors
/// When the kernel gives no descriptors or no thread for it.
pub(crate) fn start(audit: Audit, worker: i32, denials: Denials) -> Result<Reader, SandboxError> {
    let what = "read what Landlock denies";
    let failed = |errno: rustix::io::Errno| failed(what, Errno(errno.raw_os_error()));
    let over = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
    let over = Arc::new(over);
    let reading = Reading {
        audit,
        over: Arc::clone(&over),
        worker,
        domain: None,
        on: false,
        open: VecDeque::new(),
        denials,
    };
    let thread = thread::Builder::new()
        .name("placet-denials".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || reading.run())
        .map_err(|source| SandboxError::Supervisor { what, source })?;
    Ok(Reader {
        thread: Some(thread),
        over,
    })
}

impl Reader {
    /// Waits for what the kernel has still to say.
    pub(crate) fn finish(&mut self) {
        rustix::io::write(&*self.over, &1u64.to_ne_bytes()).unwrap_or(0);
        if let Some(thread) = self.thread.take() {
            // A panic in it says nothing about the tree.
            drop(thread.join());
        }
    }
}

/// A reader that was never finished, because its tree was not.
impl Drop for Reader {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Reading {
    fn run(mut self) {
        // A reader that hears nothing is no danger to the tree, which does not need it.
        sys::block_signals().unwrap_or(());
        // Asked here, where nobody waits for it: the kernel makes a thread to answer.
        self.on = audit_is_on();
        loop {
            let (came, over) = self.wait(QUIET_NS);
            if came {
                self.take();
            } else {
                self.complete_all();
            }
            if over {
                break;
            }
        }
        self.take();
        for _ in 0..LAST_LOOKS {
            if !self.on {
                break;
            }
            let (came, _) = self.wait(LAST_QUIET_NS);
            if !came {
                break;
            }
            self.take();
        }
        self.complete_all();
    }

    /// Waits for records, the tree's end or, while something is open, until it is quiet.
    fn wait(&self, quiet_ns: i64) -> (bool, bool) {
        let ending = quiet_ns == LAST_QUIET_NS;
        let quiet = Timespec {
            tv_sec: 0,
            tv_nsec: quiet_ns,
        };
        let timeout = (ending || !self.open.is_empty()).then_some(&quiet);
        let (socket, over) = (self.audit.socket.as_fd(), self.over.as_fd());
        let mut fds = [
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&over, PollFlags::IN),
        ];
        let watched = if ending {
            fds.get_mut(..1)
        } else {
            Some(&mut fds[..])
        };
        let Some(watched) = watched else {
            return (false, true);
        };
        // An interrupted wait is a short one.
        if poll(watched, timeout).unwrap_or(0) == 0 {
            return (false, false);
        }
        let [socket, over] = &fds;
        (
            !socket.revents().is_empty(),
            !over.revents().is_empty() && !ending,
        )
    }

    fn take(&mut self) {
        let mut buffer = [0u8; RECORD_BYTES_MAX];
        loop {
            match sys::next_audit_record(self.audit.socket.as_raw_fd(), &mut buffer) {
                Ok(Some((kind, text))) => {
                    self.on = true;
                    if let Some(record) = Record::read(kind, text) {
                        self.hear(record);
                    }
                }
                Ok(None) => {}
                Err(Errno(libc::ENOBUFS)) => self.denials.lose(),
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, record: Record) {
        match record.told {
            Told::Refused {
                domain,
                access,
                rights,
                path,
            } => {
                if self.domain.is_some_and(|own| own != domain) {
                    return;
                }
                if self.open.len() >= OPEN_MAX {
                    self.complete_first();
                }
                self.open.push_back(Event {
                    number: record.event,
                    domain,
                    denial: Denial {
                        access,
                        rights,
                        path,
                        pid: None,
                    },
                });
            }
            // The kernel tells this once in the life of a domain, so no later process with the
            // worker's number can take the cell's place.
            Told::Domain { domain, maker } if maker == self.worker => {
                self.domain.get_or_insert(domain);
            }
            Told::Domain { .. } => {}
            Told::Call { pid } => {
                let of = |event: &&mut Event| event.number == record.event;
                if let Some(event) = self.open.iter_mut().find(of) {
                    event.denial.pid = Some(pid);
                }
            }
            Told::End => {
                let of = |event: &Event| event.number == record.event;
                while let Some(at) = self.open.iter().position(of) {
                    let event = self.open.remove(at);
                    event.into_iter().for_each(|event| self.complete(event));
                }
            }
        }
    }

    fn complete_all(&mut self) {
        while !self.open.is_empty() {
            self.complete_first();
        }
    }

    fn complete_first(&mut self) {
        let event = self.open.pop_front();
        event.into_iter().for_each(|event| self.complete(event));
    }

    /// Reports an event of the cell's own. The record that names the domain comes with the first.
    fn complete(&mut self, event: Event) {
        if self.domain == Some(event.domain) {
            self.denials.tell(event.denial);
        }
    }
}
