//! The supervisor's side of seccomp user notification: hears a trapped call and answers it.

use std::ffi::{c_int, c_uint};

use super::{Errno, Sys, done, number};

/// A trapped call. Its thread waits in the kernel until it is answered, or a signal makes it call
/// again under another number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trapped {
    pub(crate) id: u64,
    /// The thread, in the supervisor's pid namespace.
    pub(crate) thread: c_int,
    /// Its number in the system call table.
    pub(crate) call: c_int,
    pub(crate) args: [u64; 6],
}

/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: the answering thread and the caller take turns.
const SYNC_WAKE_UP: u64 = 1;
const PIDFD_THREAD: c_uint = libc::O_EXCL.unsigned_abs();

/// Installs a filter that has trapping rules, and gives the listener.
pub(crate) fn install_trapping_filter(filter: &[libc::sock_filter]) -> Sys<c_int> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno(libc::E2BIG))?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: program points to len live instructions, which the kernel only reads.
    number(unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) })
}

/// Asks for the faster way to wake each other, which kernels before 6.6 do not have.
pub(crate) fn take_turns(listener: c_int) {
    // SAFETY: this request takes its argument by value.
    unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
}

/// The next trapped call; `None` when it is gone already. Blocks where none waits.
pub(crate) fn next_trapped(listener: c_int) -> Sys<Option<Trapped>> {
    // SAFETY: an all-zero seccomp_notif is a valid value, and the one that the kernel asks for.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: call is a live, writable seccomp_notif.
    let received = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    match done(received.into()) {
        Err(Errno(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(errno) => Err(errno),
        Ok(()) => Ok(c_int::try_from(call.pid).ok().map(|thread| Trapped {
            id: call.id,
            thread,
            call: call.data.nr,
            args: call.data.args,
        })),
    }
}

/// Whether the call still waits: if so, what was read about its thread was about no other.
pub(crate) fn still_waits(listener: c_int, id: u64) -> bool {
    // SAFETY: id is a live word, which the kernel reads.
    let valid = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
    valid == 0
}

/// Makes the call return 0, or fail with this error number.
pub(crate) fn answer(listener: c_int, id: u64, errno: c_int) -> Sys<()> {
    let answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: errno.wrapping_neg(),
        flags: 0,
    };
    // SAFETY: answer is a live seccomp_notif_resp, which the kernel reads.
    done(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) }.into())
}

/// Puts a descriptor in the place of one of the caller's, at once as dup2(2) does.
pub(crate) fn replace_descriptor(
    listener: c_int,
    id: u64,
    source: c_int,
    target: u32,
    close_on_exec: bool,
) -> Sys<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    let put = libc::seccomp_notif_addfd {
        id,
        flags: 1, // SECCOMP_ADDFD_FLAG_SETFD
        srcfd: source.unsigned_abs(),
        newfd: target,
        newfd_flags: flags.unsigned_abs(),
    };
    // SAFETY: put is a live seccomp_notif_addfd, which the kernel reads.
    number(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const put) }.into())
        .map(drop)
}

/// Takes a copy of a descriptor of another thread.
pub(crate) fn take_descriptor(thread: c_int, descriptor: c_int) -> Sys<c_int> {
    let pidfd = open_thread(thread)?;
    let none: c_uint = 0;
    // SAFETY: pidfd_getfd takes integers only.
    let taken = number(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, descriptor, none) });
    super::close(pidfd);
    taken
}

/// A thread has a descriptor table of its own if it wants one. Kernels before 6.9 open only
/// processes.
fn open_thread(thread: c_int) -> Sys<c_int> {
    // SAFETY: pidfd_open takes integers only.
    let open =
        |flags: c_uint| number(unsafe { libc::syscall(libc::SYS_pidfd_open, thread, flags) });
    match open(PIDFD_THREAD) {
        Err(Errno(libc::EINVAL)) => open(0),
        opened => opened,
    }
}
