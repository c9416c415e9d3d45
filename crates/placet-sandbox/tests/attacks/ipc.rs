//! What the host's processes share among themselves: queues, semaphores, memory, and descriptors that
//! somebody hands over.

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use placet_sandbox::{EgressRules, Network, Status};

use crate::kernel::call;
use crate::support::{Act, Test, acting_spec, scratch};
use crate::{assert_refused, assert_succeeds, check, end_of, inside, outcome_of};

pub(crate) const TESTS: &[Test] = &[
    ("shared_memory_of_others", shared_memory_of_others),
    ("message_queue_of_others", message_queue_of_others),
    ("semaphores_of_others", semaphores_of_others),
    ("posix_queue_of_others", posix_queue_of_others),
    ("posix_memory_of_others", posix_memory_of_others),
    (
        "a_descriptor_smuggled_by_an_accomplice",
        a_smuggled_descriptor,
    ),
    (
        "a_descriptor_smuggled_over_an_abstract_socket",
        a_smuggled_abstract_descriptor,
    ),
];

pub(crate) const ACTS: &[Act] = &[
    ("attach_memory", |a| {
        call(libc::SYS_shmat, [number(&a[0]), 0, 0, 0, 0])
    }),
    ("send_to_queue", |a| {
        let message = [1u64, 0];
        let message = message.as_ptr().addr();
        call(libc::SYS_msgsnd, [number(&a[0]), message, 1, 0, 0])
    }),
    ("raise_semaphore", |a| {
        // The first one, by one.
        let operation = [0u16, 1, 0];
        let operation = operation.as_ptr().addr();
        call(libc::SYS_semop, [number(&a[0]), operation, 1, 0, 0])
    }),
    ("open_queue", |a| {
        let name = CString::new(a[0].as_bytes()).unwrap();
        let name = name.as_ptr().addr();
        call(libc::SYS_mq_open, [name, libc::O_RDWR as usize, 0, 0, 0])
    }),
    ("take_smuggled", |a| outcome_of(take_smuggled(&a[0]))),
];

const EINVAL: Status = Status::Exited(libc::EINVAL);
const ENOENT: Status = Status::Exited(libc::ENOENT);
const EACCES: Status = Status::Exited(libc::EACCES);
const REFUSED: Status = Status::Exited(libc::ECONNREFUSED);
const SECRET: &str = "the secret";

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

/// Makes one of System V, lets `use_it` happen and removes it.
fn with_object(made: i32, remove: impl Fn(i32), use_it: impl Fn(&str)) {
    assert!(made >= 0, "{}", std::io::Error::last_os_error());
    let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_it(&made.to_string())));
    remove(made);
    used.unwrap();
}

fn shared_memory_of_others() {
    // SAFETY: shmget and shmctl take integers and no address here.
    let made = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o666) };
    let remove = |id| {
        // SAFETY: as above.
        unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    };
    with_object(made, remove, |id| check("attach_memory", &[id], EINVAL));
}

fn message_queue_of_others() {
    // SAFETY: msgget and msgctl take integers and no address here.
    let made = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o666) };
    let remove = |id| {
        // SAFETY: as above.
        unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    };
    with_object(made, remove, |id| check("send_to_queue", &[id], EINVAL));
}

fn semaphores_of_others() {
    // SAFETY: semget and semctl take integers here.
    let made = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o666) };
    let remove = |id| {
        // SAFETY: as above.
        unsafe { libc::semctl(id, 0, libc::IPC_RMID) };
    };
    with_object(made, remove, |id| check("raise_semaphore", &[id], EINVAL));
}

fn posix_queue_of_others() {
    let name = format!("placet-{}", std::process::id());
    let at = CString::new(name.as_bytes()).unwrap();
    let flags = libc::O_CREAT | libc::O_RDWR;
    // SAFETY: the name is NUL terminated; there are no attributes.
    let made = unsafe { libc::syscall(libc::SYS_mq_open, at.as_ptr(), flags, 0o666, 0) };
    let remove = |queue: i32| {
        // SAFETY: the descriptor is this function's own; the name as above.
        unsafe {
            libc::close(queue);
            libc::syscall(libc::SYS_mq_unlink, at.as_ptr());
        }
    };
    let use_it = |_: &str| check("open_queue", &[&name], ENOENT);
    with_object(i32::try_from(made).unwrap(), remove, use_it);
}

fn posix_memory_of_others() {
    let path = format!("/dev/shm/placet-{}", std::process::id());
    fs::write(&path, SECRET).unwrap();
    let end = std::panic::catch_unwind(|| check("open_for_writing", &[&path], ENOENT));
    fs::remove_file(&path).unwrap();
    end.unwrap();
}

/// Hands an open secret to whoever connects.
fn hand_out(listener: UnixListener, secret: PathBuf) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let file = fs::File::open(&secret).unwrap();
            send(&stream.unwrap(), &file);
        }
    });
}

/// One byte, with the descriptor.
fn send(stream: &UnixStream, file: &fs::File) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let file = [std::os::fd::AsFd::as_fd(file)];
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&file));
    let byte = [std::io::IoSlice::new(b"x")];
    let flags = rustix::net::SendFlags::NOSIGNAL;
    // Whoever was refused has gone.
    rustix::net::sendmsg(stream, &byte, &mut control, flags).ok();
}

/// Reads through a descriptor that somebody outside sends over a socket.
fn take_smuggled(address: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let stream = match address.strip_prefix('@') {
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            UnixStream::connect_addr(&address)?
        }
        None => UnixStream::connect(address)?,
    };
    let mut byte = [0u8; 1];
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut control = [0u64; 8];
    // SAFETY: an all-zero msghdr is a valid value of that plain C struct.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 64;
    // SAFETY: the message describes live, writable memory of the stated lengths.
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, 0) };
    assert_eq!(got, 1);
    // The header is 16 bytes, and the descriptor follows.
    let descriptor = i32::try_from(control[2] & 0xffff_ffff).unwrap();
    // SAFETY: the kernel has made this descriptor for this process alone.
    let mut file = fs::File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let mut secret = String::new();
    file.read_to_string(&mut secret)?;
    assert_eq!(secret, SECRET);
    Ok(())
}

/// A listener that hands out a secret, in a directory that the cell sees, and the cell's broker.
fn a_smuggled_descriptor() {
    let (dir, other) = (scratch(), scratch());
    let secret = other.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let socket = dir.path().join("accomplice");
    hand_out(UnixListener::bind(&socket).unwrap(), secret);
    let path: &str = socket.to_str().unwrap();
    assert_succeeds("take_smuggled", &[path]);
    let end = brokered(path, dir.path());
    assert_refused(end, EACCES, "take_smuggled");
    // Where the directory is not granted, it is not there.
    assert_refused(inside("take_smuggled", &[path]), ENOENT, "take_smuggled");
}

/// In a cell that sees a directory and may connect to nobody.
fn brokered(address: &str, visible: &Path) -> Status {
    let mut spec = acting_spec("take_smuggled", &[address]);
    spec.paths.write.push(visible.to_path_buf());
    spec.network = Network::Loopback;
    spec.egress = EgressRules::nobody();
    end_of(spec)
}

fn a_smuggled_abstract_descriptor() {
    use std::os::linux::net::SocketAddrExt;
    let dir = scratch();
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    // Nobody else has this directory's name, nor has it later.
    let name = format!("placet-accomplice-{}", dir.path().display());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    hand_out(UnixListener::bind_addr(&address).unwrap(), secret);
    let name = format!("@{name}");
    assert_succeeds("take_smuggled", &[&name]);
    assert_refused(inside("take_smuggled", &[&name]), REFUSED, "take_smuggled");
}
