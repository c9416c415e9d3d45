//! Processes as trees have them, all of them traced: threads, stops, job control, orphans, storms.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use placet_sandbox::{Change, EndedBy, ExecRule, Status};

use crate::programs::{pause_for_ever, shell, tiny, with_programs};
use crate::support::{ACT, Act, Test, acting_spec, command, own_executable, scratch, spec};
use crate::{
    SUCCESS, eventually, gated, listed, marked, marker, refusals, run, start, started, take, text,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_thread_executes_for_its_process", a_thread_executes),
    ("a_refused_thread_ends_its_process", a_refused_thread),
    ("a_stopped_child_is_seen_and_goes_on", || {
        assert_eq!(
            run(gated(acting_spec("job_control", &[]), ExecRule::Any)).0,
            SUCCESS
        );
    }),
    ("a_stopped_worker_is_reported_and_goes_on", a_stopped_worker),
    ("a_shell_controls_jobs", a_shell_controls_jobs),
    ("execs_between_stops_are_gated", execs_between_stops),
    ("an_orphan_in_its_own_session_is_gated", an_orphan),
    ("leaving_the_trace_is_denied", leaving_the_trace),
    ("an_interpreted_build_runs", an_interpreted_build),
    ("terminate_ends_a_traced_fork_storm", a_fork_storm),
    ("a_storm_of_execs_ends", a_storm_of_execs),
    ("a_killed_supervisor_ends_the_tree", a_killed_supervisor),
    ("a_stopped_supervisor_ends_the_tree", a_stopped_supervisor),
    ("two_trees_have_two_gates", two_trees),
];

pub(crate) const ACTS: &[Act] = &[
    ("execute_in_thread", |a| execute_in_thread(&a[0])),
    ("job_control", |_| job_control()),
    ("raise", |a| {
        // SAFETY: raise takes an integer only.
        unsafe { libc::raise(a[0].parse().unwrap()) };
        std::thread::sleep(Duration::from_millis(100));
        7
    }),
    ("execute_again", |a| execute_again(&a[0])),
    ("stop_and_go", |_| stop_and_go()),
    ("orphan", |a| orphan(&a[0], &a[1])),
    ("untraced", |a| untraced(&a[0])),
    ("spawn_many", |a| spawn_many(&a[0])),
    ("spawn_sleepers", |a| spawn_sleepers(&a[0])),
    ("storm", |_| storm()),
    ("supervise", |a| supervise(&a[0])),
];

/// A thread that is not the first one executes, while others sleep and run.
fn execute_in_thread(program: &str) -> i32 {
    use std::os::unix::process::CommandExt;
    for _ in 0..10 {
        std::thread::spawn(|| pause_for_ever());
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let program = program.to_owned();
    let thread = std::thread::spawn(move || command(Path::new(&program)).exec());
    thread.join().unwrap().raw_os_error().unwrap()
}

fn a_thread_executes() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("execute_in_thread", &[text(&program)], dir.path());
    let (status, reports) = run(gated(spec, listed(&[&own_executable(), &program])));
    assert_eq!(status, SUCCESS);
    let calls = started(&reports);
    assert_eq!(calls[1].image.as_ref().unwrap().path, program);
    assert_eq!(
        (calls[1].pid, calls[1].by),
        (calls[0].pid, Some(calls[0].id))
    );
}

fn a_refused_thread() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("execute_in_thread", &[text(&program)], dir.path());
    assert_eq!(run(spec.clone()).0, SUCCESS);
    let (status, _) = run(gated(spec, listed(&[&own_executable()])));
    assert_eq!(status, Status::Signaled(libc::SIGKILL));
}

/// Stops a child and lets it go on, as a shell does, by each of the stop signals.
fn job_control() -> i32 {
    let wait = |pid, flags| {
        let mut status = 0;
        // SAFETY: status is live and writable.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, flags) };
        assert_eq!(waited, pid);
        status
    };
    // SAFETY: these take integers only, and the child only sleeps.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            pause_for_ever();
        }
        for signal in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGSTOP] {
            libc::kill(child, signal);
            let status = wait(child, libc::WUNTRACED);
            assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == signal);
            assert_eq!(
                libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG | libc::WUNTRACED),
                0
            );
            libc::kill(child, libc::SIGCONT);
            assert!(libc::WIFCONTINUED(wait(child, libc::WCONTINUED)));
        }
        libc::kill(child, libc::SIGSTOP);
        wait(child, libc::WUNTRACED);
        libc::kill(child, libc::SIGKILL);
        assert!(libc::WIFSIGNALED(wait(child, 0)));
    }
    0
}

fn a_stopped_worker() {
    let patience = Some(Duration::from_secs(10));
    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        let spec = acting_spec("raise", &[&signal.to_string()]);
        let mut cell = start(gated(spec, ExecRule::Any));
        let stopped = cell.next_change(patience).unwrap();
        assert_eq!(stopped, Some(Change::Stopped(signal)));
        cell.signal(libc::SIGCONT).unwrap();
        assert_eq!(cell.next_change(patience).unwrap(), Some(Change::Continued));
        assert_eq!(cell.wait().unwrap().status, Status::Exited(7));
    }
}

/// A real shell with a real monitor: stopped in the background, waited for in the foreground.
fn a_shell_controls_jobs() {
    let script = "set -m
        sleep 100 & kill -STOP %1; wait %1; [ $? -gt 128 ] || exit 1
        case \"$(jobs)\" in *Stopped*) ;; *) exit 2;; esac
        kill -CONT %1; kill %1; wait %1; [ $? = 143 ] || exit 3
        (kill -STOP $BASHPID; exit 9) & wait %+
        fg %+ > /dev/null; [ $? = 9 ] || exit 4";
    let argv = ["bash", "-c", script].map(Into::into).to_vec();
    let mut spec = spec(Path::new("/bin/bash"), argv);
    spec.paths.exec.push("/usr/bin".into());
    let bare = run(spec.clone()).0;
    assert_eq!(bare, SUCCESS);
    assert_eq!(run(gated(spec, ExecRule::Any)).0, bare);
}

/// Executes itself so many times.
fn execute_again(times: &str) -> i32 {
    use std::os::unix::process::CommandExt;
    let Some(left) = times.parse::<u32>().unwrap().checked_sub(1) else {
        return 0;
    };
    let mut again = command(Path::new("/proc/self/exe"));
    let error = again.args([ACT, "execute_again", &left.to_string()]).exec();
    error.raw_os_error().unwrap()
}

const EXECS: u32 = 100;

/// Stops and continues a process that does nothing but execute.
fn stop_and_go() -> i32 {
    let mut child = command(Path::new("/proc/self/exe"));
    let mut child = child
        .args([ACT, "execute_again", &EXECS.to_string()])
        .spawn()
        .unwrap();
    let pid = child.id() as i32;
    loop {
        // SAFETY: kill takes integers only; the child is not yet reaped.
        unsafe {
            libc::kill(pid, libc::SIGSTOP);
            libc::usleep(700);
            libc::kill(pid, libc::SIGCONT);
            libc::usleep(500);
        }
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(255);
        }
    }
}

fn execs_between_stops() {
    let (status, reports) = run(gated(acting_spec("stop_and_go", &[]), ExecRule::Any));
    assert_eq!(status, SUCCESS);
    assert_eq!(started(&reports).len(), EXECS as usize + 2);
}

/// A grandchild in a session of its own executes after its parent is gone.
fn orphan(program: &str, forbidden: &str) -> i32 {
    // SAFETY: the children only make sessions, fork, sleep and execute.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                libc::usleep(50_000);
                let ran = command(Path::new(program)).status().unwrap();
                let refused = command(Path::new(forbidden)).status().unwrap();
                libc::_exit(i32::from(!ran.success() || refused.success()));
            }
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    std::thread::sleep(Duration::from_millis(400));
    0
}

fn an_orphan() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let forbidden = tiny(dir.path(), "forbidden", 3);
    let arguments = [text(&program), text(&forbidden)];
    let spec = with_programs("orphan", &arguments, dir.path());
    let (status, reports) = run(gated(spec, listed(&[&own_executable(), &program])));
    assert_eq!(status, SUCCESS);
    assert_eq!(started(&reports).len(), 2);
    let refused: Vec<_> = refusals(&reports).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0.by, Some(placet_sandbox::ExecId(1)));
}

/// A child that no tracer of its parent is attached to executes.
fn untraced(program: &str) -> i32 {
    let flags = libc::CLONE_UNTRACED | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is fork; the child only executes.
    unsafe {
        let child: i32 = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0)
            .try_into()
            .unwrap();
        if child < 0 {
            return std::io::Error::last_os_error().raw_os_error().unwrap();
        }
        if child == 0 {
            drop(command(Path::new(program)).status());
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        libc::WEXITSTATUS(status)
    }
}

fn leaving_the_trace() {
    let own = own_executable();
    let mut outside = command(&own);
    let outside = outside.args([ACT, "untraced", "/usr/bin/true"]).status();
    assert!(outside.unwrap().success());
    let mut spec = acting_spec("untraced", &["/usr/bin/true"]);
    spec.paths.exec.push("/usr/bin".into());
    let (status, reports) = run(gated(spec, ExecRule::Any));
    assert_eq!(status, Status::Exited(libc::EPERM));
    assert_eq!(reports.len(), 1);
}

/// A shell that pipes, forks, substitutes and runs twenty programs at once.
fn an_interpreted_build() {
    let script = "d=${TMPDIR:-/dev/shm}; for i in 1 2 3 4 5 6 7 8 9 10; do
            (echo $i | cat | tr 0-9 a-j > $d/$i) &
            x=$(echo $i | sed s/./x/ | wc -c); [ $x -gt 1 ] || exit 1
        done; wait; [ $(ls $d | wc -l) = 10 ]";
    let spec = shell(script);
    assert_eq!(run(spec.clone()).0, SUCCESS);
    let (status, reports) = run(gated(spec, ExecRule::Any));
    assert_eq!(status, SUCCESS);
    assert_eq!(refusals(&reports).count(), 0);
    assert_eq!(started(&reports).len(), 1 + 10 * 4 + 2);
}

/// Starts programs without an end, from eight threads.
fn spawn_many(program: &str) -> i32 {
    for _ in 0..8 {
        let program = program.to_owned();
        std::thread::spawn(move || {
            loop {
                drop(
                    command(Path::new(&program))
                        .args([ACT, "exit", "0"])
                        .status(),
                );
            }
        });
    }
    pause_for_ever()
}

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

fn a_fork_storm() {
    let marker = marker();
    let spec = acting_spec("storm", &[&marker]);
    let mut cell = start(gated(spec, ExecRule::Any));
    eventually("the storm", || marked(&marker) >= STORM);
    let begin = Instant::now();
    let exit = cell.terminate().unwrap();
    let took = begin.elapsed();
    assert_eq!(marked(&marker), 0);
    assert_eq!(exit.ended_by, EndedBy::Terminated);
    println!("a traced storm of {STORM} ended in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn a_storm_of_execs() {
    let marker = marker();
    let spec = acting_spec("spawn_many", &["/proc/self/exe", &marker]);
    let mut cell = start(gated(spec, ExecRule::Any));
    let mut seen = 0;
    eventually("the storm", || {
        seen += take(&cell).len();
        seen > 200
    });
    let begin = Instant::now();
    cell.terminate().unwrap();
    println!("a storm of execs ended in {:?}", begin.elapsed());
    assert_eq!(marked(&marker), 0);
}

/// Two children that sleep, each an exec of its own.
fn spawn_sleepers(marker: &str) -> i32 {
    for _ in 0..2 {
        let mut sleeper = command(Path::new("/proc/self/exe"));
        drop(sleeper.args([ACT, "sleep", marker]).spawn().unwrap());
    }
    pause_for_ever()
}

/// A supervisor with one gated cell, which it keeps alive as long as it runs itself.
fn supervise(marker: &str) -> i32 {
    let spec = acting_spec("spawn_sleepers", &[marker]);
    let mut spec = gated(spec, ExecRule::Any);
    spec.lease = Duration::from_millis(400);
    let cell = start(spec);
    let mut heard = 0;
    loop {
        let before = heard;
        heard += take(&cell).len();
        if before < 3 && heard >= 3 {
            println!("ready");
        }
        cell.renew(Duration::from_millis(400)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn supervisor(marker: &str) -> Child {
    let mut supervisor = command(&own_executable());
    let mut supervisor = supervisor
        .args([ACT, "supervise", marker])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    supervisor
}

fn a_killed_supervisor() {
    let marker = marker();
    let mut supervisor = supervisor(&marker);
    assert!(marked(&marker) >= 4);
    let begin = Instant::now();
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    eventually("the end of the tree", || marked(&marker) == 0);
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(350), "by the lease: {took:?}");
}

fn a_stopped_supervisor() {
    let marker = marker();
    let mut supervisor = supervisor(&marker);
    std::thread::sleep(Duration::from_millis(600));
    assert!(marked(&marker) >= 4, "the renewed lease holds");
    // SAFETY: the pid is of a child that is not yet reaped.
    unsafe { libc::kill(supervisor.id() as i32, libc::SIGSTOP) };
    // Its own command line; what it has not reaped shows none.
    eventually("the end of the tree", || marked(&marker) == 1);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert_eq!(marked(&marker), 0);
}

fn two_trees() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    let allowed = std::thread::spawn({
        let spec = gated(spec.clone(), listed(&[&own_executable(), &program]));
        move || (0..20).all(|_| run(spec.clone()).0 == SUCCESS)
    });
    let denied = gated(spec, listed(&[&own_executable()]));
    assert!((0..20).all(|_| run(denied.clone()).0 == crate::KILLED));
    assert!(allowed.join().unwrap());
}
