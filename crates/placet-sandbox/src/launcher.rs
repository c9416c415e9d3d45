//! One thread that makes every clone of this process.
//!
//! The parent death signal follows the thread that forked, not the process: a cell started from a
//! pool's worker thread would die when the pool shrinks. This thread lives as long as the process
//! and keeps all signals blocked, so that no handler of the supervisor runs in a new child.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::{io, thread};

use crate::error::SandboxError;
use crate::group::Group;
use crate::pid1::{self, Entries, Sockets};
use crate::plan::Plan;
use crate::sys::{self, Forked};

/// pid 1 of a new cell.
pub(crate) struct Launched {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// What the thread is asked for.
enum Job {
    Cell(NewCell),
    /// To be closed when nobody waits for it.
    Close(OwnedFd),
    /// To be dropped, as well: it holds many files.
    Forget(Arc<Plan>),
    /// To be removed, by whom somebody may wait for it.
    Remove(Group, SyncSender<()>),
}

/// A group that is being removed. Dropping it waits until it is.
#[derive(Debug)]
pub(crate) struct Removing(Receiver<()>);

struct NewCell {
    plan: Arc<Plan>,
    control: OwnedFd,
    gate: OwnedFd,
    /// As `birthplace`.
    opens: Option<RawFd>,
    /// As well.
    ruleset: RawFd,
    entries: Entries,
    /// A descriptor of the caller, who waits for the answer.
    birthplace: Option<RawFd>,
    deadline_ns: u64,
    answer: SyncSender<Result<Launched, sys::Errno>>,
}

struct Launcher {
    /// A fork of the supervisor inherits this value but not the thread.
    process: u32,
    jobs: Mutex<Sender<Job>>,
}

const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP)
    .unsigned_abs() as u64;
/// The supervisor's handlers must not run in the child.
const CLEAR_HANDLERS: u64 = 0x1_0000_0000;

/// Starts pid 1 with its ends of the sockets, which are closed here, in its groups, with what it
/// keeps for the second exec gate, and with the ruleset of its worker.
pub(crate) fn launch(
    plan: Arc<Plan>,
    control: OwnedFd,
    gate: OwnedFd,
    (opens, ruleset): (Option<BorrowedFd<'_>>, BorrowedFd<'_>),
    group: &Group,
    deadline_ns: u64,
) -> Result<Launched, SandboxError> {
    let failed = |source| SandboxError::Supervisor {
        what: "start a cell",
        source,
    };
    let gone = || {
        failed(io::Error::other(
            "the launching thread is not in this process",
        ))
    };
    let launcher = launcher().map_err(failed)?;
    if launcher.process != std::process::id() {
        return Err(gone());
    }
    let (answer, answered) = sync_channel(1);
    let job = Job::Cell(NewCell {
        plan,
        control,
        gate,
        opens: opens.map(|fd| fd.as_raw_fd()),
        ruleset: ruleset.as_raw_fd(),
        entries: group.entries(),
        birthplace: group.birthplace().map(|fd| fd.as_raw_fd()),
        deadline_ns,
        answer,
    });
    let jobs = launcher.jobs.lock().map_err(|_| gone())?;
    jobs.send(job).map_err(|_| gone())?;
    drop(jobs);
    answered
        .recv()
        .map_err(|_| gone())?
        .map_err(|errno| failed(errno.into()))
}

/// Closes what is the last hold on a namespace and takes the kernel a while, beside whatever comes next.
pub(crate) fn close_beside(fd: OwnedFd) {
    beside(Job::Close(fd));
}

/// Drops a plan beside whatever comes next.
pub(crate) fn forget_beside(plan: Arc<Plan>) {
    beside(Job::Forget(plan));
}

fn beside(job: Job) {
    let Ok(launcher) = launcher() else { return };
    if launcher.process == std::process::id()
        && let Ok(jobs) = launcher.jobs.lock()
    {
        // A thread that is gone gives it back, and it is dropped here.
        drop(jobs.send(job));
    }
}

/// Removes the groups of a cell that is gone, beside whatever comes next; here where there is no thread for it.
pub(crate) fn remove_beside(group: Group) -> Option<Removing> {
    let launcher = launcher().ok()?;
    if launcher.process != std::process::id() {
        return None;
    }
    let (done, removed) = sync_channel(1);
    let jobs = launcher.jobs.lock().ok()?;
    // A thread that is gone gives it back, and it is removed here.
    jobs.send(Job::Remove(group, done)).ok()?;
    Some(Removing(removed))
}

impl Drop for Removing {
    fn drop(&mut self) {
        // The end of the thread is as good.
        self.0.recv().unwrap_or(());
    }
}

fn launcher() -> io::Result<&'static Launcher> {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    if let Some(launcher) = LAUNCHER.get() {
        return Ok(launcher);
    }
    let (jobs, queue) = channel();
    thread::Builder::new()
        .name("placet-launcher".to_owned())
        .spawn(move || serve(&queue))?;
    // A second thread that lost this race ends, its queue's only sender being dropped here.
    Ok(LAUNCHER.get_or_init(|| Launcher {
        process: std::process::id(),
        jobs: Mutex::new(jobs),
    }))
}

fn serve(queue: &Receiver<Job>) {
    let blocked = sys::block_signals();
    while let Ok(job) = queue.recv() {
        let job = match job {
            Job::Cell(job) => job,
            Job::Close(fd) => {
                drop(fd);
                continue;
            }
            Job::Forget(plan) => {
                drop(plan);
                continue;
            }
            Job::Remove(group, done) => {
                drop(group);
                // Who does not wait need not be told.
                done.send(()).unwrap_or(());
                continue;
            }
        };
        let launched = blocked.and_then(|()| clone_cell(&job));
        // A caller that no longer listens drops the pidfd and with it nothing: the cell sees the
        // end of its control socket and exits.
        drop(job.answer.send(launched));
    }
}

fn clone_cell(job: &NewCell) -> Result<Launched, sys::Errno> {
    let sockets = Sockets {
        control: job.control.as_raw_fd(),
        gate: job.gate.as_raw_fd(),
        opens: job.opens.unwrap_or(-1),
        ruleset: job.ruleset,
    };
    let namespaces = if job.plan.host.is_some() {
        0
    } else {
        NAMESPACES
    };
    // SAFETY: the child branch only calls pid1::run, which makes system calls on what was prepared,
    // does not allocate or lock, and does not return or unwind.
    match unsafe { sys::fork_into(namespaces | CLEAR_HANDLERS, 0, job.birthplace) }? {
        Forked::Child => pid1::run(&job.plan, sockets, job.entries, job.deadline_ns),
        Forked::Parent { pid, pidfd } => {
            // SAFETY: clone3 has just made this descriptor for us alone.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Launched { pid, pidfd })
        }
    }
}
