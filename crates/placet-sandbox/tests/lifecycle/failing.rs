//! A supervisor that fails, with every thread that serves its cell: its tree ends within its lease.
//! Killed and stopped it is in the plain case in the module of endings.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use placet_sandbox::{Cell, EgressRules, Network, RunningCell};

use crate::running::first_line;
use crate::support::{ACT, Act, Test, acting_spec, command, is_root, own_executable, scratch};
use crate::{eventually, marked, marker, pause_for_ever};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_supervisor_without_memory_of_its_own_ends_the_tree",
        a_supervisor_without_memory,
    ),
    (
        "a_supervisor_that_the_kernel_kills_for_its_memory_ends_the_tree",
        a_supervisor_that_is_killed_for_memory,
    ),
    ("a_supervisor_that_panics_ends_the_tree", || {
        fails("panic", |_| {});
    }),
    ("a_killed_supervisor_with_a_broker_ends_the_tree", || {
        fails("pause", |supervisor| supervisor.kill().unwrap());
    }),
    (
        "a_stopped_supervisor_with_a_broker_ends_the_tree",
        a_stopped_supervisor,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("connect_for_ever", |_| connect_for_ever()),
    ("fail", |a| fail(&a[0], &a[1])),
];

/// An id that owns nothing here.
const USER: u32 = 54_323;

const LEASE: Duration = Duration::from_millis(1500);

/// Starts programs and connects all the time, so that tracer and broker are always at work.
fn connect_for_ever() -> ! {
    loop {
        drop(std::net::TcpStream::connect("192.0.2.1:9"));
        drop(std::thread::spawn(|| ()).join());
    }
}

/// A supervisor with one cell that it keeps alive, until it is told to fail in some way.
fn fail(marker: &str, how: &str) -> i32 {
    let mut spec = acting_spec("connect_for_ever", &[marker]);
    spec.network = Network::Loopback;
    spec.egress = EgressRules::nobody();
    spec.lease = LEASE;
    let prepared = Cell::prepare(spec).unwrap();
    let cell = prepared.spawn().unwrap().release().unwrap();
    println!("ready");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        tell.send(()).unwrap();
    });
    while told.try_recv().is_err() {
        keep(&cell);
    }
    match how {
        "abort" => exhaust_address_space(),
        "eat" => eat_memory(),
        "panic" => panic!("as it was told to"),
        _ => loop {
            keep(&cell);
        },
    }
}

fn keep(cell: &RunningCell) {
    cell.renew(LEASE).unwrap();
    drop(cell.broker().map(placet_sandbox::Broker::reports));
    drop(cell.gate().map(placet_sandbox::Gate::reports));
    std::thread::sleep(Duration::from_millis(20));
}

/// An allocation that fails aborts the process.
fn exhaust_address_space() -> ! {
    let limit = libc::rlimit {
        rlim_cur: 1 << 20,
        rlim_max: 1 << 20,
    };
    // SAFETY: limit is live.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 64 << 20]);
    }
}

fn eat_memory() -> ! {
    let mut held = Vec::new();
    for _ in 0..1024 {
        held.push(vec![1u8; 4 << 20]);
    }
    pause_for_ever()
}

fn supervisor(marker: &str, how: &str) -> Child {
    started(command(&own_executable()), marker, how)
}

fn started(mut supervisor: Command, marker: &str, how: &str) -> Child {
    let mut child = supervisor
        .args([ACT, "fail", marker, how])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(first_line(child.stdout.take().unwrap()), "ready\n");
    // Its own command line, and the worker's.
    assert!(marked(marker) >= 2);
    child
}

/// Lets a supervisor fail, and sees its tree end without it.
fn fails(how: &str, then: impl FnOnce(&mut Child)) {
    let marker = marker();
    ends(supervisor(&marker, how), &marker, then);
}

fn ends(mut supervisor: Child, marker: &str, then: impl FnOnce(&mut Child)) {
    let begin = Instant::now();
    then(&mut supervisor);
    // Told by a line, or by the end of all lines when it is dead already.
    drop(supervisor.stdin.take().unwrap().write_all(b"now\n"));
    let status = supervisor.wait().unwrap();
    assert!(!status.success(), "{status:?}");
    eventually("the end of the tree", || marked(marker) == 0);
    let took = begin.elapsed();
    // A busy machine takes its time to end the supervisor; the tree has no more than its lease from there.
    assert!(took < LEASE + Duration::from_secs(5), "{took:?}");
}

fn a_supervisor_without_memory() {
    fails("abort", |_| {});
}

/// A memory group of version 1 or 2 that holds little.
struct Group(PathBuf);

impl Group {
    /// Only root makes one. Where there is no controller nothing is shown, and that is a failure.
    fn make() -> Self {
        let name = format!("placet-test-{}", std::process::id());
        let made = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ]
        .into_iter()
        .find_map(|(top, limit)| {
            let group = Self(Path::new(top).join(&name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(limit), "67108864").ok()?;
            Some(group)
        });
        let advice = "mount the memory controller of cgroup v1, or enable it below the root of v2";
        made.unwrap_or_else(|| panic!("root has no memory controller here: {advice}"))
    }

    fn take(&self, process: &Child) {
        fs::write(self.0.join("cgroup.procs"), process.id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually("the removal of the group", || {
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// The cell was born outside of the group: it is the supervisor that the kernel ends, root's and another user's.
fn a_supervisor_that_is_killed_for_memory() {
    if !is_root() {
        println!("root's run ends this user's supervisor: only root makes the group");
        return;
    }
    let group = Group::make();
    let killed = |supervisor: &mut Child| group.take(supervisor);
    fails("eat", killed);
    let dir = scratch();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("suite");
    fs::copy(own_executable(), &copy).unwrap();
    let mut users = command(&copy);
    users.uid(USER).gid(USER).current_dir("/");
    let marker = marker();
    ends(started(users, &marker, "eat"), &marker, killed);
}

fn a_stopped_supervisor() {
    let marker = marker();
    let mut supervisor = supervisor(&marker, "pause");
    let begin = Instant::now();
    // SAFETY: the pid is of a child that is not yet reaped.
    unsafe { libc::kill(supervisor.id() as i32, libc::SIGSTOP) };
    // Its own command line; what it has not reaped shows none.
    eventually("the end of the tree", || marked(&marker) == 1);
    let took = begin.elapsed();
    assert!(took < LEASE + Duration::from_secs(5), "{took:?}");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert_eq!(marked(&marker), 0);
}
