//! Every way in which a tree ends, and that nothing of it is left.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use placet_sandbox::{Cell, EgressRules, EndedBy, Network, SandboxError, Status};

use crate::running::first_line;
use crate::support::{ACT, Act, Test, acting_spec, command, own_executable};
use crate::{eventually, marked, marker, pause_for_ever, start};

pub(crate) const TESTS: &[Test] = &[
    ("terminate_ends_a_fork_storm", terminate_ends_a_fork_storm),
    (
        "no_process_survives_the_end_of_a_mixed_storm",
        no_process_survives,
    ),
    (
        "terminate_after_the_end_keeps_the_workers_status",
        terminate_after_the_end,
    ),
    (
        "a_cell_that_has_ended_costs_its_supervisor_nothing",
        an_ended_cell_costs_nothing,
    ),
    (
        "a_daemon_does_not_outlive_the_worker",
        a_daemon_does_not_outlive_the_worker,
    ),
    ("dropping_a_cell_kills_it", dropping_a_cell_kills_it),
    (
        "dropping_a_waiting_cell_kills_it",
        dropping_a_waiting_cell_kills_it,
    ),
    (
        "a_lease_that_is_not_renewed_ends_the_tree",
        a_lease_that_is_not_renewed,
    ),
    ("a_renewed_lease_holds", a_renewed_lease_holds),
    (
        "a_lease_also_ends_a_waiting_cell",
        a_lease_also_ends_a_waiting_cell,
    ),
    (
        "a_lease_ends_a_stopped_worker",
        a_lease_ends_a_stopped_worker,
    ),
    (
        "a_killed_supervisor_ends_the_tree",
        a_killed_supervisor_ends_the_tree,
    ),
    (
        "a_stopped_supervisor_ends_the_tree",
        a_stopped_supervisor_ends_the_tree,
    ),
    (
        "a_finished_thread_does_not_end_the_tree",
        a_finished_thread_does_not_end_the_tree,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("marked_sleep", |_| pause_for_ever()),
    ("storm", |_| storm()),
    ("mixed_storm", |_| mixed_storm()),
    ("daemon", |_| daemon()),
    ("raise_marked", |_| {
        // SAFETY: raise takes an integer only.
        unsafe { libc::raise(libc::SIGSTOP) };
        0
    }),
    ("supervise", |a| supervise(a)),
];

const STORM: usize = 500;

/// Keeps hundreds of processes that fork and end all the time.
fn storm() -> i32 {
    for _ in 0..STORM {
        // SAFETY: the child only forks, sleeps and exits.
        if unsafe { libc::fork() } == 0 {
            loop {
                // SAFETY: as above.
                unsafe {
                    if libc::fork() == 0 {
                        libc::usleep(1000);
                        libc::_exit(0);
                    }
                    libc::usleep(300_000);
                    libc::waitpid(-1, std::ptr::null_mut(), 0);
                }
            }
        }
    }
    pause_for_ever()
}

fn terminate_ends_a_fork_storm() {
    let marker = marker();
    let mut cell = start(acting_spec("storm", &[&marker]));
    eventually("the storm", || marked(&marker) >= STORM);
    let start = Instant::now();
    let exit = cell.terminate().unwrap();
    let took = start.elapsed();
    assert_eq!(marked(&marker), 0);
    assert_eq!(exit.ended_by, EndedBy::Terminated);
    assert_eq!(exit.status, Status::Signaled(libc::SIGKILL));
    println!("a storm of {STORM} ended in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

const MIXED: usize = 100;
const MIXED_RUNS: usize = 10;

/// Forks all the time; some are orphans in sessions of their own, and some are stopped.
fn mixed_storm() -> i32 {
    for number in 0..MIXED {
        // SAFETY: the children only make sessions, stop, fork, sleep and exit.
        unsafe {
            if libc::fork() != 0 {
                continue;
            }
            match number % 5 {
                0 => {
                    libc::setsid();
                    if libc::fork() != 0 {
                        libc::_exit(0);
                    }
                }
                1 => {
                    libc::raise(libc::SIGSTOP);
                }
                _ => {}
            }
            loop {
                if libc::fork() == 0 {
                    libc::usleep(1000);
                    libc::_exit(0);
                }
                libc::usleep(20_000);
                libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG);
            }
        }
    }
    pause_for_ever()
}

fn no_process_survives() {
    for _ in 0..MIXED_RUNS {
        let marker = marker();
        let mut cell = start(acting_spec("mixed_storm", &[&marker]));
        eventually("the storm", || marked(&marker) >= MIXED);
        let exit = cell.terminate().unwrap();
        assert_eq!(marked(&marker), 0);
        assert_eq!(exit.ended_by, EndedBy::Terminated);
    }
}

fn terminate_after_the_end() {
    let mut cell = start(acting_spec("exit", &["3"]));
    // Readable when all is over.
    eventually("the end", || {
        let mut polled = [rustix::event::PollFd::from_borrowed_fd(
            cell.pidfd(),
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut polled, Some(&rustix::event::Timespec::default())).unwrap() == 1
    });
    let exit = cell.terminate().unwrap();
    assert_eq!(
        (exit.status, exit.ended_by),
        (Status::Exited(3), EndedBy::Worker)
    );
    assert_eq!(cell.terminate().unwrap(), exit);
}

/// Leaves a process in a session of its own, started by one that has ended.
fn daemon() -> i32 {
    // SAFETY: the children only make sessions, fork, sleep and exit.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                pause_for_ever();
            }
            libc::_exit(0);
        }
        libc::usleep(100_000);
    }
    0
}

fn a_daemon_does_not_outlive_the_worker() {
    let marker = marker();
    let mut cell = start(acting_spec("daemon", &[&marker]));
    eventually("the daemon", || marked(&marker) >= 2);
    assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
    assert_eq!(marked(&marker), 0);
}

fn dropping_a_cell_kills_it() {
    let marker = marker();
    let cell = start(acting_spec("marked_sleep", &[&marker]));
    assert_eq!(marked(&marker), 1);
    drop(cell);
    assert_eq!(marked(&marker), 0);
}

fn dropping_a_waiting_cell_kills_it() {
    let waiting = Cell::prepare(acting_spec("marked_sleep", &[]))
        .unwrap()
        .spawn()
        .unwrap();
    let pid = waiting.pid();
    let process = format!("/proc/{pid}");
    assert!(std::fs::exists(&process).unwrap());
    drop(waiting);
    assert!(!std::fs::exists(&process).unwrap());
}

fn a_lease_that_is_not_renewed() {
    let marker = marker();
    let mut spec = acting_spec("marked_sleep", &[&marker]);
    spec.lease = Duration::from_millis(200);
    let begin = Instant::now();
    let exit = start(spec).wait().unwrap();
    let took = begin.elapsed();
    assert_eq!(
        (exit.status, exit.ended_by),
        (Status::Signaled(libc::SIGKILL), EndedBy::Lease)
    );
    assert!(
        took >= Duration::from_millis(199) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(marked(&marker), 0);
}

/// The processor time of this process.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: time is live.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let (secs, nanos) = (time.tv_sec.try_into(), time.tv_nsec.try_into());
    Duration::new(secs.unwrap(), nanos.unwrap())
}

/// The filter's listener hangs up when nobody stands behind it any more: who goes on waiting for it spins.
fn an_ended_cell_costs_nothing() {
    let mut spec = acting_spec("exit", &["0"]);
    spec.network = Network::Loopback;
    spec.egress = EgressRules::nobody();
    let mut cell = start(spec);
    // It ends, and nobody asks how.
    std::thread::sleep(Duration::from_millis(300));
    let before = processor_time();
    std::thread::sleep(Duration::from_millis(500));
    let used = processor_time().saturating_sub(before);
    assert!(used < Duration::from_millis(100), "{used:?}");
    assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
}

fn a_renewed_lease_holds() {
    let mut spec = acting_spec("marked_sleep", &[]);
    spec.lease = Duration::from_millis(300);
    let mut cell = start(spec);
    for _ in 0..10 {
        cell.renew(Duration::from_millis(300)).unwrap();
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(cell.try_wait().unwrap(), None);
    cell.renew(Duration::ZERO).unwrap();
    assert_eq!(cell.wait().unwrap().ended_by, EndedBy::Lease);
    assert!(cell.renew(Duration::from_secs(1)).is_err());
}

fn a_lease_also_ends_a_waiting_cell() {
    let mut spec = acting_spec("exit", &["0"]);
    spec.lease = Duration::from_millis(50);
    let waiting = Cell::prepare(spec).unwrap().spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let error = waiting.release().unwrap_err();
    assert!(matches!(error, SandboxError::SetupDied), "{error}");
}

fn a_lease_ends_a_stopped_worker() {
    let marker = marker();
    let mut spec = acting_spec("raise_marked", &[&marker]);
    spec.lease = Duration::from_millis(300);
    assert_eq!(start(spec).wait().unwrap().ended_by, EndedBy::Lease);
    assert_eq!(marked(&marker), 0);
}

/// A supervisor with one cell, which it keeps alive as long as it runs itself.
fn supervise(a: &[String]) -> i32 {
    let mut spec = acting_spec("marked_sleep", &[&a[0]]);
    spec.lease = Duration::from_millis(400);
    let cell = start(spec);
    println!("ready");
    loop {
        cell.renew(Duration::from_millis(400)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A supervisor in a process of its own; the marker is also on its own command line.
fn supervisor(marker: &str) -> Child {
    let mut command = command(&own_executable());
    command
        .args([ACT, "supervise", marker])
        .stdout(Stdio::piped());
    let mut supervisor = command.spawn().unwrap();
    assert_eq!(first_line(supervisor.stdout.take().unwrap()), "ready\n");
    supervisor
}

fn a_killed_supervisor_ends_the_tree() {
    let marker = marker();
    let mut supervisor = supervisor(&marker);
    assert!(marked(&marker) >= 2);
    let begin = Instant::now();
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    eventually("the end of the tree", || marked(&marker) == 0);
    assert!(
        begin.elapsed() < Duration::from_millis(350),
        "not by the lease"
    );
}

fn a_stopped_supervisor_ends_the_tree() {
    let marker = marker();
    let mut supervisor = supervisor(&marker);
    std::thread::sleep(Duration::from_millis(600));
    assert!(marked(&marker) >= 2, "the renewed lease holds");
    // SAFETY: the pid is of a child that is not yet reaped.
    unsafe { libc::kill(supervisor.id() as i32, libc::SIGSTOP) };
    // Its own command line and pid 1's zombie, which it cannot reap and which shows none.
    eventually("the end of the tree", || marked(&marker) == 1);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert_eq!(marked(&marker), 0);
}

fn a_finished_thread_does_not_end_the_tree() {
    let spec = acting_spec("marked_sleep", &[]);
    let mut cell = std::thread::spawn(|| start(spec)).join().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(cell.try_wait().unwrap(), None);
}
