//! Clients over Streamable HTTP, each with a session and so with a server of its own, through one gateway.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::link::{Link, await_port, free_port, header};
use super::place::Place;
use super::{CLIENTS, TOGETHER};
use crate::stats::Samples;

const OPEN: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const OPENED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The gateway, which ends with this.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// All of them at a time.
pub(super) fn together(place: &Place) {
    let (port, token) = (free_port(), place.root().join("token"));
    let (address, file) = (format!("127.0.0.1:{port}"), token.to_str().expect("text"));
    let mut command = place.listening(&["--listen", &address, "--token-file", file]);
    let child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let _gateway = Gateway(child);
    await_port(port);
    let token = format!(
        "Bearer {}",
        fs::read_to_string(token).expect("a token").trim()
    );
    let mut links: Vec<Link> = (0..CLIENTS).map(|_| opened(port, &token)).collect();
    links.iter_mut().for_each(Link::reopen);
    let each = (TOGETHER / CLIENTS / 2) as u64;
    let began = Instant::now();
    let samples: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = links
            .iter_mut()
            .map(|link| scope.spawn(move || (0..each).map(|id| timed(link, id)).collect()))
            .collect();
        let all = threads.into_iter();
        all.flat_map(|thread: thread::ScopedJoinHandle<'_, Vec<Duration>>| {
            thread.join().expect("a client")
        })
        .collect()
    });
    let rate = samples.len() as f64 / began.elapsed().as_secs_f64();
    Samples::new(samples).print(&format!("tools/call, {CLIENTS} sessions over HTTP"));
    println!("{:<44} {rate:>12.0} /s", "  all of them");
}

/// A client whose session has begun, with one call that warms it.
fn opened(port: u16, token: &str) -> Link {
    let mut link = Link::open(port, "/mcp", "echo", &[("Authorization", token)]);
    let answer = link.post("/mcp", OPEN);
    let session = header(&answer.head, "mcp-session-id").expect("a session");
    link.say("Mcp-Session-Id", session);
    link.say("MCP-Protocol-Version", "2025-06-18");
    link.post("/mcp", OPENED);
    link.call(1_000_000);
    link
}

fn timed(link: &mut Link, id: u64) -> Duration {
    let began = Instant::now();
    link.call(id);
    began.elapsed()
}
