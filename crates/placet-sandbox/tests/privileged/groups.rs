//! The group of cgroup v2 that each cell has: who is in it, how it ends, who removes it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use placet_sandbox::{Cell, CellSpec, EndedBy, SandboxError, State, Tier, probe};

use crate::support::{ACT, Act, Test, acting_spec, command, is_root, own_executable, scratch};
use crate::{SUCCESS, eventually, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_cell_is_born_in_a_group_of_its_own",
        a_cell_is_born_in_a_group,
    ),
    ("the_probe_finds_what_root_has", the_probe_finds),
    (
        "whoever_joined_a_cells_group_ends_with_it",
        whoever_joined_ends,
    ),
    ("no_group_is_left_by_any_end_or_failure", no_group_is_left),
    (
        "what_a_killed_supervisor_left_is_ended_and_removed",
        what_a_killed_supervisor_left,
    ),
    (
        "a_delegated_group_is_used_without_privileges",
        a_delegated_group,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("sleep", |_| {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }),
    ("exit", |a| a[0].parse().unwrap()),
    ("supervise", |_| {
        let cell = start(sleeping());
        println!("{} {}", cell.pid(), group_of(cell.pid()).display());
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }),
    // As a user whose group is delegated: the cell is born below it and ends by it.
    ("delegated", |_| {
        let own = group_of(std::process::id());
        let mut cell = start(sleeping());
        let group = group_of(cell.pid());
        assert!(group.starts_with(own.join("placet")), "{group:?}");
        assert_eq!(cell.terminate().unwrap().ended_by, EndedBy::Terminated);
        drop(cell);
        i32::from(group.exists())
    }),
];

fn sleeping() -> CellSpec {
    acting_spec("sleep", &[])
}

/// The directory of a process's group of version 2.
pub(crate) fn group_of(pid: u32) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let at = fields.next()?;
        (fields.next()? == "cgroup2").then(|| at.to_owned())
    });
    Path::new(&mount.unwrap()).join(path.unwrap())
}

/// Another process of this executable, in that group.
pub(crate) fn joined(group: &Path, act: &str) -> Child {
    let mut process = command(&own_executable());
    let process = process.args([ACT, act]).stdout(Stdio::null()).spawn();
    let process = process.unwrap();
    fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
    process
}

fn has_own_group(pid: u32) -> Option<PathBuf> {
    let (group, ours) = (group_of(pid), group_of(std::process::id()));
    assert_eq!(group != ours, is_root(), "{group:?}");
    is_root().then_some(group)
}

fn a_cell_is_born_in_a_group() {
    let waiting = Cell::prepare(sleeping()).unwrap().spawn().unwrap();
    let Some(group) = has_own_group(waiting.pid()) else {
        return;
    };
    let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
    let inside = read("cgroup.procs");
    assert_eq!(inside.lines().count(), 2, "pid 1 and the worker");
    assert!(inside.lines().any(|pid| pid == waiting.pid().to_string()));
    assert!(read("cgroup.events").contains("populated 1"));
    let mut cell = waiting.release().unwrap();
    assert_eq!(cell.terminate().unwrap().ended_by, EndedBy::Terminated);
    // Nobody is in it any more; the directory is there for as long as somebody has the cell, at most.
    let left = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    assert_eq!(left, "");
    drop(cell);
    assert!(!group.exists());
}

fn the_probe_finds() {
    let found = probe();
    let present: Vec<&str> = found
        .features
        .iter()
        .filter(|feature| feature.needed_by == [Tier::P] && feature.is_present())
        .map(|feature| feature.name)
        .collect();
    if is_root() {
        let all = [
            "control_group",
            "network_backstop",
            "tree_bounds",
            "memfd_noexec",
            "second_exec_gate",
        ];
        assert_eq!((found.tier(), &present[..]), (Some(Tier::P), &all[..]));
        return;
    }
    assert_eq!((found.tier(), &present[..]), (Some(Tier::U1), &[][..]));
    for missing in found.missing(Tier::P) {
        let told = match &missing.state {
            State::Absent { why, remedy } => {
                !why.is_empty() && remedy.starts_with("run placet as root")
            }
            State::Present => false,
        };
        assert!(told, "{missing:?}");
    }
}

fn whoever_joined_ends() {
    if !is_root() {
        return drop(has_own_group(start(sleeping()).pid()));
    }
    // Ended by the supervisor, and by the worker's own end.
    let mut cell = start(sleeping());
    let group = group_of(cell.pid());
    let mut stranger = joined(&group, "sleep");
    assert_eq!(cell.terminate().unwrap().ended_by, EndedBy::Terminated);
    // Gone by the time that the end is known.
    assert!(!stranger.try_wait().unwrap().unwrap().success());
    drop(cell);
    assert!(!group.exists());

    let mut cell = start(sleeping());
    let group = group_of(cell.pid());
    let mut stranger = joined(&group, "sleep");
    cell.signal(libc::SIGTERM).unwrap();
    assert_eq!(cell.wait().unwrap().ended_by, EndedBy::Worker);
    assert!(!stranger.try_wait().unwrap().unwrap().success());
    drop(cell);
    assert!(!group.exists());
}

/// How many groups this process has.
fn groups_now() -> usize {
    let mut place = group_of(std::process::id());
    place.push("placet");
    let prefix = format!("{}-", std::process::id());
    let Ok(all) = fs::read_dir(place) else {
        return 0;
    };
    let names = all.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_str().unwrap().starts_with(&prefix))
        .count()
}

fn no_group_is_left() {
    let mut cell = start(acting_spec("exit", &["0"]));
    assert_eq!(cell.wait().unwrap().status, SUCCESS);
    drop(cell);
    assert_eq!(groups_now(), 0, "a normal end");

    let mut spec = sleeping();
    spec.lease = Duration::from_millis(200);
    assert_eq!(start(spec).wait().unwrap().ended_by, EndedBy::Lease);
    assert_eq!(groups_now(), 0, "the end of the lease");

    drop(start(sleeping()));
    drop(Cell::prepare(sleeping()).unwrap().spawn().unwrap());
    assert_eq!(groups_now(), 0, "dropped");

    // Setup fails halfway: a path of the scope is gone by then.
    let dir = scratch();
    let mut spec = sleeping();
    spec.paths.read.push(dir.path().to_path_buf());
    let prepared = Cell::prepare(spec).unwrap();
    drop(dir);
    let error = prepared.spawn().unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error}");
    assert_eq!(groups_now(), 0, "a failed setup");
}

fn what_a_killed_supervisor_left() {
    if !is_root() {
        return drop(has_own_group(start(sleeping()).pid()));
    }
    let mut supervisor = command(&own_executable())
        .args([ACT, "supervise"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = crate::first_line(supervisor.stdout.take().unwrap());
    let (pid1, group) = line.trim_end().split_once(' ').unwrap();
    let group = PathBuf::from(group);
    // One that nothing but the group ties to the cell.
    let mut stranger = joined(&group, "sleep");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let process = format!("/proc/{pid1}");
    let orphan = rustix::process::Pid::from_raw(pid1.parse().unwrap());
    eventually("the end of the tree", || {
        // The suite is the reaper of what its tests orphan.
        rustix::process::waitpid(orphan, rustix::process::WaitOptions::NOHANG).ok();
        !fs::exists(&process).unwrap()
    });
    // By this cell's start, or by that of any other suite beside this one.
    drop(start(sleeping()));
    assert!(!stranger.wait().unwrap().success());
    eventually("the removal", || {
        drop(start(sleeping()));
        !group.exists()
    });
}

/// An id that owns nothing here.
const USER: u32 = 54_322;

fn a_delegated_group() {
    if !is_root() {
        // Only root delegates; what the user then does is the act.
        return drop(has_own_group(start(sleeping()).pid()));
    }
    let dir = scratch();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("suite");
    fs::copy(own_executable(), &copy).unwrap();
    let name = format!("placet-delegated-{}", std::process::id());
    let group = group_of(std::process::id()).join(name);
    fs::create_dir(&group).unwrap();
    chown(&group, Some(USER), Some(USER)).unwrap();
    for file in ["cgroup.procs", "cgroup.subtree_control"] {
        chown(group.join(file), Some(USER), Some(USER)).unwrap();
    }
    let mut user = command(Path::new("/bin/sh"));
    let script = "echo $$ > \"$1/cgroup.procs\" && exec setpriv --reuid=54322 --regid=54322 \
                  --clear-groups \"$2\" --act delegated";
    let ended = user
        .arg0("sh")
        .args(["-c", script, "sh"])
        .args([&group, &copy])
        .current_dir("/")
        .status()
        .unwrap();
    let left: Vec<_> = fs::read_dir(group.join("placet"))
        .map(|all| {
            all.flatten()
                .filter(|entry| entry.path().is_dir())
                .collect()
        })
        .unwrap_or_default();
    assert!(ended.success() && left.is_empty(), "{ended} {left:?}");
    fs::remove_dir(group.join("placet")).unwrap();
    fs::remove_dir(&group).unwrap();
}
