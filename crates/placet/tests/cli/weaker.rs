//! Tier U0, as a user meets it whose machine or container refuses user namespaces: denied where nobody has
//! accepted it by name, and where somebody has, enforced, and said in each decision.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::domain::{DENIED, Domain, Ran, TERMINATED, await_some, parsed, ran, stand_like};
use crate::job::{living, mark};

/// Becomes a program for which no user namespace is made, as Docker's default filter refuses them.
const REFUSING: &str = r#"
import ctypes, os, platform, struct, sys
clone, clone3, unshare = (56, 435, 272) if platform.machine() == "x86_64" else (220, 435, 97)
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, EPERM, ENOSYS, NEW_USER = 0x7fff0000, 0x50001, 0x50026, 0x10000000
steps = [(LOAD, 0, 0, 0), (EQUAL, clone3, 5, 0), (EQUAL, clone, 1, 0), (EQUAL, unshare, 0, 2),
    (LOAD, 16, 0, 0), (ANY_BIT, NEW_USER, 2, 0),
    (RETURN, ALLOW, 0, 0), (RETURN, ENOSYS, 0, 0), (RETURN, EPERM, 0, 0)]
program = b"".join(struct.pack("HBBI", code, jt, jf, k) for code, k, jt, jf in steps)
buffer = ctypes.create_string_buffer(program, len(program))
libc = ctypes.CDLL(None, use_errno=True)
if os.geteuid() != 0:
    libc.prctl(38, 1, 0, 0, 0)
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(buffer)))
if libc.prctl(22, 2, fprog) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// What tier U0 does not give.
const WEAKER: [&str; 5] = [
    "code_from_writable",
    "shared_network",
    "shared_processes",
    "unbounded_tmp",
    "visible_metadata",
];

/// A command of a domain, where user namespaces are refused.
pub(crate) fn refusing(domain: &Domain, args: &[&str]) -> Command {
    let placet = domain.command(args);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", REFUSING]).arg(placet.get_program());
    command.args(placet.get_args());
    stand_like(&mut command, &placet);
    command.stdin(Stdio::null());
    command
}

fn weaker(domain: &Domain, args: &[&str]) -> Ran {
    ran(&mut refusing(domain, args))
}

/// A domain that accepts tier U0 on its machines, and whose operators' profile has these words, and these
/// trip limits.
fn accepting(profile: &str, trips: &str) -> Domain {
    let domain = Domain::new();
    let profile = format!("{profile}\nexec_in_writable = true");
    let trips = format!("{trips}\n[lease]");
    domain.activate_changed(&[
        ("reference.toml", "tiers = [\"U1\"]", "tiers = [\"U0\"]"),
        (
            "profiles/operator.toml",
            "exec_in_writable = true",
            &profile,
        ),
        ("profiles/operator.toml", "[lease]", &trips),
    ]);
    domain
}

/// What the last decision says of the machine.
fn environment(domain: &Domain) -> Value {
    let tail = domain.ok(&["log", "tail", "-n", "99", "--json"]);
    let mut decided = tail
        .lines()
        .map(parsed)
        .filter(|it| it["kind"] == "decided");
    decided.next_back().unwrap()["record"]["facts"]["environment"].clone()
}

#[test]
fn a_machine_of_a_weaker_tier_is_denied_until_it_is_accepted_by_name() {
    let domain = Domain::new();
    let marked = domain.work().join("ran");
    let touch = ["run", "--", "touch", marked.to_str().unwrap()];
    let refused = weaker(&domain, &touch);
    assert_eq!(refused.code, DENIED, "{refused:?}");
    for part in ["environment_untrusted", "U0", "placet doctor"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    // The machine is accepted, and the scope demands more.
    let domain = accepting("", "");
    let refused = weaker(&domain, &["run", "--", "touch", "ran"]);
    assert_eq!(refused.code, DENIED, "{refused:?}");
    for part in [
        "unenforceable",
        "tier U1",
        "user_namespaces",
        "CLONE_NEWUSER",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    for word in WEAKER {
        assert!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    assert!(!marked.exists() && !domain.work().join("ran").exists());
    // On this machine as it is, the same bundle permits.
    domain.ok(&["run", "--", "touch", "ran"]);
    assert!(environment(&domain).get("weaker").is_none());
}

#[test]
fn a_scope_that_accepts_it_is_enforced_and_each_decision_says_what_is_not_given() {
    let domain = accepting("tier = \"U0\"", "");
    let secret = domain.path("secret");
    fs::write(&secret, "hidden\n").unwrap();
    let secret = secret.to_str().unwrap();
    let script = format!(
        "echo done > made; cat made; cat {secret}; echo x > {secret}; chmod +x made; \
         mkdir d && mv made d && ls d; exit 7"
    );
    let ran = weaker(&domain, &["run", "--", "sh", "-c", &script]);
    assert_eq!((ran.code, &*ran.stdout), (7, "done\nmade\n"), "{ran:?}");
    assert_eq!(
        ran.stderr.matches("Permission denied").count(),
        2,
        "{ran:?}"
    );
    assert_eq!(fs::read_to_string(secret).unwrap(), "hidden\n");
    let environment = environment(&domain);
    assert_eq!(environment["tier"], "U0", "{environment}");
    assert_eq!(environment["weaker"], serde_json::json!(WEAKER));
    let exec = domain.executions()[0]["exec"].as_str().unwrap().to_owned();
    let explained = domain.ok(&["explain", &exec]);
    for word in WEAKER {
        assert!(explained.contains(word), "{word}: {explained}");
    }
    assert_eq!(domain.executions()[0]["ended"]["exit"]["code"], 7);
    assert_eq!(domain.json(&["log", "replay"])["holds"], true);
}

#[test]
fn a_revocation_ends_the_whole_tree_there_too() {
    let domain = accepting("tier = \"U0\"", "");
    let mark = mark();
    let script = format!("setsid sleep {mark} & (sleep {mark} &) ; sleep {mark}");
    let mut command = refusing(&domain, &["run", "--", "sh", "-c", &script]);
    let job = command.stderr(Stdio::piped()).spawn().unwrap();
    let exec = await_some("the tree", || {
        let all = domain.executions();
        let running = all.last()?["status"] == "running" && living(&mark).len() >= 3;
        running.then(|| all[0]["exec"].as_str().unwrap().to_owned())
    });
    domain.ok(&["revoke", &exec, "--reason", "enough"]);
    let ended = job.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(TERMINATED), "{ended:?}");
    assert!(living(&mark).is_empty(), "something is left of it");
    assert_eq!(domain.executions()[0]["ended"]["cause"], "revoked");
}

/// The kernel's audit switched on, as `auditctl -e 1` does, while this lives. One test of the machine at a
/// time: the lock is on a file that everybody has.
struct AuditOn {
    _turn: File,
}

impl AuditOn {
    fn new() -> Self {
        let turn = audits_turn();
        turn.lock().unwrap();
        assert_eq!(set_audit(true), "0\n");
        Self { _turn: turn }
    }
}

fn audits_turn() -> File {
    File::open("/etc/passwd").unwrap()
}

impl Drop for AuditOn {
    fn drop(&mut self) {
        set_audit(false);
    }
}

fn set_audit(on: bool) -> String {
    let script = "import socket, struct, sys\n\
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)\n\
        body = struct.pack('11I', 1, int(sys.argv[1]), *[0] * 9)\n\
        s.sendto(struct.pack('IHHII', 16 + len(body), 1001, 5, 1, 0) + body, (0, 0))\n\
        print(struct.unpack('i', s.recv(4096)[16:20])[0])\n";
    let mut command = Command::new("/usr/bin/python3");
    ran(command.args(["-c", script, if on { "1" } else { "0" }])).stdout
}

/// Takes root, as the continuous integration has: nobody else is told what Landlock refuses.
#[test]
fn refused_reads_and_writes_beyond_the_limit_end_the_tree_where_the_kernel_tells() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (trip, act) in [
        ("refused_reads", "cat SECRET"),
        ("refused_writes", "echo x >> SECRET"),
    ] {
        let domain = accepting("tier = \"U0\"", &format!("[trips]\n{trip} = 2"));
        let secret = domain.path("secret");
        fs::write(&secret, "hidden\n").unwrap();
        let audit = AuditOn::new();
        let run = |times: u32, then: &str| {
            let act = act.replace("SECRET", secret.to_str().unwrap());
            let script = format!("for i in $(seq {times}); do {act}; done 2>/dev/null; {then}");
            weaker(&domain, &["run", "--", "sh", "-c", &script])
        };
        let two = run(2, "true");
        assert_eq!(two.code, 0, "{trip}: {two:?}");
        let mark = mark();
        let three = run(3, &format!("sleep {mark}"));
        assert_eq!(three.code, TERMINATED, "{trip}: {three:?}");
        assert!(
            three.stderr.contains("anomaly") && three.stderr.contains(trip),
            "{trip}: {three:?}"
        );
        assert!(living(&mark).is_empty(), "{trip}");
        let last = domain.executions().pop().unwrap();
        assert_eq!(last["ended"]["cause"], "anomaly", "{trip}: {last}");
        drop(audit);
        let tail = domain.ok(&["log", "tail", "-n", "99", "--json"]);
        let ends = tail
            .lines()
            .map(parsed)
            .find(|it| it["record"]["ends"] == true);
        assert_eq!(ends.unwrap()["record"]["trip"], trip);
    }
}

/// What tells of the machine, here and where user namespaces are refused.
#[test]
fn the_doctor_says_what_is_there_what_is_missing_and_what_would_change_it() {
    let domain = Domain::new();
    // The doctor is asked twice about one machine: nobody switches its audit meanwhile.
    let turn = audits_turn();
    turn.lock_shared().unwrap();
    let here = domain.run(&["doctor"]);
    let value = parsed(&domain.run(&["doctor", "--json"]).stdout);
    assert_doctor(&here, &value);
    let tier = value["tier"].as_str().unwrap();
    assert_eq!(here.code == 0, ["U1", "P"].contains(&tier), "{here:?}");
    let there = weaker(&domain, &["doctor"]);
    let value = parsed(&weaker(&domain, &["doctor", "--json"]).stdout);
    assert_doctor(&there, &value);
    assert_eq!(value["tier"], "U0", "{value}");
    assert_eq!(value["weaker"], serde_json::json!(WEAKER));
    // Below what is accepted by default: a script that asks can tell.
    assert_eq!(there.code, crate::domain::UNVERIFIED, "{there:?}");
    let features = value["features"].as_array().unwrap();
    let namespaces = features
        .iter()
        .find(|it| it["name"] == "user_namespaces")
        .unwrap();
    assert_eq!(namespaces["present"], false);
    let remedy = namespaces["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("CLONE_NEWUSER") || remedy.starts_with("sysctl -w "),
        "{remedy}"
    );
}

/// Both forms say the same, and whatever is missing has a reason and a remedy.
fn assert_doctor(said: &Ran, value: &Value) {
    let text = &said.stdout;
    let tier = value["tier"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("enforcement tier  {tier}\n")),
        "{text}"
    );
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(value["kernel"], kernel.trim());
    assert!(
        text.contains(&format!("kernel           {}", kernel.trim())),
        "{text}"
    );
    let abi = value["landlock_abi"].as_u64().unwrap();
    assert!(
        text.contains(&format!("Landlock         ABI {abi}")),
        "{text}"
    );
    for word in value["weaker"].as_array().unwrap() {
        let line = format!("not given: {}: ", word.as_str().unwrap());
        assert!(text.contains(&line), "{line}: {text}");
    }
    let features = value["features"].as_array().unwrap();
    let names: Vec<&str> = features
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    for name in [
        "landlock",
        "seccomp",
        "landlock_scopes",
        "supervision",
        "user_namespaces",
        "control_group",
        "network_backstop",
        "tree_bounds",
        "memfd_noexec",
        "second_exec_gate",
        "landlock_denials",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for feature in features {
        let member = |name: &str| feature[name].as_str().unwrap_or_default();
        let (name, gives) = (member("name"), member("gives"));
        let needed = feature["needed_by"].as_array().unwrap();
        assert!(
            needed
                .iter()
                .all(|tier| ["U0", "U1", "P"].contains(&tier.as_str().unwrap()))
        );
        let present = feature["present"].as_bool().unwrap();
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name}: {text}"));
        let mark = if present { " yes  " } else { " no  " };
        assert!(
            line.contains(mark) && line.ends_with(gives) && !gives.is_empty(),
            "{line}"
        );
        assert_eq!(present, feature.get("why_not").is_none(), "{feature}");
        assert_eq!(present, feature.get("remedy").is_none(), "{feature}");
        if !present {
            let (why, remedy) = (member("why_not"), member("remedy"));
            assert!(!why.is_empty() && !remedy.is_empty(), "{feature}");
            assert!(text.contains(&format!("    why not: {why}\n")), "{text}");
            assert!(
                text.contains(&format!("    to change that: {remedy}\n")),
                "{text}"
            );
        }
    }
}
