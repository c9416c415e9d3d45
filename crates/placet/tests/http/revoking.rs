//! Revocation by everything that it can name, over HTTP and on the command line.

use serde_json::{Value, json};

use crate::client::Key;
use crate::place::{Node, Place, eventually};

/// Why an execution was ended, once its gateway is told.
fn cause(node: &Node<'_>, exec: &str) -> Option<String> {
    let refused = node.post(&format!("/v1/executions/{exec}/renew"), &json!({}));
    (refused.status == 403).then(|| refused.code())
}

/// The cause in the record of its end, once there is one.
fn recorded(node: &Node<'_>, exec: &str) -> String {
    eventually("its end is recorded", || {
        let one = node.get(&format!("/v1/executions/{exec}")).expect(200);
        let cause = &one["execution"]["ended"]["cause"];
        cause.as_str().map(ToOwned::to_owned)
    })
}

/// A child of a running execution, running itself.
fn child(node: &Node<'_>, parent: &str) -> String {
    let mut intent = node.place.intent("agent:coder", &["true"]);
    intent["parent"] = json!(parent);
    let permit = node.post("/v1/intents", &intent).expect(201);
    let exec = permit["exec"].as_str().unwrap().to_owned();
    let start = json!({ "artifact": permit["artifact"], "gateway": "http" });
    node.post(&format!("/v1/executions/{exec}/start"), &start)
        .expect(200);
    exec
}

fn machine(node: &Node<'_>) -> String {
    let listed = node.get("/v1/executions?limit=1").expect(200);
    let index = &listed["items"][0]["decided"]["index"];
    let decision = node.get(&format!("/v1/decisions/{index}")).expect(200);
    let machine = &decision["record"]["facts"]["environment"]["machine"];
    machine.as_str().unwrap().to_owned()
}

#[test]
fn each_selector_ends_what_runs_and_says_revoked_as_the_cause() {
    let place = Place::new();
    let node = place.up();
    let restore = || place.ok(&["principal", "restore", "agent:coder"]);
    for by in [
        "execution",
        "artifact",
        "subtree",
        "policy",
        "principal",
        "group",
        "node",
        "everything",
    ] {
        let exec = node.started(&["true"]);
        let below = child(&node, &exec);
        let selector = match by {
            "policy" => {
                let list = node.get(&format!("/v1/executions/{exec}")).expect(200);
                json!({ "policy": list["execution"]["policies"][0] })
            }
            "principal" => json!({ "principal": "agent:coder" }),
            "group" => json!({ "group": "agents" }),
            "node" => json!({ "node": machine(&node) }),
            "everything" => json!("everything"),
            _ => json!({ by: exec }),
        };
        let act = json!({ "reason": "a drill", "selector": selector });
        node.post("/v1/revocations", &act).expect(201);
        if ["principal", "group"].contains(&by) {
            // Nobody speaks for the principal any more: the lease ends it.
            assert_eq!(recorded(&node, &exec), "revoked", "{by}");
            assert_eq!(recorded(&node, &below), "revoked", "{by}");
        } else {
            assert_eq!(cause(&node, &exec).as_deref(), Some("revoked"), "{by}");
            let end = json!({ "outcome": "terminated", "cause": "revoked" });
            node.post(&format!("/v1/executions/{exec}/end"), &end)
                .expect(200);
            // The end of the parent ends what is below it, where the selector did not.
            let expected = match by {
                "execution" | "artifact" => "lineage_fragmented",
                _ => "revoked",
            };
            assert_eq!(cause(&node, &below).as_deref(), Some(expected), "{by}");
            node.post(&format!("/v1/executions/{below}/end"), &end)
                .expect(200);
            assert_eq!(recorded(&node, &exec), "revoked", "{by}");
        }
        // What is turned away from then on, and until when.
        let again = node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
        match by {
            "principal" | "group" => {
                assert_eq!(again.code(), "revoked");
                restore();
            }
            "node" => {
                assert_eq!(again.code(), "revoked");
                let node_name = selector["node"].as_str().unwrap();
                assert_eq!(
                    node.get("/v1/policy").expect(200)["revoked_nodes"],
                    json!([node_name])
                );
                place.ok(&["resume", "--node", node_name]);
            }
            "policy" => {
                assert_eq!(again.code(), "revoked");
                place.activate_changed(2, &[]);
            }
            _ => assert_eq!(again.status, 201, "{by}"),
        }
    }
    drop(node);
    place.ok(&["log", "replay"]);
}

#[test]
fn the_command_line_names_the_same_and_nobody_can_lock_everybody_out() {
    let place = Place::new();
    let node = place.up();
    for selector in ["group:agents", "everything", "node"] {
        let exec = node.started(&["true"]);
        let selector = match selector {
            "node" => format!("node:{}", machine(&node)),
            other => other.to_owned(),
        };
        let said = place.ok(&["revoke", &selector, "--reason", "a drill"]);
        assert!(said.contains(&selector), "{said}");
        assert_eq!(recorded(&node, &exec), "revoked", "{selector}");
        if selector.starts_with("node:") {
            let digest = selector.strip_prefix("node:").unwrap();
            place.ok(&["resume", "--node", digest]);
            let again = place
                .command(&["resume", "--node", digest])
                .output()
                .unwrap();
            assert!(!again.status.success());
        }
        if selector == "group:agents" {
            place.ok(&["principal", "restore", "agent:coder"]);
        }
    }
    for (selector, says) in [
        (json!({ "group": "nobodies" }), "nothing of this name"),
        (
            json!({ "principal": "user:op" }),
            "no operator would be left",
        ),
        (json!({ "group": "operators" }), "no operator would be left"),
    ] {
        let act = json!({ "reason": "a slip", "selector": selector });
        let refused = node.post("/v1/revocations", &act).expect(400);
        assert!(
            refused["detail"].as_str().unwrap().contains(says),
            "{refused}"
        );
    }
    // With a second operator, the first can be suspended.
    place.register("user:second", &["operators"], &Key::new(3));
    let act = json!({ "reason": "left", "selector": { "principal": "user:op" } });
    node.post("/v1/revocations", &act).expect(201);
}

#[test]
fn a_halt_ends_what_runs_and_refuses_everything_until_the_domain_is_resumed() {
    let place = Place::new();
    let node = place.up();
    let exec = node.started(&["true"]);
    node.post("/v1/halt", &json!({ "reason": "a drill" }))
        .expect(201);
    assert_eq!(cause(&node, &exec).as_deref(), Some("halted"));
    assert_eq!(node.get("/v1/policy").expect(200)["halted"], true);
    let refused = node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
    assert_eq!(
        (refused.code().as_str(), refused.json()["check"].clone()),
        ("halted", json!(3))
    );
    node.post("/v1/resume", &json!({ "reason": "over" }))
        .expect(201);
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
}

#[test]
fn a_client_that_vanishes_is_over_when_its_lease_is_and_what_it_asked_for_is_recorded() {
    let place = Place::new();
    let node = place.up();
    let exec = node.started(&["true"]);
    // One that sends an intent and is gone without its answer: the record stands, the permit lapses.
    let body = place.intent("agent:coder", &["true"]).to_string();
    let text = crate::client::request("POST", "/v1/intents", "placet", &[], Some(&body));
    let before = node.get("/v1/policy").expect(200)["size"].as_u64().unwrap();
    let mut stream = crate::client::unix(&place.socket());
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    // A request whose sender is gone before it was read need not be decided at all.
    eventually("it is decided", || {
        let size = node.get("/v1/policy").expect(200)["size"].as_u64();
        (size > Some(before)).then_some(())
    });
    drop(stream);
    let find = |status: &str| {
        let list = node
            .get(&format!("/v1/executions?status={status}"))
            .expect(200);
        let all = list["items"].as_array().unwrap().clone();
        all.into_iter()
            .find(|one| one["decided"]["index"].as_u64() >= Some(before))
    };
    let lapsed: Value = eventually("its permit lapses", || find("lapsed"));
    assert_ne!(lapsed["exec"], exec);
    let over = eventually("the lease ends the other", || {
        let one = node.get(&format!("/v1/executions/{exec}")).expect(200);
        (one["execution"]["status"] == "terminated").then_some(one)
    });
    assert_eq!(
        over["execution"]["ended"]["cause"],
        "authorization_discontinuity"
    );
}
