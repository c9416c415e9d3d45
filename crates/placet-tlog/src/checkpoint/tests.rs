//! Checkpoints: one form, the log's own signature, and nothing believed by halves.

use placet_types::key::SigningKey;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::note::NoteKeyId;

const ORIGIN: &str = "example.com/log";

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn log() -> NoteSigner {
    NoteSigner::new(name(ORIGIN), key(1))
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(name(ORIGIN), 42, Hash::leaf(b"root")).unwrap()
}

#[test]
fn a_body_has_one_form() {
    let body = checkpoint().body();
    assert_eq!(body, format!("{ORIGIN}\n42\n{}\n", Hash::leaf(b"root")));
    assert_eq!(Checkpoint::parse_body(&body), Ok(checkpoint()));
    let empty = Checkpoint::new(name(ORIGIN), 0, Hash::EMPTY_ROOT).unwrap();
    assert_eq!(Checkpoint::parse_body(&empty.body()), Ok(empty));
}

#[test]
fn every_other_body_is_refused_for_its_reason() {
    let good = checkpoint().body();
    let size = |text: &str| good.replace("\n42\n", &format!("\n{text}\n"));
    let cases = [
        (String::new(), CheckpointError::Lines),
        (good.trim_end().to_owned(), CheckpointError::Lines),
        (format!("{good}extension\n"), CheckpointError::Lines),
        (format!("{good}\n"), CheckpointError::Lines),
        (format!("{ORIGIN}\n42\n"), CheckpointError::Lines),
        (
            good.replace(ORIGIN, ""),
            CheckpointError::Origin(KeyNameError::Empty),
        ),
        (
            good.replace(ORIGIN, "a b"),
            CheckpointError::Origin(KeyNameError::Character(' ')),
        ),
        (size("042"), CheckpointError::Size),
        (size("+42"), CheckpointError::Size),
        (size("-42"), CheckpointError::Size),
        (size("4 2"), CheckpointError::Size),
        (size(""), CheckpointError::Size),
        (size("0x2a"), CheckpointError::Size),
        (size("9223372036854775808"), CheckpointError::Size),
        (size("18446744073709551616"), CheckpointError::Size),
        (size("0"), CheckpointError::EmptyRoot),
        (good.replace("=\n", "\n"), CheckpointError::Root),
        (good.replace("=\n", "= \n"), CheckpointError::Root),
    ];
    for (body, error) in cases {
        assert_eq!(Checkpoint::parse_body(&body), Err(error), "{body:?}");
    }
    assert!(Checkpoint::parse_body(&size("9223372036854775807")).is_ok());
    let over = Checkpoint::new(name(ORIGIN), MAX_SIZE + 1, Hash::leaf(b"root"));
    assert_eq!(over, Err(CheckpointError::Size));
}

#[test]
fn only_the_logs_own_key_under_its_origin_opens_a_checkpoint() {
    let signed = checkpoint().sign(&log()).unwrap();
    let opened = signed.open(&[log().verifier_key()]).unwrap();
    assert_eq!(opened.checkpoint(), &checkpoint());
    assert_eq!(
        (opened.log_key(), opened.signed()),
        (log().verifier_key(), &signed)
    );
    let text = signed.to_string();
    assert_eq!(SignedCheckpoint::parse(text.as_bytes()), Ok(signed.clone()));
    let stranger = NoteSigner::new(name(ORIGIN), key(2));
    let unknown = signed.open(&[stranger.verifier_key()]).unwrap_err();
    assert_eq!(unknown, OpenError::Note(VerifyError::NoKnownKey));
}

#[test]
fn a_log_signs_no_other_logs_checkpoint() {
    let other = NoteSigner::new(name("example.com/other"), key(2));
    let refused = checkpoint().sign(&other).unwrap_err();
    let (origin, signer) = (name(ORIGIN), name("example.com/other"));
    assert_eq!(
        refused,
        SignedCheckpointError::SignerName { origin, signer }
    );
    // A note that another known log signed is valid as a note, but not as this log's checkpoint.
    let note = Note::sign(&checkpoint().body(), &other).unwrap();
    let foreign = SignedCheckpoint::parse(note.to_string().as_bytes()).unwrap();
    let keys = [log(), other];
    let keys: Vec<&VerifierKey> = keys.iter().map(NoteSigner::verifier_key).collect();
    assert_eq!(
        foreign.open(&keys).unwrap_err(),
        OpenError::NotSignedByLog(name(ORIGIN))
    );
}

#[test]
fn a_cosignature_is_not_the_logs_signature_even_under_its_name() {
    let cosigner = Cosigner::new(name(ORIGIN), key(1));
    let time = CosignTime::new(7).unwrap();
    let line = cosigner.cosign(&checkpoint(), time);
    let text = format!("{}\n{line}\n", checkpoint().body());
    let signed = SignedCheckpoint::parse(text.as_bytes()).unwrap();
    let refused = signed.open(&[cosigner.verifier_key()]).unwrap_err();
    assert_eq!(refused, OpenError::NotSignedByLog(name(ORIGIN)));
}

#[test]
fn a_failing_known_cosigner_refuses_the_checkpoint_and_an_unknown_one_does_not() {
    let witness = Cosigner::new(name("w"), key(3));
    let time = CosignTime::new(7).unwrap();
    let good = checkpoint()
        .sign(&log())
        .unwrap()
        .with_cosignature(&witness, time)
        .unwrap();
    let known = [log().verifier_key().clone(), witness.verifier_key().clone()];
    let known: Vec<&VerifierKey> = known.iter().collect();
    assert!(good.open(&known).is_ok());
    let other = Checkpoint::new(name(ORIGIN), 43, Hash::leaf(b"root")).unwrap();
    let line = witness.cosign(&other, time);
    let bad = checkpoint()
        .sign(&log())
        .unwrap()
        .with_signature(line)
        .unwrap();
    let failed = VerifyError::BadSignature(name("w"), witness.verifier_key().id());
    assert_eq!(bad.open(&known).unwrap_err(), OpenError::Note(failed));
    assert!(bad.open(&known[..1]).is_ok());
}

#[test]
fn a_note_that_is_no_checkpoint_does_not_parse_as_one() {
    let note = Note::sign("just text\n", &log()).unwrap();
    let refused = SignedCheckpoint::parse(note.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        refused,
        SignedCheckpointError::Checkpoint(CheckpointError::Lines)
    );
    let refused = SignedCheckpoint::parse(b"").unwrap_err();
    assert_eq!(refused, SignedCheckpointError::Note(NoteError::NoBlankLine));
}

proptest! {
    /// Flips in the witness's key id or name make its line unknown: it is ignored and must not
    /// count, so `open` with both keys may succeed but never with the witness among the signers.
    #[test]
    fn any_changed_byte_is_refused_or_costs_the_cosignature(at in any::<usize>(), bit in 0_u32..8) {
        let witness = Cosigner::new(name("w"), key(3));
        let signed = checkpoint().sign(&log()).unwrap();
        let signed = signed.with_cosignature(&witness, CosignTime::new(7).unwrap()).unwrap();
        let mut bytes = signed.to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let log = log();
        let keys = [log.verifier_key(), witness.verifier_key()];
        let parsed = SignedCheckpoint::parse(&bytes).ok();
        if let Some(Ok((opened, signatures))) = parsed.map(|p| p.open_with(&keys)) {
            prop_assert_eq!(opened.checkpoint(), &checkpoint());
            prop_assert_eq!(signatures.len(), 1);
            prop_assert_eq!(signatures[0].key(), log.verifier_key());
            let altered = &opened.signed().note().signatures()[1];
            let still = altered.name().as_str() == "w"
                && altered.key_id() == NoteKeyId::new(*witness.verifier_key().id().as_bytes());
            prop_assert!(!still);
        }
    }
}
