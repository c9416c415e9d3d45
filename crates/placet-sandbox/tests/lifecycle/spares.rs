//! Cells that wait for a program: when one is used, when not, and what ends it.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;

use placet_sandbox::{Ahead, Cell, CellSpec, ExecRule, Session, Spares, Status, WaitingCell};

use crate::running::first_line;
use crate::support::{ACT, Act, Test, acting, acting_spec, command, own_executable, scratch};
use crate::{eventually, marked, marker, pause_for_ever};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_spare_becomes_the_cell_of_the_same_scope",
        a_spare_becomes_the_cell,
    ),
    (
        "a_spare_has_the_streams_of_its_release",
        a_spare_has_the_streams_of_its_release,
    ),
    (
        "a_spare_of_another_scope_is_not_used",
        a_spare_of_another_scope,
    ),
    (
        "a_spare_with_a_stale_inode_is_not_used",
        a_spare_with_a_stale_inode,
    ),
    (
        "a_spare_of_a_supervisor_that_changed_is_not_used",
        a_spare_of_a_supervisor_that_changed,
    ),
    (
        "a_spare_does_not_become_a_program_that_changed",
        a_program_that_changed,
    ),
    ("a_spare_that_was_killed_is_not_used", a_killed_spare),
    (
        "two_commands_never_get_the_same_spare",
        two_commands_at_once,
    ),
    (
        "a_killed_supervisor_leaves_no_spare",
        a_killed_supervisor_leaves_none,
    ),
    (
        "a_cell_that_stands_ahead_becomes_the_one_that_is_asked_for",
        a_cell_that_stands_ahead,
    ),
    (
        "a_cell_that_stands_ahead_for_another_spec_is_ended",
        a_cell_ahead_of_another_spec,
    ),
    (
        "nothing_stands_ahead_of_a_command_unlike_the_last",
        nothing_ahead_of_another_command,
    ),
    (
        "nothing_stands_ahead_once_a_path_leads_elsewhere",
        nothing_ahead_once_a_path_leads_elsewhere,
    ),
    ("no_spare_has_anything_of_one_execution", what_never_waits),
    ("no_spare_is_cloned_while_it_is_held_off", nobody_clones),
];

pub(crate) const ACTS: &[Act] = &[
    // Where it was started, with which variable, and with which arguments.
    ("compare_start", |a| {
        let cwd = std::env::current_dir().unwrap();
        let variable = std::env::var("WORD").unwrap_or_default();
        i32::from(cwd != Path::new(&a[0]) || variable != a[1] || a.len() != 2)
    }),
    ("read_word", |a| {
        i32::from(fs::read_to_string(&a[0]).unwrap() != a[1])
    }),
    ("say", |a| {
        println!("{}", a[0]);
        0
    }),
    ("keep_spare", |a| {
        let spares = stocked(&spec("exit", &[&a[0]]));
        println!("{}", spares.waiting());
        pause_for_ever()
    }),
    ("redirect_spare", |a| {
        let spec = spec("say", &["to the file"]);
        let spares = stocked(&spec);
        let file = fs::File::create(&a[0]).unwrap();
        // SAFETY: both are descriptors of this process.
        assert!(unsafe { libc::dup2(file.as_raw_fd(), 1) } == 1);
        let status = end_of(taken(spec, &spares));
        i32::from(status != Status::Exited(0))
    }),
];

/// A spec of a cell that can wait: it has a session of its own.
fn spec(act: &str, arguments: &[&str]) -> CellSpec {
    let mut spec = acting_spec(act, arguments);
    spec.session = Session::Own;
    spec
}

/// A spare for that spec.
fn stocked(spec: &CellSpec) -> Spares {
    let spares = Spares::kept().unwrap();
    spares.note(spec);
    spares.restock();
    eventually("a spare", || spares.waiting() == 1);
    spares
}

fn spawned(spec: CellSpec, spares: &Spares) -> WaitingCell {
    Cell::prepare(spec).unwrap().spawn_from(spares).unwrap()
}

/// The cell that the spare has become.
fn taken(spec: CellSpec, spares: &Spares) -> WaitingCell {
    let spare = pid_of_spare().unwrap();
    let waiting = spawned(spec, spares);
    assert_eq!((waiting.pid(), spares.waiting()), (spare, 0));
    waiting
}

fn end_of(waiting: WaitingCell) -> Status {
    let mut cell = waiting.release().unwrap();
    cell.wait().unwrap().status
}

/// The number of the first process of the one spare that this process has.
fn pid_of_spare() -> Option<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut firsts = pids.filter_map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let first = (name.trim() == "placet-spare").then(|| parent_of(pid))??;
        (parent_of(first)? == own).then_some(first)
    });
    firsts.next()
}

fn a_spare_becomes_the_cell() {
    let dir = scratch();
    let work = dir.path().to_str().unwrap();
    let mut first = spec("exit", &["0"]);
    first.paths.write.push(dir.path().to_owned());
    let spares = stocked(&first);
    // Another program start of the same scope.
    let mut next = first.clone();
    next.program.argv = acting("compare_start", &[work, "a value"]);
    next.env.push(("WORD".into(), "a value".into()));
    next.cwd = dir.path().to_owned();
    assert_eq!(end_of(taken(next, &spares)), Status::Exited(0));
    // There is one for each command, and one is enough.
    for _ in 0..2 {
        spares.note(&first);
        spares.restock();
    }
    eventually("another spare", || spares.waiting() == 1);
    assert_eq!(end_of(taken(first, &spares)), Status::Exited(0));
}

fn a_spare_has_the_streams_of_its_release() {
    let dir = scratch();
    let file = dir.path().join("said");
    let mut supervisor = command(&own_executable());
    let output = supervisor
        .args([ACT, "redirect_spare"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "to the file\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

fn a_spare_of_another_scope() {
    let dir = scratch();
    let plain = spec("exit", &["3"]);
    let spares = stocked(&plain);
    let mut wider = plain.clone();
    wider.paths.write.push(dir.path().to_owned());
    let mut bounded = plain.clone();
    bounded.limits.open_files = Some(64);
    let mut hidden = plain.clone();
    hidden.paths.read.push(dir.path().to_owned());
    hidden.paths.hidden.push(dir.path().join("hidden"));
    fs::write(dir.path().join("hidden"), "secret").unwrap();
    let mut loopback = plain.clone();
    loopback.network = placet_sandbox::Network::Loopback;
    let mut with_door = plain.clone();
    with_door.door = true;
    for other in [wider, bounded, hidden, loopback, with_door] {
        assert_eq!(end_of(spawned(other, &spares)), Status::Exited(3));
        assert_eq!(spares.waiting(), 1);
    }
    assert_eq!(end_of(taken(plain, &spares)), Status::Exited(3));
}

fn a_spare_with_a_stale_inode() {
    let dir = scratch();
    let granted = dir.path().join("granted");
    let file = granted.join("word");
    let make = |word: &str| {
        fs::create_dir(&granted).unwrap();
        fs::write(&file, word).unwrap();
    };
    make("old");
    let reads = |word: &str| {
        let mut spec = spec("read_word", &[file.to_str().unwrap(), word]);
        spec.paths.read.push(granted.clone());
        spec
    };
    let spares = stocked(&reads("old"));
    fs::rename(&granted, dir.path().join("moved")).unwrap();
    make("new");
    assert_eq!(end_of(spawned(reads("new"), &spares)), Status::Exited(0));
    assert_eq!(spares.waiting(), 1);
    // It is as it was: so the spare is what would be built.
    fs::rename(&granted, dir.path().join("again")).unwrap();
    fs::rename(dir.path().join("moved"), &granted).unwrap();
    assert_eq!(end_of(taken(reads("old"), &spares)), Status::Exited(0));
}

fn a_spare_of_a_supervisor_that_changed() {
    let spec = spec("exit", &["0"]);
    let spares = stocked(&spec);
    let spare = pid_of_spare().unwrap();
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let waiting = spawned(spec, &spares);
    rustix::process::umask(mask);
    assert!(waiting.pid() != spare);
    assert_eq!(end_of(waiting), Status::Exited(0));
    // Nobody could use it any more.
    assert_eq!(spares.waiting(), 0);
}

fn a_program_that_changed() {
    let dir = scratch();
    let program = dir.path().join("program");
    fs::copy(own_executable(), &program).unwrap();
    let mut spec = crate::support::spec(&program, acting("exit", &["0"]));
    spec.session = Session::Own;
    let spares = stocked(&spec);
    let waiting = taken(spec, &spares);
    fs::remove_file(&program).unwrap();
    fs::copy(own_executable(), &program).unwrap();
    let error = waiting.release().unwrap_err();
    assert!(
        matches!(error, placet_sandbox::SandboxError::ProgramChanged(_))
            || error.to_string().contains("program"),
        "{error}"
    );
}

fn a_killed_spare() {
    let spec = spec("exit", &["0"]);
    let spares = stocked(&spec);
    let spare = pid_of_spare().unwrap();
    let pid = rustix::process::Pid::from_raw(spare.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("its end", || {
        let stat = fs::read_to_string(format!("/proc/{spare}/stat")).unwrap();
        stat.contains(") Z ")
    });
    let waiting = spawned(spec, &spares);
    assert!(waiting.pid() != spare);
    assert_eq!(end_of(waiting), Status::Exited(0));
}

fn two_commands_at_once() {
    let spec = spec("exit", &["0"]);
    for _ in 0..5 {
        let spares = stocked(&spec);
        let together = Barrier::new(2);
        let spawn = || {
            let prepared = Cell::prepare(spec.clone()).unwrap();
            together.wait();
            let waiting = prepared.spawn_from(&spares).unwrap();
            let pid = waiting.pid();
            assert_eq!(end_of(waiting), Status::Exited(0));
            pid
        };
        let (one, other) = thread::scope(|scope| {
            let one = scope.spawn(spawn);
            let other = scope.spawn(spawn);
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one != other);
        assert_eq!(spares.waiting(), 0);
    }
}

fn a_killed_supervisor_leaves_none() {
    let marker = marker();
    let mut supervisor = command(&own_executable())
        .args([ACT, "keep_spare", &marker])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(first_line(supervisor.stdout.take().unwrap()), "1\n");
    // The supervisor, and the two processes of the spare, which have its command line.
    assert_eq!(marked(&marker), 3);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    eventually("the end of the spare", || marked(&marker) == 0);
}

/// A spare that stands ahead for `spec`, and the number of its first process.
fn standing_ahead(spec: &CellSpec) -> (Spares, Ahead, u32) {
    let spares = stocked(spec);
    let spare = pid_of_spare().unwrap();
    let ahead = spares.ahead(spec.clone());
    (spares, ahead.unwrap(), spare)
}

fn a_cell_that_stands_ahead() {
    let dir = scratch();
    let work = dir.path().to_str().unwrap();
    let mut first = spec("exit", &["0"]);
    first.paths.write.push(dir.path().to_owned());
    let spares = stocked(&first);
    let spare = pid_of_spare().unwrap();
    let mut next = first.clone();
    next.program.argv = acting("compare_start", &[work, "a value"]);
    next.cwd = dir.path().to_owned();
    let ahead = spares.ahead(next.clone());
    assert_eq!(spares.waiting(), 0);
    // Its variables need not be known before.
    next.env.push(("WORD".into(), "a value".into()));
    let waiting = ahead.unwrap().confirm(&next).unwrap();
    assert_eq!(waiting.pid(), spare);
    assert_eq!(end_of(waiting), Status::Exited(0));
}

fn a_cell_ahead_of_another_spec() {
    let dir = scratch();
    let plain = spec("exit", &["3"]);
    type Change = fn(&mut CellSpec, &Path);
    let changes: [Change; 9] = [
        |spec, dir| spec.paths.write.push(dir.to_owned()),
        |spec, dir| spec.paths.hidden.push(dir.join("hidden")),
        |spec, _| spec.limits.open_files = Some(64),
        |spec, _| spec.network = placet_sandbox::Network::Loopback,
        |spec, _| spec.door = true,
        |spec, _| spec.program.argv.push("another".into()),
        |spec, dir| spec.cwd = dir.to_owned(),
        |spec, _| spec.exec.rule = ExecRule::Listed(BTreeSet::new()),
        |spec, dir| spec.egress.sockets.push(dir.join("socket")),
    ];
    for change in changes {
        let (spares, ahead, spare) = standing_ahead(&plain);
        let mut asked = plain.clone();
        change(&mut asked, dir.path());
        assert!(ahead.confirm(&asked).is_none(), "{asked:?}");
        assert_eq!(spares.waiting(), 0);
        assert!(!Path::new(&format!("/proc/{spare}")).exists());
    }
    let (_spares, ahead, spare) = standing_ahead(&plain);
    drop(ahead);
    assert!(!Path::new(&format!("/proc/{spare}")).exists());
}

fn nothing_ahead_of_another_command() {
    let plain = spec("exit", &["3"]);
    let spares = stocked(&plain);
    let mut another = plain.clone();
    another.limits.open_files = Some(64);
    assert!(spares.ahead(another).is_none());
    assert_eq!(spares.waiting(), 1);
    let mut outside = plain.clone();
    outside.program.path = "/nonexistent".into();
    assert!(spares.ahead(outside).is_none());
    assert_eq!(end_of(taken(plain, &spares)), Status::Exited(3));
}

fn nothing_ahead_once_a_path_leads_elsewhere() {
    let dir = scratch();
    let (granted, hidden) = (dir.path().join("granted"), dir.path().join("hidden"));
    fs::create_dir(&granted).unwrap();
    // As it is looked at now.
    let wanted = || {
        let mut spec = spec("exit", &["3"]);
        spec.paths.write.push(granted.clone());
        spec.paths.hidden.push(hidden.clone());
        spec
    };
    let spares = stocked(&wanted());
    fs::rename(&granted, dir.path().join("moved")).unwrap();
    fs::create_dir(&granted).unwrap();
    assert!(spares.ahead(wanted()).is_none());
    fs::rename(&granted, dir.path().join("again")).unwrap();
    fs::rename(dir.path().join("moved"), &granted).unwrap();
    // What was not there is no more to be hidden than it was, until it is.
    fs::create_dir(&hidden).unwrap();
    assert!(spares.ahead(wanted()).is_none());
    fs::remove_dir(&hidden).unwrap();
    assert_eq!(spares.waiting(), 1);
    let asked = wanted();
    let waiting = spares
        .ahead(asked.clone())
        .unwrap()
        .confirm(&asked)
        .unwrap();
    assert_eq!(end_of(waiting), Status::Exited(3));
}

fn what_never_waits() {
    let spares = Spares::kept().unwrap();
    let mut shared = spec("exit", &["0"]);
    shared.session = Session::Shared;
    let mut secret = spec("exit", &["0"]);
    secret.credentials.variables.push("TOKEN".into());
    for never in [shared, secret] {
        spares.note(&never);
        spares.restock();
    }
    // Ordered after them, and so there once they were not built.
    let last = spec("exit", &["0"]);
    spares.note(&last);
    spares.restock();
    eventually("the last", || spares.waiting() == 1);
    assert_eq!(end_of(taken(last, &spares)), Status::Exited(0));
}

fn nobody_clones() {
    let spares = Spares::kept().unwrap();
    let spec = spec("exit", &["0"]);
    let held = spares.hold_off();
    spares.note(&spec);
    spares.restock();
    thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!((spares.waiting(), pid_of_spare()), (0, None));
    drop(held);
    eventually("the spare", || spares.waiting() == 1);
    assert_eq!(end_of(taken(spec, &spares)), Status::Exited(0));
}
