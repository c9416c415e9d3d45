//! Intents over HTTP, to the artifact: with a real server and its clients in one process.
//!
//! Over the Unix socket, where the kernel says who calls. Over TCP each request also has a proof,
//! which costs its caller a signature and the server a verification.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use placet_api::Server;
use placet_api::config::Config;
use placet_authority::clock::SystemClock;
use placet_authority::node::{Host, ServeOptions};
use placet_types::{Digest, SigningKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::domain;
use crate::figures;
use crate::stats::Samples;

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
    let next = AtomicU64::new(0);
    let body = body();
    let request = format!(
        "POST /v1/intents HTTP/1.1\r\nhost: placet\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    let samples: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = UnixStream::connect(socket).expect("a connection");
                    let (mut samples, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        let began = Instant::now();
                        stream.write_all(request.as_bytes()).expect("it is sent");
                        assert!(answered(&mut stream, &mut buffer), "denied");
                        samples.push(began.elapsed());
                    }
                    samples
                })
            })
            .collect();
        let all = clients.into_iter();
        all.flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let rate = samples.len() as f64 / began.elapsed().as_secs_f64();
    Samples::new(samples).print(name);
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

/// Reads one answer with a length. Whether it is a permit.
fn answered(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> bool {
    let mut have = 0;
    loop {
        if have == buffer.len() {
            buffer.resize(have * 2, 0);
        }
        let room = buffer.get_mut(have..).unwrap_or_default();
        let read = stream.read(room).expect("an answer");
        assert!(read > 0, "the connection ended");
        have += read;
        let text = String::from_utf8_lossy(buffer.get(..have).unwrap_or_default());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|length| length.parse().ok())
            .expect("a length");
        if body.len() >= length {
            return head.starts_with("HTTP/1.1 201");
        }
    }
}
