//! `kill -9` at moments that nobody chose.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::writer::{Plan, Told};

const ROUNDS: u64 = 220;
/// Rounds on one directory, so that recoveries of recoveries are seen.
const ROUNDS_PER_LOG: u64 = 11;

pub(crate) fn at_random_moments() {
    let (mut seed, mut interrupted) = (0x2545_f491_4f6c_dd1d_u64, 0);
    let mut round = 0;
    while round < ROUNDS {
        let dir = TempDir::new().unwrap();
        let plan = Plan {
            appends: 10_000,
            ..Plan::new(&dir.path().join("log"))
        };
        let mut told = Told::default();
        for _ in 0..ROUNDS_PER_LOG {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            told = run_and_kill(&plan, seed).after(told);
            interrupted += u64::from(told.error.is_none());
            told.assert_kept(&plan);
            round += 1;
        }
    }
    assert_eq!(interrupted, ROUNDS, "a writer failed by itself");
}

/// Starts a writer, waits for some acknowledgements and then a moment, and kills it.
fn run_and_kill(plan: &Plan, seed: u64) -> Told {
    let mut child = plan.command().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Told::default();
    // A third of the rounds waits for no line at all: the log may not even be created.
    for _ in 0..(seed % 9).saturating_sub(2) {
        if let Some(line) = lines.next() {
            told.hear(&line.unwrap());
        }
    }
    thread::sleep(Duration::from_micros(seed >> 20 & 0x1fff));
    child.kill().unwrap();
    for line in lines {
        told.hear(&line.unwrap());
    }
    child.wait().unwrap();
    told
}
