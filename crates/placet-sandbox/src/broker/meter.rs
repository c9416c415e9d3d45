//! Hears from the kernel how much went over a TCP connection, when its socket is destroyed.
//!
//! sock_diag(7) multicasts `struct inet_diag_msg` with the `struct tcp_info` of each destroyed
//! socket of the network namespace. Those of other programs are skipped.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

pub(super) struct Meter {
    socket: OwnedFd,
    open: HashMap<u64, ConnectId>,
}

impl Meter {
    pub(super) fn new() -> sys::Sys<Self> {
        let socket = sys::tcp_destructions()?;
        // SAFETY: the call has just made this descriptor for us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let open = HashMap::new();
        Ok(Self { socket, open })
    }

    /// Waits for the end of a socket. `false`: it will not be heard of.
    pub(super) fn expect(&mut self, socket: &OwnedFd, id: ConnectId) -> bool {
        let Ok(cookie) = sys::cookie(socket.as_raw_fd()) else {
            return false;
        };
        if self.open.len() >= OPEN_MAX {
            return false;
        }
        self.open.insert(cookie, id);
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
                && let Some(id) = self.open.remove(&cookie)
            {
                ended.push((id, traffic));
            }
        }
        ended
    }

    /// Whether no connection is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// The connections whose end has not been heard of.
    pub(super) fn rest(&mut self) -> Vec<ConnectId> {
        let mut rest: Vec<ConnectId> = self.open.drain().map(|(_, id)| id).collect();
        rest.sort_unstable();
        rest
    }
}

impl AsFd for Meter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
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
        assert!(meter.expect(&copy, ConnectId(7)));
        drop(copy);
        stream.write_all(&[0; 1000]).unwrap();
        peer.read_exact(&mut [0; 1000]).unwrap();
        peer.write_all(&[0; 300]).unwrap();
        stream.read_exact(&mut [0; 300]).unwrap();
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
