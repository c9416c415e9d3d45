//! Attacks on a real cell. Each one is an act of this executable that exits with 0 where it
//! succeeds and with the errno that stopped it otherwise, and each is also run without a cell,
//! where it has to succeed: a test that passes because the attack is broken would show.
#![expect(
    unsafe_code,
    reason = "attacks are system calls that no safe interface offers"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "test code, which may look at the clock"
)]

#[path = "../support/client.rs"]
mod client;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/mod.rs"]
mod support;

mod admin;
mod files;
mod ipc;
mod kernel;
mod mounts;
mod network;
mod outsiders;
mod processes;
mod readable;
mod tally;

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Output};

use host::{main_on_both, on_host};
use placet_sandbox::{Cell, CellSpec, ExecRule, Session, Spares, Status, WaitingCell};
use std::os::unix::process::CommandExt;
use support::{ACT, NotGiven, Suite, Sum, acting_spec, command, own_executable};

fn main() -> ExitCode {
    let tests = [
        admin::TESTS,
        files::TESTS,
        ipc::TESTS,
        kernel::TESTS,
        mounts::TESTS,
        network::TESTS,
        outsiders::TESTS,
        processes::TESTS,
        readable::TESTS,
    ]
    .concat();
    let acts = [
        admin::ACTS,
        files::ACTS,
        ipc::ACTS,
        kernel::ACTS,
        mounts::ACTS,
        network::ACTS,
        outsiders::ACTS,
        processes::ACTS,
        readable::ACTS,
    ]
    .concat();
    main_on_both(&Suite {
        gated_too: true,
        not_given: NOT_GIVEN_BY_U0,
        sum: Sum {
            after: tally::after,
            total: tally::total,
        },
        ..Suite::of(&tests, &acts)
    })
}

/// What tier U0 does not give, by the word that decisions have for it.
const NOT_GIVEN_BY_U0: &[NotGiven] = &[
    (
        "library_from_a_writable_path_is_not_mapped",
        "code_from_writable: nothing is mounted noexec",
    ),
    (
        "preloaded_library_from_a_writable_path",
        "code_from_writable: nothing is mounted noexec",
    ),
    (
        "loopback_is_the_cells_own",
        "shared_network: there is no loopback but the host's, and nothing may listen there",
    ),
    (
        "only_the_cells_processes_are_visible",
        "shared_processes: /proc is the host's",
    ),
];

/// The errno of a failed call, 0 for a successful one.
fn outcome(ret: impl Into<i64>) -> i32 {
    if ret.into() < 0 {
        std::io::Error::last_os_error().raw_os_error().unwrap()
    } else {
        0
    }
}

/// The same of a result.
fn outcome_of<T>(result: std::io::Result<T>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().unwrap_or(255), |_| 0)
}

/// How the act ends in a cell of that spec. Where there is an exec gate, in one that had waited for its program.
fn end_of(spec: CellSpec) -> Status {
    let gated = !matches!(spec.exec.rule, ExecRule::Ungated);
    let waiting = if gated && !on_host() && spec.paths.copied.is_empty() {
        having_waited(spec)
    } else {
        Cell::prepare(spec).unwrap().spawn().unwrap()
    };
    let mut cell = waiting.release().unwrap();
    cell.wait().unwrap().status
}

/// A cell that was built before there was a program for it.
fn having_waited(mut spec: CellSpec) -> WaitingCell {
    spec.session = Session::Own;
    let spares = Spares::kept().unwrap();
    spares.note(&spec);
    spares.restock();
    let begin = std::time::Instant::now();
    while spares.waiting() == 0 {
        assert!(begin.elapsed() < std::time::Duration::from_secs(30));
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    let waiting = Cell::prepare(spec).unwrap().spawn_from(&spares).unwrap();
    assert_eq!(spares.waiting(), 0, "it was used");
    waiting
}

/// How the act ends in a cell that grants nothing but what it needs to start.
fn inside(act: &str, arguments: &[&str]) -> Status {
    end_of(acting_spec(act, arguments))
}

/// Runs an act outside of any cell.
fn act_outside(act: &str, arguments: &[&str]) -> Output {
    let mut command = command(&own_executable());
    command
        .arg0("actor")
        .arg(ACT)
        .arg(act)
        .args(arguments)
        .output()
        .unwrap()
}

/// How the act ends without a cell.
fn outside(act: &str, arguments: &[&str]) -> Status {
    let status = act_outside(act, arguments).status;
    let status = match status.signal() {
        Some(signal) => Status::Signaled(signal),
        None => Status::Exited(status.code().unwrap()),
    };
    if status == SUCCESS {
        tally::shown();
    }
    status
}

/// What the wall that a test is about would stop, tried where there is none: it has to work.
fn unstopped(end: Status, expected: Status, act: &str) {
    assert_eq!(end, expected, "{act} without what stops it");
    tally::shown();
}

const SUCCESS: Status = Status::Exited(0);

/// Outside it works for everybody; inside it ends so.
fn check(act: &str, arguments: &[&str], refusal: Status) {
    assert_succeeds(act, arguments);
    assert_refused(inside(act, arguments), refusal, act);
}

/// On tier U0 it is shown by the same suite's run on U1: there the host itself refuses some.
fn assert_succeeds(act: &str, arguments: &[&str]) {
    if !on_host() {
        assert_eq!(outside(act, arguments), SUCCESS, "{act} outside");
    }
}

/// How a refusal looks like on tier U0, where other means refuse.
const REFUSALS: &[i32] = &[
    libc::EPERM,
    libc::EACCES,
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    libc::ESRCH,
    libc::EXDEV,
    libc::EAFNOSUPPORT,
];

/// Inside it ended as a refusal does.
fn assert_refused(end: Status, refusal: Status, act: &str) {
    let on_u0 = match end {
        Status::Exited(code) => REFUSALS.contains(&code),
        Status::Signaled(signal) => signal == libc::SIGKILL || signal == libc::SIGSYS,
    };
    assert!(
        end == refusal || (on_host() && on_u0),
        "{act} inside: {end:?}"
    );
}

/// Outside it works for root; inside it ends so for everybody.
fn check_as_root(act: &str, arguments: &[&str], refusal: Status) {
    if support::is_root() {
        assert_succeeds(act, arguments);
    }
    assert_refused(inside(act, arguments), refusal, act);
}
