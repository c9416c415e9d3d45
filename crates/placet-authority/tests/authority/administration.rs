//! Administration that the bundle in force governs, and every way round it that we could think of.

use placet_authority::submission::{Deferred, IntentForm};
use placet_authority::{Act, Answer, Authority, NotPermitted};
use placet_decision::Params;
use placet_evidence::{Caller, Entry, PrincipalStatus, Record, Resumed, Selector, Verdict};
use placet_log::{Item, Sequencer as _};
use placet_policy::BundleFiles;
use placet_types::{ActionName, DenialCode, GatewayName, Index, Intent, PrincipalId, Thumbprint};

use crate::approvals::{key, of, signed};
use crate::support::{
    AGENT, OPERATOR, UID, World, archive, assert_replays, bundle_of, principal, record, revised,
    revision, submission,
};

/// The governed example under a revision of its own.
fn governed(number: u64) -> BundleFiles {
    revised(bundle_of("governed"), number)
}

/// With another policy in it.
fn changed(number: u64, policy: &str) -> BundleFiles {
    let mut files = governed(number).0;
    files.insert("policies/more.cedar".into(), policy.as_bytes().to_vec());
    // Its own tests say what it decides without that one.
    files.remove("tests/administration.toml");
    files.into_iter().collect()
}

const MORE: &str = "@id(\"more\")\npermit(principal in Group::\"others\", action == Action::\"admin:resume\", resource);\n";

const ADMINISTRATORS: [&str; 3] = ["user:ann", "user:bob", "user:cle"];

/// A world whose administration is governed.
fn world() -> (World, Authority) {
    let world = World::new();
    let authority = world.open();
    for (number, name) in ADMINISTRATORS.iter().enumerate() {
        done(&authority, register(name, "administrators", number));
    }
    done(&authority, activate(&world, &governed(2)));
    (world, authority)
}

fn register(name: &str, group: &str, number: usize) -> Act {
    Act::Principal {
        id: principal(name),
        groups: group.split(',').map(str::to_owned).collect(),
        keys: vec![Thumbprint::of(&key(number).public())],
        uids: vec![UID],
        acts_for: vec![],
        status: PrincipalStatus::Active,
    }
}

fn activate(world: &World, files: &BundleFiles) -> Act {
    let (archive, bundle) = archive(files, Some(&world.operator_key()));
    Act::Activate { archive, bundle }
}

fn resume() -> Act {
    Act::Resume {
        node: None,
        reason: "drill is over".into(),
    }
}

fn halt() -> Act {
    Act::Halt {
        reason: "drill".into(),
    }
}

fn act(
    authority: &Authority,
    by: &str,
    act: Act,
) -> Result<Index, (DenialCode, Option<NotPermitted>)> {
    let done = authority.act_for(act, principal(by), Caller::Unix(UID));
    done.unwrap().map_err(|error| (error.code, error.decided))
}

fn done(authority: &Authority, what: Act) -> Index {
    act(authority, OPERATOR, what).unwrap()
}

fn waits(authority: &Authority, what: Act) -> Deferred {
    match act(authority, OPERATOR, what) {
        Err((DenialCode::ApprovalRequired, Some(NotPermitted::Waits(deferred)))) => *deferred,
        other => panic!("does not wait: {other:?}"),
    }
}

fn code(authority: &Authority, what: Act) -> DenialCode {
    act(authority, OPERATOR, what).unwrap_err().0
}

fn approve(authority: &Authority, waits: &Deferred, number: usize) -> Act {
    let by = ADMINISTRATORS[number];
    let said = signed(authority, waits, by, &key(number), Verdict::Approve);
    act(authority, by, said.clone()).unwrap();
    said
}

fn in_force(authority: &Authority) -> u64 {
    authority.with_state(|state| state.policy().unwrap().revision)
}

#[test]
fn a_bundle_comes_into_force_by_the_permit_of_the_one_before_and_by_two_of_three() {
    let (world, authority) = world();
    let next = governed(3);
    let asked = waits(&authority, activate(&world, &next));
    assert_eq!(asked.waiting.in_words(), "2 of administrators");
    assert_eq!(in_force(&authority), 2);
    approve(&authority, &asked, 0);
    assert_eq!(waits(&authority, activate(&world, &next)).exec, asked.exec);
    approve(&authority, &asked, 2);
    let index = done(&authority, activate(&world, &next));
    let Record::Policy(activated) = record(&authority, index) else {
        panic!("an activation");
    };
    assert_eq!(
        (
            activated.decided_by,
            activated.governs,
            in_force(&authority)
        ),
        (Some(asked.exec), true, 3)
    );
    // What was decided stands before it, and names who approved.
    let Record::Decided(decided) = record(&authority, Index::new(index.get() - 1)) else {
        panic!("a decision");
    };
    let by: Vec<PrincipalId> = ["user:ann", "user:cle"].map(principal).to_vec();
    assert_eq!(decided.grant.unwrap().approved_by, by);
    assert_replays(&authority);
}

#[test]
fn what_policies_see_of_a_bundle_is_what_changes() {
    let (world, authority) = world();
    let mut files = changed(3, MORE).0;
    let text = String::from_utf8(files["policies/administration.cedar"].clone()).unwrap();
    let weaker = text.replacen("2 of administrators", "1 of administrators", 1);
    files.insert("policies/administration.cedar".into(), weaker.into_bytes());
    let asked = waits(&authority, activate(&world, &files.into_iter().collect()));
    let placet_log::Payload::Present(payload) = authority.reader().payload(asked.index).unwrap()
    else {
        panic!("parameters");
    };
    let said = String::from_utf8(payload[32..].to_vec()).unwrap();
    for part in [
        r#""approvals_changed":true"#,
        r#""governs":true"#,
        r#""identities_changed":false"#,
        r#""policies_added":["more"]"#,
        r#""policies_changed":["activate"]"#,
        r#""members":["bundle.toml","tests/administration.toml"]"#,
        r#""from_revision":2"#,
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn governance_is_not_shaken_off_by_a_bundle_without_it() {
    let (world, authority) = world();
    // The starter governs nothing; nor may it come back under a higher revision.
    for files in [revision(3), revision(9)] {
        let refused = act(&authority, OPERATOR, activate(&world, &files)).unwrap_err();
        assert!(matches!(
            refused,
            (DenialCode::NoPermit, Some(NotPermitted::Denied(_)))
        ));
    }
    assert_eq!(in_force(&authority), 2);
    // Nor on a stopped node, nor for whoever runs the process.
    authority.close().unwrap();
    drop(authority);
    let authority = world.open();
    let direct = authority.act(activate(&world, &revision(3)), principal(OPERATOR));
    assert!(direct.unwrap().is_err());
    assert_eq!(in_force(&authority), 2);
    assert_replays(&authority);
}

#[test]
fn an_old_approval_counts_for_no_other_bundle_and_not_twice() {
    let (world, authority) = world();
    let first = waits(&authority, activate(&world, &governed(3)));
    let said = [
        approve(&authority, &first, 0),
        approve(&authority, &first, 1),
    ];
    // Another bundle under the same name, while the first is approved.
    let other = changed(3, MORE);
    let second = waits(&authority, activate(&world, &other));
    assert_ne!(second.exec, first.exec);
    for (number, act_of) in said.iter().enumerate() {
        let moved = of(second.exec, act_of.clone());
        let refused = act(&authority, ADMINISTRATORS[number], moved).unwrap_err();
        assert_eq!(refused.0, DenialCode::InvalidSignature);
    }
    waits(&authority, activate(&world, &other));
    done(&authority, activate(&world, &governed(3)));
    // The same act again is asked for anew: what was said of it counted once.
    done(&authority, halt());
    let one = waits(&authority, resume());
    let said = approve(&authority, &one, 0);
    done(&authority, resume());
    done(&authority, halt());
    let two = waits(&authority, resume());
    assert_ne!(one.exec, two.exec);
    let refused = act(&authority, "user:ann", of(two.exec, said)).unwrap_err();
    assert_eq!(refused.0, DenialCode::InvalidSignature);
    waits(&authority, resume());
    assert_replays(&authority);
}

#[test]
fn whoever_asks_does_not_approve() {
    let (world, authority) = world();
    // An operator who is an administrator too, put there by two others.
    let make = || register("user:dan", "operators,administrators", 7);
    let asked = waits(&authority, make());
    approve(&authority, &asked, 0);
    approve(&authority, &asked, 1);
    done(&authority, make());
    let by_dan = |what| act(&authority, "user:dan", what);
    let Err((_, Some(NotPermitted::Waits(asked)))) = by_dan(activate(&world, &governed(3))) else {
        panic!("waits");
    };
    let own = signed(&authority, &asked, "user:dan", &key(7), Verdict::Approve);
    assert_eq!(by_dan(own).unwrap_err().0, DenialCode::IdentityUnverified);
    approve(&authority, &asked, 0);
    assert_eq!(
        by_dan(activate(&world, &governed(3))).unwrap_err().0,
        DenialCode::ApprovalRequired
    );
    // What one operator asked for is not the other's to do.
    approve(&authority, &asked, 1);
    assert_ne!(
        waits(&authority, activate(&world, &governed(3))).exec,
        asked.exec
    );
    by_dan(activate(&world, &governed(3))).unwrap();
}

#[test]
fn policy_that_changed_while_an_act_waited_decides_it_afresh() {
    let (world, authority) = world();
    let late = waits(&authority, activate(&world, &governed(9)));
    approve(&authority, &late, 0);
    approve(&authority, &late, 1);
    let frozen =
        "@id(\"frozen\") forbid(principal, action == Action::\"admin:activate\", resource);\n";
    let freeze = waits(&authority, activate(&world, &changed(3, frozen)));
    approve(&authority, &freeze, 0);
    approve(&authority, &freeze, 2);
    done(&authority, activate(&world, &changed(3, frozen)));
    assert_eq!(
        code(&authority, activate(&world, &governed(9))),
        DenialCode::PolicyForbids
    );
    assert_eq!(in_force(&authority), 3);
    assert_replays(&authority);
}

#[test]
fn what_an_act_changes_may_not_change_while_it_waits() {
    let (world, authority) = world();
    let late = waits(&authority, activate(&world, &governed(9)));
    approve(&authority, &late, 0);
    approve(&authority, &late, 1);
    let next = changed(3, MORE);
    let asked = waits(&authority, activate(&world, &next));
    approve(&authority, &asked, 0);
    approve(&authority, &asked, 1);
    done(&authority, activate(&world, &next));
    // It would now take something else away than what was looked at: approved anew.
    assert_ne!(
        waits(&authority, activate(&world, &governed(9))).exec,
        late.exec
    );
}

#[test]
fn taking_trust_away_waits_for_nobody_and_giving_it_back_does() {
    let (_world, authority) = world();
    done(&authority, halt());
    let revoke = Act::Revoke {
        selector: Selector::Principal(principal(AGENT)),
        reason: "drill".into(),
    };
    done(&authority, revoke);
    let suspended = Act::Principal {
        id: principal("user:cle"),
        groups: vec!["administrators".into()],
        keys: vec![Thumbprint::of(&key(2).public())],
        uids: vec![UID],
        acts_for: vec![],
        status: PrincipalStatus::Suspended,
    };
    done(&authority, suspended);
    // Suspending somebody and giving them something is not only taking away.
    let more = Act::Principal {
        id: principal("user:bob"),
        groups: vec!["administrators".into(), "operators".into()],
        keys: vec![],
        uids: vec![UID],
        acts_for: vec![],
        status: PrincipalStatus::Suspended,
    };
    waits(&authority, more);
    let asked = waits(&authority, resume());
    assert!(authority.with_state(placet_state::State::is_halted));
    approve(&authority, &asked, 1);
    done(&authority, resume());
    assert!(!authority.with_state(placet_state::State::is_halted));
    assert_replays(&authority);
}

#[test]
fn no_intent_from_outside_is_an_act_of_administration() {
    let (_world, authority) = world();
    let mut call = submission(&["true"], None);
    let mut intent = Intent::decode(call.intent.as_bytes()).unwrap();
    let body = br#"{"context":{"node":"","reason":""}}"#.to_vec();
    let salt = placet_types::Salt::new([3; 32]);
    for (action, gateway) in [
        ("admin:resume", "administration"),
        ("admin:resume", "process"),
        ("payment:send", "administration"),
    ] {
        intent.action = ActionName::parse(action).unwrap();
        intent.gateway = GatewayName::parse(gateway).unwrap();
        intent.principal = principal(OPERATOR);
        intent.params = placet_types::Commitment::to(action, &body, &salt);
        call.intent = IntentForm::Bytes(intent.to_canonical().unwrap());
        call.params = Params::new(body.clone(), salt.clone());
        let Answer::Denied(denied) = authority.submit(call.clone()).unwrap() else {
            panic!("denied");
        };
        assert_eq!(
            denied.denial.code,
            DenialCode::Malformed,
            "{action} {gateway}"
        );
    }
}

#[test]
fn a_log_with_an_act_that_nobody_permitted_does_not_open() {
    let (world, authority) = world();
    done(&authority, halt());
    let time = authority.with_state(placet_state::State::time);
    authority.close().unwrap();
    drop(authority);
    // Whoever holds the node's keys writes past the node.
    let mut log = placet_authority::init::open_log(&world.dir).unwrap();
    let keys = placet_authority::keys::NodeKeys::load(&world.dir).unwrap();
    let forged = Record::Resumed(Resumed {
        by: principal(OPERATOR),
        decided_by: None,
        node: None,
        reason: "nobody looks".into(),
        time,
    });
    let entry = Entry::seal(&forged, &keys.record).unwrap();
    let size = log.size();
    log.append(size, &[Item::public(entry.into_bytes())])
        .unwrap();
    drop(log);
    let error = Authority::open(world.running()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`admin:resume` without a permit"),
        "{error}"
    );
}
