//! Environments at the node: what gateways attest, and how it is appraised.

use placet_evidence::{Appraisal, Attestation, Environment, Nonce};
use placet_policy::Presented;
use placet_types::{Denial, DenialCode, Fixed, Millis, PublicKey};
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

impl Authority {
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
