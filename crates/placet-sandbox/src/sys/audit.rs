//! The kernel's audit records, by netlink(7). Only the supervisor's threads come here.

use std::ffi::{c_int, c_void};
use std::mem::size_of;

use super::{Errno, Sys, close, done, last_errno, number, set_option};

const AF_NETLINK: u16 = 16;
const AUDIT_GET: u16 = 1000;
/// AUDIT_NLGRP_READLOG: group 1, as a bit.
const READ_LOG: u32 = 1;
const HEADER_BYTES: usize = 16;
/// PROC_PID_INIT_INO: what the first pid namespace is known by.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A socket that gets every record from now on. Needs CAP_AUDIT_READ.
pub(crate) fn audit_records(buffer_bytes: c_int) -> Sys<c_int> {
    let socket = audit_socket(READ_LOG)?;
    let bytes = buffer_bytes.to_ne_bytes();
    // Beyond the host's limit, which only CAP_NET_ADMIN passes; a smaller one loses records earlier.
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes).unwrap_or(());
    Ok(socket)
}

fn audit_socket(groups: u32) -> Sys<c_int> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes integers only.
    let socket =
        number(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_AUDIT) }.into())?;
    // SAFETY: an all-zero sockaddr_nl is a valid value of that plain C struct.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = AF_NETLINK;
    address.nl_groups = groups;
    let len: libc::socklen_t = 12;
    // SAFETY: address is a live sockaddr_nl, which has 12 bytes.
    let bound = unsafe { libc::bind(socket, (&raw const address).cast(), len) };
    if let Err(errno) = done(bound.into()) {
        close(socket);
        return Err(errno);
    }
    Ok(socket)
}

/// Whether audit is switched on.
pub(crate) fn audit_is_on() -> Sys<bool> {
    let socket = audit_socket(0)?;
    let on = ask(socket).and_then(|()| answer(socket));
    close(socket);
    on
}

fn ask(socket: c_int) -> Sys<()> {
    const REQUEST: u16 = 1;
    let mut question = [0u8; HEADER_BYTES];
    let fields: [(usize, &[u8]); 3] = [
        (0, &16u32.to_ne_bytes()),
        (4, &AUDIT_GET.to_ne_bytes()),
        (6, &REQUEST.to_ne_bytes()),
    ];
    for (at, bytes) in fields {
        if let Some(slot) = question.get_mut(at..at.wrapping_add(bytes.len())) {
            slot.copy_from_slice(bytes);
        }
    }
    // SAFETY: question is a live message of the length that it states.
    let sent = unsafe { libc::send(socket, question.as_ptr().cast(), question.len(), 0) };
    done(sent as libc::c_long)
}

fn answer(socket: c_int) -> Sys<bool> {
    let mut answer = [0u8; 512];
    let mut waited = libc::pollfd {
        fd: socket,
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: waited is one live pollfd.
        if unsafe { libc::poll(&raw mut waited, 1, 1000) } <= 0 {
            return Err(Errno(libc::ETIMEDOUT));
        }
        match next_audit_record(socket, &mut answer)? {
            // struct audit_status: a mask, and then whether it is enabled.
            Some((AUDIT_GET, status)) => {
                let enabled = status.get(4..8).and_then(|word| word.try_into().ok());
                let enabled = enabled.map(u32::from_ne_bytes).ok_or(Errno(libc::EPROTO))?;
                return Ok(enabled != 0);
            }
            Some((NLMSG_ERROR, error)) => {
                let code = error.get(..4).and_then(|word| word.try_into().ok());
                return Err(Errno(code.map_or(0, i32::from_ne_bytes).wrapping_neg()));
            }
            Some(_) | None => {}
        }
    }
}

const NLMSG_ERROR: u16 = 2;

/// The kind and the body of the next message; `None` for one that is not the kernel's.
///
/// # Errors
/// EAGAIN: there is none. ENOBUFS: some were dropped.
pub(crate) fn next_audit_record(socket: c_int, buffer: &mut [u8]) -> Sys<Option<(u16, &[u8])>> {
    // SAFETY: an all-zero sockaddr_nl is a valid value of that plain C struct.
    let mut from: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    let mut len: libc::socklen_t = 12;
    let at = buffer.as_mut_ptr().cast::<c_void>();
    // SAFETY: buffer is live and writable for its length, and so is from for its 12 bytes.
    let got = unsafe {
        let from = (&raw mut from).cast();
        libc::recvfrom(socket, at, buffer.len(), 0, from, &raw mut len)
    };
    let Ok(got) = usize::try_from(got) else {
        return Err(last_errno());
    };
    let message = buffer.get(..got).unwrap_or_default();
    let kind = message.get(4..6).and_then(|kind| kind.try_into().ok());
    let from_kernel = from.nl_pid == 0 && size_of::<libc::sockaddr_nl>() == 12;
    // The length that the header states is not relied on: it was wrong in some kernels.
    match (kind, message.get(HEADER_BYTES..)) {
        (Some(kind), Some(body)) if from_kernel => Ok(Some((u16::from_ne_bytes(kind), body))),
        _ => Ok(None),
    }
}

/// Whether this process's numbers are the ones that the kernel's records use.
pub(crate) fn is_first_pid_namespace() -> bool {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata("/proc/self/ns/pid");
    namespace.is_ok_and(|namespace| namespace.ino() == FIRST_PID_NAMESPACE)
}
