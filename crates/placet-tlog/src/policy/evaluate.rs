//! Evaluating a checkpoint against a policy: the log's signature, then the quorum.

use crate::checkpoint::{Checkpoint, OpenError, OpenedCheckpoint, SignedCheckpoint};
use crate::note::{CosignTime, VerifiedSignature, VerifierKey};
use crate::policy::{Member, Policy, PolicyName, Quorum, Witness};

/// A checkpoint that a known log signed and the policy's quorum cosigned. Made only by
/// [`Policy::evaluate`].
///
/// ```compile_fail,E0451
/// # use placet_tlog::{OpenedCheckpoint, QuorumCheckpoint};
/// fn take_the_logs_word(opened: OpenedCheckpoint) -> QuorumCheckpoint {
///     QuorumCheckpoint { opened, cosignatures: Vec::new() }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumCheckpoint {
    opened: OpenedCheckpoint,
    cosignatures: Vec<Cosignature>,
}

/// A cosignature that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    witness: PolicyName,
    time: CosignTime,
}

/// Why a checkpoint does not meet a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyViolation {
    /// No known log signed it, or a known key's signature fails.
    #[error(transparent)]
    Checkpoint(#[from] OpenError),
    /// Too few cosigned.
    #[error("the quorum {quorum} is not met: {} known witnesses cosigned", .cosigned.len())]
    QuorumNotMet {
        /// The witness or group that the policy requires.
        quorum: PolicyName,
        /// The witnesses whose cosignature verified.
        cosigned: Vec<PolicyName>,
    },
}

impl Policy {
    /// Verifies that a log of this policy signed the checkpoint and that its quorum cosigned it.
    ///
    /// Lines of keys that the policy does not know are ignored, so they never count. A failing line
    /// of one it does know refuses the checkpoint, even if the quorum is met without it.
    ///
    /// # Errors
    ///
    /// [`PolicyViolation`] names the step that failed.
    pub fn evaluate(&self, signed: &SignedCheckpoint) -> Result<QuorumCheckpoint, PolicyViolation> {
        let keys: Vec<&VerifierKey> = self.keys().collect();
        let (opened, signatures) = signed.open_with(&keys)?;
        let present: Vec<Option<CosignTime>> = self
            .witnesses
            .iter()
            .map(|witness| cosign_time(witness, &signatures))
            .collect();
        let named = self.witnesses.iter().zip(&present);
        let cosignatures: Vec<Cosignature> = named
            .filter_map(|(witness, time)| {
                time.map(|time| Cosignature {
                    witness: witness.name.clone(),
                    time,
                })
            })
            .collect();
        self.check_quorum(&present, &cosignatures)?;
        Ok(QuorumCheckpoint {
            opened,
            cosignatures,
        })
    }

    /// Every key of the policy: the logs', then the witnesses'.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        let logs = self.logs.iter().map(|log| &log.key);
        logs.chain(self.witnesses.iter().map(|witness| &witness.key))
    }

    fn check_quorum(
        &self,
        present: &[Option<CosignTime>],
        cosignatures: &[Cosignature],
    ) -> Result<(), PolicyViolation> {
        let (Quorum::Of(member), Some(quorum)) = (self.quorum, self.quorum()) else {
            return Ok(());
        };
        if self.has_witnessed(member, present) {
            return Ok(());
        }
        let cosigned = cosignatures.iter().map(|c| c.witness.clone()).collect();
        Err(PolicyViolation::QuorumNotMet {
            quorum: quorum.clone(),
            cosigned,
        })
    }

    /// Groups only name earlier ones, and each member is named once: one pass decides them all.
    fn has_witnessed(&self, quorum: Member, present: &[Option<CosignTime>]) -> bool {
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        let holds = |member: Member, groups: &[bool]| match member {
            Member::Witness(at) => present.get(at).is_some_and(Option::is_some),
            Member::Group(at) => groups.get(at).copied().unwrap_or(false),
        };
        for group in &self.groups {
            let count = group
                .members
                .iter()
                .filter(|member| holds(**member, &groups))
                .count();
            groups.push(count >= group.threshold);
        }
        holds(quorum, &groups)
    }
}

/// The time of this witness's verified cosignature, if there is one.
fn cosign_time(witness: &Witness, signatures: &[VerifiedSignature<'_>]) -> Option<CosignTime> {
    let mut own = signatures
        .iter()
        .filter(|signature| *signature.key() == witness.key);
    own.find_map(VerifiedSignature::time)
}

impl QuorumCheckpoint {
    /// What the log says, and the quorum with it.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        self.opened.checkpoint()
    }

    /// The checkpoint as its log signed it.
    #[must_use]
    pub const fn opened(&self) -> &OpenedCheckpoint {
        &self.opened
    }

    /// The verified cosignatures, in the order of the policy's witnesses.
    #[must_use]
    pub fn cosignatures(&self) -> &[Cosignature] {
        &self.cosignatures
    }
}

impl Cosignature {
    /// The witness, by its name in the policy.
    #[must_use]
    pub const fn witness(&self) -> &PolicyName {
        &self.witness
    }

    /// When it cosigned, by its own clock.
    #[must_use]
    pub const fn time(&self) -> CosignTime {
        self.time
    }
}
