//! Permission events of fanotify(7), as far as opens for execution need them.

use std::ffi::{c_int, c_uint};
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};

use super::{Errno, Sys, close, done, last_errno, number};

/// Somebody opens a file for execution, and waits.
pub(crate) struct ExecOpen {
    pub(crate) file: OwnedFd,
    /// The task, in this pid namespace; 0 for one that is not in it.
    pub(crate) task: c_int,
}

const EVENT_BYTES: usize = size_of::<libc::fanotify_event_metadata>();

/// A group for permission events: without a bound on its queue, since a full one allows, and naming threads.
pub(crate) fn exec_opens() -> Sys<c_int> {
    let flags = libc::FAN_CLASS_CONTENT
        | libc::FAN_CLOEXEC
        | libc::FAN_NONBLOCK
        | libc::FAN_UNLIMITED_QUEUE
        | libc::FAN_UNLIMITED_MARKS
        | libc::FAN_REPORT_TID;
    let file_flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).unsigned_abs();
    // SAFETY: fanotify_init takes integers only.
    let group = number(unsafe { libc::fanotify_init(flags, file_flags) }.into())?;
    if group > 2 {
        return Ok(group);
    }
    // A worker keeps whatever has the number of a standard stream.
    // SAFETY: fcntl with these commands takes integers only.
    let above = number(unsafe { libc::fcntl(group, libc::F_DUPFD_CLOEXEC, 3) }.into());
    close(group);
    above
}

/// Asks the group about each open for execution on the mount of a descriptor.
pub(crate) fn watch_mount(group: c_int, mount: c_int) -> Sys<()> {
    let mut path = [0u8; 32];
    let text = format!("/proc/self/fd/{mount}");
    for (slot, byte) in path.iter_mut().zip(text.bytes().take(31)) {
        *slot = byte;
    }
    let flags: c_uint = libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT;
    let at = path.as_ptr().cast();
    // SAFETY: the path is NUL terminated: its last byte is never written.
    let marked =
        unsafe { libc::fanotify_mark(group, flags, libc::FAN_OPEN_EXEC_PERM, libc::AT_FDCWD, at) };
    done(marked.into())
}

/// Reads the events that are there and answers each: whether it may go on.
pub(crate) fn answer_exec_opens(
    group: c_int,
    buffer: &mut [u64],
    answer: impl Fn(&ExecOpen) -> bool,
) -> Sys<()> {
    let bytes = size_of_val(buffer);
    // SAFETY: buffer is live and writable for that many bytes.
    let read = unsafe { libc::read(group, buffer.as_mut_ptr().cast(), bytes) };
    let Ok(read) = usize::try_from(read) else {
        return Err(last_errno());
    };
    let mut at = 0usize;
    while at.wrapping_add(EVENT_BYTES) <= read {
        let start = buffer.as_ptr().cast::<u8>();
        // SAFETY: the kernel has filled in `read` bytes, in events that begin at multiples of 8.
        let event = unsafe {
            start
                .add(at)
                .cast::<libc::fanotify_event_metadata>()
                .read_unaligned()
        };
        if event.vers != libc::FANOTIFY_METADATA_VERSION {
            return Err(Errno(libc::EPROTO));
        }
        if event.fd >= 0 {
            // SAFETY: the kernel has made this descriptor for the reader alone.
            let file = unsafe { OwnedFd::from_raw_fd(event.fd) };
            let open = ExecOpen {
                file,
                task: event.pid,
            };
            respond(group, event.fd, answer(&open))?;
        }
        at = at.wrapping_add(
            usize::try_from(event.event_len)
                .unwrap_or(EVENT_BYTES)
                .max(EVENT_BYTES),
        );
    }
    Ok(())
}

fn respond(group: c_int, fd: c_int, allow: bool) -> Sys<()> {
    let response = libc::fanotify_response {
        fd,
        response: if allow {
            libc::FAN_ALLOW
        } else {
            libc::FAN_DENY
        },
    };
    let size = size_of::<libc::fanotify_response>();
    // SAFETY: response is live and of that size.
    let written = unsafe { libc::write(group, (&raw const response).cast(), size) };
    match done(written as libc::c_long) {
        // Whoever waited has been killed.
        Err(Errno(libc::ENOENT)) => Ok(()),
        answered => answered,
    }
}
