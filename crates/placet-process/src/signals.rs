//! Signals that are meant for the governed command.
//!
//! The command is in a session of its own, so whatever comes is passed on: what a process sends, to the
//! program, as it would be sent to the program bare; what a terminal sends, to a whole process group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use placet_sandbox::kernel_text;
use signal_hook::consts::signal::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
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

/// Signals that can be waited for, until this is dropped. No thread stands behind it: a process that runs one command
/// after the other keeps nothing of each.
#[derive(Debug)]
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
}

impl Signals {
    /// Takes over the signals of this process, but those that it was started to ignore.
    pub(crate) fn take_over() -> io::Result<Self> {
        let (inbox, outbox) = UnixStream::pair()?;
        let ignored = ignored();
        let wanted = PASSED_ON
            .into_iter()
            .filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let delivery = SignalDelivery::with_pipe(inbox, outbox, WithOrigin::default(), wanted)?;
        Ok(Self { delivery })
    }

    /// The signals that came since the last call.
    pub(crate) fn pending(&mut self) -> Vec<Sent> {
        let sent = |origin: signal_hook::low_level::siginfo::Origin| Sent {
            signal: origin.signal,
            by_kernel: matches!(origin.cause, Cause::Kernel),
        };
        self.delivery.pending().map(sent).collect()
    }
}

/// The set of signals that are ignored, as `nohup` makes it.
fn ignored() -> u64 {
    let status = kernel_text("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn threads() -> usize {
        fs::read_dir("/proc/self/task").unwrap().count()
    }

    #[test]
    fn a_signal_comes_with_its_origin_and_taking_over_leaves_nothing_behind() {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (threads_before, open_before) = (threads(), open());
        for _ in 0..20 {
            let mut signals = Signals::take_over().unwrap();
            assert_eq!(signals.pending(), []);
            rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::WINCH,
            )
            .unwrap();
            // To another thread, perhaps, and so a moment later.
            let mut came = Vec::new();
            for _ in 0..1000 {
                came.extend(signals.pending());
                if !came.is_empty() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let expected = Sent {
                signal: SIGWINCH,
                by_kernel: false,
            };
            assert_eq!(came, [expected]);
        }
        // Other tests of this process come and go; what were kept of each would be 20.
        assert!(threads() < threads_before + 15);
        assert!(open() < open_before + 15);
    }
}
