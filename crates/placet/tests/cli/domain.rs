//! A domain of a test's own, and the program as its user runs it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Exit status for could-not-verify.
pub(crate) const UNVERIFIED: i32 = 122;
/// Exit status for denied.
pub(crate) const DENIED: i32 = 120;
/// Exit status for a program that was not found.
pub(crate) const NOT_FOUND: i32 = 127;
/// Exit status for terminated.
pub(crate) const TERMINATED: i32 = 121;
/// How often something is looked at again that happens within a second or two.
const LOOKS: usize = 600;

/// A domain with an operator and an agent, and a directory to work in. Its node is ended with it.
pub(crate) struct Domain {
    root: TempDir,
    /// The process whose mount namespace all of it is in, unless that is this one.
    inside: Option<u32>,
    /// A library that every command loads first.
    preload: Option<PathBuf>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Domain {
    /// Makes a domain of this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::made(name, TempDir::new().unwrap(), None)
    }

    /// Makes a domain in the mount namespace of a process, where `root` is a file system of its own.
    pub(crate) fn inside(root: TempDir, process: u32) -> Self {
        Self::made("placet.test/inside", root, Some(process))
    }

    fn made(name: &str, root: TempDir, inside: Option<u32>) -> Self {
        let domain = Self {
            root,
            inside,
            preload: None,
        };
        fs::create_dir(domain.work()).unwrap();
        fs::create_dir(domain.path("home")).unwrap();
        domain.ok(&["init", "--name", name, "--operator", "user:op"]);
        domain
    }

    pub(crate) fn new() -> Self {
        Self::named("placet.test/cli")
    }

    /// The domain directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.path("domain")
    }

    /// The directory that commands run in.
    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// A path beside domain and work, as this process sees it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        match self.inside {
            None => path,
            Some(pid) => {
                Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap())
            }
        }
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.dir().join("domain.tlog-policy")
    }

    /// A command, not started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let root = self.root.path();
        let mut command = match self.inside {
            None => placet(args),
            Some(pid) => {
                let mut command = placet_inside(pid, &root.join("work"));
                command.args(args);
                command
            }
        };
        if self.inside.is_none() {
            command.current_dir(root.join("work"));
        }
        command
            .env("HOME", root.join("home"))
            .env("PLACET_DOMAIN", root.join("domain"))
            .env("PLACET_PRINCIPAL", "user:op");
        // What cargo tells those who test is not meant for a cargo in a cell.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"CARGO") {
                command.env_remove(name);
            }
        }
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        command
    }

    /// From here on every command loads this library first, and so does the node that it starts.
    pub(crate) fn preload(&mut self, library: PathBuf) {
        self.stop();
        self.preload = Some(library);
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }

    /// Runs a command that must succeed; gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.stdout
    }

    /// Runs a command that must fail with this status; gives what it said on standard error.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        ran.stderr
    }

    /// The one JSON value that a command prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        parsed(&self.ok(&[args, &["--json"]].concat()))
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Puts a changed starter bundle in force: in each file the first text is replaced by the second.
    pub(crate) fn activate_changed(&self, changes: &[(&str, &str, &str)]) {
        let dir = self.path("bundle");
        let at = dir.to_str().unwrap();
        self.ok(&["policy", "init", at]);
        for (file, from, to) in
            [changes, &[("bundle.toml", "revision = 1", "revision = 2")]].concat()
        {
            let path = dir.join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
        }
        self.ok(&["policy", "activate", at]);
    }

    /// Ends the node, so that nobody has the log open for writing.
    pub(crate) fn stop(&self) {
        self.ok(&["node", "stop"]);
        // The lock of the log is the last thing that a node lets go.
        let lock = File::open(self.dir().join("log/lock")).unwrap();
        await_some("the end of the node", || lock.try_lock().ok());
    }

    /// A segment of the log.
    pub(crate) fn segment(&self) -> PathBuf {
        self.dir().join("log/segments/00000000000000000000.seg")
    }

    /// The executions that were decided, in order.
    pub(crate) fn executions(&self) -> Vec<Value> {
        self.json(&["executions"]).as_array().unwrap().clone()
    }

    /// What an agent, an operator and a node do in a minute: a permit that completes, one that
    /// fails, a denial.
    pub(crate) fn with_history() -> Self {
        let domain = Self::new();
        fs::write(domain.work().join("note"), "a note\n").unwrap();
        assert_eq!(domain.ok(&["run", "--", "cat", "note"]), "a note\n");
        assert_eq!(domain.run(&["run", "--", "sh", "-c", "exit 3"]).code, 3);
        let push = [
            "run",
            "--as",
            "agent:coder",
            "--purpose",
            "share it",
            "--",
            "git",
            "push",
        ];
        domain.fails(DENIED, &push);
        domain
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        if thread::panicking() {
            // A test that failed may have left anything behind; the node must not outlive it.
            let status = self.run(&["node", "status", "--json"]).stdout;
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            status["pid"].as_u64().map(|pid| {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                pid.map(|pid| kill_process(pid, Signal::KILL))
            });
        } else {
            self.stop();
        }
    }
}

/// Finds the first byte of `needle` in a file.
pub(crate) fn find_in(path: &Path, needle: &[u8]) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes
        .windows(needle.len())
        .position(|part| part == needle)
        .expect("it is in the file")
}

/// Changes one byte of a file.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Changes who may do what with a file or directory.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The program, in an environment without a domain.
pub(crate) fn placet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placet"));
    command.args(args).stdin(Stdio::null());
    command
        .env_remove("PLACET_DOMAIN")
        .env_remove("PLACET_PRINCIPAL");
    command.env("HOME", "/nonexistent");
    command
}

/// The program in the mount namespace of a process, without arguments.
fn placet_inside(process: u32, dir: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &process.to_string(), "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.arg(format!("--wdns={}", dir.display()));
    command.arg("--").arg(env!("CARGO_BIN_EXE_placet"));
    command.stdin(Stdio::null());
    command
}

/// Gives a program that stands before a command, or starts it, that command's environment and directory.
pub(crate) fn stand_like(program: &mut Command, command: &Command) {
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => program.env(name, value),
            None => program.env_remove(name),
        };
    }
    command
        .get_current_dir()
        .map(|dir| program.current_dir(dir));
}

/// Runs a command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Reads one JSON value.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Looks until there is something.
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not come");
}
