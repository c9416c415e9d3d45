//! Who a caller is, and what nobody may do.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::client::Key;
use crate::place::Place;

#[test]
fn who_says_nothing_sees_nothing_but_whether_it_lives() {
    let place = Place::new();
    let node = place.up();
    let routes = [
        "/v1/policy",
        "/v1/executions",
        "/v1/events",
        "/log/checkpoint",
        "/metrics",
    ];
    for path in routes {
        let answer = node.ask_tcp("GET", path, &[], None);
        let challenge = answer.header("www-authenticate");
        assert_eq!(
            (answer.status, challenge),
            (401, Some("DPoP algs=\"EdDSA Ed25519\"")),
            "{path}"
        );
        assert_eq!(answer.code(), "identity_unverified");
    }
    let bearer = node.ask_tcp("GET", "/v1/policy", &[("authorization", "Bearer x")], None);
    assert_eq!(
        (bearer.status, bearer.code().as_str()),
        (401, "identity_unverified")
    );
}

#[test]
fn a_public_log_shows_proofs_and_nothing_else() {
    let place = Place::new();
    place.configure("public = true\n");
    let node = place.up();
    for path in [
        "/log/checkpoint",
        "/log/policy",
        "/log/proof/0",
        "/log/tile/entries/000.p/1",
    ] {
        assert_eq!(node.ask_tcp("GET", path, &[], None).status, 200, "{path}");
    }
    for path in [
        "/v1/policy",
        "/v1/executions",
        "/v1/decisions/4",
        "/v1/events",
        "/v1/principals",
    ] {
        assert_eq!(node.ask_tcp("GET", path, &[], None).status, 401, "{path}");
    }
    let act = json!({ "reason": "x" });
    assert_eq!(
        node.ask_tcp("POST", "/v1/halt", &[], Some(&act)).status,
        401
    );
}

#[test]
fn a_proof_by_a_registered_key_is_an_identity_and_counts_once() {
    let place = Place::new();
    let node = place.up();
    let key = Key::new(7);
    let unknown = node.ask_as(&key, "GET", "/v1/policy", None);
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (401, "identity_unverified")
    );
    place.register("agent:remote", &["agents"], &key);
    node.ask_as(&key, "GET", "/v1/policy", None).expect(200);
    let address = format!("http://{}/v1/policy", node.host());
    let proof = key.proof("GET", &address);
    node.ask_tcp("GET", "/v1/policy", &[("dpop", &proof)], None)
        .expect(200);
    let again = node.ask_tcp("GET", "/v1/policy", &[("dpop", &proof)], None);
    assert_eq!((again.status, again.code().as_str()), (401, "replayed"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (proof, code) in [
        (key.proof("POST", &address), "identity_unverified"),
        (
            key.proof("GET", &address.replace("policy", "events")),
            "identity_unverified",
        ),
        (key.proof_at("GET", &address, now - 3600), "expired"),
        (key.proof_at("GET", &address, now + 3600), "expired"),
        (
            format!("{}A", key.proof("GET", &address)),
            "identity_unverified",
        ),
        (Key::new(8).proof("GET", &address), "identity_unverified"),
    ] {
        let answer = node.ask_tcp("GET", "/v1/policy", &[("dpop", &proof)], None);
        assert_eq!((answer.status, answer.code().as_str()), (401, code));
    }
    let (one, two) = (key.proof("GET", &address), key.proof("GET", &address));
    let twice = node.ask_tcp("GET", "/v1/policy", &[("dpop", &one), ("dpop", &two)], None);
    assert_eq!(twice.status, 401);
    place.ok(&["principal", "suspend", "agent:remote"]);
    let suspended = node.ask_as(&key, "GET", "/v1/policy", None);
    assert_eq!(
        (suspended.status, suspended.code().as_str()),
        (401, "identity_unverified")
    );
}

#[test]
fn a_key_acts_as_its_own_principal_and_sees_what_is_its_own() {
    let place = Place::new();
    let node = place.up();
    let (own, other) = (Key::new(7), Key::new(8));
    place.register("agent:own", &["agents"], &own);
    place.register("agent:other", &["agents"], &other);
    let foreign = place.intent("agent:other", &["true"]);
    let denied = node.ask_as(&own, "POST", "/v1/intents", Some(&foreign));
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (403, "identity_unverified")
    );
    let intent = place.intent("agent:own", &["true"]);
    let permit = node
        .ask_as(&own, "POST", "/v1/intents", Some(&intent))
        .expect(201);
    let (exec, index) = (
        permit["exec"].as_str().unwrap(),
        permit["index"].as_u64().unwrap(),
    );
    let decision = format!("/v1/decisions/{index}");
    let decision = node.ask_as(&own, "GET", &decision, None).expect(200);
    assert_eq!(
        decision["record"]["facts"]["caller"],
        json!({ "key": own.thumbprint() })
    );
    let seen = |key: &Key, path: &str| node.ask_as(key, "GET", path, None).status;
    for path in [
        format!("/v1/executions/{exec}"),
        format!("/v1/decisions/{index}"),
    ] {
        assert_eq!(
            (seen(&own, &path), seen(&other, &path)),
            (200, 404),
            "{path}"
        );
        assert_eq!(node.get(&path).status, 200, "operators see {path}");
    }
    let renew = format!("/v1/executions/{exec}/renew");
    let foreign = node.ask_as(&other, "POST", &renew, Some(&json!({})));
    assert_eq!(
        (foreign.status, foreign.code().as_str()),
        (403, "identity_unverified")
    );
    node.ask_as(&own, "POST", &renew, Some(&json!({})))
        .expect(200);
    let listed = node
        .ask_as(&other, "GET", "/v1/executions", None)
        .expect(200);
    // What somebody else tried in its name, and nothing of theirs.
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{listed}");
    assert_eq!(
        (&items[0]["status"], &items[0]["principal"]),
        (&json!("denied"), &json!("agent:other"))
    );
    let principals = node.ask_as(&own, "GET", "/v1/principals", None).expect(200);
    assert_eq!(principals["items"].as_array().unwrap().len(), 1);
}

#[test]
fn only_operators_act_and_attempts_of_others_are_recorded() {
    let place = Place::new();
    let node = place.up();
    let key = Key::new(7);
    place.register("agent:remote", &["agents"], &key);
    let reason = json!({ "reason": "drill" });
    let refused = node.ask_as(&key, "POST", "/v1/halt", Some(&reason));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "identity_unverified")
    );
    let tail = place.ok(&["log", "tail", "-n", "1"]);
    assert!(
        tail.contains("refused") && tail.contains(&key.thumbprint()),
        "{tail}"
    );
    place.register("user:remote", &["operators"], &key);
    node.ask_as(&key, "POST", "/v1/halt", Some(&reason))
        .expect(201);
    assert_eq!(node.get("/v1/policy").expect(200)["halted"], true);
    let halted = node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
    assert_eq!((halted.status, halted.code().as_str()), (403, "halted"));
    node.post("/v1/resume", &reason).expect(201);
}
