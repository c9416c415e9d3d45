//! The second exec gate: who is in a cell's mounts without being in its trace executes nothing from them.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use placet_sandbox::{CellSpec, Denial, DeniedAccess, ExecReport, ExecRule, ExecVerdict};

use crate::support::{
    ACT, Act, Test, acting_spec, command, gate, is_root, own_executable, scratch,
};
use crate::{SUCCESS, eventually, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_stranger_in_a_cells_mounts_executes_nothing",
        a_stranger_executes_nothing,
    ),
    ("while_nobody_answers_opens_wait", while_nobody_answers),
    (
        "what_the_tree_starts_passes_both_gates",
        what_the_tree_starts,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("enter_and_execute", |a| enter_and_execute(&a[0], &a[1])),
    ("supervise_gated", |a| {
        let cell = start(gated("sleep", &[], &[Path::new(&a[0])]));
        println!("{}", cell.pid());
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }),
];

const TRUE: &str = "/usr/bin/true";

fn gated(act: &str, arguments: &[&str], executable: &[&Path]) -> CellSpec {
    let mut spec = acting_spec(act, arguments);
    spec.exec = gate(ExecRule::Ask {
        patience: Duration::from_secs(60),
    });
    let executable = executable
        .iter()
        .map(|path| fs::canonicalize(path).unwrap());
    spec.paths.exec.extend(executable);
    spec
}

/// In the mount namespace of that process and nothing else of its cell: the errno of an execve, or
/// 0. Says when it is there.
fn enter_and_execute(process: &str, program: &str) -> i32 {
    let namespace = File::open(format!("/proc/{process}/ns/mnt")).unwrap();
    let program = std::ffi::CString::new(program).unwrap();
    let none = [std::ptr::null()];
    // SAFETY: this process has one thread; the string is NUL terminated and the array ends with null.
    unsafe {
        assert_eq!(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS), 0);
        println!("there");
        libc::execve(program.as_ptr(), none.as_ptr(), none.as_ptr());
    }
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn enter(process: u32) -> Child {
    let mut stranger = command(&own_executable());
    let arguments = [ACT, "enter_and_execute", &process.to_string(), TRUE];
    let mut stranger = stranger
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(
        crate::first_line(stranger.stdout.take().unwrap()),
        "there\n"
    );
    stranger
}

fn a_stranger_executes_nothing() {
    let mut ungated = acting_spec("sleep", &[]);
    ungated.paths.exec.push(fs::canonicalize(TRUE).unwrap());
    if !is_root() {
        // Permission events take the host's root: the first gate stands alone, and says nothing here.
        let cell = start(gated("sleep", &[], &[Path::new(TRUE)]));
        return assert!(cell.denials().is_none());
    }
    let cell = start(ungated);
    assert!(
        enter(cell.pid()).wait().unwrap().success(),
        "without a gate"
    );
    let cell = start(gated("sleep", &[], &[Path::new(TRUE)]));
    let mut stranger = enter(cell.pid());
    let pid = stranger.id();
    assert_eq!(stranger.wait().unwrap().code(), Some(libc::EPERM));
    let denials = cell.denials().unwrap();
    let mut told = Vec::new();
    eventually("the report", || {
        told.extend(denials.reports());
        !told.is_empty()
    });
    let expected = Denial {
        access: DeniedAccess::Execute,
        rights: "exec.untraced".into(),
        path: Some(fs::canonicalize(TRUE).unwrap()),
        pid: Some(pid),
    };
    assert_eq!(told, [expected]);
}

fn while_nobody_answers() {
    if !is_root() {
        return;
    }
    let mut supervisor = command(&own_executable())
        .args([ACT, "supervise_gated", TRUE])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = crate::first_line(supervisor.stdout.take().unwrap());
    let pid1: u32 = line.trim_end().parse().unwrap();
    let signal = |signal| {
        // SAFETY: the pid is of a child that is not yet reaped.
        unsafe { libc::kill(i32::try_from(supervisor.id()).unwrap(), signal) };
    };
    signal(libc::SIGSTOP);
    let mut stranger = enter(pid1);
    std::thread::sleep(Duration::from_millis(300));
    assert!(stranger.try_wait().unwrap().is_none(), "it went on");
    signal(libc::SIGCONT);
    assert_eq!(stranger.wait().unwrap().code(), Some(libc::EPERM));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
}

/// Programs, a script, one that was born inside, and many at once; with nothing denied.
fn what_the_tree_starts() {
    let dir = scratch();
    let born = dir.path().join("born");
    let script = "cp /usr/bin/true \"$0\" && \"$0\" && for i in 1 2 3 4 5 6 7 8; do \
                  (/usr/bin/true; /usr/bin/env /usr/bin/true) & done; wait";
    let mut spec = gated("sleep", &[], &[Path::new("/usr/bin"), Path::new("/bin/sh")]);
    spec.program.path = fs::canonicalize("/bin/sh").unwrap();
    spec.program.identity = placet_sandbox::FileIdentity::of_path(&spec.program.path).unwrap();
    spec.program.argv = ["sh", "-c", script, born.to_str().unwrap()]
        .map(Into::into)
        .to_vec();
    spec.paths.write.push(dir.path().to_path_buf());
    spec.paths.exec_in_writable = true;
    let begin = Instant::now();
    let mut cell = start(spec);
    let denials = cell.denials().cloned();
    let gate = cell.gate().unwrap().clone();
    let mut asked = 0;
    let status = loop {
        for report in gate.reports() {
            if let ExecReport::Asked(call) = report {
                asked += 1;
                gate.answer(call.id, ExecVerdict::Allow);
            }
        }
        if let Some(exit) = cell.try_wait().unwrap() {
            break exit.status;
        }
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(status, SUCCESS);
    // cp, the born one, and three in each of eight.
    assert!(asked >= 18, "{asked}");
    assert_eq!(denials.is_some(), is_root());
    assert!(denials.is_none_or(|denials| denials.reports().is_empty()));
}
