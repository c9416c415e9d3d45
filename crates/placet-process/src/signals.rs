//! Signals that are meant for the governed command.
//!
//! What the terminal sends (Ctrl-C, Ctrl-\) goes to the whole foreground process group, and the
//! command is in it: it has them already. What another process sends to `placet run` is passed on.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use signal_hook::consts::signal::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

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

/// Signals as bytes that can be waited for.
#[derive(Debug)]
pub(crate) struct Signals {
    inbox: UnixStream,
}

impl Signals {
    /// Takes over the signals of this process.
    pub(crate) fn take_over() -> io::Result<Self> {
        let (inbox, outbox) = UnixStream::pair()?;
        inbox.set_nonblocking(true)?;
        let signals = SignalsInfo::<WithOrigin>::new(PASSED_ON)?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || relay(signals, outbox))?;
        Ok(Self { inbox })
    }

    /// The signals that came since the last call.
    pub(crate) fn pending(&mut self) -> Vec<i32> {
        let mut buffer = [0; 64];
        let read = self.inbox.read(&mut buffer).unwrap_or(0);
        buffer
            .get(..read)
            .unwrap_or_default()
            .iter()
            .copied()
            .map(i32::from)
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inbox.as_fd()
    }
}

fn relay(mut signals: SignalsInfo<WithOrigin>, mut outbox: UnixStream) {
    for origin in &mut signals {
        if is_from_terminal(&origin) {
            continue;
        }
        let Ok(signal) = u8::try_from(origin.signal) else {
            continue;
        };
        if outbox.write_all(&[signal]).is_err() {
            return;
        }
    }
}

/// The kernel itself sends what a terminal asks for, to everyone in the foreground.
fn is_from_terminal(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Kernel)
}
