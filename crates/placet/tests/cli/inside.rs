//! The exec gate as a user meets it: what a governed command starts is looked at, and decided where
//! its profile says so.

use std::fs;

use serde_json::Value;

use crate::domain::{Domain, await_some, parsed};
use crate::job::mark;

/// Exit status for terminated.
const TERMINATED: i32 = 121;
/// How a shell reports a process that was killed.
const KILLED: &str = "137";

/// A domain in which every program that an agent starts is an intent of its own.
fn deciding() -> Domain {
    let domain = Domain::new();
    domain.activate_changed(&[(
        "profiles/agent.toml",
        "exec_in_writable = false",
        "exec_in_writable = false\nexec_check = \"decide\"",
    )]);
    domain
}

fn agent(script: &str) -> [&str; 7] {
    ["run", "--as", "agent:coder", "--", "sh", "-c", script]
}

/// Program and status of every execution, in the order of their decisions.
fn became(domain: &Domain) -> Vec<(String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let program = |one: &Value| {
        let path = text(&one["resource"], "id");
        path.rsplit('/').next().unwrap().to_owned()
    };
    domain
        .executions()
        .iter()
        .map(|one| (program(one), text(one, "status")))
        .collect()
}

fn pair(program: &str, status: &str) -> (String, String) {
    (program.to_owned(), status.to_owned())
}

#[test]
fn each_program_inside_is_decided_and_the_same_policy_forbids_it() {
    let domain = deciding();
    fs::write(domain.work().join("note"), "a note\n").unwrap();
    let said = domain.ok(&agent("cat note; cat note; git push; echo $?; ls"));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["a note", "a note", KILLED], "{said}");
    assert!(lines.contains(&"note"), "{said}");
    // The second `cat` is the same one again.
    let expected = [
        pair("dash", "completed"),
        pair("cat", "completed"),
        pair("git", "denied"),
        pair("ls", "completed"),
    ];
    assert_eq!(became(&domain), expected);
    let git = &domain.executions()[2];
    assert_eq!(git["answer"]["denied"]["code"], "policy_forbids", "{git}");
    let tree = domain.ok(&["lineage", "tree"]);
    for program in ["cat", "git", "ls"] {
        let line = tree.lines().find(|line| line.contains(program)).unwrap();
        assert!(!line.starts_with("exec_"), "{program} is no child: {tree}");
    }
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn each_program_inside_ends_as_it_ended() {
    let domain = deciding();
    domain.ok(&agent(
        "ls nothing; cat /dev/null; sh -c 'kill -9 $$'; true",
    ));
    let expected = [
        pair("dash", "completed"),
        pair("ls", "failed"),
        pair("cat", "completed"),
        pair("dash", "failed"),
    ];
    assert_eq!(became(&domain), expected);
    let exits: Vec<Value> = domain.executions()[1..]
        .iter()
        .map(|one| one["ended"]["exit"].clone())
        .collect();
    assert_eq!(exits[0]["code"], 2, "{exits:?}");
    assert_eq!(exits[2]["signal"], 9, "{exits:?}");
}

#[test]
fn what_a_child_starts_stands_below_it() {
    let domain = deciding();
    domain.ok(&agent("sh -c 'sh -c true; true'; true"));
    let executions = domain.executions();
    let parent = |at: usize| executions[at]["parent"].clone();
    let id = |at: usize| executions[at]["exec"].clone();
    assert_eq!(became(&domain).len(), 3, "{executions:?}");
    assert_eq!((parent(1), parent(2)), (id(0), id(1)), "{executions:?}");
}

#[test]
fn the_end_of_an_inner_execution_ends_the_tree() {
    let domain = deciding();
    let mark = mark();
    let job = domain.start(&agent(&format!("sleep {mark}; echo never")));
    let inner = await_some("the inner execution", || {
        let all = domain.executions();
        let one = all.iter().find(|one| one["parent"].is_string())?;
        (one["status"] == "running").then(|| one["exec"].as_str().unwrap().to_owned())
    });
    domain.ok(&["revoke", &inner, "--reason", "enough"]);
    let ended = job.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(TERMINATED));
    assert!(ended.stdout.is_empty());
    let all = became(&domain);
    assert!(
        all.iter().all(|(_, status)| status == "terminated"),
        "{all:?}"
    );
}

#[test]
fn inner_executions_end_with_the_cause_of_their_tree() {
    let domain = deciding();
    let mark = mark();
    let job = domain.start(&agent(&format!("sleep {mark}; echo never")));
    let outer = await_some("the inner execution", || {
        let all = domain.executions();
        let one = all.iter().find(|one| one["parent"].is_string())?;
        (one["status"] == "running").then(|| one["parent"].as_str().unwrap().to_owned())
    });
    domain.ok(&["revoke", &outer, "--reason", "enough"]);
    assert_eq!(
        job.wait_with_output().unwrap().status.code(),
        Some(TERMINATED)
    );
    for one in domain.executions() {
        assert_eq!(one["status"], "terminated", "{one}");
        assert_eq!(one["ended"]["cause"], "revoked", "{one}");
    }
}

#[test]
fn a_loader_run_as_a_program_does_not_start_and_is_recorded() {
    let domain = Domain::new();
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let said = domain.ok(&agent(&format!("{loader} /bin/echo escaped; echo $?")));
    assert_eq!(said, format!("{KILLED}\n"));
    let records = domain.ok(&["log", "tail", "-n", "9", "--json"]);
    let signal = records
        .lines()
        .map(parsed)
        .find(|record| record["kind"] == "signal")
        .expect("a signal was recorded");
    let text = signal.to_string();
    assert!(
        text.contains("runtime_integrity") && text.contains("ld-linux"),
        "{text}"
    );
}
