//! How long it takes from the decision to end a tree until its last process is gone, and that none is left: for a
//! tree of ten, and for a storm of 500 that fork all the time, with orphans in sessions of their
//! own and stopped ones among them; without an exec gate and, so that each is traced, with one. As root the trees end by
//! their control groups.
//!
//! `cargo bench --bench ending -- 1000` runs each so many times; 20 times without a number.
#![expect(unsafe_code, reason = "forking has no safe interface")]
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark measures and prints"
)]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use placet_sandbox::{
    Arguments, Cell, CellSpec, EgressRules, ExecGate, ExecRule, FileIdentity, Limits, Network,
    OnRefusal, Paths, Program, RunningCell, Session, elf_interpreter,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const LONG: Duration = Duration::from_secs(60);
const STORM: usize = 500;
const FEW: usize = 8;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "inside") {
        be_many(&arguments[2]);
    }
    let times = arguments
        .iter()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(20);
    for (name, size, gated) in [
        ("ten", FEW, false),
        ("ten, traced", FEW, true),
        ("storm", STORM, false),
        ("storm, traced", STORM, true),
    ] {
        measure(name, size, gated, times)?;
    }
    Ok(())
}

fn measure(name: &str, size: usize, gated: bool, times: usize) -> Outcome<()> {
    let (mut took, mut survivors) = (Vec::new(), 0);
    for run in 0..times {
        let marker = format!("ending-{}-{run}-", std::process::id());
        let argv = ["bench", "inside", &size.to_string(), &marker].map(Into::into);
        let mut cell = start(argv.to_vec(), gated)?;
        while marked(&marker)? < size {
            std::thread::sleep(Duration::from_millis(2));
        }
        let begin = Instant::now();
        cell.terminate()?;
        took.push(begin.elapsed().as_micros());
        survivors += marked(&marker)?;
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "{name:>14}, {times} times, microseconds: p50 {:6}  p95 {:6}  p99 {:6}  max {:6}; {survivors} survivors",
        at(50),
        at(95),
        at(99),
        at(100)
    );
    Ok(())
}

/// How many processes have the marker on their command line.
fn marked(marker: &str) -> Outcome<usize> {
    let has_marker = |dir: PathBuf| {
        std::fs::read(dir.join("cmdline")).is_ok_and(|line| {
            line.windows(marker.len())
                .any(|part| part == marker.as_bytes())
        })
    };
    let entries = std::fs::read_dir("/proc")?.flatten();
    Ok(entries.filter(|entry| has_marker(entry.path())).count())
}

/// Inside of a cell.
fn be_many(size: &str) -> ! {
    let size: usize = size.parse().unwrap_or(0);
    for number in 0..size {
        // SAFETY: nothing else runs in this process, and the children only make sessions, stop,
        // fork, sleep and exit.
        unsafe {
            if libc::fork() != 0 {
                continue;
            }
            match number % 10 {
                0 => {
                    libc::setsid();
                    if libc::fork() != 0 {
                        libc::_exit(0);
                    }
                }
                1 => drop(libc::raise(libc::SIGSTOP)),
                _ => {}
            }
            loop {
                if size > FEW && libc::fork() == 0 {
                    libc::usleep(1000);
                    libc::_exit(0);
                }
                libc::usleep(300_000);
                libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG);
            }
        }
    }
    loop {
        std::thread::sleep(LONG);
    }
}

fn start(argv: Vec<std::ffi::OsString>, gated: bool) -> Outcome<RunningCell> {
    let own = std::fs::canonicalize(std::env::current_exe()?)?;
    let interpreter = elf_interpreter(&own)?.ok_or("linked statically")?;
    let libraries = ["/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
    let libraries = libraries
        .iter()
        .filter_map(|path| std::fs::canonicalize(path).ok());
    let spec = CellSpec {
        tier: placet_sandbox::Tier::default(),
        program: Program {
            identity: FileIdentity::of_path(&own)?,
            path: own.clone(),
            argv,
        },
        env: Vec::new(),
        credentials: placet_sandbox::CredentialSlots::default(),
        cwd: PathBuf::from("/"),
        paths: Paths {
            read: libraries.collect(),
            exec: vec![own.clone(), std::fs::canonicalize(interpreter)?],
            tmp_bytes_max: 1 << 20,
            ..Paths::default()
        },
        exec: ExecGate {
            rule: if gated {
                ExecRule::Any
            } else {
                ExecRule::Ungated
            },
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
    };
    Ok(Cell::prepare(spec)?.spawn()?.release()?)
}
