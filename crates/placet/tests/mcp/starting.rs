//! Servers that may only be started, or spoken to, once somebody has approved it: their clients wait as for calls.

use serde_json::{Value, json};

use crate::approvals::{paying_under, say};
use crate::domain::{Domain, await_some};
use crate::elsewhere::{Far, reaching};
use crate::place::{Client, OPEN, records};

/// A server for this purpose needs somebody, and so does any server elsewhere.
const HELD: &str = r#"
@id("held") @description("For tests.") @profile("operator") @approvals("1 of leads within 10m")
permit (principal, action == Action::"process:run", resource is Program)
when { context has purpose && context.purpose == "held" };
@id("held-elsewhere") @description("For tests.") @profile("operator") @approvals("1 of leads within 10m")
permit (principal, action == Action::"mcp:connect", resource is McpServer);
"#;

/// A gateway in front of the test server, whose start has to be approved.
fn held(domain: &Domain) -> Client {
    let gateway = ["mcp", "--name", "notes", "--purpose", "held", "--wait", "1"];
    let server = ["--grace", "1", "--", "/usr/bin/python3", "server.py"];
    Client::start(&mut domain.command(&[&gateway[..], &server].concat()))
}

/// What somebody is told who has waited long enough: the execution that has to be approved.
fn told(answer: &Value) -> String {
    let said = &answer["error"]["data"];
    assert_eq!(said["code"], "approval_required", "{answer}");
    assert_eq!(said["check"]["number"], 10, "{answer}");
    let exec = said["execution"].as_str().unwrap();
    let remedy = said["remedy"].as_str().unwrap();
    assert!(
        remedy.contains(&format!("placet approve {exec}")),
        "{answer}"
    );
    exec.to_owned()
}

fn works(client: &mut Client) {
    let echoed = client.call("echo", json!({ "message": "x" }));
    assert_eq!(echoed["content"][0]["text"], "x", "{echoed}");
}

#[test]
fn a_server_that_cannot_be_started_has_failed_and_is_not_denied() {
    let domain = paying_under(OPEN);
    let gateway = ["mcp", "--name", "notes", "--", "/usr/bin/no-such-server"];
    let mut client = Client::start(&mut domain.command(&gateway));
    let answer = client.open_or_fail();
    let (error, data) = (&answer["error"], &answer["error"]["data"]);
    assert_eq!(error["code"], -32603, "{answer}");
    assert!(
        data["code"].is_null() && data["remedy"].is_string(),
        "{answer}"
    );
    assert!(
        data["reason"].as_str().unwrap().contains("no-such-server"),
        "{answer}"
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Failed in Placet: "),
        "{answer}"
    );
    assert_ne!(client.close(), Some(0));
}

#[test]
fn a_server_that_needs_an_approval_is_waited_for_and_the_same_is_asked_for_again() {
    let domain = paying_under(&format!("{OPEN}{HELD}"));
    // Its client is told how, and asks again: what it says meanwhile reaches the server in its order.
    let mut first = held(&domain);
    let exec = told(&first.open_or_fail());
    say(&domain, "approve", &exec);
    assert!(first.open()["result"].is_object());
    works(&mut first);
    first.close();

    // A client that has no sessions and shows forms is asked to wait, with whatever it asks first.
    let mut second = held(&domain);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } } });
    let call = json!({ "name": "echo", "arguments": { "message": "y" }, "_meta": meta });
    let retry = |first: &Value, action: &str| {
        let mut call = call.clone();
        call["inputResponses"] = json!({ "placet-approval": { "action": action } });
        call["requestState"] = first["result"]["requestState"].clone();
        call
    };
    let asked = second.ask("tools/call", call.clone());
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let declined = second.ask("tools/call", retry(&asked, "decline"));
    let said = &declined["result"]["_meta"]["placet.dev/denial"];
    assert_eq!(said["code"], "approval_required", "{declined}");
    let exec = said["execution"].as_str().unwrap().to_owned();
    let asked = second.ask("tools/call", call.clone());
    let id = second.send("tools/call", retry(&asked, "accept"));
    say(&domain, "approve", &exec);
    let echoed = second.answer(id);
    assert_eq!(echoed["result"]["content"][0]["text"], "y", "{echoed}");
    second.close();
    let params = std::fs::read_to_string(domain.work().join("params")).unwrap();
    assert!(!params.contains("placet-approval") && !params.contains("requestState"));

    // The client has gone, and so has its gateway: the next one asks for the very same, which was approved meanwhile.
    let mut third = held(&domain);
    let exec = told(&third.open_or_fail());
    third.close();
    say(&domain, "approve", &exec);
    let mut fourth = held(&domain);
    assert!(fourth.open()["result"].is_object());
    works(&mut fourth);
    fourth.close();
    let started = records(&domain);
    let started = started
        .iter()
        .filter(|record| record["kind"] == "started" && record["exec"] == *exec);
    assert_eq!(started.count(), 1);
    // It counts once.
    let mut fifth = held(&domain);
    let other = told(&fifth.open_or_fail());
    assert_ne!(other, exec);
    // Who has not been told yet hears of a rejection, and so does whoever asks after it.
    say(&domain, "reject", &other);
    await_some("the rejection", || {
        let answer = fifth.open_or_fail();
        let reason = answer["error"]["data"]["reason"].as_str()?;
        reason.contains("rejected it").then_some(())
    });
    fifth.close();
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_server_elsewhere_that_needs_an_approval_is_waited_for_and_the_same_is_asked_for_again() {
    let far = Far::python();
    let domain = reaching(&format!("{OPEN}{HELD}"), "");
    let key = domain.path("ann");
    let made = domain.json(&["key", "new", "--key", key.to_str().unwrap()]);
    let thumbprint = made["thumbprint"].as_str().unwrap();
    let ann = ["principal", "set", "user:ann", "--group", "leads"];
    domain.ok(&[&ann[..], &["--uid", "0", "--key", thumbprint]].concat());
    let path = domain.work().join("mcp.json");
    let servers = json!({ "mcpServers": { "far": { "type": "http", "url": far.url } } });
    std::fs::write(&path, servers.to_string()).unwrap();
    let gateway = |wait: &str| {
        let path = path.to_str().unwrap();
        Client::start(&mut domain.command(&["mcp", "--wait", wait, "--config", path]))
    };
    // Whoever approves in time is not noticed.
    let mut patient = gateway("60");
    let opening = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } });
    let id = patient.send("initialize", opening);
    let exec = await_some("the connection waits", || {
        let records = records(&domain);
        let mut waits = records
            .iter()
            .filter(|record| record["record"]["outcome"] == "defer");
        Some(waits.next()?["exec"].as_str()?.to_owned())
    });
    say(&domain, "approve", &exec);
    assert!(patient.answer(id)["result"].is_object());
    patient.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let sum = patient.call("add", json!({ "a": 2, "b": 40 }));
    assert_eq!(sum["content"][0]["text"], "42", "{sum}");
    patient.close();
    let mut late = gateway("1");
    let exec = told(&late.open_or_fail());
    late.close();
    say(&domain, "approve", &exec);
    let mut next = gateway("1");
    assert!(next.open()["result"].is_object());
    next.close();
    let records = records(&domain);
    let ended = records
        .iter()
        .filter(|record| record["kind"] == "ended" && record["exec"] == *exec);
    assert_eq!(ended.count(), 1);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}
