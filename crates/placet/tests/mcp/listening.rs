//! Streamable HTTP towards clients: sessions, streams, both kinds of revisions, and who may come in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::approvals::{paying, say};
use crate::domain::await_some;
use crate::elsewhere::{Far, reaching};
use crate::http::{Listening, Stream, opening};
use crate::installed::run;
use crate::peers::{node_modules, python, server};
use crate::place::{OPEN, domain, ends, records};

/// Executions of a server that are over, in order: how they ended.
fn servers(records: &[Value]) -> Vec<Value> {
    let is_server = |exec: &Value| {
        records.iter().any(|record| {
            record["exec"] == *exec && record["record"]["intent"]["action"] == "process:run"
        })
    };
    let ended = records.iter().filter(|record| record["kind"] == "ended");
    let of_servers = ended.filter(|record| is_server(&record["exec"]));
    of_servers
        .map(|record| record["record"]["outcome"].clone())
        .collect()
}

#[test]
fn a_session_over_http_has_a_server_of_its_own_and_ends_when_its_client_says_so() {
    let domain = domain(OPEN, &[]);
    let mut gateway = Listening::of_test_server(&domain, &[]);
    let token = fs::metadata(domain.path("gateway.token")).unwrap();
    assert_eq!(token.permissions().mode() & 0o777, 0o600);
    let (mut one, mut other) = (gateway.open(), gateway.open());
    assert_ne!(one.id, other.id);
    assert_eq!(
        one.call("echo", json!({ "message": "x" }))["content"][0]["text"],
        "x"
    );
    assert_eq!(
        other.call("echo", json!({ "message": "y" }))["content"][0]["text"],
        "y"
    );
    assert_eq!(one.end().status, 200);
    // What is over is not known any more, and the other one goes on.
    let frame = one.frame("ping", &json!({}));
    assert_eq!(one.post(&frame).status, 404);
    assert_eq!(one.end().status, 404);
    assert_eq!(
        other.call("echo", json!({ "message": "z" }))["content"][0]["text"],
        "z"
    );
    await_some("the end of one server", || {
        (servers(&records(&domain)).len() == 1).then_some(())
    });
    // Each call is below the server of its own session.
    let seen = records(&domain);
    let mut parents: Vec<&Value> = seen
        .iter()
        .filter(|record| record["record"]["intent"]["action"] == "mcp:call")
        .map(|record| &record["record"]["intent"]["parent"])
        .collect();
    assert_eq!(parents.len(), 3);
    parents.dedup();
    assert_eq!(parents.len(), 2, "{parents:?}");
    // A graceful stop: what is open ends, and has its record.
    let frame = other.frame("tools/call", &json!({ "name": "hang", "arguments": {} }));
    let headers = other.headers();
    let (url_port, token) = (gateway.port, gateway.token.clone());
    let hanging = std::thread::spawn(move || {
        let body = frame;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", url_port)).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes()).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stream, &mut said).unwrap_or(0);
    });
    await_some("a call that runs", || {
        let calls = fs::read_to_string(domain.work().join("calls")).unwrap();
        calls.contains("hang").then_some(())
    });
    assert_eq!(gateway.stop(), Some(0));
    hanging.join().unwrap();
    assert_eq!(servers(&records(&domain)).len(), 2);
    assert_eq!(ends(&domain, "notes/hang").len(), 1);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

/// Reads up to the first message of this method.
pub(crate) fn until(stream: &mut Stream, method: &str) -> Value {
    loop {
        let message = stream.next().expect("it goes on");
        if message["method"] == method {
            return message;
        }
    }
}

#[test]
fn a_stream_that_breaks_is_taken_up_and_its_call_is_revoked_in_flight() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let mut session = gateway.open();
    let call = json!({ "name": "slow", "arguments": {}, "_meta": { "progressToken": "p" } });
    let frame = session.frame("tools/call", &call);
    let mut stream = session.send(&frame);
    assert!(stream.head.contains("text/event-stream"), "{}", stream.head);
    let first = until(&mut stream, "notifications/progress");
    let last = stream.last.clone();
    drop(stream);
    // It goes on while nobody hears, and what was said meanwhile is said now, in order.
    let mut again = session.hear(&last);
    assert_eq!(again.status, 200, "{}", again.head);
    let second = until(&mut again, "notifications/progress");
    let step = |progress: &Value| progress["params"]["progress"].as_u64().unwrap();
    assert_eq!(step(&second), step(&first) + 10);
    // Places that never were are none.
    for wrong in ["0", "7-7", "1-999", "x-1", "1-18446744073709551616"] {
        assert_eq!(session.hear(wrong).status, 400, "{wrong}");
    }
    let exec = records(&domain)
        .iter()
        .rev()
        .find(|record| record["record"]["intent"]["action"] == "mcp:call")
        .map(|record| record["exec"].as_str().unwrap().to_owned())
        .unwrap();
    domain.ok(&["revoke", &exec]);
    let answer = loop {
        let message = again.next().expect("an answer comes");
        if message.get("result").is_some() {
            break message;
        }
    };
    assert_eq!(
        answer["result"]["_meta"]["placet.dev/denial"]["code"],
        "revoked"
    );
    // Nothing comes behind an answer.
    assert_eq!(again.next(), None);
    // Revoking the server ends the session.
    let server = records(&domain)
        .iter()
        .find(|record| record["record"]["intent"]["action"] == "process:run")
        .map(|record| record["exec"].as_str().unwrap().to_owned())
        .unwrap();
    domain.ok(&["revoke", &server]);
    await_some("the session ends", || {
        let frame = session.frame("ping", &json!({}));
        (session.post(&frame).status == 404).then_some(())
    });
}

#[test]
fn a_question_to_the_client_goes_over_its_stream_and_its_answer_comes_back_by_post() {
    let domain = paying();
    let gateway = Listening::of_test_server(&domain, &[]);
    let mut session = gateway.open_as(&gateway.token, json!({ "elicitation": {} }));
    let pay = json!({ "name": "pay", "arguments": { "amount": 5000 } });
    let frame = session.frame("tools/call", &pay);
    let mut stream = session.send(&frame);
    let asked = until(&mut stream, "elicitation/create");
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept" } });
    assert_eq!(session.post(&answer.to_string()).status, 202);
    let exec = await_some("a call that waits", || {
        let records = records(&domain);
        let mut all = records.iter();
        let one = all.find(|record| record["record"]["outcome"] == "defer")?;
        Some(one["exec"].as_str()?.to_owned())
    });
    say(&domain, "approve", &exec);
    let paid = loop {
        let message = stream.next().expect("an answer comes");
        if message.get("result").is_some() {
            break message;
        }
    };
    assert_eq!(paid["result"]["content"][0]["text"], "done", "{paid}");
}

#[test]
fn a_session_of_which_nothing_is_heard_ends() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &["--idle", "1"]);
    let mut session = gateway.open();
    session.call("echo", json!({ "message": "x" }));
    await_some("the end of the server", || {
        (servers(&records(&domain)).len() == 1).then_some(())
    });
    let frame = session.frame("ping", &json!({}));
    assert_eq!(session.post(&frame).status, 404);
}

/// A request of the revision without sessions, and its headers.
pub(crate) fn alone(id: u64, method: &str, mut params: Value, more: Value) -> (String, String) {
    let name = params.get("name").and_then(Value::as_str);
    let name = name.map(|name| format!("Mcp-Name: {name}\r\n"));
    let headers = format!(
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{}",
        name.unwrap_or_default()
    );
    let mut meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {} });
    for (name, value) in more.as_object().unwrap() {
        meta[name] = value.clone();
    }
    params["_meta"] = meta;
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    (headers, body.to_string())
}

#[test]
fn requests_without_sessions_keep_their_ids_and_closing_their_stream_gives_them_up() {
    let domain = domain(OPEN, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let echo = |message: &str| {
        let call = json!({ "name": "echo", "arguments": { "message": message } });
        let (headers, body) = alone(1, "tools/call", call, json!({}));
        gateway.request("POST", &gateway.token, &headers, &body)
    };
    // The same id twice at once: each has the answer to what it asked.
    let both = std::thread::scope(|scope| {
        let other = scope.spawn(|| echo("other"));
        (echo("one"), other.join().unwrap())
    });
    for (reply, expected) in [(both.0, "one"), (both.1, "other")] {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.header("mcp-session-id").is_none());
        let answer = reply.json();
        assert_eq!(answer["id"], 1);
        assert_eq!(answer["result"]["content"][0]["text"], expected);
    }
    let call = json!({ "name": "slow", "arguments": {} });
    let (headers, body) = alone(7, "tools/call", call, json!({ "progressToken": 41 }));
    let mut stream = gateway.stream("POST", &gateway.token, &headers, &body);
    let progress = until(&mut stream, "notifications/progress");
    assert_eq!(progress["params"]["progressToken"], 41);
    drop(stream);
    await_some("the call to stop", || {
        domain.work().join("stopped").exists().then_some(())
    });
    // A notification has nothing to be about, and what needs a session is not there.
    let said = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let version = "MCP-Protocol-Version: 2026-07-28\r\n";
    assert_eq!(
        gateway
            .request("POST", &gateway.token, version, said)
            .status,
        202
    );
    let (headers, body) = alone(9, "initialize", json!({}), json!({}));
    assert_eq!(
        gateway
            .request("POST", &gateway.token, &headers, &body)
            .status,
        400
    );
    let version = "MCP-Protocol-Version: 2031-01-01\r\n";
    let refused = gateway.request("POST", &gateway.token, version, &opening(json!({})));
    assert_eq!(refused.json()["error"]["code"], -32_022, "{refused:?}");
}

/// Both revisions by one program, over HTTP.
const PYTHON_CLIENT: &str = r#"
import asyncio, json, sys
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

async def main():
    mode, url, token = sys.argv[1:4]
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = await client.list_tools()
            echo = await client.call_tool("echo", {"message": "from python"})
            denied = await client.call_tool("wipe", {})
            print(json.dumps({"tools": len(tools.tools), "echo": echo.content[0].text,
                "denied": denied.content[0].text, "is_error": bool(denied.is_error)}))

asyncio.run(main())
"#;

const TYPESCRIPT_CLIENT: &str = r#"
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
const [url, token] = process.argv.slice(2);
const client = new Client({ name: 'test', version: '1' }, { capabilities: {} });
const transport = new StreamableHTTPClientTransport(new URL(url),
  { requestInit: { headers: { Authorization: `Bearer ${token}` } } });
await client.connect(transport);
const tools = await client.listTools();
const echo = await client.callTool({ name: 'echo', arguments: { message: 'from typescript' } });
const denied = await client.callTool({ name: 'wipe', arguments: {} });
console.log(JSON.stringify({ tools: tools.tools.length, echo: echo.content[0].text,
  denied: denied.content[0].text, is_error: denied.isError === true }));
await transport.terminateSession();
await client.close();
"#;

/// Everything but one tool.
const NO_WIPE: &str = r#"
@id("mcp-open") @description("For tests.")
permit (principal, action in Action::"execute", resource) when { !(resource is Program) };
@id("no-wipe") @description("For tests.")
forbid (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.name == "wipe" };
"#;

#[test]
fn pypis_and_the_typescript_client_work_over_http_in_either_revision() {
    let domain = domain(NO_WIPE, &[]);
    let gateway = Listening::of_test_server(&domain, &[]);
    let url = gateway.url();
    let script = node_modules().join("../http.mjs");
    fs::write(&script, TYPESCRIPT_CLIENT).unwrap();
    let (python, script) = (python(), script.to_str().unwrap().to_owned());
    let python = python.to_str().unwrap();
    for client in [
        vec![python, "-c", PYTHON_CLIENT, "legacy"],
        vec![python, "-c", PYTHON_CLIENT, "2026-07-28"],
        vec!["node", &script],
    ] {
        let (program, rest) = client.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(rest).arg(&url).arg(&gateway.token);
        let said: Value = serde_json::from_str(&run(&mut command)).unwrap();
        assert!(
            said["echo"].as_str().unwrap().starts_with("from "),
            "{said}"
        );
        assert_eq!(said["is_error"], true, "{said}");
        let denied = said["denied"].as_str().unwrap();
        assert!(denied.contains("policy_forbids"), "{denied}");
        assert_eq!(said["tools"], 17, "{said}");
    }
}

#[test]
fn several_servers_are_one_over_http_and_each_caller_has_its_own_principal() {
    let domain = domain(OPEN, &[&node_modules()]);
    let other = domain.path("other.token");
    fs::write(&other, "a".repeat(40)).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let config = domain.work().join("mcp.json");
    let servers = json!({ "mcpServers": {
        "notes": { "command": "/usr/bin/python3", "args": ["server.py"] },
        "all": { "command": "node", "args": [server("everything"), "stdio"] },
    }});
    fs::write(&config, servers.to_string()).unwrap();
    let caller = format!("agent:coder={}", other.display());
    let config = config.to_str().unwrap();
    let gateway = Listening::start(&domain, &["--caller", &caller, "--config", config]);
    let mut session = gateway.open();
    let tools = session.ask("tools/list", json!({}))["result"]["tools"].to_string();
    assert!(
        tools.contains("notes__echo") && tools.contains("all__echo"),
        "{tools}"
    );
    let said = session.call("all__echo", json!({ "message": "x" }));
    assert_eq!(said["content"][0]["text"], "Echo: x");
    // Whose token it is decides as whom it acts, for the servers as well.
    let mut other = gateway.open_as(&"a".repeat(40), json!({}));
    let said = other.call("notes__echo", json!({ "message": "y" }));
    assert_eq!(said["content"][0]["text"], "y");
    // The other server may not read its own program as that agent, and has ended: nobody waits for it.
    let call = json!({ "name": "all__echo", "arguments": { "message": "y" } });
    let lost = other.ask("tools/call", call);
    assert!(lost.get("error").is_some(), "{lost}");
    let by = |action: &str| {
        let records = records(&domain);
        let of = |record: &&Value| record["record"]["intent"]["action"] == action;
        let mut all: Vec<String> = records
            .iter()
            .filter(of)
            .map(|record| record["record"]["intent"]["principal"].to_string())
            .collect();
        all.sort();
        all.join(" ")
    };
    assert_eq!(by("mcp:call"), r#""agent:coder" "user:op""#);
    assert_eq!(
        by("process:run"),
        r#""agent:coder" "agent:coder" "user:op" "user:op""#
    );
}

/// Adds, and says in which revision.
const ADDING_CLIENT: &str = r#"
import asyncio, sys
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

async def main():
    url, token = sys.argv[1:3]
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
            sum = await client.call_tool("add", {"a": 2, "b": 40})
            print(sum.content[0].text, client.protocol_version)

asyncio.run(main())
"#;

#[test]
fn the_revision_without_sessions_is_spoken_from_end_to_end() {
    let far = Far::python();
    let domain = reaching(OPEN, "");
    let config = domain.work().join("mcp.json");
    let servers = json!({ "mcpServers": { "far": { "type": "http", "url": far.url } } });
    fs::write(&config, servers.to_string()).unwrap();
    let gateway = Listening::start(&domain, &["--config", config.to_str().unwrap()]);
    let mut command = Command::new(python());
    command.args(["-c", ADDING_CLIENT, &gateway.url(), &gateway.token]);
    assert_eq!(run(&mut command).trim(), "42 2026-07-28");
    assert_eq!(
        ends(&domain, "far/add"),
        [("completed".to_owned(), Value::Null)]
    );
}
