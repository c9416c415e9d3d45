//! The connect broker on real trees: who is reached, by whom, and what the supervisor hears.
//!
//! "Outside" is the host's own loopback: a port of it is reached only if it is listed, and the
//! cell's loopback is another one. Each attack also runs without a cell, where it has to succeed.
#![expect(
    unsafe_code,
    reason = "attacks are system calls that no safe interface offers"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "test code, which may look at the clock and start processes"
)]

#[path = "../support/host.rs"]
mod host;
#[path = "../support/mod.rs"]
mod support;

mod acts;
mod attacks;
mod reached;
mod reports;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use host::{main_on_both, on_host};
use placet_sandbox::{
    Broker, Cell, CellSpec, ConnectReport, EgressRules, Network, Peers, RunningCell, Status,
};
use support::{ACT, NotGiven, Suite, acting_spec, command, own_executable};

fn main() -> ExitCode {
    let tests = [attacks::TESTS, reached::TESTS, reports::TESTS].concat();
    main_on_both(&Suite {
        gated_too: true,
        not_given: NOT_GIVEN_BY_U0,
        ..Suite::of(&tests, acts::ACTS)
    })
}

/// What tier U0 does not give, by the word that decisions have for it.
const NOT_GIVEN_BY_U0: &[NotGiven] = &[
    ("the_cells_own_loopback_works", NOTHING_BINDS),
    ("abstract_names_are_the_cells_own", NOTHING_BINDS),
    ("unix_sockets_of_the_cell_in_a_granted_tree", NOTHING_BINDS),
    ("unix_sockets_in_the_cells_own_directories", NOTHING_BINDS),
    (
        "a_flipping_path_never_reaches_the_hosts_socket",
        "the attack flips to a socket that the tree has bound, and there it binds none; it is made with a listed \
         one instead, by a_path_that_flips_between_two_services",
    ),
];
const NOTHING_BINDS: &str =
    "shared_network: where there are peers nothing binds, since every address would be the host's";

const SUCCESS: Status = Status::Exited(0);
const EACCES: Status = Status::Exited(libc::EACCES);
const EPERM: Status = Status::Exited(libc::EPERM);

/// A service outside that counts its visitors.
struct Service {
    address: SocketAddr,
    visitors: Arc<AtomicUsize>,
}

impl Service {
    /// Reads up to a thousand bytes from each visitor and answers with three hundred.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let visitors = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visitors);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || acts::serve(stream.unwrap()));
            }
        });
        Self { address, visitors }
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }

    fn visitors(&self) -> usize {
        // Whoever connected has been accepted by then.
        std::thread::sleep(Duration::from_millis(20));
        self.visitors.load(Ordering::SeqCst)
    }

    fn rules(&self) -> EgressRules {
        EgressRules {
            peers: vec![Peers::one(self.address)],
            ..nobody()
        }
    }
}

/// Nobody who is there. On the host's network there are TCP sockets only where there are peers: one that is an
/// address for documentation (RFC 5737) has it tell of the others.
fn nobody() -> EgressRules {
    let peer = || Peers::one("192.0.2.99:9".parse().unwrap());
    EgressRules {
        peers: on_host().then(peer).into_iter().collect(),
        ..EgressRules::nobody()
    }
}

fn brokered(mut spec: CellSpec, rules: EgressRules) -> CellSpec {
    spec.network = Network::Loopback;
    spec.egress = rules;
    spec
}

fn acting_with(act: &str, arguments: &[&str], rules: EgressRules) -> CellSpec {
    brokered(acting_spec(act, arguments), rules)
}

fn start(spec: CellSpec) -> RunningCell {
    Cell::prepare(spec)
        .unwrap()
        .spawn()
        .unwrap()
        .release()
        .unwrap()
}

/// Runs a cell to its end, taking all reports.
fn run(spec: CellSpec) -> (Status, Vec<ConnectReport>) {
    let mut cell = start(spec);
    let mut reports = Vec::new();
    let exit = loop {
        reports.extend(take(&cell));
        if let Some(exit) = cell.try_wait().unwrap() {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    reports.extend(take(&cell));
    (exit.status, reports)
}

fn take(cell: &RunningCell) -> Vec<ConnectReport> {
    // The gate's reports too: nobody else takes them, and execs wait for room.
    if let Some(gate) = cell.gate() {
        drop(gate.reports());
    }
    cell.broker().map_or_else(Vec::new, Broker::reports)
}

/// How the act ends without a cell.
fn outside(act: &str, arguments: &[&str]) -> Status {
    let mut command = command(&own_executable());
    let status = command.arg(ACT).arg(act).args(arguments).status().unwrap();
    match status.signal() {
        Some(signal) => Status::Signaled(signal),
        None => Status::Exited(status.code().unwrap()),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits for something that has to come soon; panics when it does not.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
