//! Bad input: each says what to do, ends with a documented status, and loses nothing.

use std::fs;

use crate::domain::{
    DENIED, Domain, NOT_FOUND, Ran, UNVERIFIED, await_some, placet, ran, set_mode,
};

/// Status of a command line that was not understood.
const USAGE: i32 = 2;
/// Status of a program that cannot be executed.
const NOT_EXECUTABLE: i32 = 126;

#[test]
fn every_slip_of_the_command_line_has_its_status_and_its_advice() {
    let domain = Domain::new();
    let unknown = "exec_00000000000000000000000000000000";
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["run", "--wat", "--", "ls"], USAGE, &["--wat", "--help"]),
        (&["run", "ls"], USAGE, &["run [OPTIONS] -- <COMMAND>"]),
        (&["run", "--"], USAGE, &["<COMMAND>"]),
        (&["runn"], USAGE, &["similar subcommand", "'run'"]),
        (
            &["run", "--as", "nobody", "--", "ls"],
            USAGE,
            &["kind:name"],
        ),
        (
            &["run", "--profile", "A b", "--", "ls"],
            USAGE,
            &["lower-case"],
        ),
        (
            &["run", "--parent", "x", "--", "ls"],
            USAGE,
            &["exec_ and 32"],
        ),
        (
            &["run", "--lifetime", "soon", "--", "ls"],
            USAGE,
            &["invalid digit"],
        ),
        (&["log", "entry", "--wat"], USAGE, &["--wat"]),
        (
            &["run", "--as", "agent:nobody", "--", "ls"],
            DENIED,
            &[
                "identity_unverified",
                "not registered",
                "placet principal list",
                "placet explain",
            ],
        ),
        (&["decide", "--as", "agent:nobody", "--", "ls"], DENIED, &[]),
        (
            &["run", "--profile", "nobody", "--", "ls"],
            DENIED,
            &["scope_exceeded", "no profile `nobody`"],
        ),
        (
            &["run", "--lifetime", "0", "--", "ls"],
            DENIED,
            &["scope_exceeded", "lifetime"],
        ),
        (
            &["run", "--parent", unknown, "--", "ls"],
            DENIED,
            &["lineage_fragmented", "does not run"],
        ),
        (
            &["run", "--", "no-such-program"],
            NOT_FOUND,
            &["no-such-program", "not found"],
        ),
        (
            &["run", "--", "./no-such-program"],
            NOT_FOUND,
            &["no-such-program", "not found"],
        ),
        (
            &["decide", "--", "no-such-program"],
            NOT_FOUND,
            &["no-such-program", "not found"],
        ),
        (&["run", "--", ""], NOT_FOUND, &["\"\"", "not found"]),
        (
            &["run", "--", "/etc/passwd"],
            NOT_EXECUTABLE,
            &["/etc/passwd", "not an executable file"],
        ),
        (
            &["run", "--", "/"],
            NOT_EXECUTABLE,
            &["not an executable file"],
        ),
        (
            &["revoke", "anything"],
            1,
            &["no selector", "placet revoke --help"],
        ),
        (
            &["revoke", unknown],
            1,
            &["is authorized or running", "placet executions --running"],
        ),
        (
            &["revoke", "principal:agent:nobody"],
            1,
            &["not registered", "placet principal list"],
        ),
        (
            &["principal", "suspend", "agent:nobody"],
            1,
            &["not registered", "placet principal set"],
        ),
        (
            &["policy", "check", "missing"],
            1,
            &["missing: No such file"],
        ),
        (
            &["policy", "activate", "missing"],
            1,
            &["missing: No such file"],
        ),
        (&["explain", "99"], 1, &["the log has"]),
        (&["init"], 1, &["holds a Placet domain already"]),
    ];
    for (args, code, parts) in cases {
        let said = domain.fails(*code, args);
        for part in *parts {
            assert!(said.contains(part), "{args:?}: {part}: {said}");
        }
    }
    let ran = domain.run(&["revoke", "policy:no-such-policy"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("no policy of the bundle in force"),
        "{ran:?}"
    );
    domain.assert_intact();
}

#[test]
fn a_principal_in_the_environment_that_is_none_is_named_with_its_variable() {
    let domain = Domain::new();
    for (name, code, part) in [
        ("nobody", 1, "PLACET_PRINCIPAL"),
        ("user:nobody", DENIED, "not registered"),
    ] {
        let mut command = domain.command(&["run", "--", "touch", "touched"]);
        let ran = ran(command.env("PLACET_PRINCIPAL", name));
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    assert!(!domain.work().join("touched").exists());
    domain.assert_intact();
}

#[test]
fn what_is_no_domain_directory_is_named_as_what_it_is() {
    let domain = Domain::new();
    let at = |dir: &str, args: &[&str]| ran(&mut placet(&[&["--domain", dir], args].concat()));
    let says = |ran: &Ran, parts: &[&str]| {
        assert_eq!(ran.code, 1, "{ran:?}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
    };
    let file = domain.work().join("file");
    fs::write(&file, "x").unwrap();
    says(
        &at(file.to_str().unwrap(), &["run", "--", "ls"]),
        &["is not a directory", "--domain"],
    );
    says(
        &at("/nonexistent", &["run", "--", "ls"]),
        &["holds no Placet domain", "placet init"],
    );
    says(
        &at("/etc", &["run", "--", "ls"]),
        &["holds no Placet domain", "placet init"],
    );
    // Others can enter it.
    set_mode(&domain.dir(), 0o755);
    let said = domain.fails(1, &["run", "--", "touch", "touched"]);
    assert!(
        said.contains("chmod 700") && said.contains("0755"),
        "{said}"
    );
    set_mode(&domain.dir(), 0o700);
    // Its public file is gone.
    let sound = fs::read(domain.policy_file()).unwrap();
    fs::remove_file(domain.policy_file()).unwrap();
    let said = domain.fails(1, &["run", "--", "touch", "touched"]);
    assert!(
        said.contains("domain.tlog-policy") && said.contains("bring a copy"),
        "{said}"
    );
    fs::write(domain.policy_file(), sound).unwrap();
    assert!(!domain.work().join("touched").exists());
    domain.assert_intact();
}

#[test]
fn another_user_is_told_whose_domain_it_is() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else. Somebody else's directory is one that does not open.
        let ran = ran(&mut placet(&[
            "--domain",
            "/proc/1/root/domain",
            "run",
            "--",
            "ls",
        ]));
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
        return;
    }
    let domain = Domain::new();
    // Others must be able to come to the domain's door at all, and to find the program.
    let program = domain.path("placet");
    fs::copy(env!("CARGO_BIN_EXE_placet"), &program).unwrap();
    let root = domain.dir().parent().unwrap().to_owned();
    set_mode(&root, 0o755);
    let as_nobody = |args: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(&program).args(args).current_dir("/");
        command
            .env("PLACET_DOMAIN", domain.dir())
            .env("HOME", "/nonexistent");
        ran(&mut command)
    };
    for args in [
        &["run", "--", "ls"][..],
        &["log", "tail"],
        &["revoke", "principal:user:op"],
        &["node", "stop"],
    ] {
        let ran = as_nobody(args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert!(
            ran.stderr
                .contains("belongs to user 0, not to you (user 65534)"),
            "{ran:?}"
        );
    }
    // What does not even let itself be looked at.
    set_mode(&root, 0o700);
    set_mode(&program, 0o755);
    let ran = {
        let elsewhere = tempfile::tempdir().unwrap();
        set_mode(elsewhere.path(), 0o755);
        let program = elsewhere.path().join("placet");
        fs::copy(env!("CARGO_BIN_EXE_placet"), &program).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command
            .arg(&program)
            .args(["run", "--", "ls"])
            .current_dir("/");
        ran(command
            .env("PLACET_DOMAIN", domain.dir())
            .env("HOME", "/nonexistent"))
    };
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
    domain.assert_intact();
}

#[test]
fn a_second_node_on_the_same_directory_is_refused_and_the_first_serves_on() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let first = domain.node().unwrap();
    let said = domain.fails(1, &["node", "serve"]);
    assert!(
        said.contains(&format!("process {first}")) && said.contains("placet node stop"),
        "{said}"
    );
    // As another command starts one: the lock of the log is what counts.
    let ran = domain.run(&["node", "serve", "--detached"]);
    assert_eq!(ran.code, UNVERIFIED, "{ran:?}");
    assert!(ran.stderr.contains("locked by another writer"), "{ran:?}");
    assert_eq!(domain.node(), Some(first));
    domain.assert_intact();
    // Serving in the foreground serves others.
    domain.stop();
    let mut serving = domain.start(&["node", "serve", "--idle", "0"]);
    let pid = await_some("the node", || domain.node());
    assert_eq!(pid, serving.id());
    domain.assert_intact();
    assert_eq!(domain.node(), Some(serving.id()));
    domain.ok(&["node", "stop"]);
    assert!(serving.wait().unwrap().success());
}

#[test]
fn each_domain_has_its_own_principals_records_and_nodes() {
    let (one, other) = (
        Domain::named("placet.test/one"),
        Domain::named("placet.test/other"),
    );
    one.ok(&["principal", "set", "agent:only-here", "--group", "agents"]);
    one.ok(&["run", "--as", "agent:only-here", "--", "ls"]);
    // The environment names one, the option another: the option counts.
    let dir = other.dir();
    let at_other = [
        "--domain",
        dir.to_str().unwrap(),
        "run",
        "--as",
        "agent:only-here",
        "--",
        "ls",
    ];
    let said = one.fails(DENIED, &at_other);
    assert!(said.contains("not registered"), "{said}");
    assert_ne!(one.node(), other.node());
    assert_eq!((one.executions().len(), other.executions().len()), (1, 1));
    let exec = one.executions()[0]["exec"].as_str().unwrap().to_owned();
    let said = other.fails(1, &["explain", &exec]);
    assert!(said.contains("no decision is about"), "{said}");
    // What one proves, the other's policy file does not vouch for.
    let bundle = one.path("bundle.json");
    fs::write(&bundle, one.ok(&["log", "proof", &exec, "--bundle"])).unwrap();
    let bundle = bundle.to_str().unwrap();
    one.ok(&["verify", bundle]);
    assert_eq!(other.run(&["verify", bundle]).code, UNVERIFIED);
    let theirs = other.policy_file();
    let ran = one.run(&["verify", bundle, "--policy", theirs.to_str().unwrap()]);
    assert_eq!(ran.code, UNVERIFIED, "{ran:?}");
    assert!(
        ran.stdout.contains("FAILED at `genesis in the log`"),
        "{ran:?}"
    );
    // The other's log in this one's place.
    one.stop();
    other.stop();
    let (ours, aside) = (one.dir().join("log"), one.path("aside"));
    fs::rename(&ours, &aside).unwrap();
    fs::rename(other.dir().join("log"), &ours).unwrap();
    one.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
    assert!(!one.work().join("touched").exists());
    fs::rename(&ours, other.dir().join("log")).unwrap();
    fs::rename(&aside, &ours).unwrap();
    one.assert_intact();
    other.assert_intact();
}

#[test]
fn a_log_that_is_damaged_or_gone_runs_nothing_and_a_good_copy_brings_it_back() {
    let domain = Domain::with_history();
    domain.stop();
    let (log, aside) = (domain.dir().join("log"), domain.path("aside"));
    // One byte of an old record.
    let sound = fs::read(domain.segment()).unwrap();
    let entry = domain.ok(&["log", "entry", "2"]);
    let at = crate::domain::find_in(&domain.segment(), entry.as_bytes());
    crate::domain::flip(&domain.segment(), at + 40);
    let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
    assert!(
        said.contains("damaged at index 2") && said.contains("placet log fsck"),
        "{said}"
    );
    fs::write(domain.segment(), sound).unwrap();
    // All of it. Nobody makes a new one in its place.
    fs::rename(&log, &aside).unwrap();
    for _ in 0..2 {
        let said = domain.fails(UNVERIFIED, &["run", "--", "touch", "touched"]);
        assert!(
            said.contains("the evidence log cannot be written"),
            "{said}"
        );
        assert!(!log.exists());
    }
    let said = domain.fails(UNVERIFIED, &["log", "tail"]);
    assert!(said.contains("no log in this directory"), "{said}");
    fs::rename(&aside, &log).unwrap();
    assert!(!domain.work().join("touched").exists());
    domain.assert_intact();
}
