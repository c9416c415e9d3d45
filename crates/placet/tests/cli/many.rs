//! Many at once, and many inside each other.

use std::fs;

use serde_json::Value;

use crate::domain::{DENIED, Domain, TERMINATED, await_some, parsed, ran, stand_like};
use crate::job::{living, mark};

/// How a governed command calls Placet.
const INSIDE: &str = "/run/placet/placet";

/// Every execution was carried out, and the log holds.
fn assert_completed(domain: &Domain, count: usize) {
    let all = domain.json(&["executions", "--limit", "1000"]);
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), count);
    assert!(
        all.iter().all(|one| one["status"] == "completed"),
        "{all:?}"
    );
    let mut ids: Vec<&str> = all
        .iter()
        .map(|one| one["exec"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id was given twice");
    assert_eq!(domain.json(&["log", "fsck"])["sound"], true);
    let replay = domain.json(&["log", "replay"]);
    assert_eq!(
        (&replay["holds"], &replay["same"]),
        (&true.into(), &count.into())
    );
}

/// A shell that starts `count` governed commands at once, each in the background, and says which failed.
fn script(count: usize) -> String {
    format!(
        "for i in $(seq {count}); do ( \"$PLACET\" run -- true || echo failed $i ) & done; wait"
    )
}

fn shell(domain: &Domain, script: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]);
    command.env("PLACET", env!("CARGO_BIN_EXE_placet"));
    stand_like(&mut command, &domain.command(&[]));
    command
}

#[test]
fn a_hundred_at_once_all_run_under_one_node() {
    let domain = Domain::new();
    domain.stop();
    let ran = ran(&mut shell(&domain, &script(100)));
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "")
    );
    let log = fs::read_to_string(domain.dir().join("node.log")).unwrap();
    assert_eq!(log, "", "a second node tried");
    assert_completed(&domain, 100);
}

#[test]
fn a_node_takes_as_many_descriptors_as_it_may_have() {
    let domain = Domain::new();
    domain.stop();
    // Enough for a command, and too few for a node that many connect to.
    let script = "ulimit -S -n 256; \"$PLACET\" run -- true; \"$PLACET\" node status --json";
    let status = parsed(&ran(&mut shell(&domain, script)).stdout);
    let limits = fs::read_to_string(format!("/proc/{}/limits", status["pid"])).unwrap();
    let line = limits.lines().find(|it| it.starts_with("Max open files"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[3], words[4], "{limits}");
}

#[test]
fn several_domains_at_once_do_not_meet() {
    let domains: Vec<Domain> = (0..4)
        .map(|n| Domain::named(&format!("placet.test/d{n}")))
        .collect();
    let mut shells: Vec<_> = domains
        .iter()
        .map(|domain| shell(domain, &script(8)).spawn().unwrap())
        .collect();
    for shell in &mut shells {
        assert!(shell.wait().unwrap().success());
    }
    for domain in &domains {
        assert_completed(domain, 8);
    }
}

/// The executions with their depth in the lineage, in the order of the log.
fn depths(domain: &Domain) -> Vec<(u64, String, Value)> {
    let records = domain.ok(&["log", "tail", "-n", "1000", "--json"]);
    let records = records.lines().map(crate::domain::parsed);
    let decided =
        records.filter(|one| one["kind"] == "decided" && one["record"]["outcome"] == "permit");
    decided
        .map(|one| {
            let depth = one["record"]["grant"]["depth"].as_u64().unwrap();
            (
                depth,
                one["exec"].as_str().unwrap().to_owned(),
                one["record"].clone(),
            )
        })
        .collect()
}

#[test]
fn commands_nest_and_the_log_knows_who_began_whom() {
    let domain = Domain::new();
    fs::write(domain.work().join("note"), "at the bottom\n").unwrap();
    let nested = format!(
        "{INSIDE} run -- sh -c '{INSIDE} run -- sh -c \"{INSIDE} run -- cat note; exit 7\"; exit $?'"
    );
    let ran = domain.run(&["run", "--as", "agent:coder", "--", "sh", "-c", &nested]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (7, "at the bottom\n"),
        "{ran:?}"
    );
    let chain = depths(&domain);
    assert_eq!(
        chain.iter().map(|(depth, ..)| *depth).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    for pair in chain.windows(2) {
        assert_eq!(pair[1].2["intent"]["parent"], pair[0].1.as_str());
        assert_eq!(
            pair[1].2["facts"]["caller"]["execution"],
            pair[0].1.as_str()
        );
        assert_eq!(pair[1].2["intent"]["principal"], "agent:coder");
    }
    let tree = domain.ok(&["lineage", "tree", "--ascii"]);
    assert_eq!(tree.matches("exec_").count(), 4, "{tree}");
    // Seven deep is as deep as agents may go.
    let deeper =
        format!("[ $1 = 0 ] && exec cat note; exec {INSIDE} run -- sh deeper $(($1 - 1))\n");
    fs::write(domain.work().join("deeper"), deeper).unwrap();
    let nested = |depth: &str| {
        let run = ["run", "--as", "agent:coder", "--", "sh", "deeper", depth];
        domain.run(&run)
    };
    assert_eq!(nested("7").stdout, "at the bottom\n");
    let ran = nested("8");
    assert_eq!(ran.code, DENIED, "{ran:?}");
    assert!(ran.stderr.contains("policy_forbids"), "{ran:?}");
    let denied = domain.executions().pop().unwrap();
    assert_eq!(denied["policies"], serde_json::json!(["agents-depth"]));
    domain.assert_intact();
}

#[test]
fn a_child_gets_no_more_than_its_parent_has_however_deep() {
    let domain = Domain::new();
    let inner =
        format!("{INSIDE} run --profile operator --lifetime 9999 -- sh -c \"echo x > taken\"");
    let middle = format!("{INSIDE} run --profile operator -- sh -c '{inner}'");
    let ran = domain.run(&[
        "run",
        "--profile",
        "readonly",
        "--lifetime",
        "60",
        "--",
        "sh",
        "-c",
        &middle,
    ]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert!(!domain.work().join("taken").exists());
    let chain = depths(&domain);
    assert_eq!(chain.len(), 3);
    let end = |at: usize| chain[at].2["grant"]["not_after"].as_u64().unwrap();
    assert!(end(2) <= end(1) && end(1) <= end(0), "{chain:?}");
    // The same without a parent to be within.
    domain.ok(&[
        "run",
        "--profile",
        "operator",
        "--",
        "sh",
        "-c",
        "echo x > taken",
    ]);
    assert!(domain.work().join("taken").exists());
}

#[test]
fn a_revoked_parent_takes_its_descendants_along() {
    let domain = Domain::new();
    let mark = mark();
    let inner = format!("{INSIDE} run -- sh -c \"trap : TERM INT HUP; sleep {mark} & wait; wait\"");
    let middle = format!("{INSIDE} run -- sh -c '{inner}'");
    let job = domain.start(&["run", "--", "sh", "-c", &middle]);
    let chain = await_some("three executions", || {
        let all = domain.json(&["executions", "--running"]);
        let all = all.as_array().unwrap().clone();
        (all.len() == 3 && all.iter().all(|one| one["running_since"].is_u64())).then_some(all)
    });
    await_some("the sleep", || {
        let line = format!("sleep\0{mark}\0");
        living(&mark)
            .iter()
            .any(|pid| {
                fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|is| is == line.as_bytes())
            })
            .then_some(())
    });
    let root = chain
        .iter()
        .find(|one| one["intent"].get("parent").is_none())
        .unwrap();
    domain.ok(&["revoke", root["exec"].as_str().unwrap()]);
    let output = job.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(TERMINATED), "{output:?}");
    await_some("the end of all", || living(&mark).is_empty().then_some(()));
    let mut causes: Vec<Value> = domain
        .executions()
        .iter()
        .map(|one| one["ended"]["cause"].clone())
        .collect();
    assert_eq!(causes.remove(0), "revoked");
    assert_eq!(causes, ["lineage_fragmented", "lineage_fragmented"]);
    domain.assert_intact();
}

/// Sends the door of a cell a command of its own making, and prints what it answers.
const FORGE: &str = r#"
import json, socket, struct, sys, array
door = socket.socket(socket.AF_UNIX)
door.connect("/run/placet/door.sock")
door.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
body = sys.argv[1].encode()
door.sendall(struct.pack(">I", len(body)) + body)
length = struct.unpack(">I", door.recv(4))[0]
print(door.recv(length).decode())
"#;

#[test]
fn nobody_inside_chooses_another_parent_or_another_principal() {
    let domain = Domain::new();
    let other = domain.start(&[
        "run",
        "--",
        "sh",
        "-c",
        "until [ -e go ]; do sleep 0.05; done",
    ]);
    let running = await_some("the other", || {
        let all = domain.json(&["executions", "--running"]);
        all[0]["running_since"].as_u64()?;
        Some(all[0]["exec"].as_str().unwrap().to_owned())
    });
    let inside = |line: &str| domain.run(&["run", "--as", "agent:coder", "--", "sh", "-c", line]);
    // By option.
    for option in ["--parent", "--door"] {
        let ran = inside(&format!("{INSIDE} run {option} {running} -- touch taken"));
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr.contains("is its child, and nobody else's"),
            "{ran:?}"
        );
    }
    // By a message of one's own, past the program.
    fs::write(domain.work().join("forge.py"), FORGE).unwrap();
    let request = |more: &str| {
        let text = format!(
            r#"{{"argv":["touch","taken"],"cwd":"{}","env":{{"PATH":"/usr/bin:/bin"}}{more}}}"#,
            domain.work().display()
        );
        inside(&format!("python3 forge.py '{text}'"))
    };
    for more in [
        r#","parent":"RUNNING""#,
        r#","door":"RUNNING""#,
        r#","domain":"/tmp""#,
    ] {
        let ran = request(&more.replace("RUNNING", &running));
        assert!(ran.stdout.contains("failed"), "{ran:?}");
    }
    let ran = request(r#","principal":"user:op""#);
    assert!(ran.stdout.contains(r#"{"exited":120}"#), "{ran:?}");
    assert!(ran.stderr.contains("identity_unverified"), "{ran:?}");
    // Options in disguise stay arguments, texts stay texts.
    let ran = request(r#","purpose":"x --door=RUNNING""#);
    assert!(ran.stdout.contains(r#"{"exited":0}"#), "{ran:?}");
    assert!(fs::remove_file(domain.work().join("taken")).is_ok());
    let chain = depths(&domain);
    for (depth, _, record) in &chain {
        let parent = &record["intent"]["parent"];
        assert_ne!(parent, running.as_str(), "{record}");
        assert_eq!(*depth == 0, parent.is_null(), "{record}");
    }
    assert!(!domain.work().join("taken").exists());
    // The domain itself is not to be found.
    let ran = inside(&format!(
        "{INSIDE} --domain {} run -- touch taken",
        domain.dir().display()
    ));
    assert_eq!(ran.code, 1, "{ran:?}");
    fs::write(domain.work().join("go"), "").unwrap();
    assert!(other.wait_with_output().unwrap().status.success());
    domain.assert_intact();
}
