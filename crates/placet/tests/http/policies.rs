//! Bundles over HTTP and on the command line: read, compared, put in force, and supposed.

use std::fs;

use placet_authority::dir::DomainDir;
use placet_authority::keys::{self, Role};
use placet_policy::{Bundle, BundleFiles, SIGNATURE_FILE, sign};
use placet_types::SigningKey;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::client::Key;
use crate::place::Place;

/// An upload of the bundle in a directory, signed by this key.
pub(crate) fn upload(dir: &std::path::Path, key: &SigningKey) -> Value {
    let mut files = std::collections::BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    let bundle = Bundle::read(&files.clone().into_iter().collect::<BundleFiles>()).unwrap();
    files.insert(SIGNATURE_FILE.into(), sign(&bundle, key).unwrap());
    let signed = Bundle::read(&files.into_iter().collect::<BundleFiles>()).unwrap();
    let archive = String::from_utf8(signed.to_archive()).unwrap();
    json!({ "archive": archive, "bundle": signed.digest() })
}

#[test]
fn a_signed_bundle_is_uploaded_compared_and_put_in_force_by_an_operator_alone() {
    let place = Place::new();
    let node = place.up();
    let dir = DomainDir::open(&place.dir()).unwrap();
    let operator = keys::load(&dir, Role::Operator).unwrap();
    let stricter = "@id(\"agents-no-git\")\n@description(\"No git.\")\nforbid (principal in Group::\"agents\", action == Action::\"process:run\", resource) when { context.called == \"git\" };\n\n@id(\"agents-running\")";
    let next = place.bundle(
        5,
        &[("policies/guards.cedar", "@id(\"agents-running\")", stricter)],
    );
    // Its own tests say what was permitted before, and this bundle is to forbid it.
    for tests in ["agents", "guards", "tools"] {
        fs::remove_file(next.join(format!("tests/{tests}.toml"))).unwrap();
    }
    let good = upload(&next, &operator);
    let key = Key::new(7);
    place.register("agent:remote", &["agents"], &key);
    for route in ["/v1/policy/activations", "/v1/policy/diff"] {
        let refused = node.ask_as(&key, "POST", route, Some(&good));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "identity_unverified")
        );
    }
    let stranger = SigningKey::from_seed(&Zeroizing::new([8; 32]));
    let mut other = good.clone();
    other["bundle"] = json!(format!("sha256:{}", "0".repeat(64)));
    let older = upload(&place.bundle(1, &[]), &operator);
    for (body, code) in [
        (upload(&next, &stranger), "invalid_signature"),
        (other, "malformed"),
        (older, "policy_mismatch"),
    ] {
        assert_eq!(node.post("/v1/policy/activations", &body).code(), code);
    }
    let before = node.get("/v1/policy").expect(200);
    assert_eq!(before["policy"]["revision"], 1);
    let differs = node.post("/v1/policy/diff", &good).expect(200);
    assert_eq!(
        (&differs["added"], &differs["same"]),
        (&json!(["agents-no-git"]), &json!(false))
    );
    node.post("/v1/policy/activations", &good).expect(201);
    assert_eq!(node.get("/v1/policy").expect(200)["policy"]["revision"], 5);
    let denied = node.post(
        "/v1/intents",
        &place.intent("agent:coder", &["git", "status"]),
    );
    assert_eq!(denied.code(), "policy_forbids");
    // What is in force can be read: each policy with its source, the tests, the whole of it.
    let list = node.get("/v1/policies").expect(200);
    assert_eq!(list["bundle"], good["bundle"]);
    let one = node.get("/v1/policies/agents-no-git").expect(200);
    assert!(
        one["source"]
            .as_str()
            .unwrap()
            .contains("context.called == \"git\""),
        "{one}"
    );
    assert_eq!(
        (&one["effect"], &one["revoked"]),
        (&json!("forbid"), &json!(false))
    );
    assert_eq!(node.get("/v1/policies/none").status, 404);
    let tests = node.get("/v1/policy/tests").expect(200);
    assert_eq!(tests["passed"], true);
    assert!(
        tests["uncovered"]
            .as_array()
            .unwrap()
            .contains(&json!("agents-no-git"))
    );
    let path = format!("/v1/policy/bundles/{}", good["bundle"].as_str().unwrap());
    assert_eq!(node.get(&path).expect(200), good);
    assert_eq!(node.ask_as(&key, "GET", &path, None).status, 403);
    // Back to what was, under a new revision.
    place.ok(&["policy", "rollback"]);
    assert_eq!(node.get("/v1/policy").expect(200)["policy"]["revision"], 6);
    node.post(
        "/v1/intents",
        &place.intent("agent:coder", &["git", "status"]),
    )
    .expect(201);
}

#[test]
fn a_replay_says_what_a_bundle_would_have_changed_and_changes_nothing() {
    let place = Place::new();
    let node = place.up();
    let permit = node
        .post(
            "/v1/intents",
            &place.intent("agent:coder", &["git", "status"]),
        )
        .expect(201);
    let denied = node
        .post(
            "/v1/intents",
            &place.intent("agent:coder", &["git", "push"]),
        )
        .expect(403);
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
    let bundle = place.bundle(
        2,
        &[(
            "policies/agents.cedar",
            "@id(\"agents-git\")",
            "@id(\"agents-git\")\n@approvals(\"1 of leads\")",
        )],
    );
    let size = node.get("/v1/policy").expect(200)["size"].clone();
    let replay = |more: &[&str]| -> Value {
        let args = [
            &[
                "policy",
                "replay",
                "--json",
                "--bundle",
                bundle.to_str().unwrap(),
            ],
            more,
        ]
        .concat();
        serde_json::from_str(&place.ok(&args)).unwrap()
    };
    let found = replay(&[]);
    let counts = [
        "decisions",
        "same",
        "different",
        "opened",
        "closed",
        "unknown",
    ]
    .map(|name| found[name].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1, 0, 1, 0], "{found}");
    let one = &found["listed"][0];
    assert_eq!(
        (
            &one["index"],
            &one["was"]["outcome"],
            &one["would_be"]["outcome"]
        ),
        (&permit["index"], &json!("permit"), &json!("defer"))
    );
    let index = denied["index"].to_string();
    assert_eq!(replay(&["--since", &index])["decisions"], 2);
    assert_eq!(replay(&["--since", "1h"])["decisions"], 3);
    assert!(
        !place
            .command(&[
                "policy",
                "replay",
                "--bundle",
                bundle.to_str().unwrap(),
                "--since",
                "x"
            ])
            .output()
            .unwrap()
            .status
            .success()
    );
    // The bundle in force itself would have changed nothing.
    let same = place.path("same");
    place.ok(&["policy", "init", same.to_str().unwrap()]);
    let text = place.ok(&["policy", "replay", "--bundle", same.to_str().unwrap()]);
    assert!(text.contains("different  0"), "{text}");
    assert_eq!(node.get("/v1/policy").expect(200)["size"], size);
}
