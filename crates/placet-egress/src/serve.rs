//! One client of the proxy: what it asks for, whether that is in scope, and the answer.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use placet_types::{HostName, PeerRule};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::time::{ClockId, clock_gettime};

use crate::chunked::Chunked;
use crate::head::{self, Ask, Body, Forward, HEAD_BYTES_MAX, Problem};
use crate::host::{Authority, Host};
use crate::proxy::{Decided, Shared};
use crate::reach::Refused;
use crate::relay::{Relay, Upward};
use crate::report::{Ended, Event, Opened, Way, host_text};
use crate::socks::{self, Reply, Request};

/// How long a client may take to say what it wants.
const ASK_MS_MAX: u64 = 10_000;
/// How long a name may take, and an address, and how many addresses of a name are tried.
const RESOLVE_MS_MAX: u64 = 10_000;
const CONNECT_MS_MAX: u64 = 10_000;
const ADDRESSES_TRIED: usize = 4;
/// How long a client that was refused is listened to, so that it hears why.
const FAREWELL_MS: u64 = 500;

/// Why a client is not connected.
enum Unserved {
    Refused(Refused),
    /// There is no such name, or no answer in time.
    NoName,
    NoAnswer,
    PeerRefuses,
    /// Everything ends, or the client is gone.
    Over,
}

/// A peer that was reached.
struct Reached {
    peer: Arc<TcpStream>,
    address: SocketAddr,
    rule: PeerRule,
}

/// A client, what it has sent and when it has to be done with that.
struct Client<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    said: Vec<u8>,
    until_ms: u64,
}

/// Serves one connection to its end.
pub(crate) fn client(shared: &Shared, stream: &TcpStream) {
    let ready = stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok();
    let mut client = Client {
        shared,
        stream,
        said: Vec::new(),
        until_ms: now_ms().saturating_add(ASK_MS_MAX),
    };
    if !ready || !client.hear_more() {
        return;
    }
    if client.said.first() == Some(&socks::VERSION) {
        client.socks();
    } else {
        client.http();
    }
}

impl Client<'_> {
    /// Reads what comes next; `false` when there is nothing more, or no more time.
    fn hear_more(&mut self) -> bool {
        let Some(left) = self.until_ms.checked_sub(now_ms()) else {
            return false;
        };
        let room = HEAD_BYTES_MAX.saturating_sub(self.said.len());
        if room == 0 || !self.wait(self.stream, PollFlags::IN, left) {
            return false;
        }
        let mut part = vec![0; room.min(4096)];
        let read = (&mut &*self.stream).read(&mut part).unwrap_or(0);
        self.said.extend(part.get(..read).unwrap_or_default());
        read > 0
    }

    /// Whether a socket is ready in time, and before everything ends.
    fn wait(&self, socket: &impl AsFd, flags: PollFlags, ms: u64) -> bool {
        let mut polled = [
            PollFd::from_borrowed_fd(self.shared.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), flags),
        ];
        let timeout = Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000)
                .unwrap_or(0)
                .saturating_mul(1_000_000),
        };
        rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout))).unwrap_or(0);
        let [bell, socket] = &polled;
        bell.revents().is_empty() && !socket.revents().is_empty()
    }

    /// Says a short thing: a fresh socket has room for it.
    fn say(&self, bytes: &[u8]) -> bool {
        let wrote = (&mut &*self.stream).write(bytes);
        wrote.is_ok_and(|wrote| wrote == bytes.len())
    }

    /// Closes so that the client hears what it was told last, though it may have said more.
    fn farewell(&mut self) {
        self.stream
            .shutdown(std::net::Shutdown::Write)
            .unwrap_or(());
        self.until_ms = now_ms().saturating_add(FAREWELL_MS);
        for _ in 0..16 {
            self.said.clear();
            if !self.hear_more() {
                return;
            }
        }
    }

    fn http(&mut self) {
        let (ask, len) = loop {
            match head::read(&self.said) {
                Ok(Some(read)) => break read,
                Ok(None) if self.hear_more() => {}
                Ok(None) => return self.http_silence(),
                Err(problem) => return self.http_malformed(problem),
            }
        };
        let pending = self.said.split_off(len.min(self.said.len()));
        match ask {
            Ask::Tunnel(to) => self.tunnel(&to, &pending),
            Ask::Forward(forward) => self.forward(forward, &pending),
        }
    }

    fn tunnel(&mut self, to: &Authority, pending: &[u8]) {
        match self.reach(Way::Tunnel, to) {
            Ok(reached) => {
                if self.say(b"HTTP/1.1 200 Connection established\r\n\r\n") {
                    self.relay(
                        &reached,
                        to,
                        Way::Tunnel,
                        (Vec::new(), pending),
                        Upward::Stream,
                    );
                }
            }
            Err(unserved) => self.http_unserved(to, &unserved),
        }
    }

    fn forward(&mut self, forward: Forward, pending: &[u8]) {
        let Forward { to, head, body } = forward;
        match self.reach(Way::Http, &to) {
            Ok(reached) => {
                let upward = match body {
                    Body::Sized(length) => Upward::Sized(length),
                    Body::Chunked => Upward::Chunked(Chunked::default()),
                };
                self.relay(&reached, &to, Way::Http, (head, pending), upward);
            }
            Err(unserved) => self.http_unserved(&to, &unserved),
        }
    }

    fn relay(
        &self,
        reached: &Reached,
        to: &Authority,
        way: Way,
        (before, pending): (Vec<u8>, &[u8]),
        upward: Upward,
    ) {
        let id = self.shared.next_id();
        let opened = Opened {
            id,
            way,
            host: to.host.to_string(),
            address: reached.address,
            rule: reached.rule.clone(),
        };
        let open = self.shared.opened(id, &reached.peer);
        self.shared.events.put(Event::Opened(Box::new(opened)));
        let relay = Relay::new(
            self.stream,
            &reached.peer,
            self.shared.bell(),
            (upward, self.shared.carried()),
        );
        let carried = relay.run(before, pending);
        drop(open);
        self.shared.events.put(Event::Ended(Ended {
            id,
            sent: carried.sent,
            received: carried.received,
        }));
    }

    /// Connects to a peer, if it is in scope.
    fn reach(&self, way: Way, to: &Authority) -> Result<Reached, Unserved> {
        let reached = self.try_reach(to);
        let (host, port) = (host_text(&to.host.to_string()), to.port);
        match &reached {
            Ok(_) | Err(Unserved::Over) => {}
            Err(Unserved::Refused(why)) => self.shared.events.put(Event::Refused {
                way,
                host,
                port,
                why: *why,
            }),
            Err(Unserved::NoName | Unserved::NoAnswer | Unserved::PeerRefuses) => {
                self.shared.events.put(Event::Failed { way, host, port });
            }
        }
        reached
    }

    fn try_reach(&self, to: &Authority) -> Result<Reached, Unserved> {
        let rule = self.shared.reach.rule(to).map_err(Unserved::Refused)?;
        // Before anybody is asked about the name.
        match self.shared.decide(host_text(&to.host.to_string()), to.port) {
            Decided::Allowed => {}
            Decided::Denied => return Err(Unserved::Refused(Refused::Denied)),
            Decided::Unanswered => return Err(Unserved::Refused(Refused::Unanswered)),
            Decided::Over => return Err(Unserved::Over),
        }
        let addresses = match &to.host {
            Host::Address(address) => vec![SocketAddr::new(*address, to.port)],
            Host::Name(name) => {
                if !self.shared.may_look_up(name) {
                    return Err(Unserved::Refused(Refused::TooManyNames));
                }
                let found = self.resolve(name)?;
                let judged = self.shared.judged(&found, to.port);
                if judged.is_empty() && !found.is_empty() {
                    return Err(Unserved::Refused(Refused::LeadsInside));
                }
                judged
            }
        };
        let mut last = Unserved::NoName;
        for address in addresses.into_iter().take(ADDRESSES_TRIED) {
            match self.connect(address) {
                Ok(peer) => {
                    return Ok(Reached {
                        peer: Arc::new(peer),
                        address,
                        rule,
                    });
                }
                Err(Unserved::Over) => return Err(Unserved::Over),
                Err(unserved) => last = unserved,
            }
        }
        Err(last)
    }

    /// Looks a name up, once.
    fn resolve(&self, name: &HostName) -> Result<Vec<IpAddr>, Unserved> {
        let (answer, answered) = sync_channel(1);
        let asked = self.shared.resolver.ask(
            name.clone(),
            // Who asked may have stopped waiting.
            Box::new(move |found| answer.send(found).unwrap_or(())),
        );
        if !asked {
            return Err(Unserved::NoAnswer);
        }
        let until = now_ms().saturating_add(RESOLVE_MS_MAX);
        while now_ms() < until {
            if self.shared.is_closing() {
                return Err(Unserved::Over);
            }
            match answered.recv_timeout(Duration::from_millis(100)) {
                Ok(found) => return found.map_err(|_| Unserved::NoName),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Unserved::NoName),
            }
        }
        Err(Unserved::NoAnswer)
    }

    fn connect(&self, address: SocketAddr) -> Result<TcpStream, Unserved> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(ipproto::TCP);
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, protocol)
            .map_err(|_| Unserved::NoAnswer)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                if !self.wait(&socket, PollFlags::OUT, CONNECT_MS_MAX) {
                    let over = self.shared.is_closing();
                    return Err(if over {
                        Unserved::Over
                    } else {
                        Unserved::NoAnswer
                    });
                }
                let outcome = sockopt::socket_error(&socket).unwrap_or(Err(Errno::IO));
                outcome.map_err(failed)?;
            }
            Err(errno) => return Err(failed(errno)),
        }
        let peer = TcpStream::from(socket);
        peer.set_nodelay(true).map_err(|_| Unserved::NoAnswer)?;
        Ok(peer)
    }

    fn http_unserved(&mut self, to: &Authority, unserved: &Unserved) {
        let (status, error, words) = match unserved {
            Unserved::Over => return,
            Unserved::Refused(why) => ("403 Forbidden", "http_request_denied", why.words()),
            Unserved::NoName => ("502 Bad Gateway", "dns_error", "there is no such host"),
            Unserved::NoAnswer => (
                "504 Gateway Timeout",
                "connection_timeout",
                "there was no answer in time",
            ),
            Unserved::PeerRefuses => (
                "502 Bad Gateway",
                "connection_refused",
                "nobody listens there",
            ),
        };
        self.http_error(status, error, &format!("{to}: {words}"));
    }

    fn http_malformed(&mut self, problem: Problem) {
        self.shared.events.put(Event::Refused {
            way: Way::Http,
            host: String::new(),
            port: 0,
            why: Refused::Malformed,
        });
        let status = match problem {
            Problem::TooLong => "431 Request Header Fields Too Large",
            Problem::Malformed(_) => "400 Bad Request",
        };
        self.http_error(status, "http_request_error", &problem.to_string());
    }

    /// A head that did not come to its end in time.
    fn http_silence(&mut self) {
        if !self.shared.is_closing() && self.until_ms <= now_ms() {
            let words = "the request did not come to its end in time";
            self.http_error("408 Request Timeout", "http_request_error", words);
        }
    }

    fn http_error(&mut self, status: &str, error: &str, words: &str) {
        let body = format!("placet: {words}\n");
        let answer = format!(
            "HTTP/1.1 {status}\r\nProxy-Status: placet; error={error}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        if self.say(answer.as_bytes()) {
            self.farewell();
        }
    }

    /// Waits for what `read` recognizes and takes it off.
    fn socks_part<T>(&mut self, read: fn(&[u8]) -> socks::Read<T>) -> Option<T> {
        loop {
            match read(&self.said) {
                socks::Read::Complete(part, len) => {
                    self.said = self.said.split_off(len.min(self.said.len()));
                    return Some(part);
                }
                socks::Read::Incomplete if self.hear_more() => {}
                socks::Read::Incomplete => return None,
                socks::Read::Invalid => {
                    self.malformed_socks();
                    return None;
                }
            }
        }
    }

    fn malformed_socks(&self) {
        self.shared.events.put(Event::Refused {
            way: Way::Socks,
            host: String::new(),
            port: 0,
            why: Refused::Malformed,
        });
    }

    fn socks(&mut self) {
        let Some(unauthenticated) = self.socks_part(socks::greeting) else {
            return;
        };
        let method = if unauthenticated { 0 } else { 0xff };
        if !self.say(&[socks::VERSION, method]) || !unauthenticated {
            return;
        }
        let Some(request) = self.socks_part(socks::request) else {
            return;
        };
        let reply = match request {
            Request::Unsupported => Reply::NotSupported,
            Request::Nowhere => {
                self.malformed_socks();
                Reply::NotAllowed
            }
            Request::Connect(to) => match self.reach(Way::Socks, &to) {
                Ok(reached) => {
                    if self.say(&Reply::Succeeded.bytes()) {
                        let pending = std::mem::take(&mut self.said);
                        let pending = (Vec::new(), pending.as_slice());
                        self.relay(&reached, &to, Way::Socks, pending, Upward::Stream);
                    }
                    return;
                }
                Err(Unserved::Over) => return,
                Err(Unserved::Refused(_)) => Reply::NotAllowed,
                Err(Unserved::NoName) => Reply::Unreachable,
                Err(Unserved::NoAnswer) => Reply::Failed,
                Err(Unserved::PeerRefuses) => Reply::ConnectionRefused,
            },
        };
        if self.say(&reply.bytes()) {
            self.farewell();
        }
    }
}

fn failed(errno: Errno) -> Unserved {
    match errno {
        Errno::CONNREFUSED => Unserved::PeerRefuses,
        _ => Unserved::NoAnswer,
    }
}

fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    secs.saturating_mul(1000).saturating_add(millis)
}
