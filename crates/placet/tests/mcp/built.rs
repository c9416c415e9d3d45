//! `rmcp`, the protocol's Rust SDK, as client and as server: with the gateway between them they say what they say
//! to each other directly.
//!
//! They are built first, which takes longest, so they have a name by which they begin early: tests are run in the order of their names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::domain::{Domain, parsed};
use crate::installed::run;
use crate::place::{domain, ends};

/// Everything but one tool.
const POLICY: &str = r#"
@id("mcp-open") @description("For tests.")
permit (principal, action in Action::"execute", resource)
when { !(resource is Program) };
@id("no-secrets") @description("Nobody is told secrets.")
forbid (principal, action in [Action::"mcp:call", Action::"mcp:list"], resource is McpTool)
when { resource.name == "secret" };
"#;

/// The program of both, as its sources are now.
fn program() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/rust-sdk");
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = all.join("cargo-rust-sdk");
    let turn = File::create(all.join("cargo-rust-sdk.lock")).unwrap();
    turn.lock().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--target-dir"]);
    run(build.arg(&made).current_dir(package));
    made.join("debug/rust-sdk")
}

/// What its client says of a server, direct or not, in this domain.
fn asked(domain: &Domain, client: &Path, lifecycle: &str, command: &[&str]) -> Value {
    let mut asking = Command::new(client);
    asking.current_dir(domain.work());
    for (name, value) in domain.command(&[]).get_envs() {
        match value {
            Some(value) => asking.env(name, value),
            None => asking.env_remove(name),
        };
    }
    parsed(&run(asking.args(["ask", lifecycle]).args(command)))
}

#[test]
fn the_rust_sdks_client_and_server_work_through_the_gateway_in_either_revision() {
    let domain = domain(POLICY, &[]);
    let (client, server) = (program(), domain.work().join("rust-sdk"));
    fs::copy(&client, &server).unwrap();
    let server = server.to_str().unwrap();
    let gateway = env!("CARGO_BIN_EXE_placet");
    for lifecycle in ["sessions", "discover"] {
        let asked = |command: &[&str]| asked(&domain, &client, lifecycle, command);
        let mut direct = asked(&[server, "serve"]);
        let mut through = asked(&[gateway, "mcp", "--name", "rust", "--", server, "serve"]);
        assert!(direct["ask"].to_string().contains("A thing"), "{direct}");
        assert_eq!(direct["given_up"]["content"][0]["text"], "1", "{direct}");
        // What nobody may use is shown to nobody; what is not there, the gateway says.
        let shown = direct["tools"].as_array_mut().unwrap();
        shown.retain(|tool| tool["name"] != "secret");
        for (name, code) in [("secret", "policy_forbids"), ("none", "no_permit")] {
            let said = through[name].take();
            direct[name].take();
            assert_eq!(said["isError"], true, "{said}");
            assert_eq!(said["_meta"]["placet.dev/denial"]["code"], code, "{said}");
        }
        assert_eq!(through, direct);
    }
    let outcomes = |tool: &str| -> Vec<String> {
        let ends = ends(&domain, &format!("rust/{tool}"));
        ends.into_iter().map(|(outcome, _)| outcome).collect()
    };
    assert_eq!(outcomes("echo"), ["completed", "completed"]);
    assert_eq!(outcomes("hang"), ["failed", "failed"]);
    assert!(outcomes("secret").is_empty());
}
