//! Makes the vectors. Each case states by hand whether it is valid; the rest of the outcome is
//! what the crate says, so a change of any outcome shows as a change of the committed file.

use placet_tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use placet_tlog::hash::Hash;
use placet_tlog::note::{CosignTime, Cosigner, KeyName, NoteSigner, SignatureKind, VerifierKey};
use placet_tlog::proof::LogProof;
use placet_tlog::tree::{BatchTree, Frontier};
use placet_types::digest::encode_hex;
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
        leaves(),
        inclusion(),
        consistency(),
        paths(),
        hash_tiles(),
        entry_bundles(),
        vkeys(),
        notes(),
        checkpoints(),
        cosignatures(),
        policy_files(),
        quorums(),
        proofs(),
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

fn strings(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

fn flip(hash: &Hash) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[31] ^= 1;
    Hash::new(bytes)
}

fn leaves() -> Section {
    let mut section = Section::new("leaf");
    for (label, entry) in [("empty entry", b"".as_slice()), ("short entry", b"placet")] {
        let hash = Hash::leaf(entry).to_string();
        section.case(
            label,
            GOOD,
            json!({ "entry_hex": encode_hex(entry), "hash": hash }),
        );
    }
    let node = Hash::node(&Hash::leaf(b"a"), &Hash::leaf(b"b"));
    let both = [*Hash::leaf(b"a").as_bytes(), *Hash::leaf(b"b").as_bytes()].concat();
    let as_leaf = json!({ "entry_hex": encode_hex(&both), "hash": node.to_string() });
    section.case("a node is no leaf of its children", BAD, as_leaf);
    section
}

fn inclusion() -> Section {
    let mut section = Section::new("inclusion");
    let input = |leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]| {
        let (leaf, root) = (leaf.to_string(), root.to_string());
        json!({ "leaf": leaf, "index": index.to_string(), "size": size.to_string(), "root": root,
                "proof": strings(proof) })
    };
    for (index, size) in [
        (0, 1),
        (0, 2),
        (1, 2),
        (2, 3),
        (4, 5),
        (6, 7),
        (3, 8),
        (11, 21),
        (256, 300),
    ] {
        let (tree, leaf) = (batch(size), Hash::leaf(&entry(index)));
        let proof = tree.prove_inclusion(index).unwrap();
        let label = format!("leaf {index} of {size}");
        section.case(
            &label,
            GOOD,
            input(&leaf, index, size, &tree.root(), proof.hashes()),
        );
    }
    let (tree, leaf) = (batch(21), Hash::leaf(&entry(11)));
    let (root, proof) = (tree.root(), tree.prove_inclusion(11).unwrap());
    let proof = proof.hashes();
    let altered = [&[flip(&proof[0])], &proof[1..]].concat();
    let swapped = [&[proof[1], proof[0]], &proof[2..]].concat();
    let longer = [proof, &[proof[0]]].concat();
    let other = Hash::leaf(&entry(12));
    section.case(
        "altered sibling",
        BAD,
        input(&leaf, 11, 21, &root, &altered),
    );
    section.case(
        "swapped siblings",
        BAD,
        input(&leaf, 11, 21, &root, &swapped),
    );
    section.case(
        "missing last sibling",
        BAD,
        input(&leaf, 11, 21, &root, &proof[..4]),
    );
    section.case(
        "one sibling too many",
        BAD,
        input(&leaf, 11, 21, &root, &longer),
    );
    section.case("another leaf", BAD, input(&other, 11, 21, &root, proof));
    section.case("another index", BAD, input(&leaf, 10, 21, &root, proof));
    section.case("another size", BAD, input(&leaf, 11, 40, &root, proof));
    section.case(
        "another root",
        BAD,
        input(&leaf, 11, 21, &flip(&root), proof),
    );
    section.case("index at the size", BAD, input(&leaf, 21, 21, &root, proof));
    section.case(
        "empty tree",
        BAD,
        input(&leaf, 0, 0, &Hash::EMPTY_ROOT, &[]),
    );
    section.case("size of 2^63", BAD, input(&leaf, 11, 1 << 63, &root, proof));
    section
}

fn consistency() -> Section {
    let mut section = Section::new("consistency");
    let input = |old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]| {
        json!({ "old_size": old.to_string(), "old_root": old_root.to_string(),
                "new_size": new.to_string(), "new_root": new_root.to_string(),
                "proof": strings(proof) })
    };
    let grow = |old: u64, new: u64| {
        let before = batch(old);
        let added = (old..new).map(|n| Hash::leaf(&entry(n))).collect();
        let after = BatchTree::new(&before.frontier(), added).unwrap();
        (
            before.root(),
            after.root(),
            after.prove_consistency().unwrap().hashes().to_vec(),
        )
    };
    for (old, new) in [
        (0, 0),
        (0, 5),
        (1, 1),
        (1, 2),
        (3, 7),
        (4, 8),
        (6, 8),
        (7, 21),
        (256, 300),
        (255, 257),
    ] {
        let (old_root, new_root, proof) = grow(old, new);
        let label = format!("{old} to {new}");
        section.case(&label, GOOD, input(old, &old_root, new, &new_root, &proof));
    }
    let (old_root, new_root, proof) = grow(7, 21);
    let altered = [&[flip(&proof[0])], &proof[1..]].concat();
    let longer = [proof.as_slice(), &[proof[0]]].concat();
    section.case(
        "altered hash",
        BAD,
        input(7, &old_root, 21, &new_root, &altered),
    );
    section.case(
        "missing last hash",
        BAD,
        input(7, &old_root, 21, &new_root, &proof[..3]),
    );
    section.case(
        "one hash too many",
        BAD,
        input(7, &old_root, 21, &new_root, &longer),
    );
    section.case("no hashes", BAD, input(7, &old_root, 21, &new_root, &[]));
    section.case(
        "another old root",
        BAD,
        input(7, &flip(&old_root), 21, &new_root, &proof),
    );
    section.case(
        "another new root",
        BAD,
        input(7, &old_root, 21, &flip(&new_root), &proof),
    );
    section.case(
        "another old size",
        BAD,
        input(6, &old_root, 21, &new_root, &proof),
    );
    section.case(
        "the tree shrinks",
        BAD,
        input(21, &new_root, 7, &old_root, &proof),
    );
    section.case(
        "equal sizes, other root",
        BAD,
        input(7, &old_root, 7, &flip(&old_root), &[]),
    );
    section.case(
        "equal sizes, a hash",
        BAD,
        input(7, &old_root, 7, &old_root, &proof[..1]),
    );
    let not_empty = input(0, &old_root, 21, &new_root, &[]);
    section.case("empty tree with a root of its own", BAD, not_empty);
    section
}

fn paths() -> Section {
    let mut section = Section::new("path");
    let mut case = |path: &str, valid| section.case(path, valid, json!({ "path": path }));
    for path in [
        "checkpoint",
        "tile/0/000",
        "tile/0/273.p/112",
        "tile/2/x001/x234/067",
        "tile/63/000.p/255",
        "tile/entries/x001/x234/067.p/8",
    ] {
        case(path, GOOD);
    }
    for path in [
        "/checkpoint",
        "tile/64/000",
        "tile/01/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/x001/x001",
        "tile/0/1000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/8/0/000",
        "tile/data/000",
        "tile/entries/../000",
    ] {
        case(path, BAD);
    }
    section
}

fn hash_tiles() -> Section {
    let mut section = Section::new("hash_tile");
    let bytes: Vec<u8> = [Hash::leaf(b"a"), Hash::leaf(b"b")]
        .iter()
        .flat_map(|h| *h.as_bytes())
        .collect();
    let input = |width: u16, bytes: &[u8]| json!({ "width": width, "tile_hex": encode_hex(bytes) });
    section.case("two hashes", GOOD, input(2, &bytes));
    section.case("one byte short", BAD, input(2, &bytes[..63]));
    section.case("wider than it says", BAD, input(1, &bytes));
    section.case("narrower than it says", BAD, input(3, &bytes));
    section
}

fn entry_bundles() -> Section {
    let mut section = Section::new("entry_bundle");
    let input = |width: u16, hex: &str| json!({ "width": width, "bundle_hex": hex });
    section.case(
        "three entries, one empty",
        GOOD,
        input(3, "00016100000003626364"),
    );
    section.case("ends in a length", BAD, input(2, "00016100"));
    section.case("ends in an entry", BAD, input(2, "000161000262"));
    section.case("an entry more", BAD, input(1, "000161000162"));
    section.case("empty", BAD, input(1, ""));
    section
}

fn vkeys() -> Section {
    let mut section = Section::new("vkey");
    let mut case =
        |label: &str, valid, vkey: &str| section.case(label, valid, json!({ "vkey": vkey }));
    let published = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    case("the example of C2SP signed-note", GOOD, published);
    case(
        "a witness's key",
        GOOD,
        &witness(1).verifier_key().to_string(),
    );
    case(
        "another key id",
        BAD,
        &published.replace("530d903a", "530d903b"),
    );
    case(
        "key id in upper case",
        BAD,
        &published.replace("530d903a", "530D903A"),
    );
    case("a space in the name", BAD, &published.replace('/', " "));
    case("no name", BAD, &published.replace("example.com/foo", ""));
    case("one byte more", BAD, &format!("{published}AA=="));
    case(
        "a character short",
        BAD,
        published.strip_suffix('k').unwrap(),
    );
    case(
        "type 0x02, ECDSA",
        BAD,
        &published.replace("+Aeky", "+Auky"),
    );
    let zero = format!("example.com/foo+3b2f7b5a+AQ{}", "A".repeat(42));
    case("a key of small order", BAD, &zero);
    section
}

fn notes() -> Section {
    let mut section = Section::new("note");
    let published = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let mut case = |label: &str, valid, note: &str| {
        section.case(label, valid, json!({ "keys": [vkey], "note": note }));
    };
    case("the example of C2SP signed-note", GOOD, published);
    let unknown = format!("{published}\u{2014} other.example AAAAAAA=\n");
    case("a line of an unknown key is ignored", GOOD, &unknown);
    let repeated = published.split_once("\n\n").unwrap().1;
    case(
        "the same line twice",
        GOOD,
        &format!("{published}{repeated}"),
    );
    case("altered text", BAD, &published.replace("This", "That"));
    case(
        "altered signature",
        BAD,
        &published.replace("Uw2QOkn8", "Uw2QOkn9"),
    );
    case(
        "altered key id: no known key is left",
        BAD,
        &published.replace("Uw2Q", "Ux2Q"),
    );
    case(
        "a second line of the key that fails",
        BAD,
        &format!("{published}{}", repeated.replace("Okn8", "Okn9")),
    );
    case("no blank line", BAD, &published.replace("\n\n", "\n"));
    case("no newline at the end", BAD, published.trim_end());
    case(
        "a tab in the text",
        BAD,
        &published.replace(" is ", "\tis\t"),
    );
    case(
        "a hyphen for the dash",
        BAD,
        &published.replace('\u{2014}', "-"),
    );
    case(
        "two spaces before the signature",
        BAD,
        &published.replace("foo Uw", "foo  Uw"),
    );
    case(
        "base64 without padding",
        BAD,
        &published.replace("QM=", "QM"),
    );
    section
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

/// Signs any text as the log: for bodies that the crate itself would not make.
fn signed_text(body: &str) -> String {
    format!("{body}\n{}\n", log().sign_text(body))
}

fn checkpoints() -> Section {
    let mut section = Section::new("checkpoint");
    let keys = [
        log().verifier_key().to_string(),
        witness(1).verifier_key().to_string(),
    ];
    let mut case = |label: &str, valid, note: &str| {
        section.case(label, valid, json!({ "keys": keys, "note": note }));
    };
    let body = checkpoint(21).body();
    let size = |text: &str| signed_text(&body.replace("\n21\n", &format!("\n{text}\n")));
    case(
        "signed by the log",
        GOOD,
        &cosigned(checkpoint(21), &[]).to_string(),
    );
    case(
        "the empty tree",
        GOOD,
        &cosigned(checkpoint(0), &[]).to_string(),
    );
    case(
        "with cosignatures of a known and an unknown key",
        GOOD,
        &cosigned(checkpoint(21), &[1, 2]).to_string(),
    );
    case("largest size", GOOD, &size("9223372036854775807"));
    case(
        "altered size",
        BAD,
        &cosigned(checkpoint(21), &[])
            .to_string()
            .replace("\n21\n", "\n22\n"),
    );
    case("size of 2^63", BAD, &size("9223372036854775808"));
    case("size with a leading zero", BAD, &size("021"));
    case("size with a sign", BAD, &size("+21"));
    case("size 0 with the root of another tree", BAD, &size("0"));
    case(
        "an extension line",
        BAD,
        &signed_text(&format!("{body}extension\n")),
    );
    case("no root", BAD, &signed_text(&format!("{ORIGIN}\n21\n")));
    case(
        "root without padding",
        BAD,
        &signed_text(&body.replace("=\n", "\n")),
    );
    case(
        "an origin that is no key name",
        BAD,
        &signed_text(&body.replace(ORIGIN, "log example")),
    );
    case(
        "another log's origin",
        BAD,
        &signed_text(&body.replace(ORIGIN, "log.example/other")),
    );
    let line = witness(1).cosign(&checkpoint(21), time(1));
    case("only cosigned", BAD, &format!("{body}\n{line}\n"));
    let other = witness(1).cosign(&checkpoint(20), time(1));
    case(
        "a known witness's line is of another checkpoint",
        BAD,
        &format!("{}{other}\n", signed_text(&body)),
    );
    section
}

fn cosignatures() -> Section {
    let mut section = Section::new("cosignature");
    let vkey = witness(1).verifier_key().to_string();
    let body = checkpoint(21).body();
    let line = witness(1).cosign(&checkpoint(21), time(1)).to_string();
    let mut case = |label: &str, valid, body: &str, line: &str| {
        section.case(
            label,
            valid,
            json!({ "vkey": vkey, "body": body, "line": line }),
        );
    };
    case("over the whole body", GOOD, &body, &line);
    case(
        "another size",
        BAD,
        &body.replace("\n21\n", "\n22\n"),
        &line,
    );
    case("body without its last newline", BAD, body.trim_end(), &line);
    case(
        "another witness's line",
        BAD,
        &body,
        &witness(2).cosign(&checkpoint(21), time(1)).to_string(),
    );
    let (head, blob) = line.rsplit_once(' ').unwrap();
    let bytes = Bytes::decode(blob);
    let with = |bytes: Bytes| format!("{head} {}", bytes.encode());
    case(
        "another time",
        BAD,
        &body,
        &with(bytes.set(11, bytes.0[11] ^ 1)),
    );
    case("time 0", BAD, &body, &with(bytes.zero(4..12)));
    case("time of 2^63", BAD, &body, &with(bytes.set(4, 0x80)));
    case("one byte short", BAD, &body, &with(bytes.cut(75)));
    case(
        "altered signature",
        BAD,
        &body,
        &with(bytes.set(20, bytes.0[20] ^ 1)),
    );
    let plain = NoteSigner::new(name("witness1.example"), key(11)).sign_text(&body);
    case(
        "a plain signature by the same key",
        BAD,
        &body,
        &plain.to_string(),
    );
    section
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

fn policy_files() -> Section {
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

fn quorums() -> Section {
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

fn proofs() -> Section {
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
