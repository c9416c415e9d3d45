//! Verification of a proof bundle, step by step.

use placet_artifact::receipt::{KnownLog, Receipt};
use placet_artifact::verify::{Pins, Verifier};
use placet_tlog::Policy;
use placet_types::{Index, PublicKey};

use super::{ProofBundle, Proven};
use crate::{AdministrativeAct, Decided, Entry, Genesis, Outcome, Record};

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every step that was taken, in order. The first that failed is the last.
    pub steps: Vec<Step>,
    /// The record that the bundle is about, once it was proven.
    pub record: Option<Record>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is checked, a stable name.
    pub name: &'static str,
    /// How it went.
    pub outcome: StepOutcome,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It holds; what was found.
    Holds(String),
    /// It does not hold; why.
    Fails(String),
    /// The bundle does not say.
    CannotTell(String),
}

impl Report {
    /// Whether every step that was taken holds, and none failed.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.steps.is_empty()
            && self
                .steps
                .iter()
                .all(|step| !matches!(step.outcome, StepOutcome::Fails(_)))
    }

    /// The step that failed.
    #[must_use]
    pub fn failed(&self) -> Option<&Step> {
        self.steps
            .iter()
            .find(|step| matches!(step.outcome, StepOutcome::Fails(_)))
    }
}

/// Verifies a bundle under the policy file that the verifier trusts.
#[must_use]
pub fn verify(bundle: &[u8], policy: &[u8]) -> Report {
    let mut run = Run {
        steps: Vec::new(),
        record: None,
    };
    // A failed step has been noted; there is nothing to add.
    let Some(()) = run.all(bundle, policy) else {
        return Report {
            steps: run.steps,
            record: None,
        };
    };
    Report {
        steps: run.steps,
        record: run.record,
    }
}

struct Run {
    steps: Vec<Step>,
    record: Option<Record>,
}

impl Run {
    fn all(&mut self, bundle: &[u8], policy: &[u8]) -> Option<()> {
        let policy = self.step("policy", Policy::parse(policy), |p| {
            format!("{} log", p.logs().len())
        })?;
        let bundle = self.step("bundle", ProofBundle::parse(bundle), |_| {
            "reads strictly".into()
        })?;
        let log = KnownLog::new(policy.clone());
        let genesis = self.genesis(&bundle, &log)?;
        let record_key = genesis.keys.record;
        self.log_key(&policy, &genesis)?;
        let record = self.proven("record", &bundle.record, &log, &record_key)?;
        self.artifact(&bundle, &record, &policy, &genesis)?;
        self.disclosed(&bundle, &record)?;
        for related in &bundle.related {
            self.related(related, &record, &log, &record_key)?;
        }
        self.record = Some(record);
        Some(())
    }

    fn note(&mut self, name: &'static str, outcome: StepOutcome) {
        self.steps.push(Step { name, outcome });
    }

    fn fail<T>(&mut self, name: &'static str, reason: &impl ToString) -> Option<T> {
        self.note(name, StepOutcome::Fails(reason.to_string()));
        None
    }

    fn step<T, E: ToString>(
        &mut self,
        name: &'static str,
        result: Result<T, E>,
        found: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.note(name, StepOutcome::Holds(found(&value)));
                Some(value)
            }
            Err(error) => self.fail(name, &error),
        }
    }

    /// The genesis record stands at index 0 of the log that the policy names. Its own key signed
    /// it, which says that whoever began the log had the key it names.
    fn genesis(&mut self, bundle: &ProofBundle, log: &KnownLog) -> Option<Genesis> {
        let index = self.inclusion("genesis in the log", &bundle.genesis, log)?;
        if index != Index::default() {
            return self.fail("genesis", &format!("stands at index {index}, not at 0"));
        }
        let entry = Entry::from_bytes(bundle.genesis.entry.clone().into_bytes());
        let read = entry
            .read()
            .map_err(|error| error.to_string())
            .and_then(|record| {
                let Record::Genesis(genesis) = record else {
                    return Err(format!("is a `{}` record", record.kind().as_str()));
                };
                let opened = entry.open(&genesis.keys.record);
                opened.map(|_| genesis).map_err(|error| error.to_string())
            });
        self.step("genesis", read, |genesis| {
            format!("domain {}", genesis.domain)
        })
    }

    fn log_key(&mut self, policy: &Policy, genesis: &Genesis) -> Option<()> {
        let same = policy.logs().iter().any(|log| {
            *log.key().public_key() == genesis.keys.log
                && log.key().name().as_str() == genesis.domain.as_str()
        });
        let result = if same {
            Ok(())
        } else {
            Err("the genesis record names another log")
        };
        self.step("log key", result, |()| {
            "the genesis record and the policy name the same".into()
        })
    }

    fn inclusion(&mut self, name: &'static str, proven: &Proven, log: &KnownLog) -> Option<Index> {
        let result = log.prove_included(proven.entry.as_bytes(), proven.proof.as_bytes());
        self.step(name, result, |index| format!("index {index}"))
    }

    fn proven(
        &mut self,
        name: &'static str,
        proven: &Proven,
        log: &KnownLog,
        key: &PublicKey,
    ) -> Option<Record> {
        self.inclusion("record in the log", proven, log)?;
        let opened = Entry::from_bytes(proven.entry.clone().into_bytes()).open(key);
        let opened = opened
            .map_err(|error| error.to_string())
            .and_then(|opened| {
                let whole =
                    !matches!(opened.record(), Record::Decided(decided) if !is_whole(decided));
                let contradicts = || "the decision contradicts itself".to_owned();
                whole.then_some(opened).ok_or_else(contradicts)
            });
        let opened = self.step(name, opened, |opened| {
            format!(
                "`{}`, signed by {}",
                opened.record().kind().as_str(),
                opened.key()
            )
        })?;
        Some(opened.into_record())
    }

    fn artifact(
        &mut self,
        bundle: &ProofBundle,
        record: &Record,
        policy: &Policy,
        genesis: &Genesis,
    ) -> Option<()> {
        let Record::Decided(decided) = record else {
            return match &bundle.artifact {
                None => Some(()),
                Some(_) => self.fail("artifact", &"only a decision has an artifact"),
            };
        };
        let permit = decided.outcome == Outcome::Permit;
        let Some(artifact) = &bundle.artifact else {
            let why = if permit {
                "a permit without its artifact"
            } else {
                "a denial has none"
            };
            self.note("artifact", StepOutcome::CannotTell(why.into()));
            return Some(());
        };
        if !permit {
            return self.fail("artifact", &"a denial has no artifact");
        }
        let verifier = Verifier::new(Pins {
            domain: genesis.domain.clone(),
            artifact_key: genesis.keys.artifact,
            record_key: genesis.keys.record,
            log: policy.clone(),
        });
        let verifier = self.step("artifact keys", verifier, |_| {
            "each role has its own".into()
        })?;
        let receipt = Receipt {
            entry: bundle.record.entry.clone().into_bytes(),
            proof: bundle.record.proof.clone().into_bytes(),
        };
        let audited = verifier
            .audit(artifact, &receipt)
            .map_err(|refusal| refusal.to_string());
        let audited = self.step("artifact", audited, |audited| {
            format!(
                "{}, named by the record at {}",
                audited.claims().jti,
                audited.index()
            )
        })?;
        let claims = audited.claims();
        let bound = [
            (claims.exec == decided.facts.exec, "another execution"),
            (claims.intent == decided.intent.digest(), "another intent"),
            (claims.params == decided.intent.params, "other parameters"),
            (claims.sub == *subject_of(decided), "another principal"),
            (
                Some(claims.policy.bundle) == decided.policy.bundle,
                "another policy",
            ),
            (
                decided.facts.environment.digest() == claims.env,
                "another environment",
            ),
            (scope_matches(decided, claims), "another scope"),
        ];
        let broken = bound
            .iter()
            .find(|(holds, _)| !holds)
            .map(|(_, what)| *what);
        let result = broken.map_or(Ok(()), |what| Err(format!("the artifact is for {what}")));
        self.step("bindings", result, |()| {
            "execution, intent, parameters, principal, policy, environment, scope".into()
        })
    }

    fn disclosed(&mut self, bundle: &ProofBundle, record: &Record) -> Option<()> {
        let Record::Decided(decided) = record else {
            return match &bundle.disclosed {
                None => Some(()),
                Some(_) => self.fail("parameters", &"only a decision has parameters"),
            };
        };
        let Some(disclosed) = &bundle.disclosed else {
            self.note(
                "parameters",
                StepOutcome::CannotTell("not disclosed".into()),
            );
            return Some(());
        };
        let opens = decided.intent.params.opens_to(
            decided.intent.action.as_str(),
            disclosed.params.as_bytes(),
            &disclosed.salt,
        );
        let result = if opens {
            Ok(())
        } else {
            Err("the commitment opens to something else")
        };
        self.step("parameters", result, |()| {
            "the commitment opens to what is disclosed".into()
        })
    }

    fn related(
        &mut self,
        proven: &Proven,
        about: &Record,
        log: &KnownLog,
        key: &PublicKey,
    ) -> Option<()> {
        let record = self.proven("related record", proven, log, key)?;
        if let Some(act) = AdministrativeAct::of(about)
            && act.decided_by.is_some()
            && act.decided_by == record.exec()
        {
            return self.step("decided by", allowed(&act, &record), |()| {
                act.action.to_owned()
            });
        }
        let same = record.exec().is_some() && record.exec() == about.exec();
        let result = if same {
            Ok(())
        } else {
            Err("is about another execution")
        };
        self.step("same execution", result, |()| {
            record.kind().as_str().to_owned()
        })
    }
}

/// Whether a record is the permit for exactly this act: its decision names the digest of everything that the act's record says.
fn allowed(act: &AdministrativeAct, record: &Record) -> Result<(), &'static str> {
    let Record::Decided(decided) = record else {
        return Err("is no decision");
    };
    let intent = &decided.intent;
    let fits = decided.outcome == Outcome::Permit
        && intent.action.as_str() == act.action
        && intent.principal == act.by
        && intent.resource.digest == Some(act.digest);
    if fits {
        return Ok(());
    }
    Err("is no permit for exactly this act")
}

/// Whether what stands beside the answer is what belongs to it. The state takes no other decision; a
/// verifier has no state.
const fn is_whole(decided: &Decided) -> bool {
    let (artifact, denial) = (decided.artifact.is_some(), decided.denial.is_some());
    let (grant, waits) = (decided.grant.is_some(), decided.waits.is_some());
    match decided.outcome {
        Outcome::Permit => artifact && grant && !denial && !waits,
        Outcome::Deny => denial && !artifact && !grant && !waits,
        Outcome::Defer => waits && !artifact && !denial && !grant,
    }
}

/// On whose behalf it happens: the root of the delegation chain.
fn subject_of(decided: &Decided) -> &placet_types::PrincipalId {
    decided
        .grant
        .as_ref()
        .and_then(|grant| grant.delegation.last())
        .unwrap_or(&decided.intent.principal)
}

fn scope_matches(decided: &Decided, claims: &placet_artifact::Claims) -> bool {
    let bytes = placet_types::canonical::to_bytes(&claims.detail().scope);
    let digest = bytes.ok().map(|bytes| placet_types::Digest::of(&bytes));
    digest.is_some() && digest == decided.grant.as_ref().map(|grant| grant.scope)
}
