//! The network as a governed command meets it: nobody is reached but the peers of the scope.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::domain::{Domain, parsed};

/// A service of the host that says the same to everyone, and where it is.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"welcome").unwrap();
        }
    });
    address
}

/// A domain whose operators may reach one peer.
fn reaching(peer: SocketAddr) -> Domain {
    let domain = Domain::new();
    let network = format!("exec_in_writable = true\nnetwork = [\"{peer}\"]");
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        &network,
    )]);
    domain
}

fn ask(to: SocketAddr) -> String {
    format!(
        "import socket\ntry:\n    s = socket.create_connection(('{}', {}), 5)\n    s.sendall(b'here')\n    print(s.recv(99).decode())\nexcept OSError as e:\n    print(e.errno)\n",
        to.ip(),
        to.port()
    )
}

#[test]
fn a_peer_of_the_scope_is_reached_and_no_other_and_both_are_recorded() {
    let (listed, unlisted) = (service(), service());
    // An address for documentation (RFC 5737): nobody is there, and nobody is asked.
    let other: SocketAddr = "192.0.2.7:443".parse().unwrap();
    let domain = reaching(listed);
    let script = format!("{}{}{}", ask(listed), ask(unlisted), ask(other));
    let said = domain.ok(&["run", "--", "/usr/bin/python3", "-c", &script]);
    // The loopback is the cell's own but for what is listed: ECONNREFUSED. Elsewhere: EACCES.
    assert_eq!(said, "welcome\n111\n13\n");
    let last = domain.executions().pop().unwrap();
    let exec = last["exec"].as_str().unwrap();
    let records: Vec<_> = domain
        .ok(&["log", "tail", "-n", "9", "--json"])
        .lines()
        .map(parsed)
        .filter(|record| record.to_string().contains(exec))
        .collect();
    let text = |kind: &str| {
        let found = records.iter().find(|record| record["kind"] == kind);
        found.map(ToString::to_string).unwrap_or_default()
    };
    let refused = text("signal");
    assert!(
        refused.contains("scope_exceeded") && refused.contains(&other.to_string()),
        "{refused}"
    );
    let ended = text("ended");
    for part in ["\"opened\":1", "\"refused\":1", "\"received_bytes\":"] {
        assert!(ended.contains(part), "{part}: {ended}");
    }
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn without_a_peer_in_the_scope_nobody_is_reached() {
    let (domain, somebody) = (Domain::new(), service());
    let said = domain.ok(&["run", "--", "/usr/bin/python3", "-c", &ask(somebody)]);
    assert_ne!(said, "welcome\n");
}
