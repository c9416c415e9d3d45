//! The supervisor's handles on one tree: its messages, its signals, its end.
//!
//! Knows nothing of what runs inside. Whatever happens to the value, the tree does not outlive it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::broker::Server;
use crate::denials::{Denials, Reader};
use crate::error::SandboxError;
use crate::gate::Tracer;
use crate::group::Group;
use crate::host::Host;
use crate::launcher::{Launched, Removing, close_beside, remove_beside};
use crate::opens::Watch;
use crate::process::pid_of;
use crate::sys::{self, Errno, Reaped, Words};
use crate::wire::{Group as ProcessGroup, Order, Report};

/// How long the dead may take to be reaped by whose children they have become.
const REAP_PATIENCE: Duration = Duration::from_secs(2);

/// What happened in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The worker was stopped by this signal.
    Stopped(i32),
    /// The worker goes on after a stop.
    Continued,
    /// The whole tree is gone.
    Ended(Exit),
}

/// How the worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code, 0 to 255.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
}

/// What ended the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The worker ended, and the rest of the tree with it.
    Worker,
    /// The lease was not renewed.
    Lease,
    /// The supervisor, by `terminate` or by its exec gate ([`crate::OnRefusal::EndTree`]).
    Terminated,
    /// Something else killed pid 1: another process of the user, or the out-of-memory killer.
    Outside,
}

/// The end of a tree. Once there is one, no process of the cell is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The worker's own end; SIGKILL when the tree was ended under it.
    pub status: Status,
    /// What ended the tree.
    pub ended_by: EndedBy,
    /// Processor time in user mode of all processes of the tree together.
    pub user: Duration,
    /// Processor time in the kernel of all processes of the tree together, setup included.
    pub system: Duration,
    /// The largest resident set of the worker or of a child it waited for, in bytes; 0 when the
    /// worker did not end by itself. Linux keeps the size from before execve as a lower bound: that
    /// of the supervisor at launch.
    pub max_rss_bytes: u64,
}

/// pid 1, and what it handed up.
#[derive(Debug)]
pub(crate) struct Tree {
    pid: i32,
    pidfd: OwnedFd,
    control: OwnedFd,
    handed: Option<Handed>,
    heard: Heard,
    ended: Option<Exit>,
    /// Ends by itself with the last process.
    tracer: Option<Tracer>,
    /// As well.
    server: Option<Server>,
    denials: Option<Denials>,
    reader: Option<Reader>,
    opens: Option<Watch>,
    /// Emptied when the last process is reaped, and then removed.
    group: Option<Group>,
    /// Being removed, beside whatever comes after the end: whoever drops the tree waits for it, and leaves nothing behind.
    removing: Option<Removing>,
    /// The cell's mounts, held until the tree is gone: so that its last process need not take them apart while it is
    /// waited for.
    mounts: Option<OwnedFd>,
    /// Where there is no pid 1, but a reaper on the host's tree; its directory goes with the tree.
    host: Option<Arc<Host>>,
}

/// The descriptors that came with the worker's fork.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) worker: OwnedFd,
    pub(crate) door: Option<OwnedFd>,
    /// The listener and the socket for questions, of a proxied cell.
    pub(crate) proxied: Option<[OwnedFd; 2]>,
    /// The writable side of the file system of the credentials, until the release.
    pub(crate) credentials: Option<OwnedFd>,
    /// The supervisor's end of the cell's terminal, until it is taken.
    pub(crate) terminal: Option<OwnedFd>,
}

/// What pid 1 said about the end, and what was done to it.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Wait status, and largest resident set in KiB.
    worker_end: Option<(i32, u64)>,
    lease_lapsed: bool,
    terminated: bool,
}

impl Tree {
    pub(crate) fn new(launched: Launched, control: OwnedFd, group: Group) -> Self {
        let Launched { pid, pidfd } = launched;
        Self {
            pid,
            pidfd,
            control,
            handed: None,
            heard: Heard::default(),
            ended: None,
            tracer: None,
            server: None,
            denials: None,
            reader: None,
            opens: None,
            group: Some(group),
            removing: None,
            mounts: None,
            host: None,
        }
    }

    pub(crate) fn stand_on(&mut self, host: Option<Arc<Host>>) {
        self.host = host;
    }

    /// Nothing can be done with it but to let it go. Without one the last process does it all.
    pub(crate) fn hold_mounts(&mut self) {
        // Through the worker: without privileges nobody looks into pid 1.
        let worker = self.handed.as_ref().map(|handed| handed.worker.as_fd());
        let worker = worker.and_then(pid_of);
        let mounts = worker.map(|pid| File::open(format!("/proc/{pid}/ns/mnt")));
        self.mounts = mounts.and_then(Result::ok).map(OwnedFd::from);
    }

    pub(crate) fn hand(&mut self, handed: Handed) {
        self.handed = Some(handed);
    }

    pub(crate) fn take_credentials(&mut self) -> Option<OwnedFd> {
        self.handed.as_mut()?.credentials.take()
    }

    pub(crate) fn trace(&mut self, tracer: Tracer) {
        self.tracer = Some(tracer);
    }

    /// Waits until its programs are traced, where they are to be.
    pub(crate) fn await_trace(&mut self) -> Result<(), SandboxError> {
        self.tracer.as_mut().map_or(Ok(()), Tracer::stands)
    }

    pub(crate) fn serve(&mut self, server: Server) {
        self.server = Some(server);
    }

    pub(crate) fn read_denials(&mut self, reader: Reader) {
        self.reader = Some(reader);
    }

    pub(crate) fn watch_opens(&mut self, watch: Watch) {
        self.opens = Some(watch);
    }

    pub(crate) fn tell(&mut self, denials: Denials) {
        self.denials = Some(denials);
    }

    pub(crate) fn denials(&self) -> Option<&Denials> {
        self.denials.as_ref()
    }

    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    pub(crate) fn handed(&self) -> Option<&Handed> {
        self.handed.as_ref()
    }

    pub(crate) fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.handed.as_mut()?.terminal.take()
    }

    pub(crate) fn order(&self, what: &'static str, order: Order) -> Result<(), SandboxError> {
        let sent = sys::send(self.control.as_raw_fd(), &order.encode(), &[]);
        sent.map_err(|errno| failed(what, errno))
    }

    pub(crate) fn signal_group(
        &self,
        group: ProcessGroup,
        signal: i32,
    ) -> Result<(), SandboxError> {
        let order = Order::SignalGroup { group, signal };
        self.order("signal a process group", order)
    }

    pub(crate) fn renew(&self, lease: Duration) -> Result<(), SandboxError> {
        self.order("renew the lease", Order::RenewUntil(deadline_after(lease)))
    }

    /// Signals the worker. Its pidfd cannot come to mean another process.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        let worker = self.handed.as_ref().ok_or(Errno(libc::ESRCH));
        worker
            .and_then(|handed| sys::signal(handed.worker.as_raw_fd(), signal))
            .map_err(|errno| failed("signal the worker", errno))
    }

    /// Kills pid 1, and so everything, and waits for the last process.
    pub(crate) fn terminate(&mut self) -> Result<Exit, SandboxError> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        self.heard.terminated = true;
        if let Some(group) = &self.group {
            // All at once; the end of pid 1 would do the same, one after the other.
            group.kill();
        }
        if self.host.is_some() {
            self.end_by_tracer()?;
        }
        match sys::signal(self.pidfd.as_raw_fd(), libc::SIGKILL) {
            // Nothing to kill: it has ended and waits to be reaped.
            Ok(()) | Err(Errno(libc::ESRCH)) => {}
            Err(errno) => return Err(failed("kill the cell", errno)),
        }
        let reaped = sys::reap(self.pidfd.as_raw_fd(), true);
        match reaped.map_err(|errno| failed("wait for the cell", errno))? {
            Some(reaped) => Ok(self.finish(&reaped)),
            None => Err(failed("wait for the cell", Errno(libc::ECHILD))),
        }
    }

    /// Without a pid namespace: kills the worker, with whose end the tracer kills all the others, and
    /// gives the reaper a moment to reap them.
    fn end_by_tracer(&mut self) -> Result<(), SandboxError> {
        self.kill_worker();
        if let Some(tracer) = &mut self.tracer {
            let ended_tree = tracer.finish();
            self.heard.terminated |= ended_tree;
            await_any(&[self.pidfd.as_fd()], Some(deadline_after(REAP_PATIENCE)))?;
        }
        Ok(())
    }

    fn kill_worker(&self) {
        if let Some(handed) = &self.handed {
            // One that is gone needs no signal.
            sys::signal(handed.worker.as_raw_fd(), libc::SIGKILL).unwrap_or(());
        }
    }

    /// The next change, or `None` when the time is over.
    pub(crate) fn next_change(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<Change>, SandboxError> {
        let deadline = timeout.map(deadline_after);
        loop {
            if let Some(exit) = self.ended {
                return Ok(Some(Change::Ended(exit)));
            }
            if let Some(change) = self.hear() {
                return Ok(Some(change));
            }
            let reaped = sys::reap(self.pidfd.as_raw_fd(), false);
            if let Some(reaped) = reaped.map_err(|errno| failed("wait for the cell", errno))? {
                self.finish(&reaped);
            } else if !self.await_news(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Takes the messages that are there, up to the first that is a change.
    fn hear(&mut self) -> Option<Change> {
        while let Ok(Some(words)) = sys::receive(self.control.as_raw_fd(), libc::MSG_DONTWAIT) {
            match Report::decode(words) {
                Some(Report::Stopped(signal)) => return Some(Change::Stopped(signal)),
                Some(Report::Continued) => return Some(Change::Continued),
                Some(Report::Ended {
                    status,
                    max_rss_kib,
                }) => {
                    self.heard.worker_end = Some((status, max_rss_kib));
                }
                Some(Report::LeaseLapsed) => self.heard.lease_lapsed = true,
                // Setup is over: pid 1 sends nothing else.
                Some(Report::Forked | Report::Ready | Report::Failed(_)) | None => {}
            }
        }
        None
    }

    /// Waits for a message or for the end of the last process.
    fn await_news(&self, deadline: Option<u64>) -> Result<bool, SandboxError> {
        if self.heard.worker_end.is_some() || self.heard.lease_lapsed {
            // Its socket is about to close, or has: only the end is still to come.
            return await_any(&[self.pidfd.as_fd()], deadline);
        }
        await_any(&[self.control.as_fd(), self.pidfd.as_fd()], deadline)
    }

    fn finish(&mut self, reaped: &Reaped) -> Exit {
        while self.hear().is_some() {}
        if self.host.is_some() {
            // The reaper may have been killed under it.
            self.kill_worker();
        }
        self.heard.terminated |= self.tracer.as_mut().is_some_and(Tracer::finish);
        if let Some(server) = &mut self.server {
            server.finish();
        }
        if let Some(opens) = &mut self.opens {
            opens.finish();
        }
        if let Some(reader) = &mut self.reader {
            reader.finish();
        }
        let Heard {
            worker_end,
            lease_lapsed,
            terminated,
        } = self.heard;
        // Where there is no pid 1, the worker is what is killed to end the tree.
        let by_itself = |end: &(i32, u64)| {
            !(self.host.is_some() && terminated)
                || status_of(end.0) != Status::Signaled(libc::SIGKILL)
        };
        let worker_end = worker_end.filter(by_itself);
        let ended_by = match worker_end {
            Some(_) => EndedBy::Worker,
            None if lease_lapsed => EndedBy::Lease,
            None if terminated => EndedBy::Terminated,
            None => EndedBy::Outside,
        };
        let (status, max_rss_kib) = worker_end.unwrap_or((libc::SIGKILL, 0));
        let exit = Exit {
            status: status_of(status),
            ended_by,
            user: Duration::from_micros(reaped.user_us),
            system: Duration::from_micros(reaped.system_us),
            max_rss_bytes: max_rss_kib.saturating_mul(1024),
        };
        self.ended = Some(exit);
        self.mounts.take().into_iter().for_each(close_beside);
        // Whoever came into the group is gone with the tree; the directory, beside what comes next.
        self.group.iter().for_each(Group::empty);
        self.removing = self.group.take().and_then(remove_beside);
        self.host = None;
        exit
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Cannot fail for a child that is ours and not yet reaped; without a result to give, the
        // control socket's end is what is left, and it ends the tree too.
        drop(self.terminate());
    }
}

fn status_of(status: i32) -> Status {
    if libc::WIFEXITED(status) {
        Status::Exited(libc::WEXITSTATUS(status))
    } else {
        Status::Signaled(libc::WTERMSIG(status))
    }
}

pub(crate) fn failed(what: &'static str, errno: Errno) -> SandboxError {
    SandboxError::Supervisor {
        what,
        source: errno.into(),
    }
}

/// The CLOCK_BOOTTIME instant, in nanoseconds, that is `time` from now.
pub(crate) fn deadline_after(time: Duration) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    sys::boot_time_ns().saturating_add(nanos)
}

/// Waits until one of the descriptors is readable or hung up; `false` when the time is over.
pub(crate) fn await_any(
    fds: &[BorrowedFd<'_>],
    deadline: Option<u64>,
) -> Result<bool, SandboxError> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    loop {
        let left = deadline.map(|at| at.saturating_sub(sys::boot_time_ns()));
        let timeout = left.map(|nanos| Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("wait for the cell", Errno(errno.raw_os_error()))),
        }
    }
}

/// One message's words from its bytes.
pub(crate) fn words(bytes: &[u8; size_of::<Words>()]) -> Words {
    let mut words = Words::default();
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*chunk);
    }
    words
}
