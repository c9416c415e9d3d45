//! The life of an execution: permitted once, started once, ended once.

use placet_artifact::MemoryGuard;
use placet_artifact::holder::{Holder, HolderProof};
use placet_artifact::verify::{ActualParams, Expected, Pins, Presented, Skew, Standing, Verifier};
use placet_authority::submission::IntentForm;
use placet_authority::{Answer, EndReport};
use placet_evidence::{Caller, Exit, Outcome, Record, RunEnd};
use placet_types::{DenialCode, Digest, Intent, Millis};

use crate::support::{
    NOW, UID, World, another_key, assert_replays, denied, environment, gateway, permitted, record,
    started, submission,
};

#[test]
fn a_permit_is_in_the_log_and_its_artifact_verifies_against_the_call() {
    let world = World::new();
    let authority = world.open();
    let call = submission(&["git", "status"], None);
    let intent = Intent::decode(call.intent.as_bytes()).unwrap();
    let Answer::Permitted(permitted) = authority.submit(call.clone()).unwrap() else {
        panic!("denied")
    };
    let Record::Decided(decided) = record(&authority, permitted.index) else {
        panic!("kind")
    };
    assert_eq!(decided.outcome, Outcome::Permit);
    assert_eq!(decided.artifact, Some(permitted.artifact.digest()));

    let genesis = authority.with_state(|state| state.genesis().clone());
    let verifier = Verifier::new(Pins {
        domain: genesis.domain,
        artifact_key: genesis.keys.artifact,
        record_key: genesis.keys.record,
        log: placet_authority::init::public_policy(&world.dir).unwrap(),
    })
    .unwrap();
    let holder = HolderProof::make(&another_key(), &permitted.artifact.digest(), b"challenge");
    let environment = environment(Some(placet_types::Tier::U1)).digest();
    let live = |_: &placet_artifact::Claims| Standing::Live;
    let expected = Expected {
        gateway: &gateway(),
        intent: &intent,
        params: ActualParams::Opening {
            payload: call.params.bytes(),
            salt: call.params.salt(),
        },
        environment: &environment,
        policy: &decided.policy.bundle.unwrap(),
        revocations: &live,
        challenge: b"challenge",
        now: Millis::new(NOW),
        skew: Skew::NONE,
    };
    let presented = Presented {
        artifact: permitted.artifact.as_str(),
        receipt: &permitted.receipt,
        holder: Holder::Proven(&holder),
    };
    let verified = verifier
        .verify(&presented, &expected, &mut MemoryGuard::new(8))
        .unwrap();
    assert_eq!(verified.index(), permitted.index);
    assert_replays(&authority);
}

#[test]
fn an_artifact_starts_one_execution_once() {
    let world = World::new();
    let authority = world.open();
    let permitted = started(&authority, &["ls"]);
    let digest = permitted.artifact.digest();
    let again = authority
        .start(permitted.exec, digest, gateway(), Caller::Unix(UID), None)
        .unwrap()
        .unwrap_err();
    assert_eq!(again.denial.code, DenialCode::Replayed);
    assert!(
        matches!(record(&authority, again.index), Record::Refused(_)),
        "it is recorded"
    );
    let end = EndReport {
        exec: permitted.exec,
        outcome: RunEnd::Completed,
        cause: None,
        exit: Some(Exit::Code(0)),
        usage: None,
    };
    authority.end(end.clone()).unwrap().unwrap();
    let after = authority
        .start(permitted.exec, digest, gateway(), Caller::Unix(UID), None)
        .unwrap()
        .unwrap_err();
    assert_eq!(after.denial.code, DenialCode::Replayed);
    assert!(
        authority.end(end).unwrap().is_err(),
        "an end is recorded once"
    );
}

#[test]
fn an_artifact_of_another_execution_does_not_start_this_one() {
    let world = World::new();
    let authority = world.open();
    let (one, other) = (
        permitted(&authority, &["ls"]),
        permitted(&authority, &["cat", "a"]),
    );
    let digest = other.artifact.digest();
    let denied = authority
        .start(one.exec, digest, gateway(), Caller::Unix(UID), None)
        .unwrap()
        .unwrap_err();
    assert_eq!(denied.denial.code, DenialCode::IntentMismatch);
}

#[test]
fn a_start_after_the_window_is_denied() {
    let world = World::new();
    let authority = world.open();
    let permitted = permitted(&authority, &["ls"]);
    world.clock.set(permitted.grant.not_after.get());
    let digest = permitted.artifact.digest();
    let denied = authority
        .start(permitted.exec, digest, gateway(), Caller::Unix(UID), None)
        .unwrap()
        .unwrap_err();
    assert_eq!(denied.denial.code, DenialCode::Expired);
}

#[test]
fn a_malformed_intent_is_denied_and_recorded() {
    let world = World::new();
    let authority = world.open();
    let mut broken = submission(&["ls"], None);
    broken.intent = IntentForm::Bytes([broken.intent.as_bytes(), b" "].concat());
    let Answer::Denied(answer) = authority.submit(broken).unwrap() else {
        panic!("permitted")
    };
    assert_eq!(answer.denial.code, DenialCode::Malformed);
    assert!(matches!(
        record(&authority, answer.index),
        Record::Refused(_)
    ));
}

#[test]
fn parameters_that_the_commitment_does_not_open_to_are_denied() {
    let world = World::new();
    let authority = world.open();
    let mut other = submission(&["ls"], None);
    other.params = submission(&["cat", "secret"], None).params;
    assert_eq!(denied(&authority, other).code, DenialCode::Malformed);
}

#[test]
fn who_may_not_act_as_a_principal_is_denied() {
    let world = World::new();
    let authority = world.open();
    let mut foreign = submission(&["ls"], None);
    foreign.caller = Caller::Unix(UID + 1);
    assert_eq!(
        denied(&authority, foreign).code,
        DenialCode::IdentityUnverified
    );
}

#[test]
fn a_machine_that_cannot_enforce_is_not_trusted() {
    let world = World::new();
    let authority = world.open();
    let mut weak = submission(&["ls"], None);
    weak.environment = environment(None);
    assert_eq!(
        denied(&authority, weak).code,
        DenialCode::EnvironmentUntrusted
    );
}

#[test]
fn a_child_lies_within_its_parent_and_ends_with_it() {
    let world = World::new();
    let authority = world.open();
    let parent = started(&authority, &["ls"]);
    let Answer::Permitted(child) = authority
        .submit(submission(&["ls"], Some(parent.exec)))
        .unwrap()
    else {
        panic!("denied")
    };
    assert_eq!(child.scope.excess_over(&parent.scope), None);
    assert_eq!((child.grant.depth, child.grant.root), (1, parent.exec));
    authority
        .start(
            child.exec,
            child.artifact.digest(),
            gateway(),
            Caller::Unix(UID),
            None,
        )
        .unwrap()
        .unwrap();
    let end = EndReport {
        exec: parent.exec,
        outcome: RunEnd::Completed,
        cause: None,
        exit: Some(Exit::Code(0)),
        usage: None,
    };
    authority.end(end).unwrap().unwrap();
    let endings = world.endings.lock().unwrap().clone();
    assert_eq!(endings, [(child.exec, DenialCode::LineageFragmented)]);
    let orphan = submission(&["ls"], Some(parent.exec));
    assert_eq!(
        denied(&authority, orphan).code,
        DenialCode::LineageFragmented
    );
    assert_replays(&authority);
}

#[test]
fn record_time_never_goes_back_when_the_clock_does() {
    let world = World::new();
    let authority = world.open();
    let before = permitted(&authority, &["ls"]);
    world.clock.set(NOW - 3_600_000);
    let after = permitted(&authority, &["ls"]);
    let time = |index| record(&authority, index).time();
    assert!(time(after.index) >= time(before.index));
}

#[test]
fn a_thousand_intents_from_many_callers_are_each_recorded_once() {
    let world = World::new();
    let authority = world.open();
    let before = authority.reader().size().get();
    let indices: Vec<u64> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    (0..50)
                        .map(|_| permitted(&authority, &["ls"]).index.get())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap())
            .collect()
    });
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 1000, "no index was given twice");
    assert_eq!(authority.reader().size().get(), before + 1000);
    assert_replays(&authority);
}

#[test]
fn a_state_that_was_folded_again_is_the_same() {
    let world = World::new();
    let authority = world.open();
    started(&authority, &["ls"]);
    permitted(&authority, &["git", "status"]);
    denied(&authority, submission(&["git", "push"], None));
    let live = authority.with_state(Clone::clone);
    authority.close().unwrap();
    let saved = std::fs::read_dir(world.dir.snapshots()).unwrap().count();
    assert!(saved > 0, "closing saves the fold");
    drop(authority);
    assert_eq!(
        world.open().with_state(Clone::clone),
        live,
        "from the saved fold"
    );
    std::fs::remove_dir_all(world.dir.snapshots()).unwrap();
    assert_eq!(
        world.open().with_state(Clone::clone),
        live,
        "from the log alone"
    );
    let digest = Digest::of(&live.to_snapshot().unwrap());
    assert_eq!(
        digest,
        Digest::of(&world.open().with_state(|s| s.to_snapshot().unwrap()))
    );
}
