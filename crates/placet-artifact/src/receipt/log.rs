//! A domain's log as its policy file describes it, and the checkpoints that met that policy.
//!
//! Many receipts carry the same checkpoint. One that has met the policy is remembered, to the byte,
//! so that a further receipt under it costs hashing only. What is remembered changes no answer: the
//! policy is fixed, and whether a checkpoint meets it depends on nothing else.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use placet_tlog::policy::PolicyViolation;
use placet_tlog::proof::ProofSyntaxError;
use placet_tlog::tree::InclusionError;
use placet_tlog::{Hash, LogProof, Policy, SignedCheckpoint};
use placet_types::Index;

/// A log, trusted as far as its policy says.
#[derive(Debug)]
pub struct KnownLog {
    policy: Policy,
    /// INVARIANT: every checkpoint in here has met `policy`. The newest stands first.
    met: Mutex<VecDeque<SignedCheckpoint>>,
}

/// Why a log is not shown to hold an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The proof is not a C2SP tlog-proof.
    #[error("the proof: {0}")]
    Syntax(ProofSyntaxError),
    /// The checkpoint does not meet the policy.
    #[error("the checkpoint: {0}")]
    Policy(PolicyViolation),
    /// The entry is not shown to be in the tree.
    #[error("the entry: {0}")]
    Inclusion(InclusionError),
}

impl KnownLog {
    /// How many checkpoints are remembered.
    pub const REMEMBERED_MAX: usize = 16;

    /// The log or logs of a policy.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            met: Mutex::new(VecDeque::new()),
        }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Proves that `entry` is in the log, and where.
    ///
    /// # Errors
    ///
    /// [`LogError`] names the step that failed.
    pub fn prove_included(&self, entry: &[u8], proof: &[u8]) -> Result<Index, LogError> {
        let proof = LogProof::parse(proof).map_err(LogError::Syntax)?;
        self.check(proof.checkpoint())?;
        let tree = proof.checkpoint().claim();
        proof
            .path()
            .verify(&Hash::leaf(entry), proof.index(), tree.size(), tree.root())
            .map_err(LogError::Inclusion)?;
        Ok(Index::new(proof.index()))
    }

    fn check(&self, checkpoint: &SignedCheckpoint) -> Result<(), LogError> {
        if self.remembered(|met| met.contains(checkpoint)) {
            return Ok(());
        }
        self.policy.evaluate(checkpoint).map_err(LogError::Policy)?;
        self.remembered(|met| {
            met.truncate(Self::REMEMBERED_MAX.saturating_sub(1));
            met.push_front(checkpoint.clone());
        });
        Ok(())
    }

    fn remembered<T>(&self, with: impl FnOnce(&mut VecDeque<SignedCheckpoint>) -> T) -> T {
        // A holder of this lock that panicked left whole checkpoints behind, each of which had met
        // the policy: the invariant holds, so the poison says nothing.
        with(&mut self.met.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
