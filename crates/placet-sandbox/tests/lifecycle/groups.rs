//! The control groups of a root user's cells: who is in them, when they go, and doing without.
//!
//! A cell of any other user has none, which is what these tests claim when run as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use placet_sandbox::{Cell, CellSpec, EndedBy, NoControlGroup, SandboxError, Status};

use crate::refusals::swap;
use crate::running::{first_line, with_client};
use crate::support::{ACT, Act, Test, acting_spec, command, is_root, own_executable, scratch};
use crate::{eventually, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_waiting_cell_is_all_in_its_group",
        a_waiting_cell_is_all_in_its_group,
    ),
    ("no_group_outlives_its_cell", no_group_outlives_its_cell),
    (
        "a_failed_spawn_or_release_leaves_no_group",
        a_failed_spawn_or_release,
    ),
    (
        "groups_of_many_threads_are_apart",
        groups_of_many_threads_are_apart,
    ),
    (
        "the_group_of_a_killed_supervisor_is_swept",
        the_group_of_a_killed_supervisor,
    ),
    (
        "without_a_hierarchy_the_limit_is_refused_for_root",
        without_a_hierarchy,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("supervise_limited", |_| {
        let cell = start(limited("sleep", &[]));
        println!("{}", group_of(cell.pid()).display());
        crate::pause_for_ever()
    }),
    ("prepare_without_mounts", |_| {
        in_mount_namespace(|| {
            // SAFETY: the path is NUL terminated.
            unsafe { libc::umount2(c"/sys/fs/cgroup".as_ptr(), libc::MNT_DETACH) }
        });
        let error = Cell::prepare(limited("exit", &["0"])).unwrap_err();
        let missing =
            SandboxError::ProcessLimitAsRoot(NoControlGroup::NotMounted("pids")).to_string();
        i32::from(error.to_string() != missing)
    }),
    ("prepare_with_read_only_mounts", |_| {
        in_mount_namespace(|| {
            let read_only = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
            // SAFETY: the path is NUL terminated and the attributes are four words.
            let failed = unsafe {
                libc::syscall(
                    libc::SYS_mount_setattr,
                    libc::AT_FDCWD,
                    c"/sys/fs/cgroup".as_ptr(),
                    libc::AT_RECURSIVE,
                    read_only.as_ptr(),
                    size_of_val(&read_only),
                )
            };
            i32::from(failed != 0)
        });
        let error = Cell::prepare(limited("exit", &["0"])).unwrap_err();
        i32::from(
            !error
                .to_string()
                .ends_with("Read-only file system (os error 30)"),
        )
    }),
];

const LIMIT: u64 = 16;

fn limited(act: &str, arguments: &[&str]) -> CellSpec {
    let mut spec = acting_spec(act, arguments);
    spec.limits.processes = Some(LIMIT);
    spec
}

/// The directory of a process's group in the hierarchy with the pids controller, or of version 2.
fn group_of(pid: u32) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let paths = |wanted: &str| {
        let mut lines = groups.lines().map(|line| line.splitn(3, ':').skip(1));
        lines.find_map(|mut line| {
            let found = line.next().unwrap().split(',').any(|name| name == wanted);
            found.then(|| line.next().unwrap().trim_start_matches('/').to_owned())
        })
    };
    let (path, kind) = match paths("pids") {
        Some(path) => (path, "cgroup"),
        None => (paths("").unwrap(), "cgroup2"),
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let has_it = kind == "cgroup2" || fields[3].split(',').any(|option| option == "pids");
        (fields[2] == kind && has_it).then(|| fields[1].to_owned())
    });
    Path::new(&mount.unwrap()).join(path)
}

/// The group of a cell with a limit, which has to be one of its own exactly under root.
fn own_group(pid: u32) -> Option<PathBuf> {
    let (group, ours) = (group_of(pid), group_of(std::process::id()));
    assert_eq!(group != ours, is_root(), "{group:?}");
    is_root().then_some(group)
}

/// How many groups this process has.
fn groups_now(place: &Path) -> usize {
    let prefix = format!("{}-", std::process::id());
    let all = fs::read_dir(place).unwrap().flatten();
    all.filter(|entry| entry.file_name().to_str().unwrap().starts_with(&prefix))
        .count()
}

/// The directory of all groups.
fn place() -> PathBuf {
    let cell = start(limited("sleep", &[]));
    group_of(cell.pid()).parent().unwrap().to_path_buf()
}

fn a_waiting_cell_is_all_in_its_group() {
    let waiting = Cell::prepare(limited("exit", &["0"]))
        .unwrap()
        .spawn()
        .unwrap();
    if let Some(group) = own_group(waiting.pid()) {
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(read("pids.max"), format!("{LIMIT}\n"));
        let members = read("cgroup.procs");
        assert_eq!(members.lines().count(), 2, "pid 1 and the worker");
        assert!(members.lines().any(|pid| pid == waiting.pid().to_string()));
    }
    let unlimited = start(acting_spec("sleep", &[]));
    assert_eq!(group_of(unlimited.pid()), group_of(std::process::id()));
}

fn no_group_outlives_its_cell() {
    let is_gone = |group: Option<PathBuf>| group.is_none_or(|group| !group.exists());
    let mut cell = start(limited("sleep", &[]));
    let group = own_group(cell.pid());
    cell.signal(libc::SIGTERM).unwrap();
    assert_eq!(cell.wait().unwrap().ended_by, EndedBy::Worker);
    // Removed beside whatever comes after the end, and for certain once nobody has the cell.
    drop(cell);
    assert!(is_gone(group), "normal end");

    let mut cell = start(limited("storm", &[]));
    let group = own_group(cell.pid());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(cell.terminate().unwrap().ended_by, EndedBy::Terminated);
    drop(cell);
    assert!(is_gone(group), "terminate, with forks under way");

    let mut spec = limited("sleep", &[]);
    spec.lease = Duration::from_millis(200);
    let mut cell = start(spec);
    let group = own_group(cell.pid());
    assert_eq!(cell.wait().unwrap().ended_by, EndedBy::Lease);
    drop(cell);
    assert!(is_gone(group), "end of the lease");

    let cell = start(limited("sleep", &[]));
    let group = own_group(cell.pid());
    drop(cell);
    assert!(is_gone(group), "dropped");

    let waiting = Cell::prepare(limited("sleep", &[]))
        .unwrap()
        .spawn()
        .unwrap();
    let group = own_group(waiting.pid());
    drop(waiting);
    assert!(is_gone(group), "dropped while waiting");
}

fn a_failed_spawn_or_release() {
    let dir = scratch();
    let mut spec = with_client(dir.path(), "exit");
    spec.limits.processes = Some(LIMIT);
    let client = spec.client.clone().unwrap();
    let prepared = Cell::prepare(spec).unwrap();
    swap(&client);
    let error = prepared.spawn().unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error}");

    let mut spec = limited("exit", &["0"]);
    let unusable = dir.path().join("unusable");
    fs::copy("/etc/passwd", &unusable).unwrap();
    fs::set_permissions(
        &unusable,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    spec.program.identity = placet_sandbox::FileIdentity::of_path(&unusable).unwrap();
    spec.program.path = unusable.clone();
    spec.paths.exec.push(unusable);
    let waiting = Cell::prepare(spec).unwrap().spawn().unwrap();
    let group = own_group(waiting.pid());
    let error = waiting.release().unwrap_err();
    assert!(matches!(error, SandboxError::Exec { .. }), "{error}");
    assert!(group.is_none_or(|group| !group.exists()));
    if is_root() {
        assert_eq!(groups_now(&place()), 0);
    }
}

fn groups_of_many_threads_are_apart() {
    let run = || {
        for code in 0..8 {
            let mut cell = start(limited("exit", &[&code.to_string()]));
            assert_eq!(cell.wait().unwrap().status, Status::Exited(code));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    if is_root() {
        assert_eq!(groups_now(&place()), 0);
    }
}

/// A group around this process, in which no other suite's cells sweep.
struct Apart {
    before: PathBuf,
    dir: PathBuf,
}

impl Apart {
    fn new() -> Self {
        let before = group_of(std::process::id());
        let name = format!("suite-{}", std::process::id());
        let dir = place().parent().unwrap().join(name);
        // With version 2 the group that has processes and the one that has groups are two.
        let inner = dir.join("inner");
        fs::create_dir_all(&inner).unwrap();
        enter(&inner);
        Self { before, dir }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        enter(&self.before);
        for dir in ["inner/placet", "inner", "placet", ""] {
            // Version 1 has the first and version 2 the third.
            drop(fs::remove_dir(self.dir.join(dir)));
        }
    }
}

fn enter(group: &Path) {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
}

fn the_group_of_a_killed_supervisor() {
    if !is_root() {
        assert_eq!(own_group(start(limited("sleep", &[])).pid()), None);
        return;
    }
    let _apart = Apart::new();
    let mut supervisor = command(&own_executable())
        .args([ACT, "supervise_limited"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = first_line(supervisor.stdout.take().unwrap());
    let group = PathBuf::from(line.trim_end());
    let living = start(limited("sleep", &[]));
    let living = (group_of(living.pid()), living);
    assert!(group.join("pids.max").exists() && group != living.0);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let empty = || fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|all| all.is_empty());
    eventually("the end of the tree", empty);
    drop(start(limited("sleep", &[])));
    assert!(!group.exists() && living.0.exists());
}

/// A mount namespace of this process's own, changed so.
fn in_mount_namespace(change: impl Fn() -> i32) {
    // SAFETY: the strings are NUL terminated or null; no other thread shares the namespace.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let (none, all) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        let root = c"/".as_ptr();
        assert_eq!(libc::mount(none, root, none, all, none.cast()), 0);
    }
    assert_eq!(change(), 0);
}

fn without_a_hierarchy() {
    let acts = ["prepare_without_mounts", "prepare_with_read_only_mounts"];
    for act in acts.iter().filter(|_| is_root()) {
        let ended = command(&own_executable())
            .args([ACT, act])
            .status()
            .unwrap();
        assert!(ended.success(), "{act}");
    }
    let unlimited = start(acting_spec("exit", &["0"])).wait().unwrap();
    assert_eq!(unlimited.status, Status::Exited(0));
}
