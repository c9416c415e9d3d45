//! What the tracer knows of each task, and of each exec that it holds back.

use std::sync::Arc;

use super::judge::Judgement;
use super::{ExecCall, ExecId};

/// One process or thread of the tree.
#[derive(Clone, Default)]
pub(super) struct Task {
    /// The exec whose image it runs.
    pub(super) image: Option<ExecId>,
    /// The execs that it has called itself, the last of them, within bounds: its end is theirs.
    pub(super) own: Vec<ExecId>,
    pub(super) made_by: Option<u32>,
    /// Whether the stop of its maker has been heard. It comes before or after its own first one.
    pub(super) born: bool,
}

/// An exec that is held back.
pub(super) struct Held {
    pub(super) pid: i32,
    pub(super) call: Arc<ExecCall>,
    pub(super) waits: Waits,
}

#[derive(Clone, Copy)]
pub(super) enum Waits {
    /// For room in the queue, and then this.
    Room(Judgement),
    /// For the supervisor, until this CLOCK_BOOTTIME instant.
    Answer { until_ns: u64 },
}
