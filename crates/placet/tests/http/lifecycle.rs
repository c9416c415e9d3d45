//! The life of bundles over HTTP: beside the one in force, over the recorded past, in use.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use placet_authority::dir::DomainDir;
use placet_authority::keys::{self, Role};
use placet_types::SigningKey;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::authzen::{decision, put_in_force, question};
use crate::client::{Key, request, unix};
use crate::place::{Node, Place, eventually};
use crate::policies::upload;

/// A change to the starter bundle under which git needs an approval.
const APPROVED_GIT: (&str, &str, &str) = (
    "policies/agents.cedar",
    "@id(\"agents-git\")",
    "@id(\"agents-git\")\n@approvals(\"1 of leads\")",
);

fn operator(place: &Place) -> SigningKey {
    let dir = DomainDir::open(&place.dir()).unwrap();
    keys::load(&dir, Role::Operator).unwrap()
}

fn ask(place: &Place, node: &Node<'_>, argv: &[&str]) -> Value {
    let intent = place.intent("agent:coder", argv);
    node.post("/v1/intents", &intent).json()
}

/// Keeps the lease of an execution while something else is done, which can take longer than it lasts.
fn renewed_meanwhile<T>(node: &Node<'_>, exec: &str, act: impl FnOnce() -> T) -> T {
    let renew = format!("/v1/executions/{exec}/renew");
    let (doing, done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let beat = Duration::from_millis(200);
            while done.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                node.post(&renew, &json!({}));
            }
        });
        // Dropped when it is done, also by a panic.
        let _doing = doing;
        act()
    })
}

/// What is found once everything was looked at.
fn caught_up(node: &Node<'_>) -> Value {
    eventually("everything is looked at", || {
        let report = node.get("/v1/policy/shadow").expect(200)["shadow"].clone();
        (report["found"]["through"] == report["size"] && report["found"]["complete"] == true)
            .then_some(report)
    })
}

fn counts(found: &Value) -> [u64; 6] {
    [
        "decisions",
        "same",
        "different",
        "opened",
        "closed",
        "unknown",
    ]
    .map(|name| found[name].as_u64().unwrap())
}

#[test]
fn a_bundle_beside_the_one_in_force_answers_questions_as_well() {
    let place = Place::new();
    let node = place.up();
    put_in_force(&place, "authzen");
    // Bob may write in the place of Alice.
    let next = place.path("authzen");
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/authzen");
    let mut copy = Command::new("cp");
    assert!(
        copy.arg("-r")
            .arg(from)
            .arg(&next)
            .status()
            .unwrap()
            .success()
    );
    fs::remove_dir_all(next.join("tests")).unwrap();
    let change = |file: &str, from: &str, to: &str| {
        let path = next.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    change("bundle.toml", "revision = 2", "revision = 3");
    let write = |who: &str| format!("principal == user::\"{who}\",\n  action == Action::\"write\"");
    change("policies/records.cedar", &write("alice"), &write("bob"));
    let offered = upload(&next, &operator(&place));
    node.post("/v1/policy/shadow", &offered).expect(201);

    for (who, what, may) in [
        ("alice", "read", true),
        ("alice", "write", true),
        ("bob", "write", false),
    ] {
        assert_eq!(decision(&node, &question(who, what, "record-1")), may);
    }
    let search = json!({
        "subject": { "type": "user" },
        "action": { "name": "write" },
        "resource": { "type": "record", "id": "record-1" },
    });
    node.post("/access/v1/search/subject", &search).expect(200);
    let report = caught_up(&node);
    assert_eq!(counts(&report["found"]), [4, 2, 2, 1, 1, 0], "{report}");
    let listed = &report["found"]["listed"];
    let answers = |at: usize| {
        let one = &listed[at];
        assert_eq!(
            (&one["principal"], &one["action"], &one["exec"]),
            (
                &json!("service:point"),
                &json!("access:evaluate"),
                &Value::Null
            )
        );
        (
            one["was"]["outcome"].clone(),
            one["would_be"]["outcome"].clone(),
        )
    };
    assert_eq!(answers(0), (json!("permit"), json!("deny")));
    assert_eq!(answers(1), (json!("deny"), json!("permit")));
    assert_eq!(listed[1]["would_be"]["policies"], json!(["alice-writes"]));
    // Whom they were about stands in no report.
    assert!(!listed.to_string().contains("record-1"), "{listed}");
    let shown = place.ok(&["policy", "shadow", "show"]);
    assert!(shown.contains("access:evaluate"), "{shown}");
    // A replay of the past finds the same.
    let past = json!({ "archive": offered["archive"], "from": report["since"] });
    let replayed = node.post("/v1/policy/replay", &past).expect(200);
    assert_eq!(counts(&replayed), counts(&report["found"]));
}

#[test]
fn a_bundle_beside_the_one_in_force_shows_what_it_would_change_and_changes_nothing() {
    let place = Place::new();
    let mut node = place.up();
    let key = Key::new(7);
    place.register("agent:remote", &["agents"], &key);
    let operator = operator(&place);
    let none = node.get("/v1/policy/shadow").expect(200);
    assert_eq!(none["shadow"], Value::Null);
    // What is decided before counts for nothing.
    ask(&place, &node, &["git", "status"]);
    let next = place.bundle(4, &[APPROVED_GIT]);
    let good = upload(&next, &operator);
    let path = "/v1/policy/shadow";
    let refused = node.ask_as(&key, "POST", path, Some(&good));
    assert_eq!(refused.code(), "identity_unverified");
    assert_eq!(node.ask_as(&key, "GET", path, None).status, 403);
    let stranger = SigningKey::from_seed(&Zeroizing::new([8; 32]));
    let unsigned = node.post(path, &upload(&next, &stranger));
    assert_eq!(unsigned.code(), "invalid_signature");
    let itself = upload(&place.bundle(1, &[]), &operator);
    assert_eq!(node.post(path, &itself).code(), "policy_mismatch");
    let clear = json!({ "reason": "enough" });
    let nothing = node.post("/v1/policy/shadow/clear", &clear);
    assert_eq!(nothing.code(), "policy_mismatch");

    let since = node.post(path, &good).expect(201)["index"].clone();
    let permit = ask(&place, &node, &["git", "status"]);
    assert_eq!(permit["decision"], "permit", "{permit}");
    let denied = ask(&place, &node, &["git", "push"]);
    assert_eq!(denied["code"], "policy_forbids");
    ask(&place, &node, &["true"]);
    let report = caught_up(&node);
    assert_eq!(
        (&report["since"], &report["bundle"], &report["revision"]),
        (&since, &good["bundle"], &json!(4))
    );
    assert_eq!(counts(&report["found"]), [3, 2, 1, 0, 1, 0], "{report}");
    let one = &report["found"]["listed"][0];
    assert_eq!(one["index"], permit["index"]);
    assert_eq!(
        (&one["was"]["outcome"], &one["would_be"]["outcome"]),
        (&json!("permit"), &json!("defer"))
    );
    assert_eq!(one["would_be"]["reason"], "1 of leads");
    assert_eq!(one["was"]["policies"], json!(["agents-git"]));
    let meters = String::from_utf8(node.get("/metrics").body).unwrap();
    assert!(
        meters.contains("placet_shadow_decisions{outcome=\"closed\"} 1"),
        "{meters}"
    );

    // It is the same as a replay, and a node that was lost finds it again.
    let bundle = next.to_str().unwrap();
    let from = since.to_string();
    let args = [
        "policy", "replay", "--json", "--bundle", bundle, "--since", &from,
    ];
    let replayed: Value = serde_json::from_str(&place.ok(&args)).unwrap();
    assert_eq!(replayed["listed"], report["found"]["listed"]);
    node.signal(rustix::process::Signal::KILL);
    node.ended();
    drop(node);
    let node = place.up();
    let again = caught_up(&node);
    assert_eq!(
        (&again["from"], &again["found"]["listed"]),
        (&report["from"], &report["found"]["listed"])
    );
    assert_eq!(counts(&again["found"]), [3, 2, 1, 0, 1, 0]);
    let text = place.ok(&["policy", "shadow", "show"]);
    assert!(text.contains("1 of leads"), "{text}");
    let text = place.ok(&["policy", "status"]);
    assert!(text.contains("beside    starter revision 4"), "{text}");

    // Another one begins anew; what came into force is beside itself no longer.
    place.ok(&["policy", "shadow", "clear", "--reason", "enough"]);
    assert_eq!(node.get(path).expect(200)["shadow"], Value::Null);
    place.ok(&["policy", "shadow", "set", bundle]);
    assert_eq!(counts(&caught_up(&node)["found"]), [0; 6]);
    place.ok(&["policy", "activate", bundle]);
    eventually("it is beside itself no longer", || {
        let report = node.get(path).expect(200);
        report["shadow"].is_null().then_some(())
    });
    let deferred = ask(&place, &node, &["git", "log"]);
    assert_eq!(deferred["decision"], "defer", "{deferred}");
    let tail = place.ok(&["log", "tail", "-n", "20"]);
    assert!(tail.contains("shadow"), "{tail}");
    place.ok(&["log", "replay"]);
}

#[test]
fn a_replay_over_http_finds_what_the_command_finds() {
    let place = Place::new();
    let node = place.up();
    let key = Key::new(7);
    place.register("agent:remote", &["agents"], &key);
    let permit = ask(&place, &node, &["git", "status"]);
    ask(&place, &node, &["git", "push"]);
    let next = place.bundle(2, &[APPROVED_GIT]);
    // No signature counts here: nothing is put in force.
    let stranger = SigningKey::from_seed(&Zeroizing::new([8; 32]));
    let body = upload(&next, &stranger);
    let path = "/v1/policy/replay";
    let found = node.post(path, &body).expect(200);
    assert_eq!(counts(&found), [2, 1, 1, 0, 1, 0], "{found}");
    assert_eq!(found["complete"], true);
    let args = [
        "policy",
        "replay",
        "--json",
        "--bundle",
        next.to_str().unwrap(),
    ];
    let same: Value = serde_json::from_str(&place.ok(&args)).unwrap();
    assert_eq!(same["listed"], found["listed"]);
    let mut later = body.clone();
    later["from"] = json!(permit["index"].as_u64().unwrap() + 1);
    assert_eq!(node.post(path, &later).expect(200)["decisions"], 1);
    later["since"] = json!(u64::MAX >> 11);
    assert_eq!(node.post(path, &later).expect(200)["decisions"], 0);
    assert_eq!(node.ask_as(&key, "POST", path, Some(&body)).status, 403);
    let mut other = body.clone();
    other["bundle"] = json!(format!("sha256:{}", "0".repeat(64)));
    assert_eq!(node.post(path, &other).code(), "malformed");
    // Whoever went away in the middle keeps nobody else from asking.
    for _ in 0..3 {
        let text = request("POST", path, "placet", &[], Some(&body.to_string()));
        let mut stream = unix(&place.socket());
        stream.write_all(text.as_bytes()).unwrap();
    }
    eventually("there is room again", || {
        (node.post(path, &body).status == 200).then_some(())
    });
}

#[test]
fn it_is_known_which_bundle_is_in_use_where_and_how_often_its_policies_count() {
    let place = Place::new();
    let node = place.up();
    let exec = node.started(&["git", "status"]);
    ask(&place, &node, &["git", "push"]);
    let coverage = node.get("/v1/policy/coverage").expect(200);
    assert_eq!(coverage["decisions"], 2);
    let of = |coverage: &Value, id: &str| -> Value {
        let items = coverage["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["id"] == id);
        item.unwrap()["decisions"].clone()
    };
    assert_eq!(of(&coverage, "agents-git"), 1);
    let unused = coverage["items"].as_array().unwrap();
    assert!(unused.iter().any(|item| item["decisions"] == 0));
    let first = node.get("/v1/policy").expect(200)["policy"].clone();
    let nodes = node.get("/v1/policy/nodes").expect(200);
    let held = &nodes["gateways"][0];
    assert_eq!(
        (&nodes["nodes"][0]["bundle"], &nodes["nodes"][0]["usable"]),
        (&first["bundle"], &json!(true))
    );
    assert_eq!(
        (&held["bundle"], &held["running"], &held["gateway"]),
        (&first["bundle"], &json!(1), &json!("http"))
    );
    // Another bundle comes into force. What runs is decided again and goes on, under its own.
    let again = ("bundle.toml", "description = \"", "description = \"Again. ");
    let (text, nodes) = renewed_meanwhile(&node, &exec, || {
        place.activate_changed(2, &[again]);
        let text = place.ok(&["policy", "status"]);
        let renewed = node.post(&format!("/v1/executions/{exec}/renew"), &json!({}));
        assert_eq!(renewed.status, 200);
        (text, node.get("/v1/policy/nodes").expect(200))
    });
    assert!(text.contains("1 running"), "{text}");
    assert_eq!(nodes["gateways"][0]["bundle"], first["bundle"]);
    assert_ne!(nodes["nodes"][0]["bundle"], first["bundle"]);
    let coverage = node.get("/v1/policy/coverage").expect(200);
    assert_eq!(
        (&coverage["decisions"], of(&coverage, "agents-git")),
        (&json!(0), json!(0))
    );
    let past = node.get("/v1/policy/activations").expect(200);
    let revisions: Vec<&Value> = past["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["revision"])
        .collect();
    assert_eq!(revisions, [2, 1]);
}
