//! The published vectors: written from the cases, and run as an outsider would run them.
//!
//! `PLACET_UPDATE_VECTORS=1` writes the file anew. The runner takes everything from the file: pins,
//! calls, texts, outcomes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a broken fixture should stop the test"
)]

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::cases::{self, Case};
use common::{Call, call, key};
use placet_artifact::verify::Standing;
use placet_artifact::{HolderProof, Pins, Receipt, Verifier};
use placet_types::{Millis, PublicKey, Seconds, Signature};
use serde_json::{Map, Value, json};

fn file() -> PathBuf {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec/vectors/artifact.json"
    );
    PathBuf::from(path)
}

/// The published file, written anew first where that is asked for.
fn read() -> String {
    static UPDATED: OnceLock<()> = OnceLock::new();
    UPDATED.get_or_init(|| {
        if std::env::var_os("PLACET_UPDATE_VECTORS").is_some() {
            std::fs::write(file(), written()).unwrap();
        }
    });
    std::fs::read_to_string(file()).unwrap()
}

fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Live => "live",
        Standing::Revoked => "revoked",
        Standing::Halted => "halted",
        Standing::Stale => "stale",
    }
}

fn standing_of(name: &str) -> Standing {
    let all = [
        Standing::Live,
        Standing::Revoked,
        Standing::Halted,
        Standing::Stale,
    ];
    all.into_iter()
        .find(|standing| standing_name(*standing) == name)
        .unwrap()
}

fn call_json(call: &Call) -> Map<String, Value> {
    let value = json!({
        "gateway": call.gateway,
        "intent": call.intent,
        "params": STANDARD.encode(&call.payload),
        "salt": call.salt,
        "environment": call.environment,
        "policy": call.policy,
        "standing": standing_name(call.standing),
        "challenge": STANDARD.encode(&call.challenge),
        "now_ms": call.now,
        "skew_secs": call.skew,
        "used_before": call.used_before,
    });
    value.as_object().unwrap().clone()
}

/// Texts that many cases share, each written once.
#[derive(Default)]
struct Pool(Vec<Value>);

impl Pool {
    fn place(&mut self, value: Value) -> usize {
        self.0
            .iter()
            .position(|other| *other == value)
            .unwrap_or_else(|| {
                self.0.push(value);
                self.0.len() - 1
            })
    }
}

fn receipt_json(case: &Case) -> Value {
    json!({
        "entry": STANDARD.encode(&case.receipt.entry),
        "proof": String::from_utf8(case.receipt.proof.clone()).unwrap(),
    })
}

fn case_json(case: &Case, artifacts: &mut Pool, receipts: &mut Pool) -> Value {
    let usual = call_json(&call());
    let mut differs = call_json(&case.call);
    differs.retain(|name, value| usual.get(name) != Some(value));
    let outcome = match case.outcome {
        Ok(()) => json!("verified"),
        Err((step, code)) => json!({ "step": step.as_str(), "code": code }),
    };
    json!({
        "name": case.name,
        "artifact": artifacts.place(json!(case.artifact)),
        "receipt": receipts.place(receipt_json(case)),
        "holder": {
            "key": case.holder.key,
            "signature": STANDARD.encode(case.holder.signature.as_bytes()),
        },
        "call": differs,
        "outcome": outcome,
    })
}

fn written() -> String {
    let seeds = json!({
        "artifact": common::ARTIFACT_SEED,
        "record": common::RECORD_SEED,
        "log": common::LOG_SEED,
        "witness": common::WITNESS_SEED,
        "holder": common::HOLDER_SEED,
        "attacker": common::ATTACKER_SEED,
    });
    let (mut artifacts, mut receipts) = (Pool::default(), Pool::default());
    let published = cases::all().into_iter().filter(|case| case.published);
    let cases: Vec<Value> = published
        .map(|case| case_json(&case, &mut artifacts, &mut receipts))
        .collect();
    let value = json!({
        "about": "Placet authorization artifacts: presentations, and the outcome of verifying each \
                  (spec/artifact.md). A case names its artifact and its receipt by their places in the \
                  lists below. A case's call is the call below with the members that the \
                  case names replaced. Binary values are standard base64. Every key's seed is 32 \
                  times the byte given.",
        "seed_bytes": seeds,
        "pins": {
            "domain": common::DOMAIN,
            "artifact_key": key(common::ARTIFACT_SEED).public(),
            "record_key": key(common::RECORD_SEED).public(),
            "log_policy": common::log_policy().to_string(),
        },
        "call": call_json(&call()),
        "cases": cases,
        "artifacts": artifacts.0,
        "receipts": receipts.0,
    });
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

#[test]
fn the_published_vectors_are_those_of_the_code() {
    if std::env::var_os("PLACET_UPDATE_VECTORS").is_some() {
        std::fs::write(file(), written()).unwrap();
    }
    let published = std::fs::read_to_string(file()).unwrap();
    assert!(
        published == written(),
        "run again with PLACET_UPDATE_VECTORS=1, then read the diff"
    );
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn pinned(pins: &Value) -> Verifier {
    let log = pins["log_policy"].as_str().unwrap();
    Verifier::new(Pins {
        domain: typed(&pins["domain"]),
        artifact_key: typed(&pins["artifact_key"]),
        record_key: typed(&pins["record_key"]),
        log: placet_tlog::Policy::parse(log.as_bytes()).unwrap(),
    })
    .unwrap()
}

fn call_of(usual: &Value, differs: &Value) -> Call {
    let member = |name: &str| differs.get(name).unwrap_or(&usual[name]);
    Call {
        gateway: typed(member("gateway")),
        intent: typed(member("intent")),
        payload: bytes(member("params")),
        salt: typed(member("salt")),
        environment: typed(member("environment")),
        policy: typed(member("policy")),
        standing: standing_of(member("standing").as_str().unwrap()),
        challenge: bytes(member("challenge")),
        now: Millis::new(member("now_ms").as_u64().unwrap()),
        skew: Seconds::new(member("skew_secs").as_u64().unwrap()),
        used_before: member("used_before").as_bool().unwrap(),
    }
}

fn at<'a>(list: &'a Value, case: &Value, name: &str) -> &'a Value {
    &list[usize::try_from(case[name].as_u64().unwrap()).unwrap()]
}

fn outcome(verifier: &Verifier, file: &Value, case: &Value) -> Value {
    let receipt = at(&file["receipts"], case, "receipt");
    let receipt = Receipt {
        entry: bytes(&receipt["entry"]),
        proof: receipt["proof"].as_str().unwrap().as_bytes().to_vec(),
    };
    let holder = HolderProof {
        key: PublicKey::import(&bytes(&case["holder"]["key"])).unwrap(),
        signature: Signature::from_slice(&bytes(&case["holder"]["signature"])).unwrap(),
    };
    let artifact = at(&file["artifacts"], case, "artifact").as_str().unwrap();
    match call_of(&file["call"], &case["call"]).verify(verifier, artifact, &receipt, &holder) {
        Ok(_) => json!("verified"),
        Err(refusal) => json!({ "step": refusal.step.as_str(), "code": refusal.code }),
    }
}

#[test]
fn an_outsider_who_runs_the_vectors_gets_the_published_outcomes() {
    let file: Value = serde_json::from_str(&read()).unwrap();
    let verifier = pinned(&file["pins"]);
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let outcome = outcome(&verifier, &file, case);
        assert_eq!(outcome, case["outcome"], "{}", case["name"]);
    }
    let verified = cases
        .iter()
        .filter(|case| case["outcome"] == "verified")
        .count();
    assert!(
        verified >= 10 && cases.len() >= 150,
        "{verified} good of {} cases",
        cases.len()
    );
}
