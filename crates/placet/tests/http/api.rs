//! From the intent to the end, over HTTP.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{Place, eventually};

fn path(exec: &str, what: &str) -> String {
    format!("/v1/executions/{exec}/{what}")
}

#[test]
fn an_intent_is_decided_started_renewed_and_ended_and_each_is_recorded() {
    let place = Place::new();
    let node = place.up();
    let permit = node.post(
        "/v1/intents",
        &place.intent("agent:coder", &["git", "status"]),
    );
    let permit = permit.expect(201);
    let exec = permit["exec"].as_str().unwrap();
    assert_eq!(permit["decision"], "permit");
    assert_eq!(
        permit["receipt"]["proof"].as_str().unwrap().lines().next(),
        Some("c2sp.org/tlog-proof@v1")
    );
    let other = json!({ "artifact": format!("{}A", permit["artifact"].as_str().unwrap()), "gateway": "http" });
    let refused = node.post(&path(exec, "start"), &other);
    assert!([400, 403].contains(&refused.status), "{refused:?}");
    let start = json!({ "artifact": permit["artifact"], "gateway": "http" });
    node.post(&path(exec, "start"), &start).expect(200);
    let again = node.post(&path(exec, "start"), &start);
    assert_eq!((again.status, again.code().as_str()), (403, "replayed"));
    let lease = node.post(&path(exec, "renew"), &json!({})).expect(200);
    assert_eq!(lease["not_after"], permit["grant"]["not_after"]);
    let note = json!({ "code": "anomaly", "detail": "a drill" });
    node.post(&path(exec, "signal"), &note).expect(200);
    let open = node.get(&format!("/v1/executions/{exec}")).expect(200);
    assert_eq!(open["execution"]["status"], "running");
    assert_eq!(open["open"]["grant"], permit["grant"]);
    let end = json!({ "outcome": "completed", "exit": { "code": 0 }, "usage": { "cpu_ms": 1, "rss_kib_max": 2, "wall_ms": 3 } });
    node.post(&path(exec, "end"), &end).expect(200);
    let over = node.post(&path(exec, "renew"), &json!({}));
    assert_eq!(over.status, 403);
    let closed = node.get(&format!("/v1/executions/{exec}")).expect(200);
    assert_eq!(
        (&closed["execution"]["status"], &closed["open"]),
        (&json!("completed"), &Value::Null)
    );
    assert_eq!(closed["execution"]["signals"], 1);
}

#[test]
fn a_denial_names_its_check_its_record_and_what_would_have_to_change() {
    let place = Place::new();
    let node = place.up();
    let denied = node.post(
        "/v1/intents",
        &place.intent("agent:coder", &["git", "push"]),
    );
    assert_eq!(denied.code(), "policy_forbids");
    let problem = denied.expect(403);
    assert_eq!(problem["check"], 8);
    assert!(
        problem["remedy"].as_str().unwrap().len() > 10 && problem["exec"].is_string(),
        "{problem}"
    );
    let index = problem["index"].as_u64().unwrap();
    let decision = node.get(&format!("/v1/decisions/{index}")).expect(200);
    assert_eq!(
        (&decision["decision"], &decision["code"]),
        (&json!("deny"), &json!("policy_forbids"))
    );
    assert!(
        decision["words"][1]
            .as_str()
            .unwrap()
            .contains("policy_forbids"),
        "{decision}"
    );
    assert_eq!(decision["params"], Value::Null);
    let opened = node
        .get(&format!("/v1/decisions/{index}?disclose=true"))
        .expect(200);
    assert_eq!(opened["params"]["argv"], json!(["git", "push"]));
    // The same words as the command line has.
    let explained = place.ok(&["explain", &index.to_string()]);
    assert!(explained.contains("policy_forbids"), "{explained}");
}

#[test]
fn what_is_not_renewed_is_recorded_as_terminated_and_what_never_starts_as_lapsed() {
    let place = Place::new();
    let node = place.up();
    let permit = node
        .post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
    let unused = permit["exec"].as_str().unwrap().to_owned();
    let running = node.started(&["true"]);
    let kept = node.started(&["true"]);
    let state = |exec: &str| node.get(&format!("/v1/executions/{exec}")).expect(200);
    // One of them is renewed; the others are over after their lease and a margin.
    let ended = eventually("the lease ends what is not renewed", || {
        node.post(&path(&kept, "renew"), &json!({})).expect(200);
        thread::sleep(Duration::from_millis(200));
        let state = state(&running);
        (state["execution"]["status"] == "terminated").then_some(state)
    });
    assert_eq!(
        ended["execution"]["ended"]["cause"],
        "authorization_discontinuity"
    );
    eventually("what never starts lapses", || {
        node.post(&path(&kept, "renew"), &json!({})).expect(200);
        (state(&unused)["execution"]["status"] == "lapsed").then_some(())
    });
    assert_eq!(state(&kept)["execution"]["status"], "running");
}

#[test]
fn a_revocation_refuses_the_renewal_with_its_cause() {
    let place = Place::new();
    let node = place.up();
    let exec = node.started(&["true"]);
    node.post(&path(&exec, "renew"), &json!({})).expect(200);
    let act = json!({ "reason": "leaked", "selector": { "execution": exec } });
    node.post("/v1/revocations", &act).expect(201);
    let refused = node.post(&path(&exec, "renew"), &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (403, "revoked"));
    let end = json!({ "outcome": "terminated", "cause": "revoked" });
    node.post(&path(&exec, "end"), &end).expect(200);
    let unknown = json!({ "reason": "x", "selector": { "execution": exec } });
    assert_eq!(node.post("/v1/revocations", &unknown).status, 400);
}

#[test]
fn lineage_is_asked_by_place_and_by_what_it_is_about() {
    let place = Place::new();
    let node = place.up();
    let parent = node.started(&["git", "status"]);
    let mut intent = place.intent("agent:coder", &["true"]);
    intent["parent"] = json!(parent);
    let child = node.post("/v1/intents", &intent).expect(201);
    let child = child["exec"].as_str().unwrap().to_owned();
    let execs = |path: &str| {
        let page = node.get(path).expect(200);
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["exec"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(execs(&path(&child, "ancestors")), vec![parent.clone()]);
    assert_eq!(execs(&path(&parent, "descendants")), vec![child.clone()]);
    assert_eq!(
        execs("/v1/executions?principal=agent%3Acoder"),
        [child.clone(), parent.clone()]
    );
    assert_eq!(
        execs(&format!("/v1/executions?within={parent}&status=authorized")),
        vec![child.clone()]
    );
    assert!(execs("/v1/executions?until=1").is_empty());
    let first = node.get("/v1/executions?limit=1").expect(200);
    assert_eq!(first["items"][0]["exec"], child);
    let next = first["next"].as_u64().unwrap();
    assert_eq!(
        execs(&format!("/v1/executions?limit=1&cursor={next}")),
        [parent]
    );
    for odd in [
        "limit=0",
        "limit=501",
        "status=odd",
        "from=x",
        "page=2",
        "limit=1&limit=2",
    ] {
        assert_eq!(
            node.get(&format!("/v1/executions?{odd}")).status,
            400,
            "{odd}"
        );
    }
}

#[test]
fn the_documents_are_served_without_anything_from_elsewhere() {
    let place = Place::new();
    let node = place.up();
    let page = String::from_utf8(node.get("/docs").body).unwrap();
    assert!(
        page.contains("POST /v1/intents")
            && !page.contains("http://")
            && !page.contains("https://")
    );
    let document = node.get("/openapi.json").expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let printed: Value = serde_json::from_str(&place.ok(&["config", "openapi"])).unwrap();
    assert_eq!(document, printed);
}
