//! Programs that a tree makes and starts, as their records show them.

use std::fs;

use placet_types::Digest;
use serde_json::Value;

use crate::domain::{Domain, parsed};

/// Makes one program by copying, and one by changing its mode; starts a third that was there.
const SCRIPT: &str = "cp /usr/bin/true made; cat /usr/bin/true > given; chmod +x given; \
    ./made; ./made; ./given; ./found";

/// A domain in whose work directory a program stands already.
fn with_program() -> Domain {
    let domain = Domain::new();
    fs::copy("/usr/bin/env", domain.work().join("found")).unwrap();
    domain
}

fn born(domain: &Domain) -> Vec<Value> {
    let records = domain.ok(&["log", "tail", "-n", "999", "--json"]);
    let records = records.lines().map(parsed);
    records.filter(|it| it["kind"] == "born").collect()
}

fn digest_of(path: &str) -> String {
    Digest::of(&fs::read(path).unwrap()).to_string()
}

/// The end of the path, the end of its maker's, and the digests of both.
fn listed(shown: &Value) -> Vec<[String; 4]> {
    let end = |value: &Value| {
        let path = value.as_str().unwrap_or_default();
        path.rsplit('/').next().unwrap().to_owned()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = shown["programs"]["list"].as_array().unwrap();
    list.iter()
        .map(|it| {
            let by = &it["made_by"];
            [
                end(&it["path"]),
                end(&by["path"]),
                text(&it["digest"]),
                text(&by["digest"]),
            ]
        })
        .collect()
}

/// Modes are changed by the supervisor where there is no mount namespace: then nobody is named.
fn maker_by_mode(domain: &Domain) -> [String; 2] {
    if domain.json(&["doctor"])["tier"] == "U0" {
        return [String::new(), String::new()];
    }
    ["chmod".to_owned(), digest_of("/usr/bin/chmod")]
}

#[test]
fn each_program_that_a_tree_made_and_started_is_recorded_with_what_made_it() {
    let domain = with_program();
    domain.ok(&["run", "--", "sh", "-c", SCRIPT]);
    let records = born(&domain);
    let [record] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(record["record"]["count"], 3, "{record}");
    // The log is public: which programs they were is said by the list beside the record.
    assert!(!record.to_string().contains("made"), "{record}");
    let exec = record["record"]["exec"].as_str().unwrap();
    let shown = domain.json(&["lineage", "show", exec]);
    let [mode, mode_digest] = maker_by_mode(&domain);
    let (program, copier) = (digest_of("/usr/bin/true"), digest_of("/usr/bin/cp"));
    let expected = [
        ["made".to_owned(), "cp".to_owned(), program.clone(), copier],
        ["given".to_owned(), mode, program, mode_digest],
        [
            "found".to_owned(),
            String::new(),
            digest_of("/usr/bin/env"),
            String::new(),
        ],
    ];
    assert_eq!(listed(&shown), expected, "{shown}");
    let by = &shown["programs"]["list"][0]["made_by"];
    assert_eq!(by["exec"], exec, "{shown}");
    for text in [
        domain.ok(&["explain", exec]),
        domain.ok(&["lineage", "show", exec]),
    ] {
        assert!(
            text.contains("/made (sha256:") && text.contains("made by /usr/bin/cp"),
            "{text}"
        );
        assert!(text.contains("was there before"), "{text}");
    }
    let tree = domain.ok(&["lineage", "tree"]);
    assert!(tree.contains("3 own programs"), "{tree}");
    // What they were can be erased, and the log stays whole.
    domain.ok(&[
        "log",
        "erase",
        &record["index"].to_string(),
        "--reason",
        "asked for",
    ]);
    let shown = domain.json(&["lineage", "show", exec]);
    assert_eq!(shown["programs"]["erased"], 1, "{shown}");
    assert!(!shown.to_string().contains("/made"), "{shown}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn where_programs_are_decided_the_maker_is_an_execution_of_its_own() {
    let domain = with_program();
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        "exec_in_writable = true\nexec_check = \"decide\"",
    )]);
    domain.ok(&["run", "--", "sh", "-c", "cp /usr/bin/true made; ./made"]);
    let all = domain.executions();
    let of = |name: &str| {
        let is = |one: &&Value| one["resource"]["id"].as_str().unwrap().ends_with(name);
        all.iter().find(is).unwrap()["exec"].clone()
    };
    let root = of("/dash");
    let shown = domain.json(&["lineage", "show", root.as_str().unwrap()]);
    let list = shown["programs"]["list"].as_array().unwrap();
    assert_eq!(list.len(), 1, "{shown}");
    assert_eq!(list[0]["made_by"]["exec"], of("/cp"), "{shown}");
    assert_ne!(of("/cp"), root);
}

#[test]
fn scripts_that_a_tree_made_are_recorded_however_they_are_run() {
    let domain = Domain::new();
    let script = "printf '#!/bin/sh\\ntrue\\n' > lined; chmod +x lined; ./lined; \
        echo true > plain.sh; sh -e ./plain.sh; sh ./plain.sh; sh -c true; cat plain.sh > /dev/null";
    domain.ok(&["run", "--", "sh", "-c", script]);
    let last = domain.executions().pop().unwrap();
    let exec = last["exec"].as_str().unwrap();
    let shown = domain.json(&["lineage", "show", exec]);
    let [mode, mode_digest] = maker_by_mode(&domain);
    let digest = |name: &str| digest_of(domain.work().join(name).to_str().unwrap());
    let expected = [
        ["lined".to_owned(), mode, digest("lined"), mode_digest],
        // Nobody made it executable, and nobody else is watched.
        [
            "plain.sh".to_owned(),
            String::new(),
            digest("plain.sh"),
            String::new(),
        ],
    ];
    assert_eq!(listed(&shown), expected, "{shown}");
    for entry in shown["programs"]["list"].as_array().unwrap() {
        assert!(
            entry["run_by"].as_str().unwrap().ends_with("/dash"),
            "{entry}"
        );
    }
    let text = domain.ok(&["explain", exec]);
    assert!(text.contains("run by /usr/bin/dash, made by"), "{text}");
}

#[test]
fn a_profile_that_starts_nothing_from_its_writable_places_has_no_such_record() {
    let domain = with_program();
    let script = "cp /usr/bin/true made; ./made; true";
    domain.ok(&["run", "--as", "agent:coder", "--", "sh", "-c", script]);
    assert!(born(&domain).is_empty());
}

#[test]
fn a_tree_that_makes_many_programs_writes_few_records() {
    let domain = Domain::new();
    let script = "i=0; while [ $i -lt 300 ]; do cp /usr/bin/true p$i; ./p$i; i=$((i+1)); done";
    let began = std::time::Instant::now();
    domain.ok(&["run", "--", "sh", "-c", script]);
    let secs = began.elapsed().as_secs();
    let records = born(&domain);
    let counts: Vec<u64> = records
        .iter()
        .map(|it| it["record"]["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 300, "{counts:?}");
    assert!(counts.iter().all(|count| *count <= 128), "{counts:?}");
    assert!(counts.len() as u64 <= secs + 4, "{counts:?} in {secs} s");
}
