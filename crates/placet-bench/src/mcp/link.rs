//! A client over HTTP, as small as it can be: one connection that is kept, one request at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::client::call;

/// How long somebody may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A connection, and what each of its requests has.
pub(super) struct Link {
    stream: BufReader<TcpStream>,
    port: u16,
    path: &'static str,
    tool: &'static str,
    headers: String,
}

/// An answer.
pub(super) struct Answered {
    /// With line ends.
    pub(super) head: String,
    pub(super) body: String,
}

impl Link {
    pub(super) fn open(
        port: u16,
        path: &'static str,
        tool: &'static str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut link = Self {
            stream: connected(port),
            port,
            path,
            tool,
            headers: format!("Host: 127.0.0.1:{port}\r\n"),
        };
        headers
            .iter()
            .for_each(|(name, value)| link.say(name, value));
        link
    }

    /// Goes on over another connection: one that stood idle may have been closed.
    pub(super) fn reopen(&mut self) {
        self.stream = connected(self.port);
    }

    /// Says this with each request from now on.
    pub(super) fn say(&mut self, name: &str, value: &str) {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
    }

    /// Calls the tool; what it answers must be what it was told.
    pub(super) fn call(&mut self, id: u64) {
        let tool = format!(r#""name":"{}""#, self.tool);
        let frame = call(id).replace(r#""name":"echo""#, &tool);
        let answer = self.post(self.path, &frame).body;
        assert!(answer.contains("a sentence"), "{answer}");
    }

    pub(super) fn post(&mut self, path: &str, body: &str) -> Answered {
        let request = format!(
            "POST {path} HTTP/1.1\r\n{}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            self.headers,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut head).expect("an answer");
            assert!(read > 0, "the connection was closed: {head}");
        }
        let length = header(&head, "content-length").map_or(0, |it| it.parse().expect("a number"));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("an answer");
        let body = String::from_utf8(body).expect("text");
        Answered { head, body }
    }
}

/// What a header of a head says.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let value = headers.find(|(of, _)| of.eq_ignore_ascii_case(name))?.1;
    Some(value.trim())
}

fn connected(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    BufReader::new(stream)
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until somebody listens.
pub(super) fn await_port(port: u16) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "nobody listens");
        thread::sleep(LOOK);
    }
}
