//! Runs targets side by side and reports each, in the manner of `cargo test`.

#![expect(
    clippy::print_stdout,
    reason = "the report of a command for developers"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::outcome::Outcome;
use super::{Places, command};

/// Longest input, in bytes.
const INPUT_BYTES_MAX: u32 = 64 * 1024;
/// Most memory of a run, in MiB: a decoder that takes more can be made to by anyone.
const MEMORY_MIB_MAX: u32 = 1024;
/// Longest that one input may take, in seconds.
const INPUT_SECS_MAX: u32 = 10;
/// Lines of a failed run's log that are shown.
const TAIL_LINES: usize = 30;

/// Fuzzes `targets`, each for `seconds`.
pub(super) fn fuzz(places: &Places, targets: &[String], seconds: u32) -> Result<(), String> {
    println!("\nrunning {} fuzz targets, {seconds} s each", targets.len());
    let begin = now();
    let waiting = Mutex::new(targets.iter().collect::<VecDeque<_>>());
    let failed = Mutex::new(0_usize);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(targets.len()) {
            scope.spawn(|| {
                while let Some(target) = take(&waiting) {
                    let sound = one(places, target, seconds);
                    *lock(&failed) += usize::from(!sound);
                }
            });
        }
    });
    let failed = *lock(&failed);
    summary(targets.len(), failed, begin)
}

fn take<'a>(waiting: &Mutex<VecDeque<&'a String>>) -> Option<&'a String> {
    lock(waiting).pop_front()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn summary(total: usize, failed: usize, begin: Instant) -> Result<(), String> {
    let passed = total.saturating_sub(failed);
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         0 filtered out; finished in {:.2}s",
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} of {total} fuzz targets failed"))
    }
}

/// Runs one target. Whether nothing was found.
fn one(places: &Places, target: &str, seconds: u32) -> bool {
    let log = places.target.join(format!("logs/{target}.log"));
    let begin = now();
    let outcome = match start(places, target, seconds, &log) {
        Ok(success) => Outcome::read(&read(&log), success),
        Err(why) => Outcome::Failed {
            why,
            reproducer: None,
        },
    };
    let elapsed = begin.elapsed().as_secs_f64();
    match outcome {
        Outcome::Sound { inputs, edges } => {
            println!("test fuzz::{target} ... ok ({inputs} inputs, {edges} edges, {elapsed:.1} s)");
            true
        }
        Outcome::Failed { why, reproducer } => {
            println!("{}", failure(target, &why, reproducer, &log));
            false
        }
    }
}

/// Whether the program ended well. What it prints goes to `log`.
fn start(places: &Places, target: &str, seconds: u32, log: &Path) -> Result<bool, String> {
    let learnt = places.target.join("corpus").join(target);
    let found = places.root.join("fuzz/artifacts");
    for directory in [&learnt, &found, &places.target.join("logs")] {
        fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    let output = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let seeds = places.seeds(target);
    command(&places.program())
        .arg(format!("--target={target}"))
        .arg(format!("--seeds={}", seeds.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-timeout={INPUT_SECS_MAX}"))
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        .arg("-print_final_stats=1")
        .args([&learnt, &seeds])
        .stderr(output)
        .status()
        .map(|status| status.success())
        .map_err(|error| format!("it did not start: {error}"))
}

fn read(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What to print of a failed run: why, the end of its log, how to see it again.
fn failure(target: &str, why: &str, reproducer: Option<String>, log: &Path) -> String {
    let text = read(log);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default();
    let again = reproducer.map_or_else(
        || format!("the whole log: {}", log.display()),
        |file| {
            format!("the input: {file}\nsee it again: cargo xtask fuzz --replay {file} {target}")
        },
    );
    let tail = tail.join("\n    ");
    format!("test fuzz::{target} ... FAILED: {why}\n    {tail}\n{again}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the run took is for the report only"
)]
fn now() -> Instant {
    Instant::now()
}
