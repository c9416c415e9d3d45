//! What a test may leave behind: nothing. Looked for before and after each test of every suite.
//!
//! A suite runs its tests one after the other, and is the reaper of whatever they orphan. So what is there
//! afterwards and was not before is the test's, whatever else runs on the machine: processes by their
//! descent, control groups by the process that made them, threads and descriptors of this process by what they
//! are. A namespace lives in a process, a descriptor or a mount, and those are all looked at.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use placet_sandbox::{Cell, Tier};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{acting_spec, tier};

/// What was there before a test.
pub(crate) struct Leftovers {
    before: BTreeSet<String>,
}

/// How long what was ended may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Leftovers {
    /// What is there now.
    pub(crate) fn look() -> Self {
        // Orphans come to this process and not to the machine's first one.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        Self { before: all() }
    }

    /// What is there now and was not before.
    pub(crate) fn now(&self) -> Vec<String> {
        all().difference(&self.before).cloned().collect()
    }

    /// What is there now and was not before, once there was time to go.
    pub(crate) fn left(&self) -> Vec<String> {
        let begin = Instant::now();
        loop {
            sweep();
            let left = self.now();
            if left.is_empty() || begin.elapsed() > PATIENCE {
                return left;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The next cell removes what a killed supervisor has left, which some tests have.
fn sweep() {
    if tier() == Tier::U0 {
        drop(Cell::prepare(acting_spec("exit", &["0"])));
    }
}

fn all() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(processes());
    all.extend(mounts());
    all.extend(groups());
    all.extend(directories());
    all.extend(threads());
    all.extend(descriptors());
    all
}

/// All that descends from this process and is not just waiting to be reaped.
fn processes() -> Vec<String> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let parent = pid.and_then(|pid: i32| Some((pid, stat(pid)?)));
        parents.extend(parent.map(|(pid, (state, parent))| (pid, state, parent)));
    }
    let own = i32::try_from(std::process::id()).unwrap();
    let (mut found, mut makers) = (Vec::new(), vec![own]);
    while let Some(maker) = makers.pop() {
        for (pid, state, parent) in &parents {
            if *parent != maker {
                continue;
            }
            makers.push(*pid);
            if *state != 'Z' {
                found.push(format!("process {pid} {}", line_of(*pid)));
            } else if maker == own {
                // Between two tests nobody else waits for it.
                let pid = Pid::from_raw(*pid).unwrap();
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
            }
        }
    }
    found
}

/// State and parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

fn line_of(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().map(|line| format!("mount {line}")).collect()
}

/// The groups of this process's cells, in every hierarchy.
fn groups() -> Vec<String> {
    let prefix = format!("{}-", std::process::id());
    let mut found = Vec::new();
    for place in group_places() {
        for group in fs::read_dir(place).into_iter().flatten().flatten() {
            if group.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(format!("group {}", group.path().display()));
            }
        }
    }
    found
}

/// The `placet` directories at this process's groups and above them.
fn group_places() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut places = Vec::new();
    for line in table.lines().filter(|line| line.contains(" - cgroup")) {
        let top = Path::new(line.split(' ').nth(4).unwrap());
        for own in fs::read_to_string("/proc/self/cgroup").unwrap().lines() {
            let path = own.splitn(3, ':').nth(2).unwrap_or("/");
            let group = top.join(path.trim_start_matches('/'));
            let ancestors = group.ancestors().take_while(|group| group.starts_with(top));
            places.extend(ancestors.map(|group| group.join("placet")));
        }
    }
    places.sort();
    places.dedup();
    places
}

/// What stands for /tmp where there are no mounts, and nobody holds any more.
fn directories() -> Vec<String> {
    let own = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir("/tmp").unwrap().flatten();
    let abandoned = entries.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("placet-u0-")
            && entry.metadata().is_ok_and(|data| data.uid() == own)
            && fs::File::open(entry.path()).is_ok_and(|dir| dir.try_lock().is_ok())
    });
    abandoned
        .map(|entry| format!("directory {}", entry.path().display()))
        .collect()
}

/// Those that serve one cell. The launcher serves all of them.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let number = task.file_name().to_string_lossy().into_owned();
        let serves_one = name.starts_with("placet-") && !name.starts_with("placet-launch");
        serves_one.then(|| format!("thread {number} {}", name.trim()))
    });
    names.collect()
}

/// Descriptors that hold a process, a namespace, a group or a cell's directory; each kind counted.
fn descriptors() -> Vec<String> {
    const KINDS: &[&str] = &[
        "pidfd",
        "seccomp",
        "fanotify",
        "bpf",
        "landlock",
        "cgroup",
        "placet-u0-",
        "mnt:[",
        "net:[",
        "pid:[",
        "user:[",
        "ipc:[",
        "uts:[",
    ];
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links: Vec<String> = open
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
        .collect();
    let mut found = Vec::new();
    for kind in KINDS {
        let count = links.iter().filter(|link| link.contains(kind)).count();
        found.extend((0..count).map(|number| format!("descriptor {kind} {number}")));
    }
    found
}
