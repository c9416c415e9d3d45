//! What a cell costs the work in it: a program started inside, and a real crate that is built inside, beside the same outside.
//!
//! Both ways take turns. Programs are started by one Python process that takes the times itself, so its own start is
//! in none of them; with decisions each start has other arguments, so that each is an intent of its own
//! with records of decision and start. Connections are measured likewise.
//!
//! `placet-bench inside quick` leaves the builds out, which take minutes.

mod connects;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::figures;
use crate::stats::{Samples, ratio};

/// Programs that are started in a round.
const STARTS: usize = 100;
const ROUNDS: usize = 5;
/// A build takes seconds.
const BUILDS: usize = 7;
/// What is built: without dependencies, of 35,000 lines, and in the cache of whoever has built this repository.
const CRATE: &str = "regex-syntax-";

const MANIFEST: &str = "[package]
name = \"built\"
version = \"0.1.0\"
edition = \"2021\"
[workspace]
[features]
default = [\"std\", \"unicode\"]
std = []
unicode = [\"unicode-age\", \"unicode-bool\", \"unicode-case\", \"unicode-gencat\", \"unicode-perl\", \
    \"unicode-script\", \"unicode-segment\"]
unicode-age = []
unicode-bool = []
unicode-case = []
unicode-gencat = []
unicode-perl = []
unicode-script = []
unicode-segment = []
";

const STARTER: &str = "import os, sys, time
for i in range(int(sys.argv[1])):
    began = time.perf_counter_ns()
    child = os.posix_spawn('/usr/bin/true', ['true', sys.argv[2] + str(i)], {})
    os.waitpid(child, 0)
    print(time.perf_counter_ns() - began)
";

struct Ground {
    program: PathBuf,
    domain: PathBuf,
    work: PathBuf,
}

pub(crate) fn work() {
    let program = Path::new("target/release/placet");
    let Ok(program) = program.canonicalize() else {
        println!("no target/release/placet: build it with `cargo build --release -p placet`");
        return;
    };
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let root = dir.path().canonicalize().expect("it is there");
    let ground = Ground {
        program,
        domain: root.join("domain"),
        work: root.join("work"),
    };
    fs::create_dir(&ground.work).expect("a directory");
    let init = ["init", "--name", "placet.example/bench"];
    let operator = ["--operator", "user:bench"];
    taken(&mut ground.placet(&[&init[..], &operator].concat()));
    ground.starts();
    ground.connects();
    if std::env::args().nth(2).as_deref() != Some("quick") {
        ground.builds();
    }
    taken(&mut ground.placet(&["node", "stop"]));
}

impl Ground {
    fn placet(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--domain").arg(&self.domain).args(args);
        command.current_dir(&self.work);
        command
    }

    /// The command as it is, or governed.
    fn either(&self, how: Option<&[&str]>, argv: &[&str]) -> Command {
        if let Some(options) = how {
            let run = ["run", "--as", "user:bench"];
            return self.placet(&[&run[..], options, &["--"], argv].concat());
        }
        let mut command = Command::new(argv.first().copied().unwrap_or_default());
        command.args(argv.iter().skip(1)).current_dir(&self.work);
        command
    }

    fn starts(&self) {
        let ways: [(&str, Option<&[&str]>); 3] = [
            ("a program started, bare", None),
            ("inside, verified", Some(&[])),
            ("inside, each decided and recorded", Some(&["--decide"])),
        ];
        let mut samples = ways.map(|_| Vec::new());
        let count = STARTS.to_string();
        for round in 0..ROUNDS {
            let salt = format!("{round}-");
            let argv = ["/usr/bin/python3", "-c", STARTER, &count, &salt];
            for ((_, how), samples) in ways.iter().zip(&mut samples) {
                let output = self.either(*how, &argv).output().expect("it starts");
                assert!(output.status.success(), "{output:?}");
                let lines = String::from_utf8_lossy(&output.stdout).into_owned();
                let times = lines.lines().map(|line| line.parse().expect("a number"));
                samples.extend(times.map(Duration::from_nanos));
            }
        }
        let figures = [None, Some("inside-verified"), Some("inside-decided")];
        let samples = samples.map(Samples::new);
        print(&ways.map(|(name, _)| name), figures, &samples);
    }

    fn builds(&self) {
        let Some(source) = source() else {
            println!("no {CRATE}* in Cargo's cache: building a crate is left out");
            return;
        };
        let copy = self.work.join("built");
        let status = Command::new("cp")
            .args(["-r", "--"])
            .args([&source, &copy])
            .status();
        assert!(status.expect("cp is in coreutils").success());
        fs::write(copy.join("Cargo.toml"), MANIFEST).expect("a manifest");
        // Its own names dependencies of its tests, which need not be in the cache.
        drop(fs::remove_file(copy.join("Cargo.lock")));
        let at = copy.to_str().unwrap_or_default().to_owned();
        let target = copy.join("target");
        let build = [
            "cargo",
            "build",
            "--offline",
            "-q",
            "--lib",
            "--manifest-path",
        ];
        let manifest = format!("{at}/Cargo.toml");
        let argv = [&build[..], &[&manifest]].concat();
        let (mut bare, mut inside) = (Vec::new(), Vec::new());
        for round in 0..=BUILDS {
            for (how, samples) in [
                (None, &mut bare),
                (Some(&["--profile", "cargo"][..]), &mut inside),
            ] {
                if target.exists() {
                    fs::remove_dir_all(&target).expect("it was built");
                }
                let mut command = self.either(how, &argv);
                command.env("CARGO_HOME", self.work.join(".cargo-home"));
                let took = taken(&mut command);
                // The first round warms the caches.
                if round > 0 {
                    samples.push(took);
                }
            }
        }
        let (bare, inside) = (Samples::new(bare), Samples::new(inside));
        let name = source
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        bare.print(&format!("{name} built by Cargo, bare"));
        inside.print("  inside, its own start and end included");
        ratio("  to bare", &inside, &bare);
    }
}

/// Each way, and what it takes beyond the first.
fn print(names: &[&str; 3], figures: [Option<&'static str>; 3], samples: &[Samples; 3]) {
    let middle = |samples: &Samples| samples.percentile(50).as_secs_f64();
    let bare = samples.first().map(middle).unwrap_or_default();
    for ((name, figure), samples) in names.iter().zip(figures).zip(samples) {
        samples.print(name);
        let more = (middle(samples) - bare) * 1e6;
        println!("{:<44} p50 {more:>+10.1} us", "  beyond bare");
        if let Some(figure) = figure {
            figures::note(figure, more);
        }
    }
}

fn source() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    let crates = registries.flatten().flat_map(|registry| {
        let crates = fs::read_dir(registry.path()).into_iter().flatten();
        crates.flatten().map(|one| one.path())
    });
    let wanted = |path: &PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(CRATE))
    };
    crates.filter(wanted).max()
}

fn taken(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let output = command.output().expect("it starts");
    let took = began.elapsed();
    assert!(output.status.success(), "{output:?}");
    took
}
