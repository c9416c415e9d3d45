//! Receipts that do not prove the artifact they come with.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a broken fixture should stop the test"
)]

use placet_artifact::Receipt;
use placet_artifact::receipt::STATEMENT_MEDIA_TYPE;
use placet_tlog::{Checkpoint, CosignTime, KeyName, NoteSigner};

use super::super::{
    ATTACKER_SEED, DOMAIN, LOG_SEED, NBF, RECORD_SEED, Record, envelope, issued, key, log,
    log_signer, receipt_for, receipts_under, witness,
};
use super::{Case, of_receipt};

pub(super) fn receipts() -> Vec<Case> {
    let artifact = issued();
    let good = receipt_for(&artifact);
    let text = String::from_utf8(good.proof.clone()).unwrap();
    let with_entry = |entry: Vec<u8>| Receipt {
        entry,
        ..good.clone()
    };
    let with_proof = |proof: String| Receipt {
        proof: proof.into_bytes(),
        ..good.clone()
    };
    let recorded = |change: fn(&mut Record)| {
        let mut record = Record::of(&issued());
        change(&mut record);
        log(vec![record.entry()]).remove(0)
    };
    let logged = |entry: Vec<u8>| log(vec![entry]).remove(0);
    let statement = Record::of(&artifact).statement();
    let spaced = [statement.as_slice(), b" "].concat();
    let twice = String::from_utf8(statement.clone()).unwrap();
    let twice = twice.replacen("{\"artifact\"", "{\"artifact\":\"\",\"artifact\"", 1);
    let other = receipt_for("another artifact");
    vec![
        of_receipt("of another artifact", other.clone()),
        of_receipt(
            "entry of one, proof of another",
            Receipt {
                entry: other.entry,
                ..good.clone()
            },
        ),
        of_receipt(
            "an altered entry",
            with_entry([good.entry.as_slice(), b" "].concat()),
        ),
        of_receipt("no entry", with_entry(Vec::new())),
        of_receipt(
            "an altered index",
            with_proof(text.replacen("index 0", "index 1", 1)),
        ),
        of_receipt(
            "an index beyond the tree",
            with_proof(text.replacen("index 0", "index 9", 1)),
        ),
        of_receipt("no proof", with_proof(String::new())),
        of_receipt(
            "a path that is too short",
            with_proof(without_line(&text, 2)),
        ),
        of_receipt(
            "an altered root",
            with_proof(text.replacen("\n6\n", "\n7\n", 1)),
        ),
        of_receipt("a checkpoint without a witness", unwitnessed(&artifact)),
        of_receipt(
            "a checkpoint signed by another key",
            signed_as(&artifact, DOMAIN, ATTACKER_SEED),
        ),
        of_receipt(
            "a checkpoint of another log",
            signed_as(&artifact, "placet.example/o", LOG_SEED),
        ),
        of_receipt("a denial", recorded(|it| it.outcome = "deny".into())),
        of_receipt("a deferral", recorded(|it| it.outcome = "defer".into())),
        of_receipt(
            "a record of another kind",
            recorded(|it| {
                it.predicate_type = "urn:placet:evidence:started:v1".into();
            }),
        ),
        of_receipt(
            "another kind of statement",
            recorded(|it| {
                it.statement_type = "https://in-toto.io/Statement/v0.1".into();
            }),
        ),
        of_receipt(
            "a digest without its prefix",
            recorded(|it| {
                it.artifact = it.artifact.trim_start_matches("sha256:").into();
            }),
        ),
        of_receipt(
            "another payload type",
            logged(envelope("text/plain", statement.clone(), RECORD_SEED)),
        ),
        of_receipt("a bare statement", logged(statement)),
        of_receipt(
            "a statement out of form",
            logged(envelope(STATEMENT_MEDIA_TYPE, spaced, RECORD_SEED)),
        ),
        of_receipt(
            "a repeated member",
            logged(envelope(STATEMENT_MEDIA_TYPE, twice.into(), RECORD_SEED)),
        ),
    ]
}

fn without_line(text: &str, line: usize) -> String {
    let kept = text.lines().enumerate().filter(|(at, _)| *at != line);
    kept.map(|(_, text)| format!("{text}\n")).collect()
}

fn unwitnessed(artifact: &str) -> Receipt {
    let entries = vec![Record::of(artifact).entry()];
    receipts_under(entries, &|checkpoint| {
        checkpoint.sign(&log_signer()).unwrap()
    })
    .remove(0)
}

/// The same tree under a checkpoint that someone else signed, cosigned all the same.
fn signed_as(artifact: &str, origin: &str, seed: u8) -> Receipt {
    let entries = vec![Record::of(artifact).entry()];
    let name = KeyName::parse(origin).unwrap();
    let signer = NoteSigner::new(name.clone(), key(seed));
    let sign = |checkpoint: Checkpoint| {
        let checkpoint =
            Checkpoint::new(name.clone(), checkpoint.size(), *checkpoint.root()).unwrap();
        let signed = checkpoint.sign(&signer).unwrap();
        signed
            .with_cosignature(&witness(), CosignTime::new(NBF).unwrap())
            .unwrap()
    };
    receipts_under(entries, &sign).remove(0)
}
