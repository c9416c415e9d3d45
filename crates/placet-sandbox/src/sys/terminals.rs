//! Terminals, sessions and process groups: what job control is made of.

use std::ffi::{c_int, c_long};

use super::{Errno, Sys, close, done, number};

/// The two ends of a new terminal, both close-on-exec.
#[derive(Clone, Copy)]
pub(crate) struct TerminalEnds {
    /// The end of whoever shows it and types.
    pub(crate) master: c_int,
    /// The end that programs have.
    pub(crate) slave: c_int,
}

/// Makes a terminal in the instance that is mounted at `/dev/pts`. It does not become anybody's
/// controlling terminal by that.
pub(crate) fn open_terminal() -> Sys<TerminalEnds> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the path is NUL terminated.
    let master = number(unsafe { libc::open(c"/dev/pts/ptmx".as_ptr(), flags) }.into())?;
    open_slave(master)
        .map(|slave| TerminalEnds { master, slave })
        .inspect_err(|_| close(master))
}

fn open_slave(master: c_int) -> Sys<c_int> {
    let unlocked: c_int = 0;
    // SAFETY: the request reads the one c_int that is handed over.
    done(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &raw const unlocked) }.into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes flags and gives a descriptor.
    number(unsafe { libc::ioctl(master, libc::TIOCGPTPEER, flags) }.into())
}

/// Begins a session, which has no controlling terminal yet.
pub(crate) fn new_session() -> Sys<()> {
    // SAFETY: setsid has no preconditions.
    done(c_long::from(unsafe { libc::setsid() }))
}

/// Makes a terminal the controlling one of the session that the caller leads.
pub(crate) fn control_terminal(slave: c_int) -> Sys<()> {
    // SAFETY: the request takes an integer.
    done(unsafe { libc::ioctl(slave, libc::TIOCSCTTY, 0 as c_int) }.into())
}

/// The process group that the terminal's keys are for.
pub(crate) fn foreground(slave: c_int) -> Sys<c_int> {
    let mut group: c_int = 0;
    // SAFETY: the request fills in the one c_int that is handed over.
    done(unsafe { libc::ioctl(slave, libc::TIOCGPGRP, &raw mut group) }.into())?;
    Ok(group)
}

/// From a session's background this takes SIGTTOU to be blocked.
pub(crate) fn set_foreground(slave: c_int, group: c_int) -> Sys<()> {
    // SAFETY: the request reads the one c_int that is handed over.
    done(unsafe { libc::ioctl(slave, libc::TIOCSPGRP, &raw const group) }.into())
}

/// The process group of a process; 0 is the caller.
pub(crate) fn group_of(pid: c_int) -> Sys<c_int> {
    // SAFETY: getpgid takes an integer.
    number(c_long::from(unsafe { libc::getpgid(pid) }))
}

/// Makes a process the leader of a group of its own; 0 is the caller.
pub(crate) fn lead_group(pid: c_int) -> Sys<()> {
    // SAFETY: setpgid takes integers.
    done(unsafe { libc::setpgid(pid, 0) }.into())
}

pub(crate) fn signal_group(group: c_int, signal: c_int) -> Sys<()> {
    // 0 and 1 would mean other processes than one group's.
    if group < 2 {
        return Err(Errno(libc::ESRCH));
    }
    // SAFETY: kill takes integers.
    done(unsafe { libc::kill(group.wrapping_neg(), signal) }.into())
}

/// Puts one descriptor in the place of another, which programs inherit.
pub(crate) fn put_in_place(fd: c_int, place: c_int) -> Sys<()> {
    // SAFETY: both are descriptors of the caller, which uses what stood in that place no more.
    done(unsafe { libc::dup2(fd, place) }.into())
}
