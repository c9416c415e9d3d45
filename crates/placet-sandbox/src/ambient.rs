//! What a new process has of the supervisor besides its cell: the part of a cell that no plan says.
//!
//! A cell that waits was cloned some time before its program is known. Whatever a clone would be like now has to be as
//! it was then; and since its mounts are copies, the host's mounts must be those that were copied. The kernel tells of any change to them
//! since the table was opened; the rest is compared as text, so that what this code does not know counts as well.

use std::fs::File;
use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys;
use crate::text::{kernel_file, kernel_text};

/// The supervisor as the kernel describes it.
pub(crate) struct Ambient {
    /// The mount table, opened and never read: it is in a state of error once anything was mounted, unmounted or set anew.
    mounts: File,
    inherited: Inherited,
}

/// As text, and not what is counted in it.
#[derive(Clone, PartialEq, Eq)]
struct Inherited {
    groups: Vec<u8>,
    limits: Vec<u8>,
    oom: Vec<u8>,
    /// Of the status, the lines that a clone inherits.
    status: Vec<String>,
    niceness: i32,
}

/// Ids, masks and sets: the others count memory, threads and switches.
const INHERITED: [&str; 14] = [
    "Umask:",
    "Uid:",
    "Gid:",
    "Groups:",
    "SigIgn:",
    "CapInh:",
    "CapPrm:",
    "CapEff:",
    "CapBnd:",
    "CapAmb:",
    "NoNewPrivs:",
    "Seccomp:",
    "Cpus_allowed:",
    "Mems_allowed:",
];

/// The priority of a process in the queues of disks, which its children get: class and level, as ioprio_get(2) packs them.
///
/// # Errors
///
/// When there is no such process.
pub fn io_priority(pid: i32) -> io::Result<i32> {
    Ok(sys::io_priority(pid)?)
}

/// From here on no program that this process executes gets any of its descriptors but the standard streams: what it was started with
/// itself, too.
///
/// # Errors
///
/// What the kernel says.
pub fn keep_descriptors() -> io::Result<()> {
    Ok(sys::keep_descriptors()?)
}

impl Ambient {
    pub(crate) fn now() -> io::Result<Self> {
        Ok(Self {
            mounts: File::open("/proc/self/mountinfo")?,
            inherited: Inherited::now()?,
        })
    }

    /// Whether all is as it was.
    pub(crate) fn is_still(&self) -> bool {
        let mut changed = [PollFd::new(&self.mounts, PollFlags::PRI)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut changed, Some(&at_once)).is_ok_and(|changed| changed == 0)
            && Inherited::now().is_ok_and(|now| now == self.inherited)
    }
}

impl Inherited {
    fn now() -> io::Result<Self> {
        let own = |name: &str| kernel_file(format!("/proc/self/{name}"));
        let status = kernel_text("/proc/self/status")?;
        let inherited = |line: &&str| INHERITED.iter().any(|name| line.starts_with(name));
        Ok(Self {
            groups: own("cgroup")?,
            limits: own("limits")?,
            oom: own("oom_score_adj")?,
            status: status
                .lines()
                .filter(inherited)
                .map(str::to_owned)
                .collect(),
            niceness: rustix::process::getpriority_process(None)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inherited_is_compared() {
        let before = Ambient::now().unwrap();
        assert!(before.is_still());
        assert_eq!(before.inherited.status.len(), INHERITED.len());
        assert!(!before.inherited.limits.is_empty());
        let other = Ambient {
            inherited: Inherited {
                niceness: before.inherited.niceness + 1,
                ..before.inherited.clone()
            },
            ..before
        };
        assert!(!other.is_still());
    }
}
