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

#[cfg(test)]
mod tests {
    use placet_tlog::{BatchTree, Checkpoint, Frontier, KeyName, NoteSigner};
    use placet_types::SigningKey;
    use zeroize::Zeroizing;

    use super::*;

    fn signer() -> NoteSigner {
        let key = SigningKey::from_seed(&Zeroizing::new([3; 32]));
        NoteSigner::new(KeyName::parse("log.example").unwrap(), key)
    }

    fn known() -> KnownLog {
        let key = signer().verifier_key().clone();
        let policy = Policy::builder()
            .log(key, None)
            .and_then(|it| it.no_quorum());
        KnownLog::new(policy.and_then(|it| it.build()).unwrap())
    }

    /// Proof of the last of `size` entries.
    fn proof_of_last(size: u8) -> (Vec<u8>, Vec<u8>) {
        let leaves = (1..=size).map(|i| Hash::leaf(&[i])).collect();
        let tree = BatchTree::new(&Frontier::new(), leaves).unwrap();
        let origin = signer().verifier_key().name().clone();
        let checkpoint = Checkpoint::new(origin, tree.size(), tree.root()).unwrap();
        let index = tree.size() - 1;
        let path = tree.prove_inclusion(index).unwrap();
        let proof = LogProof::new(index, path, checkpoint.sign(&signer()).unwrap());
        (vec![size], proof.to_string().into_bytes())
    }

    #[test]
    fn a_checkpoint_is_remembered_once_and_no_more_than_the_bound_are() {
        let known = known();
        for size in [1, 1, 2, 1] {
            let (entry, proof) = proof_of_last(size);
            assert_eq!(
                known.prove_included(&entry, &proof),
                Ok(Index::new(u64::from(size) - 1))
            );
        }
        assert_eq!(known.remembered(|met| met.len()), 2);
        for size in 1..=40 {
            let (entry, proof) = proof_of_last(size);
            assert!(known.prove_included(&entry, &proof).is_ok());
        }
        assert_eq!(known.remembered(|met| met.len()), KnownLog::REMEMBERED_MAX);
    }

    #[test]
    fn a_checkpoint_that_fails_is_not_remembered() {
        let known = known();
        let (entry, proof) = proof_of_last(3);
        let forged = String::from_utf8(proof).unwrap().replace("\n3\n", "\n4\n");
        for _ in 0..2 {
            let refused = known.prove_included(&entry, forged.as_bytes());
            assert!(matches!(refused, Err(LogError::Policy(_))), "{refused:?}");
        }
        assert_eq!(known.remembered(|met| met.len()), 0);
    }
}
