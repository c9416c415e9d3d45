//! What goes wrong around a service while it serves: the disk, the clock, clients that vanish.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, request};
use crate::place::{Node, Place, eventually};

/// A clock that is wrong by as many seconds as a file says.
const WRONG_CLOCK: &str = include_str!("../support/wrong_clock.c");

fn ended(node: &Node<'_>, exec: &str) -> Option<Value> {
    let one = node.get(&format!("/v1/executions/{exec}")).expect(200);
    let ended = &one["execution"]["ended"];
    (!ended.is_null()).then(|| ended.clone())
}

/// A meter's value.
fn meter(node: &Node<'_>, name: &str) -> u64 {
    let meters = String::from_utf8(node.get("/metrics").body).unwrap();
    let line = meters.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_disk_that_fills_while_it_serves_denies_ends_what_runs_and_loses_nothing() {
    let place = Place::on_a_small_disk();
    let mut node = place.up();
    let exec = node.started(&["true"]);
    let renew = format!("/v1/executions/{exec}/renew");
    node.post(&renew, &json!({})).expect(200);
    let ballast = place.dir().join("ballast");
    let full = fs::write(&ballast, vec![0; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // What is answered with an artifact was recorded; the first that could not be is denied, and so is
    // everything after it.
    let intent = place.intent("agent:coder", &["true"]);
    let mut acknowledged = Vec::new();
    let denied = loop {
        let answer = node.post("/v1/intents", &intent);
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(answer.json()["index"].clone());
    };
    assert_eq!(
        (denied.status, denied.code().as_str()),
        (503, "evidence_unavailable")
    );
    // It ends by itself, and says so: whatever watches over it starts it again.
    let status = node.ended();
    assert!(!status.success());
    drop(node);
    let output = place.command(&["up"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("No space left on device"), "{said}");
    fs::remove_file(&ballast).unwrap();
    let node = place.up();
    for index in acknowledged {
        node.get(&format!("/v1/decisions/{index}")).expect(200);
    }
    let end = eventually("its end is recorded", || ended(&node, &exec));
    assert_eq!(end["outcome"], "terminated", "{end}");
    node.post("/v1/intents", &intent).expect(201);
    place.ok(&["log", "fsck"]);
    place.ok(&["log", "replay"]);
}

#[test]
fn a_wall_clock_that_jumps_while_it_serves_prolongs_no_window_and_ends_none() {
    let mut place = Place::new();
    let (source, library) = (place.path("clock.c"), place.path("clock.so"));
    let offset = place.path("offset");
    fs::write(&source, WRONG_CLOCK).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .args([&library, &source]);
    cc.arg(format!("-DOFFSET=\"{}\"", offset.display()));
    assert!(cc.status().unwrap().success());
    place.preload(library);
    let node = place.up();
    let wrong_by = |secs: i64| fs::write(&offset, secs.to_string()).unwrap();
    let begin = |secs: u64| -> String {
        let mut intent = place.intent("agent:coder", &["true"]);
        intent["asked"] = json!({ "lifetime_secs": secs });
        let permit = node.post("/v1/intents", &intent).expect(201);
        let exec = permit["exec"].as_str().unwrap().to_owned();
        let start = json!({ "artifact": permit["artifact"], "gateway": "http" });
        node.post(&format!("/v1/executions/{exec}/start"), &start)
            .expect(200);
        exec
    };
    let renew = |exec: &str| node.post(&format!("/v1/executions/{exec}/renew"), &json!({}));
    let long = begin(300);
    let year = 365 * 86_400;
    wrong_by(year);
    assert_eq!(renew(&long).status, 200, "the jump ended it");
    // A window is as long as it was asked for, though the clock goes back by two years meanwhile.
    let short = begin(3);
    wrong_by(-year);
    let mut refused = eventually("its window is over", || {
        thread::sleep(Duration::from_millis(200));
        let answer = renew(&short);
        (answer.status != 200).then_some(answer)
    })
    .code();
    // Whoever looks late finds what came of it.
    if refused == "authorization_discontinuity" {
        let end = eventually("its end is recorded", || ended(&node, &short));
        refused = end["cause"].as_str().unwrap().to_owned();
    }
    assert!(
        ["expired", "authorization_discontinuity"].contains(&refused.as_str()),
        "{refused}"
    );
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
    wrong_by(0);
    let records = place.ok(&["log", "tail", "-n", "99", "--json"]);
    let times: Vec<u64> = records
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["time"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(times.len() > 4 && times.is_sorted(), "{times:?}");
}

#[test]
fn clients_that_vanish_in_the_middle_leave_nothing_behind() {
    let place = Place::new();
    let node = place.up();
    let body = place.intent("agent:coder", &["true"]).to_string();
    let whole = request("POST", "/v1/intents", "placet", &[], Some(&body));
    let half = &whole.as_bytes()[..whole.len() - 9];
    for _ in 0..20 {
        // In the head, in the body, before the answer, and in a stream of events.
        let mut streams: Vec<_> = (0..4).map(|_| client::unix(&place.socket())).collect();
        streams[0]
            .write_all(b"POST /v1/intents HTTP/1.1\r\nho")
            .unwrap();
        streams[1].write_all(half).unwrap();
        streams[2].write_all(whole.as_bytes()).unwrap();
        let events = "GET /v1/events?from=0 HTTP/1.1\r\nhost: placet\r\n\r\n";
        streams[3].write_all(events.as_bytes()).unwrap();
        let mut lines = BufReader::new(&streams[3]).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("200"), "{first}");
    }
    // A stream is missed when something is written to it, at the latest with its next sign of life.
    eventually("nothing is left open", || {
        let left = (
            meter(&node, "placet_http_streams "),
            // This one.
            meter(&node, "placet_http_connections "),
        );
        (left == (0, 1)).then_some(())
    });
    // Nobody waited for the answers; what was decided all the same is recorded, and nothing else is. Some may
    // still wait to be decided when the last connection is gone, and come between the two looks.
    let recorded = eventually("as many are recorded as were permitted", || {
        let page = node.get("/v1/executions?limit=500").expect(200);
        let recorded = page["items"].as_array().unwrap().len();
        let permits = meter(&node, "placet_decisions_total{outcome=\"permit\"");
        (recorded as u64 == permits).then_some(recorded)
    });
    assert!((1..=20).contains(&recorded), "{recorded}");
    node.post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
}
