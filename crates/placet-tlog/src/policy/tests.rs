//! Policies: the grammar, the rules of a definition, and what counts as a quorum.

use placet_types::key::SigningKey;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::checkpoint::{Checkpoint, OpenError, SignedCheckpoint};
use crate::hash::Hash;
use crate::note::{
    CosignTime, Cosigner, KeyName, NoteSigner, SignatureKind, SignatureLine, VerifyError, VkeyError,
};

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

fn time(secs: u64) -> CosignTime {
    CosignTime::new(secs).unwrap()
}

fn log_key() -> VerifierKey {
    log().verifier_key().clone()
}

fn witness_key(n: u8) -> VerifierKey {
    witness(n).verifier_key().clone()
}

/// The checkpoint of the tests, cosigned by these witnesses.
fn cosigned(by: &[u8]) -> SignedCheckpoint {
    let checkpoint = Checkpoint::new(name(ORIGIN), 9, Hash::leaf(b"root")).unwrap();
    let signed = checkpoint.sign(&log()).unwrap();
    by.iter().fold(signed, |signed, n| {
        signed
            .with_cosignature(&witness(*n), time(1000 + u64::from(*n)))
            .unwrap()
    })
}

/// The specification's example: two of X1 X2 X3, and any of Y1 Y2 Y3.
fn example() -> Policy {
    let mut file = format!("# two organizations\n\nlog {}\n", log_key());
    for (n, label) in (1..).zip(["X1", "X2", "X3", "Y1", "Y2", "Y3"]) {
        file.push_str(&format!(
            "\t witness\t{label}  {} https://{label}.example/\n",
            witness_key(n)
        ));
    }
    file.push_str("group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n");
    file.push_str("group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n");
    Policy::parse(file.as_bytes()).unwrap()
}

fn names(names: &[&str]) -> Vec<PolicyName> {
    names
        .iter()
        .map(|name| PolicyName::parse(name).unwrap())
        .collect()
}

#[test]
fn the_example_of_the_specification_counts_as_it_says() {
    let policy = example();
    let met = [[1, 2, 4].as_slice(), &[2, 3, 6], &[1, 2, 3, 4, 5, 6]];
    for by in met {
        let quorum = policy.evaluate(&cosigned(by)).unwrap();
        assert_eq!(quorum.cosignatures().len(), by.len());
        assert_eq!(quorum.checkpoint().size(), 9);
        assert_eq!(quorum.opened().log_key(), &log_key());
    }
    for by in [[].as_slice(), &[1], &[1, 2], &[4, 5, 6], &[1, 4, 5, 6]] {
        let refused = policy.evaluate(&cosigned(by)).unwrap_err();
        let labels = ["X1", "X2", "X3", "Y1", "Y2", "Y3"];
        let labels: Vec<&str> = by.iter().map(|n| labels[usize::from(*n) - 1]).collect();
        let [quorum] = names(&["X-and-Y"]).try_into().unwrap();
        assert_eq!(
            refused,
            PolicyViolation::QuorumNotMet {
                quorum,
                cosigned: names(&labels)
            }
        );
    }
}

#[test]
fn a_quorum_tells_who_cosigned_and_when() {
    let quorum = example().evaluate(&cosigned(&[4, 2, 1])).unwrap();
    let told: Vec<(&str, u64)> = quorum
        .cosignatures()
        .iter()
        .map(|c| (c.witness().as_str(), c.time().as_unix_secs()))
        .collect();
    assert_eq!(told, [("X1", 1001), ("X2", 1002), ("Y1", 1004)]);
}

#[test]
fn the_same_witness_twice_is_one_witness() {
    let policy = Policy::builder()
        .log(log_key(), None)
        .and_then(|b| b.witness("a", witness_key(1), None))
        .and_then(|b| b.witness("b", witness_key(2), None))
        .and_then(|b| b.group("both", Threshold::AtLeast(2), &["a", "b"]))
        .and_then(|b| b.quorum("both"))
        .and_then(PolicyBuilder::build)
        .unwrap();
    let twice = cosigned(&[1])
        .with_cosignature(&witness(1), time(5))
        .unwrap();
    assert_eq!(twice.note().signatures().len(), 3);
    assert!(matches!(
        policy.evaluate(&twice),
        Err(PolicyViolation::QuorumNotMet { .. })
    ));
    assert!(policy.evaluate(&cosigned(&[1, 2])).is_ok());
}

#[test]
fn a_cosignature_under_another_name_does_not_count() {
    let policy = example();
    let same_key = Cosigner::new(name("witness.example/other"), key(2));
    let renamed = cosigned(&[1, 4])
        .with_cosignature(&same_key, time(5))
        .unwrap();
    assert!(matches!(
        policy.evaluate(&renamed),
        Err(PolicyViolation::QuorumNotMet { .. })
    ));
}

#[test]
fn a_failing_known_witness_refuses_even_a_met_quorum() {
    let other = Checkpoint::new(name(ORIGIN), 10, Hash::leaf(b"root")).unwrap();
    let line = witness(3).cosign(&other, time(5));
    let signed = cosigned(&[1, 2, 4]).with_signature(line).unwrap();
    let id = witness_key(3).id();
    let failed = VerifyError::BadSignature(name("witness.example/3"), id);
    let refused = PolicyViolation::Checkpoint(OpenError::Note(failed));
    assert_eq!(example().evaluate(&signed), Err(refused));
}

#[test]
fn an_altered_cosignature_line_is_ignored_and_never_counts() {
    let signed = cosigned(&[1, 2, 4]);
    let line = signed.note().signatures()[2].to_string();
    // One character of the key id: the line is now of an unknown key, which a note may carry.
    let (name, blob) = line.rsplit_once(' ').unwrap();
    let rest = blob.strip_prefix(|_: char| true).unwrap();
    let other = if blob.starts_with('A') { 'B' } else { 'A' };
    let altered = format!("{name} {other}{rest}");
    assert!(SignatureLine::parse(&altered).is_ok());
    let text = signed.to_string().replace(&line, &altered);
    let note = SignedCheckpoint::parse(text.as_bytes()).unwrap();
    let keys: Vec<VerifierKey> = example().keys().cloned().collect();
    assert!(note.open(&keys.iter().collect::<Vec<_>>()).is_ok());
    assert!(matches!(
        example().evaluate(&note),
        Err(PolicyViolation::QuorumNotMet { .. })
    ));
}

#[test]
fn cosignatures_alone_do_not_replace_the_log() {
    let checkpoint = Checkpoint::new(name(ORIGIN), 9, Hash::leaf(b"root")).unwrap();
    let lines: Vec<String> = (1..=6)
        .map(|n| format!("{}\n", witness(n).cosign(&checkpoint, time(7))))
        .collect();
    let text = format!("{}\n{}", checkpoint.body(), lines.concat());
    let signed = SignedCheckpoint::parse(text.as_bytes()).unwrap();
    let refused = OpenError::NotSignedByLog(name(ORIGIN));
    assert_eq!(
        example().evaluate(&signed),
        Err(PolicyViolation::Checkpoint(refused))
    );
}

#[test]
fn no_quorum_takes_the_logs_word_and_no_log_takes_nothing() {
    let policy = Policy::parse(format!("log {}\nquorum none\n", log_key()).as_bytes()).unwrap();
    assert_eq!(policy.quorum(), None);
    assert!(
        policy
            .evaluate(&cosigned(&[]))
            .unwrap()
            .cosignatures()
            .is_empty()
    );
    let no_log = Policy::parse(b"quorum none\n").unwrap();
    let refused = PolicyViolation::Checkpoint(OpenError::Note(VerifyError::NoKnownKey));
    assert_eq!(no_log.evaluate(&cosigned(&[])), Err(refused));
}

#[test]
fn any_of_several_logs_and_keys_of_one_origin_is_accepted() {
    let second = NoteSigner::new(name(ORIGIN), key(201));
    let file = format!(
        "log {}\nlog {}\nquorum none\n",
        second.verifier_key(),
        log_key()
    );
    let policy = Policy::parse(file.as_bytes()).unwrap();
    assert!(policy.evaluate(&cosigned(&[])).is_ok());
    let checkpoint = Checkpoint::new(name(ORIGIN), 9, Hash::leaf(b"root")).unwrap();
    let by_second = policy.evaluate(&checkpoint.sign(&second).unwrap()).unwrap();
    assert_eq!(by_second.opened().log_key(), second.verifier_key());
}

#[test]
fn a_policy_is_written_in_one_form_that_reads_back() {
    let policy = example();
    let text = policy.to_string();
    assert_eq!(Policy::parse(text.as_bytes()), Ok(policy.clone()));
    assert!(text.contains("group X-witnesses 2 X1 X2 X3\n"), "{text}");
    assert!(
        text.ends_with("group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"),
        "{text}"
    );
    assert_eq!(policy.witnesses()[0].url(), Some("https://X1.example/"));
    assert_eq!(policy.witnesses()[0].name().as_str(), "X1");
    assert_eq!(policy.witnesses()[0].key(), &witness_key(1));
    assert_eq!(
        (policy.logs()[0].key(), policy.logs()[0].url()),
        (&log_key(), None)
    );
    assert_eq!(policy.quorum().map(PolicyName::as_str), Some("X-and-Y"));
}

#[test]
fn files_that_break_a_rule_are_refused_for_it() {
    let (log, w1, w2) = (log_key(), witness_key(1), witness_key(2));
    let as_witness = VerifierKey::new(name("w"), SignatureKind::CosignatureV1, *log.public_key());
    let renamed = VerifierKey::new(name("w"), SignatureKind::CosignatureV1, *w1.public_key());
    let two = format!("witness a {w1}\nwitness b {w2}\n");
    let [a, b] = names(&["a", "b"]).try_into().unwrap();
    let rule = |line, error| PolicyParseError::Rule { line, error };
    let syntax = |line| PolicyParseError::Syntax { line };
    let undefined = |text: &str| PolicyError::Undefined(text.to_owned());
    let cases = [
        (
            String::new(),
            PolicyParseError::Incomplete(PolicyError::NoQuorum),
        ),
        ("quorum none".to_owned(), PolicyParseError::Unterminated),
        (
            "quorum none\r\n".to_owned(),
            PolicyParseError::Control(b'\r'),
        ),
        (
            "quorum none\x7f\n".to_owned(),
            PolicyParseError::Control(0x7f),
        ),
        (
            "quorum none\nquorum none\n".to_owned(),
            rule(2, PolicyError::SecondQuorum),
        ),
        ("quorum\n".to_owned(), syntax(1)),
        ("quorum a b\n".to_owned(), syntax(1)),
        ("quorum a\n".to_owned(), rule(1, undefined("a"))),
        (
            format!("quorum a\nwitness a {w1}\n"),
            rule(1, undefined("a")),
        ),
        ("\n# comment\nlogs x\n".to_owned(), syntax(3)),
        ("Quorum none\n".to_owned(), syntax(1)),
        ("quorum\u{a0}none\n".to_owned(), syntax(1)),
        (format!("log {log} url more\n"), syntax(1)),
        ("log\n".to_owned(), syntax(1)),
        (
            "log x\n".to_owned(),
            PolicyParseError::Key {
                line: 1,
                error: VkeyError::Shape,
            },
        ),
        (format!("log {w1}\n"), rule(1, PolicyError::KeyKind)),
        (format!("witness a {log}\n"), rule(1, PolicyError::KeyKind)),
        (
            format!("log {log}\nlog {log}\n"),
            rule(2, PolicyError::DuplicateKey(name(ORIGIN))),
        ),
        (
            format!("log {log}\nwitness a {as_witness}\n"),
            rule(2, PolicyError::DuplicateKey(name("w"))),
        ),
        (
            format!("witness a {w1}\nwitness b {renamed}\n"),
            rule(2, PolicyError::DuplicateKey(name("w"))),
        ),
        (
            format!("witness a {w1}\nwitness a {w2}\n"),
            rule(2, PolicyError::DuplicateName(a.clone())),
        ),
        (
            format!("{two}group a all b\n"),
            rule(3, PolicyError::DuplicateName(a.clone())),
        ),
        (
            format!("witness none {w1}\n"),
            rule(1, PolicyError::Name(PolicyNameError)),
        ),
        (
            format!("{two}group none all a\n"),
            rule(3, PolicyError::Name(PolicyNameError)),
        ),
        (
            format!("{two}group g all a none\n"),
            rule(3, undefined("none")),
        ),
        (format!("{two}group g all g\n"), rule(3, undefined("g"))),
        (
            format!("{two}group g all\n"),
            rule(3, PolicyError::EmptyGroup),
        ),
        (format!("{two}group g\n"), syntax(3)),
        (format!("{two}group g some a\n"), syntax(3)),
        (format!("{two}group g 01 a\n"), syntax(3)),
        (format!("{two}group g -1 a\n"), syntax(3)),
        (
            format!("{two}group g 0 a b\n"),
            rule(
                3,
                PolicyError::Threshold {
                    threshold: 0,
                    members: 2,
                },
            ),
        ),
        (
            format!("{two}group g 3 a b\n"),
            rule(
                3,
                PolicyError::Threshold {
                    threshold: 3,
                    members: 2,
                },
            ),
        ),
        (
            format!("{two}group g 2 a a\n"),
            rule(3, PolicyError::AlreadyMember(a)),
        ),
        (
            format!("{two}group g any b\ngroup h any b\n"),
            rule(4, PolicyError::AlreadyMember(b)),
        ),
    ];
    for (file, error) in cases {
        assert_eq!(Policy::parse(file.as_bytes()), Err(error), "{file}");
    }
    let bytes = [b"# \xff\nquorum none\n".as_slice()].concat();
    assert!(matches!(
        Policy::parse(&bytes),
        Err(PolicyParseError::Utf8(_))
    ));
    let long = "#".repeat(MAX_POLICY_BYTES + 1);
    let refused = PolicyParseError::TooLong(MAX_POLICY_BYTES + 1);
    assert_eq!(Policy::parse(long.as_bytes()), Err(refused));
    let spaced = Policy::builder().log(log_key(), Some("a b"));
    assert_eq!(spaced.unwrap_err(), PolicyError::Url);
}

#[test]
fn limits_are_above_the_recommended_32_and_hold() {
    let member = |n: u8| format!("w{n}");
    let mut builder = Policy::builder();
    for n in 1..=64 {
        builder = builder.witness(&member(n), witness_key(n), None).unwrap();
        let log = NoteSigner::new(name(ORIGIN), key(n + 100));
        builder = builder.log(log.verifier_key().clone(), None).unwrap();
        builder = builder
            .group(&format!("g{n}"), Threshold::All, &[&member(n)])
            .unwrap();
    }
    let witness_65 = builder.clone().witness("w65", witness_key(65), None);
    assert_eq!(witness_65.unwrap_err(), PolicyError::TooMany);
    let log_65 = builder.clone().log(log_key(), None);
    assert_eq!(log_65.unwrap_err(), PolicyError::TooMany);
    let group_65 = builder.clone().group("g65", Threshold::All, &["g1"]);
    assert_eq!(group_65.unwrap_err(), PolicyError::TooMany);
    let policy = builder
        .quorum("g64")
        .and_then(PolicyBuilder::build)
        .unwrap();
    assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
}

proptest! {
    /// Counting by hand over the same thresholds, for any subset of six witnesses.
    #[test]
    fn a_quorum_is_met_exactly_when_a_count_by_hand_says_so(
        k in 1_usize..=6, inner in 1_usize..=3, present in 0_u8..64,
    ) {
        let by: Vec<u8> = (1..=6).filter(|n| present >> (n - 1) & 1 == 1).collect();
        let mut builder = Policy::builder().log(log_key(), None).unwrap();
        for n in 1..=6 {
            builder = builder.witness(&format!("w{n}"), witness_key(n), None).unwrap();
        }
        let flat = builder.clone()
            .group("g", Threshold::AtLeast(k), &["w1", "w2", "w3", "w4", "w5", "w6"])
            .and_then(|b| b.quorum("g")).and_then(PolicyBuilder::build).unwrap();
        prop_assert_eq!(flat.evaluate(&cosigned(&by)).is_ok(), by.len() >= k);
        let nested = builder
            .group("left", Threshold::AtLeast(inner), &["w1", "w2", "w3"])
            .and_then(|b| b.group("both", Threshold::All, &["left", "w6"]))
            .and_then(|b| b.quorum("both")).and_then(PolicyBuilder::build).unwrap();
        let left = by.iter().filter(|n| **n <= 3).count();
        let expected = left >= inner && by.contains(&6);
        prop_assert_eq!(nested.evaluate(&cosigned(&by)).is_ok(), expected);
    }

    #[test]
    fn no_text_makes_the_parser_fail_otherwise(lines in prop::collection::vec("(log|witness|group|quorum|#)?[ \t]?[ a-z0-9+]{0,12}", 0..6)) {
        let file: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if let Ok(policy) = Policy::parse(file.as_bytes()) {
            prop_assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
        }
    }
}
