//! Questions and intents: how fast, how many, and what happens when there are too many.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use placet_types::{Digest, SigningKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Service, program};
use crate::client::{self, Client, Seen, post};
use crate::figures;
use crate::stats::{self, Samples};

/// Records that are asked about in turn: more than any cache of answers holds.
const RECORDS: u64 = 5_000;

/// The same decisions as `bundles/authzen`, for the other decision point.
const POLICY: &str = r#"apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: record
  version: default
  rules:
    - actions: ["read"]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: { match: { expr: 'request.principal.id in ["alice", "bob"]' } }
    - actions: ["write"]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: { match: { expr: 'request.principal.id == "alice" && !(has(request.resource.attr.status) && request.resource.attr.status == "archived")' } }
    - actions: ["write"]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: { match: { expr: 'has(request.principal.attr.role) && request.principal.attr.role == "admin" && has(request.resource.attr.status) && request.resource.attr.status == "archived"' } }
"#;

/// Questions with durable evidence, beside another decision point without any.
pub(crate) fn questions() {
    let Some(service) = asked() else {
        return;
    };
    let requests = asked_about();
    let other = std::env::var_os("CERBOS_PROGRAM").map(|program| Other::start(program.into()));
    for (connections, count) in [(1, 3_000), (64, 60_000)] {
        // Each once for nothing: caches, connections, lazy parts.
        client::run(&service.socket(), &requests, connections, count / 10);
        let ours = client::run(&service.socket(), &requests, connections, count);
        print(
            &format!("question, recorded, {connections} connections"),
            &ours,
        );
        if let Some(other) = &other {
            client::run(&other.socket, &requests, connections, count / 10);
            let theirs = client::run(&other.socket, &requests, connections, count);
            print(
                &format!("Cerbos, no evidence, {connections} connections"),
                &theirs,
            );
            let ratio = stats::ratio("  ours beside theirs, p50", &ours.done, &theirs.done);
            let figure = if connections == 1 {
                "question-1"
            } else {
                "question-64"
            };
            figures::note(figure, ratio);
        }
    }
    println!(
        "{:<44} {:.1} MiB",
        "memory of the service after it",
        service.memory()
    );
    intents(&service);
}

fn intents(service: &Service) {
    let request = [post("/v1/intents", &intent())];
    service.run(&["policy", "rollback"]);
    for (connections, count) in [(1, 1_000), (64, 30_000)] {
        let seen = client::run(&service.socket(), &request, connections, count);
        print(
            &format!("intent to artifact, {connections} connections"),
            &seen,
        );
    }
}

/// Memory over many decisions.
pub(crate) fn flat() {
    let Some(service) = asked() else {
        return;
    };
    let requests = asked_about();
    let count: u64 = std::env::var("DECISIONS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000);
    for tenth in 1..=10 {
        let seen = client::run(&service.socket(), &requests, 64, count / 10);
        let rate = seen.rate();
        println!(
            "{:>9} decisions: {:>7.1} MiB, {rate:.0} /s",
            count / 10 * tenth,
            service.memory()
        );
    }
}

/// Five times the connections that the node has room for, each asking again at once.
pub(crate) fn flood() {
    let Some(program) = program() else {
        return;
    };
    let service = Service::start(program, "[limits]\nintents = 64\n");
    let request = [post("/v1/intents", &intent())];
    let socket = service.socket();
    let before = client::run(&socket, &request, 64, 20_000);
    print("sustained, 64 connections", &before);
    let held = hold(&socket);
    let over = AtomicBool::new(false);
    let (renewals, acts) = std::thread::scope(|scope| {
        let renewals = scope.spawn(|| renew(&socket, &held, &over));
        let acts = scope.spawn(|| act(&socket, &over));
        let began = Instant::now();
        let mut memory: f64 = 0.0;
        while began.elapsed() < Duration::from_secs(15) {
            let seen = client::run(&socket, &request, 320, 40_000);
            memory = memory.max(service.memory());
            print("flood, 320 connections: permitted", &seen);
            seen.refused.print("flood, 320 connections: overloaded");
        }
        over.store(true, Ordering::Relaxed);
        println!("{:<44} {memory:.1} MiB", "memory, most");
        (
            renewals.join().expect("renewals"),
            acts.join().expect("acts"),
        )
    });
    renewals.print("renewals meanwhile");
    acts.print("revocations meanwhile, until durable");
    let after = client::run(&socket, &request, 64, 20_000);
    print("afterwards, 64 connections", &after);
}

/// A permitted execution that is started, over HTTP.
fn hold(socket: &Path) -> String {
    let mut client = Client::connect(socket).expect("a connection");
    let (status, body) = client
        .ask(&post("/v1/intents", &intent()))
        .expect("an answer");
    assert_eq!(status, 201, "{body}");
    let permit: Value = serde_json::from_str(&body).expect("JSON");
    let exec = permit
        .get("exec")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let start = json!({ "artifact": permit.get("artifact"), "gateway": "http" }).to_string();
    let path = format!("/v1/executions/{exec}/start");
    let (status, body) = client.ask(&post(&path, &start)).expect("an answer");
    assert_eq!(status, 200, "{body}");
    exec
}

fn renew(socket: &Path, exec: &str, over: &AtomicBool) -> Samples {
    let request = post(&format!("/v1/executions/{exec}/renew"), "{}");
    let mut client = Client::connect(socket).expect("a connection");
    let mut samples = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let (status, body) = client.ask(&request).expect("an answer");
        assert_eq!(status, 200, "{body}");
        samples.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    Samples::new(samples)
}

/// Revokes a policy that is none of the bundle's, again and again: what is measured is the way.
fn act(socket: &Path, over: &AtomicBool) -> Samples {
    let body = r#"{"reason":"a drill","selector":{"policy":"no-such-policy"}}"#;
    let request = post("/v1/revocations", body);
    let mut client = Client::connect(socket).expect("a connection");
    let mut samples = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let (status, body) = client.ask(&request).expect("an answer");
        assert_eq!(status, 201, "{body}");
        samples.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    Samples::new(samples)
}

/// The same question of one record after the other.
fn asked_about() -> Vec<Vec<u8>> {
    let question = |record: u64| {
        let question = json!({
            "subject": { "type": "user", "id": "alice" },
            "action": { "name": "write" },
            "resource": {
                "type": "record", "id": format!("record-{record}"),
                "properties": { "status": "active" },
            },
        });
        post("/access/v1/evaluation", &question.to_string())
    };
    (0..RECORDS).map(question).collect()
}

/// A service that answers the questions of the certification scenario.
fn asked() -> Option<Service> {
    let service = Service::start(program()?, "");
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/authzen");
    service.run(&["policy", "activate", bundle]);
    let group = "enforcement-points";
    service.run(&[
        "principal",
        "set",
        "service:point",
        "--group",
        group,
        "--uid",
        "0",
    ]);
    Some(service)
}

/// To run a program that the starter bundle lets agents run.
pub(super) fn intent() -> String {
    let holder = SigningKey::from_seed(&Zeroizing::new([9; 32])).public();
    json!({
        "action": "process:run", "gateway": "http", "holder": holder, "principal": "agent:coder",
        "resource": { "digest": Digest::of(b"git"), "id": "/usr/bin/git", "kind": "Program" },
        "params": {
            "argv": ["git", "status"], "cwd": "/srv/project", "env": { "LANG": "C.UTF-8" },
            "home": "/home/bench", "workspace": "/srv/project",
        },
    })
    .to_string()
}

fn print(name: &str, seen: &Seen) {
    seen.done.print(name);
    println!("{:<44} {:>12.0} /s", "  all connections", seen.rate());
}

/// Another decision point, with an equal policy.
struct Other {
    child: Child,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Other {
    fn start(program: PathBuf) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("policies")).expect("a directory");
        std::fs::write(at("policies/record.yaml"), POLICY).expect("a file");
        let configuration = format!(
            "server:\n  httpListenAddr: \"unix:{}\"\n  grpcListenAddr: \"unix:{}\"\nstorage: {{driver: disk, disk: {{directory: \"{}\", watchForChanges: false}}}}\ntelemetry: {{disabled: true}}\naudit: {{enabled: false}}\n",
            at("http.sock").display(),
            at("grpc.sock").display(),
            at("policies").display()
        );
        std::fs::write(at("conf.yaml"), configuration).expect("a file");
        let child = Command::new(program)
            .args(["server", "--log-level=error", "--config"])
            .arg(at("conf.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let socket = at("http.sock");
        let began = Instant::now();
        let other = Self {
            child,
            socket,
            _dir: dir,
        };
        while client::get(&other.socket, "/_cerbos/health").is_none() {
            assert!(began.elapsed() < super::PATIENCE, "it does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        other
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
