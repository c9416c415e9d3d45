//! What the suites share: a harness that also runs every test as an unprivileged user, and cells
//! whose program is the test executable itself.
//!
//! Run as root, a suite runs twice: as root, and again re-executed as a user that owns nothing.
//! Nothing is skipped; a machine without what a cell needs fails. After each test it is looked whether
//! anything of it is left ([`leftovers`]).

pub(crate) mod leftovers;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use placet_sandbox::{
    Arguments, CellSpec, EgressRules, ExecGate, ExecRule, FileIdentity, Limits, Network, OnRefusal,
    Paths, Program, Session, Tier, elf_interpreter, probe,
};

use leftovers::Leftovers;

/// First argument of a process that is to be an attacker or another actor, not the suite.
pub(crate) const ACT: &str = "--act";
/// Tells the run as an unprivileged user of a copy of the suite that is setuid root.
pub(crate) const SETUID_COPY: &str = "PLACET_TEST_SETUID_COPY";
/// Tells that this process runs in a group of its own, and by which file the runs of a suite tell each
/// other what they have shown.
pub(crate) const OWN_GROUP: &str = "PLACET_TEST_OWN_GROUP";
/// An id that owns nothing here and needs no name.
const USER: u32 = 54_321;

pub(crate) type Test = (&'static str, fn());
/// Something a process of the suite does instead of running tests; gives its exit code.
pub(crate) type Act = (&'static str, fn(&[String]) -> i32);

/// Whether the cells of [`spec`] have an exec gate.
static GATED: AtomicBool = AtomicBool::new(false);

/// A test whose guarantee a weaker tier does not give, and why.
pub(crate) type NotGiven = (&'static str, &'static str);

/// How a test has ended.
pub(crate) struct Told<'a> {
    pub(crate) test: &'static str,
    /// As whom, on which tier, gated or not.
    pub(crate) setting: &'a str,
    pub(crate) passed: bool,
}

/// Adds up what a suite has shown over all its runs.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) after: fn(&Path, &Told<'_>),
    /// At the end; whether it is as it must be.
    pub(crate) total: fn(&Path) -> bool,
}

/// For a suite that has nothing to add up.
pub(crate) const NO_SUM: Sum = Sum {
    after: |_, _| {},
    total: |_| true,
};

/// What a suite consists of.
#[derive(Clone, Copy)]
pub(crate) struct Suite<'a> {
    pub(crate) tests: &'a [Test],
    pub(crate) acts: &'a [Act],
    /// Whether each test runs a second time with an exec gate in its cells.
    pub(crate) gated_too: bool,
    pub(crate) not_given: &'static [NotGiven],
    pub(crate) sum: Sum,
}

impl<'a> Suite<'a> {
    /// One that runs ungated as it is asked for, with every guarantee, and adds nothing up.
    pub(crate) fn of(tests: &'a [Test], acts: &'a [Act]) -> Self {
        Self {
            tests,
            acts,
            gated_too: false,
            not_given: &[],
            sum: NO_SUM,
        }
    }
}

/// The suite's `main`.
pub(crate) fn main_with(suite: &Suite<'_>) -> ExitCode {
    let Suite {
        tests,
        acts,
        gated_too,
        not_given,
        sum,
    } = *suite;
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if arguments.first().is_some_and(|first| first == ACT) {
        let name = arguments.get(1).map_or("", String::as_str);
        let act = acts.iter().find(|(known, _)| *known == name);
        let (_, act) = act.unwrap_or_else(|| panic!("no act {name}"));
        std::process::exit(act(arguments.get(2..).unwrap_or(&[])));
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(*part));
    let chosen: Vec<&Test> = tests.iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(OWN_GROUP).is_none() {
        return in_own_group(&arguments, filters.is_empty().then_some(sum.total));
    }
    for (name, why) in not_given {
        assert!(tests.iter().any(|(test, _)| test == name), "no test {name}");
        println!("test {name} ({}) ... not given: {why}", tier());
    }
    let given = |(name, _): &&&Test| not_given.iter().all(|(not, _)| not != name);
    let chosen: Vec<&Test> = chosen.iter().filter(given).copied().collect();
    let mut failed = run(&chosen, sum);
    if gated_too {
        GATED.store(true, Ordering::SeqCst);
        failed += run(&chosen, sum);
    }
    if is_root() && !run_as_user(&filters) {
        failed += 1;
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs this suite again, in a process group that has a parent outside of it. Started from a job whose
/// shell has gone, the suite's own group is orphaned, and the kernel stops nothing in such a group.
fn in_own_group(arguments: &[String], total: Option<fn(&Path) -> bool>) -> ExitCode {
    let tally = tempfile::Builder::new().prefix("tally").tempfile().unwrap();
    // The user's runs add to it too.
    fs::set_permissions(tally.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let mut command = command(&own_executable());
    let status = command
        .args(arguments)
        .env(OWN_GROUP, tally.path())
        .process_group(0)
        .status();
    let sound = total.is_none_or(|total| total(tally.path()));
    if status.unwrap().success() && sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(tests: &[&Test], sum: Sum) -> usize {
    let who = match (is_root(), GATED.load(Ordering::SeqCst)) {
        (true, false) => "root",
        (true, true) => "root, gated",
        (false, false) => "user",
        (false, true) => "user, gated",
    };
    let who = format!("{who}, tier {}", tier());
    let tally = PathBuf::from(std::env::var_os(OWN_GROUP).unwrap());
    let mut failed = Vec::new();
    for (name, test) in tests {
        let before = Leftovers::look();
        let mut passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let left = before.left();
        if !left.is_empty() {
            println!("{name} has left behind {left:#?}");
            passed = false;
        }
        let told = Told {
            test: name,
            setting: &who,
            passed,
        };
        let end = if told.passed { "ok" } else { "FAILED" };
        println!("test {} ({}) ... {end}", told.test, told.setting);
        (sum.after)(&tally, &told);
        if !passed {
            failed.push(name);
        }
    }
    println!(
        "{} passed, {} failed as {who} {failed:?}",
        tests.len() - failed.len(),
        failed.len()
    );
    failed.len()
}

/// Runs a copy of this executable that the user can reach.
fn run_as_user(filters: &[&String]) -> bool {
    let dir = tempfile::Builder::new().prefix("suite").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("suite");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let setuid = dir.path().join("setuid");
    fs::copy(&copy, &setuid).unwrap();
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    let mut command = command(&copy);
    command
        .args(filters)
        .uid(USER)
        .gid(USER)
        .current_dir("/")
        .env(SETUID_COPY, &setuid);
    command.status().unwrap().success()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the suite starts processes outside of any cell"
)]
pub(crate) fn command(program: &Path) -> Command {
    Command::new(program)
}

/// A directory of its own, canonical, removed at the end.
pub(crate) fn scratch() -> tempfile::TempDir {
    let base = fs::canonicalize(std::env::temp_dir()).unwrap();
    tempfile::Builder::new()
        .prefix("cell")
        .tempdir_in(base)
        .unwrap()
}

pub(crate) fn own_executable() -> PathBuf {
    fs::canonicalize(std::env::current_exe().unwrap()).unwrap()
}

/// The command line that makes this executable act.
pub(crate) fn acting(act: &str, arguments: &[&str]) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec!["actor".into(), ACT.into(), act.into()];
    argv.extend(arguments.iter().map(OsString::from));
    argv
}

/// The tier that this machine reaches for this process, found as a gateway finds it.
pub(crate) fn tier() -> Tier {
    static TIER: OnceLock<Tier> = OnceLock::new();
    *TIER.get_or_init(|| probe().tier().unwrap())
}

/// A spec for a program with what any dynamically linked one needs to start.
pub(crate) fn spec(program: &Path, argv: Vec<OsString>) -> CellSpec {
    let program = fs::canonicalize(program).unwrap();
    let mut exec = vec![program.clone()];
    if let Some(interpreter) = elf_interpreter(&program).unwrap() {
        exec.push(fs::canonicalize(interpreter).unwrap());
    }
    CellSpec {
        tier: tier(),
        program: Program {
            identity: FileIdentity::of_path(&program).unwrap(),
            path: program,
            argv,
        },
        credentials: placet_sandbox::CredentialSlots::default(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        paths: Paths {
            read: libraries(),
            exec,
            tmp_bytes_max: 16 << 20,
            ..Paths::default()
        },
        exec: if GATED.load(Ordering::SeqCst) {
            gate(ExecRule::Any)
        } else {
            ExecGate::none()
        },
        network: Network::None,
        egress: EgressRules::nobody(),
        limits: Limits::default(),
        lease: Duration::from_secs(60),
        proxied: false,
        own_files: Vec::new(),
        door: false,
        client: None,
        looked: placet_sandbox::Looked::default(),
        session: Session::Shared,
    }
}

/// A gate with that rule, where a refusal ends one process.
pub(crate) fn gate(rule: ExecRule) -> ExecGate {
    ExecGate {
        rule,
        refused: OnRefusal::EndProcess,
        digests: None,
        arguments: Arguments::Read,
    }
}

/// A spec for this executable in a role.
pub(crate) fn acting_spec(act: &str, arguments: &[&str]) -> CellSpec {
    spec(&own_executable(), acting(act, arguments))
}

/// Where the dynamic linker finds libraries.
fn libraries() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
        .iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}
