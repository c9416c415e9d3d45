//! Signals that are meant for the governed command.
//!
//! The command is in a session of its own, so whatever comes is passed on: what a process sends, to the
//! program, as it would be sent to the program bare; what a terminal sends, to a whole process group.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use signal_hook::consts::signal::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

/// Signals that are passed on.
const PASSED_ON: [i32; 9] = [
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
];

/// Ends this process the way `signal` does by default, as the governed command was ended by it.
///
/// Returns when the signal does not end processes, or cannot be raised.
pub fn end_by(signal: i32) {
    // What is left to do when it fails is the caller's to know.
    drop(signal_hook::low_level::emulate_default_handler(signal));
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) signal: i32,
    /// A terminal asked for it, or a timer, and not a process.
    pub(crate) by_kernel: bool,
}

/// Signals as bytes that can be waited for.
#[derive(Debug)]
pub(crate) struct Signals {
    inbox: UnixStream,
}

/// Added to the number of a signal that the kernel sent by itself.
const BY_KERNEL: u8 = 0x80;

impl Signals {
    /// Takes over the signals of this process, but those that it was started to ignore.
    pub(crate) fn take_over() -> io::Result<Self> {
        let (inbox, outbox) = UnixStream::pair()?;
        inbox.set_nonblocking(true)?;
        let ignored = ignored();
        let wanted = PASSED_ON
            .into_iter()
            .filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let signals = SignalsInfo::<WithOrigin>::new(wanted)?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || relay(signals, outbox))?;
        Ok(Self { inbox })
    }

    /// The signals that came since the last call.
    pub(crate) fn pending(&mut self) -> Vec<Sent> {
        let mut buffer = [0; 64];
        let read = self.inbox.read(&mut buffer).unwrap_or(0);
        let sent = |byte: &u8| Sent {
            signal: i32::from(byte & !BY_KERNEL),
            by_kernel: byte & BY_KERNEL != 0,
        };
        buffer
            .get(..read)
            .unwrap_or_default()
            .iter()
            .map(sent)
            .collect()
    }
}

/// The set of signals that are ignored, as `nohup` makes it.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inbox.as_fd()
    }
}

fn relay(mut signals: SignalsInfo<WithOrigin>, mut outbox: UnixStream) {
    for origin in &mut signals {
        let Ok(signal) = u8::try_from(origin.signal) else {
            continue;
        };
        let by_kernel = matches!(origin.cause, Cause::Kernel);
        let byte = if by_kernel {
            signal | BY_KERNEL
        } else {
            signal
        };
        if outbox.write_all(&[byte]).is_err() {
            return;
        }
    }
}
