//! Fail closed: whatever goes away, what it governed ends, and the log says so.
//!
//! The lease of the starter bundle is two seconds. A tree must be gone by then; a bound in a test
//! grants the machine one second more to be slow in.

use std::time::Duration;

use rustix::process::Signal;

use crate::domain::{DENIED, Domain, TERMINATED, UNVERIFIED, await_some, set_mode};
use crate::job::{Job, send};

const LEASE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);

/// The job is over, for this cause, and the domain is as good as before.
fn assert_over(domain: &Domain, exec: &str, cause: &str) {
    let one = domain.await_outcome(exec);
    assert_eq!(
        (&one["status"], &one["ended"]["cause"]),
        (&"terminated".into(), &cause.into()),
        "{one}"
    );
    domain.assert_intact();
}

#[test]
fn a_killed_node_that_does_not_come_back_ends_what_it_governed_within_the_lease() {
    let domain = Domain::new();
    let job = Job::begin(&domain, &[]);
    // No node starts with a key that others can read.
    let key = domain.dir().join("keys/record.key");
    let node = domain.node().unwrap();
    set_mode(&key, 0o644);
    send(node, Signal::KILL);
    let took = job.await_gone();
    set_mode(&key, 0o600);
    assert!(took <= LEASE + SLACK, "{took:?}");
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    assert!(
        ran.stderr.contains("authorization_discontinuity"),
        "{ran:?}"
    );
    assert_over(&domain, &exec, "authorization_discontinuity");
}

#[test]
fn a_killed_node_is_started_again_and_saves_what_runs() {
    let domain = Domain::new();
    let wait = "until [ -e go ]; do sleep 0.05; done; echo done";
    let mut job = domain.start(&["run", "--", "sh", "-c", wait]);
    await_some("the start", || {
        let all = domain.json(&["executions", "--running"]);
        all[0]["running_since"].as_u64()
    });
    let first = domain.node().unwrap();
    send(first, Signal::KILL);
    let second = await_some("another node", || domain.node());
    assert_ne!(first, second);
    std::thread::sleep(LEASE + SLACK);
    assert_eq!(job.try_wait().unwrap(), None, "it was not saved");
    std::fs::write(domain.work().join("go"), "").unwrap();
    let output = job.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"done\n"[..])
    );
    assert_eq!(domain.executions()[0]["status"], "completed");
    domain.assert_intact();
}

#[test]
fn a_node_that_hangs_ends_what_it_governed_within_the_lease() {
    let domain = Domain::new();
    let job = Job::begin(&domain, &[]);
    let node = domain.node().unwrap();
    send(node, Signal::STOP);
    let took = job.await_gone();
    send(node, Signal::CONT);
    assert!(took <= LEASE + SLACK, "{took:?}");
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    assert!(ran.stderr.contains("governance_discontinuity"), "{ran:?}");
    assert_over(&domain, &exec, "governance_discontinuity");
}

#[test]
fn a_killed_supervisor_takes_the_tree_along_and_the_node_records_the_end() {
    let domain = Domain::new();
    let mut job = Job::begin(&domain, &[]);
    job.kill();
    let took = job.await_gone();
    assert!(took <= SLACK, "{took:?}");
    let exec = job.exec.clone();
    assert_over(&domain, &exec, "authorization_discontinuity");
}

#[test]
fn a_supervisor_that_hangs_does_not_keep_the_tree_beyond_the_lease() {
    let domain = Domain::new();
    let job = Job::begin(&domain, &[]);
    job.signal(Signal::STOP);
    let took = job.await_gone();
    job.signal(Signal::CONT);
    assert!(took <= LEASE + SLACK, "{took:?}");
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    // The node vouched for its view all the time: it was the supervisor that did not renew.
    assert_over(&domain, &exec, "authorization_discontinuity");
}

/// A domain whose operators' leases allow a view of the log that is three seconds old.
fn impatient() -> Domain {
    let domain = Domain::new();
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "staleness = \"10s\"",
        "staleness = \"3s\"",
    )]);
    domain
}

#[test]
fn a_node_that_beats_without_its_log_keeps_nothing_alive_beyond_the_bound() {
    let domain = impatient();
    let job = Job::begin(&domain, &[]);
    let (log, aside) = (domain.dir().join("log"), domain.path("aside"));
    std::fs::rename(&log, &aside).unwrap();
    let took = job.await_gone();
    std::fs::rename(&aside, &log).unwrap();
    let bound = Duration::from_secs(3);
    assert!(took <= bound + SLACK, "{took:?}");
    // Not by the lease, which the node went on renewing.
    assert!(took >= LEASE, "{took:?}");
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    assert!(ran.stderr.contains("governance_discontinuity"), "{ran:?}");
    assert_over(&domain, &exec, "governance_discontinuity");
}

/// How often the head was written: each of its two slots has the number of its last time behind eight bytes of magic.
fn batches(head: &std::path::Path) -> u64 {
    let bytes = std::fs::read(head).unwrap();
    let number = |slot: &[u8]| u64::from_be_bytes(slot[8..16].try_into().unwrap());
    bytes.chunks(4096).map(number).max().unwrap()
}

#[test]
fn an_end_is_recorded_only_when_nothing_of_the_tree_is_left() {
    let domain = Domain::new();
    let head = domain.dir().join("log/head");
    for _ in 0..3 {
        let job = Job::begin(&domain, &[]);
        domain.await_no_open_permit_but(1);
        let family = job.tree();
        let lives = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|line| !line.is_empty())
        };
        assert!(family.iter().all(lives));
        // Each batch writes the head: the first one is the revocation, the second the end.
        let before = batches(&head);
        let mut revoke = domain.start(&["revoke", &job.exec, "--reason", "enough"]);
        let began = std::time::Instant::now();
        while batches(&head) < before + 2 && began.elapsed() < Duration::from_secs(20) {}
        assert!(!family.iter().any(lives), "it was recorded too early");
        assert!(batches(&head) >= before + 2, "no end was recorded");
        revoke.wait().unwrap();
        let exec = job.exec.clone();
        job.end();
        assert_eq!(domain.outcome(&exec)["ended"]["cause"], "revoked");
    }
}

/// A control group whose processes get no more memory. Removed with it.
struct Starved(std::path::PathBuf);

impl Starved {
    fn new() -> Self {
        let name = format!("placet-test-{}", std::process::id());
        let v1 = std::path::Path::new("/sys/fs/cgroup/memory");
        let (root, limit) = if v1.is_dir() {
            (v1, "memory.limit_in_bytes")
        } else {
            (std::path::Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let group = Self(root.join(name));
        std::fs::create_dir(&group.0).unwrap();
        std::fs::write(group.0.join(limit), "4096").unwrap();
        group
    }

    fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn a_supervisor_that_runs_out_of_memory_takes_the_tree_along() {
    if !rustix::process::geteuid().is_root() {
        // Control groups are root's; so is CI.
        println!("not tested without root");
        return;
    }
    let domain = Domain::new();
    let mark = crate::job::mark();
    // What comes through the door is a process more of the supervisor's.
    let script = format!(
        "sleep {mark} & while :; do [ -e go ] && /run/placet/placet run -- true; sleep 0.1; done"
    );
    let mut job = domain.start(&["run", "--", "sh", "-c", &script]);
    await_some("the job", || {
        (crate::job::living(&mark).len() >= 3).then_some(())
    });
    let exec = domain.json(&["executions", "--running"])[0]["exec"].clone();
    let group = Starved::new();
    group.take(job.id());
    std::fs::write(domain.work().join("go"), "").unwrap();
    let status = await_some("the end of the supervisor", || job.try_wait().unwrap());
    assert_eq!(status.code(), None, "it was killed: {status}");
    let began = std::time::Instant::now();
    await_some("the end of the tree", || {
        crate::job::living(&mark).is_empty().then_some(())
    });
    assert!(began.elapsed() <= SLACK, "{:?}", began.elapsed());
    assert_over(
        &domain,
        exec.as_str().unwrap(),
        "authorization_discontinuity",
    );
}

#[test]
fn node_and_supervisor_killed_together_leave_nothing_running_and_nothing_open() {
    let domain = Domain::new();
    let mut job = Job::begin(&domain, &[]);
    send(domain.node().unwrap(), Signal::KILL);
    job.kill();
    let took = job.await_gone();
    assert!(took <= SLACK, "{took:?}");
    // Nobody reports this end. The next command starts a node, which finds out.
    domain.ok(&["run", "--", "true"]);
    let exec = job.exec.clone();
    assert_over(&domain, &exec, "authorization_discontinuity");
}

#[test]
fn a_halt_ends_what_runs_and_keeps_everything_from_starting_until_it_is_resumed() {
    let domain = Domain::new();
    let job = Job::begin(&domain, &[]);
    domain.ok(&["halt", "--reason", "look first"]);
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    assert!(ran.stderr.contains("halted"), "{ran:?}");
    let touched = domain.work().join("touched");
    let said = domain.fails(DENIED, &["run", "--", "touch", "touched"]);
    assert!(
        said.contains("halted") && said.contains("placet resume"),
        "{said}"
    );
    assert!(!touched.exists());
    // It is the domain that is halted, not the node.
    domain.stop();
    domain.fails(DENIED, &["run", "--", "touch", "touched"]);
    assert_eq!(domain.json(&["node", "status"])["halted"], true);
    domain.ok(&["resume", "--reason", "looked"]);
    domain.ok(&["run", "--", "touch", "touched"]);
    assert!(touched.exists());
    assert_over(&domain, &exec, "halted");
}

#[test]
fn each_selector_of_a_revocation_ends_what_it_names_and_nothing_else() {
    let domain = Domain::new();
    let other = Job::begin(&domain, &["--as", "agent:coder"]);
    let prefixes = [
        ("execution", "exec_"),
        ("artifact", "art_"),
        ("subtree", "subtree:exec_"),
    ];
    for (name, prefix) in prefixes {
        let job = Job::begin(&domain, &[]);
        let selector = job.exec.replacen("exec_", prefix, 1);
        domain.ok(&["revoke", &selector, "--reason", "enough"]);
        assert_revoked(&domain, job, name);
        assert_eq!(other.tree().len(), crate::job::FAMILY_SIZE, "{name}");
        domain.ok(&["run", "--", "true"]);
    }
    // A principal is suspended with it, until it is restored.
    let job = Job::begin(&domain, &[]);
    domain.ok(&["revoke", "principal:agent:coder", "--reason", "enough"]);
    assert_revoked(&domain, other, "principal");
    assert!(!job.tree().is_empty(), "another principal's");
    let said = domain.fails(DENIED, &["run", "--as", "agent:coder", "--", "ls"]);
    assert!(
        said.contains("revoked") && said.contains("suspended"),
        "{said}"
    );
    domain.ok(&["principal", "restore", "agent:coder"]);
    domain.ok(&["run", "--as", "agent:coder", "--", "ls"]);
    // A policy permits nothing any more, and what it permitted ends.
    let agents = Job::begin(&domain, &["--as", "agent:coder"]);
    domain.ok(&["revoke", "policy:operators-run", "--reason", "enough"]);
    assert_revoked(&domain, job, "policy");
    assert!(!agents.tree().is_empty(), "another policy's");
    let said = domain.fails(DENIED, &["run", "--", "true"]);
    assert!(
        said.contains("revoked") || said.contains("no_permit"),
        "{said}"
    );
    domain.ok(&["revoke", &agents.exec]);
    assert_revoked(&domain, agents, "agents");
    assert_eq!(domain.json(&["log", "fsck"])["sound"], true);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

fn assert_revoked(domain: &Domain, job: Job, name: &str) {
    let exec = job.exec.clone();
    let ran = job.end();
    assert_eq!(ran.code, TERMINATED, "{name}: {ran:?}");
    assert!(ran.stderr.contains("revoked"), "{name}: {ran:?}");
    let one = domain.outcome(&exec);
    assert_eq!(one["ended"]["cause"], "revoked", "{name}: {one}");
}

#[test]
fn a_bundle_that_is_lost_or_altered_on_disk_denies_everything_until_it_is_back() {
    let domain = Domain::new();
    let digest = domain.json(&["policy", "status"])["active"]["digest"].clone();
    let name = digest.as_str().unwrap().replace("sha256:", "");
    let path = domain.dir().join(format!("bundles/{name}.bundle"));
    let sound = std::fs::read(&path).unwrap();
    let altered = String::from_utf8(sound.clone()).unwrap();
    let altered = altered.replacen("forbid", "permit", 1).into_bytes();
    assert_ne!(altered, sound);
    for (what, bytes) in [("lost", None), ("altered", Some(altered))] {
        domain.stop();
        match bytes {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        let said = domain.fails(DENIED, &["run", "--", "touch", "touched"]);
        assert!(said.contains("policy_error"), "{what}: {said}");
        assert!(!domain.work().join("touched").exists(), "{what}");
        domain.fails(UNVERIFIED, &["policy", "status"]);
        domain.stop();
        std::fs::write(&path, &sound).unwrap();
        domain.ok(&["run", "--", "touch", "touched"]);
        std::fs::remove_file(domain.work().join("touched")).unwrap();
    }
    domain.assert_intact();
}

#[test]
fn a_log_that_is_taken_away_while_the_node_runs_is_noticed_before_anything_counts() {
    for moved in [true, false] {
        let domain = Domain::new();
        domain.ok(&["run", "--", "true"]);
        let (log, aside) = (domain.dir().join("log"), domain.path("aside"));
        if moved {
            std::fs::rename(&log, &aside).unwrap();
        } else {
            let mut copy = std::process::Command::new("cp");
            assert!(
                copy.arg("-a")
                    .args([&log, &aside])
                    .status()
                    .unwrap()
                    .success()
            );
            std::fs::remove_dir_all(&log).unwrap();
        }
        let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
        assert!(said.contains("evidence_unavailable"), "{said}");
        assert!(!domain.work().join("touched").exists());
        // Nothing was made in its place, and with the log back it goes on.
        std::fs::rename(&aside, &log).unwrap();
        domain.assert_intact();
    }
}

#[test]
fn a_key_that_others_can_read_or_that_is_gone_stops_the_node_and_says_which() {
    let domain = Domain::new();
    domain.stop();
    for role in ["artifact", "log", "record"] {
        let path = domain.dir().join(format!("keys/{role}.key"));
        set_mode(&path, 0o644);
        let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
        let name = format!("{role}.key");
        assert!(said.contains(&name) && said.contains("chmod 600"), "{said}");
        set_mode(&path, 0o600);
        let sound = std::fs::read(&path).unwrap();
        std::fs::write(&path, "placet-key-v1 nonsense\n").unwrap();
        let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
        assert!(
            said.contains(&name) && said.contains("is not a key file"),
            "{said}"
        );
        std::fs::remove_file(&path).unwrap();
        let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
        assert!(
            said.contains(&name) && said.contains("No such file"),
            "{said}"
        );
        std::fs::write(&path, sound).unwrap();
        set_mode(&path, 0o600);
    }
    assert!(!domain.work().join("touched").exists());
    domain.assert_intact();
}

/// A wall clock that is wrong by as many seconds as stand in a file.
const WRONG_CLOCK: &str = include_str!("../support/wrong_clock.c");

#[test]
fn a_wall_clock_that_jumps_ends_nothing_prolongs_nothing_and_never_turns_the_log_back() {
    let mut domain = Domain::new();
    let (source, library) = (domain.path("clock.c"), domain.path("clock.so"));
    let offset = domain.path("offset");
    std::fs::write(&source, WRONG_CLOCK).unwrap();
    let mut cc = std::process::Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .args([&library, &source]);
    assert!(
        cc.arg(format!("-DOFFSET=\"{}\"", offset.display()))
            .status()
            .unwrap()
            .success()
    );
    domain.preload(library);
    let year = 365 * 86_400;
    let wrong_by = |secs: i64| std::fs::write(&offset, secs.to_string()).unwrap();

    // A year ahead: what runs goes on, its lease and its window with it.
    let job = Job::begin(&domain, &[]);
    wrong_by(year);
    domain.ok(&["run", "--", "true"]);
    std::thread::sleep(LEASE + SLACK);
    assert!(!job.tree().is_empty(), "the jump ended it");
    // And back by two: the log's time stays, the gateway attests at another, so nothing runs.
    wrong_by(-year);
    let said = domain.fails(DENIED, &["run", "--", "touch", "touched"]);
    assert!(
        said.contains("environment_untrusted") && said.contains("set the clock"),
        "{said}"
    );
    assert!(!domain.work().join("touched").exists());
    // A window is as long as it was asked for, whatever the clock says meanwhile.
    wrong_by(year);
    let began = std::time::Instant::now();
    let short = Job::begin(&domain, &["--lifetime", "2"]);
    wrong_by(0);
    assert!(short.end().stderr.contains("expired"));
    assert!(began.elapsed() < Duration::from_secs(2) + SLACK + SLACK);
    assert!(!job.tree().is_empty(), "the jump back ended it");
    domain.ok(&["revoke", &job.exec]);
    assert_eq!(job.end().code, TERMINATED);

    wrong_by(year);
    domain.await_no_open_permit();
    let records = domain.ok(&["log", "tail", "-n", "99", "--json"]);
    let times: Vec<u64> = records
        .lines()
        .map(|line| crate::domain::parsed(line)["time"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    domain.assert_intact();
}
