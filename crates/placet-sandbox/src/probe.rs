//! What this machine can enforce, found by trying.
//!
//! A kernel that has user namespaces may still refuse them by sysctl, AppArmor or a container's
//! filter, so a child really makes one and mounts in it.

mod host;
mod privileged;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::landlock::ABI_REQUIRED;
use crate::sys::{self, Errno, Tried};
use crate::tier::Tier;

/// One thing that a kernel may offer or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// A stable word for it.
    pub name: &'static str,
    /// The tiers that there cannot be without it; none for one that is used where it is there.
    pub needed_by: &'static [Tier],
    /// What it gives, in one sentence.
    pub gives: &'static str,
    /// Whether it is there, or why not.
    pub state: State,
}

/// Whether a feature is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was tried and works.
    Present,
    /// It does not.
    Absent {
        /// What was seen.
        why: String,
        /// A command to run as root, or what to change where no command does it.
        remedy: String,
    },
}

impl Feature {
    /// Whether it is there.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.state == State::Present
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// As uname(2) gives it.
    pub kernel_release: String,
    /// The Landlock ABI version, 0 without Landlock.
    pub landlock_abi: u32,
    /// Everything that was looked for, in the order of the tiers that need it.
    pub features: Vec<Feature>,
}

impl Capabilities {
    /// The highest tier that cells can be built with; `None` when there can be none.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        let reached = |tier: &Tier| self.is_offered(*tier) && self.missing(*tier).next().is_none();
        Tier::ALL.into_iter().rev().find(reached)
    }

    /// What stands in the way of a tier.
    pub fn missing(&self, tier: Tier) -> impl Iterator<Item = &Feature> {
        let needed = move |feature: &&Feature| feature.needed_by.contains(&tier);
        self.features
            .iter()
            .filter(needed)
            .filter(|feature| !feature.is_present())
    }

    /// Whether it was looked for what a tier alone needs.
    fn is_offered(&self, tier: Tier) -> bool {
        tier == Tier::U1 || self.features.iter().any(|one| one.needed_by == [tier])
    }
}

const ALL: &[Tier] = &Tier::ALL;
const STACK_BYTES: usize = 64 << 10;

/// Tries what cells need: costs about one process. What only tier U0 needs is left out where there
/// are user namespaces, and what no tier needs is left out.
#[must_use]
pub fn probe() -> Capabilities {
    look(false).0
}

/// What [`probe`] found for this user at most `age` ago, found anew where that is longer.
///
/// For whoever starts many cells. What is remembered gives nothing: a cell makes its namespaces and restrictions
/// itself, and one of a tier that is not there any more is refused when it is prepared.
#[must_use]
pub fn probe_lately(age: Duration) -> Capabilities {
    static LATELY: Mutex<Option<(u32, u64, Capabilities)>> = Mutex::new(None);
    let user = rustix::process::geteuid().as_raw();
    let now = sys::boot_time_ns();
    let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    // Whoever panicked with it has left it whole.
    let mut lately = LATELY.lock().unwrap_or_else(PoisonError::into_inner);
    match &*lately {
        Some((who, when, found)) if *who == user && now.saturating_sub(*when) <= age => {
            found.clone()
        }
        Some(_) | None => {
            let (found, tried) = look(false);
            *lately = Some((user, now, found.clone()));
            drop(lately);
            see_off(tried);
            found
        }
    }
}

/// Waits for the children of a trial beside whatever comes next.
fn see_off(tried: Vec<Tried>) {
    let thread = thread::Builder::new().name("placet-tried".to_owned());
    // Without a thread they are waited for here.
    drop(thread.stack_size(STACK_BYTES).spawn(move || drop(tried)));
}

/// As [`probe`], with everything that any tier needs.
#[must_use]
pub fn examine() -> Capabilities {
    look(true).0
}

fn look(everything: bool) -> (Capabilities, Vec<Tried>) {
    let landlock_abi = sys::landlock_abi().map_or(0, i32::unsigned_abs);
    let (namespaces, tried) = user_namespaces();
    let mut features = vec![landlock(landlock_abi), seccomp()];
    if everything || !namespaces.is_present() {
        features.extend(host::features(landlock_abi));
    }
    features.push(namespaces);
    features.extend(privileged::features(everything));
    let found = Capabilities {
        kernel_release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        landlock_abi,
        features,
    };
    (found, tried)
}

fn landlock(abi: u32) -> Feature {
    Feature {
        name: "landlock",
        needed_by: ALL,
        gives: "which files the tree may read, change and execute",
        state: if abi >= ABI_REQUIRED.unsigned_abs() {
            State::Present
        } else {
            State::Absent {
                why: format!("Landlock ABI 3 is needed, and this kernel has {abi} (0: none)"),
                remedy: "boot Linux 6.2 or later with landlock in its lsm= parameter".to_owned(),
            }
        },
    }
}

fn seccomp() -> Feature {
    Feature {
        name: "seccomp",
        needed_by: ALL,
        gives: "which system calls the tree may make",
        state: if sys::seccomp_kills_processes() {
            State::Present
        } else {
            State::Absent {
                why: "seccomp filters cannot kill a process".to_owned(),
                remedy: "boot a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
            }
        },
    }
}

fn user_namespaces() -> (Feature, Vec<Tried>) {
    let (done, first) = sys::try_in(NAMESPACES, new_proc);
    let mut tried = Vec::from_iter(first);
    let (why, remedy) = match done {
        Ok(()) => (None, String::new()),
        Err(errno) => {
            let why = std::io::Error::from(errno).to_string();
            let (done, second) = sys::try_in(NAMESPACES, private_mounts);
            tried.extend(second);
            match done {
                Ok(()) => (Some(format!("no new /proc: {why}")), REMEDY_PROC.to_owned()),
                Err(_) => (Some(why), namespace_remedy(errno)),
            }
        }
    };
    let feature = Feature {
        name: "user_namespaces",
        needed_by: &[Tier::U1, Tier::P],
        gives: "file tree, processes, network and IPC of its own",
        state: why.map_or(State::Present, |why| State::Absent { why, remedy }),
    };
    (feature, tried)
}

/// What is tried in a child. The other namespaces of a cell need the same capability and are left out: a network
/// namespace alone costs the kernel half a millisecond. A limit on their number shows when the cell is built.
const NAMESPACES: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;

/// To cut mount propagation needs a capability: AppArmor allows the clone and takes the capabilities away.
fn private_mounts() -> Result<(), Errno> {
    sys::mount(c"", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")
}

/// A user namespace gets no /proc that shows more than the one that is there, of which a container may have covered
/// parts.
fn new_proc() -> Result<(), Errno> {
    private_mounts()?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
    sys::mount(c"proc", c"/proc", flags, c"")
}

const REMEDY_PROC: &str = "give the container an uncovered /proc (docker run --security-opt systempaths=unconfined, \
                           podman run --security-opt unmask=ALL, procMount: Unmasked in Kubernetes)";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_in_a_child_is_told_here_and_happens_there_only() {
        let (failed, _) = sys::try_in(NAMESPACES, || Err(Errno(libc::EXDEV)));
        assert_eq!(failed, Err(Errno(libc::EXDEV)));
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let (covered, _) = sys::try_in(NAMESPACES, || {
            sys::mount(c"", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
            sys::mount(c"tmpfs", c"/usr", 0, c"size=64k")
        });
        assert_eq!(covered, Ok(()));
        assert_eq!(mounts(), before);
        assert!(Path::new("/usr/bin").exists());
    }

    #[test]
    fn what_was_found_lately_is_what_is_found() {
        assert_eq!(probe_lately(Duration::from_secs(60)), probe());
        assert_eq!(probe_lately(Duration::ZERO), probe());
    }
}
