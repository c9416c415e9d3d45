//! What a cell of the root user has beyond that of any other, on the real kernel; and that any
//! other user's has none of it and says so.
#![expect(
    unsafe_code,
    reason = "joining a cell from outside and asking the kernel have no safe interface"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code, which may look at the clock and start processes"
)]

#[path = "../support/mod.rs"]
mod support;

mod backstop;
mod bounds;
mod denials;
mod groups;
mod lacking;
mod opens;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use placet_sandbox::{Cell, CellSpec, RunningCell, Status};
use support::{Suite, main_with};

fn main() -> ExitCode {
    let tests = [
        groups::TESTS,
        bounds::TESTS,
        backstop::TESTS,
        denials::TESTS,
        lacking::TESTS,
        opens::TESTS,
    ]
    .concat();
    let acts = [
        groups::ACTS,
        bounds::ACTS,
        backstop::ACTS,
        denials::ACTS,
        lacking::ACTS,
        opens::ACTS,
    ]
    .concat();
    main_with(&Suite::of(&tests, &acts))
}

const SUCCESS: Status = Status::Exited(0);

fn start(spec: CellSpec) -> RunningCell {
    Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap()
}

fn first_line(output: std::process::ChildStdout) -> String {
    use std::io::BufRead;
    let mut line = String::new();
    std::io::BufReader::new(output)
        .read_line(&mut line)
        .unwrap();
    line
}

/// Waits for something that has to come soon; panics when it does not.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
