//! Notes: the published example, the rules for keys, and every way in which a note is malformed.

use placet_types::key::{KeyError, SigningKey};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::hash::Hash;

/// The example of C2SP signed-note.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn signer(of: &str, seed: u8) -> NoteSigner {
    NoteSigner::new(name(of), key(seed))
}

fn verified<'k>(note: &Note, keys: &[&'k VerifierKey]) -> Vec<&'k VerifierKey> {
    note.verify(keys)
        .unwrap()
        .iter()
        .map(VerifiedSignature::key)
        .collect()
}

#[test]
fn the_published_example_verifies() {
    let key = VerifierKey::parse(VKEY).unwrap();
    assert_eq!(key.to_string(), VKEY);
    assert_eq!(key.kind(), SignatureKind::Ed25519);
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(verified(&note, &[&key]), [&key]);
    assert_eq!(note.to_string(), NOTE);
}

#[test]
fn the_published_examples_of_checkpoints_and_cosignatures_are_notes() {
    // Their keys are not published with them: they show the form of each line.
    let note = Note::parse(
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
            .as_bytes(),
    )
    .unwrap();
    let lengths: Vec<usize> = note
        .signatures()
        .iter()
        .map(|l| l.signature().len())
        .collect();
    assert_eq!(lengths, [64, 72]);
    let time = note.signatures()[1].signature().first_chunk::<8>().unwrap();
    assert_eq!(u64::from_be_bytes(*time), 1_679_315_147);
    assert_eq!(
        Checkpoint::parse_body(note.text()).unwrap().size(),
        20_852_163
    );
    let quasimodo = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
        — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let note = Note::parse(quasimodo.as_bytes()).unwrap();
    assert!(note.text().ends_with(":\n\ned è subito sera.\n"));
    assert_eq!(note.to_string(), quasimodo);
}

#[test]
fn malformed_verifier_keys_are_refused_for_their_reason() {
    let id_of_other = NoteKeyId::new([0x53, 0x0d, 0x90, 0x3b]);
    let id = NoteKeyId::new([0x53, 0x0d, 0x90, 0x3a]);
    let cases = [
        ("example.com/foo", VkeyError::Shape),
        ("example.com/foo+530d903a", VkeyError::Shape),
        (
            &VKEY.replace("example.com/foo", ""),
            VkeyError::Name(KeyNameError::Empty),
        ),
        (
            &VKEY.replace('/', " "),
            VkeyError::Name(KeyNameError::Character(' ')),
        ),
        (&VKEY.replace("530d903a", "530D903A"), VkeyError::KeyId),
        (&VKEY.replace("530d903a", "30d903a"), VkeyError::KeyId),
        (&VKEY.replace("530d903a", "530d903a00"), VkeyError::KeyId),
        (&VKEY.replace("AekyeRrm", "AekyeRrm+"), VkeyError::Encoding),
        ("example.com/foo+530d903a+", VkeyError::Encoding),
        (
            &VKEY.replace("+Aeky", "+Beky"),
            VkeyError::UnsupportedType(0x05),
        ),
        (
            &VKEY.replace("+Aeky", "+Beky").replace("Beky", "Buky"),
            VkeyError::UnsupportedType(0x06),
        ),
        (&VKEY.replace("U2k", "U2"), VkeyError::Encoding),
        (&format!("{VKEY}AAAA"), VkeyError::Key(KeyError::Encoding)),
        (
            &VKEY.replace("530d903a", "530d903b"),
            VkeyError::IdMismatch {
                stated: id_of_other,
                computed: id,
            },
        ),
    ];
    for (text, error) in cases {
        assert_eq!(VerifierKey::parse(text), Err(error), "{text}");
    }
    let small_order = format!("example.com/foo+00000000+AQ{}", "A".repeat(42));
    let weak = VerifierKey::parse(&small_order).unwrap_err();
    assert!(matches!(weak, VkeyError::Key(KeyError::Weak)), "{weak:?}");
}

#[test]
fn one_key_has_another_id_for_each_name_and_kind() {
    let public = key(1).public();
    let made: Vec<NoteKeyId> = [
        VerifierKey::new(name("a"), SignatureKind::Ed25519, public),
        VerifierKey::new(name("a"), SignatureKind::CosignatureV1, public),
        VerifierKey::new(name("b"), SignatureKind::Ed25519, public),
    ]
    .iter()
    .map(|key| VerifierKey::parse(&key.to_string()).unwrap().id())
    .collect();
    assert!(made[0] != made[1] && made[0] != made[2] && made[1] != made[2]);
}

#[test]
fn names_with_spaces_plus_signs_or_controls_are_refused() {
    for (text, bad) in [
        ("a b", ' '),
        ("a+b", '+'),
        ("a\u{a0}b", '\u{a0}'),
        ("a\tb", '\t'),
    ] {
        assert_eq!(KeyName::parse(text), Err(KeyNameError::Character(bad)));
    }
    for bad in ['\u{85}', '\u{2003}', '\u{3000}', '\u{7f}', '\0'] {
        assert_eq!(
            KeyName::parse(&format!("a{bad}")),
            Err(KeyNameError::Character(bad))
        );
    }
    assert_eq!(
        KeyName::parse(&"é".repeat(128)),
        Err(KeyNameError::TooLong(256))
    );
    assert_eq!(name("grüße.example/log").as_str(), "grüße.example/log");
}

#[test]
fn malformed_notes_are_refused_for_their_reason() {
    let line = |error| NoteError::Line { at: 0, error };
    let bad = vec![0xff];
    let utf8 = std::str::from_utf8(&bad).unwrap_err();
    let cases: [(&[u8], NoteError); 14] = [
        (b"", NoteError::NoBlankLine),
        (b"text\n", NoteError::NoBlankLine),
        (b"text\n\n", NoteError::NoSignatures),
        (b"text\n\nline", NoteError::NoSignatures),
        (&bad, NoteError::Utf8(utf8)),
        (b"te\txt\n\n", NoteError::Control(b'\t')),
        (b"text\r\n\r\n", NoteError::Control(b'\r')),
        (b"text\n\n\n", NoteError::NoSignatures),
        (b"text\n\n- a AAAAAAA=\n", line(SignatureLineError::Shape)),
        (
            "text\n\n— AAAAAAA=\n".as_bytes(),
            line(SignatureLineError::Shape),
        ),
        (
            "text\n\n—  AAAAAAA=\n".as_bytes(),
            line(SignatureLineError::Name(KeyNameError::Empty)),
        ),
        (
            "text\n\n— a AAAAAAA\n".as_bytes(),
            line(SignatureLineError::Encoding),
        ),
        (
            "text\n\n— a AAAAAAB=\n".as_bytes(),
            line(SignatureLineError::Encoding),
        ),
        (
            "text\n\n— a AAAAAA==\n".as_bytes(),
            line(SignatureLineError::Empty),
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(
            Note::parse(bytes),
            Err(error),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    let trailing_space = "text\n\n— a AAAAAAA= \n";
    assert_eq!(
        Note::parse(trailing_space.as_bytes()),
        Err(line(SignatureLineError::Encoding))
    );
}

#[test]
fn the_last_blank_line_splits_even_behind_empty_lines() {
    for text in [
        "a\n",
        "a\n\n",
        "a\n\n\n",
        "\n",
        "\n\n",
        "a\n\n— b AAAAAAA=\n",
    ] {
        let signer = signer("example.com/log", 1);
        let note = Note::sign(text, &signer).unwrap();
        assert_eq!(
            Note::parse(note.to_string().as_bytes()),
            Ok(note.clone()),
            "{text:?}"
        );
        assert_eq!(note.text(), text);
        assert_eq!(verified(&note, &[signer.verifier_key()]).len(), 1);
    }
    let signer = signer("example.com/log", 1);
    assert_eq!(Note::sign("no newline", &signer), Err(NoteError::TextEnd));
    assert_eq!(Note::sign("", &signer), Err(NoteError::TextEnd));
    assert_eq!(
        Note::sign("bell\x07\n", &signer),
        Err(NoteError::Control(7))
    );
}

#[test]
fn unknown_keys_are_ignored_and_a_failing_known_key_refuses_the_note() {
    let (a, b) = (signer("a", 1), signer("b", 2));
    let note = Note::sign("text\n", &a)
        .unwrap()
        .with_signature(b.sign_text("text\n"))
        .unwrap();
    let (ka, kb) = (a.verifier_key(), b.verifier_key());
    assert_eq!(verified(&note, &[ka, kb]), [ka, kb]);
    assert_eq!(verified(&note, &[kb]), [kb]);
    // The right name over another key, and the right key under another name, are unknown.
    let (other_key, other_name) = (signer("a", 3), signer("c", 1));
    let unknown = [other_key.verifier_key(), other_name.verifier_key()];
    assert_eq!(note.verify(&unknown).unwrap_err(), VerifyError::NoKnownKey);
    assert_eq!(note.verify(&[]).unwrap_err(), VerifyError::NoKnownKey);
    let wrong = Note::sign("text\n", &a)
        .unwrap()
        .with_signature(b.sign_text("other\n"))
        .unwrap();
    assert_eq!(verified(&wrong, &[ka]), [ka]);
    let refused = VerifyError::BadSignature(kb.name().clone(), kb.id());
    assert_eq!(wrong.verify(&[ka, kb]).unwrap_err(), refused);
    let ambiguous = VerifyError::AmbiguousKey(ka.name().clone(), ka.id());
    assert_eq!(note.verify(&[ka, kb, ka]).unwrap_err(), ambiguous);
}

#[test]
fn a_second_line_of_a_key_must_verify_too_and_counts_once() {
    let a = signer("a", 1);
    let key = a.verifier_key();
    let good = Note::sign("text\n", &a).unwrap();
    assert_eq!(
        good.clone().with_signature(a.sign_text("text\n")),
        Ok(good.clone())
    );
    let repeated = format!("{good}{}\n", a.sign_text("text\n"));
    let note = Note::parse(repeated.as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(verified(&note, &[key]), [key]);
    let note = good.with_signature(a.sign_text("other\n")).unwrap();
    let refused = VerifyError::BadSignature(key.name().clone(), key.id());
    assert_eq!(note.verify(&[key]).unwrap_err(), refused);
}

#[test]
fn lines_of_unsupported_types_are_carried_unchanged() {
    let a = signer("a", 1);
    let ml_dsa =
        SignatureLine::new(name("pq"), NoteKeyId::new([1, 2, 3, 4]), vec![9; 2428]).unwrap();
    let note = Note::sign("text\n", &a)
        .unwrap()
        .with_signature(ml_dsa.clone())
        .unwrap();
    let again = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(again.signatures()[1], ml_dsa);
    assert_eq!(verified(&again, &[a.verifier_key()]).len(), 1);
    assert_eq!(
        SignatureLine::new(name("pq"), NoteKeyId::new([0; 4]), vec![]),
        None
    );
}

#[test]
fn signatures_and_size_are_bounded_but_sixteen_large_ones_fit() {
    let a = signer("a", 1);
    let line = |n: u32, len| {
        SignatureLine::new(name("w"), NoteKeyId::new(n.to_be_bytes()), vec![0; len]).unwrap()
    };
    let add = |note: Note, n, len| note.with_signature(line(n, len));
    let mut note = Note::sign("text\n", &a).unwrap();
    for n in 0..16 {
        note = add(note, n, 5000).unwrap();
    }
    assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    let mut note = Note::sign("text\n", &a).unwrap();
    for n in 1..128 {
        note = add(note, n, 72).unwrap();
    }
    let text = format!("{note}{}\n", line(200, 72));
    assert_eq!(
        Note::parse(text.as_bytes()),
        Err(NoteError::TooManySignatures)
    );
    assert_eq!(add(note, 200, 72), Err(NoteError::TooManySignatures));
    let large = Note::sign(&format!("{}\n", "x".repeat(MAX_NOTE_BYTES)), &a);
    assert_eq!(large, Err(NoteError::TooLong(MAX_NOTE_BYTES + 1)));
    let huge = vec![b'x'; MAX_NOTE_BYTES + 1];
    assert_eq!(
        Note::parse(&huge),
        Err(NoteError::TooLong(MAX_NOTE_BYTES + 1))
    );
    let near = Note::sign(&format!("{}\n", "x".repeat(MAX_NOTE_BYTES - 10)), &a).unwrap_err();
    assert!(matches!(near, NoteError::TooLong(_)));
}

#[test]
fn a_cosignature_covers_its_time_and_the_whole_body() {
    let witness = Cosigner::new(name("w"), key(5));
    let checkpoint = Checkpoint::new(name("log"), 7, Hash::leaf(b"root")).unwrap();
    let time = CosignTime::new(1_679_315_147).unwrap();
    let line = witness.cosign(&checkpoint, time);
    let known = witness.verifier_key();
    assert_eq!(line.signature().len(), 72);
    assert_eq!(known.verify(&checkpoint.body(), &line), Ok(Some(time)));
    let other = Checkpoint::new(name("log"), 8, Hash::leaf(b"root")).unwrap();
    assert_eq!(
        known.verify(&other.body(), &line),
        Err(SignatureMismatch::Signature)
    );
    let relabel =
        |signature: Vec<u8>| SignatureLine::new(name("w"), known.id(), signature).unwrap();
    let stamped = |secs: u64| {
        let mut bytes = line.signature().to_vec();
        bytes[..8].copy_from_slice(&secs.to_be_bytes());
        known.verify(&checkpoint.body(), &relabel(bytes))
    };
    assert_eq!(stamped(1_679_315_148), Err(SignatureMismatch::Signature));
    assert_eq!(stamped(0), Err(SignatureMismatch::Time));
    assert_eq!(stamped(1 << 63), Err(SignatureMismatch::Time));
    let cut = |len| {
        known.verify(
            &checkpoint.body(),
            &relabel(line.signature()[..len].to_vec()),
        )
    };
    assert_eq!(
        (cut(71), cut(7)),
        (
            Err(SignatureMismatch::Length),
            Err(SignatureMismatch::Length)
        )
    );
    let elsewhere = VerifierKey::new(name("v"), SignatureKind::CosignatureV1, key(5).public());
    assert_eq!(
        elsewhere.verify(&checkpoint.body(), &line),
        Err(SignatureMismatch::OtherKey)
    );
    assert_eq!((CosignTime::new(0), CosignTime::new(1 << 63)), (None, None));
    assert_eq!(
        CosignTime::new(u64::MAX >> 1).map(CosignTime::as_unix_secs),
        Some(u64::MAX >> 1)
    );
}

#[test]
fn a_signature_of_one_kind_is_none_of_the_other() {
    let checkpoint = Checkpoint::new(name("log"), 7, Hash::leaf(b"root")).unwrap();
    let cosigner = Cosigner::new(name("w"), key(5));
    let line = cosigner.cosign(&checkpoint, CosignTime::new(1).unwrap());
    let plain = VerifierKey::new(name("w"), SignatureKind::Ed25519, key(5).public());
    let as_plain =
        SignatureLine::new(name("w"), plain.id(), line.signature()[8..].to_vec()).unwrap();
    let verdict = plain.verify(&checkpoint.body(), &as_plain);
    assert_eq!(verdict, Err(SignatureMismatch::Signature));
}

proptest! {
    #[test]
    fn what_parses_is_written_the_same(text in "(.|\n){0,60}\n\n— [a-z]{1,4} [A-Za-z0-9+/]{7}=\n") {
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text);
        }
    }

    #[test]
    fn any_changed_byte_of_a_note_is_refused(at in 0..NOTE.len(), to in any::<u8>()) {
        let key = VerifierKey::parse(VKEY).unwrap();
        let mut bytes = NOTE.as_bytes().to_vec();
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let opened = Note::parse(&bytes).ok().and_then(|note| note.verify(&[&key]).is_ok().then_some(()));
        prop_assert_eq!(opened, None);
    }
}
