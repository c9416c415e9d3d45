//! Other people's JOSE libraries verify our artifacts and refuse altered ones.
//!
//! Rust's jsonwebtoken is linked; Python's `PyJWT` and npm's jose are installed below the build
//! directory in the versions named here, by the test itself where they are missing. A missing tool
//! is a failure: a peer that was not asked has agreed to nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test code: a broken fixture should stop the test, and peers are programs to be run"
)]

mod common;
#[path = "../../placet/tests/support/installed.rs"]
mod installed;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{ARTIFACT_SEED, ATTACKER_SEED, DOMAIN, claims, issue, issued, key};
use installed::{npm, pypi, run};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

const PYJWT: [&str; 2] = ["PyJWT==2.15.1", "cryptography==50.0.2"];
const JOSE: &str = "jose@6.2.17";

/// What a peer is asked: each text, and whether it must be accepted under the domain's key.
fn questions() -> Vec<(String, bool)> {
    let good = issued();
    let (front, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = front.split_once('.').unwrap();
    let mut wider = claims();
    wider.profile = "wide".parse().unwrap();
    let payload = URL_SAFE_NO_PAD.encode(wider.encode().unwrap());
    let forged = placet_artifact::issue(&claims(), &key(ATTACKER_SEED), Default::default());
    let zeroes = "A".repeat(signature.len());
    vec![
        (good.clone(), true),
        (issue(&wider), true),
        (format!("{header}.{payload}.{signature}"), false),
        (format!("{front}.{zeroes}"), false),
        (forged.unwrap().to_string(), false),
    ]
}

/// The question as a peer's program reads it. Windows are judged at the question's time or not at
/// all: the day on which the test runs must not decide it.
fn question_json() -> String {
    let texts: Vec<String> = questions().into_iter().map(|(text, _)| text).collect();
    let public = key(ARTIFACT_SEED).public();
    let jwk = json!({
        "crv": "Ed25519",
        "kty": "OKP",
        "x": URL_SAFE_NO_PAD.encode(public.as_bytes()),
    });
    json!({
        "audience": claims().aud,
        "issuer": DOMAIN,
        "jwk": jwk,
        "now": claims().nbf,
        "texts": texts,
        "thumbprint": public.thumbprint(),
        "typ": "authz-artifact+jwt",
    })
    .to_string()
}

/// A peer answers with the claims of each text, or `null` where it refused.
fn check_answers(peer: &str, answers: &[Value]) {
    let questions = questions();
    assert_eq!(answers.len(), questions.len(), "{peer} left questions open");
    for ((text, good), answer) in questions.iter().zip(answers) {
        assert_eq!(!answer.is_null(), *good, "{peer} on {text}");
        if *good {
            let compact = placet_artifact::jws::Compact::parse(text).unwrap();
            let ours: Value = serde_json::from_slice(compact.payload()).unwrap();
            assert_eq!(*answer, ours, "{peer} read other claims");
        }
    }
}

#[test]
fn jsonwebtoken_verifies_our_artifacts_and_refuses_altered_ones() {
    let key = DecodingKey::from_ed_components(
        &URL_SAFE_NO_PAD.encode(key(ARTIFACT_SEED).public().as_bytes()),
    );
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[claims().aud.as_str()]);
    validation.set_issuer(&[DOMAIN]);
    validation.validate_exp = false;
    let answers: Vec<Value> = questions()
        .iter()
        .map(|(text, _)| {
            jsonwebtoken::decode::<Value>(text, key.as_ref().unwrap(), &validation)
                .map_or(Value::Null, |token| token.claims)
        })
        .collect();
    check_answers("jsonwebtoken", &answers);
}

#[test]
fn an_artifact_that_jsonwebtoken_signed_is_read_here() {
    // PKCS #8 of RFC 8410: a fixed head, then the seed.
    let head = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let der = [head.as_slice(), &[ARTIFACT_SEED; 32]].concat();
    let mut header = jsonwebtoken::Header::new(Algorithm::EdDSA);
    header.typ = Some("authz-artifact+jwt".into());
    header.kid = Some(key(ARTIFACT_SEED).public().id().to_string());
    let theirs = jsonwebtoken::encode(
        &header,
        &claims(),
        &jsonwebtoken::EncodingKey::from_ed_der(&der),
    );
    let theirs = theirs.unwrap();
    let compact = placet_artifact::jws::Compact::parse(&theirs).unwrap();
    assert_eq!(
        placet_artifact::Claims::decode(compact.payload()),
        Ok(claims())
    );
    let signed = compact.signing_input().as_bytes();
    assert_eq!(
        key(ARTIFACT_SEED)
            .public()
            .verify(signed, compact.signature()),
        Ok(())
    );
}

#[test]
fn pyjwt_verifies_our_artifacts_and_refuses_altered_ones() {
    let python = pypi(&PYJWT).join("python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/verify.py");
    let answers = ask(Command::new(python).arg(script));
    check_answers("PyJWT", &answers);
}

#[test]
fn jose_verifies_our_artifacts_and_refuses_altered_ones() {
    let modules = npm(&[JOSE]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/verify.mjs");
    let answers = ask(Command::new("node")
        .arg(script)
        .arg(modules.join("jose/dist/webapi/index.js")));
    check_answers("jose", &answers);
}

fn ask(command: &mut Command) -> Vec<Value> {
    let answer = run(command.env("PLACET_QUESTION", question_json()));
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
}
