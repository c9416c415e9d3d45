//! What answers must not show: taken out before the client sees them, counted in the evidence.

use std::fs;

use serde_json::{Value, json};

use crate::domain::Domain;
use crate::place::{Client, OPEN, domain, records};

/// The profile of calls takes these out of their answers.
fn redacting(rules: &str) -> Domain {
    let domain = domain(OPEN, &[]);
    let bundle = domain.path("bundle");
    let profile = bundle.join("profiles/agent.toml");
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, format!("redact = {rules}\n{text}")).unwrap();
    let manifest = bundle.join("bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("revision = 2", "revision = 3")).unwrap();
    domain
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

#[test]
fn what_an_answer_must_not_show_is_taken_out_and_counted() {
    let rules = r#"["pattern:sk-[0-9a-f]{8,}", "pointer:/user/mail"]"#;
    let domain = redacting(rules);
    domain.ok(&[
        "policy",
        "activate",
        domain.path("bundle").to_str().unwrap(),
    ]);
    let mut client = Client::of_test_server(&domain);
    let message = "keys sk-0123456789 and \u{e9} sk-abcdef0123";
    let shown = client.call("echo", json!({ "message": message }));
    assert_eq!(
        text(&shown),
        "keys [redacted] and \u{e9} [redacted]",
        "{shown}"
    );
    let message = json!({ "user": { "mail": "ann@example.org", "name": "Ann" } }).to_string();
    let shown = client.call("echo", json!({ "message": message }));
    let shown: Value = serde_json::from_str(text(&shown)).unwrap();
    assert_eq!(
        shown,
        json!({ "user": { "mail": "[redacted]", "name": "Ann" } })
    );
    let shown = client.call("echo", json!({ "message": "nothing to hide" }));
    assert_eq!(text(&shown), "nothing to hide");
    // What is said beside the answer shows no more than the answer, and finds its request all the same.
    let id = client.send(
        "tools/call",
        json!({
            "name": "noisy", "arguments": { "message": "sk-0123456789" },
            "_meta": { "progressToken": "sk-abcdef0123" },
        }),
    );
    let mut said = Vec::new();
    loop {
        let frame = client.read();
        if frame["id"] == id {
            break;
        }
        said.push(frame["params"].clone());
    }
    assert_eq!(
        said,
        [
            json!({ "progressToken": "sk-abcdef0123", "progress": 1, "message": "[redacted]" }),
            json!({ "level": "info", "data": "[redacted]" }),
            json!({ "level": "info",
                "data": { "user": { "mail": "[redacted]" }, "deep": ["[redacted]"] } }),
            json!({ "level": "info", "data": r#"{"user": {"mail": "[redacted]"}}"# }),
        ]
    );
    // Nor does what the server asks its client.
    client.send(
        "tools/call",
        json!({
            "name": "noisy", "arguments": { "message": "see sk-0123456789", "asks": true },
            "_meta": { "progressToken": "t" },
        }),
    );
    let asked = loop {
        let frame = client.read();
        if frame["method"] == "sampling/createMessage" {
            break frame;
        }
    };
    let told = &asked["params"]["messages"][0]["content"]["text"];
    assert_eq!(told, "see [redacted]", "{asked}");
    let content = json!({ "type": "text", "text": "seen" });
    let answer = json!({ "role": "assistant", "model": "none", "content": content });
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": answer });
    client.write(&answer.to_string());
    client.close();
    // The original is committed to, and what was taken out is counted; where nothing was, nothing is said.
    let records = records(&domain);
    let outputs = records
        .iter()
        .filter(|record| record["kind"] == "ended")
        .map(|record| &record["record"]["usage"]["output"])
        .filter(|output| output.is_object());
    let counts: Vec<&Value> = outputs.map(|output| &output["redacted"]).collect();
    let (two, one) = (json!(2), json!(1));
    assert_eq!(counts[..2], [&two, &one]);
    assert_eq!(counts[2..], [&Value::Null; 4]);
    // The rules stand in the artifact, as an obligation of the permit.
    let scopes = domain.ok(&["log", "tail", "-n", "100000", "--json"]);
    assert!(!scopes.contains("ann@example.org"));
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_rule_that_nobody_can_apply_activates_no_bundle() {
    for bad in [
        r#"["pattern:("]"#,
        r#"["pattern:x*"]"#,
        r#"["pointer:mail"]"#,
        r#"["words"]"#,
    ] {
        let domain = redacting(bad);
        let said = domain.fails(
            1,
            &[
                "policy",
                "activate",
                domain.path("bundle").to_str().unwrap(),
            ],
        );
        assert!(said.contains("redact"), "{bad}: {said}");
    }
}
