//! Every system call on the log's files, made to fail or to be the writer's last, with `strace`.
//!
//! A call that fails here was not carried out; one after which the writer is killed was. Together
//! they are both rows of the fault table in `spec/storage.md`: failed, and failed but persisted
//! (for `fdatasync` a failure is itself the second: the pages stay in the cache).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common;
use crate::writer::{Plan, Told, program};

/// Calls that change something, and those by which a log is found.
const CALLS: &str =
    "openat,mkdir,pwrite64,fdatasync,fsync,ftruncate,rename,flock,pread64,getdents64";

/// What is done to one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Once(&'static str),
    FromThenOn(&'static str),
    Kill,
}

const FAULTS: [Fault; 4] = [
    Fault::Once("EIO"),
    Fault::Once("ENOSPC"),
    Fault::FromThenOn("EIO"),
    Fault::Kill,
];

pub(crate) fn of_a_new_log() {
    let ends = run_faults(&|_| Told::default());
    for kind in ["NotWritten", "Indeterminate", "Refused", "Erase", "killed"] {
        assert!(ends.contains_key(kind), "no fault led to {kind}: {ends:?}");
    }
}

pub(crate) fn of_a_recovery() {
    let ends = run_faults(&crashed_log);
    for kind in ["Refused", "Indeterminate", "killed"] {
        assert!(ends.contains_key(kind), "no fault led to {kind}: {ends:?}");
    }
}

/// A log as a power failure leaves it: an old head, a frame beyond it, half of another one, and
/// derived files that are gone.
pub(crate) fn crashed_log(dir: &Path) -> Told {
    let plan = Plan {
        segment_bytes: 40_000,
        ..Plan::new(dir)
    };
    let first = Told::read(&*plan.command().output().unwrap().stdout);
    let head = fs::read(dir.join("head")).unwrap();
    let longer = Plan { appends: 2, ..plan };
    let told = Told::read(&*longer.command().output().unwrap().stdout).after(first);
    fs::write(dir.join("head"), head).unwrap();
    fs::remove_dir_all(dir.join("derived")).unwrap();
    let segment = common::segments(dir).pop().unwrap();
    let whole = fs::read(&segment).unwrap();
    let last = common::map_frames(&whole).pop().unwrap();
    let half = &whole[last.start..(last.start + last.end) / 2];
    fs::write(&segment, [&whole, half].concat()).unwrap();
    told
}

/// Injects every fault into every call of a writer that begins with what `prepare` made. Counts
/// how the writers ended.
fn run_faults(prepare: &dyn Fn(&Path) -> Told) -> BTreeMap<String, u32> {
    let scratch = common::tempdir();
    let prepared = scratch.path().join("prepared");
    let before = prepare(&prepared);
    let mut ends = BTreeMap::new();
    let calls = list_calls(&prepared, scratch.path());
    assert!(
        calls.len() > 40,
        "only {} calls were seen: {calls:?}",
        calls.len()
    );
    for (call, nth) in calls {
        for fault in FAULTS {
            let dir = common::tempdir();
            let plan = Plan::new(&dir.path().join("log"));
            copy_if_there(&prepared, &plan.dir);
            let (told, end) = run_with(&plan, &call, nth, fault);
            *ends.entry(end).or_default() += 1;
            told.after(before.clone()).assert_kept(&plan);
        }
    }
    ends
}

pub(crate) fn run_with(plan: &Plan, call: &str, nth: usize, fault: Fault) -> (Told, String) {
    let what = match fault {
        Fault::Once(error) => format!("inject={call}:error={error}:when={nth}"),
        Fault::FromThenOn(error) => format!("inject={call}:error={error}:when={nth}+"),
        Fault::Kill => format!("inject={call}:signal=SIGKILL:when={nth}"),
    };
    let mut strace = strace();
    strace.args([
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &what,
    ]);
    let output = strace
        .arg(program())
        .args(plan.args())
        .output()
        .expect(MISSING);
    let told = Told::read(&*output.stdout);
    let end = match (&told.error, output.status.code()) {
        (Some(error), _) => error
            .split(['(', ' '])
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
        (None, Some(0)) => "done".to_owned(),
        (None, None) => "killed".to_owned(),
        (None, Some(code)) => panic!("{what}: the writer ended with {code}"),
    };
    (told, end)
}

pub(crate) const MISSING: &str = "strace is needed for this test: install the package strace";

pub(crate) fn strace() -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).stderr(Stdio::null());
    command
}

/// The calls that an undisturbed writer makes on the log, each with its number among the calls of
/// that name: the numbering that `when=` goes by.
fn list_calls(prepared: &Path, scratch: &Path) -> Vec<(String, usize)> {
    let (dir, trace) = (scratch.join("undisturbed"), scratch.join("trace"));
    copy_if_there(prepared, &dir);
    let mut strace = strace();
    strace
        .args(["-y", "-s", "0", "-e", &format!("trace={CALLS}"), "-o"])
        .arg(&trace);
    let output = strace
        .arg(program())
        .args(Plan::new(&dir).args())
        .output()
        .expect(MISSING);
    assert!(
        output.status.success(),
        "the undisturbed writer failed: {output:?}"
    );
    let (mut counts, mut calls) = (BTreeMap::<String, usize>::new(), Vec::new());
    for line in fs::read_to_string(trace).unwrap().lines() {
        let text = line.split_once(' ').unwrap().1.trim_start();
        let Some((call, rest)) = text.split_once('(') else {
            continue;
        };
        let count = counts.entry(call.to_owned()).or_default();
        *count += 1;
        if rest.contains(dir.to_str().unwrap()) {
            calls.push((call.to_owned(), *count));
        }
    }
    calls
}

fn copy_if_there(from: &Path, to: &Path) {
    if from.is_dir() {
        common::copy(from, to);
    }
}
