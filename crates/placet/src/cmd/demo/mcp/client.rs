//! A client of the Model Context Protocol as a script: it writes a line and reads lines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::Failure;

/// How long a frame may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client, and the gateway that it speaks to. Dropping it ends both.
pub(super) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    next: u64,
}

impl Client {
    /// Starts the gateway and opens a session. The client can show forms.
    pub(super) fn start(mut command: Command) -> Result<Self, Failure> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, lines) = channel();
        let output = output.ok_or_else(|| Failure::new("the gateway has no output"))?;
        thread::Builder::new()
            .name("client".into())
            .spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            })?;
        let mut client = Self {
            child,
            input,
            lines,
            next: 1,
        };
        let opening = json!({
            "protocolVersion": "2025-11-25", "capabilities": { "elicitation": { "form": {} } },
            "clientInfo": { "name": "demo", "version": "1" },
        });
        let id = client.send("initialize", &opening)?;
        let opened = client.answer(id)?;
        if opened.get("error").is_some() {
            return Err(Failure::new(format!("the server did not start: {opened}")));
        }
        client.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(client)
    }

    /// Calls a tool, and gives the id of the request.
    pub(super) fn send_call(&mut self, tool: &str, arguments: &Value) -> Result<u64, Failure> {
        let params = json!({ "name": tool, "arguments": arguments });
        self.send("tools/call", &params)
    }

    /// Calls a tool, and gives its result.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, Failure> {
        let id = self.send_call(tool, arguments)?;
        self.result(id)
    }

    /// The result of a request that was sent.
    pub(super) fn result(&mut self, id: u64) -> Result<Value, Failure> {
        let answer = self.answer(id)?;
        let result = answer.get("result").cloned();
        result.ok_or_else(|| Failure::new(format!("an error of the protocol: {answer}")))
    }

    /// Waits for a question, and says that its user has seen it.
    pub(super) fn accept_question(&mut self) -> Result<String, Failure> {
        loop {
            let frame = self.read()?;
            if frame.get("method") != Some(&json!("elicitation/create")) {
                continue;
            }
            let message = frame.get("params").and_then(|params| params.get("message"));
            let said = message
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let id = frame.get("id").cloned().unwrap_or_default();
            self.write(&json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "accept" } }))?;
            return Ok(said);
        }
    }

    fn send(&mut self, method: &str, params: &Value) -> Result<u64, Failure> {
        let id = self.next;
        self.next += 1;
        let frame = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.write(&frame).map(|()| id)
    }

    fn write(&mut self, frame: &Value) -> Result<(), Failure> {
        let gone = || Failure::new("the gateway is gone");
        let input = self.input.as_mut().ok_or_else(gone)?;
        Ok(input.write_all(format!("{frame}\n").as_bytes())?)
    }

    fn read(&mut self) -> Result<Value, Failure> {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.map_err(|_| Failure::new("the gateway did not answer"))?;
        serde_json::from_str(&line).map_err(|error| Failure::new(error.to_string()))
    }

    fn answer(&mut self, id: u64) -> Result<Value, Failure> {
        loop {
            let frame = self.read()?;
            if frame.get("id") == Some(&json!(id)) && frame.get("method").is_none() {
                return Ok(frame);
            }
        }
    }

    /// Closes the session, and waits until the server's end is recorded.
    pub(super) fn close(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        // One that was waited for is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
