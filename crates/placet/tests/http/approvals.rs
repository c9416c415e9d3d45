//! What waits for approvals, and what approvers say of it, over HTTP.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};

use crate::client::{self, Key};
use crate::place::{Node, Place};

/// A domain in which an agent's `git` needs one of the leads; `user:ann` is one, by her key.
pub(crate) fn asking(ann: &Key) -> Place {
    let place = Place::new();
    place.activate_changed(
        2,
        &[(
            "policies/agents.cedar",
            "@id(\"agents-git\")",
            "@id(\"agents-git\")\n@approvals(\"1 of leads within 10m\")",
        )],
    );
    place.register("user:ann", &["leads"], ann);
    place.register("user:eve", &["agents"], &Key::new(66));
    place.stop_node();
    place
}

/// What an approver signs: the encoding of DSSE, made here by hand.
pub(crate) fn said(key: &Key, by: &str, verdict: &str, waits: &Value) -> Value {
    let (domain, intent) = (&waits["sign"]["domain"], &waits["sign"]["intent"]);
    let statement = format!(
        r#"{{"by":"{by}","domain":{domain},"intent":{intent},"reason":"looked at it","verdict":"{verdict}"}}"#
    );
    let kind = waits["sign"]["payload_type"].as_str().unwrap();
    let (kinds, length) = (kind.len(), statement.len());
    let signed = format!("DSSEv1 {kinds} {kind} {length} {statement}");
    json!({
        "by": by, "key": key.base64(), "reason": "looked at it",
        "signature": key.sign(signed.as_bytes()), "verdict": verdict,
    })
}

fn items(node: &Node<'_>, key: &Key) -> Vec<Value> {
    let list = node.ask_as(key, "GET", "/v1/approvals", None).expect(200);
    list["items"].as_array().unwrap().clone()
}

/// Asks for something that waits; gives the intent that can be sent again, and what waits.
pub(crate) fn deferred(node: &Node<'_>) -> (Value, Value) {
    let mut intent = node.place.intent("agent:coder", &["git", "status"]);
    let deferred = node.post("/v1/intents", &intent).expect(202);
    assert_eq!(deferred["decision"], "defer");
    intent["salt"] = deferred["salt"].clone();
    (intent, deferred)
}

#[test]
fn an_approver_sees_exactly_what_is_asked_and_its_approval_leads_to_a_fresh_decision() {
    let (ann, eve) = (Key::new(41), Key::new(66));
    let place = asking(&ann);
    let node = place.up();
    let (intent, deferred) = deferred(&node);
    let exec = deferred["exec"].as_str().unwrap();
    let waits = items(&node, &ann).pop().unwrap();
    assert_eq!(waits["exec"], *exec);
    assert_eq!(waits["params"]["argv"], json!(["git", "status"]));
    assert_eq!(waits["asked_by"], json!(["agents-git"]));
    assert_eq!(waits["needs"], json!([{ "count": 1, "groups": ["leads"] }]));
    assert_eq!(
        (&waits["said"], &waits["until"]),
        (&json!({}), &deferred["waiting"]["until"])
    );
    // Whom it does not concern is shown nothing, not even that something waits.
    assert!(items(&node, &eve).is_empty());
    let path = format!("/v1/approvals/{exec}");
    assert_eq!(node.ask_as(&eve, "GET", &path, None).status, 404);
    assert_eq!(node.get(&path).expect(200), waits);
    // What is signed is this intent, by this approver, with a registered key.
    for (act, code) in [
        (
            said(&eve, "user:ann", "approve", &waits),
            "identity_unverified",
        ),
        (
            said(
                &eve,
                "user:eve",
                "approve",
                &json!({ "sign": {
            "domain": waits["sign"]["domain"], "intent": format!("sha256:{}", "0".repeat(64)),
            "payload_type": waits["sign"]["payload_type"],
        } }),
            ),
            "invalid_signature",
        ),
    ] {
        let refused = node.ask_as(&eve, "POST", &path, Some(&act));
        assert_eq!((refused.status, refused.code().as_str()), (403, code));
    }
    let mut altered = said(&ann, "user:ann", "approve", &waits);
    altered["verdict"] = json!("reject");
    assert_eq!(
        node.ask_as(&ann, "POST", &path, Some(&altered)).code(),
        "invalid_signature"
    );
    // Somebody of no group that counts may say something; it does not count.
    let act = said(&eve, "user:eve", "approve", &waits);
    node.ask_as(&eve, "POST", &path, Some(&act)).expect(201);
    node.post("/v1/intents", &intent).expect(202);
    let act = said(&ann, "user:ann", "approve", &waits);
    let index = node.ask_as(&ann, "POST", &path, Some(&act)).expect(201)["index"].clone();
    assert!(index.as_u64() > deferred["index"].as_u64());
    assert_eq!(
        node.ask_as(&ann, "POST", &path, Some(&act)).code(),
        "replayed"
    );
    let permit = node.post("/v1/intents", &intent).expect(201);
    assert_eq!(
        (&permit["exec"], &permit["grant"]["approved_by"]),
        (&json!(exec), &json!(["user:ann", "user:eve"]))
    );
    assert!(items(&node, &ann).is_empty());
    assert_eq!(node.ask_as(&ann, "POST", &path, Some(&act)).status, 404);
    let decision = node
        .get(&format!("/v1/decisions/{}", deferred["index"]))
        .expect(200);
    assert_eq!(decision["decision"], "defer");
    drop(node);
    place.ok(&["log", "replay"]);
}

#[test]
fn nobody_approves_their_own_intent_and_one_rejection_denies() {
    let (ann, own) = (Key::new(41), Key::new(42));
    let place = asking(&ann);
    // The agent itself is a lead, and still may not approve what it asks for.
    let node = place.up();
    place.register("agent:lead", &["agents", "leads"], &own);
    let mut intent = place.intent("agent:lead", &["git", "status"]);
    let deferred = node
        .ask_as(&own, "POST", "/v1/intents", Some(&intent))
        .expect(202);
    intent["salt"] = deferred["salt"].clone();
    let path = format!("/v1/approvals/{}", deferred["exec"].as_str().unwrap());
    let waits = node.ask_as(&own, "GET", &path, None).expect(200);
    let act = said(&own, "agent:lead", "approve", &waits);
    let refused = node.ask_as(&own, "POST", &path, Some(&act)).expect(403);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("nobody approves their own intent")
    );
    let act = said(&ann, "user:ann", "reject", &waits);
    node.ask_as(&ann, "POST", &path, Some(&act)).expect(201);
    let denied = node
        .ask_as(&own, "POST", "/v1/intents", Some(&intent))
        .expect(403);
    assert_eq!(
        (&denied["code"], &denied["check"]),
        (&json!("approval_required"), &json!(10))
    );
}

/// The events of a stream that this key opens, from a record on.
fn stream(node: &Node<'_>, key: &Key, from: u64) -> impl Iterator<Item = Value> + use<> {
    let proof = key.proof("GET", &format!("http://{}/v1/events", node.host()));
    let mut stream = client::tcp(node.address);
    let host = node.host();
    let request =
        format!("GET /v1/events?from={from} HTTP/1.1\r\nhost: {host}\r\ndpop: {proof}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).unwrap())
}

#[test]
fn a_stream_tells_approvers_what_waits_and_what_became_of_it() {
    let ann = Key::new(41);
    let place = asking(&ann);
    let node = place.up();
    let size = node.get("/v1/policy").expect(200)["size"].as_u64().unwrap();
    let mut events = stream(&node, &ann, size);
    // What does not concern her stands in between and is not told.
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
    let (intent, deferred) = deferred(&node);
    let waiting = events.next().unwrap();
    assert_eq!(
        (&waiting["approval"], &waiting["exec"]),
        (&json!("waiting"), &deferred["exec"])
    );
    let path = format!("/v1/approvals/{}", deferred["exec"].as_str().unwrap());
    let waits = node.get(&path).expect(200);
    let act = said(&ann, "user:ann", "approve", &waits);
    node.ask_as(&ann, "POST", &path, Some(&act)).expect(201);
    assert_eq!(events.next().unwrap()["approval"], "said");
    node.post("/v1/intents", &intent).expect(201);
    let resolved = events.next().unwrap();
    assert_eq!(
        (&resolved["approval"], &resolved["record"]["outcome"]),
        (&json!("resolved"), &json!("permit"))
    );
    // A stream that begins afterwards tells her the end of what she approved.
    let mut later = stream(&node, &ann, resolved["index"].as_u64().unwrap());
    assert_eq!(later.next().unwrap(), resolved);
}

#[test]
fn who_may_approve_is_given_what_opens_the_commitment() {
    let ann = Key::new(41);
    let place = asking(&ann);
    let node = place.up();
    let (intent, _) = deferred(&node);
    let waits = items(&node, &ann).pop().unwrap();
    assert_eq!(waits["opening"]["salt"], intent["salt"]);
    let text = waits["opening"]["params"].as_str().unwrap();
    let params: Value = serde_json::from_str(text).unwrap();
    assert_eq!(params, waits["params"]);
    let salt: placet_types::Salt =
        serde_json::from_value(waits["opening"]["salt"].clone()).unwrap();
    let commitment: placet_types::Commitment =
        serde_json::from_value(waits["intent"]["params"].clone()).unwrap();
    assert!(commitment.opens_to("process:run", text.as_bytes(), &salt));
    assert!(!commitment.opens_to(
        "process:run",
        text.replace("status", "push").as_bytes(),
        &salt
    ));
}
