//! The service as others use it: the real program in a process of its own, and its clients here.
//!
//! Questions beside another decision point with an equal policy, if `CERBOS_PROGRAM` names one (it
//! keeps no evidence); both over a Unix socket, asked by the same code. What the service does under
//! five times the load that it sustains. How much memory ten thousand streams and leases take.

mod holders;
mod questions;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client;

pub(crate) use holders::{holders, roomy};
pub(crate) use questions::{flat, flood, questions};

/// How long a program may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// A domain, and the service that serves it. Both end with this value.
struct Service {
    dir: TempDir,
    program: PathBuf,
    child: Child,
}

/// The program that is measured, if it was built.
fn program() -> Option<PathBuf> {
    let program = std::env::var_os("PLACET_PROGRAM")
        .map_or_else(|| PathBuf::from("target/release/placet"), PathBuf::from);
    if program.is_file() {
        return program.canonicalize().ok();
    }
    println!(
        "no {}: build it with `cargo build --release -p placet`",
        program.display()
    );
    None
}

impl Service {
    /// Begins a domain and serves it under this configuration.
    fn start(program: PathBuf, configuration: &str) -> Self {
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let run = |args: &[&str]| {
            let status = command(&program, dir.path()).args(args).status();
            assert!(status.expect("it starts").success(), "{args:?}");
        };
        run(&["init", "--name", "placet.example/bench"]);
        std::fs::write(dir.path().join("domain/placet.toml"), configuration).expect("a file");
        // Ten thousand connections are as many descriptors.
        let mut shell = command(Path::new("/bin/sh"), dir.path());
        shell
            .args(["-c", "ulimit -n 65536; exec \"$0\" up"])
            .arg(&program);
        let child = shell.spawn().expect("it starts");
        let service = Self {
            dir,
            program,
            child,
        };
        let began = Instant::now();
        while client::get(&service.socket(), "/readyz").is_none() {
            assert!(began.elapsed() < PATIENCE, "it does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }

    fn run(&self, args: &[&str]) {
        let status = command(&self.program, self.dir.path()).args(args).status();
        assert!(status.expect("it starts").success(), "{args:?}");
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("domain/http.sock")
    }

    /// Resident memory, in MiB.
    fn memory(&self) -> f64 {
        resident(self.child.id())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env(
            "PLACET_DOMAIN",
            dir.canonicalize().expect("it is there").join("domain"),
        )
        .env("PLACET_LOG_LEVEL", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = kib.and_then(|kib| kib.parse().ok()).unwrap_or(f64::NAN);
    kib / 1024.0
}
