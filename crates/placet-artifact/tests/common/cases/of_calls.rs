//! The good artifact at another time, for another call, in another world, by another holder.

#![expect(
    clippy::unwrap_used,
    reason = "test code: a broken fixture should stop the test"
)]

use placet_artifact::HolderProof;
use placet_artifact::verify::{Standing, Step};
use placet_types::{Asked, DenialCode, Digest, ExecutionId, GatewayName, Millis, Seconds};

use super::super::{ATTACKER_SEED, EXP, HOLDER_SEED, NBF, digest_of, issued, key};
use super::{Case, of_call, of_text};

pub(super) fn windows() -> Vec<Case> {
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

pub(super) fn other_calls() -> Vec<Case> {
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
                    ..Asked::default()
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

pub(super) fn holders() -> Vec<Case> {
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
