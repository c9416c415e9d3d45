//! A client over a Unix socket that keeps its connection.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::stats::Samples;

/// A connection that is kept.
pub(super) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// What many clients saw.
pub(super) struct Seen {
    /// Times of answers with a status below 300.
    pub(super) done: Samples,
    /// Times of 503.
    pub(super) refused: Samples,
    pub(super) took: Duration,
}

impl Client {
    pub(super) fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Sends a request; gives the status and the body of the answer.
    pub(super) fn ask(&mut self, request: &[u8]) -> std::io::Result<(u16, String)> {
        self.stream.write_all(request)?;
        let mut have = 0;
        loop {
            if have == self.buffer.len() {
                self.buffer.resize(have * 2, 0);
            }
            let room = self.buffer.get_mut(have..).unwrap_or_default();
            let read = self.stream.read(room)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            have += read;
            let all = self.buffer.get(..have).unwrap_or_default();
            let Some(end) = all.windows(4).position(|part| part == b"\r\n\r\n") else {
                continue;
            };
            let (head, body) = all.split_at(end + 4);
            let head = String::from_utf8_lossy(head);
            if body.len() >= length(&head) {
                let status = head
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok());
                let body = String::from_utf8_lossy(body).into_owned();
                return Ok((status.unwrap_or(0), body));
            }
        }
    }
}

fn length(head: &str) -> usize {
    let line = head.lines().find(|line| {
        line.get(..15)
            .is_some_and(|name| name.eq_ignore_ascii_case("content-length:"))
    });
    let length = line.and_then(|line| line.get(15..));
    length
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0)
}

pub(super) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: placet\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// The body of what can be got now.
pub(super) fn get(socket: &Path, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: placet\r\n\r\n");
    let (status, body) = Client::connect(socket).ok()?.ask(request.as_bytes()).ok()?;
    (status == 200).then_some(body)
}

/// Many connections, each asking the next of the requests as soon as it is answered, `count` times
/// together.
pub(super) fn run(socket: &Path, requests: &[Vec<u8>], connections: u64, count: u64) -> Seen {
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(socket).expect("a connection");
                    let (mut done, mut refused) = (Vec::new(), Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let at = usize::try_from(number).expect("a count") % requests.len();
                        let Some(request) = requests.get(at).filter(|_| number < count) else {
                            break;
                        };
                        let began = Instant::now();
                        let (status, body) = client.ask(request).expect("an answer");
                        match status {
                            200..300 => done.push(began.elapsed()),
                            503 => refused.push(began.elapsed()),
                            _ => panic!("{status}: {body}"),
                        }
                    }
                    (done, refused)
                })
            })
            .collect();
        for client in clients {
            let (some, others) = client.join().expect("a client");
            done.extend(some);
            refused.extend(others);
        }
    });
    Seen {
        done: Samples::new(done),
        refused: Samples::new(refused),
        took: began.elapsed(),
    }
}
