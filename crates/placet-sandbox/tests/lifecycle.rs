//! Starting, holding and ending cells.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    reason = "test code"
)]

mod support;

use std::process::ExitCode;

use placet_sandbox::{Cell, EndedBy, Status};
use support::{Act, Test, acting_spec, main_of, spec};

const TESTS: &[Test] = &[
    ("true_runs", true_runs),
    ("exit_codes_are_exact", exit_codes_are_exact),
];
const ACTS: &[Act] = &[("exit", |arguments| arguments[0].parse().unwrap())];

fn main() -> ExitCode {
    main_of(TESTS, ACTS)
}

fn true_runs() {
    let spec = spec("/bin/true".as_ref(), vec!["true".into()]);
    let mut cell = Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap();
    let exit = cell.wait().unwrap();
    assert_eq!(
        (exit.status, exit.ended_by),
        (Status::Exited(0), EndedBy::Worker)
    );
}

fn exit_codes_are_exact() {
    for code in [0, 1, 2, 42, 126, 127, 128, 137, 255] {
        let spec = acting_spec("exit", &[&code.to_string()]);
        let mut cell = Cell::prepare(spec)
            .unwrap()
            .spawn()
            .unwrap()
            .release()
            .unwrap();
        assert_eq!(cell.wait().unwrap().status, Status::Exited(code));
    }
}
