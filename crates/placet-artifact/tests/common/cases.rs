//! Presentations with the outcome that the specification gives them. The tests run all of them; the
//! published vectors are those that show something to another implementation.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a broken fixture should stop the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_artifact::jws::{Algorithm, BYTES_MAX, Header};
use placet_artifact::receipt::STATEMENT_MEDIA_TYPE;
use placet_artifact::verify::{Standing, Step};
use placet_artifact::{HolderProof, Receipt};
use placet_tlog::{Checkpoint, CosignTime, KeyName, NoteSigner};
use placet_types::digest::encode_hex;
use placet_types::{Asked, DenialCode, Digest, ExecutionId, GatewayName, Millis, Seconds};

use super::{
    ARTIFACT_SEED, ATTACKER_SEED, Call, DOMAIN, EXP, HOLDER_SEED, LOG_SEED, NBF, RECORD_SEED,
    Record, alter, call, claims, digest_of, envelope, hold, intent, issue, issued, key, log,
    log_signer, receipt_for, receipts_under, witness,
};

pub(crate) type Outcome = Result<(), (Step, DenialCode)>;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) artifact: String,
    pub(crate) receipt: Receipt,
    pub(crate) holder: HolderProof,
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
    /// Whether it stands in the published vectors.
    pub(crate) published: bool,
}

const MALFORMED: Outcome = Err((Step::Parse, DenialCode::Malformed));
const BAD_RECEIPT: Outcome = Err((Step::Receipt, DenialCode::ReceiptInvalid));

/// A case about the text alone: its own receipt if it comes to that, its own holder proof, the good
/// call.
fn of_text(name: impl Into<String>, artifact: String, outcome: Outcome) -> Case {
    let read_before_receipt = outcome.is_err_and(|(step, _)| step < Step::Receipt);
    let receipt = receipt_for(if read_before_receipt {
        "any"
    } else {
        &artifact
    });
    let holder = hold(&artifact, &call());
    Case {
        name: name.into(),
        artifact,
        receipt,
        holder,
        call: call(),
        outcome,
        published: true,
    }
}

/// A case about the call alone: the good artifact.
fn of_call(name: &str, change: impl FnOnce(&mut Call), outcome: Outcome) -> Case {
    let mut case = of_text(name, issued(), outcome);
    change(&mut case.call);
    case
}

fn of_receipt(name: &str, receipt: Receipt) -> Case {
    Case {
        receipt,
        ..of_text(format!("receipt: {name}"), issued(), BAD_RECEIPT)
    }
}

pub(crate) fn all() -> Vec<Case> {
    let groups = [
        good(),
        altered_bytes(),
        attacker_keys(),
        signed_by_the_domain(),
        malformed_claims(),
        headers(),
        encodings(),
        windows(),
        receipts(),
        other_calls(),
        holders(),
    ];
    groups.into_iter().flatten().collect()
}

fn good() -> Vec<Case> {
    let newer = placet_artifact::issue(&claims(), &key(ARTIFACT_SEED), Algorithm::Ed25519).unwrap();
    vec![
        of_text("good", issued(), Ok(())),
        of_text("good, alg Ed25519", newer.to_string(), Ok(())),
    ]
}

/// The payload is altered and the domain's signature kept.
fn altered_bytes() -> Vec<Case> {
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
fn attacker_keys() -> Vec<Case> {
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
fn signed_by_the_domain() -> Vec<Case> {
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

fn malformed_claims() -> Vec<Case> {
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

fn headers() -> Vec<Case> {
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

fn encodings() -> Vec<Case> {
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

fn windows() -> Vec<Case> {
    let early = Err((Step::Window, DenialCode::NotYetValid));
    let late = Err((Step::Window, DenialCode::Expired));
    let at = |name: &str, millis: u64, skew: u64, outcome| {
        let name = format!("window: {name}");
        of_call(
            &name,
            |call| (call.now, call.skew) = (Millis::new(millis), Seconds::new(skew)),
            outcome,
        )
    };
    vec![
        at("one millisecond before nbf", NBF * 1000 - 1, 0, early),
        at("at nbf", NBF * 1000, 0, Ok(())),
        at("one millisecond before exp", EXP * 1000 - 1, 0, Ok(())),
        at("at exp", EXP * 1000, 0, late),
        at("skew before nbf", NBF * 1000 - 5000, 5, Ok(())),
        at("more than skew before nbf", NBF * 1000 - 5001, 5, early),
        at("less than skew after exp", EXP * 1000 + 4999, 5, Ok(())),
        at("skew after exp", EXP * 1000 + 5000, 5, late),
        at(
            "a skew of a day is cut to a minute",
            EXP * 1000 + 60_000,
            86_400,
            late,
        ),
        at("the end of time", u64::MAX, 60, late),
        at("the beginning of time", 0, 60, early),
    ]
}

fn receipts() -> Vec<Case> {
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

fn other_calls() -> Vec<Case> {
    let intent = Err((Step::Intent, DenialCode::IntentMismatch));
    let params = Err((Step::Params, DenialCode::IntentMismatch));
    let revocation = |code| Err((Step::Revocation, code));
    vec![
        of_call(
            "call: at another gateway",
            |call| call.gateway = GatewayName::parse("mcp").unwrap(),
            Err((Step::Audience, DenialCode::AudienceMismatch)),
        ),
        of_call(
            "call: revoked",
            |call| call.standing = Standing::Revoked,
            revocation(DenialCode::Revoked),
        ),
        of_call(
            "call: halted",
            |call| call.standing = Standing::Halted,
            revocation(DenialCode::Halted),
        ),
        of_call(
            "call: by a stale view of the log",
            |call| call.standing = Standing::Stale,
            revocation(DenialCode::GovernanceDiscontinuity),
        ),
        of_call(
            "call: of another action",
            |call| call.intent.action = "process:stop".parse().unwrap(),
            intent,
        ),
        of_call(
            "call: by another principal",
            |call| call.intent.principal = "agent:x".parse().unwrap(),
            intent,
        ),
        of_call(
            "call: on another resource",
            |call| call.intent.resource.id = "/usr/bin/sh".into(),
            intent,
        ),
        of_call(
            "call: of a changed program",
            |call| call.intent.resource.digest = Some(Digest::of(b"x")),
            intent,
        ),
        of_call(
            "call: by a parent",
            |call| call.intent.parent = Some(ExecutionId::new([1; 16])),
            intent,
        ),
        of_call(
            "call: through another gateway's intent",
            |call| call.intent.gateway = "mcp".parse().unwrap(),
            intent,
        ),
        of_call(
            "call: asked for less",
            |call| {
                call.intent.asked = Asked {
                    lifetime_secs: Some(Seconds::new(1)),
                    profile: None,
                }
            },
            intent,
        ),
        of_call(
            "call: with other parameters",
            |call| call.payload.push(b' '),
            params,
        ),
        of_call(
            "call: with another salt",
            |call| call.salt = placet_types::Salt::new([8; 32]),
            params,
        ),
        of_call(
            "call: in another environment",
            |call| call.environment = Digest::of(b"another environment"),
            Err((Step::Environment, DenialCode::EnvironmentUntrusted)),
        ),
        of_call(
            "call: under another policy",
            |call| call.policy = Digest::of(b"another bundle"),
            Err((Step::Policy, DenialCode::PolicyMismatch)),
        ),
        of_call(
            "call: a second time",
            |call| call.used_before = true,
            Err((Step::Replay, DenialCode::Replayed)),
        ),
    ]
}

fn holders() -> Vec<Case> {
    let mismatch = Err((Step::Holder, DenialCode::HolderMismatch));
    let good = of_text("good", issued(), mismatch);
    let digest = digest_of(&good.artifact);
    let case = |name: &str, holder: HolderProof| {
        let name = format!("holder: {name}");
        Case {
            name,
            holder,
            ..of_text("", issued(), mismatch)
        }
    };
    let by = |seed: u8, digest: &Digest, challenge: &[u8]| {
        HolderProof::make(&key(seed), digest, challenge)
    };
    let attacker = by(ATTACKER_SEED, &digest, &good.call.challenge);
    let borrowed = HolderProof {
        key: key(HOLDER_SEED).public(),
        ..attacker
    };
    let bare = key(HOLDER_SEED).sign(&good.call.challenge);
    vec![
        case("another key", attacker),
        case("another key's signature under the holder's name", borrowed),
        case(
            "another challenge",
            by(HOLDER_SEED, &digest, b"challenge of another presentation"),
        ),
        case("no challenge", by(HOLDER_SEED, &digest, b"")),
        case(
            "another artifact",
            by(HOLDER_SEED, &Digest::of(b"x"), &good.call.challenge),
        ),
        case(
            "the challenge alone",
            HolderProof {
                signature: bare,
                ..good.holder
            },
        ),
    ]
}

/// The good call, for tests that need nothing altered.
pub(crate) fn good_case() -> Case {
    assert_eq!(call().intent.digest(), intent().digest());
    good().remove(0)
}
