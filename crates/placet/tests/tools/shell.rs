//! `placet shell`: every command of a shell is governed, and what is refused is said at once.

use std::os::unix::fs::symlink;

use crate::domain::{Domain, ran};
use crate::screen::{Screen, as_in};

#[test]
fn each_command_of_a_shell_is_decided_and_refusals_are_said_at_the_terminal() {
    let domain = Domain::new();
    let args = ["shell", "--as", "agent:coder", "--shell", "bash"];
    let mut screen = Screen::placet(&domain, &args);
    screen.sees("agent:coder ");
    screen.types("echo hello >note; cat note\r");
    screen.sees("hello\r\n");
    screen.types("git push\r");
    screen.sees("placet: denied, policy_forbids: git push: a policy forbids it (placet explain ");
    let index = screen.sees(")");
    screen.types("bash -c 'ls; git push'\r");
    screen.sees("note\r\n");
    screen.sees("placet: denied, policy_forbids: git push");
    screen.types("exit 4\r");
    assert_eq!(screen.ends().0.code(), Some(4));
    let explained = domain.ok(&["explain", &index]);
    assert!(explained.contains("agents-no-remote-git"), "{explained}");
    // Who started whom, and what allowed or refused each.
    let tree = domain.ok(&["lineage", "tree", "--ascii"]);
    let lines: Vec<&str> = tree.lines().collect();
    let below = |program: &str, indent: &str| {
        lines
            .iter()
            .any(|line| line.contains(program) && line.starts_with(indent))
    };
    assert!(lines[0].contains("/usr/bin/bash"), "{tree}");
    assert!(below("/usr/bin/cat", "|- "), "{tree}");
    assert!(below("/usr/bin/ls", "   `- "), "{tree}");
    assert!(tree.contains("policy_forbids"), "{tree}");
}

#[test]
fn a_shell_for_programs_that_want_the_path_of_one() {
    let domain = Domain::new();
    let link = domain.path("placet-shell");
    symlink(env!("CARGO_BIN_EXE_placet"), &link).unwrap();
    let mut command = as_in(&domain, link.to_str().unwrap());
    command
        .args([
            "-c",
            "echo \"$0 $1\"; git push; echo $?",
            "name",
            "argument",
        ])
        .env("PLACET_PRINCIPAL", "agent:coder")
        .env("PLACET_SHELL", "bash");
    let ran = ran(command.stdin(std::process::Stdio::null()));
    assert_eq!(ran.stdout, "name argument\n137\n", "{ran:?}");
    assert!(
        ran.stderr
            .contains("placet: denied, policy_forbids: git push"),
        "{ran:?}"
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn what_is_not_asked_to_decide_is_not_narrowed_by_it() {
    let domain = Domain::new();
    let decided = [
        "run",
        "--decide",
        "--as",
        "agent:coder",
        "--",
        "sh",
        "-c",
        "ls; true",
    ];
    domain.ok(&decided);
    assert_eq!(domain.executions().len(), 2);
    assert!(
        domain
            .ok(&["explain", "4"])
            .contains("a decision about each program")
    );
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}
