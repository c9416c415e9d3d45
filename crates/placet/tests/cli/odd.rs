//! Commands and scopes that cannot be what they say: each is refused in words, with its status, before
//! anything runs, and leaves nothing behind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;

use serde_json::Value;

use crate::domain::{DENIED, Domain, NOT_FOUND, Ran, await_some, ran};
use crate::job::{living, mark};

const USAGE: i32 = 2;
const NOT_EXECUTABLE: i32 = 126;

/// No mount, no process but the node, no permit that is open.
fn assert_nothing_left(domain: &Domain, mark: &str) {
    domain.await_no_open_permit();
    assert!(living(mark).is_empty(), "a process is left");
    let root = domain.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root), "a mount is left");
    assert_eq!(domain.json(&["log", "fsck"])["sound"], true);
}

fn refused(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
}

#[test]
fn what_leads_nowhere_is_not_found_or_not_executable() {
    let domain = Domain::new();
    let (work, mark) = (domain.work(), mark());
    symlink("a", work.join("b")).unwrap();
    symlink("b", work.join("a")).unwrap();
    symlink("gone", work.join("dangling")).unwrap();
    fs::create_dir(work.join("directory")).unwrap();
    fs::write(work.join("plain"), "#!/bin/sh\n").unwrap();
    let run = |program: &str| domain.run(&["run", "--", program, &mark]);
    refused(&run("./dangling"), NOT_FOUND, &["./dangling", "not found"]);
    for (program, why) in [
        ("./a", "Too many levels of symbolic links"),
        ("./directory", "it is a directory"),
        ("./plain", "nobody may execute it"),
        ("./a/b/c", "Too many levels of symbolic links"),
        ("/dev/null", "it is no regular file"),
    ] {
        let said = [program, "not an executable file", why];
        refused(&run(program), NOT_EXECUTABLE, &said);
    }
    // Inside, a loop is an error of whoever follows it, and the command goes on.
    let inside = domain.run(&["run", "--", "sh", "-c", "cat a; echo $?"]);
    assert_eq!((inside.code, &*inside.stdout), (0, "1\n"), "{inside:?}");
    assert!(inside.stderr.contains("Too many levels"), "{inside:?}");
    assert_nothing_left(&domain, &mark);
}

#[test]
fn what_no_record_can_hold_is_refused_in_words() {
    let domain = Domain::new();
    let (mark, odd) = (mark(), OsStr::from_bytes(b"\xff\xfe"));
    let argument = ran(domain.command(&["run", "--", "echo", &mark]).arg(odd));
    refused(
        &argument,
        USAGE,
        &["invalid UTF-8", "argument 5, \"\\xFF\\xFE\","],
    );
    let program = ran(domain.command(&["run", "--"]).arg(odd).arg(&mark));
    refused(&program, USAGE, &["invalid UTF-8", "argument 3, "]);
    let dir = domain.work().join(odd);
    fs::create_dir(&dir).unwrap();
    let place = ran(domain
        .command(&["run", "--", "echo", &mark])
        .current_dir(&dir));
    let said = [
        "malformed",
        "cannot be written in a record",
        "UTF-8",
        "placet explain",
    ];
    refused(&place, DENIED, &said);
    let variable = ran(domain
        .command(&["run", "--", "sh", "-c", "echo done"])
        .env("LANG", odd));
    // It is not passed on, and nothing else is lost by it.
    assert_eq!(
        (variable.code, &*variable.stdout),
        (0, "done\n"),
        "{variable:?}"
    );
    assert_nothing_left(&domain, &mark);
}

#[test]
fn arguments_of_almost_a_mebibyte_arrive_and_more_are_refused() {
    let domain = Domain::new();
    let (mark, long) = (mark(), "x".repeat(100_000));
    let run = |count: usize| {
        let mut args = vec!["run", "--", "sh", "-c", "echo $# ${#1}", mark.as_str()];
        args.extend(std::iter::repeat_n(long.as_str(), count));
        domain.run(&args)
    };
    let arrived = run(10);
    assert_eq!((arrived.code, &*arrived.stdout), (0, "10 100000\n"));
    let refusal = run(11);
    let said = [
        "denied, malformed",
        "longer than 1048576 bytes",
        "placet explain",
    ];
    refused(&refusal, DENIED, &said);
    assert!(refusal.stderr.len() < 4096, "it says it all again");
    let record = domain.ok(&["log", "tail", "-n", "1", "--json"]);
    assert!(
        record.contains("refused") && record.contains("malformed"),
        "{record}"
    );
    // And what can be an intent names the profiles that there are, where it asks for none of them.
    let unknown = domain.run(&["run", "--profile", "nosuch", "--", "true"]);
    refused(
        &unknown,
        DENIED,
        &["scope_exceeded", "no profile `nosuch`", "agent, build, "],
    );
    assert_nothing_left(&domain, &mark);
}

/// A domain in which every run of an operator waits for a lead, so that a test has the time between a
/// decision and its launch.
fn asking() -> Domain {
    let domain = Domain::new();
    let annotated = "@lifetime(\"12h\")\n@approvals(\"1 of leads within 10m\")";
    domain.activate_changed(&[("policies/operators.cedar", "@lifetime(\"12h\")", annotated)]);
    let key = domain.path("ann");
    let made = domain.json(&["key", "new", "--key", key.to_str().unwrap()]);
    let thumbprint = made["thumbprint"].as_str().unwrap();
    let set = [
        "principal",
        "set",
        "user:ann",
        "--uid",
        "0",
        "--group",
        "leads",
    ];
    domain.ok(&[&set[..], &["--key", thumbprint]].concat());
    domain
}

/// Starts a run that waits, does something, has it approved, and gives what became of it.
fn between(domain: &Domain, argv: &[&str], act: impl FnOnce()) -> (Ran, Value) {
    let child: Child = domain.start(&[&["run", "--"], argv].concat());
    let exec = await_some("what waits", || {
        let waiting = domain.json(&["approvals"]);
        let exec = waiting.as_array()?.first()?["exec"].as_str()?;
        Some(exec.to_owned())
    });
    act();
    let key = domain.path("ann");
    let key = key.to_str().unwrap();
    domain.ok(&["approve", &exec, "--as", "user:ann", "--key", key]);
    let output = child.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    let shown = domain.json(&["lineage", "show", &exec]);
    (ran, shown)
}

fn program(path: &Path, says: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, format!("#!/bin/sh\necho {says} >> log\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_program_that_is_swapped_between_decision_and_launch_does_not_start() {
    let domain = asking();
    let (work, mark) = (domain.work(), mark());
    program(&work.join("tool"), "good");
    program(&work.join("other"), "evil");
    for swap in ["replaced", "written", "linked"] {
        let (ran, shown) = between(&domain, &["./tool", &mark], || match swap {
            "replaced" => fs::rename(work.join("other"), work.join("tool")).unwrap(),
            "written" => program(&work.join("tool"), "evil"),
            _ => {
                fs::remove_file(work.join("tool")).unwrap();
                program(&work.join("other"), "evil");
                symlink("other", work.join("tool")).unwrap();
            }
        });
        assert_ne!(ran.code, 0, "{swap}: {ran:?}");
        assert!(!work.join("log").exists(), "{swap}: {ran:?}");
        let why = if swap == "linked" {
            "symbolic link"
        } else {
            "changed"
        };
        assert!(ran.stderr.contains(why), "{swap}: {ran:?}");
        let status = shown["status"].as_str().unwrap();
        assert!(["lapsed", "failed"].contains(&status), "{swap}: {shown}");
        assert_nothing_left(&domain, &mark);
        fs::remove_file(work.join("tool")).unwrap();
        program(&work.join("tool"), "good");
    }
    // As it was decided about, it runs.
    let (ran, _) = between(&domain, &["./tool", &mark], || ());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(work.join("log")).unwrap(), "good\n");
}

#[test]
fn a_workspace_that_is_swapped_for_a_link_grants_nothing_elsewhere() {
    let domain = asking();
    let (work, aside, mark) = (domain.work(), domain.path("aside"), mark());
    let elsewhere = domain.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("secret"), "hidden\n").unwrap();
    let script = format!("cat secret; echo {mark} > planted");
    let (ran, shown) = between(&domain, &["sh", "-c", &script], || {
        fs::rename(&work, &aside).unwrap();
        symlink(&elsewhere, &work).unwrap();
    });
    fs::remove_file(&work).unwrap();
    fs::rename(&aside, &work).unwrap();
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
    assert!(!elsewhere.join("planted").exists(), "{ran:?}");
    assert_ne!(shown["status"], "completed", "{shown}");
    assert_nothing_left(&domain, &mark);
}

#[test]
fn scopes_that_contradict_each_other_or_themselves_are_denied() {
    let domain = Domain::new();
    let mark = mark();
    let why = ["scope_exceeded", "outside the paths that may be executed"];
    // The program lies in no tree that its profile lets anything start from.
    let elsewhere = domain.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    program(&elsewhere.join("tool"), "ran");
    let tool = elsewhere.join("tool");
    let outside = domain.run(&["run", "--", tool.to_str().unwrap(), &mark]);
    refused(&outside, DENIED, &why);
    // What is asked for and what is permitted have no lifetime in common.
    let asked = ["run", "--lifetime", "0", "--", "echo", &mark];
    refused(&domain.run(&asked), DENIED, &["scope_exceeded", "lifetime"]);
    // A profile that is asked for, and one that is permitted, which start nothing in common.
    let file = "profiles/git.toml";
    let dir = domain.path("starter");
    domain.ok(&["policy", "init", dir.to_str().unwrap()]);
    let text = fs::read_to_string(dir.join(file)).unwrap();
    let begin = text.find("\nexec = [").unwrap();
    let end = begin + text[begin..].find(']').unwrap() + 1;
    domain.activate_changed(&[(file, &text[begin..end], "\nexec = [\"/opt\"]")]);
    let apart = domain.run(&["run", "--profile", "git", "--", "git", "status", &mark]);
    refused(&apart, DENIED, &why);
    assert!(!domain.work().join("log").exists());
    assert_nothing_left(&domain, &mark);
}
