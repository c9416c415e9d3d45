//! Seeds from the published vectors.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::Corpus;

/// Seeds of each outcome, for a target.
const EACH: usize = 4;
/// Longest seed, in bytes: long ones slow a fuzzer down and teach it nothing more.
const BYTES_MAX: usize = 4096;

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("vectors are JSON")
}

/// The first vectors of a section that are valid, and the first that are not.
fn some<'a>(vectors: &'a Value, section: &str) -> Vec<(String, &'a Value)> {
    let all = vectors["sections"][section]
        .as_array()
        .expect("a section of vectors");
    let of = |valid: bool| {
        let same = move |vector: &&Value| vector["outcome"]["valid"].as_bool() == Some(valid);
        let name = if valid { "valid" } else { "refused" };
        let named = move |(at, vector)| (format!("{name}-{at}"), vector);
        all.iter().filter(same).take(EACH).enumerate().map(named)
    };
    of(true)
        .chain(of(false))
        .map(|(name, vector)| (name, &vector["input"]))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn hex(value: &Value) -> Vec<u8> {
    placet_types::digest::decode_hex(text(value)).expect("hex digits")
}

/// From `spec/vectors/tlog.json`.
pub(crate) fn log(corpus: &Corpus, path: &Path) {
    let vectors = read(path);
    let put = |target: &str, section: &str, bytes: &dyn Fn(&Value) -> Vec<u8>| {
        for (name, input) in some(&vectors, section) {
            let bytes = bytes(input);
            if bytes.len() <= BYTES_MAX {
                corpus.put(target, &name, bytes);
            }
        }
    };
    let member = |name: &'static str| move |input: &Value| text(&input[name]).as_bytes().to_vec();
    put("note", "note", &member("note"));
    put("vkey", "vkey", &member("vkey"));
    put("checkpoint", "quorum", &member("note"));
    put("checkpoint_body", "cosignature", &member("body"));
    put("log_proof", "proof", &member("proof"));
    put("log_policy", "policy_file", &member("policy"));
    put("tile_path", "path", &member("path"));
    let width = |input: &Value| {
        input["width"]
            .as_u64()
            .and_then(|w| u8::try_from(w - 1).ok())
    };
    put("hash_tile", "hash_tile", &|input| {
        [vec![0, width(input).unwrap_or(0)], hex(&input["tile_hex"])].concat()
    });
    put("entry_bundle", "entry_bundle", &|input| {
        [vec![width(input).unwrap_or(0)], hex(&input["bundle_hex"])].concat()
    });
}

/// From `spec/vectors/artifact.json`.
pub(crate) fn artifact(corpus: &Corpus, path: &Path) {
    let vectors = read(path);
    let artifacts = vectors["artifacts"].as_array().expect("artifacts");
    for (at, artifact) in artifacts.iter().map(text).enumerate().take(6) {
        corpus.put("artifact", &format!("vector-{at}"), artifact);
        corpus.put("jws", &format!("vector-{at}"), artifact);
        let payload = artifact
            .split('.')
            .nth(1)
            .map(|part| URL_SAFE_NO_PAD.decode(part));
        if let Some(Ok(payload)) = payload {
            corpus.put("claims", &format!("vector-{at}"), payload);
        }
    }
    let receipts = vectors["receipts"].as_array().expect("receipts");
    for (at, receipt) in receipts.iter().enumerate().take(4) {
        let entry = STANDARD.decode(text(&receipt["entry"])).expect("base64");
        corpus.put("dsse", &format!("vector-{at}"), &entry);
        corpus.put(
            "log_proof",
            &format!("receipt-{at}"),
            text(&receipt["proof"]),
        );
    }
    let keys = ["artifact_key", "record_key"].map(|name| text(&vectors["pins"][name]));
    for (at, key) in keys.into_iter().enumerate() {
        corpus.put(
            "public_key",
            &format!("vector-{at}"),
            STANDARD.decode(key).expect("base64"),
        );
    }
}
