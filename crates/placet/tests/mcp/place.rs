//! A domain whose bundle knows servers, and a client that speaks line by line.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::{Domain, parsed};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What everybody may do with servers, unless a test says otherwise.
pub(crate) const OPEN: &str = r#"
@id("mcp-open") @description("For tests.")
permit (principal, action in Action::"execute", resource)
when { !(resource is Program) };
"#;

/// A domain with a policy for servers, whose programs may read these directories.
pub(crate) fn domain(policy: &str, read: &[&Path]) -> Domain {
    let domain = Domain::new();
    let read: String = read.iter().map(|dir| format!("{dir:?}, ")).collect();
    let dir = domain.path("bundle");
    domain.ok(&["policy", "init", dir.to_str().unwrap()]);
    change(&dir.join("bundle.toml"), "revision = 1", "revision = 2");
    change(
        &dir.join("profiles/operator.toml"),
        "read = [",
        &format!("read = [{read}"),
    );
    // In the place of the starter's examples.
    fs::write(dir.join("policies/mcp.cedar"), policy).unwrap();
    for expected in ["tests/mcp.toml", "tests/network.toml"] {
        fs::remove_file(dir.join(expected)).unwrap();
    }
    domain.ok(&["policy", "activate", dir.to_str().unwrap()]);
    fs::write(domain.work().join("server.py"), include_str!("server.py")).unwrap();
    domain
}

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// A client of a server, through the gateway or directly.
pub(crate) struct Client {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    next: u64,
}

impl Client {
    /// The small server of these tests, behind the gateway.
    pub(crate) fn of_test_server(domain: &Domain) -> Self {
        Self::through(domain, "notes", &["/usr/bin/python3", "server.py"])
    }

    /// A server behind the gateway.
    pub(crate) fn through(domain: &Domain, name: &str, server: &[&str]) -> Self {
        let gateway = ["mcp", "--name", name, "--grace", "1", "--"];
        let mut client = Self::start(&mut domain.command(&[&gateway[..], server].concat()));
        client.open();
        client
    }

    /// Any command that speaks the protocol.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            lines,
            next: 1,
        }
    }

    /// The handshake.
    pub(crate) fn open(&mut self) -> Value {
        let answer = self.ask(
            "initialize",
            json!({
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            }),
        );
        self.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer
    }

    /// The first request, which may be answered with an error.
    pub(crate) fn open_or_fail(&mut self) -> Value {
        self.ask(
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {} }),
        )
    }

    pub(crate) fn write(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Sends a request and gives its id.
    pub(crate) fn send(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let frame = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.write(&frame.to_string());
        id
    }

    /// The next frame.
    pub(crate) fn read(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("an answer comes");
        serde_json::from_str(&line).unwrap()
    }

    /// The answer to a request; what is said meanwhile is passed over.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let frame = self.read();
            if frame["id"] == id && frame.get("method").is_none() {
                return frame;
            }
        }
    }

    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    pub(crate) fn send_call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.send(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        )
    }

    /// Calls a tool and gives what it answers.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.send_call(tool, arguments);
        self.answer(id)["result"].clone()
    }

    /// Calls a tool, which must be denied; gives what a program can read of it.
    pub(crate) fn denied(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        let said = result["_meta"]["placet.dev/denial"].clone();
        assert!(said.is_object(), "{result}");
        said
    }

    /// Names of the tools that are shown.
    pub(crate) fn tools(&mut self) -> Vec<String> {
        let answer = self.ask("tools/list", json!({}));
        let tools = answer["result"]["tools"].as_array().unwrap();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect()
    }

    /// Closes the client's end and waits for the gateway to go.
    pub(crate) fn close(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        // One that was waited for already has ended.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
    }
}

/// JSON, one value a line.
pub(crate) fn parsed_lines(text: &str) -> Vec<Value> {
    text.lines().map(parsed).collect()
}

/// The records of a domain, as programs read them.
pub(crate) fn records(domain: &Domain) -> Vec<Value> {
    let all = domain.ok(&["log", "tail", "-n", "100000", "--json"]);
    parsed_lines(&all)
}

/// What became of each call of a tool, in order: its outcome, and why.
pub(crate) fn ends(domain: &Domain, tool: &str) -> Vec<(String, Value)> {
    let records = records(domain);
    let decided = |exec: &Value| {
        let of = |record: &&Value| {
            record["kind"] == "decided"
                && record["exec"] == *exec
                && record["record"]["intent"]["resource"]["id"] == tool
        };
        records.iter().any(|record| of(&record))
    };
    records
        .iter()
        .filter(|record| record["kind"] == "ended" && decided(&record["exec"]))
        .map(|record| {
            let outcome = record["record"]["outcome"].as_str().unwrap().to_owned();
            (outcome, record["record"]["cause"].clone())
        })
        .collect()
}
