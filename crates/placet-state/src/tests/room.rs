//! What histories take: as many as there may be principals, each no more than what it did lately.

use placet_evidence::PrincipalStatus;

use super::fixture::*;
use crate::PRINCIPALS_MAX;

#[test]
fn one_principal_too_many_has_no_room_and_those_that_are_there_can_be_changed() {
    let mut log = Log::new();
    let there = log.state.principals().count();
    for number in there..PRINCIPALS_MAX {
        assert!(log.state.has_room_for(&who("new")));
        let record = principal(&format!("p{number}"), PrincipalStatus::Active, log.now);
        log.state.apply(log.next(), &record).unwrap();
    }
    assert!(!log.state.has_room_for(&who("new")));
    assert!(log.state.has_room_for(&who("a")));
}

#[test]
fn who_does_nothing_any_more_costs_no_more_than_what_it_was_seen_with() {
    let mut log = Log::new();
    for number in 0..200 {
        log.decide(denial(number, "a", log.now));
        log.now = placet_types::Millis::new(log.now.get() + 60_000);
    }
    let busy = log.state.to_snapshot().unwrap().len();
    // Two days in which only another one does anything.
    log.now = placet_types::Millis::new(log.now.get() + 48 * 3_600_000);
    for number in 200..300 {
        log.decide(denial(number, "b", log.now));
    }
    let idle = log.state.to_snapshot().unwrap().len();
    assert!(idle + 200 < busy, "{busy} bytes, then {idle}");
    let history = log.state.history(
        &who("a"),
        ("process:run", crate::resource_digest(&tool("git"))),
        log.now,
    );
    assert_eq!((history.denial_streak, history.denials_day), (200, 0));
}
