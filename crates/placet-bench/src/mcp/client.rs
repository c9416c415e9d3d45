//! A client on pipes, as small as it can be.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A client, and the process that it speaks to.
pub(super) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
    line: String,
}

/// What is called, each time the same: 350 bytes of frame with its envelope.
pub(super) fn call(id: u64) -> String {
    let message =
        "a sentence of some length that an agent might well say to a tool of a server, twice; ";
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{message}{message}","count":3,"flag":true}},"_meta":{{"progressToken":"t-{id}","example.com/trace":"00-4bf92f3577b34da6"}}}}}}"#
    )
}

impl Client {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self {
            input: child.stdin.take(),
            child,
            output,
            next: 1,
            line: String::new(),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn open(&mut self) {
        self.write(r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#);
        self.receive();
        self.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        self.write(r#"{"jsonrpc":"2.0","id":"list","method":"tools/list"}"#);
        self.receive();
    }

    pub(super) fn call(&mut self) {
        self.send();
        self.receive();
    }

    pub(super) fn send(&mut self) {
        let frame = call(self.next);
        self.next += 1;
        self.write(&frame);
    }

    /// Takes one answer, which must be none of an error.
    pub(super) fn receive(&mut self) {
        self.line.clear();
        let read = self.output.read_line(&mut self.line).expect("an answer");
        let is_good =
            read > 0 && !self.line.contains("isError") && !self.line.contains("\"error\"");
        assert!(is_good, "{}", self.line);
    }

    fn write(&mut self, frame: &str) {
        let input = self.input.as_mut().expect("it is open");
        let line = format!("{frame}\n");
        input.write_all(line.as_bytes()).expect("it reads");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}
