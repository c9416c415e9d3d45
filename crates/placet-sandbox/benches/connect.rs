//! What the connect broker costs: one TCP connect to a service on the host's loopback, from a
//! process without a cell, and from one in a cell whose broker lists the service, interleaved. Also
//! a connect of a process to itself over the loopback, without a cell and over the cell's own.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark measures and prints"
)]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use placet_sandbox::{
    Broker, Cell, CellSpec, EgressRules, ExecGate, FileIdentity, Limits, Network, Paths, Peers,
    Program, Session, elf_interpreter,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TIMES: usize = 500;
const ROUNDS: usize = 4;
const WAYS: [&str; 4] = [
    "outside, bare",
    "outside, in a cell",
    "to itself, bare",
    "to itself, in a cell",
];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("inside") => measure(&arguments[2]),
        Some("supervise") => supervise(&arguments[2]),
        _ => compare(),
    }
}

/// One time in microseconds for each line.
fn measure(to: &str) -> Outcome<()> {
    let own = TcpListener::bind("127.0.0.1:0")?;
    let to = match to {
        "own" => own.local_addr()?,
        address => address.parse()?,
    };
    for _ in 0..TIMES {
        let start = Instant::now();
        let stream = TcpStream::connect(to)?;
        println!("{}", start.elapsed().as_micros());
        drop(stream);
        if to == own.local_addr()? {
            drop(own.accept()?);
        }
    }
    Ok(())
}

fn compare() -> Outcome<()> {
    let service = TcpListener::bind("127.0.0.1:0")?;
    let address = service.local_addr()?.to_string();
    std::thread::spawn(move || {
        for visitor in service.incoming() {
            drop(visitor);
        }
    });
    let mut columns = [const { Vec::new() }; WAYS.len()];
    for _ in 0..ROUNDS {
        let runs: [&[&str]; WAYS.len()] = [
            &["inside", &address],
            &["supervise", &address],
            &["inside", "own"],
            &["supervise", "own"],
        ];
        for (run, column) in runs.iter().zip(&mut columns) {
            let mut run = Command::new(std::env::current_exe()?)
                .args(*run)
                .stdout(Stdio::piped())
                .spawn()?;
            let lines = run.stdout.take().ok_or("no output")?;
            for line in BufReader::new(lines).lines() {
                column.push(line?.parse::<u64>()?);
            }
            run.wait()?;
        }
    }
    println!("connect, {} times, microseconds:", TIMES * ROUNDS);
    for (way, column) in WAYS.iter().zip(&mut columns) {
        column.sort_unstable();
        let at = |percent: usize| column[column.len() * percent / 100];
        println!(
            "{way:>24}: p50 {:4}  p95 {:4}  p99 {:4}",
            at(50),
            at(95),
            at(99)
        );
    }
    Ok(())
}

fn supervise(to: &str) -> Outcome<()> {
    let mut cell = Cell::prepare(spec(to)?)?.spawn()?.release()?;
    while cell.next_change(Some(Duration::from_millis(2)))?.is_none() {
        drop(cell.broker().map(Broker::reports));
    }
    Ok(())
}

fn spec(to: &str) -> Outcome<CellSpec> {
    let own = std::fs::canonicalize(std::env::current_exe()?)?;
    let interpreter = elf_interpreter(&own)?.ok_or("linked statically")?;
    let libraries = ["/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
    let peers = to.parse::<SocketAddr>().map(Peers::one);
    Ok(CellSpec {
        tier: placet_sandbox::Tier::default(),
        program: Program {
            identity: FileIdentity::of_path(&own)?,
            path: own.clone(),
            argv: ["bench", "inside", to].map(Into::into).to_vec(),
        },
        credentials: placet_sandbox::CredentialSlots::default(),
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        paths: Paths {
            read: libraries
                .iter()
                .filter_map(|path| std::fs::canonicalize(path).ok())
                .collect(),
            exec: vec![own.clone(), std::fs::canonicalize(interpreter)?],
            tmp_bytes_max: 1 << 20,
            ..Paths::default()
        },
        exec: ExecGate::none(),
        network: Network::Loopback,
        egress: EgressRules {
            peers: peers.into_iter().collect(),
            ..EgressRules::nobody()
        },
        limits: Limits::default(),
        lease: Duration::from_secs(60),
        proxied: false,
        own_files: Vec::new(),
        door: false,
        client: None,
        looked: placet_sandbox::Looked::default(),
        session: Session::Shared,
    })
}
