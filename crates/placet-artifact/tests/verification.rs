//! Every case of the specification against the verifier, and what only code can show.

mod common;

use std::collections::BTreeSet;

use common::cases::{self, Case, Outcome};
use common::{
    ARTIFACT_SEED, ATTACKER_SEED, EXP, RECORD_SEED, Record, call, claims, envelope, hold, issue,
    issued, key, log, log_policy, receipt_for, verifier,
};
use placet_artifact::jws::{Algorithm, Header};
use placet_artifact::receipt::STATEMENT_MEDIA_TYPE;
use placet_artifact::verify::{PinError, Skew, Standing, Step};
use placet_artifact::{Artifact, MemoryGuard, Pins, Refusal, Verified, Verifier, assemble};
use placet_types::{DenialCode, DomainName, Millis, Seconds};

fn run(case: &Case, verifier: &Verifier) -> Result<Verified, Refusal> {
    case.call
        .verify(verifier, &case.artifact, &case.receipt, &case.holder)
}

fn outcome(result: &Result<Verified, Refusal>) -> Outcome {
    result
        .as_ref()
        .map(|_| ())
        .map_err(|refusal| (refusal.step, refusal.code))
}

#[test]
fn every_case_ends_at_its_step_with_its_code() {
    let verifier = verifier();
    for case in cases::all() {
        let result = run(&case, &verifier);
        assert_eq!(outcome(&result), case.outcome, "{}: {result:?}", case.name);
    }
}

#[test]
fn every_step_is_reached_by_a_case() {
    let all = cases::all();
    let reached: BTreeSet<Step> = all
        .iter()
        .filter_map(|case| case.outcome.err())
        .map(|(step, _)| step)
        .collect();
    assert_eq!(reached, BTreeSet::from(Step::ALL));
    let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two cases share a name");
}

#[test]
fn a_verifier_with_a_memory_answers_as_one_without() {
    let warm = verifier();
    for case in cases::all() {
        assert_eq!(
            outcome(&run(&case, &warm)),
            outcome(&run(&case, &verifier())),
            "{}",
            case.name
        );
    }
}

#[test]
fn the_gateway_gets_the_claims_that_the_domain_signed_and_logged() {
    for alteration in common::alter::all()
        .iter()
        .filter(|it| it.refused.is_none())
    {
        let mut claims = claims();
        (alteration.apply)(&mut claims);
        let text = issue(&claims);
        let verified = call().verify(
            &verifier(),
            &text,
            &receipt_for(&text),
            &hold(&text, &call()),
        );
        assert_eq!(verified.unwrap().claims(), &claims, "{}", alteration.name);
    }
}

#[test]
fn every_flipped_bit_of_the_compact_text_is_refused() {
    let (good, verifier) = (cases::good_case(), verifier());
    for at in 0..good.artifact.len() {
        for bit in 0..7 {
            let mut bytes = good.artifact.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let text = String::from_utf8(bytes).unwrap();
            let result = call().verify(&verifier, &text, &good.receipt, &good.holder);
            let refusal = result.expect_err("a flipped bit was accepted");
            let early = [Step::Parse, Step::Header, Step::Signature].contains(&refusal.step);
            assert!(early, "byte {at}, bit {bit}: {refusal}");
        }
    }
}

#[test]
fn every_altered_byte_of_the_receipt_is_refused() {
    let (good, verifier) = (cases::good_case(), verifier());
    // The verifier knows the good checkpoint; a hit must not let an altered one pass.
    assert_eq!(outcome(&run(&good, &verifier)), Ok(()));
    let (entry, proof) = (good.receipt.entry.len(), good.receipt.proof.len());
    for at in 0..entry + proof {
        let mut receipt = good.receipt.clone();
        match at.checked_sub(entry) {
            None => receipt.entry[at] ^= 1,
            Some(at) => receipt.proof[at] ^= 1,
        }
        let result = call().verify(&verifier, &good.artifact, &receipt, &good.holder);
        let refusal = result.err().map(|refusal| (refusal.step, refusal.code));
        let expected = Some((Step::Receipt, DenialCode::ReceiptInvalid));
        assert_eq!(refusal, expected, "byte {at} of {entry} + {proof}");
    }
}

#[test]
fn an_artifact_counts_once_and_a_refused_one_is_not_used_up() {
    let (good, verifier) = (cases::good_case(), verifier());
    let mut guard = MemoryGuard::new(8);
    let mut present = |call: &common::Call| {
        let (artifact, receipt) = (&good.artifact, &good.receipt);
        outcome(&call.verify_with(&verifier, artifact, receipt, &good.holder, &mut guard))
    };
    let mut halted = call();
    halted.standing = Standing::Halted;
    assert_eq!(
        present(&halted),
        Err((Step::Revocation, DenialCode::Halted))
    );
    assert_eq!(present(&call()), Ok(()));
    assert_eq!(present(&call()), Err((Step::Replay, DenialCode::Replayed)));
}

#[test]
fn an_artifact_stays_used_for_as_long_as_any_skew_would_accept_it() {
    let (good, verifier) = (cases::good_case(), verifier());
    let mut guard = MemoryGuard::new(8);
    let mut late = call();
    late.skew = Seconds::new(60);
    let mut present = |now: u64| {
        late.now = Millis::new(now);
        let (artifact, receipt) = (&good.artifact, &good.receipt);
        outcome(&late.verify_with(&verifier, artifact, receipt, &good.holder, &mut guard))
    };
    assert_eq!(present(EXP * 1000 - 1), Ok(()));
    let last = EXP * 1000 + Skew::MAX.as_seconds().as_millis() - 1;
    assert_eq!(present(last), Err((Step::Replay, DenialCode::Replayed)));
    assert_eq!(present(last + 1), Err((Step::Window, DenialCode::Expired)));
}

#[test]
fn a_full_guard_refuses_as_overloaded() {
    let good = cases::good_case();
    let mut guard = MemoryGuard::new(0);
    let result = call().verify_with(
        &verifier(),
        &good.artifact,
        &good.receipt,
        &good.holder,
        &mut guard,
    );
    assert_eq!(
        outcome(&result),
        Err((Step::Replay, DenialCode::Overloaded))
    );
}

#[test]
fn an_artifact_is_made_again_from_its_claims_and_its_signature() {
    let artifact = Artifact::parse(&issued()).unwrap();
    let header = Header::new(&key(ARTIFACT_SEED).public(), Algorithm::EdDsa);
    let again = assemble(&claims(), &header, &artifact.signature().unwrap()).unwrap();
    assert_eq!(again, artifact);
    assert_eq!(again.digest(), common::digest_of(&issued()));
}

#[test]
fn an_audit_needs_neither_clock_nor_call_and_checks_the_record_key_too() {
    let good = cases::good_case();
    let audited = verifier().audit(&good.artifact, &good.receipt).unwrap();
    assert_eq!((audited.claims(), audited.index().get()), (&claims(), 0));
    let statement = Record::of(&good.artifact).statement();
    let forged = envelope(STATEMENT_MEDIA_TYPE, statement, ATTACKER_SEED);
    let receipt = log(vec![forged]).remove(0);
    let refusal = verifier().audit(&good.artifact, &receipt).unwrap_err();
    assert_eq!(
        (refusal.step, refusal.code),
        (Step::Receipt, DenialCode::ReceiptInvalid)
    );
    // On the way to a call, inclusion in the log decides.
    assert!(
        call()
            .verify(&verifier(), &good.artifact, &receipt, &good.holder)
            .is_ok()
    );
}

#[test]
fn audits_refuse_whatever_is_refused_before_the_call_matters() {
    for case in cases::all() {
        let Err((step, code)) = case.outcome else {
            continue;
        };
        if step > Step::Receipt || [Step::Window, Step::Audience].contains(&step) {
            continue;
        }
        let refusal = verifier().audit(&case.artifact, &case.receipt).unwrap_err();
        assert_eq!((refusal.step, refusal.code), (step, code), "{}", case.name);
    }
}

#[test]
fn a_small_order_key_can_be_neither_pinned_nor_held() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert!(placet_types::PublicKey::import(&identity).is_err());
}

#[test]
fn pins_that_share_a_key_or_name_another_log_make_no_verifier() {
    let pins = || Pins {
        domain: DomainName::parse(common::DOMAIN).unwrap(),
        artifact_key: key(ARTIFACT_SEED).public(),
        record_key: key(RECORD_SEED).public(),
        log: log_policy(),
    };
    let make = |change: fn(&mut Pins)| {
        let mut pins = pins();
        change(&mut pins);
        Verifier::new(pins).err()
    };
    assert_eq!(make(|_| ()), None);
    let shared = Some(PinError::SharedKey);
    assert_eq!(make(|pins| pins.record_key = pins.artifact_key), shared);
    assert_eq!(
        make(|pins| pins.artifact_key = key(common::LOG_SEED).public()),
        shared
    );
    assert_eq!(
        make(|pins| pins.record_key = key(common::WITNESS_SEED).public()),
        shared
    );
    let other = Some(PinError::OtherLog);
    assert_eq!(
        make(|pins| pins.domain = DomainName::parse("placet.example/o").unwrap()),
        other
    );
    let logless = placet_tlog::Policy::builder()
        .no_quorum()
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(
        Verifier::new(Pins {
            log: logless,
            ..pins()
        })
        .err(),
        other
    );
}
