//! Hears from the kernel how much went over a TCP connection, when its socket is destroyed; and asks how
//! much has gone over those that are open.
//!
//! sock_diag(7) multicasts `struct inet_diag_msg` with the `struct tcp_info` of each destroyed
//! socket of the network namespace. Those of other programs are skipped. It answers the same about a socket
//! that is named by its addresses and its cookie. No descriptor of it is kept for that: it would keep the
//! connection open.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ConnectId, Traffic};
use crate::sys;

/// Connections that are waited for; what is beyond is not counted.
const OPEN_MAX: usize = 16_384;
const MESSAGE_BYTES_MAX: usize = 8192;

/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_msg`, and where in it the cookie stands.
const DIAG_BYTES: usize = 72;
const COOKIE_AT: usize = 44;
const INET_DIAG_INFO: u16 = 2;
/// Where in `struct tcp_info` `tcpi_bytes_acked` and `tcpi_bytes_received` stand.
const ACKED_AT: usize = 120;
const RECEIVED_AT: usize = 128;

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const QUESTION_BYTES: usize = 72;
type Question = [u8; QUESTION_BYTES];
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;

pub(super) struct Meter {
    socket: OwnedFd,
    open: Arc<Open>,
}

/// The connections whose end has not been heard of, by their sockets' cookies.
pub(super) struct Open {
    /// Asks about them.
    questions: OwnedFd,
    known: Mutex<HashMap<u64, Connection>>,
}

struct Connection {
    id: ConnectId,
    /// What the kernel is asked about it; `None` where its addresses are not known.
    question: Option<Question>,
    /// What it answered last: the kernel's word about the end comes from a queue, and can be late.
    seen: Option<Traffic>,
}

impl Open {
    fn known(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        // Every change is complete before anything could panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has gone over all that are open now. One that is being closed may be left out.
    pub(super) fn traffic(&self) -> Traffic {
        let nothing = Traffic {
            sent: 0,
            received: 0,
        };
        // Held throughout: two who ask at once would read each other's answers.
        let mut known = self.known();
        let each = known.iter_mut().filter_map(|(cookie, connection)| {
            let traffic = self.ask(*cookie, connection.question.as_ref()?)?;
            connection.seen = Some(traffic);
            Some(traffic)
        });
        each.fold(nothing, |all, one| Traffic {
            sent: all.sent.saturating_add(one.sent),
            received: all.received.saturating_add(one.received),
        })
    }

    /// The kernel answers while it is asked: nothing is waited for.
    fn ask(&self, cookie: u64, question: &Question) -> Option<Traffic> {
        let flags = rustix::net::SendFlags::DONTWAIT;
        rustix::net::send(&self.questions, question, flags).ok()?;
        let mut message = [0u8; MESSAGE_BYTES_MAX];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let (read, _) = rustix::net::recv(&self.questions, &mut message[..], flags).ok()?;
        let (about, traffic) = read_message(message.get(..read)?)?;
        (about == cookie).then_some(traffic)
    }
}

impl Meter {
    pub(super) fn new() -> sys::Sys<Self> {
        let socket = sys::tcp_destructions()?;
        // SAFETY: the call has just made this descriptor for us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let questions = sys::tcp_questions()?;
        // SAFETY: as above.
        let questions = unsafe { OwnedFd::from_raw_fd(questions) };
        let open = Arc::new(Open {
            questions,
            known: Mutex::default(),
        });
        Ok(Self { socket, open })
    }

    /// What is open, for whoever wants to know how much has gone over it.
    pub(super) fn open(&self) -> Arc<Open> {
        Arc::clone(&self.open)
    }

    /// Waits for the end of a socket that was connected, or is on its way. `false`: it will not be heard of.
    pub(super) fn expect(&mut self, socket: &OwnedFd, id: ConnectId, to: SocketAddr) -> bool {
        let Ok(cookie) = sys::cookie(socket.as_raw_fd()) else {
            return false;
        };
        let own = rustix::net::getsockname(socket).ok();
        let own = own.and_then(|own| SocketAddr::try_from(own).ok());
        let question = own.and_then(|own| question(cookie, own, to));
        let mut known = self.open.known();
        if known.len() >= OPEN_MAX {
            return false;
        }
        let seen = None;
        known.insert(cookie, Connection { id, question, seen });
        true
    }

    /// The connections that have ended since the last time.
    pub(super) fn ended(&mut self) -> Vec<(ConnectId, Traffic)> {
        let mut ended = Vec::new();
        let mut message = [0u8; MESSAGE_BYTES_MAX];
        // A full buffer is an error too (ENOBUFS): what was lost is never heard of.
        while let Ok((read, _)) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(
                &self.socket,
                &mut message[..],
                rustix::net::RecvFlags::DONTWAIT,
            )
        }) {
            let told = message.get(..read).and_then(read_message);
            if let Some((cookie, traffic)) = told
                && let Some(connection) = self.open.known().remove(&cookie)
            {
                ended.push((connection.id, traffic));
            }
        }
        ended
    }

    /// Whether no connection is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.open.known().is_empty()
    }

    /// The connections whose end has not been heard of, each with what was last known of it.
    pub(super) fn rest(&mut self) -> Vec<(ConnectId, Option<Traffic>)> {
        let mut known = self.open.known();
        let mut rest: Vec<_> = known.drain().map(|(_, one)| (one.id, one.seen)).collect();
        rest.sort_unstable_by_key(|(id, _)| *id);
        rest
    }
}

impl AsFd for Meter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks for the one socket with these addresses and this cookie, and its `struct tcp_info`.
fn question(cookie: u64, own: SocketAddr, to: SocketAddr) -> Option<Question> {
    let (family, own_ip, to_ip) = match (own.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(own), IpAddr::V4(to)) => (2u8, padded(own.octets()), padded(to.octets())),
        (IpAddr::V6(own), IpAddr::V6(to)) => (10, own.octets(), to.octets()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let parts: [&[u8]; 15] = [
        // The length of the whole, the kind, the flags, no number, from nobody in particular.
        &72u32.to_ne_bytes(),
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &[0; 8],
        &[family],
        &[6], // IPPROTO_TCP
        &[1 << (INET_DIAG_INFO - 1)],
        &[0],
        &u32::MAX.to_ne_bytes(), // in any state
        &own.port().to_be_bytes(),
        &to.port().to_be_bytes(),
        &own_ip,
        &to_ip,
        &[0; 4], // on any interface
        &cookie.to_ne_bytes(),
    ];
    parts.concat().try_into().ok()
}

fn padded(octets: [u8; 4]) -> [u8; 16] {
    let mut all = [0; 16];
    for (to, from) in all.iter_mut().zip(octets) {
        *to = from;
    }
    all
}

fn read_message(message: &[u8]) -> Option<(u64, Traffic)> {
    let diag = message.get(HEADER_BYTES..)?;
    let cookie = u64::from_ne_bytes(chunk(diag, COOKIE_AT)?);
    let mut attributes = diag.get(DIAG_BYTES..)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(chunk(attributes, 0)?));
        let kind = u16::from_ne_bytes(chunk(attributes, 2)?);
        let value = attributes.get(4..len)?;
        if kind == INET_DIAG_INFO {
            let traffic = Traffic {
                sent: u64::from_ne_bytes(chunk(value, ACKED_AT)?),
                received: u64::from_ne_bytes(chunk(value, RECEIVED_AT)?),
            };
            return Some((cookie, traffic));
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_tells_what_went_over_a_connection() {
        let mut meter = Meter::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let copy = OwnedFd::from(stream.try_clone().unwrap());
        let to = listener.local_addr().unwrap();
        assert!(meter.expect(&copy, ConnectId(7), to));
        drop(copy);
        let open = meter.open();
        stream.write_all(&[0; 1000]).unwrap();
        peer.read_exact(&mut [0; 1000]).unwrap();
        peer.write_all(&[0; 300]).unwrap();
        stream.read_exact(&mut [0; 300]).unwrap();
        let now = open.traffic();
        assert!((1000..=1002).contains(&now.sent), "{now:?}");
        assert!((300..=302).contains(&now.received), "{now:?}");
        drop(peer);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        drop(stream);
        let mut ended = Vec::new();
        for _ in 0..200 {
            ended.extend(meter.ended());
            std::thread::sleep(std::time::Duration::from_millis(5));
            if !ended.is_empty() {
                break;
            }
        }
        let [(id, traffic)] = ended[..] else {
            panic!("{ended:?}");
        };
        assert_eq!(id, ConnectId(7));
        assert!((1000..=1002).contains(&traffic.sent), "{traffic:?}");
        assert!((300..=302).contains(&traffic.received), "{traffic:?}");
        assert!(meter.rest().is_empty());
        let none = open.traffic();
        assert_eq!((none.sent, none.received), (0, 0));
    }

    #[test]
    fn what_was_last_known_stays_when_the_end_is_not_heard_of() {
        let mut meter = Meter::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let copy = OwnedFd::from(stream.try_clone().unwrap());
        assert!(meter.expect(&copy, ConnectId(1), to));
        peer.write_all(&[0; 300]).unwrap();
        (&stream).read_exact(&mut [0; 300]).unwrap();
        let seen = meter.open().traffic();
        assert_eq!(meter.rest(), [(ConnectId(1), Some(seen))]);
        assert!(meter.expect(&copy, ConnectId(2), to));
        assert_eq!(meter.rest(), [(ConnectId(2), None)], "nobody asked");
    }

    #[test]
    fn a_question_names_one_socket() {
        let to = |text: &str| text.parse::<SocketAddr>().unwrap();
        let asked = question(7, to("[::ffff:127.0.0.1]:258"), to("127.0.0.2:3")).unwrap();
        assert_eq!(asked[16], 2);
        assert_eq!(asked[24..28], [1, 2, 0, 3]);
        assert_eq!(asked[28..32], [127, 0, 0, 1]);
        assert_eq!(asked[44..48], [127, 0, 0, 2]);
        assert_eq!(asked[64..72], 7u64.to_ne_bytes());
        assert_eq!(question(7, to("[::1]:1"), to("127.0.0.1:1")), None);
    }

    #[test]
    fn a_cut_off_message_tells_nothing() {
        let mut message = vec![0u8; HEADER_BYTES + DIAG_BYTES];
        message.extend([200u8, 0, 2, 0]);
        assert_eq!(read_message(&message), None);
        message.truncate(20);
        assert_eq!(read_message(&message), None);
    }
}
