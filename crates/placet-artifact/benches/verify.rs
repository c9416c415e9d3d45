//! What verifying an artifact costs, beside one bare Ed25519 verification of the same bytes.
//!
//! `cargo bench -p placet-artifact` prints the median of each part in microseconds. It asserts
//! nothing: a shared machine is no place for thresholds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{ARTIFACT_SEED, RECORD_SEED, Record, call, claims, hold, issued, key, verifier};
use placet_artifact::jws::{Algorithm, Compact, Header};
use placet_artifact::receipt::KnownLog;
use placet_artifact::{Claims, Receipt};
use placet_types::{Digest, PublicKey};

/// Leaves in the log of the benchmark: the proofs have twelve or thirteen hashes.
const LEAVES: u16 = 4091;
const RUNS: usize = 2000;

/// Median time of one run, in microseconds.
fn median(mut run: impl FnMut()) -> f64 {
    let mut nanos: Vec<u128> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    f64::from(u32::try_from(*nanos.get(RUNS / 2).unwrap()).unwrap()) / 1000.0
}

fn artifact_alone(text: &str, key: &PublicKey) -> (Claims, Digest) {
    let compact = Compact::parse(text).unwrap();
    let header = Header::decode(compact.header()).unwrap();
    let claims = Claims::decode(compact.payload()).unwrap();
    assert_eq!(header.kid, key.id());
    key.verify(compact.signing_input().as_bytes(), compact.signature())
        .unwrap();
    (claims, Digest::of(text.as_bytes()))
}

fn receipt_in_a_large_log(artifact: &str) -> Receipt {
    let others = (0..LEAVES).map(|i| i.to_be_bytes().to_vec());
    let entries = std::iter::once(Record::of(artifact).entry())
        .chain(others)
        .collect();
    common::log(entries).remove(0)
}

/// Leaves a figure for the table of `cargo xtask bench`.
fn note(name: &str, value: f64) {
    let Some(path) = std::env::var_os("PLACET_FIGURES") else {
        return;
    };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, format!("{name} {value}\n").as_bytes()).unwrap();
}

fn main() {
    let (text, public) = (issued(), key(ARTIFACT_SEED).public());
    let compact = Compact::parse(&text).unwrap();
    let input = compact.signing_input().as_bytes();
    let receipt = receipt_in_a_large_log(&text);
    let digest = Digest::of(text.as_bytes());
    let (call, holder, verifier) = (call(), hold(&text, &call()), verifier());
    let warm_log = KnownLog::new(common::log_policy());
    println!(
        "artifact {} bytes, entry {} bytes",
        text.len(),
        receipt.entry.len()
    );

    let bare = median(|| {
        black_box(&public)
            .verify(input, compact.signature())
            .unwrap()
    });
    let report = |name: &str, micros: f64| {
        println!("{name:<52} {micros:>8.1} us  {:>5.2} x bare", micros / bare);
    };
    report("bare strict verification of the signing input", bare);
    let alone = median(|| drop(black_box(artifact_alone(&text, &public))));
    note("artifact", alone / bare);
    let (said, signer) = (claims(), key(ARTIFACT_SEED));
    let issuing = || placet_artifact::issue(&said, &signer, Algorithm::EdDsa);
    report("issue", median(|| drop(black_box(issuing()))));
    report("artifact: parse, header, signature, claims, digest", alone);
    let prove = |log: &KnownLog| receipt.prove(black_box(&digest), log).is_ok();
    report(
        "receipt, checkpoint known",
        median(|| assert!(prove(&warm_log))),
    );
    let cold = || KnownLog::new(common::log_policy());
    report(
        "receipt, checkpoint new (policy built, 2 signatures)",
        median(|| assert!(prove(&cold()))),
    );
    let record_key = key(RECORD_SEED).public();
    report(
        "record signature (not on the way to a call)",
        median(|| receipt.verify_record(&record_key).unwrap()),
    );
    let bound_to = &claims().cnf.jkt;
    report(
        "holder proof",
        median(|| holder.verify(bound_to, &digest, &call.challenge).unwrap()),
    );
    report(
        "all fifteen steps, checkpoint known",
        median(|| {
            drop(black_box(
                call.verify(&verifier, &text, &receipt, &holder).unwrap(),
            ))
        }),
    );
}
