//! What is wrong with the text itself: its claims, its header, its encoding, its signature.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a broken fixture should stop the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_artifact::jws::{Algorithm, BYTES_MAX, Header};
use placet_artifact::verify::Step;
use placet_types::digest::encode_hex;
use placet_types::{DenialCode, Digest};

use super::super::{
    ARTIFACT_SEED, ATTACKER_SEED, RECORD_SEED, alter, claims, issue, issued, key, receipt_for,
};
use super::{BAD_RECEIPT, Case, MALFORMED, of_text};

/// The payload is altered and the domain's signature kept.
pub(super) fn altered_bytes() -> Vec<Case> {
    let outcome = Err((Step::Signature, DenialCode::InvalidSignature));
    let good = issued();
    let (front, signature) = good.rsplit_once('.').unwrap();
    let header = front.split_once('.').unwrap().0;
    let alter = |alteration: &alter::Alteration| {
        let mut claims = claims();
        (alteration.apply)(&mut claims);
        let payload = URL_SAFE_NO_PAD.encode(claims.encode().unwrap());
        let text = format!("{header}.{payload}.{signature}");
        let mut case = of_text(format!("altered: {}", alteration.name), text, outcome);
        case.published = ["exp", "sub", "scope.write"].contains(&alteration.name);
        case
    };
    alter::all().iter().map(alter).collect()
}

/// The payload is altered and signed with another key, under its own name and under the domain's.
pub(super) fn attacker_keys() -> Vec<Case> {
    let own = Header::new(&key(ATTACKER_SEED).public(), Algorithm::EdDsa).encode();
    let borrowed = Header::new(&key(ARTIFACT_SEED).public(), Algorithm::EdDsa).encode();
    let mut cases = Vec::new();
    for alteration in alter::all() {
        let mut claims = claims();
        (alteration.apply)(&mut claims);
        let payload = claims.encode().unwrap();
        for (header, how, step) in [
            (&own, "its own kid", Step::Header),
            (&borrowed, "the domain's kid", Step::Signature),
        ] {
            let text = alter::sign_raw(header, &payload, ATTACKER_SEED);
            let name = format!("signed by an attacker under {how}: {}", alteration.name);
            let mut case = of_text(name, text, Err((step, DenialCode::InvalidSignature)));
            case.published = ["aud", "scope.write"].contains(&alteration.name);
            cases.push(case);
        }
    }
    let record = Header::new(&key(RECORD_SEED).public(), Algorithm::EdDsa).encode();
    let text = alter::sign_raw(&record, &claims().encode().unwrap(), RECORD_SEED);
    let outcome = Err((Step::Header, DenialCode::InvalidSignature));
    cases.push(of_text("signed by the domain's record key", text, outcome));
    cases.extend(small_order_forgeries());
    cases
}

/// R = the identity, S = 0: lenient verifiers accept it for any message under a small-order key.
fn small_order_forgeries() -> Vec<Case> {
    let mut identity = [0; 32];
    identity[0] = 1;
    let signature = URL_SAFE_NO_PAD.encode([identity, [0; 32]].concat());
    let weak_kid = encode_hex(&Digest::of(&identity).as_bytes()[..8]);
    let good = Header::new(&key(ARTIFACT_SEED).public(), Algorithm::EdDsa);
    let (kid, good) = (good.kid.to_string(), good.encode());
    let forged = |header: String| {
        let text = alter::sign_raw(&header, &claims().encode().unwrap(), ATTACKER_SEED);
        format!("{}.{signature}", text.rsplit_once('.').unwrap().0)
    };
    let refused = |step| Err((step, DenialCode::InvalidSignature));
    let weak = forged(good.replace(&kid, &weak_kid));
    vec![
        of_text(
            "forged under a small-order key",
            weak,
            refused(Step::Header),
        ),
        of_text(
            "forged with a small-order R",
            forged(good),
            refused(Step::Signature),
        ),
    ]
}

/// Signed by the domain's key: logged, and not logged.
pub(super) fn signed_by_the_domain() -> Vec<Case> {
    let mut cases = Vec::new();
    for alteration in alter::all() {
        let mut claims = claims();
        (alteration.apply)(&mut claims);
        let text = issue(&claims);
        let outcome = alteration.refused.map_or(Ok(()), Err);
        let name = format!("signed and logged: {}", alteration.name);
        let mut logged = of_text(name, text.clone(), outcome);
        logged.published = alteration.refused.is_some() || !alteration.name.contains("limits");
        cases.push(logged);
        let before_receipt = alteration
            .refused
            .filter(|(step, _)| *step < Step::Receipt)
            .map(Err);
        let mut stolen = of_text(
            format!(
                "signed with a stolen key, never logged: {}",
                alteration.name
            ),
            text,
            before_receipt.unwrap_or(BAD_RECEIPT),
        );
        stolen.receipt = receipt_for(&issued());
        stolen.published = alteration.name == "scope.write";
        cases.push(stolen);
    }
    cases
}

pub(super) fn malformed_claims() -> Vec<Case> {
    let good = String::from_utf8(claims().encode().unwrap()).unwrap();
    let header = Header::new(&key(ARTIFACT_SEED).public(), Algorithm::EdDsa).encode();
    alter::malformed(&good)
        .into_iter()
        .map(|(name, payload)| {
            let text = alter::sign_raw(&header, &payload, ARTIFACT_SEED);
            let mut case = of_text(format!("claims: {name}"), text, MALFORMED);
            case.published = name != "deep nesting";
            case
        })
        .collect()
}

pub(super) fn headers() -> Vec<Case> {
    let good = Header::new(&key(ARTIFACT_SEED).public(), Algorithm::EdDsa).encode();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replacen(from, to, 1)
    };
    let x = URL_SAFE_NO_PAD.encode(key(ATTACKER_SEED).public().as_bytes());
    let jwk = format!(",\"jwk\":{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}},\"kid\"");
    let kid = key(ARTIFACT_SEED).public().id();
    let at_header = [
        ("alg none", swap("EdDSA", "none")),
        ("alg HS256", swap("EdDSA", "HS256")),
        ("alg ES256", swap("EdDSA", "ES256")),
        ("alg in lower case", swap("EdDSA", "eddsa")),
        ("no alg", swap("\"alg\":\"EdDSA\",", "")),
        ("crit", swap(",\"kid\"", ",\"crit\":[\"b64\"],\"kid\"")),
        ("b64", swap(",\"kid\"", ",\"b64\":false,\"kid\"")),
        ("jwk", swap(",\"kid\"", &jwk)),
        (
            "jku",
            swap(
                ",\"kid\"",
                ",\"jku\":\"https://attacker.example/jwks\",\"kid\"",
            ),
        ),
        (
            "x5u",
            swap("\"}", "\",\"x5u\":\"https://attacker.example/x5u\"}"),
        ),
        ("an unknown member", swap("\"}", "\",\"zip\":\"DEF\"}")),
        ("no typ", swap(",\"typ\":\"authz-artifact+jwt\"", "")),
        ("typ JWT", swap("authz-artifact+jwt", "JWT")),
        (
            "typ with its application/",
            swap("authz-artifact+jwt", "application/authz-artifact+jwt"),
        ),
        ("no kid", swap(&format!("\"kid\":\"{kid}\","), "")),
        ("kid as a path", swap(&kid.to_string(), "../../dev/null")),
        ("an array", "[]".to_owned()),
    ];
    let at_parse = [
        ("a repeated member", swap("{", "{\"alg\":\"none\",")),
        ("a space", swap(":", ": ")),
        (
            "members out of order",
            swap("{\"alg\":\"EdDSA\",", "{").replacen('}', ",\"alg\":\"EdDSA\"}", 1),
        ),
        ("not JSON", "EdDSA".to_owned()),
        ("nothing", String::new()),
    ];
    let payload = claims().encode().unwrap();
    let case = |(name, header): (&str, String), outcome| {
        let text = alter::sign_raw(&header, &payload, ARTIFACT_SEED);
        of_text(format!("header: {name}"), text, outcome)
    };
    let header_step = Err((Step::Header, DenialCode::Malformed));
    let mut cases: Vec<Case> = at_header
        .into_iter()
        .map(|it| case(it, header_step))
        .collect();
    cases.extend(at_parse.into_iter().map(|it| case(it, MALFORMED)));
    let unsigned = alter::sign_raw(&swap("EdDSA", "none"), &payload, ARTIFACT_SEED);
    let unsigned = unsigned.rsplit_once('.').unwrap().0.to_owned() + ".";
    cases.push(of_text(
        "header: alg none and no signature",
        unsigned,
        MALFORMED,
    ));
    cases
}

pub(super) fn encodings() -> Vec<Case> {
    let good = issued();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Vec::new();
    };
    let (most, last) = signature.split_at(signature.len() - 1);
    let next = char::from(last.as_bytes()[0] + 1);
    let texts = [
        ("padding on the signature", format!("{good}==")),
        (
            "padding on the header",
            format!("{header}=.{payload}.{signature}"),
        ),
        (
            "unused bits set",
            format!("{header}.{payload}.{most}{next}"),
        ),
        ("a newline at the end", format!("{good}\n")),
        ("a space at the front", format!(" {good}")),
        (
            "the other alphabet",
            format!("{header}.{payload}.+{}", signature.split_at(1).1),
        ),
        (
            "a character outside ASCII",
            format!("{header}.{payload}.é{signature}"),
        ),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{good}.AAAA")),
        ("five parts", format!("{header}..{payload}..{signature}")),
        ("an empty payload", format!("{header}..{signature}")),
        (
            "a short signature",
            format!("{header}.{payload}.{}", "A".repeat(84)),
        ),
        (
            "the JSON form",
            format!("{{\"payload\":\"{payload}\",\"signature\":\"{signature}\"}}"),
        ),
        ("nothing", String::new()),
    ];
    let mut cases: Vec<Case> = texts
        .into_iter()
        .map(|(name, text)| of_text(format!("encoding: {name}"), text, MALFORMED))
        .collect();
    let zeroes = format!("{header}.{payload}.{}", "A".repeat(86));
    let outcome = Err((Step::Signature, DenialCode::InvalidSignature));
    cases.push(of_text("encoding: a signature of zeroes", zeroes, outcome));
    let long = format!("{good}{}", "A".repeat(BYTES_MAX));
    cases.push(of_text(
        "bounds: too long",
        long,
        Err((Step::Bounds, DenialCode::Malformed)),
    ));
    cases
}
