//! Other people's clients and servers: npm's reference servers, the TypeScript SDK, PyPI's `mcp`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::installed::{npm, pypi, run};
use crate::place::{Client, OPEN, domain, ends};

const NPM: [&str; 3] = [
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
];
const PYPI: &str = "mcp==2.3.0";

pub(crate) fn node_modules() -> PathBuf {
    npm(&NPM)
}

pub(crate) fn python() -> PathBuf {
    pypi(&[PYPI]).join("python")
}

pub(crate) fn server(name: &str) -> String {
    let path = node_modules().join(format!("@modelcontextprotocol/server-{name}/dist/index.js"));
    path.to_str().unwrap().to_owned()
}

/// What a session of a client with the everything server says, id by id.
pub(crate) fn session(client: &mut Client) -> Vec<Value> {
    let mut said = Vec::new();
    for (method, params) in [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("ping", json!({})),
        (
            "tools/call",
            json!({ "name": "echo", "arguments": { "message": "h\u{e9}llo \u{1f600}" } }),
        ),
        (
            "tools/call",
            json!({ "name": "get-sum", "arguments": { "a": 1.5, "b": -2 } }),
        ),
        (
            "tools/call",
            json!({ "name": "get-structured-content", "arguments": { "location": "New York" } }),
        ),
        (
            "tools/call",
            json!({ "name": "get-annotated-message", "arguments": { "messageType": "error", "includeImage": true } }),
        ),
        (
            "tools/call",
            json!({ "name": "get-tiny-image", "arguments": {} }),
        ),
        (
            "tools/call",
            json!({ "name": "get-resource-links", "arguments": { "count": 2 } }),
        ),
        (
            "tools/call",
            json!({ "name": "echo", "arguments": { "message": 7 } }),
        ),
        ("prompts/get", json!({ "name": "simple-prompt" })),
        (
            "prompts/get",
            json!({ "name": "args-prompt", "arguments": { "city": "Bern" } }),
        ),
        (
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "completable-prompt" },
                "argument": { "name": "department", "value": "E" },
            }),
        ),
        ("logging/setLevel", json!({ "level": "error" })),
        (
            "resources/read",
            json!({ "uri": "demo://resource/static/document/features.md" }),
        ),
        ("resources/read", json!({ "uri": "demo://resource/none" })),
    ] {
        let mut answer = client.ask(method, params);
        answer.as_object_mut().unwrap().remove("id");
        said.push(answer);
    }
    said
}

#[test]
fn the_everything_server_says_through_the_gateway_what_it_says_directly() {
    let everything = server("everything");
    let domain = domain(OPEN, &[&node_modules()]);
    let mut direct = Client::start(Command::new("node").args([&everything, "stdio"]));
    let opened = direct.open();
    let expected = session(&mut direct);
    direct.close();
    let server = ["node", &everything, "stdio"];
    let mut through = Client::start(
        &mut domain.command(&[&["mcp", "--name", "all", "--"][..], &server].concat()),
    );
    assert_eq!(through.open(), opened);
    for (at, (said, expected)) in session(&mut through).iter().zip(&expected).enumerate() {
        assert_eq!(said, expected, "request {at}");
    }
    // Progress and a long call, with `_meta` as it was sent.
    let id = through.send(
        "tools/call",
        json!({
            "name": "trigger-long-running-operation", "arguments": { "duration": 0.4, "steps": 4 },
            "_meta": { "progressToken": "tok-1", "example.com/trace": [1, 2] },
        }),
    );
    let mut progress = 0;
    let answer = loop {
        let frame = through.read();
        if frame["id"] == id {
            break frame;
        }
        if frame["method"] == "notifications/progress" {
            assert_eq!(frame["params"]["progressToken"], "tok-1");
            progress += 1;
        }
    };
    assert_eq!(progress, 4, "{answer}");
    assert_eq!(through.close(), Some(0));
    assert!(
        ends(&domain, "all/echo")
            .iter()
            .any(|(outcome, _)| outcome == "completed")
    );
}

/// One directory only, and nothing that writes.
fn filesystem_policy(dir: &Path) -> String {
    format!(
        r#"
@id("files-list") @description("For tests.")
permit (principal, action == Action::"mcp:list", resource is McpTool)
when {{ resource.server == "files" && resource.read_only }};
@id("files-call") @description("For tests.")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when {{ resource.server == "files" && resource.read_only &&
  (context.args.hasTag("path") && context.args.getTag("path") has path &&
   (context.args.getTag("path").path == "{0}" || context.args.getTag("path").path like "{0}/*") ||
   context.args.hasTag("paths") && context.args.getTag("paths") has path &&
   context.args.getTag("paths").path like "{0}/*") }};
"#,
        dir.display()
    )
}

#[test]
fn the_filesystem_server_is_held_to_one_directory_by_policy_though_it_offers_two() {
    let files = server("filesystem");
    let domain = domain("", &[&node_modules()]);
    // The policy names the domain's own directory, so it is written once that is there.
    let work = domain.work();
    let (open, closed) = (work.join("open"), work.join("closed"));
    for dir in [&open, &closed] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("a.txt"), "content of a").unwrap();
    }
    let bundle = domain.path("bundle");
    fs::write(bundle.join("policies/mcp.cedar"), filesystem_policy(&open)).unwrap();
    let manifest = bundle.join("bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("revision = 2", "revision = 3")).unwrap();
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
    let dirs = [open.to_str().unwrap(), closed.to_str().unwrap()];
    let mut client = Client::through(&domain, "files", &["node", &files, dirs[0], dirs[1]]);
    let tools = client.tools();
    assert!(tools.contains(&"read_text_file".to_owned()), "{tools:?}");
    assert!(!tools.contains(&"write_file".to_owned()), "{tools:?}");
    let read =
        |client: &mut Client, path: String| client.call("read_text_file", json!({ "path": path }));
    let inside = read(&mut client, format!("{}/a.txt", dirs[0]));
    assert_eq!(inside["content"][0]["text"], "content of a");
    let both = json!({ "paths": [format!("{}/a.txt", dirs[0]), format!("{}/a.txt", dirs[1])] });
    for (tool, arguments) in [
        (
            "read_text_file",
            json!({ "path": format!("{}/a.txt", dirs[1]) }),
        ),
        (
            "read_text_file",
            json!({ "path": format!("{}/../closed/a.txt", dirs[0]) }),
        ),
        ("read_multiple_files", both),
        (
            "write_file",
            json!({ "path": format!("{}/b.txt", dirs[0]), "content": "x" }),
        ),
    ] {
        assert_eq!(
            client.denied(tool, arguments.clone())["code"],
            "no_permit",
            "{arguments}"
        );
    }
    assert!(!open.join("b.txt").exists());
}

/// A session by PyPI's client, which validates every answer by its own types.
const PYTHON_CLIENT: &str = r#"
import asyncio, json, os, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main():
    params = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with stdio_client(params) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            tools = await session.list_tools()
            echo = await session.call_tool("echo", {"message": "from python"})
            denied = await session.call_tool("get-env", {})
            resource = await session.read_resource("demo://resource/static/document/features.md")
            text = lambda result: result.content[0].text
            failed = getattr(denied, "is_error", None) or getattr(denied, "isError", None)
            print(json.dumps({
                "tools": len(tools.tools), "echo": text(echo), "denied": text(denied),
                "is_error": bool(failed), "resource": len(resource.contents[0].text),
            }))

asyncio.run(main())
"#;

const TYPESCRIPT_CLIENT: &str = r#"
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
const client = new Client({ name: 'test', version: '1' }, { capabilities: {} });
await client.connect(new StdioClientTransport({
  command: process.argv[2], args: process.argv.slice(3), env: process.env }));
const tools = await client.listTools();
const echo = await client.callTool({ name: 'echo', arguments: { message: 'from typescript' } });
const denied = await client.callTool({ name: 'get-env', arguments: {} });
const uri = 'demo://resource/static/document/features.md';
const resource = await client.readResource({ uri });
console.log(JSON.stringify({
  tools: tools.tools.length, echo: echo.content[0].text, denied: denied.content[0].text,
  is_error: denied.isError === true, resource: resource.contents[0].text.length }));
await client.close();
"#;

/// Everything but the tool that shows the server's environment.
const NO_ENV: &str = r#"
@id("mcp-open") @description("For tests.")
permit (principal, action in Action::"execute", resource) when { !(resource is Program) };
@id("no-env") @description("For tests.")
forbid (principal, action in [Action::"mcp:call", Action::"mcp:list"], resource is McpTool)
when { resource.name == "get-env" };
"#;

/// Runs somebody's client against the everything server behind the gateway.
fn by_client(client: &[&str]) -> Value {
    let everything = server("everything");
    let domain = domain(NO_ENV, &[&node_modules()]);
    let gateway = domain.command(&["mcp", "--name", "all", "--", "node", &everything, "stdio"]);
    let (program, rest) = client.split_first().unwrap();
    let mut command = Command::new(program);
    command
        .args(rest)
        .arg(gateway.get_program())
        .args(gateway.get_args());
    for (name, value) in gateway.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(domain.work());
    let printed = run(&mut command);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
    serde_json::from_str(&printed).unwrap()
}

fn check(said: &Value, echoed: &str) {
    assert_eq!(said["echo"], format!("Echo: {echoed}"), "{said}");
    assert_eq!(said["is_error"], true, "{said}");
    let denied = said["denied"].as_str().unwrap();
    assert!(
        denied.contains("policy_forbids") && denied.contains("placet explain"),
        "{denied}"
    );
    assert!(
        said["tools"].as_u64().unwrap() >= 10 && said["resource"].as_u64().unwrap() > 100,
        "{said}"
    );
}

#[test]
fn pypis_client_works_through_the_gateway() {
    let python = python();
    check(
        &by_client(&[python.to_str().unwrap(), "-c", PYTHON_CLIENT]),
        "from python",
    );
}

#[test]
fn the_typescript_client_works_through_the_gateway() {
    let script = node_modules().join("../client.mjs");
    fs::write(&script, TYPESCRIPT_CLIENT).unwrap();
    check(
        &by_client(&["node", script.to_str().unwrap()]),
        "from typescript",
    );
}
