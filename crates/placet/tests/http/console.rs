//! The console as the node serves it: its files, sign-in by a link, and what goes with it.

use placet_types::Digest;
use serde_json::{Value, json};

use crate::client::Key;
use crate::place::{Node, Place};

const NOTHING: &str = "{}";

fn redeem(node: &Node<'_>, key: &Key, token: &str) -> crate::client::Answer {
    let proof = key.proof("POST", &format!("http://{}/v1/session", node.host()));
    let headers = [("dpop", proof.as_str()), ("placet-link", token)];
    let nothing: Value = serde_json::from_str(NOTHING).unwrap();
    node.ask_tcp("POST", "/v1/session", &headers, Some(&nothing))
}

#[test]
fn a_link_signs_one_browser_in_as_the_user_who_asked_for_it_and_as_nobody_else() {
    let place = Place::new();
    let node = place.up();
    let link: Value = serde_json::from_str(&place.ok(&["console", "--json"])).unwrap();
    let (token, url) = (
        link["token"].as_str().unwrap(),
        link["url"].as_str().unwrap(),
    );
    assert_eq!(url, format!("http://{}/console/#link={token}", node.host()));

    let (browser, other) = (Key::new(21), Key::new(22));
    assert_eq!(node.ask_as(&browser, "GET", "/v1/policy", None).status, 401);
    assert_eq!(redeem(&node, &browser, "A").status, 401);
    let session = redeem(&node, &browser, token).expect(201);
    assert_eq!(session["role"], "operator");
    assert_eq!(session["identity"], "session");
    assert_eq!(session["key"], browser.thumbprint());

    // The token is used up, and says nothing about another key.
    assert_eq!(redeem(&node, &other, token).status, 401);
    assert_eq!(node.ask_as(&other, "GET", "/v1/policy", None).status, 401);
    node.ask_as(&browser, "GET", "/v1/policy", None).expect(200);
    let act = json!({ "reason": "drill" });
    let index = node
        .ask_as(&browser, "POST", "/v1/halt", Some(&act))
        .expect(201)["index"]
        .clone();
    assert!(index.is_u64(), "{index}");
    node.ask_as(&browser, "POST", "/v1/resume", Some(&act))
        .expect(201);

    // Signed out, the key is nobody's again.
    node.ask_as(&browser, "POST", "/v1/session/end", Some(&json!({})))
        .expect(200);
    assert_eq!(node.ask_as(&browser, "GET", "/v1/policy", None).status, 401);
}

#[test]
fn links_are_given_out_over_the_unix_socket_alone_and_end_with_the_process() {
    let place = Place::new();
    let key = Key::new(23);
    place.register("user:boss", &["operators"], &key);
    let node = place.up();
    let nothing = json!({});
    let over_tcp = node.ask_as(&key, "POST", "/v1/session/link", Some(&nothing));
    assert_eq!(
        (over_tcp.status, over_tcp.code().as_str()),
        (403, "identity_unverified")
    );
    assert_eq!(
        node.ask_tcp("POST", "/v1/session/link", &[], Some(&nothing))
            .status,
        401
    );

    let browser = Key::new(24);
    let token = node.post("/v1/session/link", &nothing).expect(201)["token"].clone();
    redeem(&node, &browser, token.as_str().unwrap()).expect(201);
    node.ask_as(&browser, "GET", "/v1/policy", None).expect(200);
    drop(node);
    let node = place.up();
    assert_eq!(node.ask_as(&browser, "GET", "/v1/policy", None).status, 401);
    let output = place
        .command(&["console", "--config", "/nowhere"])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn an_auditor_sees_everything_and_changes_nothing() {
    let place = Place::new();
    let key = Key::new(25);
    place.register("user:audit", &["auditors"], &key);
    let node = place.up();
    let exec = node.started(&["true"]);
    let seen = node
        .ask_as(&key, "GET", &format!("/v1/executions/{exec}"), None)
        .expect(200);
    let index = seen["execution"]["decided"]["index"].as_u64().unwrap();
    node.ask_as(&key, "GET", &format!("/v1/proofs/{index}"), None)
        .expect(200);
    let selector = json!({ "reason": "x", "selector": { "execution": exec } });
    for (path, body) in [
        ("/v1/revocations", &selector),
        ("/v1/halt", &json!({ "reason": "x" })),
        (
            &*format!("/v1/executions/{exec}/end"),
            &json!({ "outcome": "completed" }),
        ),
    ] {
        let refused = node.ask_as(&key, "POST", path, Some(body)).status;
        assert!([403, 404].contains(&refused), "{path}: {refused}");
    }
    let session = node.ask_as(&key, "GET", "/v1/session", None).expect(200);
    assert_eq!(
        (session["role"].as_str(), &session["principals"][0]["signs"]),
        (Some("auditor"), &json!(true))
    );
}

#[test]
fn a_bundle_over_http_is_the_one_of_the_command_line_and_verifies() {
    let place = Place::new();
    let node = place.up();
    let permit = node
        .post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
    let index = permit["index"].as_u64().unwrap();
    let bundle = node.get(&format!("/v1/proofs/{index}?disclose=true"));
    assert_eq!(bundle.status, 200);
    let file = place.path("bundle.json");
    std::fs::write(&file, &bundle.body).unwrap();
    let report: Value =
        serde_json::from_str(&place.ok(&["verify", file.to_str().unwrap(), "--json"])).unwrap();
    assert_eq!(report["verified"], true, "{report}");
    let own: Value = serde_json::from_str(&place.ok(&[
        "log",
        "proof",
        &index.to_string(),
        "--bundle",
        "--disclose",
    ]))
    .unwrap();
    assert_eq!(bundle.json()["record"]["entry"], own["record"]["entry"]);
    assert_eq!(bundle.json()["artifact"], own["artifact"]);

    let source = node.get("/v1/policy/source").expect(200);
    assert_eq!(
        source["bundle"],
        node.get("/v1/policy").expect(200)["policy"]["bundle"]
    );
    let items = source["items"].as_array().unwrap();
    assert!(
        items
            .iter()
            .any(|item| item["path"].as_str().unwrap().ends_with(".cedar"))
    );
    assert_eq!(
        node.ask_tcp("GET", "/v1/policy/source", &[], None).status,
        401
    );
    assert_eq!(
        node.ask_tcp("GET", &format!("/v1/proofs/{index}"), &[], None)
            .status,
        401
    );
}

#[test]
fn the_page_has_a_strict_policy_and_its_files_stable_names_and_tags() {
    let place = Place::new();
    let node = place.up();
    let moved = node.ask_tcp("GET", "/", &[], None);
    assert_eq!(
        (moved.status, moved.header("location")),
        (307, Some("/console/"))
    );
    let page = node.ask_tcp("GET", "/console/", &[], None);
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let text = String::from_utf8(page.body).unwrap();
    if !text.contains("app.js") {
        // Built without Node: the page says how to build the console.
        assert!(text.contains("make console") && !text.contains("<script"));
        assert_eq!(
            node.ask_tcp("GET", "/console/app.js", &[], None).status,
            404
        );
        return;
    }
    assert!(
        !policy.contains("unsafe") && !text.contains("<style"),
        "{policy}"
    );
    for script in text.split("<script").skip(1) {
        assert!(
            script.contains("src=\"./") && script.contains("></script>"),
            "{script}"
        );
    }
    let script = node.ask_tcp("GET", "/console/app.js", &[], None);
    let tag = script.header("etag").unwrap().to_owned();
    let short = tag.trim_matches('"');
    assert!(short.len() == 32 && Digest::of(&script.body).hex().starts_with(short));
    let known = node.ask_tcp("GET", "/console/app.js", &[("if-none-match", &tag)], None);
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(
        node.ask_tcp("GET", "/console/../placet.toml", &[], None)
            .status,
        404
    );
    let saved = node.ask_tcp("GET", "/console/proof-viewer.html", &[], None);
    assert!(
        saved
            .header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
}

#[test]
fn lineage_is_exported_for_those_who_see_everything() {
    let place = Place::new();
    let (auditor, agent) = (Key::new(26), Key::new(27));
    place.register("user:audit", &["auditors"], &auditor);
    place.register("agent:other", &["agents"], &agent);
    let node = place.up();
    let exec = node.started(&["true"]);
    for format in ["prov", "otlp", "openlineage"] {
        let path = format!("/v1/lineage/export?format={format}");
        let exported = node.ask_as(&auditor, "GET", &path, None).expect(200);
        let own = place.ok(&["lineage", "export", "--format", format]);
        let own: Vec<Value> = own
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let exported = exported
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![exported]);
        assert_eq!(exported, own, "{format}");
        let refused = node.ask_as(&agent, "GET", &path, None);
        assert_eq!(refused.code(), "identity_unverified");
    }
    let within = format!("/v1/lineage/export?within={exec}");
    let text = node.get(&within).expect(200).to_string();
    assert!(text.contains(&exec), "{text}");
    assert_eq!(node.get("/v1/lineage/export?format=png").status, 400);
}

#[test]
fn a_node_of_a_real_domain_has_no_scenes() {
    let place = Place::new();
    let node = place.up();
    assert_eq!(node.get("/v1/session").expect(200)["demo"], false);
    assert_eq!(node.get("/v1/demo").expect(200)["items"], json!([]));
    let played = node.post("/v1/demo/work", &json!({}));
    assert_eq!(played.status, 404);
}
