//! What is watched while work runs, as whoever runs it meets it: the whole tree is gone in time, `placet run`
//! says why and what to do as `spec/causes.md` does, its status is 121, and the log has the cause.
//!
//! Silence, a stale view and halts are in `closed.rs`, drift in `drift.rs`, trip limits in `conduct.rs`.

use std::time::{Duration, Instant};

use crate::domain::{DENIED, Domain, TERMINATED, await_some};
use crate::job::{FAMILY_SIZE, Job, living, mark};

/// What a busy machine may take beyond a bound.
const SLACK: Duration = Duration::from_secs(1);

/// The row of a cause: what it means and what to do.
fn row(cause: &str) -> (&'static str, &'static str) {
    let page = include_str!("../../../../spec/causes.md");
    let begin = format!("| `{cause}` | ");
    let row = page.lines().find_map(|line| line.strip_prefix(&begin));
    let (meaning, advice) = row.unwrap().split_once(" | ").unwrap();
    (meaning, advice.trim_end_matches(" |"))
}

/// The job ends for this cause, at most `bound` after `since`, and everybody is told.
fn assert_told(domain: &Domain, job: Job, cause: &str, (since, bound): (Instant, Duration)) {
    job.await_gone();
    let took = since.elapsed();
    let exec = job.exec.clone();
    let ran = job.end();
    assert!(took <= bound + SLACK, "{took:?}");
    assert_eq!(ran.code, TERMINATED, "{ran:?}");
    let (meaning, advice) = row(cause);
    // One mentions an option, which is no code where there is no markup.
    let said = ran.stderr.replace(['`', '\n'], "");
    for part in [&format!("terminated, {cause}: {meaning}"), advice, &exec] {
        assert!(said.contains(&part.replace('`', "")), "{part}: {ran:?}");
    }
    let one = domain.await_outcome(&exec);
    assert_eq!(
        (&one["status"], &one["ended"]["cause"]),
        (&"terminated".into(), &cause.into()),
        "{one}"
    );
    let explained = domain.ok(&["explain", &exec]);
    assert!(
        explained.contains(cause) && explained.contains(meaning),
        "{explained}"
    );
}

/// A bundle that lets agents run what they ran, and nobody else anything.
fn activate_without_operators(domain: &Domain) {
    let dir = domain.path("bundle");
    let at = dir.to_str().unwrap();
    domain.ok(&["policy", "init", at]);
    let edit = |file: &str, change: &dyn Fn(&str) -> String| {
        let path = dir.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, change(&text)).unwrap();
    };
    edit("bundle.toml", &|text| {
        text.replace("revision = 1", "revision = 2")
    });
    edit("policies/operators.cedar", &|text| {
        format!(
            "{text}\n@id(\"none-but-agents\")\n@description(\"None but agents.\")\nforbid (principal in \
             Group::\"operators\", action == Action::\"process:run\", resource);\n"
        )
    });
    // They say what operators may.
    std::fs::remove_dir_all(dir.join("tests")).unwrap();
    domain.ok(&["policy", "activate", at]);
}

#[test]
fn a_bundle_that_permits_it_no_longer_ends_what_runs_and_nothing_else() {
    let domain = Domain::new();
    let stays = Job::begin(&domain, &["--as", "agent:coder"]);
    let job = Job::begin(&domain, &[]);
    activate_without_operators(&domain);
    assert_told(
        &domain,
        job,
        "policy_mismatch",
        (Instant::now(), Duration::ZERO),
    );
    domain.fails(DENIED, &["run", "--", "true"]);
    assert_eq!(stays.tree().len(), FAMILY_SIZE, "another principal's");
    domain.ok(&["policy", "rollback"]);
    domain.ok(&["revoke", &stays.exec]);
    assert_told(&domain, stays, "revoked", (Instant::now(), Duration::ZERO));
    domain.assert_intact();
}

#[test]
fn a_window_that_is_over_ends_it() {
    let domain = Domain::new();
    let began = Instant::now();
    let job = Job::begin(&domain, &["--lifetime", "3"]);
    // The node vouches all the time: it is not the lease that lapses.
    assert_told(&domain, job, "expired", (began, Duration::from_secs(3)));
    domain.assert_intact();
}

#[test]
fn a_parent_that_ends_takes_along_what_it_began() {
    let domain = Domain::new();
    let mark = mark();
    let child = format!("trap '' TERM INT HUP; setsid sleep {mark} & sleep {mark} & wait");
    let script = format!(
        "/run/placet/placet run -- sh -c \"{child}\" & until [ -e go ]; do sleep 0.05; done; exit 3"
    );
    let job = domain.start(&["run", "--", "sh", "-c", &script]);
    // Two more that are the child's.
    let sleeps = || {
        let line = format!("sleep\0{mark}\0");
        let is_one = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|is| is == line.as_bytes())
        };
        living(&mark).iter().filter(|pid| is_one(pid)).count()
    };
    await_some("the child", || (sleeps() == 2).then_some(()));
    std::fs::write(domain.work().join("go"), "").unwrap();
    let began = Instant::now();
    let ended = job.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "its own status: {ended:?}");
    await_some("the end of the child", || {
        living(&mark).is_empty().then_some(())
    });
    assert!(began.elapsed() <= SLACK, "{:?}", began.elapsed());
    // Its supervisor is outside, and said so.
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("terminated, lineage_fragmented"), "{said}");
    domain.await_no_open_permit();
    let all = domain.executions();
    let child = all.iter().find(|one| one["parent"].is_string());
    let child = child.unwrap();
    assert_eq!(child["ended"]["cause"], "lineage_fragmented", "{child}");
    let explained = domain.ok(&["explain", child["exec"].as_str().unwrap()]);
    let (meaning, advice) = row("lineage_fragmented");
    assert!(
        explained.contains(meaning) && explained.contains(advice),
        "{explained}"
    );
    domain.assert_intact();
}
