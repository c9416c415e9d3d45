//! From a revocation to the end of the last process, through the node and the supervisor for real.
//!
//! Every process of the tree has a pipe open for writing, and nobody else: its end is the end of the
//! last one. Two times are taken to it: from asking for the revocation, so with the write that makes
//! it durable, and from the answer, which comes once it is durable.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use placet_authority::dir::DomainDir;
use placet_authority::node::wire::{ActBody, Request, Response};
use placet_authority::node::{Connection, connect};
use placet_evidence::Selector;
use placet_types::ExecutionId;

use crate::figures;
use crate::serve::roomy;
use crate::stats::Samples;

/// Processes of a tree, and how often such a tree is ended.
const TREES: [(usize, usize); 3] = [(1, 100), (10, 100), (500, 25)];

/// `$1` processes below the shell, half a dozen of which start others as fast as they can when there
/// are many. All have the pipe; `9` tells that they are there.
const TREE: &str = "exec 9>pipe; i=1; \
    while [ $i -lt $1 ]; do \
        if [ $1 -ge 100 ] && [ $i -le 6 ]; then \
            (while :; do /bin/true & /bin/true; done) & \
        else sleep 600 & fi; \
        i=$((i+1)); done; \
    echo ready >&9; while :; do sleep 600; done";

/// Executions that run beside the one that is revoked, and how often one is.
const CROWD: usize = 1_000;
const ROUNDS: usize = 200;
/// Executions that are on their way to running at a time.
const STARTING: usize = 8;

struct Ground {
    program: PathBuf,
    domain: PathBuf,
    work: PathBuf,
}

pub(crate) fn revocation() {
    let Some((_dir, ground)) = Ground::new() else {
        return;
    };
    for (processes, rounds) in TREES {
        let p99 = ground.end_many(processes, rounds, "");
        match processes {
            10 => figures::note("gone-10", p99),
            500 => figures::note("gone-500", p99),
            _ => {}
        }
    }
    ground.finish(&["node", "stop"]);
}

/// The same, while a thousand others run: each with a gateway and a cell of its own.
pub(crate) fn crowd() {
    let Some((_dir, ground)) = Ground::new() else {
        return;
    };
    let bundle = roomy();
    let path = bundle.path().to_str().expect("text");
    ground.finish(&["policy", "activate", path]);
    let crowd = Crowd::start(&ground);
    let p99 = ground.end_many(1, ROUNDS, &format!(", {CROWD} others run"));
    figures::note("crowd", p99);
    drop(crowd);
    ground.finish(&["node", "stop"]);
}

/// Executions that run until this value goes.
struct Crowd(Vec<Child>);

impl Crowd {
    fn start(ground: &Ground) -> Self {
        let (mut crowd, began) = (Self(Vec::with_capacity(CROWD)), Instant::now());
        let run = ["run", "--", "sleep", "3600"];
        crowd
            .0
            .push(ground.command(&run).spawn().expect("it starts"));
        // The first one starts the node.
        std::thread::sleep(Duration::from_secs(1));
        let mut link = ground.link();
        let mut running = 0;
        while running < CROWD {
            if crowd.0.len() < CROWD.min(running + STARTING) {
                crowd
                    .0
                    .push(ground.command(&run).spawn().expect("it starts"));
                continue;
            }
            // A number: a list of a thousand takes longer to write and to read than a cell takes to start.
            running = open(&mut link);
            assert!(began.elapsed() < Duration::from_secs(180), "{running} run");
            std::thread::sleep(Duration::from_millis(10));
        }
        println!(
            "{:<44} {:>12.1} s",
            format!("{CROWD} cells started"),
            began.elapsed().as_secs_f64()
        );
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // A tree ends with its supervisor.
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Ground {
    fn new() -> Option<(tempfile::TempDir, Self)> {
        let program = std::env::var_os("PLACET_PROGRAM")
            .map_or_else(|| PathBuf::from("target/release/placet"), PathBuf::from);
        if !program.is_file() {
            println!(
                "no {}: build it with `cargo build --release -p placet`",
                program.display()
            );
            return None;
        }
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let root = dir.path().canonicalize().expect("it is there");
        let ground = Ground {
            program: program.canonicalize().expect("it is there"),
            domain: root.join("domain"),
            work: root.join("work"),
        };
        std::fs::create_dir(&ground.work).expect("a directory");
        ground.finish(&["init", "--name", "placet.example/bench"]);
        Some((dir, ground))
    }

    /// The p99 from the answer on, in milliseconds.
    fn end_many(&self, processes: usize, rounds: usize, beside: &str) -> f64 {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (from_asking, from_answer) = self.end_one(processes);
            asked.push(from_asking);
            answered.push(from_answer);
        }
        Samples::new(asked).print(&format!("{processes} processes gone, from asking{beside}"));
        let answered = Samples::new(answered);
        answered.print(&format!(
            "{processes} processes gone, from the answer{beside}"
        ));
        answered.percentile(99).as_secs_f64() * 1e3
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--domain").arg(&self.domain).args(args);
        command
            .current_dir(&self.work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn finish(&self, args: &[&str]) {
        let status = self.command(args).status().expect("it starts");
        assert!(status.success(), "{args:?}: {status}");
    }

    /// Starts a tree, revokes it, and tells how long it lived on.
    fn end_one(&self, processes: usize) -> (Duration, Duration) {
        let pipe = self.pipe();
        // The first one of all starts the node.
        let before = self.running();
        let script = [
            "run",
            "--",
            "sh",
            "-c",
            TREE,
            "tree",
            &processes.to_string(),
        ];
        let mut supervisor = self.command(&script).spawn().expect("it starts");
        // Opening waits for the first writer.
        let mut pipe = File::open(pipe).expect("the tree opens its end");
        let mut ready = [0; 6];
        pipe.read_exact(&mut ready).expect("the tree is there");
        let mut link = self.link();
        let new = executions(&mut link);
        let new = new.difference(&before).next().expect("it runs");
        let revoke = Request::Act(ActBody::Revoke {
            reason: "bench".into(),
            selector: Selector::Execution(*new),
        });
        let began = Instant::now();
        let gone = std::thread::spawn(move || {
            pipe.read_to_end(&mut Vec::new()).expect("the tree ends");
            Instant::now()
        });
        let answer = link.ask(&revoke).expect("the node answers");
        let answered = Instant::now();
        assert!(matches!(answer, Response::Recorded { .. }), "{answer:?}");
        let gone = gone.join().expect("the tree ends");
        reap(&mut supervisor);
        (gone - began, gone.saturating_duration_since(answered))
    }

    fn pipe(&self) -> PathBuf {
        let path = self.work.join("pipe");
        if !path.exists() {
            let made = Command::new("mkfifo").arg(&path).status();
            assert!(made.expect("mkfifo is in coreutils").success());
        }
        path
    }

    fn running(&self) -> BTreeSet<ExecutionId> {
        let dir = DomainDir::open(Path::new(&self.domain)).expect("it was made");
        connect(&dir).map_or_else(|_| BTreeSet::new(), |mut link| executions(&mut link))
    }

    fn link(&self) -> Connection {
        let dir = DomainDir::open(Path::new(&self.domain)).expect("it was made");
        connect(&dir).expect("the node runs")
    }
}

/// Executions that are authorized or run.
fn open(link: &mut Connection) -> usize {
    let Response::Status(status) = link.ask(&Request::Status).expect("the node answers") else {
        std::process::abort()
    };
    usize::try_from(status.running + status.authorized).unwrap_or(usize::MAX)
}

fn executions(link: &mut Connection) -> BTreeSet<ExecutionId> {
    let Response::Executions(all) = link.ask(&Request::Executions).expect("the node answers")
    else {
        std::process::abort()
    };
    all.iter().map(|one| one.exec).collect()
}

fn reap(supervisor: &mut Child) {
    let status = supervisor.wait().expect("it is ours");
    assert_eq!(status.code(), Some(121), "terminated");
}
