//! `placet explain`: a recorded decision in words.

use std::fs;

use serde_json::Value;

use crate::domain::{DENIED, Domain};

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_permit_is_explained_with_what_it_granted_and_what_became_of_it() {
    let domain = Domain::with_history();
    let text = domain.ok(&["explain", "4"]);
    assert_says(
        &text,
        &[
            "permitted",
            "user:op (Unix user",
            "cat note",
            "operators-run permits policies/operators.cedar",
            "Operators may run any program",
            "starter revision 1",
            "granted   profile operator",
            "network   none",
            "ended completed, exit 0",
            "placet log proof 4 --bundle",
        ],
    );
    let value = domain.json(&["explain", "4"]);
    assert_eq!(
        (&value["permit"], &value["params_state"]),
        (&Value::Bool(true), &"present".into())
    );
    assert_eq!(value["params"]["argv"], serde_json::json!(["cat", "note"]));
    assert_eq!(value["bundle"]["revision"], 1);
    assert!(value["scope"]["read"].is_array(), "{value}");
    let later: Vec<&Value> = value["later"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["kind"])
        .collect();
    assert_eq!(later, ["started", "ended"]);
    // Its start and its end lead to the same decision, and so does its id.
    let exec = value["decided"]["facts"]["exec"].as_str().unwrap();
    for name in ["5", "6", "dec_4", exec] {
        assert_eq!(domain.ok(&["explain", name]), text, "{name}");
    }
}

#[test]
fn a_forbid_is_explained_with_the_policy_and_what_it_looked_at() {
    let domain = Domain::with_history();
    let text = domain.ok(&["explain", "10"]);
    assert_says(
        &text,
        &[
            "denied policy_forbids",
            "git push",
            "share it",
            "8 of 10 failed: policy permits it",
            "agents-no-remote-git forbids policies/guards.cedar",
            "what the policies looked at:",
            "context.args",
            "to change",
            "risk",
        ],
    );
    let value = domain.json(&["explain", "10"]);
    assert_eq!(value["policies"][0]["permits"], false);
    assert_eq!(value["looked_at"][0]["conditions"][0]["holds"], "yes");
}

#[test]
fn a_denial_by_default_is_explained_with_the_permits_that_came_nearest() {
    let domain = Domain::new();
    // Outside of the workspace: the permits for agents all ask for one.
    let ran = domain.run(&["run", "--as", "agent:coder", "--", "/usr/bin/passwd", "-S"]);
    assert_eq!(ran.code, DENIED, "{ran:?}");
    domain.ok(&["principal", "set", "agent:stranger"]);
    let ran = domain.run(&["run", "--as", "agent:stranger", "--", "cat", "note"]);
    assert_eq!(ran.code, DENIED, "{ran:?}");
    let text = domain.ok(&["explain", "6"]);
    assert_says(
        &text,
        &[
            "denied no_permit",
            "the permits that come nearest",
            "agents-read",
            "is not in Group",
        ],
    );
    let value = domain.json(&["explain", "6"]);
    let near = value["near"].as_array().unwrap();
    assert!(near.iter().any(|one| one["id"] == "agents-read"), "{value}");
}

#[test]
fn erased_parameters_are_said_to_be_erased() {
    let domain = Domain::with_history();
    domain.ok(&["log", "erase", "10", "--reason", "asked to"]);
    let text = domain.ok(&["explain", "10"]);
    assert_says(
        &text,
        &[
            "erased on purpose",
            "agents-no-remote-git forbids",
            "policy_forbids",
        ],
    );
    assert!(!text.contains("share it"), "{text}");
    let value = domain.json(&["explain", "10"]);
    assert_eq!(
        (&value["params_state"], &value["params"]),
        (&"erased".into(), &Value::Null)
    );
}

#[test]
fn an_explanation_does_without_a_bundle_that_is_gone() {
    let domain = Domain::with_history();
    for kept in fs::read_dir(domain.dir().join("bundles")).unwrap() {
        fs::remove_file(kept.unwrap().path()).unwrap();
    }
    let text = domain.ok(&["explain", "10"]);
    assert_says(
        &text,
        &[
            "denied policy_forbids",
            "agents-no-remote-git",
            "is not kept here",
        ],
    );
}

#[test]
fn what_a_caller_wrote_cannot_forge_a_line() {
    let domain = Domain::new();
    let purpose = "a\nb\u{1b}[2K\u{202e}permitted";
    domain.ok(&["run", "--purpose", purpose, "--", "echo", "x\r\u{1b}[31my"]);
    for args in [
        &["explain", "4"][..],
        &["log", "tail"],
        &["lineage", "tree"],
        &["executions"],
    ] {
        let text = domain.ok(args);
        assert!(
            !text.contains(['\u{1b}', '\r', '\u{202e}']),
            "{args:?}: {text:?}"
        );
    }
    let text = domain.ok(&["explain", "4"]);
    assert!(text.contains(r"a\nb\u{1b}[2K\u{202e}permitted"), "{text}");
}

#[test]
fn a_refused_attempt_is_explained_and_what_is_no_decision_is_not() {
    let domain = Domain::with_history();
    for (index, kind) in [("0", "genesis"), ("1", "principal"), ("3", "policy")] {
        let said = domain.fails(1, &["explain", index]);
        assert!(said.contains(&format!("of kind `{kind}`")), "{said}");
    }
    domain.fails(1, &["explain", "99"]);
    domain.fails(1, &["explain", "nonsense"]);
}
