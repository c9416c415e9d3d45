//! Prints what a cell costs: `/bin/true` bare, confined, confined with a limit on processes (as root in
//! a control group of version 1 as well), with whole-tree bounds (root only), and with an exec gate (as
//! root with two), interleaved, medians of 60.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example that measures and prints"
)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use placet_sandbox::{
    Cell, CellSpec, FileIdentity, Limits, Network, Paths, Program, Session, elf_interpreter,
};

const ROUNDS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let spec = spec()?;
    let mut limited = spec.clone();
    limited.limits.processes = Some(64);
    let mut bounded = limited.clone();
    if rustix::process::geteuid().is_root() {
        bounded.limits.tree_memory_bytes = Some(1 << 30);
        bounded.limits.tree_cpu_percent = Some(100);
    }
    let mut gated = spec.clone();
    gated.exec.rule = placet_sandbox::ExecRule::Any;
    let mut columns: [Vec<Duration>; 13] = Default::default();
    for _ in 0..ROUNDS {
        let bare = Instant::now();
        std::process::Command::new(&spec.program.path).status()?;
        let bare = vec![bare.elapsed()];
        let times = [
            bare,
            confined(&spec)?,
            confined(&limited)?,
            confined(&bounded)?,
            confined(&gated)?,
        ]
        .concat();
        columns
            .iter_mut()
            .zip(times)
            .for_each(|(column, time)| column.push(time));
    }
    let names = [
        "bare",
        "prepare",
        "prepare+spawn",
        "to exit",
        "limited: prepare",
        "prepare+spawn",
        "to exit",
        "bounded: prepare",
        "prepare+spawn",
        "to exit",
        "gated: prepare",
        "prepare+spawn",
        "to exit",
    ];
    for (name, column) in names.iter().zip(&mut columns) {
        column.sort();
        let median = column.get(ROUNDS / 2).copied().unwrap_or_default();
        let slow = column.get(ROUNDS * 95 / 100).copied().unwrap_or_default();
        println!("{name:>16}: median {median:?}, 95th percentile {slow:?}");
    }
    Ok(())
}

/// Time since the start: prepared, waiting, gone.
fn confined(spec: &CellSpec) -> Result<Vec<Duration>, Box<dyn Error>> {
    let start = Instant::now();
    let prepared = Cell::prepare(spec.clone())?;
    let mut times = vec![start.elapsed()];
    let waiting = prepared.spawn()?;
    times.push(start.elapsed());
    waiting.release()?.wait()?;
    times.push(start.elapsed());
    Ok(times)
}

fn spec() -> Result<CellSpec, Box<dyn Error>> {
    let path = std::fs::canonicalize("/bin/true")?;
    let mut exec = vec![path.clone()];
    if let Some(interpreter) = elf_interpreter(&path)? {
        exec.push(std::fs::canonicalize(interpreter)?);
    }
    let identity = FileIdentity::of_path(&path)?;
    let libraries = ["/usr/lib", "/usr/lib64"].map(Path::new);
    let read = libraries.iter().flat_map(std::fs::canonicalize).collect();
    Ok(CellSpec {
        tier: placet_sandbox::Tier::default(),
        program: Program {
            path,
            identity,
            argv: vec!["true".into()],
        },
        credentials: placet_sandbox::CredentialSlots::default(),
        env: Vec::new(),
        cwd: "/".into(),
        paths: Paths {
            read,
            exec,
            tmp_bytes_max: 1 << 20,
            ..Paths::default()
        },
        exec: placet_sandbox::ExecGate::none(),
        network: Network::Loopback,
        egress: placet_sandbox::EgressRules::nobody(),
        limits: Limits::default(),
        lease: Duration::from_secs(10),
        proxied: false,
        own_files: Vec::new(),
        door: true,
        client: None,
        looked: placet_sandbox::Looked::default(),
        session: Session::Shared,
    })
}
