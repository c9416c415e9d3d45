//! Environments at the node: what gateways attest, and how it is appraised.

use std::time::Duration;

use placet_evidence::{Appraisal, Attestation, Entry, Environment, Nonce, Record};
use placet_policy::Presented;
use placet_types::{Denial, DenialCode, ExecutionId, Fixed, Millis, PublicKey};
use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::prepare::{check_environment, prepare};
use crate::submission::Submission;
use crate::work::Prepared;

/// How an environment is appraised by the bundle in force. Nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appraised {
    /// Seconds after which an attestation says nothing any more.
    pub age_max_secs: u64,
    /// The result, as policies would see it.
    pub appraisal: Appraisal,
    /// What does not hold, in words.
    pub reasons: Vec<String>,
    /// Whether anything could be permitted in it.
    pub trusted: bool,
}

/// The environment that an execution was decided for.
#[derive(Clone, Debug)]
pub(crate) struct Attested {
    /// What its gateway signed, if it did.
    pub(crate) attestation: Option<Attestation>,
    pub(crate) environment: Fixed<Environment>,
    /// Thumbprint of its gateway's key.
    pub(crate) holder: String,
}

/// Longest that a nonce is signed again.
const NONCE_SECS: u64 = 60;
/// How long an attestation counts where no bundle says it.
const AGE_MAX_SECS: u64 = 600;

impl Authority {
    /// How long an attestation counts, by the bundle in force.
    pub(crate) fn attestation_age_max(&self) -> Duration {
        let policy = self.policy_in_force();
        let secs = policy.map_or(AGE_MAX_SECS, |policy| policy.references().age_max_secs());
        Duration::from_secs(secs)
    }

    /// How long a nonce is signed by the same gateway, so that what it signs counts for a while yet.
    pub(crate) fn nonce_secs(&self) -> u64 {
        NONCE_SECS.min(self.attestation_age_max().as_secs() / 2)
    }

    /// What the decision of an open execution recorded of its environment.
    pub(crate) fn attested_for(&self, exec: ExecutionId) -> Option<Attested> {
        let decided = self.with_state(|state| state.execution(&exec).map(|it| it.decided))?;
        let entry = self.reader().entry(decided).ok()?;
        let Ok(Record::Decided(decided)) = Entry::from_bytes(entry).read() else {
            return None;
        };
        Some(Attested {
            attestation: decided.facts.attestation,
            environment: decided.facts.environment,
            holder: decided.facts.holder,
        })
    }

    /// Which of these executions are not permitted by what their gateways attested last, as it is by then; with the check that
    /// fails.
    pub(crate) fn not_without_attestation<'a>(
        &self,
        all: impl Iterator<Item = (ExecutionId, &'a Attestation, Millis)>,
    ) -> Vec<(ExecutionId, String)> {
        self.with_again(|again| {
            let judged = all.filter_map(|(exec, attestation, then)| {
                let execution = again.state.execution(&exec).filter(|it| it.is_live())?;
                let reason = again.not_without(execution, (attestation, then))?;
                Some((exec, reason))
            });
            judged.collect()
        })
    }

    /// Something for a gateway to sign with what it says of its machine.
    ///
    /// # Errors
    ///
    /// [`Denial`] when the operating system gives no randomness.
    pub fn nonce(&self) -> Result<Nonce, Denial> {
        let nonce = self.verifier.nonce(self.time());
        nonce.map_err(|error| Denial::new(DenialCode::EvidenceUnavailable, error.to_string()))
    }

    /// Appraises an environment, for whoever wants to know.
    ///
    /// # Errors
    ///
    /// [`Denial`] when the attestation does not count, or no bundle is in force.
    pub fn appraise(
        &self,
        environment: &Fixed<Environment>,
        attestation: Option<(&Attestation, &PublicKey)>,
    ) -> Result<Appraised, Denial> {
        let now = self.time();
        check_environment(environment)
            .map_err(|reason| Denial::new(DenialCode::Malformed, reason))?;
        if let Some((attestation, holder)) = attestation {
            let domain = self.with_state(|state| state.genesis().domain.clone());
            let holder = holder.thumbprint();
            self.verifier
                .verify(attestation, &domain, environment, &holder, now)?;
        }
        let active = self.with_state(|state| state.policy().map(|active| active.bundle));
        let policy = active.and_then(|bundle| self.policy_of(bundle));
        let none = || Denial::new(DenialCode::NoPermit, "no policy bundle is in force");
        let policy = policy.ok_or_else(none)?;
        let references = policy.references();
        let found = references.appraise(&Presented {
            attestation: attestation.map(|(attestation, _)| attestation),
            environment,
            executable: None,
            time: now,
        });
        Ok(Appraised {
            age_max_secs: references.age_max_secs(),
            appraisal: found.appraisal,
            reasons: found.reasons,
            trusted: found.trusted,
        })
    }

    /// Whether gateways are to measure their own programs: the bundle in force looks at that, and it takes a while.
    #[must_use]
    pub fn measures_gateways(&self) -> bool {
        let active = self.with_state(|state| state.policy().map(|active| active.bundle));
        let policy = active.and_then(|bundle| self.policy_of(bundle));
        policy.is_some_and(|policy| policy.looks_at_gateways())
    }

    pub(crate) fn prepared(&self, submission: &Submission) -> Result<Prepared, Denial> {
        let domain = self.with_state(|state| state.genesis().domain.clone());
        prepare(submission, (&self.verifier, &domain), self.time())
    }

    /// As records have it: never earlier than the last one.
    fn time(&self) -> Millis {
        self.clock
            .wall()
            .max(self.with_state(placet_state::State::time))
    }
}
