//! What a cell at rest takes of the machine: its supervisor asks the kernel for little while nothing happens.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::domain::{Domain, await_some};
use crate::job::mark;

/// Measured: 26 a second. It was 64 once.
const CALLS_PER_SEC_MAX: f64 = 40.0;
/// Long enough for every clock that a supervisor goes by to strike.
const WATCHED: Duration = Duration::from_secs(5);

#[test]
fn a_supervisor_of_a_cell_at_rest_makes_few_system_calls() {
    let domain = Domain::new();
    let mark = mark();
    let mut running = domain.start(&["run", "--", "sleep", &mark]);
    await_some("the command", || {
        let last = domain.json(&["executions", "--limit", "1"]);
        (last[0]["status"] == "running").then_some(())
    });
    // What a start leaves to be done is done.
    thread::sleep(Duration::from_secs(1));
    let calls = domain.path("calls");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-o", calls.to_str().unwrap(), "-p"])
        .arg(running.id().to_string())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("strace, which scripts/setup-test-tools.sh installs: {error}")
        });
    let seen = || {
        fs::read_to_string(&calls)
            .unwrap_or_default()
            .lines()
            .count()
    };
    // It makes some: else nobody watches.
    let before = await_some("a call", || Some(seen()).filter(|calls| *calls > 0));
    let began = Instant::now();
    thread::sleep(WATCHED);
    let made = seen() - before;
    let elapsed = began.elapsed();
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();
    kill_process(Pid::from_child(&running), Signal::TERM).unwrap();
    running.wait().unwrap();
    let rate = f64::from(u32::try_from(made).unwrap()) / elapsed.as_secs_f64();
    assert!(
        made > 0 && rate < CALLS_PER_SEC_MAX,
        "{made} calls in {elapsed:?}: {rate:.0} a second"
    );
}
