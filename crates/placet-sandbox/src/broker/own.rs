//! Which sockets that have a path are the cell's own: those that listen in its network namespace.
//!
//! A file tells nothing of who listens at it. The kernel does: sock_diag(7), asked over a socket of the
//! cell's network, lists the AF_UNIX listeners of that namespace with the inodes that they are bound to.
//! An inode is bound once, when it is made, so what is listed is what a connect to that inode reaches.

use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SendFlags};

use crate::sys::Inode;

/// `struct nlmsghdr`, and `struct unix_diag_msg` behind it.
const HEADER_BYTES: usize = 16;
const ABOUT_BYTES: usize = 16;
const PART_BYTES: usize = 32 << 10;
/// Parts of one answer that are read: more listeners than that are nobody's honest need.
const PARTS_MAX: usize = 64;
const DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const UNIX_DIAG_VFS: u16 = 1;
/// As a mask of states: `TCP_LISTEN`, which AF_UNIX has as well.
const LISTENING: u32 = 1 << 10;
const SHOW_VFS: u32 = 2;

/// Asks about the listeners of one cell.
#[derive(Debug)]
pub(crate) struct Own {
    questions: OwnedFd,
}

impl Own {
    /// Over a socket that was made in the cell's network, before anything ran there.
    pub(crate) fn new(questions: OwnedFd) -> Self {
        Self { questions }
    }

    /// Whether the cell itself listens at this file. What cannot be told is not the cell's.
    pub(super) fn listens_at(&self, file: Inode) -> bool {
        let Some(wanted) = bound(file) else {
            return false;
        };
        let question = question();
        if rustix::net::send(&self.questions, &question, SendFlags::DONTWAIT).is_err() {
            return false;
        }
        let mut found = false;
        let mut part = vec![0u8; PART_BYTES];
        // To the end in any case: an answer that is left over would be read as the next one.
        for _ in 0..PARTS_MAX {
            let read = rustix::net::recv(&self.questions, &mut part[..], RecvFlags::DONTWAIT);
            let Some(messages) = read.ok().and_then(|(read, _)| part.get(..read)) else {
                return false;
            };
            let (here, over) = look(messages, wanted);
            found |= here;
            if over {
                return found;
            }
        }
        false
    }
}

/// Inode and device, as the kernel writes them here; `None` where they do not fit.
fn bound(file: Inode) -> Option<[u32; 2]> {
    let (major, minor) = (rustix::fs::major(file.dev), rustix::fs::minor(file.dev));
    let fits = major < 1 << 12 && minor < 1 << 20;
    let device = fits.then_some(major << 20 | minor)?;
    Some([u32::try_from(file.ino).ok()?, device])
}

fn question() -> Vec<u8> {
    let parts: [&[u8]; 10] = [
        &40u32.to_ne_bytes(),
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &REQUEST_AND_DUMP.to_ne_bytes(),
        &[0; 8],
        // AF_UNIX, no protocol, and two bytes of nothing.
        &[1, 0, 0, 0],
        &LISTENING.to_ne_bytes(),
        &[0; 4],
        &SHOW_VFS.to_ne_bytes(),
        &u32::MAX.to_ne_bytes(),
        &u32::MAX.to_ne_bytes(),
    ];
    parts.concat()
}

/// Whether one of the messages is about that inode, and whether they are the last. What does not read
/// is the last, and about nothing.
fn look(mut messages: &[u8], wanted: [u32; 2]) -> (bool, bool) {
    let mut found = false;
    while !messages.is_empty() {
        let header = chunk::<4>(messages, 0).zip(chunk::<2>(messages, 4));
        let Some((len, kind)) = header else {
            return (false, true);
        };
        let len = usize::try_from(u32::from_ne_bytes(len)).unwrap_or(0);
        let whole = messages.get(..len).filter(|_| len >= HEADER_BYTES);
        let (Some(message), SOCK_DIAG_BY_FAMILY) = (whole, u16::from_ne_bytes(kind)) else {
            return (found && u16::from_ne_bytes(kind) == DONE, true);
        };
        found |= is_about(message, wanted);
        let next = len.next_multiple_of(4).min(messages.len());
        messages = messages.get(next..).unwrap_or_default();
    }
    (found, false)
}

fn is_about(message: &[u8], wanted: [u32; 2]) -> bool {
    let about = HEADER_BYTES.wrapping_add(ABOUT_BYTES);
    let mut attributes = message.get(about..).unwrap_or_default();
    while let Some(len) = chunk::<2>(attributes, 0) {
        let len = usize::from(u16::from_ne_bytes(len));
        let kind = chunk::<2>(attributes, 2).map(u16::from_ne_bytes);
        if kind == Some(UNIX_DIAG_VFS) {
            let read = |at| chunk::<4>(attributes, at).map(u32::from_ne_bytes);
            return read(4).zip(read(8)) == Some(wanted.into());
        }
        let next = len.next_multiple_of(4).max(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    false
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::sys;

    fn own() -> Own {
        // SAFETY: the call has just made this descriptor for us alone.
        Own::new(unsafe { OwnedFd::from_raw_fd(sys::socket_questions().unwrap()) })
    }

    #[test]
    fn the_kernel_tells_who_listens_in_a_network() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let own = own();
        let mut listeners = Vec::new();
        for number in 0..600 {
            listeners.push(UnixListener::bind(at(&number.to_string())).unwrap());
        }
        let inode = |name: &str| {
            let file = std::fs::File::open(dir.path()).unwrap();
            let stat = rustix::fs::statat(&file, name, rustix::fs::AtFlags::empty()).unwrap();
            Inode {
                dev: stat.st_dev,
                ino: stat.st_ino,
            }
        };
        let listens = |name: &str| own.listens_at(inode(name));
        assert!(listens("0") && listens("599") && listens("300"));
        std::fs::write(at("file"), "").unwrap();
        assert!(!listens("file"));
        // A socket that somebody has left behind, and one that does not listen.
        listeners.clear();
        assert!(!listens("0"));
        let (one, _other) = UnixStream::pair().unwrap();
        drop(one);
        assert!(!listens("599"));
    }

    #[test]
    fn what_does_not_read_is_about_nothing() {
        assert_eq!(look(&[1, 2, 3], [0, 0]), (false, true));
        let mut message = vec![200u8, 0, 0, 0, 20, 0];
        message.extend([0; 30]);
        assert_eq!(look(&message, [0, 0]), (false, true));
        assert!(!is_about(&[0; 36], [0, 0]));
    }
}
