//! The gateway in a client's configuration.

use std::fs;

use serde_json::{Value, json};

use crate::domain::{Domain, parsed};
use crate::place::Client;
use crate::place::{OPEN, domain};

#[test]
fn installing_puts_the_gateway_in_front_and_uninstalling_takes_it_away() {
    let domain: Domain = domain(OPEN, &[]);
    let file = domain.work().join(".mcp.json");
    let before = json!({ "mcpServers": {
        "notes": { "command": "/usr/bin/python3", "args": ["server.py"] },
        "far": { "type": "http", "url": "http://127.0.0.1:1/mcp" },
    }});
    fs::write(&file, before.to_string()).unwrap();
    let read = || parsed(&fs::read_to_string(&file).unwrap());
    let install = ["mcp", "install", "claude-code", "--as", "user:op"];
    // What would change is said, and nothing changes.
    let would = domain.json(&[&install[..], &["--dry-run"]].concat());
    assert_eq!(would["dry_run"], true);
    assert_eq!(would["files"][0]["changed"], json!(["notes", "far"]));
    assert_eq!(read(), before);
    let done = domain.json(&install);
    let done = &done["files"][0];
    assert_eq!(
        (&done["changed"], &done["left_alone"]),
        (&json!(["notes", "far"]), &json!([]))
    );
    let copy = domain.work().join(".mcp.json.before-placet");
    assert_eq!(fs::read_to_string(&copy).unwrap(), before.to_string());
    // As a client starts it.
    let installed = read();
    let server = &installed["mcpServers"]["notes"];
    let args: Vec<&str> = server["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect();
    let mut command = domain.command(&args);
    assert_eq!(server["command"], command.get_program().to_str().unwrap());
    let mut client = Client::start(&mut command);
    client.open();
    assert_eq!(
        client.call("echo", json!({ "message": "x" }))["content"][0]["text"],
        "x"
    );
    client.close();
    assert_eq!(
        domain.json(&["mcp", "install", "claude-code"])["files"][0]["changed"],
        Value::Array(vec![])
    );
    domain.ok(&["mcp", "uninstall", "claude-code"]);
    assert_eq!(read(), before);
}

#[test]
fn a_file_with_comments_keeps_them_and_the_gateway_reads_it() {
    let domain = domain(OPEN, &[]);
    let file = domain.work().join("settings.json");
    let text = "{\n  // mine\n  \"context_servers\": {\n    \"notes\": { \"command\": \"/usr/bin/python3\", \"args\": [\"server.py\"] }, // runs\n  },\n}\n";
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    // As it is, by its user.
    let mut client = Client::start(&mut domain.command(&["mcp", "--config", path]));
    client.open();
    let echoed = client.call("echo", json!({ "message": "x" }));
    assert_eq!(echoed["content"][0]["text"], "x");
    client.close();
    domain.ok(&["mcp", "install", "zed", "--file", path]);
    let installed = fs::read_to_string(&file).unwrap();
    assert!(
        installed.contains("// mine") && installed.contains("// runs"),
        "{installed}"
    );
    assert!(installed.contains("placet"), "{installed}");
    domain.ok(&["mcp", "uninstall", "zed", "--file", path]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    // The copy said the same by then.
    assert!(!domain.work().join("settings.json.before-placet").exists());
}

#[test]
fn what_cannot_be_read_is_left_as_it_is() {
    let domain = domain(OPEN, &[]);
    let file = domain.work().join("c.json");
    let text = "{ \"mcpServers\": { } ] }";
    fs::write(&file, text).unwrap();
    let told = domain.fails(
        1,
        &["mcp", "install", "cursor", "--file", file.to_str().unwrap()],
    );
    assert!(told.contains("it is left as it is"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let told = domain.fails(1, &["mcp", "install", "gemini"]);
    assert!(told.contains("--file"), "{told}");
}
