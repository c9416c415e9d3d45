//! What anybody gets to see, without saying who they are: every public resource, and none beside them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::place::{Node, Place};

/// What anybody may read, whatever is configured.
const ALWAYS: [&str; 10] = [
    "/.well-known/authzen-configuration",
    "/console/",
    "/console/signed-in",
    "/console/signed-out",
    "/console/{file}",
    "/docs",
    "/healthz",
    "/openapi.json",
    "/readyz",
    "/v1/session",
];
/// What anybody may read of a public log.
const LOG: [&str; 7] = [
    "/log/checkpoint",
    "/log/policy",
    "/log/proof/{index}",
    "/log/tile/{tile}",
    "/v1/lineage/shape",
    "/v1/log/checks",
    "/v1/proofs/{index}",
];
const METERS: [&str; 1] = ["/metrics"];

/// Where what is asked for can be read, with what stands for the variable parts.
struct Known {
    exec: String,
    bundle: String,
    size: u64,
}

fn paths(template: &str, known: &Known) -> Vec<String> {
    if template.contains("{index}") {
        let each = (0..known.size).map(|index| template.replace("{index}", &index.to_string()));
        return each.collect();
    }
    let path = template
        .replace("{exec}", &known.exec)
        .replace("{digest}", &known.bundle)
        .replace("{file}", "icon.svg");
    if template.contains("{tile}") {
        let part = known.size;
        return vec![
            path.replace("{tile}", &format!("0/000.p/{part}")),
            path.replace("{tile}", &format!("entries/000.p/{part}")),
        ];
    }
    vec![path]
}

/// Every resource that can be read, asked for by nobody in particular: those that answer, each with all
/// that it said.
fn open(node: &Node<'_>, known: &Known) -> Vec<(String, String)> {
    let document = node.ask_tcp("GET", "/openapi.json", &[], None).expect(200);
    let mut found = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_none() {
            continue;
        }
        for path in paths(template, known) {
            let answer = node.ask_tcp("GET", &path, &[], None);
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status == 200 {
                found.push((template.clone(), body));
            } else {
                assert!(
                    [307, 401].contains(&answer.status),
                    "{path}: {} {body}",
                    answer.status
                );
            }
        }
    }
    found
}

fn names(found: &[(String, String)]) -> BTreeSet<&str> {
    found
        .iter()
        .map(|(template, _)| template.as_str())
        .collect()
}

fn known(place: &Place, node: &Node<'_>) -> Known {
    let mut intent = place.intent("agent:coder", &["echo", "private-argument"]);
    intent["params"]["purpose"] = "private-purpose".into();
    let permit = node.post("/v1/intents", &intent).expect(201);
    let exec = permit["exec"].as_str().unwrap().to_owned();
    let start = serde_json::json!({ "artifact": permit["artifact"], "gateway": "http" });
    node.post(&format!("/v1/executions/{exec}/start"), &start)
        .expect(200);
    let mut child = place.intent("agent:coder", &["git", "push"]);
    child["parent"] = exec.as_str().into();
    assert_eq!(node.post("/v1/intents", &child).status, 403);
    let status = node.get("/v1/policy").expect(200);
    Known {
        exec,
        bundle: status["policy"]["bundle"].as_str().unwrap().to_owned(),
        size: status["size"].as_u64().unwrap(),
    }
}

#[test]
fn the_public_reads_what_is_public_and_nothing_private_in_it() {
    let place = Place::new();
    place.configure("public = true\nmetrics_public = true\n");
    let node = place.up();
    let known = known(&place, &node);
    let found = open(&node, &known);
    let all: BTreeSet<&str> = [ALWAYS.as_slice(), &LOG, &METERS]
        .concat()
        .into_iter()
        .collect();
    // A resource that is new here is one that somebody wanted to be public.
    assert_eq!(names(&found), all);
    for (template, body) in &found {
        // What was asked for in particular is private even where the whole log is public.
        for private in [
            "private-argument",
            "private-purpose",
            "\"salt\"",
            "\"params\":{",
        ] {
            let shown = template != "/docs" && template != "/openapi.json";
            assert!(
                !shown || !body.contains(private),
                "{private} in {template}: {body}"
            );
        }
        // Records are public in a public log; whatever else there is names nobody and nothing.
        let is_record = ["/log/tile/{tile}", "/v1/proofs/{index}"].contains(&template.as_str());
        if !is_record {
            for named in ["agent:coder", "user:op", &known.exec, "/usr/bin/"] {
                assert!(!body.contains(named), "{named} in {template}: {body}");
            }
        }
        if template == "/v1/proofs/{index}" {
            let bundle: Value = serde_json::from_str(body).unwrap();
            let members: Vec<&String> = bundle.as_object().unwrap().keys().collect();
            assert_eq!(members, ["format", "genesis", "policy", "record"], "{body}");
        }
    }
    let asked = node.ask_tcp(
        "GET",
        &format!("/v1/proofs/{}?disclose=true", known.size - 1),
        &[],
        None,
    );
    let bundle = asked.expect(200);
    assert!(bundle.get("disclosed").is_none() && bundle.get("artifact").is_none());

    // The shape: what led to what, and how it ended.
    let shape = node
        .ask_tcp("GET", "/v1/lineage/shape", &[], None)
        .expect(200);
    let items = shape["items"].as_array().unwrap();
    assert_eq!(
        (items[0]["status"].as_str(), items[1]["status"].as_str()),
        (Some("denied"), Some("running"))
    );
    assert_eq!(items[0]["parent"], items[1]["index"]);
    let page = node
        .ask_tcp("GET", "/v1/lineage/shape?limit=1", &[], None)
        .expect(200);
    let path = format!("/v1/lineage/shape?limit=1&cursor={}", page["next"]);
    let rest = node.ask_tcp("GET", &path, &[], None).expect(200);
    assert_eq!(rest["items"][0], items[1]);
}

#[test]
fn a_private_domain_shows_the_public_no_record_at_all() {
    let place = Place::new();
    let node = place.up();
    let known = known(&place, &node);
    let found = open(&node, &known);
    assert_eq!(names(&found), ALWAYS.into_iter().collect());
    for (template, body) in &found {
        for private in [
            "private-argument",
            "agent:coder",
            "user:op",
            &known.exec,
            &known.bundle,
        ] {
            let shown = template != "/docs" && template != "/openapi.json";
            assert!(
                !shown || !body.contains(private),
                "{private} in {template}: {body}"
            );
        }
    }
}
