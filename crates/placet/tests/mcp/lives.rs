//! How calls end: by an answer, a revocation, a crash, a hang, a closed pipe, a lost node.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::approvals::{paying, say};
use crate::domain::{Domain, await_some};
use crate::place::{Client, OPEN, domain, ends, records};

/// The execution of a call that runs.
fn running(domain: &Domain, tool: &str) -> String {
    await_some("a running call", || {
        let records = records(domain);
        let decided = records.iter().find(|record| {
            record["kind"] == "decided" && record["record"]["intent"]["resource"]["id"] == tool
        })?;
        let exec = decided["exec"].as_str()?.to_owned();
        let started = |record: &Value| record["kind"] == "started" && record["exec"] == *exec;
        records.iter().any(started).then_some(exec)
    })
}

fn terminated(cause: &str) -> [(String, Value); 1] {
    [("terminated".to_owned(), json!(cause))]
}

#[test]
fn a_call_is_an_execution_below_its_servers_with_a_commitment_to_its_answer() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    client.call("echo", json!({ "message": "hello" }));
    assert_eq!(client.close(), Some(0));
    let records = records(&domain);
    let decided: Vec<&Value> = records
        .iter()
        .filter(|record| record["kind"] == "decided")
        .collect();
    let (server, call) = (decided[0], decided[1]);
    assert_eq!(server["record"]["intent"]["action"], "process:run");
    assert_eq!(call["record"]["intent"]["action"], "mcp:call");
    assert_eq!(call["record"]["intent"]["parent"], server["exec"]);
    assert!(call["record"]["intent"]["resource"]["digest"].is_string());
    let ended = records
        .iter()
        .find(|r| r["kind"] == "ended" && r["exec"] == call["exec"])
        .unwrap();
    assert_eq!(ended["record"]["outcome"], "completed");
    let output = &ended["record"]["usage"]["output"];
    assert!(
        output["bytes"].as_u64().unwrap() > 20 && output["commitment"].is_string(),
        "{ended}"
    );
    // Neither arguments nor answers stand in the log.
    let log = serde_json::to_string(&records).unwrap();
    assert!(!log.contains("hello"));
    let order = |kind: &str| {
        records
            .iter()
            .position(|r| r["kind"] == kind && r["exec"] == call["exec"])
    };
    assert!(order("decided") < order("started") && order("started") < order("ended"));
}

#[test]
fn revocation_reaches_a_call_in_flight_and_the_server_stops_it() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    let id = client.send_call("slow", json!({}));
    let exec = running(&domain, "notes/slow");
    domain.ok(&["revoke", &exec, "--reason", "enough"]);
    let answer = client.answer(id);
    let said = &answer["result"]["_meta"]["placet.dev/denial"];
    assert_eq!(said["code"], "revoked", "{answer}");
    assert_eq!(said["execution"], exec);
    await_some("the server's stop", || {
        domain.work().join("stopped").exists().then_some(())
    });
    // It confirmed that it stopped, so it lives.
    assert_eq!(
        client.call("echo", json!({ "message": "x" }))["content"][0]["text"],
        "x"
    );
    client.close();
    assert_eq!(ends(&domain, "notes/slow"), terminated("revoked"));
    let cancelled = fs::read_to_string(domain.work().join("cancelled")).unwrap();
    assert!(cancelled.contains("Placet: revoked"), "{cancelled}");
}

#[test]
fn a_server_that_does_not_stop_what_was_revoked_is_ended_within_its_grace() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    let token = json!({ "name": "stubborn", "_meta": { "progressToken": "p" } });
    let id = client.send("tools/call", token);
    let exec = running(&domain, "notes/stubborn");
    domain.ok(&["revoke", &exec, "--reason", "enough"]);
    assert_eq!(client.answer(id)["result"]["isError"], true);
    let began = Instant::now();
    assert_ne!(client.child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(ends(&domain, "notes/stubborn"), terminated("revoked"));
    assert_eq!(ends_of_programs(&domain).len(), 1);
}

/// How the servers themselves ended.
fn ends_of_programs(domain: &Domain) -> Vec<Value> {
    let records = records(domain);
    let is_server = |exec: &Value| {
        records.iter().any(|record| {
            record["exec"] == *exec && record["record"]["intent"]["action"] == "process:run"
        })
    };
    let ended = records
        .iter()
        .filter(|r| r["kind"] == "ended" && is_server(&r["exec"]));
    ended.cloned().collect()
}

#[test]
fn suspending_the_principal_ends_calls_and_server() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    client.send_call("hang", json!({}));
    running(&domain, "notes/hang");
    domain.ok(&["halt", "--reason", "test"]);
    client.child.wait().unwrap();
    let ended = await_some("the end of the call", || ends(&domain, "notes/hang").pop());
    assert_eq!(ended.0, "terminated");
    assert_eq!(ends_of_programs(&domain)[0]["record"]["cause"], "halted");
    domain.ok(&["resume", "--reason", "test"]);
}

#[test]
fn a_server_that_crashes_or_answers_malformed_leaves_recorded_outcomes() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    let garbage = client.denied("garbage", json!({}));
    assert_eq!(garbage["code"], "malformed", "{garbage}");
    assert_eq!(
        client.call("echo", json!({ "message": "x" }))["content"][0]["text"],
        "x"
    );
    let id = client.send_call("crash", json!({}));
    let answer = client.answer(id);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(client.child.wait().unwrap().code(), Some(7));
    for tool in ["notes/garbage", "notes/crash"] {
        let outcome = ends(&domain, tool);
        assert_eq!(outcome.len(), 1, "{tool}");
        assert_ne!(outcome[0].0, "completed");
    }
    assert_eq!(ends_of_programs(&domain)[0]["record"]["outcome"], "failed");
}

#[test]
fn a_client_that_vanishes_ends_the_server_and_every_call() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    client.send_call("hang", json!({}));
    running(&domain, "notes/hang");
    assert_eq!(client.close(), Some(0));
    assert_eq!(ends(&domain, "notes/hang").len(), 1);
    assert_eq!(ends_of_programs(&domain).len(), 1);
}

#[test]
fn a_gateway_that_is_killed_leaves_nothing_running_and_nothing_unrecorded() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    client.send_call("hang", json!({}));
    running(&domain, "notes/hang");
    client.child.kill().unwrap();
    await_some("both ends", || {
        (ends(&domain, "notes/hang").len() == 1 && ends_of_programs(&domain).len() == 1)
            .then_some(())
    });
}

#[test]
fn a_node_that_is_killed_is_started_again_and_the_session_goes_on() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    let id = client.send_call("slow", json!({}));
    running(&domain, "notes/slow");
    let pid = domain.json(&["node", "status"])["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(
        client.call("echo", json!({ "message": "after" }))["content"][0]["text"],
        "after"
    );
    // What ran meanwhile still does, or was ended with a cause.
    client.write(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    client.close();
    await_some("the end of the call", || {
        (ends(&domain, "notes/slow").len() == 1).then_some(())
    });
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn calls_that_come_together_are_decided_together_and_each_has_its_records() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    // The connection, and what the tools are.
    client.call("echo", json!({ "message": "first" }));
    let call = |id: u32, tool: &str| {
        let arguments = json!({ "name": tool, "arguments": { "message": id.to_string() } });
        let frame =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": arguments });
        frame.to_string()
    };
    // One write of the client: forty calls, one that nobody offers and one frame that is none among them.
    let mut frames: Vec<String> = (100..140).map(|id| call(id, "echo")).collect();
    frames.insert(7, call(200, "nothing"));
    frames.insert(20, call(201, "echo").replace("\"params\"", "\"Params\""));
    client.write(&frames.join("\n"));
    let mut answered = std::collections::BTreeMap::new();
    while answered.len() < frames.len() {
        let frame = client.read();
        answered.insert(frame["id"].as_u64().unwrap(), frame);
    }
    for id in 100..140_u64 {
        let answer = &answered[&id]["result"];
        assert_eq!(answer["content"][0]["text"], id.to_string(), "{answer}");
    }
    assert_eq!(answered[&200]["result"]["isError"], true);
    assert!(answered[&201].get("error").is_some(), "{}", answered[&201]);
    client.close();
    let ends = ends(&domain, "notes/echo");
    assert_eq!(ends.len(), 41);
    assert!(ends.iter().all(|(outcome, _)| outcome == "completed"));
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_decision_that_takes_long_holds_up_no_other_frame_and_counts_when_it_comes() {
    let domain = domain(OPEN, &[]);
    let mut client = Client::of_test_server(&domain);
    client.call("echo", json!({ "message": "first" }));
    let pid = domain.json(&["node", "status"])["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let id = client.send_call("echo", json!({ "message": "late" }));
    // It is not decided about, so it cannot have been answered; what needs no decision goes through.
    let ping = client.send("ping", json!({}));
    let first = client.read();
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(first["id"], ping, "{first}");
    let answer = client.answer(id);
    assert_eq!(answer["result"]["content"][0]["text"], "late", "{answer}");
    client.close();
    assert_eq!(ends(&domain, "notes/echo").len(), 2);
}

#[test]
fn a_server_that_policy_does_not_permit_is_not_started_and_the_client_is_told() {
    let domain = domain(OPEN, &[]);
    let mut command = domain.command(&["mcp", "--as", "agent:coder", "--", "curl", "x"]);
    let mut client = Client::start(&mut command);
    let answer = client.open_or_fail();
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("policy_forbids (check 8"), "{message}");
    let data = &answer["error"]["data"];
    assert_eq!(data["code"], "policy_forbids");
    let proof = data["proof"].as_str().unwrap();
    assert!(proof.starts_with("placet log proof"), "{answer}");
    assert_eq!(client.child.wait().unwrap().code(), Some(120));
}

#[test]
fn a_call_that_needs_an_approval_says_how_and_counts_once() {
    let domain = paying();
    let mut client = Client::of_test_server(&domain);
    assert!(
        client
            .call("pay", json!({ "amount": 100 }))
            .get("isError")
            .is_none()
    );
    let said = client.denied("pay", json!({ "amount": 5000 }));
    assert_eq!(said["code"], "approval_required");
    let exec = said["execution"].as_str().unwrap().to_owned();
    assert!(
        said["remedy"]
            .as_str()
            .unwrap()
            .contains(&format!("placet approve {exec}")),
        "{said}"
    );
    // Again before anybody said anything: the same intent waits, with no other record.
    let again = client.denied("pay", json!({ "amount": 5000 }));
    assert_eq!(
        (&again["execution"], &again["decision"]),
        (&said["execution"], &said["decision"])
    );
    say(&domain, "approve", &exec);
    // Another amount is another intent.
    assert_eq!(
        client.denied("pay", json!({ "amount": 5001 }))["code"],
        "approval_required"
    );
    assert!(
        client
            .call("pay", json!({ "amount": 5000 }))
            .get("isError")
            .is_none()
    );
    // The approval is used up.
    assert_eq!(
        client.denied("pay", json!({ "amount": 5000 }))["code"],
        "approval_required"
    );
}
