//! Makes the vectors. Each case states by hand whether it is valid; the rest of the outcome is
//! what the crate says, so a change of any outcome shows as a change of the committed file.
//!
//! Here: the file, its sections, and the keys and trees that the cases share.

mod signed;
mod tree;
mod trust;

use placet_tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use placet_tlog::hash::Hash;
use placet_tlog::note::{CosignTime, Cosigner, KeyName, NoteSigner};
use placet_tlog::tree::{BatchTree, Frontier};
use placet_types::key::SigningKey;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::run::{outcome_json, run};

const ORIGIN: &str = "log.example/placet";

const GOOD: bool = true;

const BAD: bool = false;

/// One section of the file.
struct Section {
    name: &'static str,
    cases: Vec<Value>,
}

impl Section {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            cases: Vec::new(),
        }
    }

    fn case(&mut self, name: &str, valid: bool, input: Value) {
        let outcome = outcome_json(&run(self.name, &input));
        assert_eq!(outcome["valid"], valid, "{}: {name}: {outcome}", self.name);
        let mut case = json!({ "name": name, "outcome": outcome });
        case["input"] = input;
        self.cases.push(case);
    }
}

/// The whole file.
pub(crate) fn file() -> Value {
    let sections = [
        tree::leaves(),
        tree::inclusion(),
        tree::consistency(),
        tree::paths(),
        tree::hash_tiles(),
        tree::entry_bundles(),
        signed::vkeys(),
        signed::notes(),
        signed::checkpoints(),
        signed::cosignatures(),
        trust::policy_files(),
        trust::quorums(),
        trust::proofs(),
    ];
    let count: usize = sections.iter().map(|section| section.cases.len()).sum();
    let sections: Map<String, Value> = sections
        .into_iter()
        .map(|s| (s.name.to_owned(), Value::Array(s.cases)))
        .collect();
    json!({
        "about": "Vectors for spec/log.md. Run each input of a section; `valid` must match, and \
                  `gives` where it is. `error` is this implementation's wording: do not compare it. \
                  Hashes are standard base64, other bytes lower-case hex, large numbers decimal \
                  texts. Keys are made from public seeds: never use them.",
        "count": count,
        "sections": sections,
    })
}

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

/// Seeds are one byte repeated.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn log() -> NoteSigner {
    NoteSigner::new(name(ORIGIN), key(1))
}

fn witness(n: u8) -> Cosigner {
    Cosigner::new(name(&format!("witness{n}.example")), key(10 + n))
}

fn time(n: u8) -> CosignTime {
    CosignTime::new(1_795_230_300 + u64::from(n)).unwrap()
}

fn entry(n: u64) -> Vec<u8> {
    format!("entry {n}").into_bytes()
}

fn batch(size: u64) -> BatchTree {
    let leaves = (0..size).map(|n| Hash::leaf(&entry(n))).collect();
    BatchTree::new(&Frontier::new(), leaves).unwrap()
}

fn flip(hash: &Hash) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[31] ^= 1;
    Hash::new(bytes)
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::new(name(ORIGIN), size, batch(size).root()).unwrap()
}

fn cosigned(checkpoint: Checkpoint, by: &[u8]) -> SignedCheckpoint {
    let signed = checkpoint.sign(&log()).unwrap();
    by.iter().fold(signed, |signed, n| {
        signed.with_cosignature(&witness(*n), time(*n)).unwrap()
    })
}

/// The decoded blob of a signature line, to alter it.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn decode(blob: &str) -> Self {
        use base64::Engine as _;
        Self(
            base64::engine::general_purpose::STANDARD
                .decode(blob)
                .unwrap(),
        )
    }

    fn encode(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&self.0)
    }

    fn set(&self, at: usize, to: u8) -> Self {
        let mut bytes = self.0.clone();
        bytes[at] = to;
        Self(bytes)
    }

    fn zero(&self, range: std::ops::Range<usize>) -> Self {
        range.fold(self.clone(), |bytes, at| bytes.set(at, 0))
    }

    fn cut(&self, len: usize) -> Self {
        Self(self.0[..len].to_vec())
    }
}
