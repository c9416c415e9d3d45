//! The second exec gate: fanotify permission events on the cell's executable mounts, independent of the trace.
//!
//! The first gate ([`crate::gate`]) sees each image at its first instruction, as long as the process is traced. This one
//! sits where the kernel opens a file for execution, on every mount of the cell that allows it, and
//! asks two things: whether the opener is a task that the first gate has let go on, and whether the
//! file lies in the executable scope. Whoever is in the cell's mounts without being in its trace, by whatever hole, executes
//! nothing from them: execve answers EPERM.
//!
//! # How it can fail
//!
//! A permission event is answered with yes when the last descriptor of its group is closed, or when a bounded queue is full. So the queue
//! is unbounded, which the trace bounds: a task waits in its event. And pid 1 keeps a duplicate: when the supervisor hangs or its thread
//! dies, opens wait until the lease ends the tree. When the supervisor dies pid 1 is killed with it, and with
//! pid 1, in the same exit, everything else.
//!
//! It sees neither memory files nor the tree's own file systems, which are all mounted noexec, nor what is mapped: those
//! are matters of the system call filter and of the first gate.
//!
//! Takes CAP_SYS_ADMIN outside of any user namespace.
//!
//! Each exec has two events, for the program and its interpreter, and each event is two changes of threads: some
//! 50 µs on a machine at rest, and 100 on a busy one. That is as much again as the first gate, so it stands
//! only where each program is asked about, which takes longer by far.

mod mounts;

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::denials::{Denial, Denials, DeniedAccess};
use crate::error::SandboxError;
use crate::process::{Process, path_of};
use crate::sys::{self, Errno, ExecOpen};
use crate::tree::failed;

/// The tasks that the first gate traces and has let go on at least once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced(Arc<Mutex<HashSet<i32>>>);

impl Traced {
    fn with<T>(&self, act: impl FnOnce(&mut HashSet<i32>) -> T) -> T {
        // Every change is complete before anything could panic.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Before it runs.
    pub(crate) fn add(&self, task: i32) {
        self.with(|tasks| tasks.insert(task));
    }

    /// When its end was heard, and before its number can be another's.
    pub(crate) fn remove(&self, task: i32) {
        self.with(|tasks| tasks.remove(&task));
    }

    fn has(&self, task: i32) -> bool {
        self.with(|tasks| tasks.contains(&task))
    }
}

/// A group of permission events without marks. pid 1 inherits it.
#[derive(Debug)]
pub(crate) struct Opens {
    group: OwnedFd,
}

/// What may be executed.
pub(crate) struct Allowed {
    /// Trees and files, by their paths in the cell.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) traced: Traced,
}

/// The supervisor's hold on the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    thread: Option<JoinHandle<()>>,
    over: Arc<OwnedFd>,
}

struct Watching {
    opens: Opens,
    over: Arc<OwnedFd>,
    allowed: Allowed,
    denials: Denials,
}

const WHAT: &str = "watch what is opened for execution";
const STACK_BYTES: usize = 128 << 10;

impl Opens {
    /// `None`: this process may not have one, or this kernel has none.
    pub(crate) fn new() -> Result<Option<Self>, SandboxError> {
        match sys::exec_opens() {
            Ok(group) => Ok(Some(Self {
                // SAFETY: fanotify_init has just made this descriptor for us alone.
                group: unsafe { OwnedFd::from_raw_fd(group) },
            })),
            Err(Errno(libc::EPERM | libc::ENOSYS | libc::EINVAL)) => Ok(None),
            Err(errno) => Err(failed(WHAT, errno)),
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    /// Watches every mount that a process sees and can execute from.
    pub(crate) fn mark(&self, process: &Process) -> Result<(), SandboxError> {
        let io = |errno: rustix::io::Errno| failed(WHAT, Errno(errno.raw_os_error()));
        for path in mounts::executable(process).map_err(io)? {
            let mount = process.resolve_absolute(&path).map_err(io)?;
            sys::watch_mount(self.group.as_raw_fd(), mount.as_raw_fd())
                .map_err(|errno| failed(WHAT, errno))?;
        }
        Ok(())
    }
}

/// Starts answering. Until then, opens wait.
///
/// # Errors
/// When the kernel gives no descriptors or no thread for it.
pub(crate) fn start(
    opens: Opens,
    allowed: Allowed,
    denials: Denials,
) -> Result<Watch, SandboxError> {
    let over = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let over = over.map_err(|errno| failed(WHAT, Errno(errno.raw_os_error())))?;
    let over = Arc::new(over);
    let watching = Watching {
        opens,
        over: Arc::clone(&over),
        allowed,
        denials,
    };
    let thread = thread::Builder::new()
        .name("placet-opens".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || watching.run())
        .map_err(|source| SandboxError::Supervisor { what: WHAT, source })?;
    Ok(Watch {
        thread: Some(thread),
        over,
    })
}

impl Watch {
    /// When no process of the tree is left.
    pub(crate) fn finish(&mut self) {
        rustix::io::write(&*self.over, &1u64.to_ne_bytes()).unwrap_or(0);
        if let Some(thread) = self.thread.take() {
            // A panic in it has made opens wait, and there is nothing else to say about it.
            drop(thread.join());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Watching {
    fn run(self) {
        sys::block_signals().unwrap_or(());
        let mut events = [0u64; 512];
        loop {
            let (group, over) = (self.opens.as_fd(), self.over.as_fd());
            let mut fds = [
                PollFd::new(&group, PollFlags::IN),
                PollFd::new(&over, PollFlags::IN),
            ];
            // An interrupted wait is a short one.
            poll(&mut fds, None).unwrap_or(0);
            let [_, ended] = &fds;
            if !ended.revents().is_empty() {
                return;
            }
            let answer = |open: &ExecOpen| self.answer(open);
            // What cannot be read now waits, and with it whoever opens.
            sys::answer_exec_opens(group.as_raw_fd(), &mut events, answer).unwrap_or(());
        }
    }

    fn answer(&self, open: &ExecOpen) -> bool {
        let path = path_of(&open.file).ok();
        let within = |path: &PathBuf| {
            let allowed = &self.allowed.paths;
            allowed.iter().any(|allowed| path.starts_with(allowed))
        };
        let why = if !self.allowed.traced.has(open.task) {
            "exec.untraced"
        } else if !path.as_ref().is_some_and(within) {
            "exec.outside_scope"
        } else {
            return true;
        };
        self.denials.tell(Denial {
            access: DeniedAccess::Execute,
            rights: why.to_owned(),
            path,
            pid: u32::try_from(open.task).ok(),
        });
        false
    }
}
