//! Intents over HTTP, to the artifact: with a real server and its clients in one process, the clients on one thread.
//!
//! Over the Unix socket, where the kernel says who calls. Over TCP each request also has a proof,
//! which costs its caller a signature and the server a verification.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use placet_api::Server;
use placet_api::config::Config;
use placet_authority::clock::SystemClock;
use placet_authority::node::{Host, ServeOptions};
use placet_types::{Digest, SigningKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::client::{self, post};
use crate::domain;
use crate::figures;

/// Intents with one connection, and with many.
const ALONE: u64 = 500;
const TOGETHER: u64 = 20_000;
/// Connections at a time.
const CONNECTIONS: u64 = 64;

pub(crate) fn intents() {
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let domain = domain::make(dir.path(), &domain::starter());
    let settings = Config::default().settle(domain.root()).expect("it stands");
    let host = Host::open(&domain, Arc::new(SystemClock::new())).expect("the domain opens");
    let service = host.service();
    let policy = std::fs::read_to_string(domain.policy_file()).expect("the policy file");
    let environment = domain::environment();
    let server =
        Server::start(settings, service.clone(), policy, environment, None).expect("a server");
    let socket = server.socket().to_owned();
    let node = std::thread::spawn(move || {
        host.run(ServeOptions {
            idle: None,
            checks: None,
        })
    });
    run(&socket, "intent to artifact, HTTP, 1 connection", 1, ALONE);
    let many = format!("intent to artifact, HTTP, {CONNECTIONS} connections");
    let rate = run(&socket, &many, CONNECTIONS, TOGETHER);
    figures::note("intent", rate);
    service.leave(Duration::ZERO);
    node.join().expect("the node").expect("the log is sound");
    server.stop();
}

/// Intents a second.
fn run(socket: &Path, name: &str, connections: u64, count: u64) -> f64 {
    let requests = [post("/v1/intents", &body())];
    let seen = client::run(socket, &requests, connections, count);
    assert_eq!(seen.refused.count(), 0, "refused");
    seen.done.print(name);
    let rate = seen.rate();
    println!("{:<44} {rate:>12.0} /s", "  all connections");
    rate
}

/// The same intent each time: the node draws a salt for each, so that no two are alike.
fn body() -> String {
    let holder = SigningKey::from_seed(&Zeroizing::new([9; 32])).public();
    json!({
        "action": "process:run", "gateway": "http", "holder": holder, "principal": domain::AGENT,
        "resource": { "digest": Digest::of(b"git"), "id": "/usr/bin/git", "kind": "Program" },
        "params": {
            "argv": ["git", "status"], "cwd": "/srv/project", "env": { "LANG": "C.UTF-8" },
            "home": "/home/bench", "workspace": "/srv/project",
        },
    })
    .to_string()
}
