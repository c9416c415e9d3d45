//! Connections that are decided one by one (`egress = "decide"`), as the user of a governed command and its
//! operator meet them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::Value;

use crate::apart::Apart;
use crate::domain::{Domain, TERMINATED, await_some, parsed};

/// A service that answers until it is closed.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut asked = [0; 4];
                while stream.read_exact(&mut asked).is_ok() {
                    if stream.write_all(b"welcome").is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A domain whose operators' profile names these peers, each decided by a policy that permits `when`.
fn deciding(peers: &[&str], annotations: &str, when: &str) -> Domain {
    let domain = Domain::new();
    activate(&domain, peers, annotations, when);
    domain
}

fn activate(domain: &Domain, peers: &[&str], annotations: &str, when: &str) {
    let network = format!("exec_in_writable = true\nnetwork = {peers:?}\negress = \"decide\"");
    let policy = format!(
        "@id(\"operators-connect\")\n@profile(\"operator\")\n{annotations}permit (principal in Group::\"operators\", action == Action::\"network:connect\", resource is Peer)\nwhen {{ {when} }};\n\n@id(\"agents-connect\")"
    );
    domain.activate_changed(&[
        (
            "profiles/operator.toml",
            "exec_in_writable = true",
            &network,
        ),
        ("policies/network.cedar", "@id(\"agents-connect\")", &policy),
    ]);
}

/// Puts the same bundle in force with another condition.
fn change(domain: &Domain, from: &str, to: &str) {
    let bundle = domain.path("bundle");
    let policy = bundle.join("policies/network.cedar");
    let text = fs::read_to_string(&policy).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&policy, text.replacen(from, to, 1)).unwrap();
    let about = bundle.join("bundle.toml");
    let text = fs::read_to_string(&about).unwrap();
    fs::write(&about, text.replace("revision = 2", "revision = 3")).unwrap();
    domain.ok(&["policy", "activate", bundle.to_str().unwrap()]);
}

const ASK: &str = "import socket, sys
def ask(peer):
    host, port = peer.rsplit(':', 1)
    try:
        s = socket.create_connection((host, int(port)), 20)
        s.sendall(b'here')
        return s.recv(99).decode()
    except socket.gaierror:
        return 'no such name'
    except OSError as e:
        return e.errno
";

fn asking(peers: &[&str]) -> String {
    let asked: String = peers
        .iter()
        .map(|peer| format!("print(ask('{peer}'))\n"))
        .collect();
    format!("{ASK}{asked}")
}

fn run(script: &str) -> [&str; 6] {
    let program = "/usr/bin/python3";
    ["run", "--announce", "--", program, "-c", script]
}

/// Resource and status of each execution below the first.
fn peers(domain: &Domain) -> Vec<(String, String)> {
    let text = |one: &Value| one.as_str().unwrap_or_default().to_owned();
    domain
        .executions()
        .iter()
        .filter(|one| one["resource"]["type"] == "Peer" || one["resource"]["kind"] == "Peer")
        .map(|one| (text(&one["resource"]["id"]), text(&one["status"])))
        .collect()
}

fn pair(peer: &str, status: &str) -> (String, String) {
    (peer.to_owned(), status.to_owned())
}

/// The execution of a peer, once it runs.
fn running(domain: &Domain, peer: &str) -> String {
    await_some("the execution of the peer", || {
        let all = domain.executions();
        let one = all
            .iter()
            .find(|one| one["resource"]["id"] == peer && one["status"] == "running")?;
        Some(one["exec"].as_str().unwrap().to_owned())
    })
}

#[test]
fn each_peer_is_decided_once_and_recorded_before_anything_is_sent() {
    let (one, other, unlisted) = (service(), service(), service());
    let (a, b) = (one.to_string(), other.to_string());
    let domain = deciding(&[&a, &b], "", &format!("resource.port == {}", one.port()));
    let ran = domain.run(&run(&asking(&[&a, &a, &b, &b, &unlisted.to_string()])));
    // What no profile lists is not asked about: on the loopback it is the cell's own, where nobody is.
    assert_eq!(ran.stdout, "welcome\nwelcome\n13\n13\n111\n", "{ran:?}");
    assert_eq!(peers(&domain), [pair(&a, "completed"), pair(&b, "denied")]);
    assert!(
        ran.stderr
            .contains(&format!("denied, no_permit: connect {b}: "))
            && ran.stderr.contains("placet explain"),
        "{ran:?}"
    );
    let records: Vec<Value> = domain
        .ok(&["log", "tail", "-n", "20", "--json"])
        .lines()
        .map(parsed)
        .collect();
    let at = |kind: &str, text: &str| {
        let found = |record: &&Value| record["kind"] == kind && record.to_string().contains(text);
        let place = records.iter().position(|record| found(&record));
        place.unwrap_or_else(|| panic!("no {kind} of {text}: {records:#?}"))
    };
    let all = domain.executions();
    let of = |peer: &str| {
        all.iter()
            .find(|one| one["resource"]["id"] == peer)
            .unwrap()
    };
    let exec = of(&a)["exec"].as_str().unwrap();
    assert!(at("decided", exec) < at("started", exec));
    assert_eq!(of(&a)["parent"], all.first().unwrap()["exec"]);
    // Who reads the lineage sees the peer below the program that connects.
    let tree = domain.ok(&["lineage", "tree"]);
    let line = tree
        .lines()
        .find(|line| line.contains(&a))
        .unwrap_or_else(|| panic!("{tree}"));
    assert!(
        !line.starts_with("exec_") && line.contains("connect"),
        "{tree}"
    );
    let denied = domain.ok(&["explain", of(&b)["exec"].as_str().unwrap()]);
    for part in ["denied", "no_permit", &b, "network:connect"] {
        assert!(denied.contains(part), "{part}: {denied}");
    }
    let shown = domain.json(&[
        "lineage",
        "show",
        all.first().unwrap()["exec"].as_str().unwrap(),
    ]);
    assert!(
        shown["connections"].to_string().contains("received_bytes"),
        "{shown}"
    );
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_permit_in_a_profile_that_does_not_list_the_peer_permits_nothing() {
    let one = service();
    let peer = one.to_string();
    let domain = deciding(&[&peer], "", "true");
    change(&domain, "@profile(\"operator\")", "@profile(\"agent\")");
    let ran = domain.run(&run(&asking(&[&peer])));
    assert_eq!(ran.stdout, "13\n", "{ran:?}");
    assert!(ran.stderr.contains("denied, scope_exceeded"), "{ran:?}");
    assert_eq!(peers(&domain), [pair(&peer, "denied")]);
}

const URLLIB: &str = "import sys, urllib.request\nfor url in sys.argv[1:]:\n    try:\n        print(urllib.request.urlopen(url, timeout=20).read().decode().strip())\n    except Exception as e:\n        print(getattr(e, 'code', None) or e)\n";

#[test]
fn a_name_is_decided_as_that_name_through_the_proxy_and_without() {
    let domain = deciding(
        &["example.org:80", "*.example.org:80"],
        "",
        "resource.host == \"example.org\"",
    );
    let apart = Apart::new(&domain);
    let urls = [
        "http://example.org/page",
        "http://files.example.org/page",
        "http://private.example.org/",
    ];
    let said = apart.ok(
        &domain,
        &[&["/usr/bin/python3", "-c", URLLIB], &urls[..]].concat(),
    );
    assert_eq!(said, "a page\n403\n403\n");
    let plain = format!(
        "{ASK}print(ask('files.example.org:80'))\ns = socket.create_connection(('example.org', 80), 20)\ns.sendall(b'GET /page HTTP/1.0\\r\\n\\r\\n')\nprint(s.makefile('rb').read().split()[-1].decode())\n"
    );
    let said = apart.ok(&domain, &["/usr/bin/python3", "-c", &plain]);
    // Nobody outside was asked about the name, since no peer of it is permitted.
    assert_eq!(said, "no such name\npage\n");
    let expected = [
        pair("example.org:80", "completed"),
        pair("files.example.org:80", "denied"),
        pair("private.example.org:80", "denied"),
        pair("files.example.org:80", "denied"),
        pair("example.org:80", "completed"),
    ];
    assert_eq!(peers(&domain), expected);
}

#[test]
fn a_connection_that_needs_approval_is_refused_and_made_once_somebody_has_approved() {
    let one = service();
    let peer = one.to_string();
    let approvals = "@approvals(\"1 of operators within 10m\")\n";
    let domain = deciding(&[&peer], approvals, "true");
    let script = format!(
        "{ASK}import time\nprint(ask('{peer}'), flush=True)\nopen('asked', 'w').close()\nfor _ in range(240):\n    said = ask('{peer}')\n    if said == 'welcome':\n        break\n    time.sleep(0.25)\nprint(said)\n"
    );
    let job = domain.start(&run(&script));
    let asked = domain.work().join("asked");
    await_some("the refusal", || asked.exists().then_some(()));
    let waiting = await_some("what waits", || {
        let all = domain.json(&["approvals"]);
        all.as_array().unwrap().first().cloned()
    });
    let exec = waiting["exec"].as_str().unwrap().to_owned();
    assert!(domain.ok(&["approvals"]).contains(&peer));
    approve(&domain, &exec);
    let output = job.wait_with_output().unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(out, "13\nwelcome\n", "{err}");
    assert!(
        err.contains("approval_required") && err.contains(&format!("placet approve {exec}")),
        "{err}"
    );
}

/// An operator of their own approves what waits.
pub(crate) fn approve(domain: &Domain, exec: &str) {
    let key = domain.path("ann").to_str().unwrap().to_owned();
    let made = domain.json(&["key", "new", "--key", &key]);
    let thumbprint = made["thumbprint"].as_str().unwrap();
    domain.ok(&[
        "principal",
        "set",
        "user:ann",
        "--uid",
        "0",
        "--key",
        thumbprint,
        "--group",
        "operators",
    ]);
    domain.ok(&[
        "approve",
        exec,
        "--as",
        "user:ann",
        "--key",
        &key,
        "--reason",
        "looked at it",
    ]);
}

/// Holds a connection through the proxy, says what became of it, and tries again.
const THROUGH: &str = "import socket
def tunnel():
    s = socket.create_connection(('127.0.0.1', 3128))
    s.sendall(b'CONNECT example.org:7 HTTP/1.1\\r\\nHost: example.org:7\\r\\n\\r\\n')
    return s, s.recv(999).split()[1].decode()
s, said = tunnel()
print(said)
s.sendall(b'here')
s.recv(9)
open('up', 'w').close()
try:
    print(len(s.recv(9)))
except OSError as e:
    print(0)
print(tunnel()[1], flush=True)
";

fn held(domain: &Domain, apart: &Apart, end: impl FnOnce(&str)) -> (String, String) {
    let job = apart
        .command(domain, &run(THROUGH))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let up = domain.work().join("up");
    await_some("a connection", || up.exists().then_some(()));
    end(&running(domain, "example.org:7"));
    let output = job.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_revoked_of_the_proxy_is_closed_and_the_tree_goes_on() {
    let domain = deciding(&["example.org:7"], "", "true");
    let apart = Apart::new(&domain);
    let (out, err) = held(&domain, &apart, |exec| {
        domain.ok(&["revoke", exec, "--reason", "enough"]);
    });
    assert_eq!(out, "200\n0\n403\n", "{err}");
    assert!(
        err.contains("ended, revoked: connections to example.org:7"),
        "{err}"
    );
    assert_eq!(peers(&domain), [pair("example.org:7", "terminated")]);
    let first = domain.executions().remove(0);
    assert_eq!(first["status"], "completed", "{first}");
}

#[test]
fn a_peer_that_another_policy_does_not_permit_is_let_go_and_asked_about_anew() {
    let domain = deciding(&["example.org:7"], "", "resource.port == 7");
    let apart = Apart::new(&domain);
    let (out, err) = held(&domain, &apart, |_| {
        change(&domain, "resource.port == 7", "resource.port == 8");
    });
    assert_eq!(out, "200\n0\n403\n", "{err}");
    assert!(err.contains("ended, policy_mismatch"), "{err}");
    let expected = [
        pair("example.org:7", "terminated"),
        pair("example.org:7", "denied"),
    ];
    assert_eq!(peers(&domain), expected);
}

#[test]
fn a_socket_that_a_program_holds_itself_ends_with_its_tree() {
    let one = service();
    let peer = one.to_string();
    let domain = deciding(&[&peer], "", "true");
    let script = format!(
        "{ASK}import time\nhost, port = '{peer}'.rsplit(':', 1)\ns = socket.create_connection((host, int(port)))\nopen('up', 'w').close()\ntime.sleep(600)\n"
    );
    let job = domain.start(&run(&script));
    let up = domain.work().join("up");
    await_some("a connection", || up.exists().then_some(()));
    let exec = running(&domain, &peer);
    domain.ok(&["revoke", &exec, "--reason", "enough"]);
    assert_eq!(
        job.wait_with_output().unwrap().status.code(),
        Some(TERMINATED)
    );
    for one in domain.executions() {
        assert_eq!(one["ended"]["cause"], "revoked", "{one}");
    }
}
