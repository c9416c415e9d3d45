//! What this machine can enforce, found by trying.
//!
//! A kernel that has user namespaces may still refuse them by sysctl, AppArmor or a container's
//! filter, so a child really makes one and mounts in it.

use std::path::Path;

use crate::landlock::ABI_REQUIRED;
use crate::sys::{self, Errno, Forked};

/// The achieved tier, and what stands in the way of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// As uname(2) gives it.
    pub kernel_release: String,
    /// The Landlock ABI version, 0 without Landlock.
    pub landlock_abi: u32,
    /// Whether seccomp filters can kill a process.
    pub seccomp: bool,
    /// Whether this user may create the namespaces of a cell and mount in them.
    pub user_namespaces: bool,
    /// What is missing for a cell; empty when there can be one.
    pub missing: Vec<Missing>,
}

/// One obstacle and what would remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub what: &'static str,
    /// A command to run as root, or what to change where no command does it.
    pub remedy: String,
}

impl Capabilities {
    /// `U1` when cells can be built, else `none`: there is no silently weaker tier.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        if self.missing.is_empty() {
            "U1"
        } else {
            "none"
        }
    }
}

/// Tries what a cell needs. Costs about one process.
#[must_use]
pub fn probe() -> Capabilities {
    let landlock_abi = sys::landlock_abi().map_or(0, i32::unsigned_abs);
    let seccomp = sys::seccomp_kills_processes();
    let namespaces = try_namespaces();
    let mut missing = Vec::new();
    if landlock_abi < ABI_REQUIRED.unsigned_abs() {
        missing.push(Missing {
            what: "Landlock ABI 3",
            remedy: "boot Linux 6.2 or later with landlock in its lsm= parameter".to_owned(),
        });
    }
    if !seccomp {
        missing.push(Missing {
            what: "seccomp filters",
            remedy: "boot a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
        });
    }
    if let Err(errno) = namespaces {
        missing.push(Missing {
            what: "user namespaces",
            remedy: namespace_remedy(errno),
        });
    }
    Capabilities {
        kernel_release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        landlock_abi,
        seccomp,
        user_namespaces: namespaces.is_ok(),
        missing,
    }
}

/// A child with a user, mount and pid namespace that cuts mount propagation, which needs a
/// capability: AppArmor allows the clone and takes the capabilities away.
///
/// The other namespaces of a cell need the same capability and are left out: a network namespace
/// alone costs the kernel half a millisecond. A limit on their number shows when the cell is built.
fn try_namespaces() -> Result<(), Errno> {
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    // SAFETY: the child makes one system call and exits; it neither allocates nor returns.
    match unsafe { sys::fork(u64::from(flags.unsigned_abs()), 0) }? {
        Forked::Child => {
            let mounted = sys::mount(c"", c"/", libc::MS_REC | libc::MS_PRIVATE, c"");
            sys::exit_now(mounted.map_or_else(|errno| errno.0, |()| 0))
        }
        Forked::Parent { pidfd, .. } => {
            let reaped = sys::reap(pidfd, true);
            sys::close(pidfd);
            match reaped? {
                Some(reaped) if reaped.status == 0 => Ok(()),
                Some(reaped) => Err(Errno(reaped.status)),
                None => Err(Errno(libc::ECHILD)),
            }
        }
    }
}

fn namespace_remedy(errno: Errno) -> String {
    let is = |path: &str, value: &str| {
        std::fs::read_to_string(Path::new("/proc/sys").join(path))
            .is_ok_and(|text| text.trim() == value)
    };
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
    } else if is("kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1".to_owned()
    } else if is("user/max_user_namespaces", "0") {
        "sysctl -w user.max_user_namespaces=65536".to_owned()
    } else {
        let reason = std::io::Error::from(errno);
        format!("allow clone with CLONE_NEWUSER and mount in the container's profile ({reason})")
    }
}
