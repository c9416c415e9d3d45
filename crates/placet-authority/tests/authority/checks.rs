//! The log as the node itself checks it: a decision that does not follow from what is recorded.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use placet_authority::clock::{Clock, SystemClock};
use placet_authority::init::open_log;
use placet_authority::keys::{self, Role};
use placet_authority::node::checks::{Finding, Percent, Schedule};
use placet_authority::node::{Host, ServeError, ServeOptions};
use placet_evidence::{Entry, Record};
use placet_log::{Item, Payload, Sequencer as _};
use placet_types::Index;

use crate::support::{World, denied, submission};

/// Writes a decision that nobody made, with the domain's own keys: who has them can.
fn forge(world: &World) -> Index {
    let authority = world.open();
    denied(&authority, submission(&["git", "push"], None));
    let index = Index::new(authority.reader().size().get() - 1);
    authority.close().unwrap();
    let mut log = open_log(&world.dir).unwrap();
    let reader = log.reader();
    let Record::Decided(mut decided) = Entry::from_bytes(reader.entry(index).unwrap())
        .read()
        .unwrap()
    else {
        panic!("a decision");
    };
    let Payload::Present(payload) = reader.payload(index).unwrap() else {
        panic!("its parameters");
    };
    decided.denial.as_mut().unwrap().reason = "because".into();
    let key = keys::load(&world.dir, Role::Record).unwrap();
    let entry = Entry::seal(&Record::Decided(decided), &key).unwrap();
    let item = Item {
        entry: entry.into_bytes(),
        payload: Some(payload),
    };
    let at = log.size();
    log.append(at, &[item]).unwrap();
    at
}

#[test]
fn a_decision_that_does_not_follow_ends_the_service_and_no_node_serves_after_it() {
    let world = World::new();
    let forged = forge(&world);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // Hash by hash it is a sound log.
    let host = Host::open(&world.dir, Arc::clone(&clock)).unwrap();
    let service = host.service();
    assert_eq!(service.checks().fsck.last.unwrap().finding, Finding::Sound);
    let options = ServeOptions {
        idle: None,
        checks: Some(Schedule {
            every: None,
            percent: Percent::new(50).unwrap(),
        }),
    };
    let serving = thread::spawn(move || host.run(options));
    while !service.check_now() {
        thread::sleep(Duration::from_millis(10));
    }
    let served = serving.join().unwrap();
    assert!(
        matches!(served, Err(ServeError::Inconsistent(index)) if index == forged),
        "{served:?}"
    );
    let found = service.checks().replay.last.unwrap();
    assert_eq!(
        (found.finding, found.index),
        (Finding::Damaged, Some(forged))
    );
    assert!(service.ready().is_err(), "it decides nothing any more");
    drop(service);
    let again = Host::open(&world.dir, Arc::clone(&clock)).map(drop);
    assert!(
        matches!(again, Err(ServeError::Inconsistent(index)) if index == forged),
        "{again:?}"
    );
    // What was kept is no evidence: it is looked at again, and a log in which it is not so is served.
    let other = World::new();
    std::fs::copy(world.dir.checks(), other.dir.checks()).unwrap();
    let host = Host::open(&other.dir, clock).unwrap();
    let looked = host.service().checks().replay.last.unwrap();
    assert_eq!(looked.finding, Finding::Sound);
}
