//! Checks that need no state, made before anything waits for the sequencer.

use placet_evidence::{PREFIX, PrincipalRecord, PrincipalStatus};
use placet_types::{Denial, DenialCode, DomainName, Millis, PrincipalId, Thumbprint};

use crate::control::ActError;
use crate::random;
use crate::submission::Submission;
use crate::verifier::Verifier;
use crate::work::Prepared;

/// Check 1, as far as it needs no state: what does not parse is refused and recorded as such.
pub(crate) fn prepare(
    submission: &Submission,
    (verifier, domain): (&Verifier, &DomainName),
    now: Millis,
) -> Result<Prepared, Denial> {
    let malformed = |reason: String| Denial::new(DenialCode::Malformed, reason);
    let intent = submission.intent.read();
    let intent = intent.map_err(|error| malformed(error.to_string()))?;
    check_environment(&submission.environment).map_err(malformed)?;
    if intent.action.as_str().starts_with(PREFIX) {
        // What such an act is about is the node's to say, never the caller's.
        let reason =
            format!("`{PREFIX}…` is asked for by an act of administration, and by nothing else");
        return Err(malformed(reason));
    }
    let exec = random::execution_id()
        .map_err(|error| Denial::new(DenialCode::EvidenceUnavailable, error.to_string()))?;
    let holder = submission.holder.thumbprint();
    if let Some(attestation) = &submission.attestation {
        let environment = &submission.environment;
        verifier.verify(attestation, domain, environment, &holder, now)?;
    }
    Ok(Prepared {
        attestation: submission.attestation.clone(),
        bearer: submission.bearer.clone(),
        intent,
        params: submission.params.clone(),
        holder,
        environment: submission.environment.clone(),
        caller: submission.caller.clone(),
        exec,
    })
}

/// Every text of an environment stands in the record, so each is short.
pub(crate) fn check_environment(environment: &placet_evidence::Environment) -> Result<(), String> {
    let texts = [
        &environment.arch,
        &environment.boot,
        &environment.distribution,
        &environment.gateway,
        &environment.kernel,
    ];
    if texts.iter().all(|text| text.len() <= 256) {
        Ok(())
    } else {
        Err("a text of the environment is longer than 256 bytes".into())
    }
}

pub(crate) fn principal_record(
    id: PrincipalId,
    groups: Vec<String>,
    keys: Vec<Thumbprint>,
    uids: Vec<u32>,
    acts_for: Vec<PrincipalId>,
    status: PrincipalStatus,
    by: PrincipalId,
) -> Result<PrincipalRecord, ActError> {
    let short = |text: &String| !text.is_empty() && text.len() <= 128;
    if !groups.iter().all(short) || groups.len() + keys.len() + uids.len() + acts_for.len() > 256 {
        let reason =
            "a principal has at most 256 groups, keys, users and delegates, with short names";
        return Err(ActError::new(DenialCode::Malformed, reason));
    }
    Ok(PrincipalRecord {
        acts_for,
        by,
        decided_by: None,
        groups,
        id,
        keys,
        status,
        time: Millis::default(),
        uids,
    })
}
