//! From a revocation to the end of the last process, through the node and the supervisor for real.
//!
//! Every process of the tree has a pipe open for writing, and nobody else: its end is the end of the
//! last one. Two times are taken to it: from asking for the revocation, so with the write that makes
//! it durable, and from the answer, which comes once it is durable.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use placet_authority::dir::DomainDir;
use placet_authority::node::wire::{ActBody, Request, Response};
use placet_authority::node::{Connection, connect};
use placet_evidence::Selector;

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

struct Ground {
    program: PathBuf,
    domain: PathBuf,
    work: PathBuf,
}

pub(crate) fn revocation() {
    let program = std::env::var_os("PLACET_PROGRAM")
        .map_or_else(|| PathBuf::from("target/release/placet"), PathBuf::from);
    if !program.is_file() {
        println!(
            "no {}: build it with `cargo build --release -p placet`",
            program.display()
        );
        return;
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
    for (processes, rounds) in TREES {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (from_asking, from_answer) = ground.end_one(processes);
            asked.push(from_asking);
            answered.push(from_answer);
        }
        Samples::new(asked).print(&format!("{processes} processes gone, from asking"));
        Samples::new(answered).print(&format!("{processes} processes gone, from the answer"));
    }
    ground.finish(&["node", "stop"]);
}

impl Ground {
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
        let revoke = Request::Act(ActBody::Revoke {
            reason: "bench".into(),
            selector: Selector::Execution(running(&mut link)),
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

    fn link(&self) -> Connection {
        let dir = DomainDir::open(Path::new(&self.domain)).expect("it was made");
        connect(&dir).expect("the node runs")
    }
}

fn running(link: &mut Connection) -> placet_types::ExecutionId {
    let Response::Executions(all) = link.ask(&Request::Executions).expect("the node answers")
    else {
        std::process::abort()
    };
    all.first().expect("it runs").exec
}

fn reap(supervisor: &mut Child) {
    let status = supervisor.wait().expect("it is ours");
    assert_eq!(status.code(), Some(121), "terminated");
}
