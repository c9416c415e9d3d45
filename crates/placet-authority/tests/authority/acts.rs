//! Operators' acts, and what they end.

use placet_authority::{Act, Answer};
use placet_evidence::Selector;
use placet_policy::BundleFiles;
use placet_types::{DenialCode, Index, Millis, Tier};

use crate::support::{
    AGENT, NOW, OPERATOR, World, another_key, archive, assert_replays, denied, environment,
    permitted, principal, revision, started, starter, submission,
};

fn act(authority: &placet_authority::Authority, act: Act) -> Result<Index, DenialCode> {
    authority
        .act(act, principal(OPERATOR))
        .unwrap()
        .map_err(|error| error.code)
}

fn revoke(selector: Selector) -> Act {
    Act::Revoke {
        selector,
        reason: "test".into(),
    }
}

#[test]
fn a_revoked_execution_is_told_to_end_and_a_revoked_artifact_does_not_start() {
    let world = World::new();
    let authority = world.open();
    let runs = started(&authority, &["ls"]);
    act(&authority, revoke(Selector::Execution(runs.exec))).unwrap();
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(runs.exec, DenialCode::Revoked)]
    );
    let waits = permitted(&authority, &["ls"]);
    act(&authority, revoke(Selector::Artifact(waits.exec))).unwrap();
    let gateway = crate::support::gateway();
    let start = authority
        .start(
            waits.exec,
            waits.artifact.digest(),
            gateway,
            placet_evidence::Caller::Unix(0),
            None,
        )
        .unwrap();
    assert_eq!(start.unwrap_err().denial.code, DenialCode::Revoked);
}

#[test]
fn a_revoked_principal_is_ended_and_denied_until_it_is_restored() {
    let world = World::new();
    let authority = world.open();
    let runs = started(&authority, &["ls"]);
    act(&authority, revoke(Selector::Principal(principal(AGENT)))).unwrap();
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(runs.exec, DenialCode::Revoked)]
    );
    assert_eq!(
        denied(&authority, submission(&["ls"], None)).code,
        DenialCode::Revoked
    );
    let restored = Act::Principal {
        id: principal(AGENT),
        groups: vec!["agents".into()],
        keys: vec![],
        uids: vec![crate::support::UID],
        acts_for: vec![],
        status: placet_evidence::PrincipalStatus::Active,
    };
    act(&authority, restored).unwrap();
    permitted(&authority, &["ls"]);
    assert_replays(&authority);
}

#[test]
fn a_revoked_policy_permits_nothing_until_another_bundle_is_in_force() {
    let world = World::new();
    let authority = world.open();
    let runs = started(&authority, &["ls"]);
    let policy = authority.with_state(|state| {
        state
            .execution(&runs.exec)
            .unwrap()
            .determining
            .first()
            .cloned()
    });
    act(&authority, revoke(Selector::Policy(policy.unwrap()))).unwrap();
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(runs.exec, DenialCode::Revoked)]
    );
    assert_eq!(
        denied(&authority, submission(&["ls"], None)).code,
        DenialCode::Revoked
    );
    let (archive, bundle) = archive(&revision(1000), Some(&world.operator_key()));
    act(&authority, Act::Activate { archive, bundle }).unwrap();
    permitted(&authority, &["ls"]);
    assert_replays(&authority);
}

#[test]
fn a_halted_domain_ends_everything_and_denies_until_it_is_resumed() {
    let world = World::new();
    let authority = world.open();
    let runs = started(&authority, &["ls"]);
    act(
        &authority,
        Act::Halt {
            reason: "drill".into(),
        },
    )
    .unwrap();
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(runs.exec, DenialCode::Halted)]
    );
    assert_eq!(
        denied(&authority, submission(&["ls"], None)).code,
        DenialCode::Halted
    );
    act(
        &authority,
        Act::Resume {
            node: None,
            reason: "over".into(),
        },
    )
    .unwrap();
    permitted(&authority, &["ls"]);
    assert_replays(&authority);
}

#[test]
fn a_permit_under_a_bundle_that_was_replaced_does_not_start() {
    let world = World::new();
    let authority = world.open();
    let waits = permitted(&authority, &["ls"]);
    let (archive, bundle) = archive(&revision(1000), Some(&world.operator_key()));
    act(&authority, Act::Activate { archive, bundle }).unwrap();
    let gateway = crate::support::gateway();
    let start = authority
        .start(
            waits.exec,
            waits.artifact.digest(),
            gateway,
            placet_evidence::Caller::Unix(0),
            None,
        )
        .unwrap();
    assert_eq!(start.unwrap_err().denial.code, DenialCode::PolicyMismatch);
}

#[test]
fn a_machine_of_a_weaker_tier_carries_out_only_what_accepts_that_by_name() {
    let world = World::new();
    let authority = world.open();
    let mut on_u0 = submission(&["ls"], None);
    on_u0.environment = environment(Some(Tier::U0));
    // The starter bundle trusts U1 and above.
    let refused = denied(&authority, on_u0.clone());
    assert_eq!(refused.code, DenialCode::EnvironmentUntrusted);
    let trusting = |number| {
        changed(number, "reference.toml", |text| {
            text.replacen("[\"U1\"]", "[\"U0\"]", 1)
        })
    };
    activate(&world, &authority, &trusting(2));
    // Trusted, and yet no profile accepts weaker enforcement.
    let refused = denied(&authority, on_u0.clone());
    assert_eq!(
        (refused.check, refused.code),
        (9, DenialCode::Unenforceable)
    );
    assert!(refused.reason.contains("tier U1") && refused.reason.contains("gives U0"));
    let mut accepting = trusting(3);
    for (_, text) in accepting
        .0
        .iter_mut()
        .filter(|(name, _)| name.starts_with("profiles/"))
    {
        text.splice(0..0, *b"tier = \"U0\"\n");
    }
    activate(&world, &authority, &accepting);
    assert!(matches!(
        authority.submit(on_u0).unwrap(),
        Answer::Permitted(_)
    ));
}

/// The starter bundle without its tests, changed in one file.
fn changed(number: u64, file: &str, change: impl Fn(&str) -> String) -> BundleFiles {
    let mut files = revision(number).0;
    files.retain(|name, _| !name.starts_with("tests/"));
    let text = String::from_utf8(files.remove(file).unwrap()).unwrap();
    files.insert(file.into(), change(&text).into_bytes());
    files.into_iter().collect()
}

fn activate(world: &World, authority: &placet_authority::Authority, files: &BundleFiles) {
    let (archive, bundle) = archive(files, Some(&world.operator_key()));
    act(authority, Act::Activate { archive, bundle }).unwrap();
}

#[test]
fn what_a_new_bundle_permits_no_longer_is_ended_and_the_rest_runs_on() {
    let world = World::new();
    let authority = world.open();
    let keeps = started(&authority, &["sh"]);
    let loses = started(&authority, &["ls"]);
    activate(&world, &authority, &revision(1000));
    assert_eq!(
        *world.endings.lock().unwrap(),
        [],
        "nothing changed for them"
    );
    let without_readers = changed(1001, "policies/agents.cedar", |text| {
        text.replacen("context.in_workspace", "context.verb == \"no\"", 1)
    });
    activate(&world, &authority, &without_readers);
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(loses.exec, DenialCode::PolicyMismatch)]
    );
    let running = |exec| authority.with_state(|state| state.execution(&exec).unwrap().is_live());
    assert!(running(keeps.exec) && !running(loses.exec));
    assert_replays(&authority);
}

#[test]
fn what_a_new_bundle_grants_less_to_is_ended() {
    let world = World::new();
    let authority = world.open();
    let runs = started(&authority, &["ls"]);
    let narrower = changed(1000, "profiles/agent.toml", |text| {
        text.replacen("processes = ", "processes = 1 # ", 1)
    });
    activate(&world, &authority, &narrower);
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(runs.exec, DenialCode::PolicyMismatch)]
    );
}

#[test]
fn a_node_that_was_lost_after_an_activation_decides_again_when_it_opens() {
    let world = World::new();
    let authority = world.open();
    let runs = started(&authority, &["ls"]);
    activate(&world, &authority, &revision(1000));
    authority.close().unwrap();
    drop(authority);
    // What is needed to decide again is gone: that is no permit.
    let bundle = archive(&revision(1000), Some(&world.operator_key())).1;
    std::fs::remove_file(world.dir.bundles().join(format!("{}.bundle", bundle.hex()))).unwrap();
    let authority = world.open();
    assert_eq!(
        *world.endings.lock().unwrap(),
        [(runs.exec, DenialCode::PolicyMismatch)]
    );
    drop(authority);
}

#[test]
fn a_bundle_counts_in_its_window_and_gives_no_authority_beyond_it() {
    let world = World::new();
    let authority = world.open();
    let validity = "\nnot_before = 2026-11-21T03:05:10Z\nexpires = 2026-11-21T03:06:00Z\n";
    let bundle = changed(1000, "bundle.toml", |text| format!("{text}{validity}"));
    activate(&world, &authority, &bundle);
    assert_eq!(
        denied(&authority, submission(&["ls"], None)).code,
        DenialCode::NotYetValid
    );
    world.clock.set(NOW + 20_000);
    let permit = permitted(&authority, &["ls"]);
    assert_eq!(permit.grant.not_after, Millis::new(NOW + 60_000));
    world.clock.set(NOW + 60_000);
    assert_eq!(
        denied(&authority, submission(&["ls"], None)).code,
        DenialCode::Expired
    );
    assert_replays(&authority);
}

#[test]
fn a_bundle_that_fails_anything_leaves_the_last_good_one_in_force() {
    let world = World::new();
    let authority = world.open();
    let active = authority.with_state(|state| state.policy().cloned());
    let key = world.operator_key();
    let mut failing = revision(1000).0;
    failing.insert(
        "policies/zz.cedar".into(),
        b"@id(\"zz-nothing\")\n@description(\"forbids all\")\nforbid(principal, action, resource);\n"
            .to_vec(),
    );
    let failing = failing.into_iter().collect();
    let activate = |(archive, bundle)| Act::Activate { archive, bundle };
    let cases = [
        (
            "unsigned",
            activate(archive(&revision(1000), None)),
            DenialCode::InvalidSignature,
        ),
        (
            "signed by a stranger",
            activate(archive(&revision(1000), Some(&another_key()))),
            DenialCode::InvalidSignature,
        ),
        (
            "its tests fail",
            activate(archive(&failing, Some(&key))),
            DenialCode::PolicyError,
        ),
        (
            "it has expired",
            activate(archive(
                &changed(1000, "bundle.toml", |text| {
                    format!("{text}\nexpires = 2026-11-21T03:04:00Z\n")
                }),
                Some(&key),
            )),
            DenialCode::Expired,
        ),
        (
            "an old revision",
            activate(archive(&starter(), Some(&key))),
            DenialCode::PolicyMismatch,
        ),
        (
            "another digest",
            Act::Activate {
                archive: archive(&revision(1000), Some(&key)).0,
                bundle: archive(&revision(1001), Some(&key)).1,
            },
            DenialCode::Malformed,
        ),
    ];
    for (name, case, code) in cases {
        assert_eq!(act(&authority, case), Err(code), "{name}");
        assert_eq!(
            authority.with_state(|state| state.policy().cloned()),
            active,
            "{name}"
        );
    }
    permitted(&authority, &["ls"]);
}

#[test]
fn an_erased_payload_leaves_a_proof_and_a_report() {
    use placet_authority::replay::{Sources, replay};
    let world = World::new();
    let authority = world.open();
    let index = permitted(&authority, &["ls"]).index;
    permitted(&authority, &["git", "status"]);
    act(
        &authority,
        Act::Erase {
            index,
            reason: "asked for".into(),
        },
    )
    .unwrap();
    let reader = authority.reader();
    let sources = Sources {
        reader: &reader,
        bundles: authority.bundles(),
        blobs: authority.blobs(),
    };
    let report = replay(sources, |_| {}).unwrap();
    assert_eq!(report.erased, [index], "proven, not recomputable");
    assert!(report.holds() && report.same == 1, "{report:?}");
    let size = reader.size().get();
    assert!(reader.inclusion_proof(index, size).is_ok());
}
