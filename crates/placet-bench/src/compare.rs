//! One table: `/usr/bin/true` bare, in other sandboxes, and governed with durable start and end; all
//! variants take turns in each round of one run.
//!
//! The resident variant is a gateway in this process, as an agent's host would have one: intent, decision,
//! artifact, cell, durable start, command, durable end, and nothing of a process start of its own; with the cell built
//! ahead for the scope of the command before, and with each cell built for its command. The same by `placet run` itself, which hands
//! over to a gateway that waits, and from cold. Other
//! people's tools are measured where they are installed; `PLACET_PEERS` names directories, apart by colons,
//! in which they are looked for before the usual ones. A variant that fails is left out and said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use placet_authority::clock::SystemClock;
use placet_authority::dir::DomainDir;
use placet_authority::init::public_policy;
use placet_authority::node::connect;
use placet_process::{Command as Governed, Gateway, Kept, Outcome, Waits};
use placet_types::PrincipalId;
use serde_json::json;

use crate::figures;
use crate::stats::Samples;

/// Rounds, and of how many of them the slow ones take part in one.
const ROUNDS: usize = 100;
const SLOW_EVERY: usize = 5;
const PROGRAM: &str = "/usr/bin/true";
/// A gateway that stays, with a cell that waits for the next command.
const RESIDENT: &str = "placet, resident gateway";
const COLD: &str = "placet run, from cold";
/// How long the next cell may take to be there.
const SPARE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a gateway that was just used gets for the next cell.
const NEXT_CELL: Duration = Duration::from_millis(20);
/// What the others are compared with.
const BASELINE: &str = "bwrap --unshare-all";

/// One way to run the program.
struct Variant {
    name: &'static str,
    slow: bool,
    run: Box<dyn FnMut() -> Result<Duration, String>>,
    samples: Vec<Duration>,
    failed: Option<String>,
}

impl Variant {
    fn of(name: &'static str, slow: bool, mut command: Command) -> Self {
        let run = move || timed(&mut command);
        Self::by(name, slow, Box::new(run))
    }

    fn by(
        name: &'static str,
        slow: bool,
        run: Box<dyn FnMut() -> Result<Duration, String>>,
    ) -> Self {
        Self {
            name,
            slow,
            run,
            samples: Vec::new(),
            failed: None,
        }
    }
}

pub(crate) fn table() {
    let program = Path::new("target/release/placet");
    let Ok(program) = program.canonicalize() else {
        println!("no target/release/placet: build it with `cargo build --release -p placet`");
        return;
    };
    let base =
        std::env::var_os("PLACET_BENCH_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(base).expect("a directory on a real disk");
    let root = dir.path().canonicalize().expect("it is there");
    let domain = root.join("domain");
    let work = root.join("work");
    fs::create_dir(&work).expect("a directory");
    let placet = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--domain").arg(&domain).args(args);
        command.current_dir(&work);
        command
    };
    let operator = ["--operator", "user:bench"];
    let init = [&["init", "--name", "placet.example/bench"], &operator[..]].concat();
    timed(&mut placet(&init)).expect("a domain");
    let cold = [&["run", "--as", "user:bench", "--"], &[PROGRAM][..]].concat();
    timed(&mut placet(&cold)).expect("a governed run");
    let mut variants = vec![
        Variant::of("bare fork and exec", false, Command::new(PROGRAM)),
        Variant::by(
            RESIDENT,
            false,
            Box::new(resident(&domain, &work, &program, true)),
        ),
        Variant::by(
            "placet, resident, every cell built for it",
            false,
            Box::new(resident(&domain, &work, &program, false)),
        ),
        Variant::of(COLD, false, placet(&cold)),
        Variant::by(
            "placet run, with a gateway that waits",
            false,
            Box::new(through(&program, &root, &work)),
        ),
    ];
    variants.extend(others(&root));
    // `compare resident,bwrap` measures what is named so, and what everything is compared with.
    if let Some(names) = std::env::args().nth(2) {
        let wanted = |name: &str| names.split(',').any(|part| name.contains(part));
        variants.retain(|variant| wanted(variant.name) || variant.name == BASELINE);
    }
    for round in 0..=ROUNDS {
        for variant in &mut variants {
            let is_due = !variant.slow || round % SLOW_EVERY == 0;
            if variant.failed.is_some() || !is_due {
                continue;
            }
            match (variant.run)() {
                // The first round warms the caches.
                Ok(took) if round > 0 => variant.samples.push(took),
                Ok(_) => {}
                Err(why) => variant.failed = Some(why),
            }
        }
    }
    drop(timed(&mut placet(&["node", "stop"])));
    let mut stop = Command::new(&program);
    stop.arg("--domain").arg(root.join("offering"));
    drop(timed(stop.args(["node", "stop"])));
    print(variants);
}

fn print(variants: Vec<Variant>) {
    let mut measured = Vec::new();
    for variant in variants {
        match variant.failed {
            Some(why) => println!("{:<44} left out: {why}", variant.name),
            None => measured.push((variant.name, Samples::new(variant.samples))),
        }
    }
    let baseline = measured.iter().find(|(name, _)| *name == BASELINE);
    for (name, samples) in &measured {
        samples.print(name);
        if let Some((_, baseline)) = baseline {
            let of = |part| {
                samples.percentile(part).as_secs_f64() / baseline.percentile(part).as_secs_f64()
            };
            if *name == RESIDENT {
                figures::note("resident", of(50));
            } else if *name == COLD {
                figures::note("cold", of(50));
            }
            println!(
                "{:<44} p50 {:>10.2} x    p99 {:>10.2} x",
                "  to bwrap",
                of(50),
                of(99)
            );
        }
    }
}

/// Runs through a gateway of this process. One that keeps spares is asked again once the next cell waits, which is
/// outside of the time taken, so that it is in nobody else's either.
fn resident(
    domain: &Path,
    work: &Path,
    program: &Path,
    spares: bool,
) -> impl FnMut() -> Result<Duration, String> + use<> {
    let dir = DomainDir::open(domain).expect("it was made");
    let policy = public_policy(&dir).expect("its public policy");
    let own = dir.clone();
    let gateway = Gateway {
        dir,
        policy,
        connect: Box::new(move || connect(&own)),
        clock: Arc::new(SystemClock::new()),
        program: program.to_owned(),
        observe: false,
        hear: false,
        kept: if spares {
            Kept::for_many().expect("a thread")
        } else {
            Kept::nothing()
        },
        tell: Box::new(|_| {}),
    };
    let command = Governed {
        argv: vec![PROGRAM.to_owned()],
        env: BTreeMap::new(),
        cwd: work.to_owned(),
        principal: PrincipalId::parse("user:bench").expect("a name"),
        purpose: None,
        profile: None,
        lifetime: None,
        parent: None,
        door: None,
        waits: Waits::No,
        decide: false,
        announce: false,
    };
    move || {
        let began = Instant::now();
        let outcome = gateway
            .run(&command, None)
            .map_err(|error| error.to_string())?;
        let took = began.elapsed();
        gateway.kept.restock();
        let ended = Instant::now();
        while spares && gateway.kept.waiting() == 0 {
            if ended.elapsed() > SPARE_PATIENCE {
                return Err("no cell waits for the next command".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        match &outcome {
            Outcome::Ended { .. } => Ok(took),
            Outcome::Denied { .. } | Outcome::Deferred(_) | Outcome::Terminated { .. } => {
                Err(format!("{outcome:?}"))
            }
        }
    }
}

/// Runs by the command itself, in a domain that offers a gateway: it hands over, and is asked again once that waits for the next one.
fn through(
    program: &Path,
    root: &Path,
    work: &Path,
) -> impl FnMut() -> Result<Duration, String> + use<> {
    let domain = root.join("offering");
    let placet = |args: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--domain").arg(&domain).args(args);
        command.current_dir(work);
        command
    };
    let init = [
        "init",
        "--name",
        "placet.example/bench",
        "--operator",
        "user:bench",
    ];
    timed(&mut placet(&init)).expect("a domain");
    timed(&mut placet(&["node", "stop"])).expect("the end of its node");
    fs::write(domain.join("placet.toml"), "gateways = 1\n").expect("a file");
    // The node that was told to stop may take a moment, and offers nothing.
    std::thread::sleep(SPARE_PATIENCE / 2);
    let mut run = placet(&["run", "--as", "user:bench", "--", PROGRAM]);
    let socket = domain.join("gateways/0.sock");
    move || {
        let took = timed(&mut run)?;
        let ended = Instant::now();
        while !socket.exists() {
            if ended.elapsed() > SPARE_PATIENCE {
                return Err("no gateway waits".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The next cell is built beside that.
        std::thread::sleep(NEXT_CELL);
        Ok(took)
    }
}

/// Other people's tools, as far as they are here.
fn others(root: &Path) -> Vec<Variant> {
    let mut all = Vec::new();
    // Beside their home: Codex makes its helpers there, and not below a directory of temporary files.
    let temporary = root.join("temporary");
    fs::create_dir(&temporary).expect("a directory");
    let mut add = |name, slow, tool: &str, args: &[&str]| {
        if let Some(mut command) = found(tool) {
            command.args(args).current_dir(root).env("HOME", root);
            command.env("TMPDIR", &temporary);
            all.push(Variant::of(name, slow, command));
        } else {
            println!("{name:<44} not installed");
        }
    };
    let bwrap = ["--ro-bind", "/", "/", "--unshare-all", PROGRAM];
    add(BASELINE, false, "bwrap", &bwrap);
    add("codex sandbox", true, "codex", &["sandbox", PROGRAM]);
    add(
        "firejail --noprofile",
        true,
        "firejail",
        &["--quiet", "--noprofile", PROGRAM],
    );
    add("firejail", true, "firejail", &["--quiet", PROGRAM]);
    let settings = root.join("srt.json");
    let text = json!({
        "network": { "allowedDomains": [], "deniedDomains": [] },
        "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
    });
    fs::write(&settings, text.to_string()).expect("a file");
    let settings = settings.to_str().unwrap_or_default();
    add("srt", true, "srt", &["--settings", settings, PROGRAM]);
    let bundle = bundle(root);
    let bundle = bundle.to_str().unwrap_or_default();
    let state = root.join("runc");
    let state = state.to_str().unwrap_or_default();
    let runc = ["--root", state, "run", "--bundle", bundle, "bench"];
    add("runc run", true, "runc", &runc);
    all
}

fn found(tool: &str) -> Option<Command> {
    let own = std::env::var("PLACET_PEERS").unwrap_or_default();
    let usual = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
    let path = format!("{own}:{usual}");
    let path = path.trim_start_matches(':').to_owned();
    let tool = path
        .split(':')
        .map(|dir| Path::new(dir).join(tool))
        .find(|it| it.is_file())?;
    let mut command = Command::new(tool);
    command.env("PATH", path);
    Some(command)
}

/// A container with the host's `/usr`, read-only, and nothing else.
fn bundle(root: &Path) -> PathBuf {
    let bundle = root.join("bundle");
    let files = bundle.join("rootfs");
    for dir in ["usr", "proc"] {
        fs::create_dir_all(files.join(dir)).expect("a directory");
    }
    for (link, to) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        std::os::unix::fs::symlink(to, files.join(link)).expect("a link");
    }
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": [PROGRAM], "cwd": "/",
            "env": ["PATH=/usr/bin"], "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
        ],
        "linux": { "namespaces": [
            { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
            { "type": "mount" },
        ] },
    });
    fs::write(bundle.join("config.json"), config.to_string()).expect("a file");
    bundle
}

fn timed(command: &mut Command) -> Result<Duration, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let child = command.spawn().map_err(|error| error.to_string())?;
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    let took = began.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{}: {}",
        output.status,
        said.trim().chars().take(200).collect::<String>()
    ))
}
