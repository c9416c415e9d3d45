//! A gateway that listens, and a client that says exactly what it is told to over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::domain::{Domain, await_some};

const PATIENCE: Duration = Duration::from_secs(60);
/// What every request of a client carries.
const USUAL: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

/// A gateway that listens, and ends with the test.
pub(crate) struct Listening {
    pub(crate) child: Child,
    pub(crate) port: u16,
    pub(crate) token: String,
    pub(crate) notes: Arc<Mutex<String>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A response that still comes.
pub(crate) struct Stream {
    pub(crate) status: u16,
    pub(crate) head: String,
    reader: BufReader<TcpStream>,
    pub(crate) last: String,
}

/// A session.
pub(crate) struct Session<'a> {
    pub(crate) gateway: &'a Listening,
    pub(crate) id: String,
    pub(crate) token: String,
    next: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // One that has ended already is as good.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
    }
}

impl Listening {
    /// The small server of these tests, for clients over HTTP.
    pub(crate) fn of_test_server(domain: &Domain, more: &[&str]) -> Self {
        let server = ["--name", "notes", "--", "/usr/bin/python3", "server.py"];
        Self::start(domain, &[more, &server].concat())
    }

    pub(crate) fn start(domain: &Domain, more: &[&str]) -> Self {
        let token = domain.path("gateway.token");
        let token = token.to_str().unwrap();
        let gateway = ["mcp", "--grace", "1", "--token-file", token];
        let listen = ["--listen", "127.0.0.1:0"];
        let is_elsewhere = more.contains(&"--listen");
        let listen: &[&str] = if is_elsewhere { &[] } else { &listen };
        let mut child = domain
            .command(&[&gateway[..], listen, more].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let notes = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&notes);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                said.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let port = await_some("the gateway listens", || {
            let notes = notes.lock().unwrap();
            let over = child.try_wait().unwrap();
            assert!(over.is_none(), "the gateway left, {over:?}: {notes}");
            let (_, rest) = notes.split_once("listening on http")?;
            let (url, _) = rest.split_once("/mcp,")?;
            url.rsplit_once(':')?.1.parse().ok()
        });
        let token = std::fs::read_to_string(token).unwrap().trim().to_owned();
        Self {
            child,
            port,
            token,
            notes,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Asks it to leave, and waits.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and reads all that comes back.
    pub(crate) fn raw(&self, bytes: &str) -> String {
        let mut stream = self.connect();
        // It may be closed before all was read.
        stream.write_all(bytes.as_bytes()).unwrap_or(());
        let mut all = Vec::new();
        // A connection that is reset has said what it said.
        stream.read_to_end(&mut all).unwrap_or(0);
        String::from_utf8_lossy(&all).into_owned()
    }

    fn head(&self, method: &str, token: &str, headers: &str, length: usize) -> String {
        let length = if method == "POST" {
            format!("Content-Length: {length}\r\n")
        } else {
            String::new()
        };
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: 127.0.0.1:{}\r\n", self.port)
        };
        let token = if token.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        let usual = if headers.contains("Accept:") {
            ""
        } else {
            USUAL
        };
        format!(
            "{method} /mcp HTTP/1.1\r\n{host}{token}{usual}{headers}{length}Connection: close\r\n\r\n"
        )
    }

    /// One request, and all of its answer.
    pub(crate) fn request(&self, method: &str, token: &str, headers: &str, body: &str) -> Reply {
        let head = self.head(method, token, headers, body.len());
        let said = self.raw(&format!("{head}{body}"));
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Reply {
            status: status.unwrap_or(0),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// One request, and its answer as it comes.
    pub(crate) fn stream(&self, method: &str, token: &str, headers: &str, body: &str) -> Stream {
        let mut stream = self.connect();
        let head = self.head(method, token, headers, body.len());
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        Stream {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            reader,
            last: String::new(),
        }
    }

    /// Begins a session.
    pub(crate) fn open(&self) -> Session<'_> {
        self.open_as(&self.token, json!({}))
    }

    pub(crate) fn open_as(&self, token: &str, capabilities: Value) -> Session<'_> {
        self.begin(token, &opening(capabilities))
    }

    /// Begins a session with these words.
    pub(crate) fn begin(&self, token: &str, opening: &str) -> Session<'_> {
        let opened = self.request("POST", token, "", opening);
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = Session {
            gateway: self,
            id: opened.header("mcp-session-id").expect("a session"),
            token: token.to_owned(),
            next: 1,
        };
        let said = session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(said.status, 202, "{said:?}");
        session
    }
}

/// The request that begins a session.
pub(crate) fn opening(capabilities: Value) -> String {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": { "name": "test", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string()
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")))?;
        Some(value.to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

impl Stream {
    /// The next message; where it can be taken up from is remembered.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            if let Some(id) = line.strip_prefix("id: ") {
                self.last = id.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ")
                && !data.trim().is_empty()
            {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

impl Stream {
    /// The answer to this request; what is said before it is passed over.
    pub(crate) fn answer(mut self, id: u64) -> Value {
        assert_eq!(self.status, 200, "{}", self.head);
        if self.head.contains("text/event-stream") {
            loop {
                let message = self.next().expect("an answer comes");
                if message["id"] == id && message.get("method").is_none() {
                    return message;
                }
            }
        }
        let mut body = String::new();
        self.reader.read_to_string(&mut body).unwrap();
        serde_json::from_str(&body).unwrap()
    }
}

impl Session<'_> {
    pub(crate) fn headers(&self) -> String {
        format!(
            "Mcp-Session-Id: {}\r\nMCP-Protocol-Version: 2025-11-25\r\n",
            self.id
        )
    }

    pub(crate) fn post(&self, body: &str) -> Reply {
        self.gateway
            .request("POST", &self.token, &self.headers(), body)
    }

    pub(crate) fn frame(&mut self, method: &str, params: &Value) -> String {
        self.next += 1;
        json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params }).to_string()
    }

    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let frame = self.frame(method, &params);
        self.send(&frame).answer(self.next)
    }

    /// A request whose answer is read as it comes.
    pub(crate) fn send(&self, frame: &str) -> Stream {
        self.gateway
            .stream("POST", &self.token, &self.headers(), frame)
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        self.ask("tools/call", params)["result"].clone()
    }

    /// The stream of the session, or one that broke.
    pub(crate) fn hear(&self, last: &str) -> Stream {
        let last = if last.is_empty() {
            String::new()
        } else {
            format!("Last-Event-ID: {last}\r\n")
        };
        let headers = format!("{}{last}", self.headers());
        self.gateway.stream("GET", &self.token, &headers, "")
    }

    pub(crate) fn end(&self) -> Reply {
        self.gateway
            .request("DELETE", &self.token, &self.headers(), "")
    }
}
