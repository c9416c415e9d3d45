//! What the supervisor hears and says, and how the broker ends.

use std::time::{Duration, Instant};

use placet_sandbox::{
    ConnectRefusal, ConnectReport, ConnectVerdict, EgressRules, Others, Peer, Status,
};

use crate::support::Test;
use crate::{EACCES, SUCCESS, Service, acting_with, eventually, nobody, run, start, take};

pub(crate) const TESTS: &[Test] = &[
    ("bytes_are_counted", bytes_are_counted),
    ("an_allowed_connect_is_made", || {
        answered(ConnectVerdict::Allow)
    }),
    ("a_refused_connect_is_not_made", || {
        answered(ConnectVerdict::Refuse)
    }),
    ("an_unanswered_connect_is_refused", an_unanswered_connect),
    (
        "a_waiting_connect_ends_with_its_tree",
        a_waiting_connect_ends,
    ),
    (
        "no_connect_is_made_unreported_when_nobody_listens",
        nobody_listens,
    ),
];

fn ask(patience: Duration) -> EgressRules {
    EgressRules {
        others: Others::Ask { patience },
        ..nobody()
    }
}

/// An address of no loopback: it is asked about, and nobody answers there.
const ELSEWHERE: &str = "192.0.2.1:80";

fn bytes_are_counted() {
    let service = Service::start();
    let address = service.address.to_string();
    for act in ["talk", "talk_long"] {
        let (status, reports) = run(acting_with(act, &[&address], service.rules()));
        assert_eq!(status, SUCCESS);
        let [
            ConnectReport::Opened(call),
            ConnectReport::Closed { id, bytes },
        ] = &reports[..]
        else {
            panic!("{reports:?}");
        };
        assert_eq!(call.to, Peer::Tcp(service.address));
        assert_eq!(call.id, *id);
        let bytes = bytes.unwrap();
        assert!((1000..=1002).contains(&bytes.sent), "{bytes:?}");
        assert!((300..=302).contains(&bytes.received), "{bytes:?}");
    }
}

fn answered(verdict: ConnectVerdict) {
    let mut cell = start(acting_with(
        "tcp",
        &[ELSEWHERE],
        ask(Duration::from_secs(60)),
    ));
    let broker = cell.broker().unwrap().clone();
    let mut asked = None;
    eventually("the question", || {
        asked = take(&cell).pop();
        asked.is_some()
    });
    let Some(ConnectReport::Asked(call)) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(call.to, Peer::Tcp(ELSEWHERE.parse().unwrap()));
    assert_eq!(
        cell.next_change(Some(Duration::from_millis(50))).unwrap(),
        None
    );
    assert!(broker.answer(call.id, verdict));
    assert!(!broker.answer(call.id, ConnectVerdict::Allow));
    if verdict == ConnectVerdict::Refuse {
        assert_eq!(cell.wait().unwrap().status, EACCES);
        let why = ConnectRefusal::Denied;
        let reports = broker.reports();
        assert!(
            matches!(&reports[..], [ConnectReport::Refused { why: found, .. }] if *found == why)
        );
        return;
    }
    // On its way to nowhere, or told by a router that there is none: but tried.
    std::thread::sleep(Duration::from_millis(200));
    if let Some(exit) = cell.try_wait().unwrap() {
        assert_ne!(exit.status, EACCES);
    }
    cell.terminate().unwrap();
    assert!(
        !broker
            .reports()
            .iter()
            .any(|report| matches!(report, ConnectReport::Refused { .. }))
    );
}

fn an_unanswered_connect() {
    let begin = Instant::now();
    let spec = acting_with("tcp", &[ELSEWHERE], ask(Duration::from_millis(200)));
    let (status, reports) = run(spec);
    assert_eq!(status, EACCES);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let why = ConnectRefusal::Unanswered;
    assert!(matches!(
        &reports[..],
        [ConnectReport::Asked(_), ConnectReport::Refused { why: found, .. }] if *found == why
    ));
}

fn a_waiting_connect_ends() {
    let mut cell = start(acting_with(
        "tcp",
        &[ELSEWHERE],
        ask(Duration::from_secs(60)),
    ));
    eventually("the question", || !take(&cell).is_empty());
    let begin = Instant::now();
    cell.terminate().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
}

fn nobody_listens() {
    const MANY: usize = 300;
    let service = Service::start();
    let arguments = [&*service.address.to_string(), &*MANY.to_string()];
    let mut cell = start(acting_with("many", &arguments, service.rules()));
    assert_eq!(
        cell.next_change(Some(Duration::from_secs(1))).unwrap(),
        None
    );
    let mut opened = 0;
    let mut count = |reports: Vec<ConnectReport>| {
        let is_opened = |report: &&ConnectReport| matches!(report, ConnectReport::Opened(_));
        opened += reports.iter().filter(is_opened).count();
    };
    let first = take(&cell);
    assert_eq!(first.len(), 256);
    count(first);
    let exit = loop {
        count(take(&cell));
        if let Some(exit) = cell.try_wait().unwrap() {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    count(take(&cell));
    // More wait at once than may: those were told to try again.
    assert!(exit.status == SUCCESS || exit.status == Status::Exited(libc::EAGAIN));
    assert_eq!(opened, service.visitors());
}
