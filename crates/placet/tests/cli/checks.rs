//! `placet log fsck` and `placet log replay`: what is sound, what is damaged, what is otherwise.

use std::fs;

use serde_json::Value;

use crate::domain::{Domain, UNVERIFIED, find_in, flip, parsed};

fn fsck(domain: &Domain, code: i32) -> Value {
    let ran = domain.run(&["log", "fsck", "--json"]);
    assert_eq!(ran.code, code, "{ran:?}");
    parsed(&ran.stdout)
}

#[test]
fn a_sound_log_is_sound_with_a_node_and_without() {
    let domain = Domain::with_history();
    let report = fsck(&domain, 0);
    assert_eq!(
        (&report["sound"], &report["records"]),
        (&Value::Bool(true), &Value::from(11))
    );
    assert_eq!(report["payloads"]["present"], 3);
    assert_eq!(report["head"]["signed"], 11);
    assert!(
        domain
            .ok(&["log", "fsck"])
            .contains("sound: every record is the one that was signed")
    );
    domain.stop();
    assert_eq!(fsck(&domain, 0)["sound"], true);
}

#[test]
fn one_flipped_byte_of_a_record_is_named_by_its_index() {
    let domain = Domain::with_history();
    domain.stop();
    let sound = fs::read(domain.segment()).unwrap();
    for index in [0_usize, 4, 10] {
        let entry = domain.ok(&["log", "entry", &index.to_string()]);
        let at = find_in(&domain.segment(), entry.as_bytes());
        flip(&domain.segment(), at + 40);
        let report = fsck(&domain, UNVERIFIED);
        assert_eq!(report["damage"]["index"], index, "{report}");
        assert_eq!(
            report["damage"]["damage"], "the entry was altered",
            "{report}"
        );
        let text = domain.run(&["log", "fsck"]).stdout;
        assert!(
            text.contains(&format!("damaged at index {index}")),
            "{text}"
        );
        // Reading it is an error, never other bytes; its neighbours still read.
        let said = domain.fails(UNVERIFIED, &["log", "entry", &index.to_string()]);
        assert!(
            said.contains(&format!("the record at {index} is damaged")),
            "{said}"
        );
        domain.ok(&["log", "entry", "5"]);
        domain.fails(UNVERIFIED, &["log", "replay"]);
        fs::write(domain.segment(), &sound).unwrap();
    }
    assert_eq!(fsck(&domain, 0)["sound"], true);
}

#[test]
fn a_log_that_was_cut_off_is_named_where_it_ends() {
    let domain = Domain::with_history();
    domain.stop();
    let entry = domain.ok(&["log", "entry", "10"]);
    let sound = fs::read(domain.segment()).unwrap();
    let at = find_in(&domain.segment(), entry.as_bytes());
    fs::write(domain.segment(), &sound[..at]).unwrap();
    let report = fsck(&domain, UNVERIFIED);
    assert_eq!(report["damage"]["index"], 10, "{report}");
    let said = domain.fails(UNVERIFIED, &["log", "tail"]);
    assert!(said.contains("placet log fsck"), "{said}");
    // No node opens such a log, so nothing runs under it.
    domain.fails(UNVERIFIED, &["run", "--", "true"]);
    fs::write(domain.segment(), &sound).unwrap();
}

#[test]
fn an_altered_head_is_not_believed() {
    let domain = Domain::with_history();
    domain.stop();
    let head = domain.dir().join("log/head");
    let sound = fs::read(&head).unwrap();
    fs::write(&head, vec![7; sound.len()]).unwrap();
    assert_eq!(fsck(&domain, UNVERIFIED)["head"], "missing");
    let text = domain.run(&["log", "fsck"]).stdout;
    assert!(text.contains("missing"), "{text}");
    fs::write(&head, sound).unwrap();
}

#[test]
fn derived_files_are_mended_only_while_nobody_writes() {
    let domain = Domain::with_history();
    domain.ok(&["run", "--", "true"]);
    let said = domain.fails(1, &["log", "fsck", "--repair"]);
    assert!(said.contains("placet node stop"), "{said}");
    domain.stop();
    flip(&domain.dir().join("log/derived/records"), 3);
    let report = fsck(&domain, UNVERIFIED);
    assert!(
        report["derived"]
            .as_str()
            .unwrap()
            .contains("derived record of 0"),
        "{report}"
    );
    assert_eq!(report["damage"], Value::Null);
    assert!(
        domain
            .run(&["log", "fsck"])
            .stdout
            .contains("fsck --repair")
    );
    // Reading goes on: what the derived file says is checked.
    domain.ok(&["log", "entry", "0"]);
    assert!(
        domain
            .ok(&["log", "fsck", "--repair"])
            .contains("computed anew")
    );
    assert_eq!(fsck(&domain, 0)["derived"], Value::Null);
    fs::remove_dir_all(domain.dir().join("log/derived")).unwrap();
    domain.ok(&["log", "tail"]);
    assert_eq!(
        fsck(&domain, UNVERIFIED)["derived"],
        "a derived file is missing"
    );
    domain.ok(&["log", "fsck", "--repair"]);
    assert_eq!(fsck(&domain, 0)["sound"], true);
}

#[test]
fn an_unfinished_append_is_no_damage() {
    let domain = Domain::with_history();
    domain.stop();
    let sound = fs::read(domain.segment()).unwrap();
    fs::write(
        domain.segment(),
        [&sound[..], b"PLACETF1 and then the power failed"].concat(),
    )
    .unwrap();
    let report = fsck(&domain, 0);
    assert_eq!(
        (&report["sound"], &report["torn_bytes"]),
        (&Value::Bool(true), &Value::from(34))
    );
    assert!(
        domain
            .ok(&["log", "fsck"])
            .contains("nothing in them was acknowledged")
    );
    assert_eq!(domain.ok(&["log", "tail"]).lines().count(), 11);
    domain.ok(&["run", "--", "true"]);
    assert_eq!(fsck(&domain, 0)["torn_bytes"], 0);
}

#[test]
fn an_altered_parameter_is_found_and_is_not_taken_for_an_erased_one() {
    let domain = Domain::with_history();
    domain.stop();
    let at = find_in(&domain.segment(), b"share it");
    flip(&domain.segment(), at);
    let report = fsck(&domain, UNVERIFIED);
    assert_eq!(
        (&report["damage"], &report["payloads"]["first_bad"]),
        (&Value::Null, &Value::from(10))
    );
    let replay = domain.run(&["log", "replay", "--json"]);
    let value = parsed(&replay.stdout);
    assert_eq!(replay.code, UNVERIFIED, "{replay:?}");
    assert_eq!(
        (&value["holds"], &value["unreadable"]),
        (&Value::Bool(false), &serde_json::json!([10]))
    );
    let said = domain.fails(
        UNVERIFIED,
        &["log", "proof", "10", "--bundle", "--disclose"],
    );
    assert!(said.contains("missing or damaged"), "{said}");
    let text = domain.ok(&["explain", "10"]);
    assert!(text.contains("missing or damaged"), "{text}");
    flip(&domain.segment(), at);
}

#[test]
fn replay_computes_every_decision_again_and_counts_what_it_cannot() {
    let domain = Domain::with_history();
    let value = domain.json(&["log", "replay"]);
    assert_eq!(
        (&value["holds"], &value["same"]),
        (&Value::Bool(true), &Value::from(3))
    );
    domain.ok(&["log", "erase", "4", "--reason", "asked to"]);
    let value = domain.json(&["log", "replay"]);
    assert_eq!(
        (&value["same"], &value["erased"]),
        (&Value::from(2), &serde_json::json!([4]))
    );
    let text = domain.ok(&["log", "replay"]);
    assert!(
        text.contains("proven, not recomputable") && text.contains("holds:"),
        "{text}"
    );
    // Without the bundle that was in force nothing can be computed again.
    for kept in fs::read_dir(domain.dir().join("bundles")).unwrap() {
        fs::remove_file(kept.unwrap().path()).unwrap();
    }
    let ran = domain.run(&["log", "replay", "--json"]);
    assert_eq!(ran.code, UNVERIFIED, "{ran:?}");
    assert_eq!(
        parsed(&ran.stdout)["without_policy"],
        serde_json::json!([7, 10])
    );
    let text = domain.run(&["log", "replay"]).stdout;
    assert!(
        text.contains("does not hold") && text.contains("record 7"),
        "{text}"
    );
}
