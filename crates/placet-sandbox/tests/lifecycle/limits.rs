//! Resource limits as the worker meets them.

use std::io::Write;

use placet_sandbox::{Limits, Status};

use crate::start;
use crate::support::{Act, Test, acting_spec};

pub(crate) const TESTS: &[Test] = &[
    ("open_files_are_limited", open_files_are_limited),
    ("file_size_is_limited", file_size_is_limited),
    ("processor_time_is_limited", processor_time_is_limited),
    ("address_space_is_limited", address_space_is_limited),
    ("processes_are_limited", processes_are_limited),
    ("threads_count_as_processes", threads_count_as_processes),
    (
        "the_worker_runs_under_any_limit",
        the_worker_runs_under_any_limit,
    ),
    (
        "private_file_systems_are_limited",
        private_file_systems_are_limited,
    ),
    ("core_dumps_are_off", core_dumps_are_off),
];

pub(crate) const ACTS: &[Act] = &[
    ("open_many", |_| {
        let files: Vec<_> = (0..64).map(|_| std::fs::File::open("/dev/null")).collect();
        files
            .iter()
            .find_map(|file| file.as_ref().err()?.raw_os_error())
            .unwrap_or(0)
    }),
    ("write_mebibytes", |a| {
        let mut file = std::fs::File::create(std::env::temp_dir().join("file")).unwrap();
        let count: usize = a[0].parse().unwrap();
        let written = file.write_all(&vec![0; count << 20]);
        written.map_or_else(|error| error.raw_os_error().unwrap(), |()| 0)
    }),
    ("spin_for_ever", |_| {
        loop {
            std::hint::spin_loop();
        }
    }),
    ("allocate", |_| {
        // SAFETY: an anonymous mapping at an address of the kernel's choice, never touched.
        let mapped = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 1 << 30, libc::PROT_READ, flags, -1, 0)
        };
        if mapped == libc::MAP_FAILED {
            libc::ENOMEM
        } else {
            0
        }
    }),
    ("fork_many", |_| fork_many()),
    ("thread_many", |_| {
        let pause = || std::thread::Builder::new().spawn(|| crate::pause_for_ever());
        let failed = (0..64).find_map(|_| pause().err());
        failed.map_or(0, |error| error.raw_os_error().unwrap())
    }),
    ("core_limit", |_| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        let off = line.split_whitespace().filter(|word| *word == "0").count() == 2;
        i32::from(!off)
    }),
];

fn fork_many() -> i32 {
    for _ in 0..64 {
        // SAFETY: the child only sleeps and exits.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: pause has no preconditions.
                unsafe { libc::pause() };
            },
            -1 => return std::io::Error::last_os_error().raw_os_error().unwrap(),
            _ => {}
        }
    }
    0
}

fn with(act: &str, arguments: &[&str], limits: Limits) -> Status {
    let mut spec = acting_spec(act, arguments);
    spec.limits = limits;
    start(spec).wait().unwrap().status
}

const NONE: Limits = Limits {
    cpu_secs: None,
    address_space_bytes: None,
    processes: None,
    tree_memory_bytes: None,
    tree_cpu_percent: None,
    open_files: None,
    file_size_bytes: None,
};

fn open_files_are_limited() {
    assert_eq!(with("open_many", &[], NONE), Status::Exited(0));
    let limits = Limits {
        open_files: Some(32),
        ..NONE
    };
    assert_eq!(with("open_many", &[], limits), Status::Exited(libc::EMFILE));
}

fn file_size_is_limited() {
    assert_eq!(with("write_mebibytes", &["2"], NONE), Status::Exited(0));
    let limits = Limits {
        file_size_bytes: Some(1 << 20),
        ..NONE
    };
    assert_eq!(
        with("write_mebibytes", &["2"], limits),
        Status::Signaled(libc::SIGXFSZ)
    );
}

fn processor_time_is_limited() {
    let limits = Limits {
        cpu_secs: Some(1),
        ..NONE
    };
    assert_eq!(
        with("spin_for_ever", &[], limits),
        Status::Signaled(libc::SIGXCPU)
    );
}

fn address_space_is_limited() {
    assert_eq!(with("allocate", &[], NONE), Status::Exited(0));
    let limits = Limits {
        address_space_bytes: Some(256 << 20),
        ..NONE
    };
    assert_eq!(with("allocate", &[], limits), Status::Exited(libc::ENOMEM));
}

fn processes_are_limited() {
    assert_eq!(with("fork_many", &[], NONE), Status::Exited(0));
    let limits = Limits {
        processes: Some(16),
        ..NONE
    };
    assert_eq!(with("fork_many", &[], limits), Status::Exited(libc::EAGAIN));
}

fn threads_count_as_processes() {
    assert_eq!(with("thread_many", &[], NONE), Status::Exited(0));
    let limits = Limits {
        processes: Some(16),
        ..NONE
    };
    assert_eq!(
        with("thread_many", &[], limits),
        Status::Exited(libc::EAGAIN)
    );
}

fn the_worker_runs_under_any_limit() {
    for processes in 0..3 {
        let limits = Limits {
            processes: Some(processes),
            ..NONE
        };
        assert_eq!(with("exit", &["4"], limits), Status::Exited(4));
        assert_eq!(with("fork_many", &[], limits), Status::Exited(libc::EAGAIN));
    }
}

fn private_file_systems_are_limited() {
    let mut spec = acting_spec("write_mebibytes", &["20"]);
    spec.paths.tmp_bytes_max = 8 << 20;
    assert_eq!(
        start(spec).wait().unwrap().status,
        Status::Exited(libc::ENOSPC)
    );
}

fn core_dumps_are_off() {
    assert_eq!(with("core_limit", &[], NONE), Status::Exited(0));
}
