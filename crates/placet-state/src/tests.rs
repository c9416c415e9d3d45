//! What each record does to the state, one claim per test.

mod fixture;
mod model;
mod room;

use placet_evidence::{Decided, Erased, PrincipalStatus, Record, Refused, Selector, Signal, Stage};
use placet_types::{Commitment, Denial, DenialCode, Digest, Index, Millis, Salt};

use crate::{FoldError, Phase, State, resource_digest};
use fixture::*;

/// 1 runs as `a`; below it 2 as `b`, and 3 as `c` below that; 4 as `b` on its own; 5 as `c` has not
/// started, and another policy determined it.
fn forest() -> Log {
    let mut log = Log::new();
    log.run(1, "a");
    log.run_below(1, 2, "b");
    log.run_below(2, 3, "c");
    log.run(4, "b");
    let mut fifth = permit(5, "c", log.now);
    fifth.policy.determining = vec!["q".into()];
    log.decide(fifth);
    log
}

fn all(numbers: &[u64], cause: DenialCode) -> Vec<(u64, DenialCode)> {
    numbers.iter().map(|number| (*number, cause)).collect()
}

#[test]
fn each_selector_ends_exactly_what_it_names() {
    let cases: [(Selector, &[u64]); 14] = [
        (Selector::Artifact(exec(5)), &[5]),
        (Selector::Execution(exec(2)), &[2]),
        (Selector::Execution(exec(9)), &[]),
        (Selector::Subtree(exec(1)), &[1, 2, 3]),
        (Selector::Subtree(exec(2)), &[2, 3]),
        (Selector::Policy("q".into()), &[5]),
        (Selector::Policy("p".into()), &[1, 2, 3, 4]),
        (Selector::Principal(who("c")), &[3, 5]),
        (Selector::Principal(who("nobody")), &[]),
        (Selector::Everything, &[1, 2, 3, 4, 5]),
        (Selector::Group("agents".into()), &[1, 2, 3, 4, 5]),
        (Selector::Group("nobodies".into()), &[]),
        (Selector::Node(machine()), &[1, 2, 3, 4, 5]),
        (Selector::Node(Digest::of(b"elsewhere")), &[]),
    ];
    for (selector, ends) in cases {
        let mut log = forest();
        let ended = log.revoke(selector.clone());
        assert_eq!(ended, all(ends, DenialCode::Revoked), "{selector}");
        for (id, execution) in log.state.executions() {
            let expected = ends.contains(&number(*id)).then_some(DenialCode::Revoked);
            assert_eq!(execution.ending, expected, "{selector}: {id}");
        }
    }
}

#[test]
fn a_principal_takes_what_others_do_for_it_along() {
    let mut log = forest();
    let ended = log.push(&principal("a", PrincipalStatus::Suspended, log.now));
    assert_eq!(ended, all(&[1, 2, 3], DenialCode::Revoked));
    let mut log = forest();
    let ended = log.revoke(Selector::Principal(who("b")));
    assert_eq!(ended, all(&[2, 3, 4], DenialCode::Revoked));
}

#[test]
fn a_revoked_principal_is_suspended_until_it_is_registered_again() {
    let mut log = forest();
    let status = |log: &Log| log.state.principal(&who("b")).unwrap().status;
    log.revoke(Selector::Principal(who("b")));
    assert_eq!(status(&log), PrincipalStatus::Suspended);
    assert_eq!(
        log.state.principal(&who("a")).unwrap().status,
        PrincipalStatus::Active
    );
    assert_eq!(
        log.push(&principal("b", PrincipalStatus::Active, log.now)),
        []
    );
    assert_eq!(status(&log), PrincipalStatus::Active);
    assert_eq!(
        log.ending(4),
        Some(DenialCode::Revoked),
        "ended stays ended"
    );
}

#[test]
fn a_group_takes_its_own_members_along_and_nobody_else() {
    let mut log = forest();
    log.push(&principal_in("b", &["night-shift"], log.now));
    let ended = log.revoke(Selector::Group("night-shift".into()));
    // 3 runs on behalf of `b`.
    assert_eq!(ended, all(&[2, 3, 4], DenialCode::Revoked));
    let status = |name: &str| log.state.principal(&who(name)).unwrap().status;
    assert_eq!(status("b"), PrincipalStatus::Suspended);
    assert_eq!(
        (status("a"), status("c")),
        (PrincipalStatus::Active, PrincipalStatus::Active)
    );
}

#[test]
fn a_revoked_node_is_turned_away_until_it_is_resumed_and_a_halt_is_another_matter() {
    let mut log = forest();
    log.revoke(Selector::Node(machine()));
    assert!(log.state.is_node_revoked(&machine()));
    log.push(&Record::Halted(halt(log.now)));
    log.push(&resumed(None, log.now));
    assert!(!log.state.is_halted() && log.state.is_node_revoked(&machine()));
    log.push(&Record::Halted(halt(log.now)));
    log.push(&resumed(Some(machine()), log.now));
    assert!(log.state.is_halted() && !log.state.is_node_revoked(&machine()));
}

#[test]
fn revoking_an_unregistered_principal_registers_nobody() {
    let mut log = forest();
    log.revoke(Selector::Principal(who("nobody")));
    assert_eq!(log.state.principal(&who("nobody")), None);
}

#[test]
fn halt_ends_everything_and_resume_lets_new_work_through() {
    let mut log = forest();
    let ended = log.push(&Record::Halted(halt(log.now)));
    assert_eq!(ended, all(&[1, 2, 3, 4, 5], DenialCode::Halted));
    assert!(log.state.is_halted());
    assert_eq!(log.push(&resumed(None, log.now)), []);
    assert!(!log.state.is_halted());
    assert_eq!(log.ending(1), Some(DenialCode::Halted), "ended stays ended");
    log.run(6, "a");
    assert!(log.state.execution(&exec(6)).unwrap().is_live());
}

#[test]
fn the_end_of_a_parent_ends_all_below_it_at_once() {
    let mut log = forest();
    assert_eq!(log.end(1), all(&[2, 3], DenialCode::LineageFragmented));
    assert_eq!(log.end(2), [], "its child is marked already");
    assert_eq!(log.state.execution(&exec(1)), None);
    assert!(log.state.execution(&exec(4)).unwrap().is_live());
}

#[test]
fn the_end_of_a_leaf_ends_nothing_else() {
    let mut log = forest();
    assert_eq!(log.end(3), []);
    assert!(log.state.execution(&exec(2)).unwrap().is_live());
}

#[test]
fn the_first_cause_stays() {
    let mut log = forest();
    log.revoke(Selector::Execution(exec(2)));
    assert_eq!(log.end(1), all(&[3], DenialCode::LineageFragmented));
    let halted = log.push(&Record::Halted(halt(log.now)));
    assert_eq!(halted, all(&[4, 5], DenialCode::Halted));
    assert_eq!(log.ending(2), Some(DenialCode::Revoked));
    assert_eq!(log.ending(3), Some(DenialCode::LineageFragmented));
}

#[test]
fn authority_that_ended_before_the_start_ends_the_execution_at_its_start() {
    let mut log = forest();
    log.revoke(Selector::Artifact(exec(5)));
    assert_eq!(log.start(5), all(&[5], DenialCode::Revoked));
    assert!(!log.state.execution(&exec(5)).unwrap().is_live());
}

#[test]
fn a_subtree_is_the_execution_and_all_below_that_has_not_ended() {
    let mut log = forest();
    let tree = |log: &Log, root| -> Vec<u64> {
        log.state
            .subtree(exec(root))
            .into_iter()
            .map(number)
            .collect()
    };
    assert_eq!(tree(&log, 1), [1, 2, 3]);
    assert_eq!(tree(&log, 3), [3]);
    log.end(2);
    assert_eq!(tree(&log, 1), [1, 3]);
    log.end(1);
    assert_eq!((tree(&log, 1), tree(&log, 2)), (vec![3], vec![3]));
    log.end(3);
    assert!(tree(&log, 1).is_empty());
    assert!(tree(&log, 99).is_empty());
}

#[test]
fn an_execution_starts_once_and_ends_once() {
    let mut log = forest();
    for (record, kind) in [
        (started(1, log.now), "started"),
        (started(9, log.now), "started"),
        (ended(9, log.now), "ended"),
    ] {
        let refused = log.offer(&record);
        assert!(
            matches!(refused, Err(FoldError::Phase { record, .. }) if record == kind),
            "{refused:?}"
        );
    }
    log.end(4);
    assert!(log.offer(&ended(4, log.now)).is_err());
    assert!(log.offer(&started(4, log.now)).is_err());
}

#[test]
fn a_start_is_when_it_runs_since() {
    let mut log = forest();
    let phase = |log: &Log| log.state.execution(&exec(5)).unwrap().phase;
    assert_eq!(phase(&log), Phase::Authorized);
    log.now = Millis::new(log.now.get() + 7);
    log.start(5);
    assert_eq!(phase(&log), Phase::Running(log.now));
}

#[test]
fn an_id_that_is_in_use_is_not_decided_again() {
    let mut log = forest();
    for decided in [permit(1, "a", log.now), denial(1, "a", log.now)] {
        let refused = log.offer(&Record::Decided(Box::new(decided)));
        assert!(
            matches!(refused, Err(FoldError::Phase { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn an_id_that_something_is_left_below_is_not_decided_again() {
    let mut log = forest();
    log.end(2);
    let mut again = permit(2, "a", log.now);
    again.intent = again
        .intent
        .changed(|intent| intent.parent = Some(exec(4)))
        .unwrap();
    let refused = log.offer(&Record::Decided(Box::new(again.clone())));
    assert!(
        matches!(refused, Err(FoldError::Phase { .. })),
        "{refused:?}"
    );
    log.end(3);
    log.decide(again);
}

#[test]
fn a_permit_needs_a_live_parent() {
    let mut log = forest();
    let below = |log: &Log, parent: u64| {
        let mut decided = permit(6, "a", log.now);
        decided.intent = decided
            .intent
            .changed(|intent| intent.parent = Some(exec(parent)))
            .unwrap();
        Record::Decided(Box::new(decided))
    };
    log.revoke(Selector::Execution(exec(3)));
    // Itself, an unknown one, one that has not started, one that must end.
    for parent in [6, 9, 5, 3] {
        let expected = FoldError::Phase {
            exec: exec(parent),
            record: "decided",
        };
        let record = below(&log, parent);
        assert_eq!(log.offer(&record), Err(expected), "below {parent}");
    }
    log.end(4);
    let record = below(&log, 4);
    assert!(log.offer(&record).is_err(), "below one that has ended");
}

#[test]
fn a_decision_that_contradicts_itself_is_refused() {
    let mut log = Log::new();
    let (now, whole) = (log.now, |now| permit(1, "a", now));
    let denied = denial(1, "a", now);
    let mut cases: Vec<(&str, Decided)> = vec![
        (
            "permit without grant",
            Decided {
                grant: None,
                ..whole(now)
            },
        ),
        (
            "permit without artifact",
            Decided {
                artifact: None,
                ..whole(now)
            },
        ),
        (
            "permit with denial",
            Decided {
                denial: denied.denial.clone(),
                ..whole(now)
            },
        ),
        (
            "denial with grant",
            Decided {
                grant: whole(now).grant,
                ..denied.clone()
            },
        ),
        (
            "denial with artifact",
            Decided {
                artifact: whole(now).artifact,
                ..denied.clone()
            },
        ),
        (
            "denial without code",
            Decided {
                denial: None,
                ..denied
            },
        ),
    ];
    let mut without_bundle = whole(now);
    without_bundle.policy.bundle = None;
    cases.push(("permit without bundle", without_bundle));
    for (name, decided) in cases {
        let refused = log.offer(&Record::Decided(Box::new(decided)));
        assert_eq!(refused, Err(FoldError::Decision(exec(1))), "{name}");
    }
}

#[test]
fn time_never_goes_back() {
    let mut log = Log::new();
    let (before, after) = (log.now, Millis::new(log.now.get() - 1));
    let refused = log.offer(&resumed(None, after));
    assert_eq!(refused, Err(FoldError::Time { before, after }));
    log.push(&resumed(None, before));
    assert_eq!(log.state.time(), before);
}

#[test]
fn every_record_stands_at_the_next_index() {
    let mut log = Log::new();
    let (next, record) = (log.next(), policy(2, log.now));
    for found in [Index::new(0), Index::new(next.get() - 1), next.next()] {
        let refused = log.state.apply(found, &record);
        let expected = next;
        assert_eq!(refused, Err(FoldError::Index { expected, found }));
    }
    log.push(&record);
    assert_eq!(log.next(), next.next());
}

#[test]
fn a_domain_begins_with_its_genesis_and_only_once() {
    let mut log = Log::new();
    assert_eq!(log.offer(&genesis(log.now)), Err(FoldError::Genesis));
    assert_eq!(State::begin(&policy(1, log.now)), Err(FoldError::Genesis));
}

#[test]
fn a_revision_must_rise() {
    let mut log = Log::new();
    log.push(&policy(5, log.now));
    for found in [4, 5] {
        let refused = log.offer(&policy(found, log.now));
        assert_eq!(refused, Err(FoldError::Revision { active: 5, found }));
    }
    let since = log.next();
    log.push(&policy(6, log.now));
    let active = log.state.policy().unwrap();
    assert_eq!((active.revision, active.since), (6, since));
}

#[test]
fn a_policy_stays_revoked_until_the_next_activation() {
    let mut log = forest();
    log.revoke(Selector::Policy("p".into()));
    assert!(log.state.is_policy_revoked("p") && !log.state.is_policy_revoked("q"));
    assert_eq!(log.push(&policy(2, log.now)), []);
    assert!(!log.state.is_policy_revoked("p"));
    assert_eq!(
        log.ending(1),
        Some(DenialCode::Revoked),
        "ended stays ended"
    );
}

#[test]
fn denials_of_unknown_principals_cost_no_memory() {
    let mut log = Log::new();
    let before = log.state.to_snapshot().unwrap().len();
    for number in 0..500 {
        log.decide(denial(number, &format!("stranger{number}"), log.now));
    }
    let after = log.state.to_snapshot().unwrap().len();
    assert!(after.abs_diff(before) < 8, "{before} bytes, then {after}");
}

#[test]
fn ended_executions_cost_no_memory() {
    let mut log = Log::new();
    // Each order in which three can end, one after the other.
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let mut orders = orders.into_iter().cycle();
    let mut size = |round: u64| {
        for number in round * 50..round * 50 + 50 {
            let (root, parent, child) = (3 * number, 3 * number + 1, 3 * number + 2);
            log.run(root, "a");
            log.run_below(root, parent, "b");
            log.run_below(parent, child, "c");
            for position in orders.next().unwrap() {
                log.end([root, parent, child][position]);
            }
        }
        log.state.to_snapshot().unwrap().len()
    };
    let (first, fifth) = (size(0), (1..5).map(&mut size).last().unwrap());
    assert!(fifth.abs_diff(first) < 16, "{first} bytes, then {fifth}");
}

#[test]
fn notes_about_the_past_end_nothing() {
    let mut log = forest();
    let before: Vec<_> = log
        .state
        .executions()
        .map(|(id, e)| (*id, e.clone()))
        .collect();
    let time = log.now;
    let notes = [
        Record::Refused(Refused {
            attempt: Commitment::to("attempt", b"x", &Salt::new([2; 32])),
            caller: None,
            caller_uid: 0,
            denial: Denial::new(DenialCode::Replayed, "presented again"),
            exec: Some(exec(1)),
            stage: Stage::Artifact,
            time,
        }),
        Record::Signal(Signal {
            code: DenialCode::Anomaly,
            count: 3,
            detail: "connect".into(),
            ends: false,
            exec: exec(1),
            intent: log.state.execution(&exec(1)).unwrap().intent.digest(),
            kind: None,
            time,
            trip: None,
        }),
        Record::Erased(Erased {
            by: who("root"),
            decided_by: None,
            index: Index::new(3),
            reason: "asked".into(),
            time,
        }),
    ];
    for note in notes {
        assert_eq!(log.push(&note), [], "{note:?}");
    }
    let after: Vec<_> = log
        .state
        .executions()
        .map(|(id, e)| (*id, e.clone()))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_signal_that_ends_authority_ends_this_execution_once() {
    let mut log = forest();
    let signal = |log: &Log| {
        Record::Signal(Signal {
            code: DenialCode::PolicyMismatch,
            count: 1,
            detail: "the new bundle permits it no longer".into(),
            ends: true,
            exec: exec(1),
            intent: log.state.execution(&exec(1)).unwrap().intent.digest(),
            kind: None,
            time: log.now,
            trip: None,
        })
    };
    let record = signal(&log);
    assert_eq!(log.push(&record), [(1, DenialCode::PolicyMismatch)]);
    assert!(!log.state.execution(&exec(1)).unwrap().is_live());
    let record = signal(&log);
    assert_eq!(log.push(&record), []);
}

#[test]
fn history_follows_the_records() {
    let mut log = forest();
    log.decide(denial(6, "b", log.now));
    log.end(4);
    let git = resource_digest(&tool("git"));
    let history = log.state.history(
        &who("b"),
        ("process:run", git),
        Millis::new(log.now.get() + 9_000),
    );
    assert_eq!((history.permits_hour, history.denials_hour), (2, 1));
    assert_eq!((history.denial_streak, history.running), (1, 1));
    assert_eq!(history.since_last_permit_secs, Some(9));
    assert!(history.seen_resource);
    let other = resource_digest(&tool("curl"));
    assert!(
        !log.state
            .history(&who("b"), ("process:run", other), log.now)
            .seen_resource
    );
}

#[test]
fn a_snapshot_is_the_state() {
    let mut log = forest();
    log.revoke(Selector::Policy("q".into()));
    log.decide(denial(6, "b", log.now));
    let bytes = log.state.to_snapshot().unwrap();
    let read = State::from_snapshot(&bytes).unwrap();
    assert_eq!(read, log.state);
    assert_eq!(read.to_snapshot().unwrap(), bytes);
}
