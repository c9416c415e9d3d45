//! `placet executions`: what runs, and what has run.

use serde_json::Value;

use crate::domain::{Domain, await_some};

fn statuses(domain: &Domain, args: &[&str]) -> Vec<String> {
    let all = domain.json(&[&["executions"], args].concat());
    let all = all.as_array().unwrap().iter();
    all.map(|one| one["status"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn executions_stand_in_order_with_what_became_of_them() {
    let domain = Domain::with_history();
    assert_eq!(statuses(&domain, &[]), ["completed", "failed", "denied"]);
    let text = domain.ok(&["executions"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("EXECUTION"), "{text}");
    for (line, parts) in [
        (1, &["exec_", "completed", "user:op", "4"][..]),
        (2, &["failed (exit 3)", "user:op", "7"]),
        (3, &["denied (policy_forbids)", "agent:coder", "git", "10"]),
    ] {
        for part in parts {
            assert!(lines[line].contains(part), "{part}: {text}");
        }
    }
    // Every column begins where its heading does.
    for heading in ["STATUS", "AGE", "PRINCIPAL", "PROGRAM", "RECORD"] {
        let at = lines[0].find(heading).unwrap();
        for line in &lines[1..] {
            assert_eq!(&line[at - 2..at], "  ", "{heading}: {text}");
            assert_ne!(&line[at..=at], " ", "{heading}: {text}");
        }
    }
}

#[test]
fn the_limit_and_the_principal_pick_the_latest() {
    let domain = Domain::with_history();
    assert_eq!(statuses(&domain, &["--limit", "2"]), ["failed", "denied"]);
    assert_eq!(
        statuses(&domain, &["--limit", "1", "--principal", "user:op"]),
        ["failed"]
    );
    assert_eq!(
        statuses(&domain, &["--principal", "agent:coder"]),
        ["denied"]
    );
    assert!(statuses(&domain, &["--limit", "0"]).is_empty());
    assert!(statuses(&domain, &["--principal", "agent:nobody"]).is_empty());
    assert!(
        domain
            .ok(&["executions", "--limit", "0"])
            .contains("nothing was decided")
    );
    domain.fails(2, &["executions", "--principal", "nobody"]);
}

#[test]
fn what_runs_is_listed_while_it_runs_and_not_without_a_node() {
    let domain = Domain::new();
    domain.stop();
    assert_eq!(
        domain.json(&["executions", "--running"]),
        Value::Array(Vec::new())
    );
    assert!(
        domain
            .ok(&["executions", "--running"])
            .contains("nothing is authorized or runs now")
    );
    assert_eq!(
        domain.json(&["node", "status"])["running"],
        false,
        "looking started a node"
    );

    let mut job = domain.start(&["run", "--", "sleep", "600"]);
    let exec = await_some("the start", || {
        let all = domain.json(&["executions", "--running"]);
        let one = all.as_array()?.first()?.clone();
        one["running_since"]
            .is_u64()
            .then(|| one["exec"].as_str().unwrap().to_owned())
    });
    let text = domain.ok(&["executions", "--running"]);
    assert!(
        text.contains(&exec) && text.contains("running") && text.contains("sleep"),
        "{text}"
    );
    assert_eq!(statuses(&domain, &[]), ["running"]);
    let other = domain.json(&["executions", "--running", "--principal", "agent:coder"]);
    assert_eq!(other, Value::Array(Vec::new()));
    // The beginning of an id is enough.
    domain.ok(&["revoke", &exec[..15], "--reason", "enough"]);
    assert_eq!(job.wait().unwrap().code(), Some(121));
    assert_eq!(statuses(&domain, &[]), ["terminated"]);
    let text = domain.ok(&["executions"]);
    assert!(text.contains("terminated (revoked)"), "{text}");
    assert_eq!(
        domain.json(&["executions", "--running"]),
        Value::Array(Vec::new())
    );
}
