//! Carries what a program has set on its socket over to the one that takes its place.
//!
//! An option that has the value of a fresh socket is left alone: setting some of them, such as
//! buffer sizes, turns the kernel's own tuning off.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET};

use crate::sys;

/// The largest: a timeval, a congestion control's name.
const VALUE_BYTES_MAX: usize = 16;

/// Level and name. Not here: what needs a privilege, what binds, and TCP_FASTOPEN_CONNECT, which
/// would put off the connect.
const OPTIONS: &[(i32, i32)] = &[
    (SOL_SOCKET, libc::SO_KEEPALIVE),
    (SOL_SOCKET, libc::SO_LINGER),
    (SOL_SOCKET, libc::SO_OOBINLINE),
    (SOL_SOCKET, libc::SO_PRIORITY),
    (SOL_SOCKET, libc::SO_RCVBUF),
    (SOL_SOCKET, libc::SO_RCVLOWAT),
    (SOL_SOCKET, libc::SO_RCVTIMEO),
    (SOL_SOCKET, libc::SO_SNDBUF),
    (SOL_SOCKET, libc::SO_SNDTIMEO),
    (IPPROTO_TCP, libc::TCP_CONGESTION),
    (IPPROTO_TCP, libc::TCP_CORK),
    (IPPROTO_TCP, libc::TCP_KEEPCNT),
    (IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (IPPROTO_TCP, libc::TCP_LINGER2),
    (IPPROTO_TCP, libc::TCP_NODELAY),
    (IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT),
    (IPPROTO_TCP, libc::TCP_QUICKACK),
    (IPPROTO_TCP, libc::TCP_SYNCNT),
    (IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (IPPROTO_TCP, libc::TCP_WINDOW_CLAMP),
    (IPPROTO_IP, libc::IP_TOS),
    (IPPROTO_IP, libc::IP_TTL),
    (IPPROTO_IPV6, libc::IPV6_TCLASS),
    (IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    (IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// What sockets of each family have before anything is set on them.
#[derive(Default)]
pub(super) struct Fresh(BTreeMap<i32, Vec<Option<Vec<u8>>>>);

impl Fresh {
    /// Sets on `to`, a fresh socket of that family, whatever `from` has otherwise. An option that
    /// one of them does not have is skipped.
    pub(super) fn carry_over(&mut self, family: i32, from: &OwnedFd, to: &OwnedFd) {
        let all = |socket| move |&(level, name): &(i32, i32)| value(socket, level, name);
        let fresh = self.0.entry(family);
        let fresh = fresh.or_insert_with(|| OPTIONS.iter().map(all(to)).collect());
        for (&(level, name), fresh) in OPTIONS.iter().zip(fresh) {
            let (Some(wanted), Some(fresh)) = (value(from, level, name), fresh) else {
                continue;
            };
            if wanted != *fresh {
                let wanted = as_set(level, name, &wanted);
                sys::set_option(to.as_raw_fd(), level, name, &wanted).unwrap_or(());
            }
        }
    }
}

fn value(socket: &OwnedFd, level: i32, name: i32) -> Option<Vec<u8>> {
    let mut value = vec![0u8; VALUE_BYTES_MAX];
    let len = sys::option(socket.as_raw_fd(), level, name, &mut value).ok()?;
    value.truncate(len);
    Some(value)
}

/// The kernel doubles a buffer size when it is set, and gives the doubled one back.
fn as_set(level: i32, name: i32, value: &[u8]) -> Vec<u8> {
    let doubled = level == SOL_SOCKET && [libc::SO_RCVBUF, libc::SO_SNDBUF].contains(&name);
    match <[u8; 4]>::try_from(value) {
        Ok(bytes) if doubled => (i32::from_ne_bytes(bytes) / 2).to_ne_bytes().to_vec(),
        _ => value.to_vec(),
    }
}
