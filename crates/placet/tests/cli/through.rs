//! A governed command is met as if it had been run bare: its streams, its end, its signals, its terminal.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::Signal;

use crate::domain::{Domain, ran, stand_like};
use crate::job::send;

/// Bytes of every value, in no order that a text would have.
fn noise(len: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    std::iter::repeat_with(&mut next)
        .flatten()
        .take(len)
        .collect()
}

/// The same command, also where whoever runs the tests in the background ignores the signals of keys.
fn heeding_signals(of: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(of.get_program());
    command.args(of.get_args());
    stand_like(&mut command, of);
    command
}

/// Starts a command with a pipe at each of its streams.
fn piped(domain: &Domain, args: &[&str]) -> Child {
    let mut command = heeding_signals(&domain.command(&[&["run", "--"], args].concat()));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn ten_megabytes_of_any_bytes_come_through_unchanged() {
    let domain = Domain::new();
    let bytes = noise(10 << 20);
    for (line, at) in [("exec cat", 1), ("exec cat >&2", 2)] {
        let mut child = piped(&domain, &["sh", "-c", line]);
        let mut stdin = child.stdin.take().unwrap();
        let sent = bytes.clone();
        let writer = thread::spawn(move || stdin.write_all(&sent).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
        let (full, empty) = if at == 1 {
            (output.stdout, output.stderr)
        } else {
            (output.stderr, output.stdout)
        };
        assert!(
            full == bytes,
            "{line}: {} bytes came, and not those",
            full.len()
        );
        assert!(
            empty.is_empty(),
            "{line}: {}",
            String::from_utf8_lossy(&empty)
        );
    }
}

#[test]
fn a_closed_pipe_ends_the_command_as_it_would_bare() {
    let domain = Domain::new();
    let mut child = piped(&domain, &["yes"]);
    let mut first = [0; 2];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"y\n");
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::PIPE.as_raw()), "{status}");
}

#[test]
fn every_exit_status_comes_through() {
    let domain = Domain::new();
    thread::scope(|scope| {
        for quarter in 0..4 {
            let domain = &domain;
            scope.spawn(move || {
                for code in (quarter..256).step_by(4) {
                    let ran = domain.run(&["run", "--", "sh", "-c", &format!("exit {code}")]);
                    assert_eq!((ran.code, ran.stderr.as_str()), (code, ""));
                }
            });
        }
    });
    assert_eq!(
        domain
            .json(&["executions", "--limit", "999"])
            .as_array()
            .unwrap()
            .len(),
        256
    );
}

#[test]
fn death_by_a_signal_is_death_by_that_signal() {
    let domain = Domain::new();
    for signal in [1, 2, 3, 6, 8, 9, 10, 11, 12, 13, 14, 15, 24, 31] {
        let line = format!("ulimit -c 0; kill -{signal} $$");
        let status = domain
            .command(&["run", "--", "sh", "-c", &line])
            .status()
            .unwrap();
        assert_eq!(
            (status.code(), status.signal()),
            (None, Some(signal)),
            "{status}"
        );
        let last = domain.executions().pop().unwrap();
        assert_eq!(last["ended"]["exit"]["signal"], signal, "{last}");
    }
    // A shell writes that as 128 and the number.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "\"$0\" run -- sh -c 'kill -TERM $$'; echo $?",
        env!("CARGO_BIN_EXE_placet"),
    ]);
    for (name, value) in domain.command(&[]).get_envs() {
        value.map(|value| shell.env(name, value));
    }
    let ran = ran(shell.current_dir(domain.work()));
    assert_eq!(ran.stdout, "143\n", "{ran:?}");
}

#[test]
fn signals_reach_the_command_and_it_decides_what_they_do() {
    let domain = Domain::new();
    // It waits in `read`: a shell that is just starting a program may lose a signal, governed or not.
    let traps = "for s in HUP INT QUIT USR1 USR2 ALRM CONT WINCH; do trap \"echo $s\" $s; done; \
                 trap 'echo TERM; exit 5' TERM; echo ready; while :; do read word; done";
    let mut child = piped(&domain, &["sh", "-c", traps]);
    let input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "ready");
    for (signal, name) in [
        (Signal::USR1, "USR1"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
        (Signal::WINCH, "WINCH"),
        (Signal::CONT, "CONT"),
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
    ] {
        send(child.id(), signal);
        assert_eq!(next(), name);
    }
    assert_eq!(child.wait().unwrap().code(), Some(5));
    drop(input);
    // Without a trap, it does what it does.
    let mut child = piped(&domain, &["sh", "-c", "echo ready; exec sleep 600"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    send(child.id(), Signal::TERM);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(
        domain.executions().pop().unwrap()["ended"]["exit"]["signal"],
        15
    );
}

#[test]
fn directory_mask_and_arguments_are_the_callers() {
    let domain = Domain::new();
    let ran = domain.run(&["run", "--", "pwd", "-P"]);
    assert_eq!(
        ran.stdout.trim_end(),
        domain.work().canonicalize().unwrap().to_str().unwrap()
    );
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "umask 027; exec \"$0\" run -- sh -c umask",
        env!("CARGO_BIN_EXE_placet"),
    ]);
    for (name, value) in domain.command(&[]).get_envs() {
        value.map(|value| shell.env(name, value));
    }
    assert_eq!(self::ran(shell.current_dir(domain.work())).stdout, "0027\n");
    let odd = [
        "run", "--", "printf", "[%s]", "", " a  b ", "--json", "-n", "$HOME", "*", "ä\n", "--",
    ];
    assert_eq!(domain.ok(&odd), "[][ a  b ][--json][-n][$HOME][*][ä\n][--]");
}

/// Runs a command at a terminal of 33 rows and 101 columns, does what it is told to at each line that
/// ends with a question mark, and prints what came.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
came = b""
while True:
    try:
        more = os.read(fd, 4096)
    except OSError:
        break
    if not more:
        break
    came += more
    if came.endswith(b"interrupt?\r\n"):
        os.write(fd, b"\x03")
    if came.endswith(b"resize?\r\n"):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 122, 0, 0))
    if came.endswith(b"type?\r\n"):
        os.write(fd, b"typed\n")
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.write(came.decode().replace("\r\n", "\n"))
print("status", status)
"#;

fn at_terminal(domain: &Domain, script: &str) -> String {
    let mut python = Command::new("python3");
    python.args([
        "-c",
        TERMINAL,
        env!("CARGO_BIN_EXE_placet"),
        "run",
        "--",
        "sh",
        "-c",
        script,
    ]);
    for (name, value) in domain.command(&[]).get_envs() {
        value.map(|value| python.env(name, value));
    }
    let ran = ran(python.current_dir(domain.work()).stdin(Stdio::null()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

#[test]
fn a_terminal_is_a_terminal_inside() {
    let domain = Domain::new();
    let script = "for fd in 0 1 2; do test -t $fd && echo tty $fd; done; stty size; \
                  trap 'stty size; exit 9' WINCH; echo 'type?'; read word; echo \"got $word\"; \
                  echo 'resize?'; while :; do read word; done";
    let said = at_terminal(&domain, script);
    let expected =
        "tty 0\ntty 1\ntty 2\n33 101\ntype?\ntyped\ngot typed\nresize?\n44 122\nstatus 9\n";
    assert_eq!(said, expected);
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let domain = Domain::new();
    // Long enough after the first that a second would have come.
    let script = "n=0; trap 'n=$((n+1)); echo INT $n' INT; echo 'interrupt?'; \
                  while [ $n = 0 ]; do read word; done; sleep 0.3; echo done $n; exit 4";
    let said = at_terminal(&domain, script);
    assert_eq!(said, "interrupt?\n^CINT 1\ndone 1\nstatus 4\n");
    // Without a trap the command dies of it, and so does Placet.
    let said = at_terminal(
        &domain,
        // A shell that is interrupted while it starts a program waits for the program first.
        "echo 'interrupt?'; while :; do sleep 0.01; done",
    );
    assert_eq!(said, "interrupt?\n^Cstatus -2\n");
}
