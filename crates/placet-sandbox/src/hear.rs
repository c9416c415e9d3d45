//! What the supervisor hears from a cell that is being built.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};

use crate::error::SandboxError;
use crate::sys::{self, Errno};
use crate::tree::{await_any, failed, words};
use crate::wire::Report;

/// Setup takes about two milliseconds; a path on a hung network file system takes for ever.
pub(crate) const SETUP_SECS_MAX: u64 = 30;

/// A connected pair; the second end never collides with a standard stream, which the worker keeps.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    let what = "make a socket pair";
    let failed = |errno: rustix::io::Errno| failed(what, Errno(errno.raw_os_error()));
    let kind = SocketType::SEQPACKET;
    let (ours, inside) =
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let inside = rustix::io::fcntl_dupfd_cloexec(&inside, 3).map_err(failed)?;
    Ok((ours, inside))
}

/// The next message; `None` is the end of the socket.
pub(crate) fn next_report(
    socket: BorrowedFd<'_>,
    deadline: u64,
) -> Result<Option<Report>, SandboxError> {
    if !await_any(&[socket], Some(deadline))? {
        return Err(SandboxError::SetupTimedOut(SETUP_SECS_MAX));
    }
    let words = sys::receive(socket.as_raw_fd(), libc::MSG_DONTWAIT);
    match words.map_err(|errno| failed("hear from the cell", errno))? {
        None => Ok(None),
        Some(words) => Report::decode(words)
            .map(Some)
            .ok_or(SandboxError::SetupDied),
    }
}

/// A message and the descriptors that came with it.
pub(crate) fn receive_with_fds(
    socket: BorrowedFd<'_>,
) -> Result<(Option<Report>, std::vec::IntoIter<OwnedFd>), SandboxError> {
    let mut bytes = [0u8; size_of::<sys::Words>()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(6))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    );
    let received =
        received.map_err(|errno| failed("hear from the cell", Errno(errno.raw_os_error())))?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let whole = received.bytes == bytes.len();
    Ok((
        whole.then(|| words(&bytes)).and_then(Report::decode),
        fds.into_iter(),
    ))
}
