//! The messages between the supervisor and its cell: fixed-size, in memory order.
//!
//! Both ends are the same build in the same boot, so this is not a format. Each message is one
//! SOCK_SEQPACKET datagram; the cell's ends never block on sending.

use crate::error::Step;
use crate::sys::{self, Errno, Words};

/// A setup step that failed inside the cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: Errno,
    /// Index into the plan's list for this step; `NO_INDEX` without one.
    pub(crate) index: usize,
}

pub(crate) const NO_INDEX: usize = usize::MAX;

/// From the cell to the supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    /// pid 1: the worker exists. Carries its pidfd, and the door and the terminal's other end where there are such.
    Forked,
    /// The worker waits for its release.
    Ready,
    Failed(Failure),
    /// The worker stopped by this signal.
    Stopped(i32),
    Continued,
    /// The worker ended with this wait status.
    Ended {
        status: i32,
        max_rss_kib: u64,
    },
    /// The lease was not renewed in time; the tree ends.
    LeaseLapsed,
}

/// From the supervisor to the cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// To the worker: execute the program.
    Release,
    /// To a worker that was built before there was a program: execute what its memory says, with the standard streams that
    /// come along.
    Become,
    /// To pid 1: live until this CLOCK_BOOTTIME instant.
    RenewUntil(u64),
    /// To pid 1: the terminal's keys are for the worker's group, which goes on if it is stopped.
    Foreground,
    /// To pid 1: the terminal's keys are for nobody; the worker's group goes on if it is stopped.
    Background,
    /// To pid 1: signal one process group of the tree.
    SignalGroup { group: Group, signal: i32 },
}

/// A process group of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The worker's.
    Worker,
    /// That which the terminal's keys are for; the worker's where they are for nobody.
    Foreground,
}

impl Failure {
    pub(crate) fn new(step: Step, errno: Errno) -> Self {
        Self {
            step,
            errno,
            index: NO_INDEX,
        }
    }
}

impl Report {
    pub(crate) fn encode(self) -> Words {
        match self {
            Self::Forked => [1, 0, 0, 0, 0, 0, 0],
            Self::Ready => [2, 0, 0, 0, 0, 0, 0],
            Self::Failed(Failure { step, errno, index }) => {
                [3, step.code(), signed(errno.0), index as u64, 0, 0, 0]
            }
            Self::Stopped(signal) => [4, signed(signal), 0, 0, 0, 0, 0],
            Self::Continued => [5, 0, 0, 0, 0, 0, 0],
            Self::Ended {
                status,
                max_rss_kib,
            } => [6, signed(status), max_rss_kib, 0, 0, 0, 0],
            Self::LeaseLapsed => [7, 0, 0, 0, 0, 0, 0],
        }
    }

    pub(crate) fn decode(words: Words) -> Option<Self> {
        let [kind, a, b, c, ..] = words;
        Some(match kind {
            1 => Self::Forked,
            2 => Self::Ready,
            3 => Self::Failed(Failure {
                step: Step::from_code(a)?,
                errno: Errno(unsigned(b)?),
                index: usize::try_from(c).ok()?,
            }),
            4 => Self::Stopped(unsigned(a)?),
            5 => Self::Continued,
            6 => Self::Ended {
                status: unsigned(a)?,
                max_rss_kib: b,
            },
            7 => Self::LeaseLapsed,
            _ => return None,
        })
    }
}

impl Order {
    pub(crate) fn encode(self) -> Words {
        match self {
            Self::Release => [1, 0, 0, 0, 0, 0, 0],
            Self::RenewUntil(deadline) => [2, deadline, 0, 0, 0, 0, 0],
            Self::Foreground => [3, 0, 0, 0, 0, 0, 0],
            Self::Background => [4, 0, 0, 0, 0, 0, 0],
            Self::SignalGroup { group, signal } => {
                let group = match group {
                    Group::Worker => 0,
                    Group::Foreground => 1,
                };
                [5, group, signed(signal), 0, 0, 0, 0]
            }
            Self::Become => [6, 0, 0, 0, 0, 0, 0],
        }
    }

    pub(crate) fn decode(words: Words) -> Option<Self> {
        match words {
            [1, ..] => Some(Self::Release),
            [2, deadline, ..] => Some(Self::RenewUntil(deadline)),
            [3, ..] => Some(Self::Foreground),
            [4, ..] => Some(Self::Background),
            [5, group, signal, ..] => Some(Self::SignalGroup {
                group: match group {
                    0 => Group::Worker,
                    1 => Group::Foreground,
                    _ => return None,
                },
                signal: unsigned(signal)?,
            }),
            [6, ..] => Some(Self::Become),
            _ => None,
        }
    }
}

// Signals, errno values and wait statuses are never negative.
fn signed(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

fn unsigned(word: u64) -> Option<i32> {
    i32::try_from(word).ok()
}

/// What comes of a step of the set-up.
pub(crate) type Setup<T> = Result<T, Failure>;

/// Adds the step, and the index where there is one, to a bare errno.
pub(crate) trait AtStep<T> {
    fn at(self, step: Step) -> Setup<T>;
    fn at_index(self, step: Step, index: usize) -> Setup<T>;
}

impl<T> AtStep<T> for sys::Sys<T> {
    fn at(self, step: Step) -> Setup<T> {
        self.map_err(|errno| Failure::new(step, errno))
    }

    fn at_index(self, step: Step, index: usize) -> Setup<T> {
        self.map_err(|errno| Failure { step, errno, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_survives_the_wire() {
        let failure = Failure {
            step: Step::PivotRoot,
            errno: Errno(22),
            index: 3,
        };
        let reports = [
            Report::Forked,
            Report::Ready,
            Report::Failed(failure),
            Report::Stopped(19),
            Report::Continued,
            Report::Ended {
                status: 0xff00,
                max_rss_kib: 7,
            },
            Report::LeaseLapsed,
        ];
        for report in reports {
            let back = Report::decode(report.encode()).unwrap();
            assert_eq!(format!("{report:?}"), format!("{back:?}"));
        }
    }

    #[test]
    fn every_order_survives_the_wire() {
        let signal = |group| Order::SignalGroup { group, signal: 15 };
        let orders = [
            Order::Release,
            Order::Become,
            Order::RenewUntil(7),
            Order::Foreground,
            Order::Background,
            signal(Group::Worker),
            signal(Group::Foreground),
        ];
        for order in orders {
            let back = Order::decode(order.encode()).unwrap();
            assert_eq!(format!("{order:?}"), format!("{back:?}"));
        }
        assert!(Order::decode([5, 2, 15, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn an_unknown_report_is_refused() {
        assert!(Report::decode([99, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(Report::decode([3, 9_999, 0, 0, 0, 0, 0]).is_none());
    }
}
