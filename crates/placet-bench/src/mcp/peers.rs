//! The same calls through other people's gateways, where `PLACET_MCP_PEERS` names a directory with
//! virtual environments of Python: `cmcp` (PyPI `cmcp-runtime`) and `contextforge` (PyPI `mcp-contextforge-gateway`).
//!
//! What they do differs. cMCP in its development mode evaluates one Cedar policy that permits everything, checks the
//! tool against a pinned definition, and chains an entry of a SQLite file for each call, which is on the disk before
//! the call is answered; its claim is signed when the session closes. A session of it may make ten calls, and no
//! setting changes that: here it may make as many as it likes, so that what is measured is calls. ContextForge authenticates a token and routes; it evaluates no
//! policy here and leaves no evidence; its server stands behind its own bridge, since it speaks HTTP only. Both take
//! calls over HTTP, on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

use super::link::{Link, await_port, free_port};
use super::place::Place;
use super::{CLIENTS, added};
use crate::stats::Samples;

/// Calls one after the other, and calls of all connections together.
pub(super) const ALONE: usize = 500;
const TOGETHER: usize = 960;

const CMCP: &str = r#"
import hashlib, json, sys
from cmcp_runtime.catalog.loader import _compute_definition_hash
server, port = sys.argv[1:]
definition = {"description": "Says what it is told.", "input_schema": {"type": "object", "properties": {"message": {"type": "string"}}}}
digest = "sha256:" + hashlib.sha256(open(server, "rb").read()).hexdigest()
spawn = {"command": server, "args": ["mcp-server"], "binary_digest": digest}
json.dump([{"tool_name": "echo", "server": {"display_name": "bench", "transport": "stdio", "spawn": spawn},
    "approved_definition": definition, "definition_hash": _compute_definition_hash(definition),
    "added_at": "2026-01-01T00:00:00Z", "approved_by": "bench@example.com"}], open("catalog.json", "w"))
json.dump({"version": "1.0.0", "authored_at": "2026-01-01T00:00:00Z", "author_identity": "bench@example.com",
    "commit_sha": "0" * 40}, open("policies/manifest.json", "w"))
open("policies/all.cedar", "w").write("permit (principal, action, resource);\n")
open("policies/schema.cedarschema", "w").write("entity Agent; entity Resource;\n")
open("config.yaml", "w").write(f'attestation:\n  provider: software-only\nlisten_addr: "127.0.0.1:{port}"\n'
    "policy_bundle_path: ./policies/\ncatalog_path: ./catalog.json\naudit_db_path: ./audit.db\n")
"#;

/// What `cmcp` itself does, with another bound of calls in a session.
const CMCP_START: &str = r#"
import sys
from cmcp_runtime import cli, runtime_gateway
policy = runtime_gateway.GovernancePolicy
policy.__init__.__defaults__ = tuple(10**9 if it == 10 else it for it in policy.__init__.__defaults__)
assert policy().max_tool_calls == 10**9
sys.argv = ["cmcp", "start", "--config", "config.yaml"]
cli.main()
"#;

/// A secret of this run only.
const SECRET: &str = "bench-secret-key-of-more-than-32-bytes-x1Y";

/// Processes that end with this.
pub(super) struct Peer {
    name: &'static str,
    processes: Vec<Child>,
    port: u16,
    path: &'static str,
    tool: &'static str,
    token: String,
}

/// Starts whoever is installed, before the same server.
pub(super) fn start(place: &Place) -> Vec<Peer> {
    let Some(peers) = std::env::var_os("PLACET_MCP_PEERS") else {
        println!("PLACET_MCP_PEERS names no directory of other gateways");
        return Vec::new();
    };
    let peers = PathBuf::from(peers);
    let base = place.root().join("peers");
    let known = [
        ("cmcp", cmcp as fn(&Path, &Path, &Path) -> Peer),
        ("contextforge", contextforge),
    ];
    let installed = known.into_iter().filter_map(|(name, start)| {
        let venv = peers.join(name);
        if !venv.join("bin/python").exists() {
            println!("{name}: no {}", venv.display());
            return None;
        }
        let work = base.join(name);
        fs::create_dir_all(work.join("policies")).expect("a directory");
        Some(start(
            &venv.join("bin"),
            &work,
            &place.root().join("work/server"),
        ))
    });
    installed.collect()
}

/// The same calls, beside the same server directly.
pub(super) fn measure(peers: &[Peer], direct: &Samples) {
    for peer in peers {
        alone(peer, direct);
        together(peer);
    }
}

fn alone(peer: &Peer, direct: &Samples) {
    let mut link = peer.link();
    for id in 0..50 {
        link.call(id);
    }
    let timed = |id| {
        let began = Instant::now();
        link.call(id);
        began.elapsed()
    };
    let samples = Samples::new((50..50 + ALONE as u64).map(timed).collect());
    samples.print(&format!("tools/call, through {}", peer.name));
    added(&samples, direct);
}

fn together(peer: &Peer) {
    let began = Instant::now();
    thread::scope(|scope| {
        for part in 0..CLIENTS {
            scope.spawn(move || {
                let mut link = peer.link();
                let first = 10_000 * (part as u64 + 1);
                (first..first + (TOGETHER / CLIENTS) as u64).for_each(|id| link.call(id));
            });
        }
    });
    let rate = TOGETHER as f64 / began.elapsed().as_secs_f64();
    println!("{:<44} {rate:>12.0} /s", format!("  {CLIENTS} connections"));
}

fn cmcp(bin: &Path, work: &Path, server: &Path) -> Peer {
    let port = free_port();
    python(
        bin,
        work,
        &["-c", CMCP, text(server), &port.to_string()],
        &[],
    );
    let command = &mut Command::new(bin.join("python"));
    command.args(["-c", CMCP_START]);
    let process = spawn(command.env("CMCP_DEV_MODE", "1"), work);
    await_port(port);
    Peer {
        name: "cmcp",
        processes: vec![process],
        port,
        path: "/mcp",
        tool: "echo",
        token: String::new(),
    }
}

fn contextforge(bin: &Path, work: &Path, server: &Path) -> Peer {
    let (port, bridge) = (free_port(), free_port());
    let database = format!("sqlite:///{}", work.join("gateway.db").display());
    let settings = [
        ("JWT_SECRET_KEY", SECRET),
        ("AUTH_ENCRYPTION_SECRET", SECRET),
        ("DATABASE_URL", database.as_str()),
        ("LOG_LEVEL", "ERROR"),
        ("CACHE_TYPE", "memory"),
        // Otherwise 500 calls a minute.
        ("RATE_LIMITING_ENABLED", "false"),
        ("MCPGATEWAY_UI_ENABLED", "false"),
        ("SSRF_ALLOW_LOCALHOST", "true"),
        ("SSRF_ALLOW_PRIVATE_NETWORKS", "true"),
        ("PLATFORM_ADMIN_EMAIL", "admin@example.com"),
        ("PLATFORM_ADMIN_PASSWORD", "Bench-Pass-123x"),
        ("BASIC_AUTH_PASSWORD", "Bench-Pass-123x"),
    ];
    let stdio = format!("{} mcp-server", text(server));
    let ports = (port.to_string(), bridge.to_string());
    let mut bridging = Command::new(bin.join("python"));
    bridging.args([
        "-m",
        "mcpgateway.translate",
        "--stdio",
        &stdio,
        "--expose-streamable-http",
    ]);
    bridging.args(["--jsonResponse", "--logLevel", "error", "--port", &ports.1]);
    let mut serving = Command::new(bin.join("mcpgateway"));
    serving.args(["--host", "127.0.0.1", "--port", &ports.0]);
    let processes = vec![
        spawn(bridging.envs(settings), work),
        spawn(serving.envs(settings), work),
    ];
    await_port(bridge);
    await_port(port);
    let token = [
        "-m",
        "mcpgateway.utils.create_jwt_token",
        "--username",
        "admin@example.com",
        "--admin",
    ];
    let said = python(bin, work, &token, &settings);
    let token = said.lines().last().unwrap_or_default().to_owned();
    let peer = Peer {
        name: "contextforge",
        processes,
        port,
        path: "/rpc",
        tool: "bench-echo",
        token,
    };
    let body = format!(
        r#"{{"name":"bench","url":"http://127.0.0.1:{bridge}/mcp","transport":"STREAMABLEHTTP"}}"#
    );
    peer.link().post("/gateways", &body);
    peer
}

fn spawn(command: &mut Command, work: &Path) -> Child {
    let log = fs::File::create(work.join("log")).expect("a file");
    command
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts")
}

fn python(bin: &Path, work: &Path, args: &[&str], settings: &[(&str, &str)]) -> String {
    let mut command = Command::new(bin.join("python"));
    command
        .args(args)
        .current_dir(work)
        .envs(settings.iter().copied());
    let output = command.stderr(Stdio::null()).output().expect("python runs");
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

impl Peer {
    fn link(&self) -> Link {
        let token = format!("Bearer {}", self.token);
        Link::open(
            self.port,
            self.path,
            self.tool,
            &[("Authorization", &token)],
        )
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
