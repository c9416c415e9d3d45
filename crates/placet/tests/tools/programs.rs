//! Programs that people use at terminals.

use std::fs;

use crate::domain::{Domain, await_some};
use crate::screen::Screen;

fn run<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--"], command].concat()
}

#[test]
fn vim_inserts_saves_and_leaves() {
    let domain = Domain::new();
    let mut screen = Screen::placet(&domain, &run(&["vim", "-u", "NONE", "-N", "note"]));
    screen.sees("\"note\"");
    screen.types("ihello from vim\x1b");
    screen.types(":wq\r");
    let (status, shown) = screen.ends();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert_eq!(
        fs::read_to_string(domain.work().join("note")).unwrap(),
        "hello from vim\n"
    );
}

#[test]
fn less_pages_and_leaves() {
    let domain = Domain::new();
    let lines: String = (1..=500).map(|n| format!("line {n}\n")).collect();
    fs::write(domain.work().join("long"), lines).unwrap();
    let mut screen = Screen::placet(&domain, &run(&["less", "long"]));
    screen.sees("line 23");
    screen.types("G");
    screen.sees("line 500");
    screen.types("q");
    assert_eq!(screen.ends().0.code(), Some(0));
}

#[test]
fn python_talks() {
    let domain = Domain::new();
    let mut screen = Screen::placet(&domain, &run(&["/usr/bin/python3", "-q"]));
    screen.sees(">>> ");
    screen.types("6 * 7\r");
    screen.sees("42\r\n");
    screen.types("import os; os.ttyname(0)\r");
    screen.sees("'/dev/pts/0'\r\n");
    screen.types("\x04");
    assert_eq!(screen.ends().0.code(), Some(0));
}

#[test]
fn top_draws_and_leaves() {
    let domain = Domain::new();
    let mut screen = Screen::placet(&domain, &run(&["top"]));
    screen.sees("load average");
    screen.types("q");
    assert_eq!(screen.ends().0.code(), Some(0));
}

#[test]
fn tmux_works_inside_and_its_server_ends_with_the_cell() {
    let domain = Domain::new();
    let mut screen = Screen::placet(
        &domain,
        &run(&["tmux", "-L", "governed", "-f", "/dev/null", "new", "sh"]),
    );
    screen.sees("0:sh");
    screen.types("echo in$((40+2))tmux\r");
    screen.sees("in42tmux");
    let servers = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let line = |pid: fs::DirEntry| fs::read(pid.path().join("cmdline")).unwrap_or_default();
        let of = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("governed\0-f");
        all.map(line).filter(of).count()
    };
    assert!(servers() > 1, "there is no server");
    // Detached: the server goes on without a client, until the cell ends.
    screen.types("\x02d");
    let (status, shown) = screen.ends();
    assert_eq!(status.code(), Some(0), "{shown}");
    await_some("no server", || (servers() == 0).then_some(()));
}
