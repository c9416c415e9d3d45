//! The exec gate as a user meets it: what a governed command starts is looked at, and decided where
//! its profile says so.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::domain::{DENIED, Domain, await_some, parsed};
use crate::job::{mark, send};
use crate::peers::approve;

/// Exit status for terminated.
const TERMINATED: i32 = 121;
/// How a shell reports a process that was killed.
pub(crate) const KILLED: &str = "137";

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

pub(crate) fn digest_of(program: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test asks coreutils")]
    let mut sum = std::process::Command::new("sha256sum");
    let output = sum
        .arg(fs::canonicalize(program).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split_whitespace().next().unwrap())
}

#[test]
fn only_programs_with_listed_contents_start() {
    let domain = Domain::new();
    let listed = ["/bin/sh", "/usr/bin/cat"].map(digest_of);
    domain.activate_changed(&[(
        "profiles/agent.toml",
        "exec_in_writable = false",
        &format!("exec_in_writable = false\nexec_digests = {listed:?}"),
    )]);
    fs::write(domain.work().join("note"), "a note\n").unwrap();
    let script = "cat note; ls; echo $?";
    let said = domain.ok(&agent(script));
    assert_eq!(said, format!("a note\n{KILLED}\n"));
    let records = domain.ok(&["log", "tail", "-n", "9", "--json"]);
    let signal = records
        .lines()
        .map(parsed)
        .find(|record| record["kind"] == "signal");
    let signal = signal.expect("a signal was recorded").to_string();
    assert!(
        signal.contains("scope_exceeded") && signal.contains("/ls"),
        "{signal}"
    );
    // Where each is decided about, the decision says no, as it does to the command itself.
    let said = domain.ok(&[
        "run",
        "--as",
        "agent:coder",
        "--decide",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(said, format!("a note\n{KILLED}\n"));
    let itself = domain.run(&["run", "--as", "agent:coder", "--", "ls"]);
    assert_eq!(itself.code, DENIED, "{itself:?}");
    for part in ["scope_exceeded", "the contents of the program"] {
        assert!(itself.stderr.contains(part), "{part}: {itself:?}");
    }
    let denied = became(&domain)
        .into_iter()
        .filter(|one| *one == pair("ls", "denied"));
    assert_eq!(denied.count(), 2);
    let shown = domain.ok(&["decide", "--as", "agent:coder", "--", "cat", "note"]);
    assert!(
        listed.iter().all(|digest| shown.contains(digest)),
        "{shown}"
    );
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
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

/// Ends the node without its having a say, and waits for the next one.
fn kill_node(domain: &Domain) {
    let first = domain.node().unwrap();
    send(first, Signal::KILL);
    await_some("another node", || {
        domain.node().filter(|node| *node != first)
    });
}

/// Until `go` is there; each `sleep` is the same program again.
const WAIT: &str = "touch there; until [ -e go ]; do sleep 0.05; done";

#[test]
fn a_long_run_goes_on_to_have_programs_decided_by_a_node_that_was_started_again() {
    let domain = deciding();
    fs::write(domain.work().join("note"), "a note\n").unwrap();
    // What runs when the node goes away has children afterwards.
    let script = format!("sh -c '{WAIT}; cat note; git push; ls note'; true");
    let mut job = domain.start(&agent(&script));
    let there = domain.work().join("there");
    await_some("the programs inside", || there.exists().then_some(()));
    kill_node(&domain);
    // Longer than the next node waits for whoever carries an execution: the lease, and a second.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(job.try_wait().unwrap(), None, "it was ended");
    fs::write(domain.work().join("go"), "").unwrap();
    let output = job.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "a note\nnote\n", "{output:?}");
    let expected = [
        pair("dash", "completed"),
        pair("dash", "completed"),
        pair("touch", "completed"),
        pair("sleep", "completed"),
        pair("cat", "completed"),
        pair("git", "denied"),
        pair("ls", "completed"),
    ];
    assert_eq!(became(&domain), expected);
    let git = &domain.executions()[5];
    assert_eq!(git["answer"]["denied"]["code"], "policy_forbids", "{git}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_program_that_meets_a_dead_node_is_decided_by_the_next_one() {
    let domain = deciding();
    let each = "i=0; while [ $i -lt 120 ]; do /bin/echo $i || exit 9; i=$((i+1)); done";
    let job = domain.start(&agent(&format!("touch there; {each}")));
    let there = domain.work().join("there");
    await_some("the programs inside", || there.exists().then_some(()));
    kill_node(&domain);
    let output = job.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all: String = (0..120).map(|number| format!("{number}\n")).collect();
    assert_eq!((output.status.code(), &said), (Some(0), &all), "{output:?}");
}

/// Tries a program that is denied until it is not, and says what it was told then.
fn tries(program: &str) -> String {
    format!(
        "while {program} 2>/dev/null; s=$?; [ $s = 137 ]; do touch tried; sleep 0.2; done; echo $s"
    )
}

#[test]
fn what_another_bundle_permits_is_asked_about_again_at_once() {
    let domain = Domain::new();
    let guard = "@id(\"agents-no-network-tools\")";
    let forbids = format!(
        "@id(\"agents-not-there\")\nforbid (principal in Group::\"agents\", action == Action::\"process:run\", resource)\nwhen {{ context.args.contains(\"nowhere\") }};\n\n{guard}"
    );
    domain.activate_changed(&[
        (
            "profiles/agent.toml",
            "exec_in_writable = false",
            "exec_in_writable = false\nexec_check = \"decide\"",
        ),
        ("policies/guards.cedar", guard, &forbids),
    ]);
    let script = tries("ls nowhere");
    let job = domain.start(&agent(&script));
    let tried = domain.work().join("tried");
    await_some("the denial", || tried.exists().then_some(()));
    let bundle = domain.path("bundle");
    for (file, from, to) in [
        ("bundle.toml", "revision = 2", "revision = 3"),
        ("policies/guards.cedar", "nowhere", "elsewhere"),
    ] {
        let text = fs::read_to_string(bundle.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(bundle.join(file), text.replacen(from, to, 1)).unwrap();
    }
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    let output = job.wait_with_output().unwrap();
    // It ran, and there is nothing of that name.
    assert_eq!(output.stdout, b"2\n", "{output:?}");
    let of_ls: Vec<(String, String)> = became(&domain)
        .into_iter()
        .filter(|(program, _)| program == "ls")
        .collect();
    // It was tried more often than it was asked about.
    assert_eq!(of_ls, [pair("ls", "denied"), pair("ls", "failed")]);
}

#[test]
fn what_somebody_has_approved_is_started_at_the_next_try() {
    let domain = Domain::new();
    domain.activate_changed(&[
        (
            "profiles/agent.toml",
            "exec_in_writable = false",
            "exec_in_writable = false\nexec_check = \"decide\"",
        ),
        (
            "policies/agents.cedar",
            "@id(\"agents-git\")",
            "@id(\"agents-git\")\n@approvals(\"1 of operators within 10m\")",
        ),
    ]);
    let script = tries("git status");
    let job = domain.start(&agent(&script));
    let waiting = await_some("what waits", || {
        let all = domain.json(&["approvals"]);
        all.as_array().unwrap().first().cloned()
    });
    approve(&domain, waiting["exec"].as_str().unwrap());
    let output = job.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"128\n", "{output:?}");
    // The same intent again is the same execution, however often it was tried.
    let git: Vec<Value> = domain
        .executions()
        .into_iter()
        .filter(|one| {
            one["resource"]["id"]
                .as_str()
                .is_some_and(|id| id.ends_with("/git"))
        })
        .collect();
    assert_eq!(git.len(), 1, "{git:?}");
    assert_eq!(git[0]["status"], "failed", "{git:?}");
}

#[test]
fn a_program_with_an_argument_that_no_record_can_hold_does_not_start_and_it_is_said_which() {
    let domain = deciding();
    let run = agent("cat note \"$(printf '\\377')\"; echo $?");
    let ran = domain.run(&[&run[..1], &["--announce"], &run[1..]].concat());
    assert_eq!(ran.stdout, format!("{KILLED}\n"), "{ran:?}");
    for part in ["malformed", "argument 2", "not UTF-8", "/cat"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    let records = domain.ok(&["log", "tail", "-n", "9", "--json"]);
    assert!(records.contains("an argument is not UTF-8"), "{records}");
}
