//! What stands in for namespaces: the features that tier U0 needs beside Landlock and seccomp.

use std::os::fd::AsRawFd;
use std::path::Path;

use super::{Feature, State};
use crate::host::ABI_REQUIRED;
use crate::reaper;
use crate::sys::{self, Errno, Forked};
use crate::tier::Tier;

const NEEDED_BY: &[Tier] = &[Tier::U0];

pub(super) fn features(landlock_abi: u32) -> Vec<Feature> {
    vec![scopes(landlock_abi), supervision()]
}

fn scopes(abi: u32) -> Feature {
    Feature {
        name: "landlock_scopes",
        needed_by: NEEDED_BY,
        gives: "signals and abstract sockets that stay inside without a namespace",
        state: if abi >= ABI_REQUIRED.unsigned_abs() {
            State::Present
        } else {
            State::Absent {
                why: format!("Landlock ABI 6 is needed, and this kernel has {abi}"),
                remedy: "boot Linux 6.12 or later".to_owned(),
            }
        },
    }
}

fn supervision() -> Feature {
    Feature {
        name: "supervision",
        needed_by: NEEDED_BY,
        gives: "a standing trace that ends the tree, and calls that the supervisor makes for it",
        state: match try_supervision() {
            Ok(()) => State::Present,
            Err((what, errno)) => State::Absent {
                why: format!("{what}: {}", std::io::Error::from(errno)),
                remedy: remedy(),
            },
        },
    }
}

fn remedy() -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    if scope.is_ok_and(|scope| matches!(scope.trim(), "2" | "3")) {
        "sysctl -w kernel.yama.ptrace_scope=1 (from 3 only after a reboot)".to_owned()
    } else {
        "allow ptrace, process_vm_readv, pidfd_getfd and seccomp in the container's profile"
            .to_owned()
    }
}

/// Does to a child what a supervisor does to a worker.
fn try_supervision() -> Result<(), (&'static str, Errno)> {
    if !sys::seccomp_notifies() {
        return Err(("seccomp user notification", Errno(libc::EOPNOTSUPP)));
    }
    let list = reaper::CHILDREN.to_str().unwrap_or_default();
    if !Path::new(list).exists() {
        return Err(("the list of children in /proc", Errno(libc::ENOENT)));
    }
    let failed = |errno: rustix::io::Errno| ("a pipe", Errno(errno.raw_os_error()));
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
    // SAFETY: the child makes two system calls and exits; it neither allocates nor returns.
    let forked = unsafe { sys::fork(0, 0) }.map_err(|errno| ("a process", errno))?;
    let (pid, pidfd) = match forked {
        Forked::Child => {
            // The other end is open here as well, so this is the kill that comes.
            sys::pause_ms(-1);
            sys::exit_now(0)
        }
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    let tried = supervise(pid, wait.as_raw_fd());
    drop(go);
    let ended = sys::signal(pidfd, libc::SIGKILL).and_then(|()| sys::reap(pidfd, true));
    sys::close(pidfd);
    tried.and(ended.map(drop).map_err(|errno| ("ending a process", errno)))
}

fn supervise(pid: i32, descriptor: i32) -> Result<(), (&'static str, Errno)> {
    sys::trace(pid, false).map_err(|errno| ("ptrace", errno))?;
    let word = 0u64;
    let at = std::ptr::from_ref(&word).addr();
    let mut copy = [0u8; 8];
    sys::read_memory(pid, u64::try_from(at).unwrap_or(0), &mut copy)
        .map_err(|errno| ("process_vm_readv", errno))?;
    let taken = sys::take_descriptor(pid, descriptor).map_err(|errno| ("pidfd_getfd", errno))?;
    sys::close(taken);
    Ok(())
}
