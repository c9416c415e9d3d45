//! Benchmarks: the figures of SPECIFICATION.md, measured on this machine, against a baseline in the
//! same run.
//!
//! Run with `cargo xtask bench`. Everything is real: a domain on disk, the starter bundle, the
//! file log with its `fdatasync`, processes in cells. Figures are p50 and p99 of many rounds; on a
//! noisy machine the ratios say more than the times.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark prints, reads clocks, starts programs, and may stop when its set-up fails"
)]

mod client;
mod compare;
mod decisions;
mod domain;
mod ends;
mod figures;
mod http;
mod inside;
mod mcp;
mod policies;
mod runs;
mod serve;
mod stats;

/// As in the program itself: benches of one process measure what users run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let only: Option<String> = std::env::args().nth(1);
    if only.as_deref() == Some("mcp-server") {
        return mcp::serve();
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    stats::machine();
    if wanted("policies") {
        policies::flatness();
    }
    if wanted("decisions") {
        decisions::durable();
    }
    if wanted("http") {
        http::intents();
    }
    if wanted("runs") {
        runs::start();
    }
    if wanted("compare") {
        compare::table();
    }
    if wanted("inside") {
        inside::work();
    }
    if wanted("questions") {
        serve::questions();
    }
    if wanted("flood") {
        serve::flood();
    }
    if wanted("holders") {
        serve::holders();
    }
    if only.as_deref() == Some("flat") {
        serve::flat();
    }
    if wanted("mcp") {
        mcp::calls();
    }
    if only.as_deref() == Some("mcp-peers") {
        mcp::beside();
    }
    if only.as_deref() == Some("mcp-flat") {
        mcp::flat();
    }
    if wanted("ends") {
        ends::revocation();
    }
    // By name only: a thousand cells take minutes.
    if only.as_deref() == Some("crowd") {
        ends::crowd();
    }
    figures::print();
}
