//! How a tree behaves: what it was refused, how much it does, and whether what was decided about is
//! still there. Says when that goes too far, and writes down what was seen.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use placet_authority::node::wire::SignalBody;
use placet_enforce::{Meter, Tripped};
use placet_evidence::SignalKind;
use placet_sandbox::{DeniedAccess, RunningCell, Traffic};
use placet_types::{DenialCode, ExecutionId, Trip, Trips};

use crate::cpu;
use crate::drift::Drift;
use crate::notes::{Kind, Notes};

/// How often processor time is added up, where it is limited.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// Why a tree must end, for the record and for whoever started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) cause: DenialCode,
    /// What happened, where the cause alone does not say.
    pub(crate) why: Option<String>,
}

/// Watches one tree's conduct.
#[derive(Debug)]
pub(crate) struct Conduct {
    exec: ExecutionId,
    meter: Meter,
    notes: Notes,
    drift: Drift,
    measured: Duration,
    /// Bytes over the network that need not be asked for.
    bytes: u64,
    /// Of the refusals that the kernel told of: how many found no room.
    lost: u64,
    ending: Option<(Ending, SignalBody)>,
}

impl Conduct {
    pub(crate) fn new(exec: ExecutionId, trips: &Trips, drift: Drift) -> Self {
        Self {
            exec,
            meter: Meter::new(trips.clone()),
            notes: Notes::default(),
            drift,
            measured: Duration::ZERO,
            bytes: 0,
            lost: 0,
            ending: None,
        }
    }

    /// Readable when something may have drifted.
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.drift.as_fd()
    }

    /// Takes note of something, and counts it.
    pub(crate) fn note(&mut self, kind: Kind, count: u64, last: String) {
        self.meter.add(Trip::Signals, count);
        let trip = match kind.1 {
            SignalKind::RefusedConnect => Some(Trip::RefusedConnects),
            SignalKind::RefusedExec => Some(Trip::RefusedExecs),
            SignalKind::RefusedRead => Some(Trip::RefusedReads),
            SignalKind::RefusedWrite => Some(Trip::RefusedWrites),
            SignalKind::Drift | SignalKind::Limit | SignalKind::Trip => None,
        };
        if let Some(trip) = trip {
            self.meter.add(trip, count);
        }
        self.notes.take(kind, count, last);
    }

    /// A refusal that is a record of its own already.
    pub(crate) fn refused_on_record(&mut self) {
        self.meter.add(Trip::Signals, 1);
        self.meter.add(Trip::RefusedExecs, 1);
    }

    /// Connections that were refused by decisions, which are records of their own.
    pub(crate) fn denied_connects(&mut self, count: u64) {
        self.meter.add(Trip::Signals, count);
        self.meter.add(Trip::RefusedConnects, count);
    }

    /// A program was started.
    pub(crate) fn started(&mut self, now: Duration) {
        self.meter.started(now);
    }

    /// As many bytes have gone over the network, beside what goes over open connections by the broker.
    pub(crate) fn traffic(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.meter.total(Trip::NetworkBytes, bytes);
    }

    /// Takes what Landlock refused the tree, where the kernel tells.
    pub(crate) fn take_denials(&mut self, cell: &RunningCell) {
        let Some(denials) = cell.denials() else {
            return;
        };
        for denial in denials.reports() {
            let path = denial.path.map(|path| path.to_string_lossy().into_owned());
            self.note(denied(denial.access), 1, path.unwrap_or(denial.rights));
        }
        let lost = denials.lost();
        let more = lost.saturating_sub(self.lost);
        if more > 0 {
            // Of which kind they were nobody knows; a tree that is refused so much writes or reads.
            self.lost = lost;
            self.note(denied(DeniedAccess::Write), more, String::new());
        }
    }

    /// Measures what is due, and gives the reason to end the tree, once there is one.
    /// `noticed` says whether [`Self::as_fd`] is readable.
    pub(crate) fn look(
        &mut self,
        cell: &RunningCell,
        (now, noticed): (Duration, bool),
    ) -> Option<&Ending> {
        if self.ending.is_none() {
            let due = now.saturating_sub(self.measured) >= MEASURE_EVERY;
            if due {
                self.measured = now;
                self.measure(cell);
            }
            self.ending = self.judge((now, noticed));
        }
        self.ending.as_ref().map(|(ending, _)| ending)
    }

    /// What has to be asked for, where it is limited.
    fn measure(&mut self, cell: &RunningCell) {
        if self.meter.wants(Trip::CpuTotalSecs) {
            let used = cpu::of_tree(cell.pid());
            self.meter.total(Trip::CpuTotalSecs, used.as_secs());
        }
        if let Some(broker) = cell
            .broker()
            .filter(|_| self.meter.wants(Trip::NetworkBytes))
        {
            // What has ended was counted before this is asked, so that nothing counts twice.
            let Traffic { sent, received } = broker.traffic();
            let open = sent.saturating_add(received);
            let all = self.bytes.saturating_add(open);
            self.meter.total(Trip::NetworkBytes, all);
        }
    }

    fn judge(&mut self, at: (Duration, bool)) -> Option<(Ending, SignalBody)> {
        if let Some(tripped) = self.judge_meter() {
            return Some(tripped);
        }
        let drifted = self.drift.look(at)?.clone();
        Some(self.end(drifted.code, (SignalKind::Drift, None), drifted.what))
    }

    fn judge_meter(&self) -> Option<(Ending, SignalBody)> {
        let tripped = self.meter.tripped()?;
        let kind = (SignalKind::Trip, Some(tripped.trip));
        Some(self.end(DenialCode::Anomaly, kind, words(tripped)))
    }

    fn end(
        &self,
        cause: DenialCode,
        (kind, trip): (SignalKind, Option<Trip>),
        why: String,
    ) -> (Ending, SignalBody) {
        let signal = SignalBody {
            code: cause,
            count: 1,
            detail: why.clone(),
            ends: true,
            exec: self.exec,
            kind: Some(kind),
            trip,
        };
        let ending = Ending {
            cause,
            why: Some(why),
        };
        (ending, signal)
    }

    /// The records that are due while it runs. Ending a tree comes before writing about it.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<SignalBody> {
        if self.ending.is_some() {
            return Vec::new();
        }
        self.notes.due(self.exec, now)
    }

    /// The records that are left when the tree is gone, for this cause: the last says why, where its
    /// conduct was the reason.
    pub(crate) fn rest(&mut self, cause: Option<DenialCode>) -> Vec<SignalBody> {
        let mut rest = self.notes.rest(self.exec);
        let ending = self.ending.take().or_else(|| self.judge_meter());
        // A tree that went too far and was over before that was seen is not ended by it.
        rest.extend(ending.map(|(_, signal)| SignalBody {
            ends: cause == Some(signal.code),
            ..signal
        }));
        rest
    }
}

/// What a process that was ended by this signal ran into, if it was a bound.
pub(crate) fn bound_of(signal: i32) -> Option<Kind> {
    let words = match signal {
        24 => "a process reached its bound of processor time",
        25 => "a process reached the bound of a file's size",
        _ => return None,
    };
    Some((DenialCode::ScopeExceeded, SignalKind::Limit, words))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else is refused counts as the graver of the two"
)]
fn denied(access: DeniedAccess) -> Kind {
    let (kind, words) = match access {
        DeniedAccess::Read => (SignalKind::RefusedRead, "a read was refused"),
        DeniedAccess::Execute => (SignalKind::RefusedExec, "a program was not started"),
        DeniedAccess::Network => (SignalKind::RefusedConnect, "a connection was refused"),
        _ => (SignalKind::RefusedWrite, "a write was refused"),
    };
    (DenialCode::ScopeExceeded, kind, words)
}

fn words(tripped: Tripped) -> String {
    let Tripped { trip, limit } = tripped;
    format!(
        "the trip limit {trip} was passed: its profile allows {limit} {}",
        trip.words()
    )
}

/// The first of the scope's trip limits that cannot be counted here, and why. What nobody counts is
/// not limited, so nothing may run under it.
pub(crate) fn uncounted(trips: &Trips, has_denials: bool) -> Option<(Trip, &'static str)> {
    let audit =
        "what Landlock refuses is told to root only, and where auditing is on (`auditctl -e 1`)";
    let proc = "this kernel does not list the children of processes (CONFIG_PROC_CHILDREN)";
    [
        (Trip::CpuTotalSecs, cpu::is_measurable(), proc),
        (Trip::RefusedReads, has_denials, audit),
        (Trip::RefusedWrites, has_denials, audit),
    ]
    .into_iter()
    .find(|(trip, counted, _)| trips.limit(*trip).is_some() && !counted)
    .map(|(trip, _, why)| (trip, why))
}
