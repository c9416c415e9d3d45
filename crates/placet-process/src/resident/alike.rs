//! What a process has that its children get, and that no cell says: a gateway works only for callers that have the same.
//!
//! A command that runs below its caller has the caller's limits, masks, groups and namespaces. Below another process it would have that
//! one's. Nothing of it is taken over, since what was lowered cannot always be raised again: it is the same, or the caller runs by itself.
//! Compared as text, so that what this code does not know counts as well.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use placet_sandbox::{kernel_file, kernel_text};
use rustix::process::Pid;

/// Of the status, the lines that are inherited; the others count memory, threads and switches. Which signals are ignored is no
/// matter of the command, which begins with none: the caller itself passes none on that it ignores.
const INHERITED: [&str; 20] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Speculation_Store_Bypass",
    "SpeculationIndirectBranch",
    "SigBlk",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "THP_enabled",
    "Cpus_allowed",
    "Mems_allowed",
    "untag_mask",
    "x86_Thread_features",
];

/// Files whose whole text is inherited. One that this kernel does not have, no process has.
const WHOLE: [&str; 7] = [
    "attr/current",
    "cgroup",
    "coredump_filter",
    "limits",
    "loginuid",
    "oom_score_adj",
    "sessionid",
];

/// The same, of files that a process may not read of another where Yama stands: it says them itself.
const OWN_ONLY: [&str; 2] = ["personality", "timerslack_ns"];

/// Of the numbers in `stat` behind the name: niceness, and the policy and priority of the scheduler.
const SCHEDULED: [usize; 3] = [16, 37, 38];

/// A process as its children would find themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Each part by the name that it is declined with.
    parts: Vec<(&'static str, Vec<u8>)>,
}

impl Alike {
    /// This process.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn own() -> io::Result<Self> {
        Self::of(rustix::process::getpid())
    }

    /// A process, as far as this one may look at it.
    ///
    /// # Errors
    ///
    /// What the operating system says; that nothing may be seen is an error too.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let raw = pid.as_raw_nonzero().get();
        let process = PathBuf::from(format!("/proc/{raw}"));
        let mut parts = Vec::new();
        let status = kernel_text(process.join("status"))?;
        for line in status.lines() {
            let name = line.split(':').next().unwrap_or_default();
            if let Some(known) = INHERITED.iter().find(|known| **known == name) {
                parts.push((*known, line.as_bytes().to_vec()));
            }
        }
        for name in WHOLE {
            let text = match kernel_file(process.join(name)) {
                // Not of this kernel.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                // A kernel without a security module has the file and nothing to say in it.
                Err(error) if name == "attr/current" && is_invalid(&error) => Vec::new(),
                other => other?,
            };
            parts.push((name, text));
        }
        let stat = kernel_text(process.join("stat"))?;
        parts.push(("scheduling", scheduled(&stat)));
        let io_priority = placet_sandbox::io_priority(raw)?;
        parts.push(("ionice", io_priority.to_string().into_bytes()));
        parts.push(("namespaces", namespaces(&process.join("ns"))?));
        parts.push(("root", inode(&process.join("root"))?));
        parts.push(("program", inode(&process.join("exe"))?));
        Ok(Self { parts })
    }

    /// The first part in which another process stands otherwise.
    #[must_use]
    pub fn differs_in(&self, other: &Self) -> Option<&'static str> {
        let differing = self.parts.iter().zip(&other.parts).find(|(a, b)| a != b);
        match differing {
            Some(((name, _), _)) => Some(name),
            None if self.parts.len() != other.parts.len() => Some("status"),
            None => None,
        }
    }
}

/// What only the process itself may read.
pub(super) fn own_only() -> BTreeMap<String, String> {
    let text = |name: &str| kernel_text(format!("/proc/self/{name}"));
    let read = OWN_ONLY.map(|name| (name.to_owned(), text(name).unwrap_or_default()));
    read.into_iter().collect()
}

fn is_invalid(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// The name of a process, in parentheses, may hold anything.
fn scheduled(stat: &str) -> Vec<u8> {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let wanted = SCHEDULED.map(|at| fields.get(at).copied().unwrap_or_default());
    wanted.join(" ").into_bytes()
}

fn namespaces(dir: &Path) -> io::Result<Vec<u8>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        links.push(fs::read_link(path)?.into_os_string().into_encoded_bytes());
    }
    links.sort();
    Ok(links.join(&b' '))
}

/// Which file it is, and in which state.
fn inode(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    let text = format!("{} {} {}", found.dev(), found.ino(), found.ctime_nsec());
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_like_itself_and_each_part_tells_it_from_another() {
        let own = Alike::own().unwrap();
        assert_eq!(own.differs_in(&Alike::own().unwrap()), None);
        for at in 0..own.parts.len() {
            let mut other = own.clone();
            other.parts[at].1.push(b'x');
            assert_eq!(own.differs_in(&other), Some(own.parts[at].0));
        }
        let mut other = own.clone();
        other.parts.pop();
        assert!(own.differs_in(&other).is_some());
        for name in [
            "Umask",
            "Uid",
            "limits",
            "cgroup",
            "namespaces",
            "root",
            "program",
        ] {
            let part = own.parts.iter().find(|(known, _)| *known == name);
            assert!(part.is_some_and(|(_, text)| !text.is_empty()), "{name}");
        }
    }

    #[test]
    fn scheduling_is_found_behind_any_name() {
        let fields: Vec<String> = (0..45).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b (c) {}", fields.join(" "));
        assert_eq!(scheduled(&stat), b"16 37 38");
        // Niceness, real-time priority and policy, as proc(5) counts them from the state on.
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(scheduled(&own).split(|b| *b == b' ').count(), 3);
    }
}
