//! What a started program finds, and what its supervisor sees of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use placet_sandbox::{
    CLIENT_PATH, Cell, CellSpec, Change, DOOR_PATH, EndedBy, Network, Paths, Status,
};

use crate::host::on_host;
use crate::support::{Act, Test, acting, acting_spec, command, own_executable, scratch, spec};
use crate::{pause_for_ever, start};

pub(crate) const TESTS: &[Test] = &[
    ("true_runs", true_runs),
    ("exit_codes_are_exact", exit_codes_are_exact),
    ("death_by_signal_is_exact", death_by_signal_is_exact),
    (
        "a_mebibyte_of_arguments_arrives",
        a_mebibyte_of_arguments_arrives,
    ),
    (
        "environment_is_exactly_the_specs",
        environment_is_exactly_the_specs,
    ),
    (
        "standard_streams_pass_through",
        standard_streams_pass_through,
    ),
    (
        "the_callers_terminal_has_a_name",
        the_callers_terminal_has_a_name,
    ),
    (
        "signals_start_at_their_defaults",
        signals_start_at_their_defaults,
    ),
    ("a_signal_reaches_the_worker", a_signal_reaches_the_worker),
    (
        "a_stopped_worker_is_reported_and_goes_on",
        a_stopped_worker_goes_on,
    ),
    (
        "the_door_leads_to_the_supervisor",
        the_door_leads_to_the_supervisor,
    ),
    ("the_door_cannot_be_replaced", the_door_cannot_be_replaced),
    (
        "the_client_runs_outside_of_the_scope",
        the_client_runs_outside_of_the_scope,
    ),
    (
        "nothing_runs_before_the_release",
        nothing_runs_before_the_release,
    ),
    (
        "many_threads_start_cells_at_once",
        many_threads_start_cells_at_once,
    ),
    ("a_script_runs", a_script_runs),
    ("ordinary_tools_work", ordinary_tools_work),
    (
        "processor_time_and_memory_are_counted",
        processor_time_and_memory_are_counted,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("exit", |a| a[0].parse().unwrap()),
    ("raise", |a| {
        // SAFETY: raise takes an integer only.
        unsafe { libc::raise(a[0].parse().unwrap()) };
        // Time for going on to be seen before the end.
        std::thread::sleep(Duration::from_millis(100));
        7
    }),
    ("sleep", |_| pause_for_ever()),
    ("count_bytes", |a| {
        i32::from(a.iter().map(String::len).sum::<usize>() != 1 << 20)
    }),
    ("environment", |_| {
        // On tier U0 beside the place of temporary files, which is the cell's own.
        let own =
            |(name, value): &(String, String)| name == "TMPDIR" && value.contains("placet-u0-");
        let others = std::env::vars().filter(|variable| !own(variable));
        i32::from(others.ne([("A".to_owned(), "b c".to_owned())]))
    }),
    ("echo_in_cell", |_| {
        let mut cell = start(acting_spec("echo", &[]));
        i32::from(cell.wait().unwrap().status != Status::Exited(0))
    }),
    ("echo", |_| {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).unwrap();
        print!("out {text}");
        eprint!("err {text}");
        0
    }),
    ("tty_in_cell", |_| {
        let mut cell = start(acting_spec("tty", &[]));
        i32::from(cell.wait().unwrap().status != Status::Exited(0))
    }),
    ("tty", |_| {
        let mut name = [0u8; 64];
        // SAFETY: the buffer is live for its length.
        let failed = unsafe { libc::ttyname_r(0, name.as_mut_ptr().cast(), name.len()) };
        let reopened = std::fs::OpenOptions::new()
            .write(true)
            .open("/proc/self/fd/0");
        i32::from(failed != 0 || !name.starts_with(b"/dev/console\0") || reopened.is_err())
    }),
    ("ignored_signals", |_| {
        i32::from(signal_state() != ("0".repeat(16), "0".repeat(16)))
    }),
    ("knock", |_| {
        let knocked = UnixStream::connect(DOOR_PATH).and_then(|mut door| door.write_all(b"knock"));
        i32::from(knocked.is_err())
    }),
    ("replace_door", |_| {
        let removed = std::fs::remove_file(DOOR_PATH);
        let moved = std::fs::rename("/run/placet", "/run/moved");
        i32::from(removed.is_ok() || moved.is_ok())
    }),
    ("run_client", |a| run_client(&a[0])),
    ("write_file", |a| {
        i32::from(std::fs::write(&a[0], "ran").is_err())
    }),
    ("spin", |_| {
        let memory = vec![1u8; 64 << 20];
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(150) {
            std::hint::black_box(&memory);
        }
        0
    }),
];

fn true_runs() {
    let mut cell = start(spec("/bin/true".as_ref(), vec!["true".into()]));
    let exit = cell.wait().unwrap();
    assert_eq!(
        (exit.status, exit.ended_by),
        (Status::Exited(0), EndedBy::Worker)
    );
    assert_eq!(cell.try_wait().unwrap(), Some(exit));
}

fn exit_codes_are_exact() {
    for code in [0, 1, 2, 42, 126, 127, 128, 137, 255] {
        let mut cell = start(acting_spec("exit", &[&code.to_string()]));
        assert_eq!(cell.wait().unwrap().status, Status::Exited(code));
    }
}

fn death_by_signal_is_exact() {
    for signal in [
        libc::SIGTERM,
        libc::SIGKILL,
        libc::SIGABRT,
        libc::SIGHUP,
        libc::SIGUSR1,
    ] {
        let mut cell = start(acting_spec("raise", &[&signal.to_string()]));
        let exit = cell.wait().unwrap();
        assert_eq!(
            (exit.status, exit.ended_by),
            (Status::Signaled(signal), EndedBy::Worker)
        );
    }
}

fn a_mebibyte_of_arguments_arrives() {
    let word = "x".repeat(1 << 16);
    let mut cell = start(acting_spec("count_bytes", &[word.as_str(); 16]));
    assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
}

fn environment_is_exactly_the_specs() {
    let mut spec = acting_spec("environment", &[]);
    spec.env = vec![("A".into(), "b c".into())];
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
}

fn standard_streams_pass_through() {
    let mut command = command(&own_executable());
    command.args(&acting("echo_in_cell", &[])[1..]);
    let mut supervisor = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    supervisor.stdin.take().unwrap().write_all(b"text").unwrap();
    let output = supervisor.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out text"[..], &b"err text"[..])
    );
}

fn the_callers_terminal_has_a_name() {
    let master = rustix::fs::open(
        "/dev/ptmx",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
        rustix::fs::Mode::empty(),
    );
    let master: OwnedFd = master.unwrap();
    // SAFETY: unlockpt and TIOCGPTPEER take a pty master and integers only.
    let terminal: OwnedFd = unsafe {
        use std::os::fd::{AsRawFd, FromRawFd};
        assert_eq!(libc::unlockpt(master.as_raw_fd()), 0);
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        OwnedFd::from_raw_fd(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))
    };
    let mut command = command(&own_executable());
    command
        .args(&acting("tty_in_cell", &[])[1..])
        .stdin(Stdio::from(terminal));
    assert!(command.status().unwrap().success());
}

/// Blocked and ignored signals.
fn signal_state() -> (String, String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // The runtime of this executable ignores SIGPIPE itself.
    let pipe = 1u64 << (libc::SIGPIPE - 1);
    let ignored = u64::from_str_radix(&field("SigIgn:"), 16).unwrap() & !pipe;
    (field("SigBlk:"), format!("{ignored:016x}"))
}

fn signals_start_at_their_defaults() {
    // SAFETY: ignoring a signal that this suite does not use.
    let before = unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    let status = start(acting_spec("ignored_signals", &[]))
        .wait()
        .unwrap()
        .status;
    // SAFETY: puts back what was there.
    unsafe { libc::signal(libc::SIGUSR2, before) };
    assert_eq!(status, Status::Exited(0));
}

fn a_signal_reaches_the_worker() {
    let mut cell = start(acting_spec("sleep", &[]));
    assert_eq!(cell.try_wait().unwrap(), None);
    cell.signal(libc::SIGTERM).unwrap();
    let exit = cell.wait().unwrap();
    assert_eq!(
        (exit.status, exit.ended_by),
        (Status::Signaled(libc::SIGTERM), EndedBy::Worker)
    );
    assert!(cell.signal(libc::SIGTERM).is_err());
}

fn a_stopped_worker_goes_on() {
    let patience = Some(Duration::from_secs(10));
    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        let mut cell = start(acting_spec("raise", &[&signal.to_string()]));
        assert_eq!(
            cell.next_change(patience).unwrap(),
            Some(Change::Stopped(signal))
        );
        assert_eq!(
            cell.next_change(Some(Duration::from_millis(20))).unwrap(),
            None
        );
        cell.signal(libc::SIGCONT).unwrap();
        assert_eq!(cell.next_change(patience).unwrap(), Some(Change::Continued));
        assert_eq!(cell.wait().unwrap().status, Status::Exited(7));
    }
}

fn the_door_leads_to_the_supervisor() {
    let mut spec = acting_spec("knock", &[]);
    spec.door = true;
    let mut cell = start(spec);
    let door = UnixListener::from(cell.door().unwrap().try_clone().unwrap());
    let (mut visitor, _) = door.accept().unwrap();
    let mut text = String::new();
    visitor.read_to_string(&mut text).unwrap();
    assert_eq!(text, "knock");
    assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
    let without = start(acting_spec("knock", &[])).wait().unwrap();
    assert_eq!(without.status, Status::Exited(1));
}

fn the_door_cannot_be_replaced() {
    let mut spec = acting_spec("replace_door", &[]);
    spec.door = true;
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
}

/// Runs the client as an act of its own, given that its place on the host cannot be seen.
fn run_client(original: &str) -> i32 {
    if std::fs::exists(original).unwrap() && Path::new(CLIENT_PATH).exists() {
        return 1;
    }
    // Without a file tree of its own, the client is where it is.
    let client = if Path::new(CLIENT_PATH).exists() {
        CLIENT_PATH
    } else {
        original
    };
    let mut command = command(client.as_ref());
    match command.args(&acting("exit", &["7"])[1..]).status() {
        Ok(status) => status.code().unwrap(),
        Err(error) => error.raw_os_error().unwrap(),
    }
}

/// A cell whose program runs a client that is a copy of this executable.
pub(crate) fn with_client(dir: &Path, act: &str) -> CellSpec {
    let client = dir.join("client");
    std::fs::copy(own_executable(), &client).unwrap();
    let mut spec = acting_spec(act, &[client.to_str().unwrap()]);
    spec.client = Some(client);
    spec
}

fn the_client_runs_outside_of_the_scope() {
    let dir = scratch();
    let spec = with_client(dir.path(), "run_client");
    for door in [false, true] {
        let spec = CellSpec {
            door,
            ..spec.clone()
        };
        assert_eq!(start(spec).wait().unwrap().status, Status::Exited(7));
    }
    let hidden = CellSpec {
        paths: Paths {
            hidden: vec![dir.path().to_path_buf()],
            ..spec.paths.clone()
        },
        ..spec.clone()
    };
    assert_eq!(start(hidden).wait().unwrap().status, Status::Exited(7));
    let without = CellSpec {
        client: None,
        door: true,
        ..spec
    };
    let status = start(without).wait().unwrap().status;
    let missing = if on_host() {
        libc::EACCES
    } else {
        libc::ENOENT
    };
    assert_eq!(status, Status::Exited(missing));
}

fn nothing_runs_before_the_release() {
    let dir = scratch();
    let file = dir.path().join("ran");
    let mut spec = acting_spec("write_file", &[file.to_str().unwrap()]);
    spec.paths.write.push(dir.path().to_path_buf());
    let waiting = Cell::prepare(spec).unwrap().spawn().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!file.exists());
    let mut cell = waiting.release().unwrap();
    assert_eq!(cell.wait().unwrap().status, Status::Exited(0));
    assert!(file.exists());
}

fn many_threads_start_cells_at_once() {
    std::thread::scope(|scope| {
        let run = || {
            for code in 0..5 {
                let mut cell = start(acting_spec("exit", &[&code.to_string()]));
                assert_eq!(cell.wait().unwrap().status, Status::Exited(code));
            }
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

fn a_script_runs() {
    let dir = scratch();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\nexit 9\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let mut spec = spec(&script, vec!["script".into()]);
    spec.paths.exec.push("/usr".into());
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(9));
}

/// What a developer's command line does, with nothing written outside the workspace.
fn ordinary_tools_work() {
    const SCRIPT: &str = "set -e
        git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm x
        printf 'all:\\n\\tcc -o hello hello.c\\n' > Makefile
        printf 'int main(void){return 0;}\\n' > hello.c
        make -s && ./hello
        /usr/bin/python3 -c 'import subprocess, socket, tempfile
subprocess.check_call([\"true\"]); tempfile.TemporaryFile()'
        test -n \"$TMPDIR\" || /usr/bin/python3 -c 'import multiprocessing; multiprocessing.Lock()'
        node -e 'require(\"child_process\").execFileSync(\"true\"); require(\"os\").cpus()'
        perl -e 'system(\"true\") == 0 or die'
        seq 64 | xargs -P 8 -n 1 true
        test -z \"$(ls /home /root 2>/dev/null)\"";
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "content").unwrap();
    let mut spec = spec(
        "/bin/sh".as_ref(),
        vec!["sh".into(), "-c".into(), SCRIPT.into()],
    );
    spec.paths.read.push("/etc".into());
    spec.paths.exec.push("/usr".into());
    spec.paths.write.push(dir.path().to_path_buf());
    spec.paths.exec_in_writable = true;
    spec.network = Network::Loopback;
    spec.cwd = dir.path().to_path_buf();
    spec.env.push(("HOME".into(), dir.path().into()));
    spec.env[0].1 = "/usr/local/bin:/usr/bin:/bin".into();
    assert_eq!(start(spec).wait().unwrap().status, Status::Exited(0));
}

fn processor_time_and_memory_are_counted() {
    let exit = start(acting_spec("spin", &[])).wait().unwrap();
    assert!(
        exit.user + exit.system > Duration::from_millis(50),
        "{exit:?}"
    );
    assert!(exit.user < Duration::from_secs(5), "{exit:?}");
    assert!(exit.max_rss_bytes > 64 << 20, "{exit:?}");
}

/// Reads one line from a supervisor that is about to be stopped or killed.
pub(crate) fn first_line(from: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).unwrap();
    line
}
