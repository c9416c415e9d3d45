//! A server that wants to reach what its profile does not list: whoever waits for it sees that at once, and is told
//! of it should the server never answer.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::domain::await_some;
use crate::place::{Client, OPEN, domain, records};

/// As one that fetches what it needs before it answers, and tries again for as long as its client waits.
const SERVER: &str = r#"
import os, socket, sys, time, urllib.request

def tries(what):
    try:
        what()
    except OSError:
        pass

while not os.path.exists("enough"):
    tries(lambda: socket.getaddrinfo("looked.up.example", 443))
    tries(lambda: urllib.request.urlopen("https://registry.example/package", timeout=30))
    tries(lambda: socket.create_connection(("192.0.2.7", 443), 30))
    time.sleep(0.05)
sys.exit(1)
"#;

const WANTED: [&str; 3] = ["looked.up.example", "registry.example:443", "192.0.2.7:443"];

#[test]
fn whom_a_server_may_not_reach_is_said_at_once_and_in_the_place_of_its_answer() {
    let domain = domain(OPEN, &[]);
    fs::write(domain.work().join("fetching.py"), SERVER).unwrap();
    let server = [
        "mcp",
        "--name",
        "far",
        "--",
        "/usr/bin/python3",
        "fetching.py",
    ];
    let mut client = Client::start(domain.command(&server).stderr(Stdio::piped()));
    let id = client.send(
        "initialize",
        serde_json::json!({ "protocolVersion": "2025-06-18", "capabilities": {} }),
    );

    let (sender, said) = channel();
    let errors = BufReader::new(client.child.stderr.take().unwrap());
    thread::spawn(move || {
        errors
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    let mut unsaid = WANTED.to_vec();
    while !unsaid.is_empty() {
        let line = said.recv_timeout(Duration::from_secs(60));
        let line = line.unwrap_or_else(|_| panic!("nothing was said of {unsaid:?}"));
        let is_said =
            |whom: &&str| line.contains(&format!("scope_exceeded: not connected to {whom}: "));
        unsaid.retain(|whom| !is_said(whom));
    }
    // The log has it before the server ends.
    await_some("a signal", || {
        let refused = |record: &serde_json::Value| {
            record["kind"] == "signal" && record.to_string().contains("connections were refused")
        };
        records(&domain).into_iter().find(refused)
    });

    fs::write(domain.work().join("enough"), "").unwrap();
    let answer = client.answer(id);
    let error = &answer["error"];
    for whom in WANTED {
        assert!(
            error["message"].as_str().unwrap().contains(whom),
            "{answer}"
        );
    }
    assert!(
        error["data"]["remedy"]
            .as_str()
            .unwrap()
            .contains("profile"),
        "{answer}"
    );
    // However often it tried: each is said once.
    let more: Vec<String> = said
        .iter()
        .filter(|line| line.contains("not connected"))
        .collect();
    assert!(more.is_empty(), "{more:?}");
    client.close();
}
