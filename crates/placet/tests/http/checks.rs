//! The log as a node checks it beside its service: what it says of it, and what it does about it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::Key;
use crate::place::{Node, Place, eventually};

const PATH: &str = "/v1/log/checks";

fn segment(place: &Place) -> PathBuf {
    place.dir().join("log/segments/00000000000000000000.seg")
}

/// Changes one byte where the segment has this text, in place.
fn flip(place: &Place, text: &[u8]) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment(place))
        .unwrap();
    let bytes = fs::read(segment(place)).unwrap();
    let at = bytes
        .windows(text.len())
        .position(|part| part == text)
        .unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
}

/// Has the log checked, and gives what came of it.
fn checked(node: &Node<'_>) -> Value {
    let before = node.get(PATH).expect(200)["replay"]["last"]["ended"].clone();
    node.post(PATH, &json!({})).expect(202);
    eventually("the log is checked", || {
        let found = node.get(PATH).expect(200);
        let done =
            found["replay"]["running"].is_null() && found["replay"]["last"]["ended"] != before;
        done.then_some(found)
    })
}

fn meter(node: &Node<'_>, line: &str) -> bool {
    String::from_utf8(node.get("/metrics").body)
        .unwrap()
        .lines()
        .any(|one| one == line)
}

#[test]
fn a_node_checks_its_log_and_says_what_it_found() {
    let place = Place::new();
    place.configure("[checks]\nevery_hours = 1\ncore_percent = 50\n");
    let node = place.up();
    let first = node.get(PATH).expect(200);
    assert_eq!(first["fsck"]["last"]["finding"], "sound", "{first}");
    assert_eq!(first["replay"]["last"], Value::Null, "{first}");
    assert!(first["replay"]["due"].is_u64(), "{first}");
    node.started(&["true"]);
    let size = node.get("/v1/policy").expect(200)["size"].clone();
    let found = checked(&node);
    for check in ["fsck", "replay"] {
        let last = &found[check]["last"];
        assert_eq!(
            (&last["finding"], &last["records"]),
            (&json!("sound"), &size),
            "{found}"
        );
        assert!(meter(
            &node,
            &format!("placet_check_sound{{check=\"{check}\"}} 1")
        ));
        assert!(meter(
            &node,
            &format!("placet_check_records{{check=\"{check}\"}} {size}")
        ));
    }
    // Whoever is no operator may know, and has nothing made.
    let key = Key::new(7);
    place.register("agent:watcher", &["agents"], &key);
    assert_eq!(node.ask_as(&key, "GET", PATH, None).status, 200);
    let refused = node.ask_as(&key, "POST", PATH, Some(&json!({})));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "identity_unverified")
    );
    // Private parameters are no evidence: what was decided on them cannot be told any more, and the node serves on.
    node.post(
        "/v1/intents",
        &place.intent("agent:coder", &["echo", "a-word-of-its-own"]),
    );
    flip(&place, b"a-word-of-its-own");
    let found = checked(&node);
    for check in ["fsck", "replay"] {
        let last = &found[check]["last"];
        assert_eq!(last["finding"], "remark", "{found}");
        assert!(
            last["index"].is_u64() && last["detail"].is_string(),
            "{found}"
        );
        assert!(meter(
            &node,
            &format!("placet_check_sound{{check=\"{check}\"}} 0")
        ));
    }
    node.started(&["true"]);
    drop(node);
    // The next node knows when it was last, and reads the log through by itself.
    let node = place.up();
    let kept = node.get(PATH).expect(200);
    assert_eq!(
        kept["replay"]["last"]["ended"],
        found["replay"]["last"]["ended"]
    );
    assert_ne!(
        kept["fsck"]["last"]["ended"],
        found["fsck"]["last"]["ended"]
    );
}

#[test]
fn damage_that_is_found_while_it_serves_ends_the_service() {
    let place = Place::new();
    let mut node = place.up();
    node.started(&["true"]);
    let entry = place.ok(&["log", "entry", "3"]);
    flip(&place, &entry.as_bytes()[40..80]);
    node.post(PATH, &json!({})).expect(202);
    assert!(!node.ended().success());
    let said = node.said();
    assert!(said.contains("damaged at index"), "{said}");
    drop(node);
    let kept: Value =
        serde_json::from_slice(&fs::read(place.dir().join("checks.json")).unwrap()).unwrap();
    assert_eq!(kept["fsck"]["finding"], "damaged", "{kept}");
    let output = place.command(&["up"]).output().unwrap();
    assert!(!output.status.success());
}
