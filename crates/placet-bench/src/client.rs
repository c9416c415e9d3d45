//! Clients over a Unix socket that keep their connections: one that waits, and many on one thread.
//!
//! Clients stand on the same cores as what is measured. A thread for each would have the kernel change
//! between them for every answer, which costs as much as the answer does.

use std::cell::Cell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use crate::stats::Samples;

/// Bytes that most answers fit in.
const ROOM: usize = 64 << 10;

/// A connection that is kept.
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// What many clients saw.
pub(crate) struct Seen {
    /// Times of answers with a status below 300.
    pub(crate) done: Samples,
    /// Times of 503.
    pub(crate) refused: Samples,
    pub(crate) took: Duration,
}

/// What one client saw.
#[derive(Default)]
struct Times {
    done: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Seen {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done.count() as f64 / self.took.as_secs_f64()
    }
}

impl Times {
    fn take(&mut self, took: Duration, status: u16, body: &[u8]) {
        match status {
            200..300 => self.done.push(took),
            503 => self.refused.push(took),
            _ => panic!("{status}: {}", String::from_utf8_lossy(body)),
        }
    }
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let buffer = vec![0; ROOM];
        Ok(Self { stream, buffer })
    }

    /// Sends a request; gives the status and the body of the answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> std::io::Result<(u16, String)> {
        self.answer(request)
            .map(|(status, body)| (status, String::from_utf8_lossy(body).into_owned()))
    }

    fn answer(&mut self, request: &[u8]) -> std::io::Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        let mut have = 0;
        while whole(&self.buffer, have).is_none() {
            let read = self.stream.read(room(&mut self.buffer, have))?;
            have += some(read)?;
        }
        whole(&self.buffer, have).ok_or_else(|| ErrorKind::InvalidData.into())
    }
}

/// Where the next bytes go.
fn room(buffer: &mut Vec<u8>, have: usize) -> &mut [u8] {
    if have == buffer.len() {
        buffer.resize(have * 2, 0);
    }
    buffer.get_mut(have..).unwrap_or_default()
}

fn some(read: usize) -> std::io::Result<usize> {
    if read == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(read)
}

/// Status and body of the answer, if it is all there.
fn whole(buffer: &[u8], have: usize) -> Option<(u16, &[u8])> {
    let all = buffer.get(..have)?;
    let end = all.windows(4).position(|part| part == b"\r\n\r\n")?;
    let (head, body) = all.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length(&head)).then_some((status, body))
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

pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: placet\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// The body of what can be got now.
pub(crate) fn get(socket: &Path, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: placet\r\n\r\n");
    let (status, body) = Client::connect(socket).ok()?.ask(request.as_bytes()).ok()?;
    (status == 200).then_some(body)
}

/// Many connections, each asking the next of the requests as soon as it is answered, `count` times
/// together.
pub(crate) fn run(socket: &Path, requests: &[Vec<u8>], connections: u64, count: u64) -> Seen {
    let began = Instant::now();
    let times = if connections == 1 {
        alone(socket, requests, count)
    } else {
        together(socket, requests, connections, count)
    };
    Seen {
        done: Samples::new(times.done),
        refused: Samples::new(times.refused),
        took: began.elapsed(),
    }
}

/// The request with this number: each in its turn.
fn nth(requests: &[Vec<u8>], number: u64) -> &[u8] {
    let at = usize::try_from(number).expect("a count") % requests.len();
    requests.get(at).expect("it is one of them")
}

fn alone(socket: &Path, requests: &[Vec<u8>], count: u64) -> Times {
    let mut client = Client::connect(socket).expect("a connection");
    let mut times = Times::default();
    for number in 0..count {
        let began = Instant::now();
        let (status, body) = client.answer(nth(requests, number)).expect("an answer");
        times.take(began.elapsed(), status, body);
    }
    times
}

fn together(socket: &Path, requests: &[Vec<u8>], connections: u64, count: u64) -> Times {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    let all = Rc::new(Requests {
        count,
        next: Cell::new(0),
        requests: requests.to_vec(),
        socket: socket.to_owned(),
    });
    let set = LocalSet::new();
    let clients: Vec<_> = (0..connections)
        .map(|_| set.spawn_local(ask_on(Rc::clone(&all))))
        .collect();
    set.block_on(&runtime, async {
        let mut times = Times::default();
        for client in clients {
            let Times { done, refused } = client.await.expect("a client");
            times.done.extend(done);
            times.refused.extend(refused);
        }
        times
    })
}

/// What many connections ask together.
struct Requests {
    count: u64,
    next: Cell<u64>,
    requests: Vec<Vec<u8>>,
    socket: PathBuf,
}

/// Asks on one of many connections, until together they have asked as often as they should.
async fn ask_on(all: Rc<Requests>) -> Times {
    let stream = tokio::net::UnixStream::connect(&all.socket).await;
    let mut stream = stream.expect("a connection");
    let (mut times, mut buffer) = (Times::default(), vec![0; ROOM]);
    while all.next.get() < all.count {
        let number = all.next.replace(all.next.get() + 1);
        let began = Instant::now();
        let request = nth(&all.requests, number);
        stream.write_all(request).await.expect("it is sent");
        let mut have = 0;
        while whole(&buffer, have).is_none() {
            let read = stream.read(room(&mut buffer, have)).await;
            have += read.and_then(some).expect("an answer");
        }
        let (status, body) = whole(&buffer, have).expect("it is there");
        times.take(began.elapsed(), status, body);
    }
    times
}
