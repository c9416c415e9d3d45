//! Proof files: one form, every step checked, nothing taken from the proof that the caller holds.

use placet_types::key::SigningKey;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::{CosignTime, Cosigner, KeyName, NoteSigner};
use crate::policy::{PolicyBuilder, Threshold};
use crate::tree::{BatchTree, Frontier};

const ORIGIN: &str = "example.com/log";

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn log() -> NoteSigner {
    NoteSigner::new(name(ORIGIN), key(200))
}

fn witness(n: u8) -> Cosigner {
    Cosigner::new(name(&format!("witness.example/{n}")), key(n))
}

fn leaf(n: u64) -> Hash {
    Hash::leaf(&n.to_be_bytes())
}

/// Leaf 11 of 21, cosigned by two witnesses.
fn proof() -> LogProof {
    let batch = BatchTree::new(&Frontier::new(), (0..21).map(leaf).collect()).unwrap();
    let checkpoint = Checkpoint::new(name(ORIGIN), 21, batch.root()).unwrap();
    let signed = (1..=2).fold(checkpoint.sign(&log()).unwrap(), |signed, n| {
        signed
            .with_cosignature(&witness(n), CosignTime::new(7).unwrap())
            .unwrap()
    });
    LogProof::new(11, batch.prove_inclusion(11).unwrap(), signed)
}

/// Both witnesses are required.
fn policy() -> Policy {
    Policy::builder()
        .log(log().verifier_key().clone(), None)
        .and_then(|b| b.witness("a", witness(1).verifier_key().clone(), None))
        .and_then(|b| b.witness("b", witness(2).verifier_key().clone(), None))
        .and_then(|b| b.group("both", Threshold::All, &["a", "b"]))
        .and_then(|b| b.quorum("both"))
        .and_then(PolicyBuilder::build)
        .unwrap()
}

#[test]
fn a_proof_verifies_and_tells_what_it_proved() {
    let verified = proof().verify(&policy(), &leaf(11)).unwrap();
    assert_eq!((verified.leaf(), verified.index()), (&leaf(11), 11));
    assert_eq!(verified.checkpoint().checkpoint().size(), 21);
    assert_eq!(verified.checkpoint().cosignatures().len(), 2);
}

#[test]
fn a_proof_file_reads_back_to_the_byte() {
    for proof in [proof(), proof().with_extra(vec![0, 255, 10]).unwrap()] {
        let text = proof.to_string();
        assert_eq!(LogProof::parse(text.as_bytes()), Ok(proof.clone()));
        assert_eq!(LogProof::parse(text.as_bytes()).unwrap().to_string(), text);
    }
    let text = proof().with_extra(b"abc".to_vec()).unwrap().to_string();
    let head = format!(
        "{PROOF_HEADER}\nextra YWJj\nindex 11\n{}\n",
        proof().path().hashes()[0]
    );
    assert!(text.starts_with(&head), "{text}");
    assert_eq!(proof().unauthenticated_extra(), None);
    assert_eq!((proof().index(), proof().path().hashes().len()), (11, 5));
}

#[test]
fn a_tree_of_one_leaf_has_an_empty_path() {
    let checkpoint = Checkpoint::new(name(ORIGIN), 1, leaf(0))
        .unwrap()
        .sign(&log())
        .unwrap();
    let proof = LogProof::new(0, InclusionProof::default(), checkpoint);
    assert_eq!(
        LogProof::parse(proof.to_string().as_bytes()),
        Ok(proof.clone())
    );
    let policy = format!("log {}\nquorum none\n", log().verifier_key());
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    assert!(proof.verify(&policy, &leaf(0)).is_ok());
    let other = proof.verify(&policy, &leaf(1)).unwrap_err();
    assert_eq!(other, ProofError::Inclusion(InclusionError::RootMismatch));
}

#[test]
fn each_failing_step_is_named() {
    let wrong_leaf = proof().verify(&policy(), &leaf(10)).unwrap_err();
    assert_eq!(
        wrong_leaf,
        ProofError::Inclusion(InclusionError::RootMismatch)
    );
    let beyond = LogProof {
        index: 21,
        ..proof()
    }
    .verify(&policy(), &leaf(11))
    .unwrap_err();
    let none = InclusionError::NoSuchLeaf {
        index: 21,
        size: 21,
    };
    assert_eq!(beyond, ProofError::Inclusion(none));
    let bare = Checkpoint::new(name(ORIGIN), 21, *proof().checkpoint().claim().root()).unwrap();
    let bare = LogProof {
        checkpoint: bare.sign(&log()).unwrap(),
        ..proof()
    };
    let refused = bare.verify(&policy(), &leaf(11)).unwrap_err();
    assert!(matches!(
        refused,
        ProofError::Policy(PolicyViolation::QuorumNotMet { .. })
    ));
}

#[test]
fn malformed_files_are_refused_for_their_reason() {
    let good = proof().to_string();
    let swap = |from: &str, to: &str| good.replacen(from, to, 1);
    let cases = [
        (String::new(), ProofSyntaxError::NoCheckpoint),
        (swap("@v1", "@v2"), ProofSyntaxError::Header),
        (format!("\n{good}"), ProofSyntaxError::Header),
        (format!("\u{feff}{good}"), ProofSyntaxError::Header),
        (swap("\nindex", "\nextra \nindex"), ProofSyntaxError::Extra),
        (
            swap("\nindex", "\nextra YWJ\nindex"),
            ProofSyntaxError::Extra,
        ),
        (
            swap("\nindex", "\nextra YWJj\nextra YWJj\nindex"),
            ProofSyntaxError::Index,
        ),
        (swap("\nindex", "\nextra\nindex"), ProofSyntaxError::Index),
        (swap("index 11", "index 011"), ProofSyntaxError::Index),
        (swap("index 11", "index +11"), ProofSyntaxError::Index),
        (swap("index 11", "index  11"), ProofSyntaxError::Index),
        (swap("index 11", "Index 11"), ProofSyntaxError::Index),
        (
            swap("index 11", "index 18446744073709551616"),
            ProofSyntaxError::Index,
        ),
        (swap("index 11\n", ""), ProofSyntaxError::Index),
        (swap("=\n", "\n"), ProofSyntaxError::Path(0)),
        (swap("=\n", "= \n"), ProofSyntaxError::Path(0)),
        (swap("\n", "\r\n"), ProofSyntaxError::Control(b'\r')),
        (swap("\n\n", "\n"), ProofSyntaxError::Path(5)),
        (
            swap("\n\n", "\n\n\n"),
            ProofSyntaxError::Checkpoint(SignedCheckpointError::Checkpoint(CheckpointError::Lines)),
        ),
    ];
    for (text, error) in cases {
        assert_eq!(LogProof::parse(text.as_bytes()), Err(error), "{text}");
    }
    assert!(matches!(
        LogProof::parse(b"\xff"),
        Err(ProofSyntaxError::Utf8(_))
    ));
}

#[test]
fn proof_files_are_bounded() {
    let line = format!("{}\n", Hash::EMPTY_ROOT);
    let long = proof()
        .to_string()
        .replacen("\n\n", &format!("\n{}\n", line.repeat(60)), 1);
    assert_eq!(
        LogProof::parse(long.as_bytes()),
        Err(ProofTooLong(65).into())
    );
    let huge = vec![b'x'; MAX_PROOF_BYTES + 1];
    assert_eq!(
        LogProof::parse(&huge),
        Err(ProofSyntaxError::TooLong(MAX_PROOF_BYTES + 1))
    );
    assert_eq!(proof().with_extra(vec![]), Err(ProofSyntaxError::Extra));
    assert_eq!(
        proof().with_extra(vec![0; MAX_EXTRA_BYTES + 1]),
        Err(ProofSyntaxError::Extra)
    );
    let largest = proof().with_extra(vec![0; MAX_EXTRA_BYTES]).unwrap();
    assert_eq!(LogProof::parse(largest.to_string().as_bytes()), Ok(largest));
}

proptest! {
    /// The policy needs both witnesses and both signed, so no byte may change at all, but for the
    /// extra data, which nothing authenticates.
    #[test]
    fn any_changed_byte_is_refused(at in any::<usize>(), to in any::<u8>()) {
        let mut bytes = proof().to_string().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let verified = LogProof::parse(&bytes).ok().map(|p| p.verify(&policy(), &leaf(11)).is_ok());
        prop_assert_ne!(verified, Some(true));
    }
}
