//! What waits for a person, as the person who asks and the one who approves meet it.

use std::process::Child;

use serde_json::Value;

use crate::domain::{DENIED, Domain, await_some};

/// A domain in which every run of an operator needs one lead, and `user:ann` is one.
fn asking() -> Domain {
    let domain = Domain::new();
    let annotated = "@lifetime(\"12h\")\n@approvals(\"1 of leads within 10m\")";
    domain.activate_changed(&[("policies/operators.cedar", "@lifetime(\"12h\")", annotated)]);
    register(&domain, "user:ann", "leads", "ann");
    domain
}

/// Registers a principal with a key of its own.
fn register(domain: &Domain, principal: &str, group: &str, file: &str) {
    let key = key(domain, file);
    let made = domain.json(&["key", "new", "--key", &key]);
    let thumbprint = made["thumbprint"].as_str().unwrap();
    let groups = group.split(',').flat_map(|one| ["--group", one]);
    let set = [
        "principal",
        "set",
        principal,
        "--uid",
        "0",
        "--key",
        thumbprint,
    ];
    domain.ok(&set.into_iter().chain(groups).collect::<Vec<_>>());
}

fn key(domain: &Domain, file: &str) -> String {
    domain.path(file).to_str().unwrap().to_owned()
}

/// Starts a run that waits, and gives what an approver is shown of it.
fn waiting(domain: &Domain, argv: &[&str]) -> (Child, Value) {
    let child = domain.start(&[&["run", "--purpose", "maintenance", "--"], argv].concat());
    let shown = await_some("what waits", || {
        let waiting = domain.json(&["approvals"]);
        waiting.as_array().unwrap().first().cloned()
    });
    (child, shown)
}

fn say(domain: &Domain, verdict: &str, exec: &str, by: &str, file: &str) -> crate::domain::Ran {
    let key = key(domain, file);
    domain.run(&[
        verdict,
        exec,
        "--as",
        by,
        "--key",
        &key,
        "--reason",
        "looked at it",
    ])
}

#[test]
fn a_run_waits_until_somebody_approves_exactly_it() {
    let domain = asking();
    let (child, shown) = waiting(&domain, &["sh", "-c", "echo done"]);
    let exec = shown["exec"].as_str().unwrap().to_owned();
    // The approver sees the very arguments.
    let text = domain.ok(&["approvals"]);
    for part in [
        &exec,
        "sh -c 'echo done'",
        "maintenance",
        "1 of leads",
        "operators-run",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let approved = say(&domain, "approve", &exec[..14], "user:ann", "ann");
    assert_eq!(approved.code, 0, "{approved:?}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "done\n");
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("waiting") && told.contains("placet approve exec_"),
        "{told}"
    );
    assert_eq!(domain.json(&["approvals"]), Value::Array(vec![]));
    let shown = domain.ok(&["lineage", "show", &exec]);
    assert!(shown.contains("completed"), "{shown}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_rejected_run_is_denied_and_says_by_whom() {
    let domain = asking();
    let (child, shown) = waiting(&domain, &["true"]);
    let exec = shown["exec"].as_str().unwrap();
    assert_eq!(say(&domain, "reject", exec, "user:ann", "ann").code, 0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(DENIED));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("approval_required") && told.contains("user:ann rejected it"),
        "{told}"
    );
}

#[test]
fn nobody_approves_what_they_asked_for_and_no_key_but_a_registered_one_counts() {
    let domain = asking();
    register(&domain, "user:op", "operators,leads", "op");
    let (mut child, shown) = waiting(&domain, &["true"]);
    let exec = shown["exec"].as_str().unwrap();
    let own = say(&domain, "approve", exec, "user:op", "op");
    assert!(
        own.code != 0 && own.stderr.contains("nobody approves their own intent"),
        "{own:?}"
    );
    let other = say(&domain, "approve", exec, "user:ann", "op");
    assert!(
        other.code != 0 && other.stderr.contains("not registered"),
        "{other:?}"
    );
    domain.ok(&["key", "new", "--key", &key(&domain, "new")]);
    let unknown = say(&domain, "approve", exec, "user:ann", "new");
    assert!(
        unknown.code != 0 && unknown.stderr.contains("not registered"),
        "{unknown:?}"
    );
    let missing = say(&domain, "approve", "exec_0123", "user:ann", "ann");
    assert!(
        missing.code != 0 && missing.stderr.contains("placet approvals"),
        "{missing:?}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_that_does_not_wait_is_told_what_it_needs() {
    let domain = asking();
    let told = domain.fails(DENIED, &["run", "--no-wait", "--", "true"]);
    assert!(
        told.contains("deferred") && told.contains("1 of leads"),
        "{told}"
    );
    // Approved meanwhile, the very same command runs; once, and no other.
    let waits = domain.json(&["approvals"]);
    let exec = waits[0]["exec"].as_str().unwrap();
    assert_eq!(say(&domain, "approve", exec, "user:ann", "ann").code, 0);
    domain.fails(DENIED, &["run", "--no-wait", "--", "true", "other"]);
    domain.ok(&["run", "--no-wait", "--", "true"]);
    domain.fails(DENIED, &["run", "--no-wait", "--", "true"]);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_key_is_added_and_taken_away_and_nothing_else_of_the_principal_changes() {
    let domain = asking();
    let ann = || {
        let all = domain.json(&["principal", "list"]);
        let all = all.as_array().unwrap().clone();
        all.into_iter().find(|one| one["id"] == "user:ann").unwrap()
    };
    let before = ann();
    let second = key(&domain, "second");
    let made = domain.json(&["key", "new", "--key", &second]);
    let thumbprint = made["thumbprint"].as_str().unwrap();
    for _ in 0..2 {
        domain.ok(&["principal", "add-key", "user:ann", thumbprint]);
    }
    let mut with = ann();
    let keys = with["keys"].as_array().unwrap();
    assert!(keys.len() == 2 && keys.iter().any(|key| key == thumbprint));
    with["keys"] = before["keys"].clone();
    assert_eq!(with, before);
    // It signs approvals from now on.
    let (mut child, shown) = waiting(&domain, &["true"]);
    let exec = shown["exec"].as_str().unwrap();
    let said = say(&domain, "approve", exec, "user:ann", "second");
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(child.wait().unwrap().success());
    domain.ok(&["principal", "remove-key", "user:ann", thumbprint]);
    assert_eq!(ann(), before);
    let none = domain.run(&["principal", "remove-key", "user:ann", thumbprint]);
    assert!(
        none.stderr.contains("is no key of user:ann"),
        "{}",
        none.stderr
    );
    let nobody = domain.run(&["principal", "add-key", "user:nobody", thumbprint]);
    assert!(
        nobody.stderr.contains("is not registered"),
        "{}",
        nobody.stderr
    );
}
