//! What this crate makes, checked by tools that are not ours: Go's `sumdb/note` and `sumdb/tlog`
//! as Debian ships them, and OpenSSL.
//!
//! A missing tool fails the test: install the Debian packages `golang-go`,
//! `golang-golang-x-mod-dev` and `openssl`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests run the verifiers of other projects"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use placet_tlog::note::{CosignTime, Cosigner, KeyName, NoteSigner};
use placet_tlog::tree::{BatchTree, Frontier};
use placet_tlog::{Checkpoint, Hash, LogProof, SignedCheckpoint};
use placet_types::key::SigningKey;
use zeroize::Zeroizing;

const GO: &str = "/usr/bin/go";
const GO_PATH: &str = "/usr/share/gocode";
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/tlog.json");

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32]))
}

fn log() -> NoteSigner {
    NoteSigner::new(name("log.example/placet"), key(1))
}

fn witness() -> Cosigner {
    Cosigner::new(name("witness.example"), key(2))
}

fn entry(n: u64) -> Vec<u8> {
    format!("entry {n}").into_bytes()
}

/// Entry 257 of 300, under a checkpoint of the log and one witness.
fn proof() -> LogProof {
    let leaves = (0..300).map(|n| Hash::leaf(&entry(n))).collect();
    let batch = BatchTree::new(&Frontier::new(), leaves).unwrap();
    let checkpoint = Checkpoint::new(name("log.example/placet"), 300, batch.root()).unwrap();
    let time = CosignTime::new(1_795_230_300).unwrap();
    let signed = checkpoint
        .sign(&log())
        .unwrap()
        .with_cosignature(&witness(), time)
        .unwrap();
    let proof = LogProof::new(257, batch.prove_inclusion(257).unwrap(), signed);
    proof.with_extra(b"extra data".to_vec()).unwrap()
}

/// A fresh directory below Cargo's for tests.
fn scratch(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn write(dir: &Path, file: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(file);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Builds the Go verifier, once for all tests.
fn go_verifier() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = scratch("go");
        let binary = dir.join("verify");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/verify.go");
        let mut build = Command::new(GO);
        build.args(["build", "-o"]).arg(&binary).arg(source);
        build
            .env("GO111MODULE", "off")
            .env("GOPATH", GO_PATH)
            .env("GOFLAGS", "");
        build.env("GOCACHE", dir.join("cache"));
        let output = build.output().unwrap_or_else(|error| {
            panic!("{GO}: {error}; install the Debian packages golang-go, golang-golang-x-mod-dev")
        });
        assert!(
            output.status.success(),
            "go build failed (Debian packages golang-go, golang-golang-x-mod-dev): {}",
            said(&output)
        );
        binary
    })
}

fn said(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}{err}")
}

/// Runs the Go verifier with both public keys and these files.
fn go(command: &str, files: &[&Path]) -> Result<(), String> {
    let mut run = Command::new(go_verifier());
    run.arg(command).arg(log().verifier_key().to_string());
    run.arg(witness().verifier_key().to_string()).args(files);
    let output = run.output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(said(&output))
    }
}

#[test]
fn go_opens_our_checkpoint_with_its_cosignature() {
    let dir = scratch("go-checkpoint");
    let text = proof().checkpoint().to_string();
    assert_eq!(
        go("checkpoint", &[&write(&dir, "good", text.as_bytes())]),
        Ok(())
    );
    let (body, lines) = text.split_once("\n\n").unwrap();
    let (ours, theirs) = lines.split_once('\n').unwrap();
    let altered = |line: &str| {
        let (head, blob) = line.rsplit_once(' ').unwrap();
        let last = blob.trim_end().trim_end_matches('=');
        let other = if last.ends_with('A') { "E" } else { "A" };
        let (cut, _) = blob.split_at(last.len() - 1);
        format!(
            "{head} {cut}{other}{}\n",
            "=".repeat(blob.trim_end().len() - last.len())
        )
    };
    let bad = [
        (
            "size",
            text.replace("\n300\n", "\n301\n"),
            "invalid signature",
        ),
        (
            "log",
            format!("{body}\n\n{}{theirs}", altered(ours)),
            "invalid signature",
        ),
        (
            "witness",
            format!("{body}\n\n{ours}\n{}", altered(theirs)),
            "invalid signature",
        ),
        (
            "missing",
            format!("{body}\n\n{ours}\n"),
            "1 of 2 signatures",
        ),
    ];
    for (file, text, reason) in bad {
        let refused = go("checkpoint", &[&write(&dir, file, text.as_bytes())]).unwrap_err();
        assert!(refused.contains(reason), "{file}: {refused}");
    }
}

#[test]
fn go_checks_our_proof_file_and_refuses_an_altered_one() {
    let dir = scratch("go-proof");
    let text = proof().to_string();
    let good = write(&dir, "good", text.as_bytes());
    let (right, wrong) = (
        write(&dir, "257", &entry(257)),
        write(&dir, "256", &entry(256)),
    );
    assert_eq!(go("proof", &[&good, &right]), Ok(()));
    let sibling = proof().path().hashes().first().unwrap().to_string();
    let bad = [
        ("entry", text.clone(), &wrong),
        ("index", text.replace("index 257", "index 256"), &right),
        (
            "sibling",
            text.replace(&sibling, &Hash::EMPTY_ROOT.to_string()),
            &right,
        ),
        ("short", text.replace(&format!("{sibling}\n"), ""), &right),
    ];
    for (file, text, entry) in bad {
        let file = write(&dir, file, text.as_bytes());
        let refused = go("proof", &[&file, entry]).unwrap_err();
        assert!(
            refused.contains("invalid transparency proof"),
            "{}: {refused}",
            file.display()
        );
    }
}

#[test]
fn go_comes_to_the_outcomes_of_our_vectors() {
    let output = Command::new(go_verifier())
        .args(["vectors", VECTORS])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // The check can fail: the same vectors with one outcome turned around.
    let text = std::fs::read_to_string(VECTORS).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let valid = file
        .pointer_mut("/sections/inclusion/0/outcome/valid")
        .unwrap();
    *valid = serde_json::Value::Bool(false);
    let turned = write(
        &scratch("go-vectors"),
        "turned.json",
        file.to_string().as_bytes(),
    );
    let output = Command::new(go_verifier())
        .arg("vectors")
        .arg(turned)
        .output()
        .unwrap();
    assert!(
        said(&output).contains("leaf 0 of 1: Go says"),
        "{}",
        said(&output)
    );
}

/// RFC 8410: the fixed head of an Ed25519 SubjectPublicKeyInfo, before the 32 bytes of the key.
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

fn openssl(dir: &Path, signed: &SignedCheckpoint, message: &str) -> Output {
    let public = log().verifier_key().public_key().as_bytes().to_vec();
    let signature = signed.note().signatures().first().unwrap().signature();
    let key = write(dir, "key.der", &[SPKI_HEAD.as_slice(), &public].concat());
    let (message, signature) = (
        write(dir, "message", message.as_bytes()),
        write(dir, "signature", signature),
    );
    let mut run = Command::new("openssl");
    run.args([
        "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey",
    ])
    .arg(key);
    run.arg("-in").arg(message).arg("-sigfile").arg(signature);
    let output = run.output();
    output.unwrap_or_else(|error| panic!("openssl: {error}; install the Debian package openssl"))
}

#[test]
fn openssl_verifies_the_logs_signature_over_the_body() {
    let proof = proof();
    let signed = proof.checkpoint();
    let body = signed.claim().body();
    let output = openssl(&scratch("openssl-good"), signed, &body);
    assert!(output.status.success(), "{}", said(&output));
    let altered = body.replace("\n300\n", "\n301\n");
    let output = openssl(&scratch("openssl-bad"), signed, &altered);
    assert!(!output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("Signature Verification Failure"),
        "{}",
        said(&output)
    );
}
