//! A connection made in a cell: to a peer that the scope lists, and to one that is decided about first.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::{Ground, taken};
use crate::stats::Samples;

/// Each is a service of its own: a peer is decided about once.
const PEERS: usize = 64;
const ROUNDS: usize = 5;

const CONNECTOR: &str = "import socket, sys, time
for port in sys.argv[1:]:
    s = socket.socket()
    began = time.perf_counter_ns()
    s.connect(('127.0.0.1', int(port)))
    print(time.perf_counter_ns() - began)
    s.close()
";

const POLICY: &str = "
@id(\"bench-connects\")
@profile(\"operator\")
permit (principal in Group::\"operators\", action == Action::\"network:connect\", resource is Peer);
";

/// Services that take connections until this process ends.
fn services() -> Vec<u16> {
    let serve = |_| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        thread::spawn(move || listener.incoming().for_each(drop));
        port
    };
    (0..PEERS).map(serve).collect()
}

impl Ground {
    pub(super) fn connects(&self) {
        let ports = services();
        self.activate(&ports);
        let ways: [(&str, Option<&[&str]>); 3] = [
            ("a connection, bare", None),
            ("inside, to whom the scope lists", Some(&[])),
            (
                "inside, decided and recorded first",
                Some(&["--profile", "ask"]),
            ),
        ];
        let mut samples = ways.map(|_| Vec::new());
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut argv = vec!["/usr/bin/python3", "-c", CONNECTOR];
        argv.extend(ports.iter().map(String::as_str));
        for _ in 0..ROUNDS {
            for ((_, how), samples) in ways.iter().zip(&mut samples) {
                let output = self.either(*how, &argv).output().expect("it starts");
                assert!(output.status.success(), "{output:?}");
                let lines = String::from_utf8_lossy(&output.stdout).into_owned();
                let times = lines.lines().map(|line| line.parse().expect("a number"));
                samples.extend(times.map(Duration::from_nanos));
            }
        }
        let samples = samples.map(Samples::new);
        let figures = [None, Some("inside-connect"), None];
        super::print(&ways.map(|(name, _)| name), figures, &samples);
    }

    /// The starter bundle, with these peers in the operators' network, and a profile that has each decided.
    fn activate(&self, ports: &[u16]) {
        let bundle = self.work.join("bundle");
        let at = bundle.to_str().unwrap_or_default();
        taken(&mut self.placet(&["policy", "init", at]));
        let change = |file: &str, from: &str, to: &str| {
            let path = bundle.join(file);
            let text = fs::read_to_string(&path).expect("a file of the starter bundle");
            assert!(text.contains(from), "{file} has no {from}");
            fs::write(&path, text.replacen(from, to, 1)).expect("it is ours");
        };
        let peers: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let executes = "exec_in_writable = true";
        let network = format!("{executes}\nnetwork = {peers:?}");
        change("profiles/operator.toml", executes, &network);
        let asks = bundle.join("profiles/ask.toml");
        fs::copy(bundle.join("profiles/operator.toml"), asks).expect("it is ours");
        let decides = format!("{executes}\negress = \"decide\"");
        change("profiles/ask.toml", executes, &decides);
        let first = "@id(\"agents-connect\")";
        change(
            "policies/network.cedar",
            first,
            &format!("{POLICY}\n{first}"),
        );
        change("bundle.toml", "revision = 1", "revision = 2");
        taken(&mut self.placet(&["policy", "activate", at]));
    }
}
