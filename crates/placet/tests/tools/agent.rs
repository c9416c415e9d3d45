//! A coding agent as one governed program: it behaves as such agents do, and what it starts is decided.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::domain::{Domain, parsed, ran};
use crate::job::{living, mark};

/// A stand-in for one: a program with a terminal of its own, helpers and servers.
const AGENT: &str = include_str!("agent.py");

const IDENTITY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "a"),
    ("GIT_AUTHOR_EMAIL", "a@example.test"),
    ("GIT_COMMITTER_NAME", "a"),
    ("GIT_COMMITTER_EMAIL", "a@example.test"),
];

fn project(domain: &Domain) {
    let work = domain.work();
    let files = [
        ("README.md", "a project\n"),
        ("calc.py", "def add(a, b):\n    return a - b\n"),
        (
            "test_calc.py",
            "import unittest\nfrom calc import add\nclass Test(unittest.TestCase):\n    def test_add(self):\n        self.assertEqual(add(1, 2), 3)\n",
        ),
    ];
    for (name, text) in files {
        fs::write(work.join(name), text).unwrap();
    }
    fs::write(domain.path("secret"), "hidden\n").unwrap();
    let script = "git init -q -b main && git add -A && git commit -q -m 'Begin'";
    let mut git = Command::new("bash");
    let made = ran(git.args(["-euc", script]).current_dir(&work).envs(IDENTITY));
    assert_eq!(made.code, 0, "{made:?}");
}

#[test]
fn a_coding_agent_works_as_it_would_bare_and_each_program_of_it_is_decided() {
    let domain = Domain::new();
    project(&domain);
    let mark = mark();
    let options = [
        "run",
        "--as",
        "agent:coder",
        "--profile",
        "coding-agent",
        "--",
    ];
    let command = ["/usr/bin/python3", "-c", AGENT, &mark];
    let mut agent = domain.command(&[&options[..], &command].concat());
    let done = ran(agent
        .envs(IDENTITY)
        .env("TERM", "xterm")
        .env("PYTHONDONTWRITEBYTECODE", "1"));
    assert_eq!(done.code, 0, "{done:?}");
    let expected = json!({
        "tty": "/dev/pts/", "files": "README.md,calc.py,test_calc.py",
        "before": 1, "after": 0, "commit": 0, "log": "Add means add,Begin",
        // Killed at its first instruction, as the shell says it; not there.
        "push": 137, "ssh": 137, "secret": 1, "still": "still here",
        "helpers": [0, 0, 0, 0, 0, 1], "built": "compiled",
        "served": "a project", "jobs": 0,
    });
    assert_eq!(parsed(&done.stdout), expected, "{done:?}");
    // The server and the stopped job have ended with it.
    assert!(living(&mark).is_empty());
    let source = fs::read_to_string(domain.work().join("calc.py")).unwrap();
    assert!(source.contains("a + b"));

    let all = domain.executions();
    let named = |name: &str| {
        let is = |it: &&Value| it["resource"]["id"].as_str().unwrap().ends_with(name);
        all.iter().filter(is).collect::<Vec<_>>()
    };
    let root = &all[0]["exec"];
    assert!(all[1..].iter().all(|it| it["root"] == *root), "{all:?}");
    for (name, code) in [("/git", "policy_forbids"), ("/ssh", "policy_forbids")] {
        let denied = named(name).into_iter().find(|it| it["status"] == "denied");
        let denied = denied.unwrap_or_else(|| panic!("{name}: {all:?}"));
        assert_eq!(denied["answer"]["denied"]["code"], code, "{denied}");
        // Below the shell at the agent's terminal, which stands below the agent.
        let shell = all
            .iter()
            .find(|it| it["exec"] == denied["parent"])
            .unwrap();
        assert!(
            shell["resource"]["id"].as_str().unwrap().ends_with("/bash"),
            "{shell}"
        );
        assert_eq!(shell["parent"], *root);
    }
    let helpers = named("/grep");
    assert_eq!(helpers.iter().filter(|it| it["parent"] == *root).count(), 6);
    let shown = domain.json(&["lineage", "show", root.as_str().unwrap()]);
    let own = &shown["programs"]["list"][0];
    assert!(own["path"].as_str().unwrap().ends_with("/app"), "{shown}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}
