//! Intents that wait for approvals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use placet_evidence::{Verdict, Waiting};
use placet_types::{ExecutionId, FixedIntent, Index, PrincipalId};

/// An intent that waits. It leaves the state when it is permitted, and some time after its own is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The record that deferred it.
    pub decided: Index,
    /// Policies that deferred it.
    pub determining: Vec<String>,
    /// The execution that it would be.
    pub exec: ExecutionId,
    /// What is asked.
    pub intent: FixedIntent,
    /// What approvers said, each the first time.
    pub verdicts: BTreeMap<PrincipalId, Verdict>,
    /// What it waits for.
    pub waiting: Waiting,
}

impl Waits {
    /// Who approved it, in order of their names.
    pub fn approved_by(&self) -> impl Iterator<Item = &PrincipalId> {
        self.said(Verdict::Approve)
    }

    /// The first by name of those who rejected it. One is enough.
    #[must_use]
    pub fn rejected_by(&self) -> Option<&PrincipalId> {
        self.said(Verdict::Reject).next()
    }

    fn said(&self, what: Verdict) -> impl Iterator<Item = &PrincipalId> {
        self.verdicts
            .iter()
            .filter(move |(_, verdict)| **verdict == what)
            .map(|(by, _)| by)
    }
}
