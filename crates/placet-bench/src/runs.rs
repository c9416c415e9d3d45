//! Whole runs of `/bin/true`: bare, in bubblewrap, and governed with durable start and end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::figures;
use crate::stats::{Samples, ratio};

/// Rounds; the variants take turns in each.
const ROUNDS: usize = 100;

pub(crate) fn start() {
    let program = Path::new("target/release/placet");
    if !program.is_file() {
        println!("no target/release/placet: build it with `cargo build --release -p placet`");
        return;
    }
    let program = program.canonicalize().expect("it is there");
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let domain = dir
        .path()
        .canonicalize()
        .expect("it is there")
        .join("domain");
    let placet = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--domain").arg(&domain).args(args);
        command
    };
    time(&mut placet(&["init", "--name", "placet.example/bench"]));
    let mut variants: Vec<(&str, Command, Vec<Duration>)> = vec![
        ("bare fork and exec", Command::new("/bin/true"), Vec::new()),
        (
            "governed, durable start and end",
            placet(&["run", "--", "/bin/true"]),
            Vec::new(),
        ),
    ];
    if Path::new("/usr/bin/bwrap").is_file() {
        let mut bwrap = Command::new("/usr/bin/bwrap");
        bwrap.args(["--ro-bind", "/", "/", "--unshare-all", "/bin/true"]);
        variants.push(("bubblewrap --unshare-all", bwrap, Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (_, command, samples) in &mut variants {
            let took = time(command);
            // The first round starts the node and warms the caches.
            if round > 0 {
                samples.push(took);
            }
        }
    }
    time(&mut placet(&["node", "stop"]));
    let measured: Vec<(&str, Samples)> = variants
        .into_iter()
        .map(|(name, _, samples)| (name, Samples::new(samples)))
        .collect();
    for (name, samples) in &measured {
        samples.print(name);
    }
    if let [(_, bare), (_, governed), rest @ ..] = measured.as_slice() {
        let more = governed.percentile(50).saturating_sub(bare.percentile(50));
        println!(
            "{:<44} {:>14.2} ms",
            "  governed, more than bare",
            more.as_secs_f64() * 1e3
        );
        figures::note("run-more", more.as_secs_f64() * 1e3);
        if let Some((_, bwrap)) = rest.first() {
            ratio("  governed / bubblewrap", governed, bwrap);
        }
    }
}

fn time(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().expect("it starts");
    let took = began.elapsed();
    if !status.success() {
        println!("{command:?}: {status}");
        std::process::abort();
    }
    took
}
