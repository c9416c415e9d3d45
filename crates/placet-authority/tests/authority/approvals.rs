//! Permits that wait for people.

use placet_authority::submission::Deferred;
use placet_authority::{Act, Answer, Authority, Submission};
use placet_evidence::{ApprovalStatement, PrincipalStatus, Record, Selector, Verdict};
use placet_policy::BundleFiles;
use placet_types::{DenialCode, Index, PrincipalId, SigningKey, Thumbprint};
use zeroize::Zeroizing;

use crate::support::{
    AGENT, NOW, OPERATOR, UID, World, archive, assert_replays, denied, principal, record, revision,
    submission,
};

/// The starter bundle, in which listing needs two leads.
fn asking(number: u64) -> BundleFiles {
    let mut files = revision(number).0;
    let policy = "@id(\"two-leads\") @profile(\"readonly\") @approvals(\"2 of leads within 10m\")\n\
                  permit(principal in Group::\"agents\", action == Action::\"process:run\", resource)\n\
                  when { resource.name == \"reboot-all\" };\n";
    files.insert("policies/leads.cedar".into(), policy.as_bytes().to_vec());
    files.remove("tests/leads.toml");
    files.into_iter().collect()
}

/// A world in which `reboot-all` waits for two of three leads.
fn world() -> (World, Authority) {
    let world = World::new();
    let authority = world.open();
    let (archive, bundle) = archive(&asking(2), Some(&world.operator_key()));
    act(&authority, OPERATOR, Act::Activate { archive, bundle }).unwrap();
    for (number, name) in ["user:ann", "user:bob", "user:cle"].iter().enumerate() {
        register(&authority, name, "leads", &key(number));
    }
    register(&authority, "user:dan", "others", &key(3));
    (world, authority)
}

pub(crate) fn key(number: usize) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([u8::try_from(number).unwrap() + 100; 32]))
}

fn register(authority: &Authority, name: &str, group: &str, key: &SigningKey) {
    let body = Act::Principal {
        id: principal(name),
        groups: group.split(',').map(str::to_owned).collect(),
        keys: vec![Thumbprint::of(&key.public())],
        uids: vec![UID],
        acts_for: vec![],
        status: PrincipalStatus::Active,
    };
    act(authority, OPERATOR, body).unwrap();
}

fn act(authority: &Authority, by: &str, act: Act) -> Result<Index, DenialCode> {
    authority
        .act(act, principal(by))
        .unwrap()
        .map_err(|error| error.code)
}

fn deferred(authority: &Authority, call: &Submission) -> Deferred {
    match authority.submit(call.clone()).unwrap() {
        Answer::Deferred(deferred) => *deferred,
        other @ (Answer::Permitted(_) | Answer::Denied(_)) => panic!("not deferred: {other:?}"),
    }
}

pub(crate) fn signed(
    authority: &Authority,
    waits: &Deferred,
    by: &str,
    key: &SigningKey,
    verdict: Verdict,
) -> Act {
    let Record::Decided(decided) = record(authority, waits.index) else {
        panic!("a decision");
    };
    let statement = ApprovalStatement {
        by: principal(by),
        domain: authority.with_state(|state| state.genesis().domain.clone()),
        intent: decided.intent.digest(),
        reason: "looked at it".into(),
        verdict,
    };
    Act::Approve {
        exec: waits.exec,
        key: key.public(),
        reason: "looked at it".into(),
        signature: key.sign(&statement.signed_bytes().unwrap()),
        verdict,
    }
}

fn approve(
    authority: &Authority,
    waits: &Deferred,
    by: &str,
    number: usize,
) -> Result<Index, DenialCode> {
    let said = signed(authority, waits, by, &key(number), Verdict::Approve);
    act(authority, by, said)
}

#[test]
fn enough_approvals_lead_to_a_fresh_decision_and_count_once() {
    let (_world, authority) = world();
    let call = submission(&["reboot-all"], None);
    let waits = deferred(&authority, &call);
    assert_eq!(waits.waiting.in_words(), "2 of leads");
    let size = authority.reader().size();
    // Asking again changes nothing and is not recorded again.
    assert_eq!(deferred(&authority, &call), waits);
    assert_eq!(authority.reader().size(), size);
    approve(&authority, &waits, "user:ann", 0).unwrap();
    assert_eq!(deferred(&authority, &call), waits);
    approve(&authority, &waits, "user:bob", 1).unwrap();
    let Answer::Permitted(permitted) = authority.submit(call.clone()).unwrap() else {
        panic!("permitted");
    };
    assert_eq!(permitted.exec, waits.exec);
    let by: Vec<PrincipalId> = ["user:ann", "user:bob"].map(principal).to_vec();
    assert_eq!(permitted.grant.approved_by, by);
    // The very same intent again would need approvals of its own, and its id is taken.
    assert_ne!(
        deferred(&authority, &submission(&["reboot-all"], None)).exec,
        waits.exec
    );
    assert!(approve(&authority, &waits, "user:cle", 2).is_err());
    assert_replays(&authority);
}

#[test]
fn what_does_not_count_as_an_approval() {
    let (_world, authority) = world();
    let call = submission(&["reboot-all"], None);
    let waits = deferred(&authority, &call);
    // The agent itself, with a key of its own.
    register(&authority, AGENT, "agents,leads", &key(9));
    let code = |result: Result<Index, DenialCode>| result.unwrap_err();
    assert_eq!(
        code(approve(&authority, &waits, AGENT, 9)),
        DenialCode::IdentityUnverified
    );
    // Another's key; a principal that nobody knows.
    assert_eq!(
        code(approve(&authority, &waits, "user:ann", 1)),
        DenialCode::IdentityUnverified
    );
    assert_eq!(
        code(approve(&authority, &waits, "user:eve", 0)),
        DenialCode::IdentityUnverified
    );
    // A signature for somebody else, for another verdict, and for another intent.
    let other = deferred(&authority, &submission(&["reboot-all"], None));
    for said in [
        signed(&authority, &waits, "user:bob", &key(0), Verdict::Approve),
        with_verdict(signed(
            &authority,
            &waits,
            "user:ann",
            &key(0),
            Verdict::Reject,
        )),
        of(
            waits.exec,
            signed(&authority, &other, "user:ann", &key(0), Verdict::Approve),
        ),
    ] {
        assert_eq!(
            code(act(&authority, "user:ann", said)),
            DenialCode::InvalidSignature
        );
    }
    // In the log, but in no group that counts; and the same approver does not count twice.
    approve(&authority, &waits, "user:dan", 3).unwrap();
    approve(&authority, &waits, "user:ann", 0).unwrap();
    assert_eq!(
        code(approve(&authority, &waits, "user:ann", 0)),
        DenialCode::Replayed
    );
    deferred(&authority, &call);
    // Suspended since: it does not count any more.
    approve(&authority, &waits, "user:bob", 1).unwrap();
    let revoke = Act::Revoke {
        selector: Selector::Principal(principal("user:bob")),
        reason: "left".into(),
    };
    act(&authority, OPERATOR, revoke).unwrap();
    deferred(&authority, &call);
    assert_replays(&authority);
}

pub(crate) fn with_verdict(said: Act) -> Act {
    let Act::Approve {
        exec,
        key,
        reason,
        signature,
        ..
    } = said
    else {
        panic!("an approval");
    };
    Act::Approve {
        exec,
        key,
        reason,
        signature,
        verdict: Verdict::Approve,
    }
}

pub(crate) fn of(exec: placet_types::ExecutionId, said: Act) -> Act {
    let Act::Approve {
        key,
        reason,
        signature,
        verdict,
        ..
    } = said
    else {
        panic!("an approval");
    };
    Act::Approve {
        exec,
        key,
        reason,
        signature,
        verdict,
    }
}

#[test]
fn a_rejection_denies() {
    let (_world, authority) = world();
    let call = submission(&["reboot-all"], None);
    let waits = deferred(&authority, &call);
    approve(&authority, &waits, "user:ann", 0).unwrap();
    let no = signed(&authority, &waits, "user:bob", &key(1), Verdict::Reject);
    act(&authority, "user:bob", no).unwrap();
    approve(&authority, &waits, "user:cle", 2).unwrap();
    let denial = denied(&authority, call);
    assert_eq!(
        (denial.check, denial.code),
        (10, DenialCode::ApprovalRequired)
    );
    assert_replays(&authority);
}

#[test]
fn what_waited_too_long_begins_anew() {
    let (world, authority) = world();
    let call = submission(&["reboot-all"], None);
    let waits = deferred(&authority, &call);
    approve(&authority, &waits, "user:ann", 0).unwrap();
    world.clock.set(NOW + 10 * 60_000);
    assert_eq!(
        approve(&authority, &waits, "user:bob", 1),
        Err(DenialCode::Expired)
    );
    let again = deferred(&authority, &call);
    assert_ne!(again.exec, waits.exec);
    approve(&authority, &again, "user:bob", 1).unwrap();
    deferred(&authority, &call);
    assert_replays(&authority);
}

#[test]
fn an_approval_never_overrides_policy() {
    let (world, authority) = world();
    let call = submission(&["reboot-all"], None);
    let waits = deferred(&authority, &call);
    approve(&authority, &waits, "user:ann", 0).unwrap();
    approve(&authority, &waits, "user:bob", 1).unwrap();
    let (archive, bundle) = archive(&revision(3), Some(&world.operator_key()));
    act(&authority, OPERATOR, Act::Activate { archive, bundle }).unwrap();
    assert_eq!(denied(&authority, call).code, DenialCode::NoPermit);
    assert_replays(&authority);
}

#[test]
fn what_waits_survives_the_node() {
    let (world, authority) = world();
    let call = submission(&["reboot-all"], None);
    let waits = deferred(&authority, &call);
    approve(&authority, &waits, "user:ann", 0).unwrap();
    authority.close().unwrap();
    drop(authority);
    let authority = world.open();
    approve(&authority, &waits, "user:bob", 1).unwrap();
    assert!(matches!(
        authority.submit(call).unwrap(),
        Answer::Permitted(_)
    ));
}
