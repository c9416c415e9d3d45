//! Drift as a user meets it: what a decision was about changes while it runs, and the tree is ended.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::domain::{DENIED, Domain, TERMINATED, await_some, parsed};
use crate::job::{Job, living, mark};

/// A domain whose operators pin their Makefile.
fn pinning() -> Domain {
    let domain = Domain::new();
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        "exec_in_writable = true\npinned = [\"${workspace}/Makefile\", \"${workspace}/local.mk\"]",
    )]);
    fs::write(domain.work().join("Makefile"), "all:\n").unwrap();
    domain
}

fn assert_drifted(domain: &Domain, job: Job, cause: &str, what: &str) {
    let took = job.await_gone();
    assert!(took < Duration::from_secs(5), "{what}: {took:?}");
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{what}: {ran:?}");
    assert!(
        ran.stderr.contains(cause) && ran.stderr.contains(what),
        "{what}: {ran:?}"
    );
    let one = domain.await_outcome(&exec);
    assert_eq!(one["ended"]["cause"], cause, "{what}: {one}");
    let records = domain.ok(&["log", "tail", "-n", "99", "--json"]);
    let drift = records
        .lines()
        .map(parsed)
        .find(|it| it["record"]["kind"] == "drift" && it["exec"] == exec.as_str())
        .unwrap();
    assert!(drift.to_string().contains(what), "{drift}");
    domain.assert_intact();
}

#[test]
fn a_pinned_file_that_changes_ends_the_tree() {
    let domain = pinning();
    let job = Job::begin(&domain, &[]);
    fs::write(domain.work().join("Makefile"), "all: evil\n").unwrap();
    assert_drifted(&domain, job, "runtime_integrity", "Makefile");
    let job = Job::begin(&domain, &[]);
    fs::write(domain.work().join("new"), "all: worse\n").unwrap();
    fs::rename(domain.work().join("new"), domain.work().join("Makefile")).unwrap();
    assert_drifted(&domain, job, "runtime_integrity", "Makefile");
    // One that was not there when it began.
    let job = Job::begin(&domain, &[]);
    fs::write(domain.work().join("local.mk"), "").unwrap();
    assert_drifted(&domain, job, "runtime_integrity", "local.mk");
}

#[test]
fn the_tree_itself_may_not_change_what_is_pinned() {
    let domain = pinning();
    let mark = mark();
    let script = format!("echo 'all: x' > Makefile; sleep {mark}");
    let ran = domain.run(&["run", "--", "sh", "-c", &script]);
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    assert!(ran.stderr.contains("Makefile"), "{ran:?}");
    assert!(living(&mark).is_empty());
}

#[test]
fn the_start_commits_to_what_is_pinned_and_what_cannot_be_pinned_does_not_start() {
    let domain = pinning();
    domain.ok(&["run", "--", "true"]);
    let records = domain.ok(&["log", "tail", "-n", "9", "--json"]);
    let started = records
        .lines()
        .map(parsed)
        .find(|it| it["kind"] == "started");
    let pinned = started.unwrap()["record"]["pinned"].clone();
    assert!(pinned.is_string(), "{pinned}");
    fs::create_dir(domain.work().join("local.mk")).unwrap();
    let said = domain.fails(DENIED, &["run", "--", "touch", "touched"]);
    assert!(
        said.contains("local.mk") && said.contains("unenforceable"),
        "{said}"
    );
    assert!(!domain.work().join("touched").exists());
    fs::remove_dir(domain.work().join("local.mk")).unwrap();
    domain.assert_intact();
}

/// Whether a process with this mark has a program of this name as its image: a cell that still stands before its
/// release has the same words on its command line.
fn runs(program: &str, mark: &str) -> bool {
    living(mark).iter().any(|pid| {
        let image = fs::read_link(format!("/proc/{pid}/exe"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // One that is still looked at before its first instruction is stopped (`t`), and does not run yet.
        let sleeps = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'));
        image.is_ok_and(|image| image.ends_with(program)) && sleeps
    })
}

#[test]
fn a_program_that_is_replaced_while_it_runs_ends_the_tree() {
    let domain = Domain::new();
    let (program, new) = (domain.work().join("job"), domain.work().join("new"));
    fs::copy("/bin/sleep", &program).unwrap();
    fs::copy("/bin/cat", &new).unwrap();
    let mark = mark();
    let child = domain.start(&["run", "--", "./job", &mark]);
    await_some("the job", || runs("job", &mark).then_some(()));
    fs::rename(&new, &program).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(TERMINATED), "{said}");
    assert!(
        said.contains("runtime_integrity") && said.contains("/job"),
        "{said}"
    );
    assert!(living(&mark).is_empty());
    domain.assert_intact();
}

#[test]
fn a_gateway_whose_own_program_is_replaced_ends_what_it_supervises() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let (gateway, new) = (domain.path("gateway"), domain.path("new"));
    fs::copy(env!("CARGO_BIN_EXE_placet"), &gateway).unwrap();
    fs::set_permissions(&gateway, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&new, "other").unwrap();
    let mark = mark();
    let child = Command::new(&gateway)
        .args(["run", "--", "sleep", &mark])
        .current_dir(domain.work())
        .env("HOME", domain.path("home"))
        .env("PLACET_DOMAIN", domain.dir())
        .env("PLACET_PRINCIPAL", "user:op")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    await_some("the job", || (living(&mark).len() >= 3).then_some(()));
    fs::rename(&new, &gateway).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(TERMINATED), "{said}");
    assert!(said.contains("environment_untrusted"), "{said}");
    assert!(living(&mark).is_empty());
    domain.assert_intact();
}
