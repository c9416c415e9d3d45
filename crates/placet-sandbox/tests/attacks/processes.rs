//! Reaching other processes, or privileges.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use placet_sandbox::Status;

use crate::host::on_host;
use crate::support::{ACT, Act, SETUID_COPY, Test, acting_spec, command, is_root, own_executable};
use crate::{
    SUCCESS, assert_refused, assert_succeeds, check, end_of, inside, outcome, outcome_of, outside,
    unstopped,
};

pub(crate) const TESTS: &[Test] = &[
    ("killing_an_outside_process", killing_an_outside_process),
    ("killing_pid_1", || {
        assert_eq!(inside("kill", &["1", "9"]), EPERM)
    }),
    (
        "only_the_cells_processes_are_visible",
        only_the_cells_processes_are_visible,
    ),
    ("supervisor_memory_in_pid_1", supervisor_memory_in_pid_1),
    ("setuid_programs_gain_nothing", setuid_programs_gain_nothing),
    ("no_capability_is_left", no_capability_is_left),
    ("privileges_cannot_come_back", privileges_cannot_come_back),
    ("a_fork_bomb_stays_within_the_limit", a_fork_bomb),
];

pub(crate) const ACTS: &[Act] = &[
    ("kill", |a| kill(&a[0], &a[1])),
    ("count_processes", |_| count_processes()),
    ("read_file", |a| outcome_of(fs::read(&a[0]))),
    ("read_link", |a| outcome_of(fs::read_link(&a[0]))),
    ("has_capabilities", |_| has_capabilities()),
    ("run_setuid", |a| {
        let error = command(Path::new(&a[0]))
            .args([ACT, "has_capabilities"])
            .exec();
        error.raw_os_error().unwrap()
    }),
    ("has_state", |a| has_state(&a[0])),
    ("fork_bomb", |_| fork_bomb()),
];

const EPERM: Status = Status::Exited(libc::EPERM);
const ENOENT: Status = Status::Exited(libc::ENOENT);
const ESRCH: Status = Status::Exited(libc::ESRCH);

fn killing_an_outside_process() {
    let own = std::process::id().to_string();
    check("kill", &[&own, "0"], ESRCH);
}

fn kill(pid: &str, signal: &str) -> i32 {
    // SAFETY: kill takes integers only.
    outcome(unsafe { libc::kill(pid.parse().unwrap(), signal.parse().unwrap()) })
}

fn only_the_cells_processes_are_visible() {
    let some = outside("count_processes", &[]);
    assert_ne!(some, Status::Exited(1));
    unstopped(some, some, "count_processes");
    // Itself: pid 1 would show the supervisor's command line.
    assert_eq!(inside("count_processes", &[]), Status::Exited(1));
}

fn count_processes() -> i32 {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().unwrap().parse::<u32>().is_ok())
        .count() as i32
}

fn supervisor_memory_in_pid_1() {
    let own = std::process::id();
    for (act, file) in [
        ("read_file", "environ"),
        ("read_file", "cmdline"),
        ("read_file", "maps"),
        ("read_file", "mem"),
        ("read_link", "root"),
        ("read_link", "exe"),
    ] {
        let outside = outside(act, &[&format!("/proc/{own}/{file}")]);
        // A first page that is not mapped is reading that was allowed.
        assert!(
            outside == SUCCESS || outside == Status::Exited(libc::EIO),
            "{file}: {outside:?}"
        );
        if !on_host() {
            let refused = inside(act, &[&format!("/proc/1/{file}")]);
            assert_eq!(refused, ENOENT, "{file}");
        } else if file != "cmdline" {
            // The supervisor itself shows, and its command line with it; nothing else of it does.
            let refused = inside(act, &[&format!("/proc/{own}/{file}")]);
            assert_refused(refused, ENOENT, file);
        }
    }
}

/// An executable that makes whoever runs it root: as root, the suite itself.
fn setuid_copy() -> PathBuf {
    std::env::var_os(SETUID_COPY).map_or_else(own_executable, PathBuf::from)
}

fn setuid_programs_gain_nothing() {
    let copy = setuid_copy();
    let path = copy.to_str().unwrap();
    assert_eq!(outside("run_setuid", &[path]), SUCCESS);
    let mut spec = acting_spec("run_setuid", &[path]);
    spec.paths.exec.push(copy.clone());
    assert_eq!(end_of(spec), EPERM);
}

fn status_line(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn has_capabilities() -> i32 {
    let any = ["CapPrm:", "CapEff:", "CapAmb:"]
        .iter()
        .any(|set| u64::from_str_radix(&status_line(set), 16).unwrap() != 0);
    if any { 0 } else { libc::EPERM }
}

fn no_capability_is_left() {
    if is_root() {
        assert_succeeds("has_capabilities", &[]);
    }
    assert_eq!(inside("has_capabilities", &[]), EPERM);
    let empty = "0000000000000000";
    for state in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        if state == "CapBnd:" && on_host() && !is_root() {
            // It takes a capability to give it up. Under no_new_privs it gives nothing.
            continue;
        }
        assert_eq!(
            inside("has_state", &[&format!("{state}{empty}")]),
            SUCCESS,
            "{state}"
        );
    }
}

fn privileges_cannot_come_back() {
    assert_eq!(inside("has_state", &["NoNewPrivs:1"]), SUCCESS);
    // On tier U0 the suite itself runs under a filter.
    let filters = if on_host() {
        "Seccomp_filters:2"
    } else {
        "Seccomp_filters:1"
    };
    assert_eq!(inside("has_state", &["Seccomp:2"]), SUCCESS);
    assert_eq!(inside("has_state", &[filters]), SUCCESS);
}

/// All the processes of the bomb, itself included.
const BOMB: i32 = 255;

fn a_fork_bomb() {
    unstopped(outside("fork_bomb", &[]), Status::Exited(BOMB), "fork_bomb");
    assert_eq!(inside("fork_bomb", &[]), Status::Exited(BOMB));
    let mut spec = acting_spec("fork_bomb", &[]);
    spec.limits.processes = Some(32);
    // pid 1 is the other one.
    assert_eq!(end_of(spec), Status::Exited(31));
}

/// Each process makes two more, for seven generations, and does not take no for an answer at once.
/// Gives how many there were.
fn fork_bomb() -> i32 {
    // SAFETY: an anonymous page at an address of the kernel's choice, zeroed, and never unmapped.
    let count = unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let page = libc::mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast::<AtomicI32>()
    };
    multiply(count, 7);
    for _ in 0..500 {
        if count.load(Ordering::SeqCst) == BOMB {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    count.load(Ordering::SeqCst)
}

fn multiply(count: &AtomicI32, generations: u32) {
    count.fetch_add(1, Ordering::SeqCst);
    for _ in 0..if generations == 0 { 0 } else { 2 } {
        for _ in 0..200 {
            // SAFETY: no other thread is there to hold a lock.
            match unsafe { libc::fork() } {
                // SAFETY: these take integers only; the child ends here, or with its parent.
                0 => unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    multiply(count, generations - 1);
                    libc::sleep(20);
                    libc::_exit(0);
                },
                -1 => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
        }
    }
}

/// Whether a line of the status file has that value.
fn has_state(expected: &str) -> i32 {
    let (field, value) = expected.split_once(':').unwrap();
    if status_line(&format!("{field}:")) == value {
        0
    } else {
        1
    }
}
