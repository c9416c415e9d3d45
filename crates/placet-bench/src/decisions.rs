//! Durable decisions, in process, with evidence and artifact; replay; bytes at rest.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use placet_authority::replay::{Sources, replay};
use placet_authority::{Answer, Authority, EndReport};
use placet_evidence::{Exit, RunEnd, Usage};
use placet_types::GatewayName;

use crate::domain;
use crate::figures;
use crate::stats::{Samples, ratio};

/// Decisions with one caller.
const ALONE: u64 = 500;
/// Decisions with many callers.
const TOGETHER: u64 = 40_000;
/// Callers at a time.
const CALLERS: usize = 64;
/// Whole executions whose bytes are counted.
const EXECUTIONS: u64 = 300;

pub(crate) fn durable() {
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let domain = domain::make(dir.path(), &domain::starter());
    let authority = domain::open(&domain);
    let next = AtomicU64::new(0);
    permit(&authority, next.fetch_add(1, Ordering::Relaxed));
    let alone = Samples::new(
        (0..ALONE)
            .map(|_| permit(&authority, next.fetch_add(1, Ordering::Relaxed)))
            .collect(),
    );
    let sync = sync_alone(dir.path());
    sync.print("fdatasync of 4 KiB appended");
    alone.print("durable permit, 1 caller");
    let over = alone.percentile(50).saturating_sub(sync.percentile(50));
    println!(
        "{:<44} {:>14.1} us",
        "  over one fdatasync",
        over.as_secs_f64() * 1e6
    );
    figures::note("permit-alone", over.as_secs_f64() * 1e6);
    ratio("  durable permit / fdatasync", &alone, &sync);
    together(&authority, &next);
    authority.close().expect("the log is sound");
    replay_rate(&authority);
    bytes_at_rest();
}

fn permit(authority: &Authority, number: u64) -> Duration {
    let submission = domain::submission(number);
    let began = Instant::now();
    let answer = authority.submit(submission).expect("the log is written");
    let took = began.elapsed();
    if let Answer::Denied(denied) = answer {
        println!("denied: {:?}", denied.denial);
        std::process::abort();
    }
    took
}

/// What the disk alone takes for a record.
fn sync_alone(dir: &Path) -> Samples {
    let mut file = std::fs::File::create(dir.join("sync")).expect("a file");
    let block = [7_u8; 4096];
    let samples = (0..ALONE).map(|_| {
        let began = Instant::now();
        file.write_all(&block)
            .and_then(|()| file.sync_data())
            .expect("the disk");
        began.elapsed()
    });
    Samples::new(samples.collect())
}

fn together(authority: &Authority, next: &AtomicU64) {
    let first = next.load(Ordering::Relaxed);
    let began = Instant::now();
    let samples: Vec<Duration> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut samples = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= first + TOGETHER {
                            return samples;
                        }
                        samples.push(permit(authority, number));
                    }
                })
            })
            .collect();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("a caller"))
            .collect()
    });
    let took = began.elapsed();
    let rate = samples.len() as f64 / took.as_secs_f64();
    Samples::new(samples).print(&format!("durable permit, {CALLERS} callers"));
    println!("{:<44} {rate:>12.0} /s", "  durable permits, all callers");
    figures::note("permit-many", rate);
}

fn replay_rate(authority: &Authority) {
    let reader = authority.reader();
    let sources = Sources {
        reader: &reader,
        bundles: authority.bundles(),
        blobs: authority.blobs(),
    };
    let began = Instant::now();
    let report = replay(sources, |_| {}).expect("the log is read");
    let rate = report.same as f64 / began.elapsed().as_secs_f64();
    figures::note("replay", rate);
    println!(
        "{:<44} {rate:>12.0} /s   {} same, holds: {}",
        "replay, one core",
        report.same,
        report.holds()
    );
}

/// Everything that a permitted execution leaves on disk, with one caller.
fn bytes_at_rest() {
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let domain = domain::make(dir.path(), &domain::starter());
    let before = size_of(domain.root());
    let authority = domain::open(&domain);
    let gateway = GatewayName::parse("process").expect("a name");
    for number in 0..EXECUTIONS {
        let Answer::Permitted(permitted) = authority
            .submit(domain::submission(number))
            .expect("the log is written")
        else {
            std::process::abort()
        };
        let started = authority.start(
            permitted.exec,
            permitted.artifact.digest(),
            gateway.clone(),
            placet_evidence::Caller::Unix(0),
            None,
        );
        started.expect("the log is written").expect("it starts");
        let usage = Usage {
            output: None,
            changes: None,
            cpu_ms: 12,
            network: None,
            rss_kib_max: 30_000,
            wall_ms: 345,
        };
        let end = EndReport {
            exec: permitted.exec,
            outcome: RunEnd::Completed,
            cause: None,
            exit: Some(Exit::Code(0)),
            usage: Some(usage),
        };
        authority
            .end(end)
            .expect("the log is written")
            .expect("it ends");
    }
    authority.close().expect("the log is sound");
    let each = (size_of(domain.root()) - before) / EXECUTIONS;
    figures::note("at-rest", each as f64 / 1024.0);
    println!(
        "{:<44} {each:>12} bytes",
        "at rest for one permitted execution"
    );
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| {
            let entry = entry.expect("a directory");
            let metadata = entry.metadata().expect("a file");
            if metadata.is_dir() {
                size_of(&entry.path())
            } else {
                metadata.len()
            }
        })
        .sum()
}
