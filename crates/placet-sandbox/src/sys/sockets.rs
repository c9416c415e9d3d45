//! The door, the loopback, and messages between the supervisor and its cell.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::mem::size_of;

use super::{Errno, Sys, close, done, last_errno, number};

/// Seven words: every message between the supervisor and the cell has this one size.
pub(crate) type Words = [u64; 7];

/// Sets the flags of the loopback device to up, in this network namespace.
pub(crate) fn loopback_up() -> Sys<()> {
    // SAFETY: socket takes integers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let socket = number(socket.into())?;
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *slot = c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags = 1; // IFF_UP
    // SAFETY: request is a live ifreq, which SIOCSIFFLAGS reads.
    let result =
        done(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) }.into());
    close(socket);
    result
}

/// Size of a sockaddr_un: the family and 108 bytes of path.
const ADDRESS_BYTES: libc::socklen_t = 110;

/// A listening stream socket bound at `path`, which must be shorter than 108 bytes.
pub(crate) fn listen_unix(path: &[u8]) -> Sys<c_int> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes integers only.
    let socket = number(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }.into())?;
    // SAFETY: an all-zero sockaddr_un is a valid value of that plain C struct.
    let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    name.sun_family = 1; // AF_UNIX
    for (slot, byte) in name.sun_path.iter_mut().zip(path) {
        *slot = c_char::from_ne_bytes([*byte]);
    }
    // SAFETY: name is a live sockaddr_un of the stated size, NUL terminated since it was zeroed.
    done(unsafe { libc::bind(socket, (&raw const name).cast(), ADDRESS_BYTES) }.into())?;
    // SAFETY: listen takes integers only.
    done(unsafe { libc::listen(socket, 64) }.into())?;
    Ok(socket)
}

/// A TCP socket that listens at a port of 127.0.0.1.
pub(crate) fn listen_loopback(port: u16) -> Sys<c_int> {
    let socket = loopback_socket(libc::SOCK_STREAM, port)?;
    // SAFETY: listen takes integers only.
    done(unsafe { libc::listen(socket, 1024) }.into())?;
    Ok(socket)
}

/// A UDP socket at a port of 127.0.0.1.
pub(crate) fn hear_loopback(port: u16) -> Sys<c_int> {
    loopback_socket(libc::SOCK_DGRAM, port)
}

fn loopback_socket(kind: c_int, port: u16) -> Sys<c_int> {
    // SAFETY: socket takes integers only.
    let socket = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0) };
    let socket = number(socket.into())?;
    // SAFETY: an all-zero sockaddr_in is a valid value of that plain C struct.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = 2; // AF_INET
    name.sin_port = port.to_be();
    name.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    let len: libc::socklen_t = 16;
    // SAFETY: name is a live sockaddr_in, which has 16 bytes.
    done(unsafe { libc::bind(socket, (&raw const name).cast(), len) }.into())?;
    Ok(socket)
}

/// Sends one message with up to six descriptors; never blocks, never raises SIGPIPE.
pub(crate) fn send(socket: c_int, words: &Words, fds: &[c_int]) -> Sys<()> {
    let mut data = libc::iovec {
        iov_base: words.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: size_of::<Words>(),
    };
    let mut control = [0u64; 5];
    // SAFETY: an all-zero msghdr is a valid value of that plain C struct.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = attach(&mut control, fds)? as _;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: message points to live iovec and control buffers of the stated lengths.
    done(unsafe { libc::sendmsg(socket, &raw const message, flags) } as c_long)
}

/// Writes an SCM_RIGHTS header with `fds` and gives the control length.
fn attach(control: &mut [u64; 5], fds: &[c_int]) -> Sys<usize> {
    let payload = size_of::<c_int>().wrapping_mul(fds.len());
    let header = size_of::<libc::cmsghdr>();
    if header.wrapping_add(payload) > size_of::<[u64; 5]>() {
        return Err(Errno(libc::E2BIG));
    }
    let start = control.as_mut_ptr().cast::<u8>();
    let head = start.cast::<libc::cmsghdr>();
    // SAFETY: control is 40 bytes, aligned for cmsghdr (16 bytes on 64-bit targets), and the
    // length check above keeps the descriptors inside it.
    unsafe {
        (*head).cmsg_len = header.wrapping_add(payload) as _;
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), start.add(header), payload);
    }
    Ok(header.wrapping_add(payload.next_multiple_of(8)))
}

/// Receives one message. `None` is the end: the other side has closed.
pub(crate) fn receive(socket: c_int, flags: c_int) -> Sys<Option<Words>> {
    let mut words: Words = [0; 7];
    let size = size_of::<Words>();
    loop {
        // SAFETY: words is a live buffer of the stated size.
        let got = unsafe { libc::recv(socket, words.as_mut_ptr().cast(), size, flags) };
        match usize::try_from(got) {
            Ok(0) => return Ok(None),
            Ok(count) if count == size => return Ok(Some(words)),
            Ok(_) => return Err(Errno(libc::EPROTO)),
            Err(_) if last_errno() == Errno(libc::EINTR) => {}
            Err(_) => return Err(last_errno()),
        }
    }
}

/// Descriptors that came with a message.
pub(crate) type Came = [Option<c_int>; 3];

/// As [`receive`], with up to three descriptors, which stay open beyond execve. More are an error.
pub(crate) fn receive_with_streams(socket: c_int) -> Sys<Option<(Words, Came)>> {
    let mut words: Words = [0; 7];
    let mut control = [0u64; 5];
    let mut data = libc::iovec {
        iov_base: words.as_mut_ptr().cast::<c_void>(),
        iov_len: size_of::<Words>(),
    };
    let got = loop {
        // SAFETY: an all-zero msghdr is a valid value of that plain C struct.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut data;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; 5]>() as _;
        // SAFETY: message points to live buffers of the stated lengths.
        let got = unsafe { libc::recvmsg(socket, &raw mut message, 0) };
        match usize::try_from(got) {
            Ok(0) => return Ok(None),
            Ok(_) if message.msg_flags & libc::MSG_CTRUNC != 0 => return Err(Errno(libc::E2BIG)),
            Ok(count) => break count,
            Err(_) if last_errno() == Errno(libc::EINTR) => {}
            Err(_) => return Err(last_errno()),
        }
    };
    if got != size_of::<Words>() {
        return Err(Errno(libc::EPROTO));
    }
    descriptors(&control).map(|came| Some((words, came)))
}

/// The descriptors of an SCM_RIGHTS header, if there is one.
fn descriptors(control: &[u64; 5]) -> Sys<Came> {
    let start = control.as_ptr().cast::<u8>();
    // SAFETY: control is 40 bytes, aligned for cmsghdr, and a header of zeros where the kernel wrote none.
    let head = unsafe { start.cast::<libc::cmsghdr>().read() };
    let mut came = Came::default();
    let header = size_of::<libc::cmsghdr>();
    let length = head.cmsg_len;
    if length == 0 {
        return Ok(came);
    }
    let payload = length.saturating_sub(header);
    if head.cmsg_type != libc::SCM_RIGHTS || payload > size_of::<[c_int; 3]>() {
        return Err(Errno(libc::EPROTO));
    }
    let count = payload / size_of::<c_int>();
    for (index, slot) in came.iter_mut().take(count).enumerate() {
        let at = header.wrapping_add(index.wrapping_mul(size_of::<c_int>()));
        // SAFETY: three descriptors end within control, as was just checked; the header's 16 bytes keep them aligned.
        *slot = Some(unsafe { start.add(at).cast::<c_int>().read() });
    }
    Ok(came)
}

/// Bytes sent on a socket that the other side has not yet read.
pub(crate) fn unread_by_peer(socket: c_int) -> c_int {
    let mut count: c_int = c_int::MAX;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int. On failure the count stays at its maximum.
    unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut count) };
    count
}
