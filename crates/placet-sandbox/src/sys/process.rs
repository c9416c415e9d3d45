//! Making, ending, signalling and becoming processes.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::{Errno, Sys, address, done, last_errno, number};

/// `struct clone_args` of clone3(2), as long as `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The child is born in the control group of that descriptor.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who returns from [`fork`].
pub(crate) enum Forked {
    /// This is the new process.
    Child,
    /// This is the caller; the pidfd is close-on-exec.
    Parent { pid: c_int, pidfd: c_int },
}

/// clone3 without a new stack: the child continues here, like fork. No exit signal reaches a
/// supervisor when `exit_signal` is 0, and such a child is only reaped by a wait with `__WALL`.
///
/// # Safety
/// The child is a copy of one thread of a possibly multi-threaded process. Until execve it must
/// not allocate, take locks, unwind out of the caller or return into code that would.
pub(crate) unsafe fn fork(flags: u64, exit_signal: c_int) -> Sys<Forked> {
    // SAFETY: as for the caller.
    unsafe { fork_into(flags, exit_signal, None) }
}

/// As [`fork`], with the child born in a group of cgroup v2, by its directory.
///
/// # Safety
/// As for [`fork`].
pub(crate) unsafe fn fork_into(
    flags: u64,
    exit_signal: c_int,
    group: Option<c_int>,
) -> Sys<Forked> {
    let mut pidfd: c_int = -1;
    let into = group.map_or(0, |_| CLONE_INTO_CGROUP);
    let args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | into,
        cgroup: group.map_or(0, |group| u64::from(group.unsigned_abs())),
        pidfd: address(&raw mut pidfd),
        exit_signal: u64::from(exit_signal.unsigned_abs()),
        ..CloneArgs::default()
    };
    // SAFETY: args is a live clone_args of the stated size, its pidfd points to a live c_int, and
    // with no CLONE_VM the child runs on its own copy of this stack.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    let forked = match number(ret) {
        // As a container's filter answers, which cannot look at flags that lie in memory.
        // SAFETY: the caller keeps the rules of this function.
        Err(Errno(libc::ENOSYS)) if group.is_none() => unsafe {
            fork_the_old_way(flags, exit_signal, &raw mut pidfd)
        },
        forked => forked,
    };
    match forked? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent { pid, pidfd }),
    }
}

/// clone(2), which has no flags above the 32nd bit: handlers stay, and a child that keeps all signals
/// blocked does not run them.
///
/// # Safety
/// As [`fork`]; `pidfd` is live and writable.
unsafe fn fork_the_old_way(flags: u64, exit_signal: c_int, pidfd: *mut c_int) -> Sys<c_int> {
    let flags = (flags & 0xffff_ff00) | libc::CLONE_PIDFD as u64;
    let flags = flags | u64::from(exit_signal.unsigned_abs());
    let none: *mut c_void = std::ptr::null_mut();
    // SAFETY: without a stack and without CLONE_VM the child runs on its own copy of this one; the
    // pidfd is stored where the third argument points.
    number(unsafe { libc::syscall(libc::SYS_clone, flags, none, pidfd, none, none) })
}

/// Tries something in a child with namespaces of its own, which shares this memory: nothing is copied, and this thread
/// stands still until the child is done with it. Signals are blocked meanwhile: no handler runs in the child.
///
/// `what` only makes system calls: it must not allocate, lock or panic. What came of it is known before the kernel has taken the child's namespaces
/// apart, which takes longer than the trial.
pub(crate) fn try_in(namespaces: c_int, what: fn() -> Sys<()>) -> (Sys<()>, Option<Tried>) {
    extern "C" fn child(attempt: *mut c_void) -> c_int {
        // SAFETY: the pointer is to the attempt of the caller, who waits.
        let attempt = unsafe { &mut *attempt.cast::<Attempt>() };
        attempt.tried = Some((attempt.what)());
        0
    }
    let mut attempt = Attempt { what, tried: None };
    let mut stack = [0u128; CHILD_STACK_WORDS];
    let mut pidfd: c_int = -1;
    let before = match swap_signal_mask(u64::MAX) {
        Ok(before) => before,
        Err(errno) => return (Err(errno), None),
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | namespaces;
    // SAFETY: the stack is live, aligned and its end is one past its last word; with CLONE_VFORK nothing here goes on while
    // the child uses it: it has left this memory for good by then. The pidfd is stored where the fifth argument points.
    let ret = unsafe {
        libc::clone(
            child,
            stack.as_mut_ptr_range().end.cast(),
            flags,
            (&raw mut attempt).cast(),
            &raw mut pidfd,
        )
    };
    let cloned = number(ret.into());
    let restored = swap_signal_mask(before);
    if let Err(errno) = cloned {
        return (Err(errno), None);
    }
    // SAFETY: clone has just made this descriptor for us alone.
    let child = Tried(unsafe { OwnedFd::from_raw_fd(pidfd) });
    // Killed before it was done, if there is nothing.
    let tried = attempt.tried.unwrap_or(Err(Errno(libc::ECHILD)));
    (restored.and(tried), Some(child))
}

/// A child in which something was tried, on its way out. Reaped when it is dropped, which waits for it.
#[derive(Debug)]
pub(crate) struct Tried(OwnedFd);

impl Drop for Tried {
    fn drop(&mut self) {
        // It is a child of this process, and nobody else's to reap.
        drop(reap(self.0.as_raw_fd(), true));
    }
}

struct Attempt {
    what: fn() -> Sys<()>,
    tried: Option<Sys<()>>,
}

/// A system call and its wrapper take a few hundred bytes.
const CHILD_STACK_WORDS: usize = 1024;

/// Ends this process at once, running no destructor.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

pub(crate) fn close_range(first: c_int, last: c_uint) -> Sys<()> {
    // SAFETY: runs only in the child, whose remaining code uses none of these descriptors.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as c_uint) })
}

/// From here on no descriptor behind the standard streams goes to a program that is executed.
pub(crate) fn keep_descriptors() -> Sys<()> {
    // SAFETY: closes nothing in this process.
    done(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as c_uint,
            c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}

/// Class and level of a process in the queues of disks, as ioprio_get(2) packs them.
pub(crate) fn io_priority(pid: c_int) -> Sys<c_int> {
    const OF_PROCESS: c_int = 1;
    // SAFETY: takes no pointers.
    number(unsafe { libc::syscall(libc::SYS_ioprio_get, OF_PROCESS, pid) })
}

/// Blocks every signal in this thread; used before clone, so that no handler runs in the child.
pub(crate) fn block_signals() -> Sys<()> {
    set_signal_mask(u64::MAX)
}

/// As [`block_signals`], but for SIGCHLD, in a thread that traces: each stop of a tracee sends one to this thread. Where
/// nobody handles it, the kernel drops it there and then, unless it is blocked; then it wakes another thread of this process for nothing.
pub(crate) fn block_signals_of_others() -> Sys<()> {
    set_signal_mask(!(1 << (libc::SIGCHLD - 1)))
}

pub(crate) fn unblock_signals() -> Sys<()> {
    set_signal_mask(0)
}

fn set_signal_mask(mask: u64) -> Sys<()> {
    swap_signal_mask(mask).map(drop)
}

/// Gives the mask that was there.
fn swap_signal_mask(mask: u64) -> Sys<u64> {
    let mut before = 0u64;
    // SAFETY: the kernel's sigset is 8 bytes, as the last argument says.
    done(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            8usize,
        )
    })?;
    Ok(before)
}

/// Gives every signal its default action, ignored ones included.
pub(crate) fn default_signals() {
    // All zero is SIG_DFL, no flags, empty mask in the kernel's layout on every architecture.
    let default = [0u64; 4];
    let none: *mut u64 = std::ptr::null_mut();
    for signal in 1..=64 {
        // SAFETY: default is as large as any architecture's kernel sigaction. SIGKILL and SIGSTOP
        // answer EINVAL, which is what they always are.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                none,
                8usize,
            );
        }
    }
}

/// A child's change of state, as wait4(2) tells it.
pub(crate) struct Changed {
    pub(crate) pid: c_int,
    pub(crate) status: c_int,
    pub(crate) max_rss_kib: u64,
}

/// The next child that changed state, without waiting.
pub(crate) fn next_changed_child() -> Option<Changed> {
    let mut status: c_int = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let flags = libc::WNOHANG | libc::__WALL | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: status and usage are live and writable.
    let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
    let max_rss_kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    (pid > 0).then_some(Changed {
        pid,
        status,
        max_rss_kib,
    })
}

/// Whether a wait would find nothing at all.
pub(crate) fn has_no_children() -> bool {
    // SAFETY: an all-zero siginfo_t is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: info is live and writable.
    unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) < 0 }
}

/// How a whole tree ended, as the supervisor's wait for pid 1 tells it.
pub(crate) struct Reaped {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
}

/// Reaps the process behind a pidfd. `Ok(None)` only without `block`: it still runs.
pub(crate) fn reap(pidfd: c_int, block: bool) -> Sys<Option<Reaped>> {
    // SAFETY: all-zero siginfo_t and rusage are valid values of those plain C structs.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let flags = libc::WEXITED | libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: info and usage are live and writable; this is the raw call with five arguments.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd,
                &raw mut info,
                flags,
                &raw mut usage,
            )
        };
        match done(ret) {
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
            Ok(()) => break,
        }
    }
    // SAFETY: waitid has filled in the SIGCHLD fields of info, or left it zero.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then(|| Reaped {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
    }))
}

fn micros(time: libc::timeval) -> u64 {
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000)
        .saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
}

pub(crate) fn signal(pidfd: c_int, signal: c_int) -> Sys<()> {
    let none: *const c_void = std::ptr::null();
    // SAFETY: a null siginfo is allowed.
    done(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd,
            signal,
            none,
            0 as c_uint,
        )
    })
}

/// A NULL-terminated array of C strings, as execve takes it, built before clone.
pub(crate) struct StringArray {
    // What `pointers` points to; the heap buffers do not move with the Vec.
    owned: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are to heap buffers that this value owns and never mutates, and to memory
// that its plan owns beside it, with an address that does not change.
unsafe impl Send for StringArray {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for StringArray {}

impl StringArray {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Self {
        let end = std::iter::once(std::ptr::null());
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(end)
            .collect();
        Self {
            owned: strings,
            pointers,
        }
    }

    /// Those that it owns, without what was added.
    pub(crate) fn strings(&self) -> &[std::ffi::CString] {
        &self.owned
    }

    /// As execve takes it.
    pub(crate) fn as_strings(&self) -> Strings<'_> {
        Strings {
            first: self.pointers.as_ptr(),
            owner: std::marker::PhantomData,
        }
    }

    /// Adds strings that stand elsewhere, for as long as this value is used.
    pub(crate) fn and(mut self, others: impl Iterator<Item = *const c_char>) -> Self {
        let end = self.pointers.pop();
        self.pointers.extend(others);
        self.pointers.extend(end);
        self
    }
}

/// A NULL-terminated array of strings that lives elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Strings<'a> {
    first: *const *const c_char,
    owner: std::marker::PhantomData<&'a ()>,
}

#[cfg(test)]
impl Strings<'_> {
    /// What execve would read.
    pub(crate) fn read(&self) -> impl Iterator<Item = String> {
        let first = self.first;
        // SAFETY: the array is NULL terminated, and each entry before is a string that its owner keeps.
        (0..).map_while(move |at| unsafe {
            let string = *first.add(at);
            (!string.is_null()).then(|| CStr::from_ptr(string).to_string_lossy().into_owned())
        })
    }
}

impl<'a> Strings<'a> {
    /// The array that the supervisor wrote at `offset`; none outside.
    pub(crate) fn shared(memory: &'a super::SharedMemory, offset: usize) -> Option<Self> {
        let first = memory.at(offset);
        (!first.is_null()).then_some(Self {
            first: first.cast(),
            owner: std::marker::PhantomData,
        })
    }
}

/// What execve is to start.
pub(crate) enum Image<'a> {
    /// Exactly the inode behind this descriptor.
    Inode(c_int),
    /// Whatever the path names: the kernel hands a script's path on to its interpreter.
    Path(&'a CStr),
}

/// Replaces this process; returns only on failure.
pub(crate) fn execute(image: &Image<'_>, argv: Strings<'_>, env: Strings<'_>) -> Errno {
    let (argv, env) = (argv.first, env.first);
    let (at, path, flags) = match image {
        Image::Inode(fd) => (*fd, c"".as_ptr(), libc::AT_EMPTY_PATH),
        Image::Path(path) => (libc::AT_FDCWD, path.as_ptr(), 0),
    };
    // SAFETY: the path is NUL terminated; both arrays are NULL terminated, and their owners live. The kernel checks each
    // pointer that it follows.
    unsafe { libc::syscall(libc::SYS_execveat, at, path, argv, env, flags) };
    last_errno()
}
