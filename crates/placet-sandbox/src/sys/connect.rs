//! Connecting for somebody else: raw addresses, options, and what the kernel tells of the end.

use std::ffi::c_int;

use super::{Errno, Sys, done, number};

/// connect(2) with an address as the caller gave it.
pub(crate) fn connect(socket: c_int, address: &[u8]) -> Sys<()> {
    let len = libc::socklen_t::try_from(address.len()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: address is live for its length; the kernel checks what is in it.
    done(unsafe { libc::connect(socket, address.as_ptr().cast(), len) }.into())
}

/// A stream socket of this family, non-blocking, in this thread's network namespace.
pub(crate) fn tcp_socket(family: c_int) -> Sys<c_int> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes integers only.
    number(unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) }.into())
}

/// A socket option's bytes; gives how many there are.
pub(crate) fn option(socket: c_int, level: c_int, name: c_int, value: &mut [u8]) -> Sys<usize> {
    let mut len = libc::socklen_t::try_from(value.len()).map_err(|_| Errno(libc::EINVAL))?;
    let at = value.as_mut_ptr().cast();
    // SAFETY: value is live and writable for len bytes; len is live and writable.
    done(unsafe { libc::getsockopt(socket, level, name, at, &raw mut len) }.into())?;
    usize::try_from(len).map_err(|_| Errno(libc::EOVERFLOW))
}

/// An option that is a number.
pub(crate) fn number_option(socket: c_int, level: c_int, name: c_int) -> Sys<c_int> {
    let mut value = [0u8; 4];
    match option(socket, level, name, &mut value)? {
        4 => Ok(c_int::from_ne_bytes(value)),
        _ => Err(Errno(libc::EINVAL)),
    }
}

pub(crate) fn set_option(socket: c_int, level: c_int, name: c_int, value: &[u8]) -> Sys<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: value is live for len bytes.
    done(unsafe { libc::setsockopt(socket, level, name, value.as_ptr().cast(), len) }.into())
}

/// The network namespace that a socket is of, by its cookie.
pub(crate) fn network_of(socket: c_int) -> Sys<u64> {
    let mut cookie = [0u8; 8];
    option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// Whether a TCP socket neither is connected, nor on its way, nor listens.
pub(crate) fn is_closed(socket: c_int) -> Sys<bool> {
    const CLOSE: u8 = 7;
    // The first byte of struct tcp_info is the state.
    let mut state = [0u8; 1];
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut state)?;
    Ok(state == [CLOSE])
}

pub(crate) fn listen(socket: c_int, backlog: c_int) -> Sys<()> {
    // SAFETY: listen takes integers only.
    done(unsafe { libc::listen(socket, backlog) }.into())
}

/// What names a socket for as long as the machine runs.
pub(crate) fn cookie(socket: c_int) -> Sys<u64> {
    let mut cookie = [0u8; 8];
    option(socket, libc::SOL_SOCKET, libc::SO_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// A socket that hears of every TCP socket of this network namespace that is destroyed. Needs no
/// privilege.
pub(crate) fn tcp_destructions() -> Sys<c_int> {
    // SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY: groups 1 and 3, as bits.
    diagnostics(0b101)
}

/// A socket over which the kernel is asked about single TCP sockets of this network namespace. Needs no
/// privilege.
pub(crate) fn tcp_questions() -> Sys<c_int> {
    diagnostics(0)
}

/// A socket over which the kernel is asked about the AF_UNIX sockets of this network namespace, as
/// [`tcp_questions`] about others.
pub(crate) fn socket_questions() -> Sys<c_int> {
    diagnostics(0)
}

fn diagnostics(groups: u32) -> Sys<c_int> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let diagnostics = libc::NETLINK_SOCK_DIAG;
    // SAFETY: socket takes integers only.
    let socket = number(unsafe { libc::socket(libc::AF_NETLINK, kind, diagnostics) }.into())?;
    // SAFETY: an all-zero sockaddr_nl is a valid value of that plain C struct.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = 16; // AF_NETLINK
    address.nl_groups = groups;
    let len: libc::socklen_t = 12;
    // SAFETY: address is a live sockaddr_nl, which has 12 bytes.
    let bound = unsafe { libc::bind(socket, (&raw const address).cast(), len) };
    if let Err(errno) = done(bound.into()) {
        super::close(socket);
        return Err(errno);
    }
    Ok(socket)
}
