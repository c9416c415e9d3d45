//! What a tree may use together, and that a machine that cannot bound it refuses.

use std::time::{Duration, Instant};

use placet_sandbox::{Cell, CellSpec, Exit, Limits, SandboxError, Status};

use crate::support::{Act, Test, acting_spec, is_root};
use crate::{SUCCESS, eventually, start};

pub(crate) const TESTS: &[Test] = &[
    ("the_memory_of_a_tree_is_bounded", memory_is_bounded),
    (
        "the_processor_time_of_a_tree_is_bounded",
        processor_time_is_bounded,
    ),
    (
        "a_bound_on_a_tree_that_cannot_be_had_is_refused",
        a_bound_that_cannot_be_had,
    ),
    (
        "all_bounds_together_leave_no_groups",
        all_bounds_leave_no_groups,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("touch_twice", |a| touch_twice(a[0].parse().unwrap())),
    ("spin_twice", |a| spin_twice(a[0].parse().unwrap())),
];

/// Two processes that use so many mebibytes each; 1 when one of them was killed.
fn touch_twice(mebibytes: usize) -> i32 {
    let touch = || {
        let mut memory = vec![0u8; mebibytes << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        // Both hold theirs at one time.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(memory[0], 1);
    };
    in_two_processes(&touch)
}

fn spin_twice(millis: u64) -> i32 {
    let start = Instant::now();
    let spin = || {
        while start.elapsed() < Duration::from_millis(millis) {
            std::hint::spin_loop();
        }
    };
    in_two_processes(&spin)
}

fn in_two_processes(act: &dyn Fn()) -> i32 {
    // SAFETY: this process has one thread; the children only act and exit.
    unsafe {
        for _ in 0..2 {
            if libc::fork() == 0 {
                act();
                libc::_exit(0);
            }
        }
        let mut ended = [0; 2];
        for status in &mut ended {
            libc::wait(status);
        }
        i32::from(ended != [0; 2])
    }
}

fn with(act: &str, argument: &str, limits: Limits) -> CellSpec {
    let mut spec = acting_spec(act, &[argument]);
    spec.limits = limits;
    spec
}

fn end_of(spec: CellSpec) -> Exit {
    start(spec).wait().unwrap()
}

const MEMORY: Limits = Limits {
    tree_memory_bytes: Some(96 << 20),
    tree_cpu_percent: None,
    processes: None,
    cpu_secs: None,
    address_space_bytes: None,
    open_files: None,
    file_size_bytes: None,
};
const TIME: Limits = Limits {
    tree_memory_bytes: None,
    tree_cpu_percent: Some(2),
    ..MEMORY
};

fn memory_is_bounded() {
    let unbounded = end_of(with("touch_twice", "64", Limits::default()));
    assert_eq!(unbounded.status, SUCCESS);
    if is_root() {
        let one_fits = end_of(with("touch_twice", "16", MEMORY));
        assert_eq!(one_fits.status, SUCCESS);
        let bounded = end_of(with("touch_twice", "64", MEMORY));
        assert_eq!(bounded.status, Status::Exited(1), "one is killed");
    }
}

fn processor_time_is_bounded() {
    let used = |millis, limits| {
        let exit = end_of(with("spin_twice", millis, limits));
        exit.user + exit.system
    };
    // Also where others use most of the machine.
    let much = Duration::from_millis(120);
    eventually("so much time", || used("2000", Limits::default()) > much);
    if is_root() {
        // 2 % of a second, and what starting takes.
        let bounded = used("1000", TIME);
        assert!(bounded < much, "{bounded:?}");
    }
}

fn a_bound_that_cannot_be_had() {
    for limits in [MEMORY, TIME] {
        let prepared = Cell::prepare(with("exit", "0", limits));
        match (is_root(), prepared) {
            (true, prepared) => drop(prepared.unwrap()),
            (false, prepared) => {
                let error = prepared.unwrap_err();
                assert!(matches!(error, SandboxError::TreeUnbounded(_)), "{error}");
                let text = error.to_string();
                assert!(text.contains("systemd-run --user"), "{text}");
            }
        }
    }
}

fn all_bounds_leave_no_groups() {
    if !is_root() {
        return;
    }
    let limits = Limits {
        processes: Some(16),
        tree_cpu_percent: Some(150),
        ..MEMORY
    };
    let waiting = Cell::prepare(with("exit", "0", limits)).unwrap().spawn();
    let waiting = waiting.unwrap();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", waiting.pid())).unwrap();
    let ours = |name: &str| {
        let line = own
            .lines()
            .find(|line| line.split(':').nth(1) == Some(name));
        line.unwrap().rsplit(':').next().unwrap().to_owned()
    };
    for controller in ["pids", "memory", "cpu", ""] {
        assert!(ours(controller).contains("placet/"), "{controller}: {own}");
    }
    let dirs: Vec<String> = ["pids", "memory", "cpu"]
        .iter()
        .map(|name| format!("/sys/fs/cgroup/{name}{}", ours(name)))
        .collect();
    assert!(
        dirs.iter().all(|dir| std::fs::exists(dir).unwrap()),
        "{dirs:?}"
    );
    assert_eq!(waiting.release().unwrap().wait().unwrap().status, SUCCESS);
    assert!(
        !dirs.iter().any(|dir| std::fs::exists(dir).unwrap()),
        "{dirs:?}"
    );
}
