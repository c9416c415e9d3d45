//! Trip limits and signals as a user meets them: what a command is refused is counted, and what goes
//! too far is ended, with a word about which limit it was.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::Value;

use crate::domain::{DENIED, Domain, Ran, TERMINATED, parsed};
use crate::job::{living, mark};

/// A domain whose operators have these trip limits, and more keys of their profile.
fn limited(trips: &str, more: &str) -> Domain {
    let domain = Domain::new();
    let (trips, more) = (
        format!("[trips]\n{trips}\n[lease]"),
        format!("exec_in_writable = true\n{more}"),
    );
    domain.activate_changed(&[
        ("profiles/operator.toml", "[lease]", &trips),
        ("profiles/operator.toml", "exec_in_writable = true", &more),
    ]);
    domain
}

/// The signals of the log, the oldest first.
fn signals(domain: &Domain) -> Vec<Value> {
    let records = domain.ok(&["log", "tail", "-n", "999", "--json"]);
    let records = records.lines().map(parsed);
    records
        .filter(|record| record["kind"] == "signal")
        .map(|record| record["record"].clone())
        .collect()
}

/// A service of the host that sends as many bytes to everyone.
fn sender(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            // A client that was killed takes nothing.
            drop(stream.write_all(&vec![7; bytes]));
            drop(stream.shutdown(std::net::Shutdown::Write));
            drop(stream.read(&mut [0]));
        }
    });
    address
}

/// Runs a script that does not end by itself, and checks that it was ended for this limit.
fn assert_trips(domain: &Domain, trip: &str, script: &str) -> Ran {
    let mark = mark();
    let script = script.replace("MARK", &mark);
    let ran = domain.run(&["run", "--", "sh", "-c", &script]);
    assert_eq!(ran.code, TERMINATED, "{trip}: {ran:?}");
    assert!(
        ran.stderr.contains("anomaly") && ran.stderr.contains(trip),
        "{trip}: {ran:?}"
    );
    assert!(ran.stderr.contains("[trips]"), "{trip}: {ran:?}");
    assert!(living(&mark).is_empty(), "{trip}: something is left of it");
    let last = domain.executions().pop().unwrap();
    assert_eq!(last["ended"]["cause"], "anomaly", "{trip}: {last}");
    let all = signals(domain);
    let ends: Vec<&Value> = all.iter().filter(|it| it["ends"] == true).collect();
    let [one] = ends[..] else {
        panic!("{trip}: {all:?}")
    };
    assert_eq!(
        (&one["kind"], &one["trip"], &one["code"]),
        (&"trip".into(), &trip.into(), &"anomaly".into()),
        "{one}"
    );
    let explained = domain.ok(&["explain", last["exec"].as_str().unwrap()]);
    assert!(
        explained.contains(trip) && explained.contains("beyond a trip limit"),
        "{explained}"
    );
    assert_eq!(domain.json(&["log", "replay"])["holds"], true, "{trip}");
    ran
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn connects(to: &str, times: u32) -> String {
    let (ip, port) = to.rsplit_once(':').unwrap();
    format!(
        "/usr/bin/python3 -c 'import socket\nfor i in range({times}):\n  try:\n    s = socket.create_connection((\"{ip}\", {port}), 5)\n    while s.recv(65536): pass\n    s.close()\n  except OSError: pass\n'; sleep MARK"
    )
}

#[test]
fn refused_connections_beyond_the_limit_end_the_tree() {
    let domain = limited("refused_connects = 2", "network = [\"198.51.100.1:443\"]");
    // An address for documentation (RFC 5737): it is refused before anybody is asked.
    let two = connects("192.0.2.7:443", 2).replace("; sleep MARK", "");
    domain.ok(&["run", "--", "sh", "-c", &two]);
    assert_trips(&domain, "refused_connects", &connects("192.0.2.7:443", 3));
}

#[test]
fn refused_programs_beyond_the_limit_end_the_tree() {
    let domain = limited("refused_execs = 1", "");
    let script = format!("{LOADER} /bin/echo a; {LOADER} /bin/echo b; sleep MARK");
    assert_trips(&domain, "refused_execs", &script);
}

#[test]
fn more_programs_than_the_limit_allows_end_the_tree() {
    let domain = limited("programs = 5", "");
    domain.ok(&[
        "run",
        "--",
        "sh",
        "-c",
        "for i in 1 2 3 4; do /bin/true; done",
    ]);
    let script = "for i in 1 2 3 4; do /bin/true; done; sleep MARK";
    assert_trips(&domain, "programs", script);
}

#[test]
fn programs_in_too_quick_a_succession_end_the_tree() {
    let domain = limited("execs_per_minute = 20", "");
    let script = "sleep MARK & while :; do /bin/true; done";
    assert_trips(&domain, "execs_per_minute", script);
}

#[test]
fn processor_time_of_the_whole_tree_is_limited() {
    let domain = limited("cpu_total = \"1s\"", "");
    let script = "sleep MARK & for i in 1 2 3; do sh -c 'while :; do :; done' & done; wait";
    assert_trips(&domain, "cpu_total_secs", script);
}

#[test]
fn signals_of_every_kind_count_together() {
    let domain = limited("signals = 2", "network = [\"198.51.100.1:443\"]");
    let connects = connects("192.0.2.7:443", 2);
    let script = format!("{LOADER} /bin/echo a; {connects}");
    assert_trips(&domain, "signals", &script);
}

#[test]
fn bytes_over_the_network_are_limited() {
    let peer = sender(48 << 10).to_string();
    let domain = limited(
        "network_bytes = \"64KiB\"",
        &format!("network = [\"{peer}\"]"),
    );
    assert_trips(&domain, "network_bytes", &connects(&peer, 3));
}

/// A service of the host that sends a few bytes now and then, for ever.
fn dripper() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while stream.write_all(&[7; 16 << 10]).is_ok() {
                    thread::sleep(std::time::Duration::from_millis(50));
                }
            });
        }
    });
    address
}

#[test]
fn bytes_over_a_connection_that_stays_open_count_while_it_does() {
    let peer = dripper().to_string();
    let network = format!("network = [\"{peer}\"]");
    let domain = limited("network_bytes = \"256KiB\"", &network);
    // One connection, which does not end by itself.
    assert_trips(&domain, "network_bytes", &connects(&peer, 1));
    let last = domain.executions().pop().unwrap();
    let received = &last["ended"]["usage"]["network"]["received_bytes"];
    assert!(received.as_u64().unwrap() > 200 << 10, "{last}");
}

#[test]
fn a_limit_on_what_this_machine_does_not_tell_is_refused() {
    let domain = limited("refused_writes = 3", "");
    let ran = domain.run(&["run", "--", "sh", "-c", "touch touched"]);
    // Where the host's audit is on the kernel tells, and there is nothing to refuse.
    if ran.code == 0 {
        assert!(domain.work().join("touched").exists());
        return;
    }
    assert_eq!(ran.code, DENIED, "{ran:?}");
    assert!(
        ran.stderr.contains("refused_writes") && ran.stderr.contains("auditctl"),
        "{ran:?}"
    );
    assert!(!domain.work().join("touched").exists());
    let last = domain.executions().pop().unwrap();
    assert_eq!(last["status"], "lapsed", "{last}");
}

#[test]
fn what_runs_is_refused_counts_against_its_principal() {
    let domain = Domain::new();
    let forbid = "@id(\"wild\") @severity(\"low\") @description(\"Too wild.\") forbid (principal, \
        action, resource) when { context.history.refused_execs_hour >= 2 && \
        context.history.signals_hour >= 2 };\n\n@id(\"agents-no-remote-git\")";
    domain.activate_changed(&[(
        "policies/guards.cedar",
        "@id(\"agents-no-remote-git\")",
        forbid,
    )]);
    let script = format!("{LOADER} /bin/echo a; {LOADER} /bin/echo b; true");
    domain.ok(&["run", "--", "sh", "-c", &script]);
    let said = domain.fails(DENIED, &["run", "--", "true"]);
    assert!(said.contains("policy_forbids"), "{said}");
    let all = signals(&domain);
    assert_eq!(
        all.iter()
            .map(|it| it["count"].as_u64().unwrap())
            .sum::<u64>(),
        2
    );
    assert!(all.iter().all(|it| it["kind"] == "refused_exec"), "{all:?}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_tree_that_is_refused_thousands_of_things_writes_few_records() {
    let domain = limited("signals = 1000000", "network = [\"198.51.100.1:443\"]");
    let many = connects("192.0.2.7:443", 3000).replace("; sleep MARK", "");
    let began = std::time::Instant::now();
    domain.ok(&["run", "--", "sh", "-c", &many]);
    let secs = began.elapsed().as_secs();
    let all = signals(&domain);
    let count: u64 = all.iter().map(|it| it["count"].as_u64().unwrap()).sum();
    assert_eq!(count, 3000, "{all:?}");
    assert!(all.len() as u64 <= secs + 2, "{} in {secs} s", all.len());
}
