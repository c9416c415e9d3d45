//! How the processes of a tree ended, until somebody asks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ExecEnd, ExecId};
use crate::tree::Status;

const KEPT_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<VecDeque<ExecEnd>>);

impl Ends {
    fn kept(&self) -> MutexGuard<'_, VecDeque<ExecEnd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, execs: &[ExecId], status: Status) {
        let mut kept = self.kept();
        for id in execs {
            if kept.len() >= KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(ExecEnd { id: *id, status });
        }
    }

    pub(super) fn take(&self) -> Vec<ExecEnd> {
        self.kept().drain(..).collect()
    }
}
