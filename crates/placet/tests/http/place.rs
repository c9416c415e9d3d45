//! A domain of a test's own, and the server process that serves it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use placet_types::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Answer, Key, exchange, request};
use crate::shapes;

/// How often something is looked at again that happens within seconds.
const LOOKS: usize = 600;

pub(crate) struct Place {
    root: TempDir,
    /// A library that every command loads first.
    preload: Option<PathBuf>,
    /// The process in whose mount namespace the domain directory is a small file system of its own.
    disk: Option<Child>,
}

/// A server process. It ends with this value.
pub(crate) struct Node<'a> {
    pub(crate) place: &'a Place,
    child: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<String>>,
}

pub(crate) fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_placet").into()
}

impl Place {
    /// A domain with an operator (this user) and an agent.
    pub(crate) fn new() -> Self {
        Self::made(TempDir::new().unwrap(), None)
    }

    /// A domain on a file system of two mebibytes, which only its own commands see as such.
    pub(crate) fn on_a_small_disk() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("small")).unwrap();
        let script = "mount -t tmpfs -o size=2m none \"$0\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation=private", "sh", "-c", script]);
        command
            .arg(root.path().join("small"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut said = [0; 8];
        let stdout = holder.stdout.as_mut().unwrap();
        std::io::Read::read_exact(stdout, &mut said).unwrap();
        Self::made(root, Some(holder))
    }

    fn made(root: TempDir, disk: Option<Child>) -> Self {
        let place = Self {
            root,
            preload: None,
            disk,
        };
        fs::create_dir(place.work()).unwrap();
        place.ok(&[
            "init",
            "--name",
            "placet.test/http",
            "--operator",
            "user:op",
        ]);
        // The node that `init` or a command started makes room for the service.
        place
    }

    /// From here on every command loads this library first.
    pub(crate) fn preload(&mut self, library: PathBuf) {
        self.preload = Some(library);
    }

    /// The domain directory, as this process sees it.
    pub(crate) fn dir(&self) -> PathBuf {
        let own = self.own_dir();
        match &self.disk {
            None => own,
            Some(holder) => {
                let seen = PathBuf::from(format!("/proc/{}/root", holder.id()));
                seen.join(own.strip_prefix("/").unwrap())
            }
        }
    }

    /// As its own commands do.
    fn own_dir(&self) -> PathBuf {
        let below = if self.disk.is_some() {
            "small/domain"
        } else {
            "domain"
        };
        self.root.path().join(below)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("http.sock")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.disk {
            None => Command::new(binary()),
            Some(holder) => {
                let mut command = Command::new("nsenter");
                if !rustix::process::geteuid().is_root() {
                    command.args(["--user", "--preserve-credentials"]);
                }
                command.args(["--mount", "--target", &holder.id().to_string()]);
                let wd = format!("--wd={}", self.work().display());
                command.arg(wd).arg("--").arg(binary());
                command
            }
        };
        command
            .args(args)
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path())
            .env("PLACET_DOMAIN", self.own_dir())
            .env("PLACET_PRINCIPAL", "user:op");
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        command
    }

    /// Runs a command that must succeed; gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes the configuration that the next server begins with.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.dir().join("placet.toml"), text).unwrap();
    }

    /// Starts the service on a free port of loopback, and waits until it serves.
    pub(crate) fn up(&self) -> Node<'_> {
        let mut command = self.command(&["up", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .env("PLACET_LOG_FORMAT", "json")
            .env("PLACET_LOG_LEVEL", "debug")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let address = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("it does not serve: {before}"));
            let line = line.unwrap();
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            before.push_str(&format!("{line}\n"));
            if event["event"] == "serving" {
                break event["listen"].as_str().unwrap().parse().unwrap();
            }
        };
        let said = Arc::new(Mutex::new(before));
        // Whatever it says further is read, so that it never waits for a reader.
        let more = Arc::clone(&said);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                more.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Node {
            place: self,
            child,
            address,
            said,
        }
    }

    /// Ends the node that a command started, so that a service can take its place.
    pub(crate) fn stop_node(&self) {
        self.ok(&["node", "stop"]);
        // The lock of the log is the last thing that a node lets go.
        let lock = fs::File::open(self.dir().join("log/lock")).unwrap();
        eventually("the end of the node", || lock.try_lock().ok());
    }

    /// Puts the starter bundle with these changes in force, under another revision.
    pub(crate) fn activate_changed(&self, revision: u64, changes: &[(&str, &str, &str)]) {
        let dir = self.bundle(revision, changes);
        self.ok(&["policy", "activate", dir.to_str().unwrap()]);
    }

    /// The starter bundle with these changes, under another revision, as a directory.
    pub(crate) fn bundle(&self, revision: u64, changes: &[(&str, &str, &str)]) -> PathBuf {
        let dir = self.path(&format!("bundle-{revision}"));
        self.ok(&["policy", "init", dir.to_str().unwrap()]);
        let next = format!("revision = {revision}");
        for (file, from, to) in [changes, &[("bundle.toml", "revision = 1", &next)]].concat() {
            let path = dir.join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
        }
        dir
    }

    /// Puts the starter bundle in force, with these rules about who is who.
    pub(crate) fn map(&self, identities: &str) {
        let dir = self.path("bundle");
        let at = dir.to_str().unwrap();
        if !dir.exists() {
            self.ok(&["policy", "init", at]);
        }
        let file = dir.join("bundle.toml");
        let text = fs::read_to_string(&file).unwrap();
        let revision = text
            .lines()
            .find_map(|line| line.strip_prefix("revision = "));
        let next = revision.unwrap().parse::<u64>().unwrap() + 1;
        let text = text.replace(
            &format!("revision = {}", next - 1),
            &format!("revision = {next}"),
        );
        fs::write(&file, text).unwrap();
        fs::write(dir.join("identities.toml"), identities).unwrap();
        self.ok(&["policy", "activate", at]);
    }

    /// Registers a key with a principal.
    pub(crate) fn register(&self, principal: &str, groups: &[&str], key: &Key) {
        let thumbprint = key.thumbprint();
        let mut args = vec!["principal", "set", principal, "--key", &thumbprint];
        for group in groups {
            args.extend(["--group", group]);
        }
        self.ok(&args);
    }

    /// An intent of the agent to run a program of this machine in the working directory.
    pub(crate) fn intent(&self, principal: &str, argv: &[&str]) -> Value {
        let program = format!("/usr/bin/{}", argv[0]);
        let program = fs::canonicalize(program).unwrap();
        let digest = Digest::of(&fs::read(&program).unwrap());
        json!({
            "action": "process:run",
            "gateway": "http",
            "holder": Key::new(99).base64(),
            "params": {
                "argv": argv, "cwd": self.work(), "env": {}, "home": self.root.path(),
                "workspace": self.work(),
            },
            "principal": principal,
            "resource": { "digest": digest, "id": program, "kind": "Program" },
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut holder) = self.disk.take() {
            drop(holder.stdin.take());
            drop(holder.wait());
        }
    }
}

impl Node<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Over the Unix socket: as the user that the test runs as, who is the operator.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        let text = request(method, path, "placet", &[], body.as_deref());
        let answer = exchange(client::unix(&self.place.socket()), text.as_bytes());
        shapes::hold(method, path, &answer);
        answer
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body))
    }

    /// Over TCP, with these headers.
    pub(crate) fn ask_tcp(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map(Value::to_string);
        let text = request(method, path, &self.host(), headers, body.as_deref());
        let answer = exchange(client::tcp(self.address), text.as_bytes());
        shapes::hold(method, path, &answer);
        answer
    }

    /// Over TCP, proven by a key.
    pub(crate) fn ask_as(
        &self,
        key: &Key,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let bare = path.split('?').next().unwrap();
        let proof = key.proof(method, &format!("http://{}{bare}", self.host()));
        self.ask_tcp(method, path, &[("dpop", &proof)], body)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not end");
    }

    /// Permits an intent and starts it; gives the execution and the artifact.
    pub(crate) fn started(&self, argv: &[&str]) -> String {
        let intent = self.place.intent("agent:coder", argv);
        let permit = self.post("/v1/intents", &intent).expect(201);
        let exec = permit["exec"].as_str().unwrap().to_owned();
        let start = json!({ "artifact": permit["artifact"], "gateway": "http" });
        self.post(&format!("/v1/executions/{exec}/start"), &start)
            .expect(200);
        exec
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Looks again until it is so.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("never: {what}");
}

pub(crate) fn exists(program: &str) -> bool {
    Path::new("/usr/bin").join(program).exists()
}
