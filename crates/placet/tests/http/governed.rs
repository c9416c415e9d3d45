//! Administration that the bundle governs, over HTTP and on the command line.

use serde_json::{Value, json};

use crate::approvals::said;
use crate::client::Key;
use crate::place::{Node, Place};

fn approve(node: &Node<'_>, by: &str, key: &Key, exec: &str) {
    let path = format!("/v1/approvals/{exec}");
    let waits = node.ask_as(key, "GET", &path, None).expect(200);
    assert_eq!(waits["intent"]["gateway"], "administration");
    let act = said(key, by, "approve", &waits);
    node.ask_as(key, "POST", &path, Some(&act)).expect(201);
}

#[test]
fn an_act_that_must_be_approved_is_answered_202_and_done_when_asked_again() {
    let (ann, bob) = (Key::new(41), Key::new(42));
    let place = Place::new();
    let node = place.up();
    place.register("user:ann", &["administrators"], &ann);
    place.register("user:bob", &["administrators"], &bob);
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/governed");
    place.ok(&["policy", "activate", bundle]);
    let again = json!({ "reason": "drill is over" });
    node.post("/v1/halt", &json!({ "reason": "drill" }))
        .expect(201);
    let waits = node.post("/v1/resume", &again).expect(202);
    assert_eq!(waits["decision"], "defer");
    let exec = waits["exec"].as_str().unwrap();
    assert_eq!(node.post("/v1/resume", &again).expect(202), waits);
    approve(&node, "user:ann", &ann, exec);
    node.post("/v1/resume", &again).expect(201);
    // An act that was carried out is an execution that is over.
    let execution = node.get(&format!("/v1/executions/{exec}")).expect(200);
    assert_eq!(execution["execution"]["status"], "completed", "{execution}");
    // On the command line: nothing yet, then done.
    let set = ["principal", "set", "agent:new", "--group", "agents"];
    let output = place.command(&set).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(120), "{told}");
    assert!(told.contains("2 of administrators"), "{told}");
    let waiting = node.get("/v1/approvals").expect(200);
    let exec = waiting["items"][0]["exec"].as_str().unwrap();
    assert_eq!(
        waiting["items"][0]["params"]["context"]["subject"],
        "agent:new"
    );
    approve(&node, "user:ann", &ann, exec);
    approve(&node, "user:bob", &bob, exec);
    place.ok(&set);
    the_act_is_proven_with_its_permit(&place, &node);
    // The rule is not shaken off: the starter has none.
    let starter = place.bundle(7, &[]);
    let output = place
        .command(&["policy", "activate", starter.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(120), "{output:?}");
    drop(node);
    place.ok(&["log", "replay"]);
    place.ok(&["log", "fsck"]);
}

/// The record of an act comes with the decision that allowed it, and with no other.
fn the_act_is_proven_with_its_permit(place: &Place, node: &Node<'_>) {
    let tail = place.ok(&["log", "tail", "-n", "99", "--json"]);
    let records: Vec<Value> = tail
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let act = records.iter().rev().find(|it| it["kind"] == "principal");
    let index = act.unwrap()["index"].to_string();
    let proof = place.ok(&["log", "proof", &index, "--bundle"]);
    let served = node.get(&format!("/v1/proofs/{index}")).expect(200);
    assert_eq!(served, serde_json::from_str::<Value>(&proof).unwrap());
    let verified = |bundle: &Value| {
        let file = place.path("act.json");
        std::fs::write(&file, bundle.to_string()).unwrap();
        let output = place
            .command(&["verify", file.to_str().unwrap(), "--json"])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let found = verified(&served);
    let last = found["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(found["verified"], true, "{found}");
    assert_eq!(
        (&last["step"], &last["detail"]),
        (&json!("decided by"), &json!("admin:principal"))
    );
    // The permit of the resumption before it allows something else.
    let resumed = records.iter().rev().find(|it| it["kind"] == "resumed");
    let resumed = resumed.unwrap()["index"].to_string();
    let other = node.get(&format!("/v1/proofs/{resumed}")).expect(200);
    let mut altered = served.clone();
    altered["related"] = other["related"].clone();
    assert_eq!(verified(&altered)["failed"], "same execution");
}
