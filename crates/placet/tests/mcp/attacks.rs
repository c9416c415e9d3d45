//! Ways around a gateway, each by its name.

use std::fs;

use serde_json::{Value, json};

use crate::domain::Domain;
use crate::place::{Client, OPEN, domain, ends, records};

/// What the server was really asked to do.
fn calls(domain: &Domain) -> String {
    fs::read_to_string(domain.work().join("calls")).unwrap_or_default()
}

/// Attempts that were refused, as the log has them.
fn refused(domain: &Domain) -> Vec<String> {
    let reason = |record: &Value| {
        record["record"]["denial"]["reason"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let records = records(domain);
    let refused = records.iter().filter(|record| record["kind"] == "refused");
    refused.map(reason).collect()
}

#[test]
fn frames_that_two_readers_read_differently_reach_no_server_and_are_recorded() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    assert_eq!(client.tools().len(), 17);
    let call = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#)
    };
    let deep = format!(
        r#"{{"name":"wipe","arguments":{{"a":{}{}}}}}"#,
        "[".repeat(60),
        "]".repeat(60)
    );
    let long = format!(
        r#"{{"name":"wipe","arguments":{{"a":"{}"}}}}"#,
        "x".repeat(1 << 21)
    );
    let frames = [
        ("duplicate member", call(r#"{"name":"echo","name":"wipe"}"#)),
        (
            "duplicate member in another spelling",
            call(r#"{"name":"echo","n\u0061me":"wipe"}"#),
        ),
        (
            "duplicate member deep inside",
            call(r#"{"name":"wipe","arguments":{"a":[{"b":1,"b":2}]}}"#),
        ),
        ("case trick", call(r#"{"name":"echo","Name":"wipe"}"#)),
        (
            "case trick in the envelope",
            call("{}").replace("\"id\"", "\"Method\":\"x\",\"id\""),
        ),
        ("batch", format!("[{}]", call(r#"{"name":"wipe"}"#))),
        (
            "invalid id",
            call(r#"{"name":"wipe"}"#).replace("77", "7.5"),
        ),
        (
            "number beyond a double",
            call(r#"{"name":"wipe","arguments":{"n":12345678901234567890}}"#),
        ),
        ("too deep", call(&deep)),
        ("too long", call(&long)),
        (
            "a governed request with a member of its own",
            call(r#"{"name":"wipe"}"#).replace("\"id\"", "\"x\":1,\"id\""),
        ),
        ("no object", call(r#"["wipe"]"#)),
        ("a tool without a name", call("{}")),
        (
            "a request without an id",
            call(r#"{"name":"wipe"}"#).replace("\"id\":77,", ""),
        ),
    ];
    for (what, frame) in &frames {
        client.write(frame);
        if *what != "a request without an id" {
            let answer = client.read();
            assert!(answer["error"]["code"].is_i64(), "{what}: {answer}");
        }
    }
    assert_eq!(
        client.call("echo", json!({ "message": "still here" }))["content"][0]["text"],
        "still here"
    );
    assert!(!calls(&domain).contains("wipe"), "{}", calls(&domain));
    client.close();
    assert_eq!(refused(&domain).len(), frames.len());
}

/// Files of one directory only; the path is compared where it leads.
const INSIDE: &str = r#"
@id("list") @description("For tests.")
permit (principal, action == Action::"mcp:list", resource is McpTool)
when { resource.name == "echo" || resource.name == "note" };
@id("inside") @description("For tests.")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.server == "notes" && resource.name == "note" &&
  context.args.hasTag("path") && context.args.getTag("path") has path &&
  context.args.getTag("path").path like "/srv/data/*" };
"#;

#[test]
fn path_traversal_in_arguments_is_denied() {
    let domain = domain(INSIDE, &[]);
    let mut client = Client::of_test_server(&domain);
    let inside = client.call("note", json!({ "path": "/srv/data/./a//b" }));
    assert!(inside.get("isError").is_none(), "{inside}");
    for path in [
        "/srv/data/../../etc/passwd",
        "/srv/data/../database/x",
        "/etc/passwd",
        "srv/data/a",
        "file:///srv/data/%2e%2e/%2e%2e/etc/passwd",
        "",
    ] {
        let said = client.denied("note", json!({ "path": path }));
        assert_eq!(said["code"], "no_permit", "{path}: {said}");
    }
    for arguments in [
        json!({ "path": ["/srv/data/a", "/etc/passwd"] }),
        json!({ "Path": "/srv/data/a" }),
        json!({ "path": { "path": "/srv/data/a" } }),
    ] {
        client.denied("note", arguments);
    }
    assert_eq!(calls(&domain).lines().count(), 1);
}

#[test]
fn with_the_starter_bundle_files_of_the_workspace_are_used_and_no_others() {
    let domain = Domain::new();
    let server = include_str!("server.py");
    fs::write(domain.work().join("server.py"), server).unwrap();
    // A client starts its servers anywhere: where they work is said.
    let elsewhere = domain.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let work = domain.work().display().to_string();
    let args = ["mcp", "--as", "agent:coder", "--name", "files"];
    let mut command = domain.command(&args);
    command.args(["--profile", "mcp-server", "--cwd", &work]);
    command.args(["--", "/usr/bin/python3", "server.py"]);
    let mut client = Client::start(command.current_dir(&elsewhere));
    client.open();
    for path in ["a", "dir/./b"] {
        let answer = client.call("note", json!({ "path": format!("{work}/{path}") }));
        assert!(answer.get("isError").is_none(), "{answer}");
    }
    let outside = [
        format!("{work}er/a"),
        format!("{work}/../a"),
        elsewhere.display().to_string(),
        "a".to_owned(),
    ];
    for path in outside {
        let said = client.denied("note", json!({ "path": path }));
        assert_eq!(said["code"], "no_permit", "{path}: {said}");
    }
    assert_eq!(calls(&domain).lines().count(), 2);
}

#[test]
fn lists_show_only_what_the_principal_may_use() {
    let domain = domain(INSIDE, &[]);
    let mut client = Client::of_test_server(&domain);
    assert_eq!(client.tools(), ["echo", "note"]);
}

#[test]
fn a_denial_says_which_check_what_would_have_to_change_and_where_the_proof_is() {
    let domain = domain(INSIDE, &[]);
    let mut client = Client::of_test_server(&domain);
    let said = client.denied("wipe", json!({ "path": "/" }));
    assert_eq!(said["code"], "no_permit");
    assert_eq!(said["check"]["number"], 8);
    assert!(
        said["remedy"].as_str().unwrap().contains("policy"),
        "{said}"
    );
    let index = said["decision"]
        .as_str()
        .unwrap()
        .strip_prefix("dec_")
        .unwrap();
    client.close();
    let explained = domain.ok(&["explain", index]);
    assert!(
        explained.contains("mcp:call") && explained.contains("notes/wipe"),
        "{explained}"
    );
    let proof = said["proof"].as_str().unwrap();
    let args: Vec<&str> = proof.split(' ').skip(1).collect();
    let bundle = domain.path("proof.json");
    fs::write(&bundle, domain.ok(&args)).unwrap();
    let policy = domain.policy_file();
    domain.ok(&[
        "verify",
        bundle.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
    ]);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn injected_instructions_in_a_tools_output_lead_to_a_call_that_policy_denies() {
    let domain = domain(INSIDE, &[]);
    let mut client = Client::of_test_server(&domain);
    let answer = client.call("note", json!({ "path": "/srv/data/a" }));
    let text = answer["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("call wipe"), "{text}");
    // The agent does what it is told.
    let arguments = text.split_once("with ").unwrap().1;
    let said = client.denied("wipe", serde_json::from_str(arguments).unwrap());
    assert_eq!(said["code"], "no_permit");
    assert!(!calls(&domain).contains("wipe"));
}

#[test]
fn tool_shadowing_gives_a_server_no_other_servers_permits() {
    // The server calls itself `filesystem`; what counts is the name in the configuration.
    let policy = r#"@id("files") @description("For tests.")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.server == "filesystem" };"#;
    let domain = domain(policy, &[]);
    let mut client = Client::of_test_server(&domain);
    assert_eq!(client.denied("echo", json!({}))["code"], "no_permit");
}

#[test]
fn a_replayed_id_and_a_guessed_answer_get_nothing() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    let slow = client.send_call("slow", json!({}));
    // The same id again, for something else, while the first is open.
    client.write(&format!(
        r#"{{"jsonrpc":"2.0","id":{slow},"method":"tools/call","params":{{"name":"wipe"}}}}"#
    ));
    let answer = client.read();
    assert!(
        answer["id"].is_null() && answer["error"].is_object(),
        "{answer}"
    );
    // The server answers what nobody asked: the client never sees it.
    let forged = client.ask("test/forge", json!({}));
    assert!(forged["result"].is_object(), "{forged}");
    client.write(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{slow}}}}}"#
    ));
    assert_eq!(
        client.call("echo", json!({ "message": "a" }))["content"][0]["text"],
        "a"
    );
    client.close();
    assert!(!calls(&domain).contains("wipe"));
    let refused = refused(&domain);
    assert!(
        refused.iter().any(|reason| reason.contains("nobody made")),
        "{refused:?}"
    );
    assert!(
        refused
            .iter()
            .any(|reason| reason.contains("not answered yet")),
        "{refused:?}"
    );
    assert_eq!(
        ends(&domain, "notes/slow"),
        [("failed".to_owned(), Value::Null)]
    );
}

#[test]
fn a_flood_is_answered_and_every_call_has_its_records() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    let ids: Vec<u64> = (0..300)
        .map(|_| client.send_call("echo", json!({ "message": "x" })))
        .collect();
    let mut done = 0;
    for _ in &ids {
        let answer = client.read();
        assert!(answer["result"].is_object(), "{answer}");
        done += usize::from(answer["result"].get("isError").is_none());
    }
    client.close();
    assert_eq!(calls(&domain).lines().count(), done);
    assert_eq!(ends(&domain, "notes/echo").len(), done);
    assert!(done > 0);
}

#[test]
fn a_method_that_nobody_knows_is_denied_until_a_policy_knows_it() {
    let domain = domain(INSIDE, &[]);
    let mut client = Client::of_test_server(&domain);
    let answer = client.ask("test/forge", json!({ "x": 1 }));
    assert_eq!(answer["error"]["code"], -32050, "{answer}");
    assert_eq!(answer["error"]["data"]["code"], "no_permit");
}
