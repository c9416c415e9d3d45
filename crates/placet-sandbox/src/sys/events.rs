//! What pid 1 waits on: children, the lease's timer, and the clock of both.

use std::ffi::c_int;

use super::{Errno, Sys, done, number};

/// A descriptor that is readable while a child has changed state; SIGCHLD must be blocked.
pub(crate) fn child_signal_fd() -> Sys<c_int> {
    let mask: u64 = 1 << (libc::SIGCHLD - 1);
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the kernel's sigset is 8 bytes, as the third argument says.
    number(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1 as c_int,
            &raw const mask,
            8usize,
            flags,
        )
    })
}

/// Empties a non-blocking event descriptor.
pub(crate) fn drain(fd: c_int) {
    let mut buffer = [0u8; 128];
    // SAFETY: buffer is live for its length.
    while unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

pub(crate) fn lease_timer() -> Sys<c_int> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: timerfd_create takes integers only.
    number(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) }.into())
}

/// Arms the timer at an absolute CLOCK_BOOTTIME instant; one in the past fires at once.
pub(crate) fn arm(timer: c_int, deadline_ns: u64) -> Sys<()> {
    let nanos = i64::try_from(deadline_ns.max(1)).unwrap_or(i64::MAX);
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let at = libc::timespec {
        tv_sec: nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    };
    let spec = libc::itimerspec {
        it_interval: zero,
        it_value: at,
    };
    let none = std::ptr::null_mut();
    // SAFETY: spec is a live itimerspec; no old value is asked for.
    done(
        unsafe { libc::timerfd_settime(timer, libc::TFD_TIMER_ABSTIME, &raw const spec, none) }
            .into(),
    )
}

/// CLOCK_BOOTTIME in nanoseconds: it also runs while the machine sleeps, so a lease does not
/// outlive a suspended supervisor.
pub(crate) fn boot_time_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: now is a live timespec. CLOCK_BOOTTIME exists on every supported kernel.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits for any of three descriptors; gives which are ready or hung up.
pub(crate) fn poll3(fds: [c_int; 3]) -> Sys<[bool; 3]> {
    let mut polled = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: polled is a live array of three pollfd.
    match done(unsafe { libc::poll(polled.as_mut_ptr(), 3, -1) }.into()) {
        Ok(()) => Ok(polled.map(|entry| entry.revents != 0)),
        Err(Errno(libc::EINTR)) => Ok([false; 3]),
        Err(errno) => Err(errno),
    }
}

/// Waits a moment.
pub(crate) fn pause_ms(millis: c_int) {
    // SAFETY: no descriptors are polled.
    unsafe { libc::poll(std::ptr::null_mut(), 0, millis) };
}

/// CLOCK_REALTIME in nanoseconds since the epoch: what files are stamped with.
pub(crate) fn real_time_ns() -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: now is a live timespec. CLOCK_REALTIME always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}
