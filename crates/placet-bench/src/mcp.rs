//! `tools/call` directly and through the gateway, in turns of one run: what governing a call adds, how
//! many pass at once, and what memory one governed server takes.
//!
//! The server is this program itself: it answers at once, so that what is measured is what stands
//! between. Other people's gateways are measured by themselves (`mcp-peers`), beside the same two.

mod client;
mod frames;
mod link;
mod listened;
mod memory;
mod peers;
mod place;
mod server;

use std::time::{Duration, Instant};

pub(crate) use server::serve;

use crate::figures;
use crate::stats::Samples;
use client::Client;
use place::Place;

/// Calls one after the other, of each kind.
const ALONE: usize = 3000;
/// Calls when many are in flight.
const TOGETHER: usize = 30_000;
/// How many of them at a time.
const CLIENTS: usize = 32;

/// Frames, calls one by one, calls together, memory.
pub(crate) fn calls() {
    frames::handling();
    let Some(place) = Place::new() else { return };
    let mut direct = Client::start(&mut place.server());
    let mut through = Client::start(&mut place.gateway());
    direct.open();
    through.open();
    let idle = memory::print("one governed server, idle", &place, &through);
    figures::note("mcp-memory", idle);
    let (_, (p50, p99)) = in_turns(&mut direct, &mut through, ALONE);
    figures::note("mcp-p50", p50);
    figures::note("mcp-p99", p99);
    let rate = together(&mut through);
    println!(
        "{:<44} {rate:>12.0} /s",
        format!("  {CLIENTS} calls in flight")
    );
    memory::print("the same, after these calls", &place, &through);
    fleet(&place);
    listened::together(&place);
}

/// Directly, through Placet, and through other people's gateways, where they are installed (`PLACET_MCP_PEERS`).
pub(crate) fn beside() {
    let Some(place) = Place::new() else { return };
    // They take long to start, and keep a processor busy while they do.
    let peers = peers::start(&place);
    let mut direct = Client::start(&mut place.server());
    let mut through = Client::start(&mut place.gateway());
    direct.open();
    through.open();
    let (plain, _) = in_turns(&mut direct, &mut through, peers::ALONE);
    peers::measure(&peers, &plain);
}

/// Calls directly and through Placet in turns: what the direct ones took, and what is added to them.
fn in_turns(direct: &mut Client, through: &mut Client, rounds: usize) -> (Samples, (f64, f64)) {
    let (mut plain, mut governed) = (Vec::new(), Vec::new());
    for round in 0..rounds + 100 {
        let pair = (timed(direct), timed(through));
        // The first ones warm the caches.
        if round >= 100 {
            plain.push(pair.0);
            governed.push(pair.1);
        }
    }
    let (plain, governed) = (Samples::new(plain), Samples::new(governed));
    plain.print("tools/call, direct");
    governed.print("tools/call, through placet mcp");
    let more = added(&governed, &plain);
    (plain, more)
}

/// What one side adds to the other's percentiles: p50 and p99, in microseconds.
fn added(governed: &Samples, plain: &Samples) -> (f64, f64) {
    let micros = |part| {
        let (with, without) = (governed.percentile(part), plain.percentile(part));
        with.saturating_sub(without).as_secs_f64() * 1e6
    };
    println!(
        "{:<44} p50 {:>10.1} us   p99 {:>10.1} us",
        "  added",
        micros(50),
        micros(99)
    );
    (micros(50), micros(99))
}

fn timed(client: &mut Client) -> Duration {
    let began = Instant::now();
    client.call();
    began.elapsed()
}

/// Keeps so many calls in flight on one connection; how many are answered in a second.
fn together(client: &mut Client) -> f64 {
    let began = Instant::now();
    for _ in 0..CLIENTS {
        client.send();
    }
    for number in 0..TOGETHER {
        client.receive();
        if number < TOGETHER - CLIENTS {
            client.send();
        }
    }
    TOGETHER as f64 / began.elapsed().as_secs_f64()
}

/// So many clients, each with a gateway and a server of its own, on one node.
fn fleet(place: &Place) {
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::start(&mut place.gateway());
            client.open();
            client
        })
        .collect();
    let each = TOGETHER / CLIENTS / 2;
    let began = Instant::now();
    let samples: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| (0..each).map(|_| timed(client)).collect::<Vec<_>>()))
            .collect();
        let all = threads.into_iter();
        all.flat_map(|thread| thread.join().expect("a client"))
            .collect()
    });
    let rate = samples.len() as f64 / began.elapsed().as_secs_f64();
    let name = format!("tools/call, {CLIENTS} clients, a gateway each");
    Samples::new(samples).print(&name);
    println!("{:<44} {rate:>12.0} /s", "  all of them");
    figures::note("mcp-rate", rate);
}

/// A million calls, and what memory is taken along the way. Not part of the ordinary run.
pub(crate) fn flat() {
    let Some(place) = Place::new() else { return };
    let mut through = Client::start(&mut place.gateway());
    through.open();
    for step in 0..=20 {
        memory::print(&format!("after {} calls", step * 50_000), &place, &through);
        if step == 20 {
            break;
        }
        let mut left = 50_000;
        while left > 0 {
            together(&mut through);
            left -= TOGETHER.min(left);
        }
    }
}
