//! A governed command has a terminal of its own, and behaves at it as it would bare.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::LocalModes;

use crate::domain::{Domain, await_some};
use crate::screen::{Screen, as_in};

fn sh(script: &str) -> [&str; 5] {
    ["run", "--", "sh", "-c", script]
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn the_terminal_inside_is_another_one_and_the_users_cannot_be_reached() {
    let domain = Domain::new();
    let script = "tty; for fd in 0 1 2; do test -t $fd && echo tty $fd; done; ls -1 /dev/pts; \
                  readlink /proc/self/fd/0 | cat; ps -o tty= -p $$; \
                  sh -c 'echo by its name >/dev/tty'";
    let screen = Screen::placet(&domain, &sh(script));
    let (status, shown) = screen.ends();
    assert_eq!(status.code(), Some(0), "{shown}");
    let expected = "/dev/pts/0\r\ntty 0\r\ntty 1\r\ntty 2\r\n0\r\nptmx\r\n/dev/pts/0\r\n";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(shown.ends_with("by its name\r\n"), "{shown}");
}

#[test]
fn keys_end_of_input_and_sizes_come_through() {
    let domain = Domain::new();
    let script = "stty size; trap 'stty size' WINCH; read line; echo \"got $line\"; \
                  echo resize; read none; cat; echo over; exit 7";
    let mut screen = Screen::placet(&domain, &sh(script));
    screen.sees("24 80\r\n");
    screen.types("a line\r");
    screen.sees("got a line\r\n");
    screen.sees("resize\r\n");
    screen.resize(33, 101);
    screen.sees("33 101\r\n");
    screen.types("\r");
    screen.types("to cat\r");
    screen.sees("to cat\r\n");
    screen.sees("to cat\r\n");
    screen.types("\x04");
    screen.sees("over\r\n");
    assert_eq!(screen.ends().0.code(), Some(7));
}

#[test]
fn interrupt_and_quit_reach_the_command_once_and_their_status_comes_back() {
    let domain = Domain::new();
    let trap = "trap 'echo INT' INT; trap 'echo QUIT; exit 4' QUIT; echo ready; \
                while :; do sleep 0.02; done";
    let mut screen = Screen::placet(&domain, &sh(trap));
    screen.sees("ready\r\n");
    screen.types("\x03");
    screen.sees("INT\r\n");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(screen.rest(), "", "it came more than once");
    screen.types("\x1c");
    screen.sees("QUIT\r\n");
    assert_eq!(screen.ends().0.code(), Some(4));
    for (key, number) in [("\x03", 2), ("\x1c", 3)] {
        let mut screen = Screen::placet(&domain, &sh("ulimit -c 0; echo ready; exec sleep 600"));
        screen.sees("ready\r\n");
        screen.types(key);
        let (status, _) = screen.ends();
        assert_eq!(status.signal(), Some(number), "{status}");
    }
}

#[test]
fn signals_from_outside_reach_the_command_at_a_terminal() {
    let domain = Domain::new();
    let trap = "for s in HUP USR1 TERM; do trap \"echo $s\" $s; done; echo ready; \
                while :; do sleep 0.02; done";
    let mut screen = Screen::placet(&domain, &sh(trap));
    screen.sees("ready\r\n");
    for (sent, name) in [
        (Signal::USR1, "USR1"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
    ] {
        signal(screen.pid(), sent);
        screen.sees(&format!("{name}\r\n"));
    }
    signal(screen.pid(), Signal::KILL);
    let (status, _) = screen.ends();
    assert_eq!(status.signal(), Some(9));
    // Nothing outlives it, and the record says how it ended.
    let last = await_some("the end", || {
        let last = domain.executions().pop()?;
        (last["status"] != "running").then_some(last)
    });
    assert_eq!(last["status"], "failed", "{last}");
}

#[test]
fn the_terminal_is_as_it_was_found_whatever_ends_the_command() {
    let domain = Domain::new();
    let lines = |screen: &Screen| {
        let modes = screen.modes().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    };
    // Also where the command leaves its own in disorder.
    for script in [
        "stty raw -echo; echo ready; read x",
        "echo ready; kill -9 $$",
    ] {
        let mut screen = Screen::shell(&domain);
        screen.types(&format!(
            "placet run -- sh -c '{script}'; stty -a | grep -c ' icanon'\r"
        ));
        screen.sees("ready");
        screen.types("\r");
        screen.sees("ready> ");
        screen.types("exit\r");
        assert_eq!(screen.ends().0.code(), Some(0), "{script}");
    }
    // The front is killed while the terminal is raw: the supervisor sets it right.
    let mut screen = Screen::placet(&domain, &sh("echo ready; exec sleep 600"));
    screen.sees("ready\r\n");
    assert!(!lines(&screen));
    let killed = screen.pid();
    signal(killed, Signal::KILL);
    await_some("a usable terminal", || lines(&screen).then_some(()));
    // The supervisor is killed: the front says so.
    let mut screen = Screen::placet(&domain, &sh("echo ready; exec sleep 600"));
    screen.sees("ready\r\n");
    let children = format!("/proc/{0}/task/{0}/children", screen.pid());
    let supervisor = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    signal(supervisor, Signal::KILL);
    screen.sees("the supervisor of the command was killed");
    assert!(lines(&screen));
    assert_eq!(screen.ends().0.code(), Some(121));
}

#[test]
fn ten_megabytes_and_long_lines_come_through_a_raw_terminal_unchanged() {
    let domain = Domain::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    let noise: Vec<u8> = std::iter::repeat_with(&mut next)
        .flatten()
        .take(10 << 20)
        .collect();
    fs::write(domain.work().join("noise"), &noise).unwrap();
    let mut screen = Screen::placet(&domain, &sh("stty raw; echo ready; cat noise"));
    screen.sees("ready\n");
    let before = "ready\n".len();
    await_some("all of it", || {
        (screen.bytes().len() >= before + noise.len()).then_some(())
    });
    assert!(screen.bytes()[before..] == noise[..], "other bytes came");
    drop(screen);
    // The other way.
    let size = 1 << 20;
    let script = format!("stty raw -echo; echo ready; head -c {size} >typed; echo done");
    let mut screen = Screen::placet(&domain, &sh(&script));
    screen.sees("ready\n");
    screen.sends(&noise[..size]);
    screen.sees("done\n");
    assert!(fs::read(domain.work().join("typed")).unwrap() == noise[..size]);
    // A line longer than any buffer on the way.
    let mut screen = Screen::placet(
        &domain,
        &sh("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"),
    );
    let line = screen.sees("\r\nend\r\n");
    assert_eq!(line.len(), 300_000);
}

#[test]
fn streams_that_are_no_terminals_pass_through_beside_it() {
    let domain = Domain::new();
    let mut screen = Screen::shell(&domain);
    // Standard output is a pipe, and the command reads from the terminal.
    screen.types("placet run -- sh -c 'test -t 1 || read x; echo \"got $x\"' | tr a-z A-Z\r");
    screen.sees("A-Z\r\n");
    screen.types("typed\r");
    screen.sees("GOT TYPED\r\n");
    screen.sees("ready> ");
    // Standard input is a pipe, and the command talks to the terminal.
    screen.types("printf 'from a pipe\\n' | placet run -- sh -c 'cat; test -t 1 && echo tty; read x </dev/tty; echo \"and $x\"'\r");
    screen.sees("from a pipe\r\ntty\r\n");
    screen.types("keys\r");
    screen.sees("and keys\r\n");
    screen.sees("ready> ");
    // Neither reads keys: those are for the program at the other end.
    screen.types("placet run -- seq 300 | less\r");
    screen.sees("22\r\n23\r\n");
    screen.types("q");
    screen.sees("ready> ");
    screen.types("exit\r");
    assert_eq!(screen.ends().0.code(), Some(0));
    // No stream is a terminal: then there is none inside either, not even by its name.
    let mut bare = as_in(&domain, "setsid");
    let script = "sh -c 'echo x >/dev/tty' 2>/dev/null || echo none";
    bare.args([
        "--wait",
        env!("CARGO_BIN_EXE_placet"),
        "run",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let output = bare.stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "none\n");
}

#[test]
fn a_terminal_that_hangs_up_ends_what_does_not_mind_it() {
    let domain = Domain::new();
    let mut screen = Screen::placet(
        &domain,
        &sh("trap 'echo hung up >note; exit 3' HUP; echo ready; while :; do sleep 0.02; done"),
    );
    screen.sees("ready\r\n");
    screen.hang_up();
    await_some("the note", || {
        fs::read_to_string(domain.work().join("note")).ok()
    });
    let last = await_some("the end", || {
        let last = domain.executions().pop()?;
        (last["status"] != "running").then_some(last)
    });
    assert_eq!(last["ended"]["exit"]["code"], 3, "{last}");
}

#[test]
fn a_command_inside_a_cell_has_a_terminal_too() {
    let domain = Domain::new();
    let script = "echo outer $(tty); /run/placet/placet run -- sh -c 'echo inner $(tty); stty size; read x; echo got $x; exit 5'; echo status $?";
    let mut screen = Screen::placet(&domain, &sh(script));
    screen.sees("outer /dev/pts/0\r\n");
    screen.sees("inner /dev/pts/0\r\n24 80\r\n");
    screen.types("through both\r");
    screen.sees("got through both\r\n");
    screen.sees("status 5\r\n");
    assert_eq!(screen.ends().0.code(), Some(0));
}

#[test]
fn denials_are_said_at_the_terminal_as_they_were() {
    let domain = Domain::new();
    let screen = Screen::placet(
        &domain,
        &["run", "--as", "agent:coder", "--", "git", "push"],
    );
    let (status, shown) = screen.ends();
    assert_eq!(status.code(), Some(120));
    assert!(
        shown.contains("policy_forbids") && shown.contains("placet explain"),
        "{shown}"
    );
}

#[test]
fn who_waits_for_approvals_at_a_terminal_can_leave_it() {
    let domain = Domain::new();
    let annotated = "@lifetime(\"12h\")\n@approvals(\"1 of leads within 10m\")";
    domain.activate_changed(&[("policies/operators.cedar", "@lifetime(\"12h\")", annotated)]);
    for key in ["\x03", "\x1c"] {
        let mut screen = Screen::placet(&domain, &sh("echo it ran"));
        screen.sees("placet approve exec_");
        screen.types(key);
        let (status, shown) = screen.ends();
        assert!(status.code().is_some_and(|code| code != 0), "{status}");
        assert!(!shown.contains("it ran"), "{shown}");
    }
    // It is only that nobody waits for it here: who approves still sees it.
    let waiting = domain.json(&["approvals"]);
    assert!(!waiting.as_array().unwrap().is_empty(), "{waiting}");
}
