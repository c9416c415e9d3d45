//! Calls that wait for approvals, and clients that wait with them.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::{Domain, await_some};
use crate::peers::{node_modules, python};
use crate::place::{Client, domain, ends, records};

/// Payments beyond 100 need somebody.
pub(crate) const PAY: &str = r#"
@id("pay") @description("For tests.") @approvals("1 of leads within 10m")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.name == "pay" && context.args.hasTag("amount") &&
  context.args.getTag("amount") has whole && context.args.getTag("amount").whole > 100 };
@id("small") @description("For tests.")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.name == "pay" && context.args.hasTag("amount") &&
  context.args.getTag("amount") has whole && context.args.getTag("amount").whole <= 100 };
"#;

/// A domain where `user:ann` approves payments.
pub(crate) fn paying() -> Domain {
    paying_under(PAY)
}

/// The same, with another policy.
pub(crate) fn paying_under(policy: &str) -> Domain {
    let domain = domain(policy, &[]);
    let key = domain.path("ann");
    let made = domain.json(&["key", "new", "--key", key.to_str().unwrap()]);
    let thumbprint = made["thumbprint"].as_str().unwrap();
    domain.ok(&[
        "principal",
        "set",
        "user:ann",
        "--group",
        "leads",
        "--uid",
        "0",
        "--key",
        thumbprint,
    ]);
    domain
}

/// What `user:ann` says of an execution.
pub(crate) fn say(domain: &Domain, verdict: &str, exec: &str) {
    let key = domain.path("ann");
    let key = key.to_str().unwrap();
    domain.ok(&[
        verdict, exec, "--as", "user:ann", "--key", key, "--reason", "ok",
    ]);
}

/// The execution that waits for an approval.
fn waiting(domain: &Domain) -> String {
    await_some("a call that waits", || {
        let records = records(domain);
        let deferred = records
            .iter()
            .find(|record| record["kind"] == "decided" && record["record"]["outcome"] == "defer")?;
        Some(deferred["exec"].as_str()?.to_owned())
    })
}

/// A client that can show these.
fn client_with(domain: &Domain, elicitation: Value) -> Client {
    let gateway = ["mcp", "--name", "notes", "--grace", "1", "--"];
    let server = ["/usr/bin/python3", "server.py"];
    let mut client = Client::start(&mut domain.command(&[&gateway[..], &server].concat()));
    client.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25", "capabilities": { "elicitation": elicitation },
            "clientInfo": { "name": "test", "version": "1" },
        }),
    );
    client.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    client
}

/// The next question that the client is asked.
fn question(client: &mut Client) -> Value {
    loop {
        let frame = client.read();
        if frame["method"] == "elicitation/create" {
            return frame;
        }
    }
}

fn answer(client: &mut Client, question: &Value, action: &str) {
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": action } });
    client.write(&answer.to_string());
}

#[test]
fn a_client_that_shows_forms_waits_and_its_call_goes_on_once_approved() {
    let domain = paying();
    let mut client = client_with(&domain, json!({}));
    let id = client.send_call("pay", json!({ "amount": 5000 }));
    let asked = question(&mut client);
    let exec = waiting(&domain);
    assert_eq!(asked["params"]["mode"], "form", "{asked}");
    let message = asked["params"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("placet approve {exec}")),
        "{message}"
    );
    // What the user clicks is no approval, and meanwhile other calls go on.
    answer(&mut client, &asked, "accept");
    let small = client.call("pay", json!({ "amount": 5 }));
    assert!(small.get("isError").is_none(), "{small}");
    await_some("the end of the small payment alone", || {
        (ends(&domain, "notes/pay").len() == 1).then_some(())
    });
    say(&domain, "approve", &exec);
    let paid = client.answer(id);
    assert!(paid["result"].get("isError").is_none(), "{paid}");
    assert_eq!(paid["result"]["content"][0]["text"], "done");
    client.close();
    assert_eq!(ends(&domain, "notes/pay").len(), 2);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_user_who_does_not_wait_is_told_how_and_a_rejection_ends_the_waiting() {
    let domain = paying();
    let mut client = client_with(&domain, json!({ "form": {} }));
    let id = client.send_call("pay", json!({ "amount": 5000 }));
    let asked = question(&mut client);
    answer(&mut client, &asked, "decline");
    let told = client.answer(id);
    let said = &told["result"]["_meta"]["placet.dev/denial"];
    assert_eq!(said["code"], "approval_required", "{told}");
    let exec = said["execution"].as_str().unwrap().to_owned();
    // The same call again waits for the same approval.
    let id = client.send_call("pay", json!({ "amount": 5000 }));
    let asked = question(&mut client);
    say(&domain, "reject", &exec);
    let told = client.answer(id);
    assert_eq!(told["result"]["isError"], true, "{told}");
    // The question was taken back, so a late answer to it is nobody's.
    answer(&mut client, &asked, "accept");
    // Who gives a call up is not told anything, and nothing of it is carried out later.
    let id = client.send_call("pay", json!({ "amount": 6000 }));
    question(&mut client);
    client.write(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    await_some("the question to be taken back", || {
        (client.read()["method"] == "notifications/cancelled").then_some(())
    });
    client.close();
    assert_eq!(ends(&domain, "notes/pay").len(), 0);
}

#[test]
fn a_client_that_shows_pages_is_led_to_the_console_and_never_signed_in() {
    let domain = paying();
    let mut up = domain
        .command(&["up", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let link = await_some("the service", || {
        let ran = domain.run(&["console", "--json"]);
        serde_json::from_str::<Value>(&ran.stdout).ok()
    });
    let page = link["url"].as_str().unwrap().split('#').next().unwrap();
    let mut client = client_with(&domain, json!({ "url": {}, "form": {} }));
    let id = client.send_call("pay", json!({ "amount": 5000 }));
    let asked = question(&mut client);
    let text = asked.to_string();
    // A build without the console has no page to show.
    if link["built"] == true {
        assert_eq!(
            asked["params"]["url"],
            format!("{page}#/approvals"),
            "{text}"
        );
        assert_eq!(asked["params"]["elicitationId"], waiting(&domain));
    } else {
        assert_eq!(asked["params"]["mode"], "form", "{text}");
    }
    assert!(!text.contains("link="), "{text}");
    answer(&mut client, &asked, "accept");
    say(&domain, "approve", &waiting(&domain));
    let mut has_served = false;
    let paid = loop {
        let frame = client.read();
        has_served |= frame["method"] == "notifications/elicitation/complete";
        if frame["id"] == id {
            break frame;
        }
    };
    assert!(paid["result"].get("isError").is_none(), "{paid}");
    assert_eq!(has_served, link["built"] == true);
    client.close();
    domain.ok(&["node", "stop"]);
    up.wait().unwrap();
}

#[test]
fn a_client_without_sessions_is_answered_input_required_and_its_second_try_waits() {
    let domain = paying();
    let mut client = Client::of_test_server(&domain);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } } });
    let call = json!({ "name": "pay", "arguments": { "amount": 5000 }, "_meta": meta });
    let first = client.ask("tools/call", call.clone());
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let asked = &first["result"]["inputRequests"]["placet-approval"];
    assert_eq!(asked["method"], "elicitation/create", "{first}");
    let retry = |action: &str, state: &Value| {
        let mut call = call.clone();
        call["inputResponses"] = json!({ "placet-approval": { "action": action } });
        call["requestState"] = state.clone();
        call
    };
    let state = &first["result"]["requestState"];
    let id = client.send("tools/call", retry("accept", state));
    say(&domain, "approve", &waiting(&domain));
    let paid = client.answer(id);
    assert!(paid["result"].get("isError").is_none(), "{paid}");
    // What the gateway asked and was answered never reached the server.
    let calls = std::fs::read_to_string(domain.work().join("params")).unwrap();
    assert!(
        !calls.contains("placet-approval") && !calls.contains("requestState"),
        "{calls}"
    );
    // The state is good for one try, and one that declines is told how.
    let again = client.ask("tools/call", retry("accept", state));
    assert_eq!(again["result"]["resultType"], "input_required", "{again}");
    let declined = client.ask(
        "tools/call",
        retry("decline", &again["result"]["requestState"]),
    );
    let said = &declined["result"]["_meta"]["placet.dev/denial"];
    assert_eq!(said["code"], "approval_required", "{declined}");
    client.close();
    assert_eq!(ends(&domain, "notes/pay").len(), 1);
}

/// Both revisions by one program: the handshake, and without sessions.
const PYTHON_CLIENT: &str = r#"
import asyncio, json, os, sys
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import ElicitResult

asked = []
async def show(context, params):
    asked.append(params.mode)
    return ElicitResult(action="accept")

async def main():
    params = StdioServerParameters(command=sys.argv[2], args=sys.argv[3:], env=dict(os.environ))
    async with Client(stdio_client(params), mode=sys.argv[1], elicitation_callback=show) as client:
        paid = await client.call_tool("pay", {"amount": 5000})
        print(json.dumps({"paid": paid.content[0].text, "asked": asked, "failed": bool(paid.is_error)}))

asyncio.run(main())
"#;

const TYPESCRIPT_CLIENT: &str = r#"
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
const client = new Client({ name: 'test', version: '1' },
  { capabilities: { elicitation: { form: {}, url: {} } } });
const asked = [];
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  asked.push(request.params.mode);
  return { action: 'accept', content: {} };
});
await client.connect(new StdioClientTransport({
  command: process.argv[2], args: process.argv.slice(3), env: process.env }));
const paid = await client.callTool({ name: 'pay', arguments: { amount: 5000 } });
console.log(JSON.stringify({ paid: paid.content[0].text, asked, failed: paid.isError === true }));
await client.close();
"#;

/// Has somebody's client pay what needs an approval, and approves it.
fn pays_by(client: &[&str]) {
    let domain = paying();
    let server = [
        "mcp",
        "--name",
        "notes",
        "--",
        "/usr/bin/python3",
        "server.py",
    ];
    let gateway = domain.command(&server);
    let (program, rest) = client.split_first().unwrap();
    let mut command = Command::new(program);
    command
        .args(rest)
        .arg(gateway.get_program())
        .args(gateway.get_args());
    for (name, value) in gateway.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(domain.work()).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let exec = waiting(&domain);
    // Long enough for a client that does not wait to show that it does not.
    thread::sleep(Duration::from_millis(300));
    say(&domain, "approve", &exec);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!({ "paid": "done", "asked": ["form"], "failed": false });
    assert_eq!(said, expected);
    let ended = await_some("the end of the call", || ends(&domain, "notes/pay").pop());
    assert_eq!(ended.0, "completed");
}

#[test]
fn pypis_client_waits_for_an_approval_in_either_revision() {
    let python = python();
    for mode in ["legacy", "2026-07-28"] {
        pays_by(&[python.to_str().unwrap(), "-c", PYTHON_CLIENT, mode]);
    }
}

#[test]
fn the_typescript_client_waits_for_an_approval() {
    let script = node_modules().join("../approval.mjs");
    std::fs::write(&script, TYPESCRIPT_CLIENT).unwrap();
    pays_by(&["node", script.to_str().unwrap()]);
}
