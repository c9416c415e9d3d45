//! What a client says beside its arguments, in `_meta`: to policies as far as somebody named it, to the server as it is.

use std::fs;

use serde_json::{Value, json};

use crate::approvals::say;
use crate::domain::Domain;
use crate::place::{Client, parsed_lines};

/// Payments need a ticket, and beyond 100 somebody who approves them; only one program asks for them.
const TICKETS: &str = r#"
@id("ticket") @description("For tests.")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.name == "echo" && context has client && context.client == "test" &&
  context has client_version && context.client_version == "1" &&
  context has meta && context.meta.hasTag("com.example/ticket") &&
  context.meta.getTag("com.example/ticket").text like "T-*" };
@id("pay") @description("For tests.") @approvals("1 of leads within 10m")
permit (principal, action == Action::"mcp:call", resource is McpTool)
when { resource.name == "pay" && context has meta && context.meta.hasTag("com.example/ticket") };
"#;

fn client(domain: &Domain, named: &[&str]) -> Client {
    let gateway = ["mcp", "--name", "notes"];
    let server = ["--grace", "1", "--", "/usr/bin/python3", "server.py"];
    let args = [&gateway[..], named, &server].concat();
    let mut client = Client::start(&mut domain.command(&args));
    client.open();
    client
}

fn call(client: &mut Client, tool: &str, meta: Value) -> Value {
    let asked = json!({ "name": tool, "arguments": { "message": "x" }, "_meta": meta });
    client.ask("tools/call", asked)["result"].clone()
}

fn code(result: &Value) -> &str {
    let code = &result["_meta"]["placet.dev/denial"]["code"];
    code.as_str().unwrap_or("none")
}

#[test]
fn policies_see_what_was_named_of_meta_and_the_server_gets_all_of_it() {
    let domain = crate::approvals::paying_under(TICKETS);
    let mut seeing = client(&domain, &["--meta", "com.example/ticket"]);
    let all =
        json!({ "com.example/ticket": "T-1", "progressToken": 7, "traceparent": "00-1", "x": [1] });
    assert_eq!(code(&call(&mut seeing, "echo", all.clone())), "none");
    let forwarded = parsed_lines(&fs::read_to_string(domain.work().join("params")).unwrap());
    assert_eq!(forwarded[0]["_meta"], all);
    for without in [
        json!({}),
        json!({ "com.example/ticket": "X-1" }),
        json!({ "com.example/ticket": ["T-1"] }),
    ] {
        assert_eq!(code(&call(&mut seeing, "echo", without)), "no_permit");
    }
    // Another reader might see a ticket here.
    let asked = json!({ "name": "echo", "_meta": { "COM.example/ticket": "T-1" } });
    let refused = seeing.ask("tools/call", asked);
    assert_eq!(refused["error"]["code"], -32602, "{refused}");

    // What changes from try to try is no part of what is approved; what somebody decides by is.
    let pay = |client: &mut Client, ticket: &str, token: u32| {
        let meta = json!({ "com.example/ticket": ticket, "progressToken": token });
        call(client, "pay", meta)
    };
    let first = pay(&mut seeing, "T-1", 1);
    assert_eq!(code(&first), "approval_required", "{first}");
    let exec = &first["_meta"]["placet.dev/denial"]["execution"];
    say(&domain, "approve", exec.as_str().unwrap());
    assert_eq!(code(&pay(&mut seeing, "T-2", 2)), "approval_required");
    assert_eq!(code(&pay(&mut seeing, "T-1", 3)), "none");
    seeing.close();
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);

    // Nobody named it: no policy sees it, whatever the client says.
    let mut blind = client(&domain, &[]);
    let denied = call(&mut blind, "echo", json!({ "com.example/ticket": "T-1" }));
    assert_eq!(code(&denied), "no_permit");
    blind.close();
    let told = domain.fails(2, &["mcp", "--meta", "progressToken", "--", "x"]);
    assert!(told.contains("try to try"), "{told}");
}
