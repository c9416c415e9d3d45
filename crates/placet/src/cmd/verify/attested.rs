//! What was attested of the machine, and what the domain made of it: the last steps of `placet verify`.

use std::path::Path;

use placet_evidence::proof_bundle::{ProofBundle, Report, Step, StepOutcome};
use placet_evidence::{Decided, Entry, Record};
use placet_policy::{Bundle, Policy, Presented};
use placet_types::{Digest, DomainName, ProcessParams};

use crate::bundle;
use crate::exit::Failure;

/// Where the bundle of a decision is looked for.
pub(super) enum Rules<'a> {
    /// A directory or an archive that was named.
    Named(&'a Path),
    /// The bundles that the domain on this machine keeps.
    Kept(&'a dyn Fn(Digest) -> Option<Policy>),
    /// Nowhere: then the claims are not judged anew.
    None,
}

/// Goes on where everything in the proof bundle holds. A record that is no decision, or of what nobody attested, has no such steps.
pub(super) fn check(report: &mut Report, proof: &[u8], rules: &Rules<'_>) -> Result<(), Failure> {
    let Some(Record::Decided(decided)) = report.record.clone().filter(|_| report.holds()) else {
        return Ok(());
    };
    let Some(domain) = domain_of(proof) else {
        return Ok(());
    };
    let step = |name, outcome| Step { name, outcome };
    match decided.check_attested(&domain) {
        Ok(None) => return Ok(()),
        Ok(Some(found)) => report
            .steps
            .push(step("attestation", StepOutcome::Holds(found))),
        Err(why) => {
            report
                .steps
                .push(step("attestation", StepOutcome::Fails(why)));
            report.record = None;
            return Ok(());
        }
    }
    if decided.appraisal.is_none() || matches!(rules, Rules::None) {
        return Ok(());
    }
    let outcome = match policy_of(&decided, rules)? {
        Ok(policy) => appraised(&decided, &policy),
        Err(why) => why,
    };
    if matches!(outcome, StepOutcome::Fails(_)) {
        report.record = None;
    }
    report.steps.push(step("appraisal", outcome));
    Ok(())
}

/// The domain that the genesis record names; it was proven by a step before.
fn domain_of(proof: &[u8]) -> Option<DomainName> {
    let bundle = ProofBundle::parse(proof).ok()?;
    let genesis = Entry::from_bytes(bundle.genesis.entry.into_bytes()).read();
    let Ok(Record::Genesis(genesis)) = genesis else {
        return None;
    };
    Some(genesis.domain)
}

fn policy_of(decided: &Decided, rules: &Rules<'_>) -> Result<Result<Policy, StepOutcome>, Failure> {
    let Some(digest) = decided.policy.bundle else {
        let why = "no bundle was in force".to_owned();
        return Ok(Err(StepOutcome::CannotTell(why)));
    };
    match rules {
        Rules::None => {
            let why = "no bundle was named".to_owned();
            Ok(Err(StepOutcome::CannotTell(why)))
        }
        Rules::Kept(load) => Ok(load(digest).ok_or_else(|| {
            StepOutcome::CannotTell("the bundle that was in force is not kept here".to_owned())
        })),
        Rules::Named(path) => {
            let bundle = read(path)?;
            if bundle.digest() != digest {
                let why = format!("another bundle was in force: {digest}");
                return Ok(Err(StepOutcome::Fails(why)));
            }
            let policy = Policy::compile(&bundle).map_err(|problems| {
                bundle::problems_failure("the bundle does not compile", &problems)
            })?;
            Ok(Ok(policy))
        }
    }
}

fn read(path: &Path) -> Result<Bundle, Failure> {
    if path.is_dir() {
        return bundle::read(&bundle::files(path)?);
    }
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    Bundle::of_archive(&bytes).map_err(|error| failed(&error))
}

/// Judges the claims anew, by the reference values that counted then.
fn appraised(decided: &Decided, policy: &Policy) -> StepOutcome {
    let of_process = decided.intent.action.as_str() == ProcessParams::ACTION;
    let found = policy.references().appraise(&Presented {
        attestation: decided.facts.attestation.as_ref(),
        environment: &decided.facts.environment,
        executable: decided
            .intent
            .resource
            .digest
            .as_ref()
            .filter(|_| of_process),
        time: decided.facts.time,
    });
    if decided.appraisal.as_ref() == Some(&found.appraisal) {
        let status = found.appraisal.status.as_str();
        return StepOutcome::Holds(format!("{status}, by the reference values of then"));
    }
    let status = found.appraisal.status.as_str();
    StepOutcome::Fails(format!(
        "by the reference values of then it is `{status}`, with other claims or another status than recorded"
    ))
}
