//! Memory of ten thousand event streams and ten thousand leases.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::questions::intent;
use super::{Service, program};
use crate::client::{Client, post};
use crate::domain::starter;
use crate::figures;
use crate::stats::Samples;

const HOLDERS: u64 = 10_000;
/// Connections that submit, start and renew.
const WORKERS: u64 = 32;

pub(crate) fn holders() {
    let Some(program) = program() else {
        return;
    };
    let service = Service::start(program, "[limits]\nstreams = 12000\nconnections = 12000\n");
    let bundle = roomy();
    let path = bundle.path().to_str().expect("text");
    service.run(&["policy", "activate", path]);
    let socket = service.socket();
    println!("{:<44} {:.1} MiB", "memory at the start", service.memory());
    let (held, over, renewals) = (
        Mutex::new(Vec::new()),
        AtomicBool::new(false),
        Mutex::new(Vec::new()),
    );
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (held, over, renewals, next, socket) = (&held, &over, &renewals, &next, &socket);
            scope.spawn(move || hold(socket, next, held, over, renewals));
        }
        let began = Instant::now();
        let all = usize::try_from(HOLDERS).unwrap_or(usize::MAX);
        while held.lock().expect("a lock").len() < all && began.elapsed() < Duration::from_secs(90)
        {
            std::thread::sleep(Duration::from_millis(100));
        }
        println!(
            "{:<44} {} in {:.1} s",
            "executions that hold a lease",
            held.lock().expect("a lock").len(),
            began.elapsed().as_secs_f64()
        );
        println!(
            "{:<44} {:.1} MiB",
            "with as many leases, renewed",
            service.memory()
        );
        // The streams come once nothing is submitted any more: each would be told of every record.
        let streams: Option<Vec<_>> = (0..HOLDERS).map(|_| stream(&socket)).collect();
        if streams.is_some() {
            std::thread::sleep(Duration::from_secs(6));
            let memory = service.memory();
            println!(
                "{:<44} {memory:.1} MiB",
                format!("with {HOLDERS} event streams beside them"),
            );
            figures::note("holders", memory);
        } else {
            println!("too few descriptors here: run under `ulimit -n 65536`");
        }
        over.store(true, Ordering::Relaxed);
    });
    Samples::new(renewals.into_inner().expect("a lock")).print("renewals");
}

/// The starter bundle for an agent that may have as many executions at once.
pub(crate) fn roomy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let files = starter().0.into_iter();
    // Its tests speak of the limit.
    for (name, text) in files.filter(|(name, _)| !name.starts_with("tests/")) {
        let text = String::from_utf8(text).expect("text");
        let text = text
            .replace("history.running >= 256", "history.running >= 20000")
            .replace("revision = 1\n", "revision = 2\n");
        let path = dir.path().join(name);
        let parent = path.parent().expect("a directory");
        std::fs::create_dir_all(parent).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    dir
}

/// An event stream that has begun. It is not read any further: few records are written.
fn stream(socket: &Path) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nhost: placet\r\n\r\n")
        .ok()?;
    let mut some = [0; 512];
    let read = stream.read(&mut some).ok()?;
    some.get(..read)?
        .starts_with(b"HTTP/1.1 200")
        .then_some(stream)
}

/// Starts executions of its own and renews each once a second.
fn hold(
    socket: &Path,
    next: &AtomicU64,
    held: &Mutex<Vec<String>>,
    over: &AtomicBool,
    renewals: &Mutex<Vec<Duration>>,
) {
    let mut client = Client::connect(socket).expect("a connection");
    let request = post("/v1/intents", &intent());
    let (mut own, mut samples): (Vec<String>, Vec<Duration>) = (Vec::new(), Vec::new());
    let mut renewed = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if next.fetch_add(1, Ordering::Relaxed) < HOLDERS {
            let (status, body) = client.ask(&request).expect("an answer");
            assert_eq!(status, 201, "{body}");
            let permit: Value = serde_json::from_str(&body).expect("JSON");
            let exec = permit
                .get("exec")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let start =
                json!({ "artifact": permit.get("artifact"), "gateway": "http" }).to_string();
            let (status, body) = client
                .ask(&post(&format!("/v1/executions/{exec}/start"), &start))
                .expect("an answer");
            assert_eq!(status, 200, "{body}");
            own.push(exec.clone());
            held.lock().expect("a lock").push(exec);
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
        if renewed.elapsed() > Duration::from_secs(1) {
            renewed = Instant::now();
            for exec in &own {
                let began = Instant::now();
                let (status, body) = client
                    .ask(&post(&format!("/v1/executions/{exec}/renew"), "{}"))
                    .expect("an answer");
                assert_eq!(status, 200, "{body}");
                samples.push(began.elapsed());
            }
        }
    }
    renewals.lock().expect("a lock").extend(samples);
}
