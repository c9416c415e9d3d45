//! More than the node has room for: refused at once, and nothing else suffers.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::place::{Node, Place, eventually};

/// Room for intents that wait, and who asks for it: five times as many.
const ROOM: usize = 8;
const CALLERS: usize = 5 * ROOM;
/// How long they do.
const FLOOD: Duration = Duration::from_secs(3);

#[test]
fn five_times_the_load_is_refused_at_once_and_renewals_and_revocations_pass() {
    let place = Place::new();
    place.configure(&format!("[limits]\nintents = {ROOM}\n"));
    let node = place.up();
    let intent = place.intent("agent:coder", &["true"]);
    let held = node.started(&["true"]);
    let before = resident_mib(&node);
    let (over, most) = (AtomicBool::new(false), Mutex::new(0_u64));
    let (permitted, refused) = (Mutex::new(0_usize), Mutex::new(Vec::new()));
    let renew = format!("/v1/executions/{held}/renew");
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let began = Instant::now();
                    while began.elapsed() < FLOOD {
                        let asked = Instant::now();
                        let answer = node.post("/v1/intents", &intent);
                        match answer.status {
                            201 => *permitted.lock().unwrap() += 1,
                            503 => {
                                assert_eq!(answer.code(), "overloaded");
                                refused.lock().unwrap().push(asked.elapsed());
                            }
                            status => panic!("{status}: {answer:?}"),
                        }
                    }
                })
            })
            .collect();
        let others = scope.spawn(|| {
            let revoke = json!({ "reason": "a drill", "selector": { "policy": "no-such-policy" } });
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                node.post(&renew, &json!({})).expect(200);
                node.post("/v1/revocations", &revoke).expect(201);
                let now = resident_mib(&node);
                let mut most = most.lock().unwrap();
                *most = now.max(*most);
                rounds += 1;
            }
            rounds
        });
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
        over.store(true, Ordering::Relaxed);
        assert!(others.join().unwrap() >= 3, "renewals and revocations wait");
    });
    let mut refused = refused.into_inner().unwrap();
    refused.sort();
    assert!(!refused.is_empty(), "nothing was refused");
    assert!(
        *permitted.lock().unwrap() > 0,
        "what there was room for was decided"
    );
    // What waits for a turn is decided in far more than this here; a refusal waits for nothing.
    let middle = refused[refused.len() / 2];
    assert!(middle < Duration::from_secs(1), "{middle:?}");
    let grown = most.into_inner().unwrap().saturating_sub(before);
    assert!(grown < 192, "{grown} MiB more than before");
    // It recovers by itself, and the lease that was renewed meanwhile still stands.
    eventually("it has room again", || {
        (node.post("/v1/intents", &intent).status == 201).then_some(())
    });
    for _ in 0..ROOM {
        node.post("/v1/intents", &intent).expect(201);
    }
    node.post(&renew, &json!({})).expect(200);
}

fn resident_mib(node: &Node<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<u64>().unwrap() / 1024
}
