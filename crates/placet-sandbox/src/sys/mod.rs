//! Thin wrappers over the system calls the cell is built with.
//!
//! Everything here may run between clone and execve in a copy of a multi-threaded process: no
//! wrapper allocates, takes a lock or panics, and failures are bare errno values. It is not a
//! general binding: flags that never vary are fixed here. The supervisor's own calls go through
//! `rustix` where it has them.

mod audit;
mod bpf;
mod connect;
mod events;
mod fanotify;
mod files;
mod memory;
mod notify;
mod process;
mod restrict;
mod shared;
mod sockets;
mod terminals;
mod trace;

use std::ffi::{c_int, c_long};

pub(crate) use audit::*;
pub(crate) use bpf::*;
pub(crate) use connect::*;
pub(crate) use events::*;
pub(crate) use fanotify::*;
pub(crate) use files::*;
pub(crate) use memory::*;
pub(crate) use notify::*;
pub(crate) use process::*;
pub(crate) use restrict::*;
pub(crate) use shared::*;
pub(crate) use sockets::*;
pub(crate) use terminals::*;
pub(crate) use trace::*;

/// A failed system call's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

pub(crate) type Sys<T> = Result<T, Errno>;

pub(super) fn last_errno() -> Errno {
    // SAFETY: __errno_location returns the calling thread's valid errno slot.
    Errno(unsafe { *libc::__errno_location() })
}

pub(super) fn done(ret: c_long) -> Sys<()> {
    if ret < 0 { Err(last_errno()) } else { Ok(()) }
}

pub(super) fn number(ret: c_long) -> Sys<c_int> {
    // Descriptors and pids fit c_int by the kernel's own limits.
    c_int::try_from(ret).map_or(Err(Errno(libc::EOVERFLOW)), |value| {
        if value < 0 {
            Err(last_errno())
        } else {
            Ok(value)
        }
    })
}

pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}
