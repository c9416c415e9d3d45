//! Secrets as operators keep them and as governed commands get them: the real binary throughout.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use serde_json::Value;

use crate::domain::{DENIED, Domain, Ran, TERMINATED, await_some, flip, parsed, set_mode};

/// A value that stands nowhere else.
const VALUE: &str = "s3cr3t-value-7f1c";

/// What the operator's profile hands over.
const TOKEN: &str = r#"[[credentials]]
name = "token"
env = "THE_TOKEN"

[[credentials]]
name = "token"
file = "deep/token"
path_env = "THE_TOKEN_FILE"

[limits]"#;

/// A domain whose operators get the secret `token`.
fn handing() -> Domain {
    let domain = Domain::new();
    domain.activate_changed(&[("profiles/operator.toml", "[limits]", TOKEN)]);
    domain
}

/// Gives a secret a value by standard input.
fn set(domain: &Domain, args: &[&str], value: &[u8]) -> Ran {
    let mut command = domain.command(&[&["secret", "set"], args].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // One that refuses does not read to the end.
    drop(input.write_all(value));
    drop(input);
    let done = child.wait_with_output().unwrap();
    Ran {
        code: done.status.code().unwrap(),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

fn set_token(domain: &Domain) {
    let done = set(domain, &["token"], format!("{VALUE}\n").as_bytes());
    assert_eq!(done.code, 0, "{done:?}");
}

fn store(domain: &Domain) -> PathBuf {
    domain.dir().join("secrets.sealed")
}

fn records(domain: &Domain) -> Vec<Value> {
    let said = domain.ok(&["log", "tail", "-n", "500", "--json"]);
    said.lines().map(parsed).collect()
}

fn of_kind(domain: &Domain, kind: &str) -> Vec<Value> {
    let mut all = records(domain);
    all.retain(|record| record["kind"] == kind);
    all
}

/// Whether any file below `dir` holds the value, as it is or in base64.
fn holds_value(dir: &Path) -> Option<PathBuf> {
    let shapes = [VALUE.as_bytes(), b"czNjcjN0LXZhbHVlLTdmMWM"];
    fs::read_dir(dir).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds_value(&path);
        }
        // Sockets cannot be read, and hold nothing.
        let bytes = fs::read(&path).unwrap_or_default();
        let found = |shape: &&[u8]| bytes.windows(shape.len()).any(|part| part == *shape);
        shapes.iter().any(found).then_some(path)
    })
}

const BOTH: &str = "echo $THE_TOKEN; cat $THE_TOKEN_FILE; echo; stat -c %a $THE_TOKEN_FILE; \
    (echo x > $THE_TOKEN_FILE) 2>/dev/null || echo kept; \
    (chmod 600 $THE_TOKEN_FILE) 2>/dev/null || echo kept; echo $THE_TOKEN_FILE";

#[test]
fn a_secret_is_in_its_variable_and_its_file_and_in_no_evidence() {
    let domain = handing();
    set_token(&domain);
    let said = domain.ok(&["run", "--", "sh", "-c", BOTH]);
    let expected =
        format!("{VALUE}\n{VALUE}\n400\nkept\nkept\n/run/placet/credentials/deep/token\n");
    assert_eq!(said, expected);
    let started = of_kind(&domain, "started").pop().unwrap();
    assert_eq!(
        started["record"]["credentials"],
        serde_json::json!(["token"])
    );
    let changed = of_kind(&domain, "secret").pop().unwrap();
    assert_eq!(changed["record"]["by"], "user:op", "{changed}");
    assert_eq!(changed["record"]["change"]["set"], "token", "{changed}");
    let exec = started["exec"].as_str().unwrap();
    for args in [
        &["secret", "list", "--json"][..],
        &["explain", exec, "--json"],
        &["lineage", "show", exec, "--json"],
        &["log", "proof", exec, "--bundle", "--disclose", "--json"],
        &["executions", "--json"],
        &["decide", "--json", "--", "sh", "-c", BOTH],
        &["log", "tail", "-n", "500", "--json"],
    ] {
        let ran = domain.run(args);
        assert!(!ran.stdout.contains(VALUE), "{args:?}: {ran:?}");
        assert!(!ran.stderr.contains(VALUE), "{args:?}: {ran:?}");
    }
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
    domain.stop();
    assert_eq!(holds_value(&domain.dir()), None);
}

#[test]
fn secrets_are_listed_by_name_with_their_use_and_removed() {
    let domain = handing();
    let listed = |at: usize| domain.json(&["secret", "list"])["secrets"][at].clone();
    let wanted = listed(0);
    assert_eq!(
        (&wanted["name"], &wanted["held"]),
        (&"token".into(), &false.into())
    );
    set_token(&domain);
    assert!(listed(0)["set"].is_number() && listed(0)["used"].is_null());
    domain.ok(&["run", "--", "true"]);
    assert!(listed(0)["used"].is_number());
    assert_eq!(listed(0)["profiles"], serde_json::json!(["operator"]));
    let table = domain.ok(&["secret", "list"]);
    assert!(
        table.contains("token") && table.contains("operator"),
        "{table}"
    );
    domain.ok(&["secret", "rm", "token"]);
    let said = domain.fails(DENIED, &["run", "--", "true"]);
    assert!(said.contains("credential_missing"), "{said}");
    assert!(said.contains("placet secret set token"), "{said}");
    let again = domain.fails(DENIED, &["secret", "rm", "token"]);
    assert!(again.contains("credential_missing"), "{again}");
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_missing_secret_denies_before_anything_starts() {
    let domain = handing();
    let said = domain.fails(DENIED, &["run", "--", "touch", "made"]);
    assert!(said.contains("credential_missing"), "{said}");
    assert!(!domain.work().join("made").exists());
    assert!(of_kind(&domain, "started").is_empty());
}

#[test]
fn values_and_names_are_bounded_and_strict() {
    let domain = Domain::new();
    let cases: [(&[&str], &[u8], bool); 7] = [
        (&["empty"], b"", false),
        (&["newline"], b"\n", false),
        (&["most"], &[b'a'; 64 << 10], true),
        (&["more"], &[b'a'; (64 << 10) + 1], false),
        (&["much-more"], &[b'a'; 1 << 20], false),
        (&["Upper"], b"x", false),
        (&["--raw", "newline"], b"\n", true),
    ];
    for (args, value, fits) in cases {
        let done = set(&domain, args, value);
        assert_eq!(done.code == 0, fits, "{args:?}: {done:?}");
    }
    let listed = domain.json(&["secret", "list"]);
    assert_eq!(listed["secrets"].as_array().unwrap().len(), 2, "{listed}");
}

#[test]
fn a_value_with_a_zero_byte_is_no_variable() {
    let domain = handing();
    assert_eq!(set(&domain, &["token"], b"a\0b").code, 0);
    let said = domain.fails(DENIED, &["run", "--", "true"]);
    assert!(
        said.contains("credential_unavailable") && said.contains("zero byte"),
        "{said}"
    );
    assert!(of_kind(&domain, "started").is_empty());
}

#[test]
fn a_key_file_that_others_can_read_hands_nothing_over() {
    let domain = handing();
    set_token(&domain);
    let key = domain.dir().join("keys/secrets.key");
    set_mode(&key, 0o644);
    let said = domain.fails(DENIED, &["run", "--", "true"]);
    assert!(
        said.contains("credential_unavailable") && said.contains("chmod 600"),
        "{said}"
    );
    assert_eq!(set(&domain, &["other"], b"x").code, DENIED);
    let listed = domain.run(&["secret", "list"]);
    assert!(listed.stderr.contains("open to others"), "{listed:?}");
    set_mode(&key, 0o600);
    domain.ok(&["run", "--", "true"]);
}

#[test]
fn a_store_that_was_tampered_with_is_refused() {
    let domain = handing();
    set_token(&domain);
    let old = fs::read(store(&domain)).unwrap();
    assert_eq!(set(&domain, &["other"], b"another").code, 0);
    let good = fs::read(store(&domain)).unwrap();
    let half = good.len() / 2;
    let refused = |what: &str| {
        let said = domain.fails(DENIED, &["run", "--", "true"]);
        assert!(said.contains("credential_unavailable"), "{what}: {said}");
        assert_eq!(set(&domain, &["third"], b"x").code, DENIED, "{what}");
        assert!(of_kind(&domain, "started").is_empty(), "{what}");
    };
    flip(&store(&domain), half);
    refused("a flipped byte");
    fs::write(store(&domain), &good[..half]).unwrap();
    refused("cut");
    fs::write(store(&domain), &old).unwrap();
    refused("put back");
    domain.stop();
    refused("put back, another node");
    fs::remove_file(store(&domain)).unwrap();
    refused("gone");
    fs::write(store(&domain), &good).unwrap();
    domain.ok(&["run", "--", "true"]);
}

#[test]
fn a_neighbour_and_a_child_have_only_what_their_own_scopes_name() {
    let domain = handing();
    set_token(&domain);
    let look = "env | grep -c THE_TOKEN; ls /run/placet/credentials 2>/dev/null | wc -l";
    let agent = domain.run(&["run", "--as", "agent:coder", "--", "sh", "-c", look]);
    assert_eq!(agent.stdout, "0\n0\n", "{agent:?}");
    // The agent's profile names none, so a child of an operator's execution has none either.
    let child = format!("/run/placet/placet run --as agent:coder -- sh -c '{look}'");
    let said = domain.run(&["run", "--", "sh", "-c", &child]);
    assert_eq!(said.stdout, "0\n0\n", "{said:?}");
    // A child with the same profile has them by its own decision.
    let child = "/run/placet/placet run -- sh -c 'echo $THE_TOKEN'";
    assert_eq!(
        domain.ok(&["run", "--", "sh", "-c", child]),
        format!("{VALUE}\n")
    );
    let started = of_kind(&domain, "started");
    let handed = started
        .iter()
        .filter(|one| one["record"]["credentials"].is_array());
    assert_eq!((started.len(), handed.count()), (5, 3));
    domain.stop();
    assert_eq!(holds_value(&domain.dir()), None);
}

#[test]
fn a_child_has_nothing_that_its_parent_lacks() {
    let domain = handing();
    set_token(&domain);
    let job = domain.start(&["run", "--as", "agent:coder", "--", "sleep", "60"]);
    let parent = await_some("the parent", || {
        let all = domain.executions();
        let one = all.last().filter(|one| one["status"] == "running")?;
        Some(one["exec"].as_str().unwrap().to_owned())
    });
    let said = domain.run(&[
        "run",
        "--parent",
        &parent,
        "--",
        "sh",
        "-c",
        "echo [$THE_TOKEN]",
    ]);
    assert!(!said.stdout.contains(VALUE), "{said:?}");
    domain.ok(&["revoke", &parent, "--reason", "enough"]);
    assert_eq!(
        job.wait_with_output().unwrap().status.code(),
        Some(TERMINATED)
    );
}

#[test]
fn what_is_revoked_while_it_runs_ends_with_its_secrets() {
    let domain = handing();
    set_token(&domain);
    let job = domain.start(&[
        "run",
        "--",
        "sh",
        "-c",
        "cat $THE_TOKEN_FILE; sleep 60; echo never",
    ]);
    let exec = await_some("the job", || {
        let all = domain.executions();
        let one = all.last().filter(|one| one["status"] == "running")?;
        Some(one["exec"].as_str().unwrap().to_owned())
    });
    // Removed: it ends nothing, and nobody else gets it.
    domain.ok(&["secret", "rm", "token"]);
    domain.fails(DENIED, &["run", "--", "true"]);
    domain.ok(&["revoke", &exec, "--reason", "enough"]);
    let ended = job.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(TERMINATED));
    assert!(!String::from_utf8_lossy(&ended.stdout).contains("never"));
}

#[test]
fn the_supervisor_and_the_node_do_not_show_a_secret() {
    let domain = handing();
    set_token(&domain);
    let job = domain.start(&["run", "--", "sh", "-c", "echo up; sleep 60"]);
    let supervisor = job.id();
    let exec = await_some("the job", || {
        let all = domain.executions();
        let one = all.last().filter(|one| one["status"] == "running")?;
        Some(one["exec"].as_str().unwrap().to_owned())
    });
    let node = domain.json(&["node", "status"])["pid"].as_u64().unwrap();
    for pid in [u64::from(supervisor), node] {
        for file in ["cmdline", "environ"] {
            let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(
                !String::from_utf8_lossy(&shown).contains(VALUE),
                "{pid} {file}"
            );
        }
        assert_eq!(
            in_memory(pid),
            Vec::<String>::new(),
            "process {pid}, node {node}"
        );
    }
    // The search itself finds what is there.
    let worker = await_some("the worker", || {
        let children = format!("/proc/{supervisor}/task");
        let children = fs::read_dir(children).unwrap().find_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("children")).ok()?;
            text.split_whitespace().next().map(str::to_owned)
        })?;
        let pid1 = format!("/proc/{children}/task/{children}/children");
        let text = fs::read_to_string(pid1).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    assert!(!in_memory(worker).is_empty(), "the worker has its secret");
    domain.ok(&["revoke", &exec, "--reason", "enough"]);
    assert_eq!(
        job.wait_with_output().unwrap().status.code(),
        Some(TERMINATED)
    );
}

/// Where the value stands in the memory of a process. Needs to be root, as in CI.
fn in_memory(pid: u64) -> Vec<String> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let pages = fs::File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let value = VALUE.as_bytes();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let page = |text: &str| u64::from_str_radix(text, 16).unwrap() / PAGE;
        let (start, end) = (page(start), page(end));
        let mut entries = vec![0; usize::try_from((end - start) * 8).unwrap()];
        if pages.read_exact_at(&mut entries, start * 8).is_err() {
            continue;
        }
        // An allocator reserves a gigabyte that nobody has touched. What is present, or swapped out, has something in it.
        let is_used: Vec<bool> = entries.chunks(8).map(|one| one[7] & 0xc0 != 0).collect();
        let mut at = 0;
        for run in is_used.chunk_by(|a, b| a == b) {
            let (from, used) = (start + at, run[0]);
            at += run.len() as u64;
            let len = if used { run.len() } else { 0 };
            let mut bytes = vec![0; len * usize::try_from(PAGE).unwrap()];
            if used && memory.read_exact_at(&mut bytes, from * PAGE).is_ok() {
                let places = bytes.windows(value.len()).enumerate();
                let places = places.filter(|(_, part)| *part == value);
                found.extend(places.map(|(at, _)| format!("{line}: {at}")));
            }
        }
    }
    found
}

const PAGE: u64 = 4096;

#[test]
fn what_operators_do_at_once_is_done_one_after_the_other() {
    let domain = handing();
    thread::scope(|scope| {
        for who in 0..8 {
            let domain = &domain;
            scope.spawn(move || {
                let name = format!("name-{}", who % 3);
                let done = set(domain, &[&name], format!("value {who}").as_bytes());
                assert_eq!(done.code, 0, "{done:?}");
            });
        }
    });
    let listed = domain.json(&["secret", "list"]);
    assert!(listed["trouble"].is_null(), "{listed}");
    let versions: Vec<u64> = of_kind(&domain, "secret")
        .iter()
        .map(|one| one["record"]["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, (1..=8).collect::<Vec<u64>>());
}

#[test]
fn many_runs_at_once_each_get_the_secret() {
    let domain = Domain::new();
    // So many cells take their time on a small machine.
    domain.activate_changed(&[
        ("profiles/operator.toml", "[limits]", TOKEN),
        (
            "profiles/operator.toml",
            "interval = \"2s\"",
            "interval = \"60s\"",
        ),
        (
            "profiles/operator.toml",
            "staleness = \"10s\"",
            "staleness = \"90s\"",
        ),
    ]);
    set_token(&domain);
    let runs: Vec<_> = (0..100)
        .map(|_| domain.start(&["run", "--", "sh", "-c", "echo $THE_TOKEN"]))
        .collect();
    // A change of another secret in between takes its turn.
    assert_eq!(set(&domain, &["other"], b"x").code, 0);
    for run in runs {
        let done = run.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&done.stdout),
            format!("{VALUE}\n"),
            "{done:?}"
        );
    }
}

#[test]
fn a_new_key_opens_what_the_old_one_closed() {
    let domain = handing();
    set_token(&domain);
    let key = domain.dir().join("keys/secrets.key");
    let old = fs::read(&key).unwrap();
    domain.ok(&["secret", "rotate-key"]);
    assert_ne!(fs::read(&key).unwrap(), old);
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        domain.ok(&["run", "--", "sh", "-c", "echo $THE_TOKEN"]),
        format!("{VALUE}\n")
    );
    fs::write(&key, old).unwrap();
    let said = domain.fails(DENIED, &["run", "--", "true"]);
    assert!(said.contains("another key"), "{said}");
}

#[test]
fn a_node_killed_while_secrets_change_leaves_the_old_value_or_the_new_one() {
    let domain = handing();
    set_token(&domain);
    for round in 0..6_u64 {
        let pid = domain.json(&["node", "status"])["pid"].as_i64().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let value = format!("{VALUE}-{round}");
        let before = domain.ok(&["run", "--", "sh", "-c", "echo $THE_TOKEN"]);
        let killer = thread::spawn(move || {
            thread::sleep(std::time::Duration::from_millis(4 * round));
            // The node may have left by itself.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or(());
        });
        let done = set(&domain, &["token"], value.as_bytes());
        killer.join().unwrap();
        let after = domain.ok(&["run", "--", "sh", "-c", "echo $THE_TOKEN"]);
        if done.code == 0 {
            assert_eq!(after, format!("{value}\n"), "{round}");
        } else {
            assert!(
                after == before || after == format!("{value}\n"),
                "{round}: {after}"
            );
        }
        assert!(domain.json(&["secret", "list"])["trouble"].is_null());
    }
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn only_operators_change_secrets_and_no_command_inside_does() {
    let domain = handing();
    set_token(&domain);
    let inside = "/run/placet/placet secret list; echo $?; ls $PLACET_DOMAIN 2>/dev/null | wc -l";
    let said = domain.run(&["run", "--", "sh", "-c", inside]);
    assert!(
        said.stdout.ends_with("0\n") && !said.stdout.starts_with("SECRET"),
        "{said:?}"
    );
    domain.ok(&["principal", "suspend", "user:op"]);
    let done = set(&domain, &["token"], VALUE.as_bytes());
    assert_eq!(done.code, DENIED, "{done:?}");
    assert!(done.stderr.contains("identity_unverified"), "{done:?}");
    let refused = of_kind(&domain, "refused").pop().unwrap();
    assert_eq!(refused["record"]["stage"], "control", "{refused}");
    domain.stop();
    assert_eq!(holds_value(&domain.dir()), None);
}

#[test]
fn a_variable_is_passed_on_or_a_credential_and_not_both() {
    let domain = Domain::new();
    let dir = domain.path("bundle");
    let at = dir.to_str().unwrap();
    domain.ok(&["policy", "init", at]);
    let file = dir.join("profiles/operator.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (table, expected) in [
        ("name = \"token\"\nenv = \"EDITOR\"", "EDITOR"),
        ("name = \"token\"\nenv = \"PATH\"", "environment variable"),
        ("name = \"token\"", "needs one of"),
        (
            "name = \"token\"\nenv = \"A\"\nfile = \"a\"",
            "needs one of",
        ),
        ("name = \"token\"\nfile = \"../a\"", "credential file"),
        (
            "name = \"token\"\nenv = \"A\"\n[[credentials]]\nname = \"b\"\nenv = \"A\"",
            "two credentials",
        ),
    ] {
        let credentials = format!("[[credentials]]\n{table}\n\n[limits]");
        fs::write(&file, text.replacen("[limits]", &credentials, 1)).unwrap();
        let ran = domain.run(&["policy", "check", at]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code != 0 && said.contains(expected), "{table}: {said}");
    }
}

#[test]
fn nothing_else_of_the_callers_environment_is_in_a_cell() {
    let domain = handing();
    set_token(&domain);
    let mut command = domain.command(&["run", "--", "env"]);
    let planted = [
        "AWS_SECRET_ACCESS_KEY",
        "SSH_AUTH_SOCK",
        "LD_PRELOAD_X",
        "THE_TOKEN",
        "FOO",
    ];
    for name in planted {
        command.env(name, "planted");
    }
    let said = crate::domain::ran(command.env("EDITOR", "ed"));
    assert_eq!(said.code, 0, "{said:?}");
    let profile = fs::read_to_string(domain.path("bundle/profiles/operator.toml")).unwrap();
    for line in said.stdout.lines() {
        let (name, value) = line.split_once('=').unwrap();
        assert_ne!(value, "planted", "{line}");
        assert!(profile.contains(&format!("\"{name}\"")), "{line}");
    }
    assert!(said.stdout.contains("EDITOR=ed"), "{said:?}");
}
