//! The process gateway's promises: what an agent's work is, what is refused, what a permitted shell
//! cannot reach, and what a gateway takes for a permit.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::domain::{DENIED, Domain, Ran, UNVERIFIED, ran};
use crate::job::Job;

/// A domain whose agent works in a repository with one commit, and whose user has secrets beside it.
fn at_work() -> Domain {
    let domain = Domain::new();
    fs::create_dir(domain.path("home/.ssh")).unwrap();
    fs::write(domain.path("home/.ssh/id_ed25519"), "a secret key\n").unwrap();
    fs::write(domain.path("thesis"), "years of work\n").unwrap();
    fs::write(
        domain.work().join("sum.py"),
        "def add(a, b):\n    return a - b\n",
    )
    .unwrap();
    let test = "import unittest, sum\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(sum.add(2, 2), 4)\n";
    fs::write(domain.work().join("test_sum.py"), test).unwrap();
    let config = "[user]\n\tname = A\n\temail = a@example.org\n[init]\n\tdefaultBranch = main\n";
    fs::write(domain.path("home/.gitconfig"), config).unwrap();
    let origin = domain.path("origin");
    for args in [
        &["init", "-q", "--bare", origin.to_str().unwrap()][..],
        &["init", "-q"],
        &["add", "."],
        &["commit", "-q", "-m", "first"],
        &["remote", "add", "origin", origin.to_str().unwrap()],
    ] {
        git(&domain, args);
    }
    domain
}

/// Git, as the owner of the repository uses it.
fn git(domain: &Domain, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(args)
        .current_dir(domain.work())
        .env("HOME", domain.path("home"));
    let ran = ran(&mut git);
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    ran.stdout
}

fn agent(domain: &Domain, argv: &[&str]) -> Ran {
    domain.run(&[&["run", "--as", "agent:coder", "--"], argv].concat())
}

fn last(domain: &Domain) -> Value {
    domain.executions().pop().unwrap()
}

#[test]
fn an_agents_ordinary_work_is_permitted() {
    let domain = at_work();
    // The interpreter of the system: one that a version manager made stands in a home directory.
    let python = "/usr/bin/python3";
    let steps: &[(&[&str], i32, &str)] = &[
        (&["git", "status", "--short"], 0, ""),
        (&["cat", "sum.py"], 0, "return a - b"),
        (&["grep", "-n", "return", "sum.py"], 0, "2:"),
        (&[python, "-m", "unittest", "-q"], 1, ""),
        (&["sed", "-i", "s/a - b/a + b/", "sum.py"], 0, ""),
        (&[python, "-m", "unittest", "-q"], 0, ""),
        (
            &["sh", "-c", "echo done > CHANGES && wc -l < CHANGES"],
            0,
            "1",
        ),
        (&["mkdir", "build"], 0, ""),
        (&["rm", "-r", "build"], 0, ""),
        (&["git", "add", "sum.py", "CHANGES"], 0, ""),
        (&["git", "commit", "-q", "-m", "mend the sum"], 0, ""),
        (&["git", "log", "--oneline"], 0, "mend the sum"),
    ];
    for (argv, code, says) in steps {
        let ran = agent(&domain, argv);
        assert_eq!(ran.code, *code, "{argv:?}: {ran:?}");
        assert!(ran.stdout.contains(says), "{argv:?}: {ran:?}");
        assert_eq!(last(&domain)["ended"]["exit"]["code"], *code, "{argv:?}");
    }
    assert_eq!(git(&domain, &["log", "--oneline"]).lines().count(), 2);
    domain.assert_intact();
}

#[test]
fn what_policy_forbids_is_refused_before_it_starts_and_has_no_effect() {
    let domain = at_work();
    let thesis = domain.path("thesis");
    let outside = thesis.to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["git", "push", "origin", "main"], "policy_forbids"),
        (
            &["git", "-C", ".", "push", "origin", "main"],
            "policy_forbids",
        ),
        (&["git", "-c", "alias.x=push origin main", "x"], "no_permit"),
        (&["rm", "-rf", outside], "policy_forbids"),
        (&["rm", "-rf", "../thesis"], "policy_forbids"),
        (
            &["find", "..", "-name", "thesis", "-delete"],
            "policy_forbids",
        ),
        (&["cat", "/home/x/.ssh/id_ed25519"], "policy_forbids"),
        (
            &[
                "openssl",
                "s_client",
                "-connect",
                &format!("127.0.0.1:{port}"),
            ],
            "policy_forbids",
        ),
        (&["su", "-c", "id"], "policy_forbids"),
        (&["apt-get", "install", "x"], "policy_forbids"),
    ];
    for (argv, code) in cases {
        let ran = agent(&domain, argv);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (DENIED, ""),
            "{argv:?}: {ran:?}"
        );
        assert!(ran.stderr.contains(code), "{argv:?}: {ran:?}");
        let one = last(&domain);
        assert_eq!(one["status"], "denied", "{argv:?}: {one}");
        assert_eq!(
            (&one["started"], &one["ended"]),
            (&Value::Null, &Value::Null),
            "{argv:?}"
        );
    }
    assert!(thesis.exists());
    assert!(listener.accept().is_err(), "somebody connected");
    let refs = fs::read_dir(domain.path("origin/refs/heads")).unwrap();
    assert_eq!(refs.count(), 0, "something was pushed");
    // The same, bare, does have its effect: what kept it was the refusal.
    git(&domain, &["push", "-q", "origin", "main"]);
    assert_eq!(
        fs::read_dir(domain.path("origin/refs/heads"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(agent(&domain, &["git", "status"]).code, 0);
    domain.assert_intact();
}

#[test]
fn a_permitted_shell_gets_no_further_than_its_scope() {
    let domain = at_work();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let bystander = Job::begin(&domain, &[]);
    let pid = bystander.tree()[0];
    let (home, dir) = (domain.path("home"), domain.dir());
    let (home, dir) = (home.display(), dir.display());
    // Each succeeds without a cell, as far as that does no harm.
    let attempts = [
        (format!("cat {home}/.ss*/id_*"), "No such file", true),
        (format!("ls {home}/.ss*"), "No such file", true),
        (format!("cat {home}/../thesis"), "No such file", true),
        (format!("cat {dir}/keys/*.key"), "No such file", true),
        (format!("wc -c {dir}/log/head"), "No such file", true),
        (format!("ls {dir}/node.sock"), "No such file", true),
        (format!("kill -0 {pid}"), "No such process", true),
        (format!("ls -d /proc/{pid}"), "No such file", true),
        ("unshare --user true".to_owned(), "not permitted", false),
        ("mount -t tmpfs none /tmp".to_owned(), "", false),
        (
            format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'"),
            "refused",
            true,
        ),
    ];
    for (line, says, works_bare) in &attempts {
        let ran = agent(&domain, &["sh", "-c", line]);
        assert!(ran.code != 0 && ran.code != DENIED, "{line}: {ran:?}");
        assert!(ran.stderr.contains(says), "{line}: {ran:?}");
        assert!(
            !ran.stdout.contains("secret") && !ran.stdout.contains("placet-key"),
            "{line}: {ran:?}"
        );
        if *works_bare {
            let bare = self::ran(Command::new("sh").args(["-c", line]));
            assert_eq!(bare.code, 0, "without a cell: {line}: {bare:?}");
        }
    }
    // The cell's own /tmp takes what is written there, and keeps it.
    agent(
        &domain,
        &["sh", "-c", &format!("echo x >> {home}/.profile")],
    );
    assert!(!domain.path("home/.profile").exists());
    // One connection came, and that was the bare one.
    assert!(listener.accept().is_ok());
    assert!(listener.accept().is_err(), "the cell connected");
    // A domain inside of the workspace is not to be seen there.
    let inner = domain.work().join("inner");
    let inner_name = inner.to_str().unwrap();
    domain.ok(&["--domain", inner_name, "init", "--operator", "user:op"]);
    let look = "ls -A inner; cat inner/keys/log.key; echo x > inner/log/head; ls inner/node.sock";
    let ran = domain.run(&["--domain", inner_name, "run", "--", "sh", "-c", look]);
    assert!(
        !ran.stdout.contains("keys") && !ran.stdout.contains("placet-key"),
        "{ran:?}"
    );
    assert_eq!(ran.stdout, "", "{ran:?}");
    let sound = domain.json(&["--domain", inner_name, "log", "fsck"]);
    assert_eq!(sound["sound"], true);
    domain.ok(&["--domain", inner_name, "node", "stop"]);
    assert_eq!(bystander.tree().len(), crate::job::FAMILY_SIZE);
    domain.ok(&["revoke", &bystander.exec]);
    bystander.end();
    domain.assert_intact();
}

/// Changes what the node answers on its way to a gateway.
type Tamper = Box<dyn Fn(&mut Value) + Send>;

/// Puts somebody between the node and one gateway, who changes the node's answers.
fn in_between(domain: &Domain, tamper: Tamper) -> thread::JoinHandle<()> {
    let (path, moved) = (
        domain.dir().join("node.sock"),
        domain.dir().join("moved.sock"),
    );
    fs::rename(&path, &moved).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut gateway, _) = listener.accept().unwrap();
        // Whoever comes next finds the node itself.
        fs::rename(&moved, &path).unwrap();
        let mut node = UnixStream::connect(&path).unwrap();
        let (mut up, mut down) = (gateway.try_clone().unwrap(), node.try_clone().unwrap());
        let upwards = thread::spawn(move || {
            drop(std::io::copy(&mut up, &mut down));
            drop(down.shutdown(std::net::Shutdown::Both));
        });
        let mut length = [0; 4];
        while node.read_exact(&mut length).is_ok() {
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            node.read_exact(&mut body).unwrap();
            let mut answer: Value = serde_json::from_slice(&body).unwrap();
            tamper(&mut answer);
            let body = serde_json::to_vec(&answer).unwrap();
            let frame = [
                &u32::try_from(body.len()).unwrap().to_be_bytes(),
                body.as_slice(),
            ]
            .concat();
            if gateway.write_all(&frame).is_err() {
                break;
            }
        }
        drop(gateway.shutdown(std::net::Shutdown::Both));
        upwards.join().unwrap();
    })
}

fn on_permit(change: impl Fn(&mut Value) + Send + 'static) -> Tamper {
    Box::new(move |answer| {
        if let Some(permitted) = answer.get_mut("permitted") {
            change(permitted);
        }
    })
}

/// Another character in the middle of a text.
fn bend(value: &mut Value) {
    let text = value.as_str().unwrap();
    let at = text.len() / 2;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    *value = format!("{}{other}{}", &text[..at], &text[at + 1..]).into();
}

#[test]
fn what_a_node_releases_counts_only_as_far_as_it_verifies() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    let run = |tamper: Tamper| {
        let between = in_between(&domain, tamper);
        let ran = domain.run(&["run", "--", "touch", "touched"]);
        between.join().unwrap();
        ran
    };
    // Somebody in between who changes nothing is not noticed, so that what follows is for its change.
    let kept = std::sync::Arc::new(std::sync::Mutex::new(Value::Null));
    let keep = std::sync::Arc::clone(&kept);
    let ran = run(on_permit(move |permitted| {
        *keep.lock().unwrap() = permitted.clone()
    }));
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::remove_file(domain.work().join("touched")).unwrap();
    let kept = kept.lock().unwrap().clone();

    let (artifact, receipt, whole) = (kept.clone(), kept.clone(), kept);
    let payload = |permitted: &mut Value| {
        let text = permitted["artifact"].as_str().unwrap();
        let parts: Vec<&str> = text.split('.').collect();
        // Still well-formed and canonical, so that it is the signature that refuses it.
        let mut claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        claims["exp"] = (claims["exp"].as_u64().unwrap() + 1).into();
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        permitted["artifact"] = format!("{}.{payload}.{}", parts[0], parts[2]).into();
    };
    let cases: Vec<(&str, &str, Tamper)> = vec![
        ("a claim", "invalid_signature", on_permit(payload)),
        (
            "the signature",
            "invalid_signature",
            on_permit(|it| {
                let text = it["artifact"].as_str().unwrap();
                let (head, signature) = text.rsplit_once('.').unwrap();
                let mut signature = Value::from(signature);
                bend(&mut signature);
                it["artifact"] = format!("{head}.{}", signature.as_str().unwrap()).into();
            }),
        ),
        (
            "the record",
            "receipt_invalid",
            on_permit(|it| bend(&mut it["entry"])),
        ),
        (
            "the proof",
            "receipt_invalid",
            on_permit(|it| bend(&mut it["proof"])),
        ),
        (
            "another's artifact",
            "receipt_invalid",
            on_permit(move |it| it["artifact"] = artifact["artifact"].clone()),
        ),
        (
            "another's receipt",
            "receipt_invalid",
            on_permit(move |it| {
                it["entry"] = receipt["entry"].clone();
                it["proof"] = receipt["proof"].clone();
            }),
        ),
        (
            "a used permit, whole",
            "intent_mismatch",
            on_permit(move |it| *it = whole.clone()),
        ),
        (
            "the policy in force",
            "policy_mismatch",
            on_permit(|it| {
                it["active"] = format!("sha256:{}", "0".repeat(64)).into();
            }),
        ),
    ];
    for (name, code, tamper) in cases {
        let ran = run(tamper);
        assert_eq!(ran.code, UNVERIFIED, "{name}: {ran:?}");
        assert!(ran.stderr.contains(code), "{name}: {code}: {ran:?}");
        assert!(!domain.work().join("touched").exists(), "{name}");
        let tail = domain.ok(&["log", "tail", "-n", "1", "--json"]);
        let record = crate::domain::parsed(&tail);
        assert_eq!(
            (&record["kind"], &record["record"]["denial"]["code"]),
            (&"refused".into(), &code.into()),
            "{name}: {record}"
        );
    }
    // The keys of a domain that is not this one.
    let ran = run(Box::new(|answer| {
        if let Some(welcome) = answer.get_mut("welcome") {
            bend(&mut welcome["genesis"]);
        }
    }));
    assert_eq!(ran.code, UNVERIFIED, "{ran:?}");
    assert!(!domain.work().join("touched").exists());
    domain.await_no_open_permit();
}

#[test]
fn the_cell_is_made_of_the_artifact_and_not_of_what_the_node_says_beside_it() {
    let domain = at_work();
    domain.ok(&["run", "--", "true"]);
    let secret = domain.path("home/.ssh");
    let wider = secret.to_str().unwrap().to_owned();
    let between = in_between(
        &domain,
        on_permit(move |permitted| {
            for list in ["read", "write"] {
                permitted["scope"][list]
                    .as_array_mut()
                    .unwrap()
                    .push(wider.clone().into());
            }
        }),
    );
    let line = format!("cat {}/id_ed25519", secret.display());
    let ran = domain.run(&["run", "--", "sh", "-c", &line]);
    between.join().unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("No such file") && ran.stdout.is_empty(),
        "{ran:?}"
    );
    domain.assert_intact();
}
