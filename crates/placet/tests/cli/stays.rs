//! A gateway that stays: `placet run` finds one, and is the same with it as without.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::domain::{
    DENIED, Domain, NOT_FOUND, Ran, TERMINATED, await_some, parsed, placet, ran, stand_like,
};
use crate::job::{living, mark, send};

/// A domain whose node offers gateways, with one that waits.
fn offering() -> Domain {
    let domain = Domain::new();
    domain.stop();
    fs::write(domain.dir().join("placet.toml"), "gateways = 1\n").unwrap();
    assert_eq!(domain.run(&["run", "--", "true"]).code, 0);
    await_gateway(&domain);
    domain
}

fn socket(domain: &Domain) -> PathBuf {
    domain.dir().join("gateways/0.sock")
}

fn await_gateway(domain: &Domain) -> u32 {
    await_some("a gateway that waits", || {
        let pid = said(domain)["pid"].as_u64()?;
        socket(domain).exists().then_some(())?;
        u32::try_from(pid).ok()
    })
}

/// What the one gateway says of itself.
fn said(domain: &Domain) -> Value {
    domain.json(&["gateway", "status"])["gateways"][0].clone()
}

fn served(domain: &Domain) -> u64 {
    await_gateway(domain);
    said(domain)["served"].as_u64().unwrap()
}

/// A command that runs until it is ended.
struct Long {
    child: Child,
    mark: String,
    exec: String,
}

impl Long {
    fn begin(domain: &Domain) -> Self {
        let mark = mark();
        let script = format!("trap '' TERM INT HUP; sleep {mark} & setsid sleep {mark} & wait");
        let child = domain.start(&["run", "--", "sh", "-c", &script]);
        let mut long = Self {
            child,
            mark,
            exec: String::new(),
        };
        await_some("the command", || (long.tree() == 3).then_some(()));
        let last = domain.json(&["executions", "--limit", "1"]);
        assert_eq!(last[0]["status"], "running", "{last}");
        long.exec = last[0]["exec"].as_str().unwrap().to_owned();
        long
    }

    /// How many processes are left of it, the caller not counted.
    fn tree(&self) -> usize {
        let mut all = living(&self.mark);
        all.retain(|pid| *pid != self.child.id());
        all.len()
    }

    fn await_gone(&self) {
        await_some("the end of the tree", || (self.tree() == 0).then_some(()));
    }

    /// How the caller left, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        let code = self.child.wait().unwrap().code();
        assert_eq!(self.tree(), 0, "something is left of it");
        (code, said)
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        // One that has ended has nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Without what differs from one run to the next: indices and ids.
fn normalized(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let is_id = word.contains("exec_") || word.trim().bytes().all(|b| b.is_ascii_digit());
        out.push_str(if is_id { "# " } else { word });
    }
    out
}

/// What a command does as a caller sees it, and the kinds of its records.
fn seen(domain: &Domain, args: &[&str]) -> (i32, String, String, Vec<String>) {
    let records = |count: &str| -> Vec<Value> {
        let records = domain.ok(&["log", "tail", "-n", count, "--json"]);
        records.lines().map(parsed).collect()
    };
    let before = records("1")[0]["index"].as_u64();
    let Ran {
        code,
        stdout,
        stderr,
    } = domain.run(args);
    let kinds = records("20")
        .iter()
        .filter(|record| record["index"].as_u64() > before)
        .map(|record| format!("{} {}", record["kind"], record["record"]["outcome"]))
        .collect();
    (code, stdout, normalized(&stderr), kinds)
}

#[test]
fn words_statuses_and_records_are_the_same() {
    let (alone, with) = (Domain::new(), offering());
    let cases: [(i32, &[&str]); 9] = [
        (0, &["run", "--", "sh", "-c", "echo out; echo err >&2"]),
        (3, &["run", "--", "sh", "-c", "exit 3"]),
        (-1, &["run", "--", "sh", "-c", "kill -KILL $$"]),
        (NOT_FOUND, &["run", "--", "no-such-program"]),
        (DENIED, &["run", "--as", "agent:coder", "--", "git", "push"]),
        (
            DENIED,
            &["run", "--json", "--as", "agent:nobody", "--", "ls"],
        ),
        (
            0,
            &[
                "run",
                "--purpose",
                "look",
                "--",
                "sh",
                "-c",
                "basename $PWD; umask; id -u",
            ],
        ),
        (
            1,
            &[
                "run",
                "--",
                "sh",
                "-c",
                "touch /etc/there; cat < /dev/null; test -t 1",
            ],
        ),
        (0, &["shell", "-c", "echo from the shell"]),
    ];
    let before = served(&with);
    for (code, args) in cases {
        let (bare, resident) = (seen(&alone, args), seen(&with, args));
        assert_eq!(bare.0, code, "{args:?}: {bare:?}");
        assert_eq!(resident, bare, "{args:?}");
    }
    assert_eq!(served(&with) - before, cases.len() as u64);
    assert!(
        said(&with)["taken"].as_u64().unwrap() > 0,
        "{}",
        said(&with)
    );
    with.assert_intact();
}

#[test]
fn streams_directory_and_environment_are_the_callers_own_and_nothing_of_them_stays() {
    let domain = offering();
    let inside = domain.work().join("inside");
    fs::create_dir(&inside).unwrap();
    let output = fs::File::create(domain.path("output")).unwrap();
    let mut command = domain.command(&["run", "--", "sh", "-c", "cat; pwd; printenv LANG"]);
    command
        .current_dir(&inside)
        .env("LANG", "of-the-first")
        .env("NOT_OFFERED", "kept-by-the-first")
        .stdin(fs::File::open("/proc/sys/kernel/ostype").unwrap())
        .stdout(output);
    let before = served(&domain);
    assert!(command.status().unwrap().success());
    let said = fs::read_to_string(domain.path("output")).unwrap();
    let at = fs::canonicalize(&inside).unwrap();
    assert_eq!(said, format!("Linux\n{}\nof-the-first\n", at.display()));
    let mut second = domain.command(&["run", "--", "sh", "-c", "printenv; pwd; wc -c"]);
    let second = ran(second.env_remove("LANG"));
    assert_eq!(served(&domain) - before, 2);
    assert!(!second.stdout.contains("the-first"), "{second:?}");
    assert!(second.stdout.ends_with("/work\n0\n"), "{second:?}");
    // While it waits it has no file, no directory and no stream of anybody.
    let pid = await_gateway(&domain);
    let at = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(at("cwd"), Path::new("/"));
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(at(stream), Path::new("/dev/null"), "{stream}");
    }
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("PLACET_PRINCIPAL"));
}

/// A control group beside that of this process.
struct OtherGroup(PathBuf);

impl OtherGroup {
    fn make() -> Self {
        let name = format!("placet-test-{}", std::process::id());
        let hierarchies = [
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup",
        ];
        let made = hierarchies.into_iter().find_map(|at| {
            let group = Path::new(at).join(&name);
            fs::create_dir(&group).ok().map(|()| Self(group))
        });
        made.expect("a hierarchy that root can make a group in")
    }

    /// What brings a shell into it.
    fn entering(&self) -> String {
        format!("echo $$ > {}/cgroup.procs; exec", self.0.display())
    }
}

impl Drop for OtherGroup {
    fn drop(&mut self) {
        // What cells leave below it would be removed by the next of them. The last process may take a moment.
        let remove = |dir: &Path| {
            let all = Command::new("find")
                .arg(dir)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .stderr(Stdio::null())
                .status();
            drop(all);
            !dir.exists()
        };
        await_some("an empty group", || remove(&self.0).then_some(()));
    }
}

/// In a mount namespace that gateway and caller share: the same files below another root directory.
#[test]
fn a_caller_below_another_root_is_declined() {
    if !geteuid().is_root() {
        return;
    }
    let domain = Domain::new();
    domain.stop();
    fs::write(domain.dir().join("placet.toml"), "gateways = 1\n").unwrap();
    let root = domain.path("root");
    fs::create_dir(&root).unwrap();
    let script = format!(
        r#"set -e
        "$0" run -- true
        for i in $(seq 600); do test -e {domain}/gateways/0.sock && break; sleep 0.1; done
        "$0" run -- echo served
        mount -t tmpfs none {root}
        for from in /*; do
            if test -L "$from"; then cp -P "$from" {root}; continue; fi
            test -d "$from" || continue
            mkdir {root}"$from"
            mount --rbind "$from" {root}"$from"
        done
        for i in $(seq 600); do test -e {domain}/gateways/0.sock && break; sleep 0.1; done
        chroot {root} sh -c 'cd {work} && exec "$0" run -- true' "$0" || echo "by itself: $?"
        for i in $(seq 600); do "$0" gateway status --json | grep -q '"root":1' && break; sleep 0.1; done
        "$0" gateway status --json"#,
        domain = domain.dir().display(),
        root = root.display(),
        work = domain.work().display(),
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    shell.arg(env!("CARGO_BIN_EXE_placet")).stdin(Stdio::null());
    stand_like(&mut shell, &domain.command(&[]));
    let ran = ran(&mut shell);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"served"), "{ran:?}");
    let said = parsed(lines.last().unwrap());
    let gateway = &said["gateways"][0];
    assert_eq!(
        (&gateway["served"], &gateway["declined"]["root"]),
        (&1.into(), &1.into()),
        "{ran:?}"
    );
}

/// Each way in which a caller can stand otherwise, with a command that tells of it where a command can.
#[test]
fn a_caller_that_stands_otherwise_runs_by_itself_with_what_it_has() {
    let domain = offering();
    let run_by = |binary: &str, prefix: &str, inside: &str| {
        let script = format!("{prefix} {binary} run -- sh -c '{inside}'");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null());
        stand_like(&mut shell, &domain.command(&[]));
        let ran = ran(&mut shell);
        assert_eq!(ran.code, 0, "{prefix}: {ran:?}");
        ran.stdout
    };
    let mut cases = vec![
        ("umask 027; exec", "umask", "0027\n", "Umask"),
        ("ulimit -n 100; exec", "true", "", "limits"),
        ("exec nice -n 3", "true", "", "scheduling"),
        ("exec env NO_COLOR=1", "true", "", "environment"),
        ("exec ionice -c 3", "ionice | cut -c1-4", "idle\n", "ionice"),
        (
            "echo 300 > /proc/self/oom_score_adj; exec",
            "true",
            "",
            "oom_score_adj",
        ),
        ("exec setarch -R", "true", "", "personality"),
        ("exec taskset 1", "nproc", "1\n", "Cpus_allowed"),
    ];
    if geteuid().is_root() {
        cases.extend([
            ("exec unshare --mount", "true", "", "namespaces"),
            ("exec unshare --uts", "true", "", "namespaces"),
            ("exec setpriv --groups 7", "true", "", "Groups"),
            (
                "exec setpriv --bounding-set -sys_module",
                "true",
                "",
                "CapPrm",
            ),
            ("exec setpriv --no-new-privs", "true", "", "NoNewPrivs"),
        ]);
    }
    let run = |prefix: &str, inside: &str| run_by(env!("CARGO_BIN_EXE_placet"), prefix, inside);
    let before = served(&domain);
    let group = geteuid().is_root().then(OtherGroup::make);
    let enter = group.as_ref().map(OtherGroup::entering);
    if let Some(enter) = &enter {
        cases.push((enter.as_str(), "true", "", "cgroup"));
    }
    for (prefix, inside, expected, part) in cases {
        let declined = |said: &Value| said["declined"][part].as_u64().unwrap_or_default();
        let earlier = declined(&said(&domain));
        let told = run(prefix, inside);
        assert_eq!(told, expected, "{prefix}");
        await_some(part, || (declined(&said(&domain)) > earlier).then_some(()));
    }
    // Another program.
    let copy = domain.path("placet-copy");
    fs::copy(env!("CARGO_BIN_EXE_placet"), &copy).unwrap();
    run_by(copy.to_str().unwrap(), "", "true");
    assert_eq!(served(&domain), before);
    // Ignored signals are no such difference.
    assert_eq!(run("trap \"\" HUP INT; exec", "echo served"), "served\n");
    assert_eq!(served(&domain), before + 1);
}

#[test]
fn the_end_of_the_caller_ends_its_command() {
    let domain = offering();
    let before = served(&domain);
    let mut long = Long::begin(&domain);
    long.child.kill().unwrap();
    long.await_gone();
    await_some("the record of the end", || {
        let last = domain.json(&["executions", "--limit", "1"]);
        (last[0]["status"] != "running").then_some(())
    });
    assert_eq!(served(&domain), before + 1);
    assert_eq!(domain.ok(&["run", "--", "echo", "goes on"]), "goes on\n");
}

#[test]
fn a_signal_reaches_the_command() {
    let domain = offering();
    let script = "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let mut child = domain.start(&["run", "--", "sh", "-c", script]);
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    send(child.id(), Signal::USR1);
    let mut rest = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut rest).unwrap();
    assert_eq!(rest, "got it\n");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn a_killed_gateway_takes_its_command_along_and_the_caller_says_so() {
    let domain = offering();
    let long = Long::begin(&domain);
    let pid = said(&domain)["pid"].as_u64().unwrap();
    send(u32::try_from(pid).unwrap(), Signal::KILL);
    long.await_gone();
    let (code, said_by_caller) = long.end();
    assert_eq!(code, Some(TERMINATED), "{said_by_caller}");
    assert!(
        said_by_caller.contains("authorization_discontinuity"),
        "{said_by_caller}"
    );
    await_some("the record of the end", || {
        let last = domain.json(&["executions", "--limit", "1"]);
        (last[0]["status"] != "running").then_some(())
    });
    // Another one comes with the next command.
    assert_eq!(domain.ok(&["run", "--", "echo", "goes on"]), "goes on\n");
    assert_ne!(u64::from(await_gateway(&domain)), pid);
}

#[test]
fn what_ends_authority_ends_what_a_gateway_runs() {
    let domain = offering();
    let before = served(&domain);
    let long = Long::begin(&domain);
    domain.ok(&["revoke", &long.exec]);
    assert_eq!(long.end().0, Some(TERMINATED));
    let long = Long::begin(&domain);
    domain.ok(&["halt"]);
    assert_eq!(long.end().0, Some(TERMINATED));
    domain.fails(DENIED, &["run", "--", "true"]);
    domain.ok(&["resume"]);
    domain.ok(&["run", "--", "true"]);
    assert_eq!(served(&domain), before + 4);
    domain.assert_intact();
}

#[test]
fn a_gateway_outlives_its_node_and_a_changed_bundle_and_leaves_when_it_is_offered_no_more() {
    let domain = offering();
    domain.ok(&["run", "--", "true"]);
    let pid = await_gateway(&domain);
    // Killed: nothing says that it is offered no more, and its nonces are of no use to the next one.
    let node = domain.json(&["node", "status"])["pid"].as_u64().unwrap();
    send(u32::try_from(node).unwrap(), Signal::KILL);
    let before = served(&domain);
    domain.ok(&["run", "--", "true"]);
    fs::write(domain.work().join("Makefile"), "all:\n").unwrap();
    domain.activate_changed(&[(
        "profiles/operator.toml",
        "exec_in_writable = true",
        "exec_in_writable = true\npinned = [\"${workspace}/Makefile\"]",
    )]);
    domain.ok(&["run", "--", "true"]);
    let last = domain.ok(&["log", "tail", "-n", "2", "--json"]);
    assert!(last.contains("\"pinned\""), "{last}");
    assert_eq!(served(&domain), before + 2);
    assert_eq!(await_gateway(&domain), pid);
    domain.stop();
    await_some("the end of the gateway", || {
        (!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    });
    assert!(!socket(&domain).exists());
}

#[test]
fn nobody_in_a_cell_and_no_other_user_reaches_a_gateway() {
    let domain = offering();
    let socket = fs::canonicalize(domain.dir())
        .unwrap()
        .join("gateways/0.sock");
    let named = format!(
        "exec_in_writable = true\nsockets = [\"{}\"]",
        socket.display()
    );
    domain.activate_changed(&[("profiles/operator.toml", "exec_in_writable = true", &named)]);
    let script = format!(
        "import socket\nfor kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM):\n    try:\n        socket.socket(socket.AF_UNIX, kind).connect('{}')\n        print('reached')\n    except OSError as e:\n        print(e.errno)\n",
        socket.display()
    );
    let said = domain.ok(&["run", "--", "/usr/bin/python3", "-c", &script]);
    assert!(!said.contains("reached"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    let found = fs::metadata(domain.dir().join("gateways")).unwrap();
    assert_eq!(found.mode() & 0o777, 0o700);
    if geteuid().is_root() {
        let before = served(&domain);
        let mut other = Command::new("setpriv");
        other.args(["--reuid", "65534", "--clear-groups", "--"]);
        other.arg(env!("CARGO_BIN_EXE_placet"));
        other
            .arg("--domain")
            .arg(domain.dir())
            .args(["run", "--", "true"]);
        assert_ne!(ran(&mut other).code, 0);
        assert_eq!(served(&domain), before);
    }
}

#[test]
fn a_command_at_a_terminal_is_handed_over_with_it() {
    let domain = offering();
    let before = served(&domain);
    let script = "import os, pty, sys\nstatus = pty.spawn(sys.argv[1:])\nsys.exit(os.waitstatus_to_exitcode(status))\n";
    let mut python = Command::new("python3");
    python.args(["-c", script, env!("CARGO_BIN_EXE_placet")]);
    python.args([
        "run",
        "--",
        "sh",
        "-c",
        "test -t 0 && test -t 1 && stty size && exit 5",
    ]);
    python.stdin(Stdio::null());
    stand_like(&mut python, &domain.command(&[]));
    let ran = ran(&mut python);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_eq!(served(&domain), before + 1);
}

#[test]
fn none_waits_where_none_is_offered() {
    let domain = Domain::new();
    domain.ok(&["run", "--", "true"]);
    assert_eq!(domain.json(&["gateway", "status"])["offered"], 0);
    assert!(!domain.dir().join("gateways").exists());
    let mut check = placet(&["config", "check"]);
    fs::write(domain.dir().join("placet.toml"), "gateways = 9\n").unwrap();
    let refused = ran(check.env("PLACET_DOMAIN", domain.dir()));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("gateways"), "{refused:?}");
}
