//! The exec gate on real trees: what it lets start, what it kills, and what the supervisor hears.
//!
//! Each attack also runs in the same cell without a gate, where it has to succeed.
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
    clippy::disallowed_methods,
    reason = "test code, which may look at the clock and start processes"
)]

#[path = "../support/client.rs"]
mod client;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/mod.rs"]
mod support;

mod images;
mod observing;
mod programs;
mod races;
mod reports;
mod trees;
mod verdicts;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::main_on_both;
use placet_sandbox::{
    Cell, CellSpec, ExecCall, ExecReport, ExecRule, Exit, Gate, ImageDigest, Refusal, RunningCell,
    Status,
};
use sha2::{Digest, Sha256};
use support::{Suite, gate};

fn main() -> ExitCode {
    let tests = [
        images::TESTS,
        observing::TESTS,
        races::TESTS,
        reports::TESTS,
        trees::TESTS,
        verdicts::TESTS,
    ]
    .concat();
    let acts = [observing::ACTS, programs::ACTS, races::ACTS, trees::ACTS].concat();
    main_on_both(&Suite::of(&tests, &acts))
}

const SUCCESS: Status = Status::Exited(0);
/// What the act `spawn` exits with when its program was killed.
const KILLED: Status = Status::Exited(128 + libc::SIGKILL);

fn start(spec: CellSpec) -> RunningCell {
    Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap()
}

/// The spec behind a gate.
fn gated(mut spec: CellSpec, rule: ExecRule) -> CellSpec {
    spec.exec = gate(rule);
    spec
}

/// Runs a cell to its end, taking all reports.
fn run(spec: CellSpec) -> (Status, Vec<ExecReport>) {
    let mut cell = start(spec);
    let mut reports = Vec::new();
    let exit = loop {
        reports.extend(take(&cell));
        if let Some(exit) = cell.try_wait().unwrap() {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    reports.extend(take(&cell));
    (exit.status, reports)
}

fn take(cell: &RunningCell) -> Vec<ExecReport> {
    cell.gate().map_or_else(Vec::new, Gate::reports)
}

/// Without a gate it ends well; behind one with that rule the image is refused for that reason,
/// and nothing else is.
fn refused_only_by_the_gate(spec: &CellSpec, rule: ExecRule, reason: Refusal) {
    assert_eq!(run(spec.clone()).0, SUCCESS, "without a gate");
    let (status, reports) = run(gated(spec.clone(), rule));
    assert_eq!(status, KILLED, "{reports:?}");
    let refusals: Vec<Refusal> = refusals(&reports).map(|(_, why)| why).collect();
    assert_eq!(refusals, [reason]);
}

fn refusals(reports: &[ExecReport]) -> impl Iterator<Item = (&Arc<ExecCall>, Refusal)> {
    reports.iter().filter_map(|report| match report {
        ExecReport::Refused { call, why } => Some((call, *why)),
        ExecReport::Asked(_) | ExecReport::Started(_) => None,
    })
}

fn started(reports: &[ExecReport]) -> Vec<&ExecCall> {
    let mut calls = Vec::new();
    for report in reports {
        if let ExecReport::Started(call) = report {
            calls.push(&**call);
        }
    }
    calls
}

fn digest_of(path: &Path) -> ImageDigest {
    ImageDigest(Sha256::digest(std::fs::read(path).unwrap()).into())
}

/// A list with exactly these files.
fn listed(paths: &[&Path]) -> ExecRule {
    let digests: BTreeSet<ImageDigest> = paths.iter().map(|path| digest_of(path)).collect();
    ExecRule::Listed(digests)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits for something that has to come soon; panics when it does not.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes reports until one matches.
fn report_of(gate: &Gate, mut wanted: impl FnMut(&ExecReport) -> bool) -> ExecReport {
    let mut found = None;
    eventually("the report", || {
        found = gate.reports().into_iter().find(&mut wanted);
        found.is_some()
    });
    found.unwrap()
}

/// A word that only the processes of one test have on their command line.
fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("gate-marker-{}-{count}-", std::process::id())
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

/// The end of a cell that ends by itself, reports untouched.
fn end_of(mut cell: RunningCell) -> Exit {
    cell.wait().unwrap()
}
