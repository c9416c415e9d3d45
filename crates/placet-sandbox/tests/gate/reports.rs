//! What the supervisor hears of each exec.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_sandbox::{Arguments, ExecCall, ExecId, ExecRule, FileIdentity};

use crate::programs::{shell, tiny, with_programs};
use crate::support::{ACT, Test, acting, acting_spec, own_executable, scratch, spec};
use crate::{SUCCESS, gated, run, start, started, take, text};

pub(crate) const TESTS: &[Test] = &[
    ("each_exec_names_the_one_it_came_from", the_chain),
    ("a_script_is_named", a_script_is_named),
    (
        "a_script_behind_two_interpreters_is_named",
        a_script_behind_two_interpreters,
    ),
    (
        "a_script_found_by_a_relative_path_is_named",
        a_script_by_a_relative_path,
    ),
    ("a_program_is_no_script", a_program_is_no_script),
    ("arguments_that_are_not_utf_8_arrive", odd_arguments),
    ("arguments_that_nobody_wants_are_not_read", unread_arguments),
    (
        "a_mebibyte_of_arguments_is_cut_off_in_the_report",
        a_mebibyte_of_arguments,
    ),
    (
        "no_exec_starts_unreported_when_nobody_listens",
        nobody_listens,
    ),
    (
        "what_a_tree_does_wakes_its_tracer_and_no_other_thread",
        stops_wake_the_tracer_alone,
    ),
];

/// Programs of a tree, each with four stops: its maker's, its birth, its exec and its end.
const PROGRAMS: u64 = 50;

/// Each stop sends SIGCHLD to the tracer. Were that blocked there, the kernel would hand it to any other thread of the supervisor,
/// which would wake for nothing.
fn stops_wake_the_tracer_alone() {
    let script = format!("i=0; while [ $i -lt {PROGRAMS} ]; do /usr/bin/true; i=$((i+1)); done");
    let mut cell = start(gated(shell(&script), ExecRule::Any));
    let before = waits_of_others();
    let mut end = libc::pollfd {
        fd: cell.pidfd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor, which lives as long as the call. The last argument: for as long as it takes.
    assert_eq!(unsafe { libc::poll(&raw mut end, 1, 60_000) }, 1);
    let woken = waits_of_others() - before;
    let reports = take(&cell);
    assert_eq!(cell.wait().unwrap().status, SUCCESS);
    let programs = u64::try_from(started(&reports).len()).unwrap();
    assert_eq!(programs, PROGRAMS + 1);
    assert!(
        woken < PROGRAMS,
        "woken {woken} times by {programs} programs"
    );
}

/// How often the threads of this process but the tracer have waited for something.
fn waits_of_others() -> u64 {
    let mut waits = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // One that has ended meanwhile waits no more.
        let Ok(status) = fs::read_to_string(task.join("status")) else {
            continue;
        };
        let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        if of("Name:").unwrap().trim() != "placet-gate" {
            let own = of("voluntary_ctxt_switches:").unwrap().trim();
            waits += own.parse::<u64>().unwrap();
        }
    }
    waits
}

fn any(spec: placet_sandbox::CellSpec) -> Vec<ExecCall> {
    let (status, reports) = run(gated(spec, ExecRule::Any));
    assert_eq!(status, SUCCESS);
    started(&reports).into_iter().cloned().collect()
}

fn the_chain() {
    // true: by the inner shell, and by the outer one, once as a fork and once in its place.
    let script = "sh -c '/usr/bin/true; :'; /usr/bin/true; exec /usr/bin/true";
    let calls = any(shell(script));
    let chain: Vec<(String, Option<ExecId>)> = calls
        .iter()
        .map(|call| (call.argv[0].to_str().unwrap().to_owned(), call.by))
        .collect();
    let (outer, inner) = (Some(ExecId(1)), Some(ExecId(2)));
    let expected = [
        ("sh", None),
        ("sh", outer),
        ("/usr/bin/true", inner),
        ("/usr/bin/true", outer),
        ("/usr/bin/true", outer),
    ];
    assert_eq!(chain, expected.map(|(name, by)| (name.to_owned(), by)));
    let ids: Vec<u64> = calls.iter().map(|call| call.id.0).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(calls[4].pid, calls[0].pid);
    assert_eq!(calls[1].made_by, Some(calls[0].pid));
    assert_eq!(calls[2].made_by, Some(calls[1].pid));
}

fn script(dir: &Path, name: &str, first_line: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("{first_line}\nexit 0\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The only exec that names a script, with its path.
fn named(calls: &[ExecCall]) -> (&ExecCall, &Path) {
    let mut named = calls
        .iter()
        .filter_map(|call| Some((call, &*call.script.as_ref()?.path)));
    let found = named.next().unwrap();
    assert!(named.next().is_none());
    found
}

fn shell_path() -> PathBuf {
    fs::canonicalize("/bin/sh").unwrap()
}

fn a_script_is_named() {
    let dir = scratch();
    let script = script(dir.path(), "script", "#!/bin/sh -e");
    let mut spec = shell(&format!("{} one", text(&script)));
    spec.paths.exec.push(dir.path().to_path_buf());
    let calls = any(spec);
    let (call, path) = named(&calls);
    assert_eq!(path, script);
    assert_eq!(call.image.as_ref().unwrap().path, shell_path());
    let identity = call.script.as_ref().unwrap().identity;
    assert_eq!(identity, FileIdentity::of_path(&script).unwrap());
    assert_eq!(call.argv, ["/bin/sh", "-e", text(&script), "one"]);
}

fn a_script_behind_two_interpreters() {
    let dir = scratch();
    let first = script(dir.path(), "first", "#!/bin/sh");
    let second = script(dir.path(), "second", &format!("#!{} word", text(&first)));
    let mut spec = shell(text(&second));
    spec.paths.exec.push(dir.path().to_path_buf());
    assert_eq!(named(&any(spec)).1, second);
}

fn a_script_by_a_relative_path() {
    let dir = scratch();
    let script = script(dir.path(), "script", "#!/bin/sh");
    std::os::unix::fs::symlink("script", dir.path().join("link")).unwrap();
    for name in [
        "./script",
        "./link",
        "../../../../../../..//proc/self/cwd/link",
    ] {
        let mut spec = shell(name);
        spec.paths.exec.push(dir.path().to_path_buf());
        spec.cwd = dir.path().to_path_buf();
        let calls = any(spec);
        if name.contains("proc") {
            // No magic link is followed; that it was a script shows in the arguments.
            assert!(calls.iter().all(|call| call.script.is_none()));
            assert_eq!(calls.last().unwrap().argv.last().unwrap(), name);
        } else {
            assert_eq!(named(&calls).1, script, "{name}");
        }
    }
}

/// One that gets its own name as an argument does not pass for a script.
fn a_program_is_no_script() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    let link = text(&link);
    let spec = with_programs("spawn", &[link, link], dir.path());
    let calls = any(spec);
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.script.is_none()));
}

fn odd_arguments() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let odd: [&[u8]; 5] = [b"\x01", b"\xff\xfe\x80", b"", b"a\nb", b""];
    let argv: Vec<OsString> = odd.map(|bytes| OsStr::from_bytes(bytes).into()).to_vec();
    let calls = any(spec(&program, argv.clone()));
    assert_eq!(calls[0].argv, argv);
    assert!(!calls[0].argv_truncated);
}

fn unread_arguments() {
    let dir = scratch();
    let script = script(dir.path(), "script", "#!/bin/sh -e");
    let mut spec = gated(shell(text(&script)), ExecRule::Any);
    spec.paths.exec.push(dir.path().to_path_buf());
    spec.exec.arguments = Arguments::Unread;
    let (status, reports) = run(spec);
    assert_eq!(status, SUCCESS);
    let calls = started(&reports);
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert!(call.argv.is_empty() && call.argv_truncated && call.script.is_none());
        // What runs is known all the same.
        let image = call.image.as_ref().unwrap();
        assert_eq!((&image.path, image.digest.is_some()), (&shell_path(), true));
    }
}

fn a_mebibyte_of_arguments() {
    let mut argv = acting("exit", &["0"]);
    argv.extend((0..16).map(|_| OsString::from("x".repeat(64 << 10))));
    let calls = any(spec(&own_executable(), argv));
    assert!(calls[0].argv_truncated);
    assert_eq!(calls[0].argv[..4], ["actor", ACT, "exit", "0"]);
    let bytes: usize = calls[0].argv.iter().map(|word| word.len() + 1).sum();
    assert!(bytes > 128 << 10 && bytes < 130 << 10, "{bytes}");
}

fn nobody_listens() {
    const EXECS: usize = 400;
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let script = format!(
        "i=0; while [ $i -lt {EXECS} ]; do {}; i=$((i+1)); done",
        text(&program)
    );
    let mut spec = shell(&script);
    spec.paths.exec.push(dir.path().to_path_buf());
    let mut cell = start(gated(spec, ExecRule::Any));
    assert_eq!(
        cell.next_change(Some(Duration::from_secs(2))).unwrap(),
        None
    );
    let mut calls = BTreeMap::new();
    let first = take(&cell);
    assert_eq!(first.len(), 256);
    calls.extend(started(&first).iter().map(|call| (call.id, call.pid)));
    while cell.try_wait().unwrap().is_none() {
        calls.extend(started(&take(&cell)).iter().map(|call| (call.id, call.pid)));
        std::thread::sleep(Duration::from_millis(1));
    }
    calls.extend(started(&take(&cell)).iter().map(|call| (call.id, call.pid)));
    assert_eq!(calls.len(), EXECS + 1);
    // One that nobody ever listened to can still be ended.
    let mut unheard = start(gated(
        acting_spec("spawn_many", &[text(&program)]),
        ExecRule::Any,
    ));
    unheard.terminate().unwrap();
}
