//! Measures a log: what an append costs at growing sizes, how long opening and checking take.
//!
//! `cargo run --release -p placet-log --example log_bench -- <empty directory> <records> <entry bytes>`
//!
//! On a file system in memory, where `fdatasync` costs nothing, the appends show the overhead of
//! the log itself.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use placet_log::{EntryCheck, FileLog, FileOptions, Item, LogReader, Sequencer as _, fsck};
use placet_tlog::note::{KeyName, NoteSigner};
use placet_types::{Index, SigningKey};
use zeroize::Zeroizing;

/// Records in a batch while the log is filled.
const BATCH: u64 = 256;
/// Single appends timed at each size.
const TIMED: u64 = 1_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(records), Some(bytes)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: log_bench <empty directory> <records> <entry bytes>".into());
    };
    let (dir, records, bytes) = (Path::new(&dir), records.parse()?, bytes.parse()?);
    measure_appends(dir, records, bytes)?;
    measure_opening(dir)?;
    println!("peak memory            {:>9} KiB", peak_memory()?);
    Ok(())
}

fn measure_appends(dir: &Path, records: u64, bytes: usize) -> Outcome<()> {
    let mut log = open(dir)?;
    let mut size = 1_000;
    while size <= records {
        let started = Instant::now();
        let from = log.size().get();
        fill(&mut log, size.saturating_sub(TIMED), bytes)?;
        let filled = log.size().get() - from;
        let filling = started.elapsed().as_secs_f64();
        let mut times = Vec::new();
        for _ in 0..TIMED {
            let item = [Item::public(entry(log.size().get(), bytes))];
            let started = Instant::now();
            log.append(log.size(), &item)?;
            times.push(started.elapsed());
        }
        times.sort();
        let at = |part: usize| {
            times
                .get(times.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "append one at {size:>9}  p50 {:>9.1?}  p99 {:>9.1?}   filled {filled} in {filling:.2} s",
            at(50),
            at(99),
        );
        size *= 10;
    }
    Ok(())
}

fn measure_opening(dir: &Path) -> Outcome<()> {
    let started = Instant::now();
    let log = open(dir)?;
    println!("open                   {:>9.2?}", started.elapsed());
    note("log-open", started.elapsed().as_secs_f64())?;
    let started = Instant::now();
    let view = LogReader::open(dir, signer()?.verifier_key())?;
    println!("open for reading       {:>9.2?}", started.elapsed());
    drop(view);
    let started = Instant::now();
    let stream = log.reader().entries(Index::new(0)..log.size());
    let count = stream
        .map(|entry| entry.map(|_| 1_u64))
        .sum::<Result<u64, _>>()?;
    println!("stream {count:>9} entries {:>8.2?}", started.elapsed());
    drop(log);
    println!("peak memory so far     {:>9} KiB", peak_memory()?);
    fs::remove_dir_all(dir.join("derived"))?;
    let started = Instant::now();
    drop(LogReader::open(dir, signer()?.verifier_key())?);
    println!("for reading, the same  {:>9.2?}", started.elapsed());
    let started = Instant::now();
    drop(open(dir)?);
    println!("open, derived missing  {:>9.2?}", started.elapsed());
    note("log-open-cold", started.elapsed().as_secs_f64())?;
    let started = Instant::now();
    let key = signer()?.verifier_key().clone();
    let report = fsck::check(dir, &key, &EntryCheck::none_required(), &mut |_| ())?;
    println!(
        "fsck                   {:>9.2?}  clean: {}",
        started.elapsed(),
        report.is_clean()
    );
    Ok(())
}

/// Leaves a figure for the table of `cargo xtask bench`.
fn note(name: &str, value: f64) -> Outcome<()> {
    if let Some(path) = std::env::var_os("PLACET_FIGURES") {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(path)?;
        std::io::Write::write_all(&mut file, format!("{name} {value}\n").as_bytes())?;
    }
    Ok(())
}

fn fill(log: &mut FileLog, size: u64, bytes: usize) -> Outcome<()> {
    while log.size().get() < size {
        let first = log.size().get();
        let batch: Vec<Item> = (first..size.min(first + BATCH))
            .map(|at| Item::public(entry(at, bytes)))
            .collect();
        log.append(log.size(), &batch)?;
    }
    Ok(())
}

fn entry(number: u64, bytes: usize) -> Vec<u8> {
    let mut entry = number.to_be_bytes().to_vec();
    entry.resize(bytes.max(entry.len()), b'.');
    entry
}

fn open(dir: &Path) -> Outcome<FileLog> {
    Ok(
        FileOptions::new(dir, signer()?, EntryCheck::none_required())
            .open()?
            .log,
    )
}

fn signer() -> Outcome<NoteSigner> {
    let key = SigningKey::from_seed(&Zeroizing::new([1; 32]));
    Ok(NoteSigner::new(KeyName::parse("bench.example/log")?, key))
}

/// High-water mark of resident memory, in KiB.
fn peak_memory() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits: String = line
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Ok(digits.parse()?)
}
