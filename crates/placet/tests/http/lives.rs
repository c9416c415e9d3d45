//! Stopping in good order, and not in good order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{Place, eventually};

#[test]
fn a_service_that_is_told_to_stop_leaves_no_execution_unrecorded() {
    let place = Place::new();
    place.configure("grace_secs = 1\n");
    let mut node = place.up();
    let running = node.started(&["true"]);
    let permit = node
        .post("/v1/intents", &place.intent("agent:coder", &["true"]))
        .expect(201);
    let unused = permit["exec"].as_str().unwrap().to_owned();
    node.signal(Signal::TERM);
    eventually("it takes no new intents", || {
        let answer = node.post("/v1/intents", &place.intent("agent:coder", &["true"]));
        (answer.status == 503).then_some(())
    });
    assert!(node.ended().success());
    drop(node);
    let list = place.ok(&["executions", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let status = |exec: &str| {
        let mut all = list.as_array().unwrap().iter();
        let one = all.find(|one| one["exec"] == exec).unwrap();
        one["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(&running), "terminated");
    assert_eq!(status(&unused), "lapsed");
    place.ok(&["log", "fsck"]);
}

#[test]
fn an_idle_service_stops_at_once() {
    let place = Place::new();
    let mut node = place.up();
    assert_eq!(node.get("/readyz").status, 200);
    node.signal(Signal::TERM);
    assert!(node.ended().success());
    assert!(!place.socket().exists());
}

/// How often the service is killed: 8 times, or as `KILLS` says.
fn kills() -> u32 {
    let kills = std::env::var("KILLS").ok();
    kills.map_or(8, |kills| kills.parse().unwrap())
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_under_load() {
    let place = Place::new();
    let mut restarts = Vec::new();
    let mut held = Vec::new();
    for _ in 0..kills() {
        let node = place.up();
        held.push(node.started(&["true"]));
        let (acknowledged, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let submit = || {
            while !over.load(Ordering::Relaxed) {
                let body = place.intent("agent:coder", &["true"]).to_string();
                let text =
                    crate::client::request("POST", "/v1/intents", "placet", &[], Some(&body));
                let Ok(mut stream) = std::os::unix::net::UnixStream::connect(place.socket()) else {
                    continue;
                };
                let mut bytes = Vec::new();
                drop(std::io::Write::write_all(&mut stream, text.as_bytes()));
                drop(std::io::Read::read_to_end(&mut stream, &mut bytes));
                // An answer that was cut is none.
                let text = String::from_utf8_lossy(&bytes);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                let permit: Option<Value> = body.and_then(|body| serde_json::from_str(body).ok());
                if let Some(permit) = permit.filter(|permit| permit["decision"] == "permit") {
                    let index = permit["index"].as_u64().unwrap();
                    let entry = permit["receipt"]["entry"].as_str().unwrap().to_owned();
                    acknowledged.lock().unwrap().push((index, entry));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(submit);
            }
            eventually("there is load", || {
                (acknowledged.lock().unwrap().len() > 20).then_some(())
            });
            node.signal(Signal::KILL);
            thread::sleep(Duration::from_millis(50));
            over.store(true, Ordering::Relaxed);
        });
        drop(node);
        let began = std::time::Instant::now();
        let node = place.up();
        assert_eq!(node.get("/readyz").status, 200);
        restarts.push(began.elapsed());
        for (index, entry) in acknowledged.lock().unwrap().iter() {
            assert_eq!(
                place.ok(&["log", "entry", &index.to_string()]),
                *entry,
                "{index}"
            );
        }
        node.post("/v1/resume", &json!({ "reason": "still here" }))
            .expect(201);
    }
    restarts.sort();
    let longest = restarts.last().unwrap();
    println!("{} restarts, the longest {longest:?}", restarts.len());
    // Three seconds are promised; a machine that does much else gets more.
    assert!(*longest < Duration::from_secs(15), "{restarts:?}");
    // What ran has nobody who renews it: the service that came after ends it.
    let node = place.up();
    for exec in held {
        eventually("it is recorded as terminated", || {
            let one = node.get(&format!("/v1/executions/{exec}")).expect(200);
            (one["execution"]["status"] == "terminated").then_some(())
        });
    }
    drop(node);
    assert!(place.ok(&["log", "fsck"]).contains("sound"));
    assert!(place.ok(&["log", "replay"]).contains("different       0"));
}
