//! Starting, holding and ending cells, on the real kernel.
#![expect(
    unsafe_code,
    reason = "forking and raising signals have no safe interface"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "test code, which may look at the clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod ending;
mod groups;
mod limits;
mod refusals;
mod running;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use placet_sandbox::{Cell, CellSpec, RunningCell};
use support::main_of;

fn main() -> ExitCode {
    let tests = [
        running::TESTS,
        ending::TESTS,
        groups::TESTS,
        limits::TESTS,
        refusals::TESTS,
    ]
    .concat();
    let acts = [running::ACTS, ending::ACTS, groups::ACTS, limits::ACTS].concat();
    main_of(&tests, &acts, true)
}

fn start(spec: CellSpec) -> RunningCell {
    Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap()
}

/// A word that only the processes of one test have on their command line.
fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("marker-{}-{count}-", std::process::id())
}

/// How many processes have the marker on their command line.
fn marked(marker: &str) -> usize {
    let has_marker = |dir: std::path::PathBuf| {
        std::fs::read(dir.join("cmdline")).is_ok_and(|line| {
            line.windows(marker.len())
                .any(|part| part == marker.as_bytes())
        })
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| has_marker(entry.path())).count()
}

/// Waits for something that has to come soon; panics when it does not.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pause_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
