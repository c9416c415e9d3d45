//! Sections about policies, quorums and whole proofs.

use placet_tlog::note::{Cosigner, SignatureKind, VerifierKey};
use placet_tlog::proof::LogProof;
use placet_types::digest::encode_hex;
use serde_json::json;

use super::{
    BAD, Bytes, GOOD, ORIGIN, Section, batch, checkpoint, cosigned, entry, flip, key, log, name,
    time, witness,
};

/// Three witnesses; the quorum line is the caller's.
fn policy(rest: &str) -> String {
    let key = |n| witness(n).verifier_key().to_string();
    format!(
        "log {} https://{ORIGIN}/\nwitness a {}\nwitness b {}\nwitness c {}\n{rest}\n",
        log().verifier_key(),
        key(1),
        key(2),
        key(3)
    )
}

pub(super) fn policy_files() -> Section {
    let mut section = Section::new("policy_file");
    let mut case = |label: &str, valid, file: &str| {
        section.case(label, valid, json!({ "policy": file }));
    };
    let group = policy("group g 2 a b c\nquorum g");
    case("two of three", GOOD, &group);
    case("no quorum", GOOD, &policy("quorum none"));
    case("one witness", GOOD, &policy("quorum b"));
    case(
        "groups of groups, comments, tabs",
        GOOD,
        &policy("\n # two levels\ngroup x any\ta\t b\n\tgroup y all x c\nquorum y"),
    );
    case("no quorum line", BAD, &policy(""));
    case("two quorum lines", BAD, &policy("quorum a\nquorum a"));
    case("undefined quorum", BAD, &policy("quorum d"));
    case(
        "a group that names a later one",
        BAD,
        &policy("group x any y\ngroup y any a\nquorum x"),
    );
    case(
        "a group that names itself",
        BAD,
        &policy("group x any x\nquorum x"),
    );
    case(
        "a member of two groups",
        BAD,
        &policy("group x any a b\ngroup y any b c\nquorum x"),
    );
    case("a member twice", BAD, &policy("group x 2 a a\nquorum x"));
    case("threshold 0", BAD, &policy("group x 0 a b\nquorum x"));
    case(
        "threshold above the members",
        BAD,
        &policy("group x 3 a b\nquorum x"),
    );
    case(
        "threshold with a leading zero",
        BAD,
        &policy("group x 02 a b\nquorum x"),
    );
    case(
        "a group without members",
        BAD,
        &policy("group x all\nquorum x"),
    );
    case("a name twice", BAD, &policy("group a all b\nquorum a"));
    case(
        "none as a member",
        BAD,
        &policy("group x any none\nquorum x"),
    );
    case("no newline at the end", BAD, group.trim_end());
    case("carriage returns", BAD, &group.replace('\n', "\r\n"));
    case("an unknown line", BAD, &policy("logs x\nquorum none"));
    case(
        "a witness's key as a log",
        BAD,
        &format!("log {}\nquorum none\n", witness(1).verifier_key()),
    );
    let again = VerifierKey::new(
        name("again.example"),
        SignatureKind::CosignatureV1,
        key(11).public(),
    );
    case(
        "a public key twice under two names",
        BAD,
        &policy(&format!("witness d {again}\nquorum a")),
    );
    let log_as_witness =
        VerifierKey::new(name(ORIGIN), SignatureKind::CosignatureV1, key(1).public());
    case(
        "the log's key as a witness",
        BAD,
        &policy(&format!("witness d {log_as_witness}\nquorum d")),
    );
    section
}

pub(super) fn quorums() -> Section {
    let mut section = Section::new("quorum");
    let mut case = |label: &str, valid, rest: &str, note: &str| {
        section.case(
            label,
            valid,
            json!({ "policy": policy(rest), "note": note }),
        );
    };
    let two = "group g 2 a b c\nquorum g";
    let by = |by: &[u8]| cosigned(checkpoint(21), by).to_string();
    case("two of three cosigned", GOOD, two, &by(&[1, 3]));
    case("three of three cosigned", GOOD, two, &by(&[3, 2, 1]));
    case("an unknown witness as well", GOOD, two, &by(&[1, 2, 9]));
    case("no quorum wanted", GOOD, "quorum none", &by(&[]));
    case(
        "nested groups",
        GOOD,
        "group x any a b\ngroup y all x c\nquorum y",
        &by(&[2, 3]),
    );
    case("one of three cosigned", BAD, two, &by(&[1]));
    case("one known and one unknown", BAD, two, &by(&[1, 9]));
    case("none cosigned", BAD, two, &by(&[]));
    case(
        "nested groups, one missing",
        BAD,
        "group x any a b\ngroup y all x c\nquorum y",
        &by(&[1, 2]),
    );
    let again = witness(1).cosign(&checkpoint(21), time(7));
    case(
        "one witness at two times",
        BAD,
        two,
        &format!("{}{again}\n", by(&[1])),
    );
    let renamed = Cosigner::new(name("other.example"), key(12)).cosign(&checkpoint(21), time(2));
    case(
        "a known key under another name",
        BAD,
        two,
        &format!("{}{renamed}\n", by(&[1])),
    );
    let id = witness(2).cosign(&checkpoint(21), time(2)).to_string();
    let (head, blob) = id.rsplit_once(' ').unwrap();
    let bytes = Bytes::decode(blob);
    let altered = format!("{head} {}", bytes.set(0, bytes.0[0] ^ 1).encode());
    case(
        "an altered key id makes the line unknown",
        BAD,
        two,
        &by(&[1, 2]).replace(&id, &altered),
    );
    let altered = format!("{head} {}", bytes.set(40, bytes.0[40] ^ 1).encode());
    case(
        "a failing line of a known witness refuses a met quorum",
        BAD,
        two,
        &by(&[1, 2, 3]).replace(&id, &altered),
    );
    let lines: String = (1..=3)
        .map(|n| format!("{}\n", witness(n).cosign(&checkpoint(21), time(n))))
        .collect();
    case(
        "every witness but not the log",
        BAD,
        two,
        &format!("{}\n{lines}", checkpoint(21).body()),
    );
    section
}

pub(super) fn proofs() -> Section {
    let mut section = Section::new("proof");
    let two = policy("group g 2 a b c\nquorum g");
    let path = batch(21).prove_inclusion(11).unwrap();
    let good = LogProof::new(11, path.clone(), cosigned(checkpoint(21), &[1, 2]));
    let text = good.to_string();
    let mut case = |label: &str, valid, n: u64, proof: &str| {
        let input = json!({ "policy": two, "proof": proof, "entry_hex": encode_hex(&entry(n)) });
        section.case(label, valid, input);
    };
    case("leaf 11 of 21", GOOD, 11, &text);
    case(
        "with extra data",
        GOOD,
        11,
        &good
            .clone()
            .with_extra(b"extra".to_vec())
            .unwrap()
            .to_string(),
    );
    let single = LogProof::new(
        0,
        placet_tlog::InclusionProof::default(),
        cosigned(checkpoint(1), &[1, 2]),
    );
    case("the only leaf", GOOD, 0, &single.to_string());
    case("another entry", BAD, 12, &text);
    case(
        "another index",
        BAD,
        11,
        &text.replace("index 11", "index 10"),
    );
    case(
        "an index beyond the tree",
        BAD,
        11,
        &text.replace("index 11", "index 21"),
    );
    case(
        "index with a leading zero",
        BAD,
        11,
        &text.replace("index 11", "index 011"),
    );
    case("another version", BAD, 11, &text.replace("@v1", "@v2"));
    case("no index", BAD, 11, &text.replace("index 11\n", ""));
    case(
        "empty extra data",
        BAD,
        11,
        &text.replace("index 11", "extra \nindex 11"),
    );
    let first = format!("{}\n", path.hashes()[0]);
    case("a sibling missing", BAD, 11, &text.replace(&first, ""));
    case(
        "a sibling twice",
        BAD,
        11,
        &text.replace(&first, &first.repeat(2)),
    );
    case(
        "a sibling altered",
        BAD,
        11,
        &text.replace(&first, &format!("{}\n", flip(&path.hashes()[0]))),
    );
    case(
        "no blank line before the checkpoint",
        BAD,
        11,
        &text.replacen("\n\n", "\n", 1),
    );
    let short = LogProof::new(11, path.clone(), cosigned(checkpoint(21), &[1]));
    case("a quorum not met", BAD, 11, &short.to_string());
    let other = LogProof::new(11, path, cosigned(checkpoint(20), &[1, 2]));
    case(
        "the checkpoint of a smaller tree",
        BAD,
        11,
        &other.to_string(),
    );
    section
}
