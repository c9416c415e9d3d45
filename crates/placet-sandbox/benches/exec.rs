//! What the exec gate costs: one exec of a small program from inside a cell, which means vfork,
//! execve, exit and wait, without a gate and behind each rule, interleaved. Also plain forks, which
//! the trace stops as well.
#![expect(unsafe_code, reason = "forking has no safe interface")]
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark measures and prints"
)]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use placet_sandbox::{
    Arguments, Cell, CellSpec, EgressRules, ExecGate, ExecReport, ExecRule, ExecVerdict,
    FileIdentity, ImageDigest, Limits, Network, OnRefusal, Paths, Program, Session,
    elf_interpreter,
};
use sha2::{Digest, Sha256};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TIMES: usize = 300;
const ROUNDS: usize = 5;
const LONG: Duration = Duration::from_secs(60);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("inside") => measure(&arguments[2]),
        Some("supervise") => supervise(&arguments[2], &arguments[3]),
        _ => compare(),
    }
}

/// Inside of a cell: one time in microseconds for each line.
fn measure(what: &str) -> Outcome<()> {
    for _ in 0..TIMES {
        let start = Instant::now();
        match what {
            "fork" => fork(),
            program => drop(Command::new(program).status()?),
        }
        println!("{}", start.elapsed().as_micros());
    }
    Ok(())
}

fn fork() {
    // SAFETY: nothing else runs in this process, and the child only exits.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

fn compare() -> Outcome<()> {
    let own = std::env::current_exe()?;
    for what in ["/usr/bin/true", "fork"] {
        let mut columns = [const { Vec::new() }; 4];
        let rules = ["none", "any", "listed", "ask"];
        for _ in 0..ROUNDS {
            for (rule, column) in rules.iter().zip(&mut columns) {
                let mut run = Command::new(&own);
                let mut run = run
                    .args(["supervise", rule, what])
                    .stdout(Stdio::piped())
                    .spawn()?;
                let lines = run.stdout.take().ok_or("no output")?;
                for line in BufReader::new(lines).lines() {
                    column.push(line?.parse::<u64>()?);
                }
                run.wait()?;
            }
        }
        println!("{what}, {} times, microseconds:", TIMES * ROUNDS);
        for (rule, column) in rules.iter().zip(&mut columns) {
            column.sort_unstable();
            let at = |percent: usize| column[column.len() * percent / 100];
            println!(
                "{rule:>10}: p50 {:5}  p95 {:5}  p99 {:5}",
                at(50),
                at(95),
                at(99)
            );
        }
    }
    Ok(())
}

fn supervise(rule: &str, what: &str) -> Outcome<()> {
    let mut cell = Cell::prepare(spec(rule, what)?)?.spawn()?.release()?;
    loop {
        let wait = [
            cell.gate().map(std::os::fd::AsFd::as_fd),
            Some(cell.pidfd()),
        ];
        let mut wait: Vec<_> = wait
            .iter()
            .flatten()
            .map(|fd| rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN))
            .collect();
        rustix::event::poll(&mut wait, None)?;
        if let Some(gate) = cell.gate() {
            for report in gate.reports() {
                if let ExecReport::Asked(call) = report {
                    gate.answer(call.id, ExecVerdict::Allow);
                }
            }
        }
        if cell.try_wait()?.is_some() {
            return Ok(());
        }
    }
}

fn rule(name: &str, own: &Path) -> Outcome<ExecRule> {
    Ok(match name {
        "none" => ExecRule::Ungated,
        "any" => ExecRule::Any,
        "listed" => {
            let mut digests = BTreeSet::new();
            for path in [own, Path::new("/usr/bin/true")] {
                digests.insert(ImageDigest(Sha256::digest(std::fs::read(path)?).into()));
            }
            ExecRule::Listed(digests)
        }
        _ => ExecRule::Ask { patience: LONG },
    })
}

fn spec(name: &str, what: &str) -> Outcome<CellSpec> {
    let own = std::fs::canonicalize(std::env::current_exe()?)?;
    let interpreter = elf_interpreter(&own)?.ok_or("linked statically")?;
    let libraries = ["/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
    Ok(CellSpec {
        tier: placet_sandbox::Tier::default(),
        program: Program {
            identity: FileIdentity::of_path(&own)?,
            path: own.clone(),
            argv: ["bench", "inside", what].map(Into::into).to_vec(),
        },
        credentials: placet_sandbox::CredentialSlots::default(),
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        paths: Paths {
            read: libraries
                .iter()
                .filter_map(|path| std::fs::canonicalize(path).ok())
                .collect(),
            exec: vec![
                own.clone(),
                std::fs::canonicalize(interpreter)?,
                "/usr/bin".into(),
            ],
            tmp_bytes_max: 1 << 20,
            ..Paths::default()
        },
        exec: ExecGate {
            rule: rule(name, &own)?,
            refused: OnRefusal::EndProcess,
            digests: None,
            arguments: Arguments::Read,
        },
        network: Network::None,
        egress: EgressRules::nobody(),
        limits: Limits::default(),
        lease: LONG,
        proxied: false,
        own_files: Vec::new(),
        door: false,
        client: None,
        looked: placet_sandbox::Looked::default(),
        session: Session::Shared,
    })
}
