//! A gateway that stays: commands one after the other, in cells that waited for them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use placet_authority::clock::{Clock as _, SystemClock};
use placet_authority::dir::DomainDir;
use placet_authority::init::public_policy;
use placet_authority::node::connect;
use placet_evidence::Exit;
use placet_process::{Command, Gateway, Kept, Outcome, Waits};
use placet_types::PrincipalId;
use serde_json::Value;

use crate::domain::{Domain, await_some, parsed};

fn gateway(domain: &Domain) -> Gateway {
    counting(domain, &Arc::default())
}

/// A gateway that counts how often it connects.
fn counting(domain: &Domain, connections: &Arc<AtomicUsize>) -> Gateway {
    let connections = Arc::clone(connections);
    let dir = DomainDir::open(&domain.dir()).unwrap();
    let own = dir.clone();
    Gateway {
        policy: public_policy(&dir).unwrap(),
        dir,
        connect: Box::new(move || {
            connections.fetch_add(1, Ordering::Relaxed);
            connect(&own)
        }),
        clock: Arc::new(SystemClock::new()),
        program: env!("CARGO_BIN_EXE_placet").into(),
        observe: false,
        hear: false,
        kept: Kept::for_many().unwrap(),
        tell: Box::new(|_| {}),
    }
}

fn run(domain: &Domain, gateway: &Gateway, argv: &[&str]) -> Outcome {
    let command = Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: domain.work(),
        principal: PrincipalId::parse("user:op").unwrap(),
        purpose: None,
        profile: None,
        lifetime: None,
        parent: None,
        door: None,
        waits: Waits::No,
        decide: false,
        announce: false,
    };
    let outcome = gateway.run(&command, None).unwrap();
    gateway.kept.restock();
    outcome
}

fn is_success(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Ended {
            exit: Exit::Code(0),
            ..
        }
    )
}

fn await_spare(gateway: &Gateway) {
    await_some("a cell that waits", || {
        (gateway.kept.waiting() > 0).then_some(())
    });
}

/// Kind, and what an end says, of the last records.
fn records(domain: &Domain, count: usize) -> Vec<String> {
    let count = count.to_string();
    let records = domain.ok(&["log", "tail", "-n", &count, "--json"]);
    let said = |record: &Value| {
        let kind = record["kind"].as_str().unwrap();
        let outcome = record["record"]["outcome"].as_str();
        match outcome.filter(|_| kind == "ended") {
            Some(outcome) => format!("{kind} {outcome}"),
            None => kind.to_owned(),
        }
    };
    records.lines().map(|line| said(&parsed(line))).collect()
}

#[test]
fn a_command_runs_in_a_cell_that_waited_with_its_own_arguments_and_records() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let gateway = gateway(&domain);
    for word in ["first", "second", "third"] {
        let script = format!("echo {word} > {word}");
        let outcome = run(&domain, &gateway, &["sh", "-c", &script]);
        assert!(is_success(&outcome), "{word}: {outcome:?}");
        let said = fs::read_to_string(domain.work().join(word)).unwrap();
        assert_eq!(said, format!("{word}\n"));
        assert_eq!(
            records(&domain, 3),
            ["decided", "started", "ended completed"],
            "{word}"
        );
        await_spare(&gateway);
    }
    let outcome = run(&domain, &gateway, &["sh", "-c", "exit 3"]);
    assert!(
        matches!(
            outcome,
            Outcome::Ended {
                exit: Exit::Code(3),
                ..
            }
        ),
        "{outcome:?}"
    );
    domain.assert_intact();
}

#[test]
fn commands_one_after_the_other_use_one_connection_and_a_node_is_not_kept_by_it() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let connections = Arc::default();
    let gateway = counting(&domain, &connections);
    let clock = SystemClock::new();
    // A busy machine may take long between two of them; three in a row are sure to be close to one another once.
    await_some("three commands over one connection", || {
        let before = connections.load(Ordering::Relaxed);
        for _ in 0..3 {
            assert!(is_success(&run(&domain, &gateway, &["true"])));
        }
        (connections.load(Ordering::Relaxed) <= before + 1).then_some(())
    });
    // Let go, and nothing holds the node up any more.
    gateway
        .kept
        .let_go(clock.monotonic() + Duration::from_secs(1));
    let before = connections.load(Ordering::Relaxed);
    domain.ok(&["node", "stop"]);
    domain.ok(&["run", "--", "true"]);
    assert!(is_success(&run(&domain, &gateway, &["true"])));
    assert_eq!(connections.load(Ordering::Relaxed), before + 1);
}

#[test]
fn a_start_that_has_more_to_say_is_not_recorded_with_its_permit() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let gateway = gateway(&domain);
    assert!(is_success(&run(&domain, &gateway, &["true"])));
    await_spare(&gateway);
    // From now on the scope pins a file, which nobody here knows before the permit.
    fs::write(domain.work().join("Makefile"), "all:\n").unwrap();
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        "exec_in_writable = true\npinned = [\"${workspace}/Makefile\"]",
    )]);
    assert!(is_success(&run(&domain, &gateway, &["true"])));
    assert_eq!(
        records(&domain, 6),
        [
            "decided",
            "started",
            "ended failed",
            "decided",
            "started",
            "ended completed"
        ]
    );
    let last = domain.ok(&["log", "tail", "-n", "2", "--json"]);
    let started = parsed(last.lines().next().unwrap());
    assert!(started["record"]["pinned"].is_string(), "{started}");
    domain.assert_intact();
}
