//! Replay: every decision computed again from the log, and compared with what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_artifact::Unsigned;
use placet_artifact::jws::Algorithm;
use placet_decision::{Asking, Decision, Input, claims, decide};
use placet_evidence::{Answered, Attestation, Decided, Entry, PolicyActivated, Record};
use placet_log::{LogReader, Payload};
use placet_policy::Policy;
use placet_state::State;
use placet_types::{Commitment, DenialCode, Digest, FixedScope, Index, Question};

use crate::activate::Bundles;
use crate::blobs::Blobs;
use crate::draft::decode_question;
use crate::opening::OpenError;
use crate::payload::decode_payload;
use crate::scopes;

/// Compiled bundles that are held at a time: past that they are read again.
const POLICIES_MAX: usize = 16;
/// Scopes that are held beside those of open executions.
const SCOPES_MAX: usize = 1024;

/// What replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records that were read.
    pub records: u64,
    /// Decisions that came out the same, byte for byte.
    pub same: u64,
    /// Decisions that came out otherwise.
    pub different: Vec<Index>,
    /// Decisions whose payload was destroyed on purpose: proven, not recomputable.
    pub erased: Vec<Index>,
    /// Decisions whose payload is missing or damaged without a record that says why.
    pub unreadable: Vec<Index>,
    /// Decisions under a bundle that is not kept here.
    pub without_policy: Vec<Index>,
}

/// Where the parts that are not in the log itself are found.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The log.
    pub reader: &'a LogReader,
    /// Policy bundles.
    pub bundles: &'a Bundles,
    /// Scopes.
    pub blobs: &'a Blobs,
}

impl ReplayReport {
    /// Whether every decision that can be computed again came out the same, and the others were
    /// erased on purpose.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.different.is_empty() && self.unreadable.is_empty() && self.without_policy.is_empty()
    }
}

/// Computes every decision of the log again. `progress` is told of each record.
///
/// # Errors
///
/// [`OpenError`] when the log itself cannot be read or folded.
pub fn replay(
    sources: Sources<'_>,
    mut progress: impl FnMut(Index),
) -> Result<ReplayReport, OpenError> {
    let reader = sources.reader;
    let mut state = crate::opening::begin(reader)?;
    let mut run = Run {
        sources,
        policies: BTreeMap::new(),
        scopes: BTreeMap::new(),
        scopes_max: SCOPES_MAX,
        report: ReplayReport::default(),
    };
    run.report.records = 1;
    let mut erased = BTreeSet::new();
    for entry in reader.entries(Index::new(1)..reader.size()) {
        let (index, bytes) = entry?;
        let record = Entry::from_bytes(bytes)
            .read()
            .map_err(|error| OpenError::Entry { index, error })?;
        if let Record::Decided(decided) = &record {
            run.check(&state, index, decided)?;
        } else if let Record::Answered(answered) = &record {
            run.check_answer(&state, index, answered)?;
        } else if let Record::Policy(activated) = &record {
            run.check_activation(index, activated);
        } else if let Record::Erased(record) = &record {
            erased.insert(record.index);
        }
        state
            .apply(index, &record)
            .map_err(|error| OpenError::Fold { index, error })?;
        run.report.records += 1;
        progress(index);
    }
    // Destroyed without a record that says so is not destroyed on purpose.
    let (kept, unexplained) = run
        .report
        .erased
        .iter()
        .partition::<Vec<Index>, _>(|index| erased.contains(index));
    run.report.erased = kept;
    run.report.unreadable.extend(unexplained);
    Ok(run.report)
}

struct Run<'a> {
    sources: Sources<'a>,
    policies: BTreeMap<Digest, Option<Arc<Policy>>>,
    scopes: BTreeMap<Digest, FixedScope>,
    scopes_max: usize,
    report: ReplayReport,
}

impl Run<'_> {
    fn check(&mut self, state: &State, index: Index, decided: &Decided) -> Result<(), OpenError> {
        let params = match self.sources.reader.payload(index)? {
            Payload::Present(bytes) => decode_payload(&bytes),
            Payload::Erased => {
                self.report.erased.push(index);
                return Ok(());
            }
            Payload::Damaged | Payload::None => None,
        };
        let Some(params) = params else {
            self.report.unreadable.push(index);
            return Ok(());
        };
        let policy = match state.policy() {
            Some(active) => match self.policy(active.bundle) {
                Some(policy) => Some(policy),
                None => {
                    self.report.without_policy.push(index);
                    return Ok(());
                }
            },
            None => None,
        };
        let parent = decided
            .intent
            .parent
            .and_then(|parent| state.execution(&parent));
        let parent_scope = parent.and_then(|parent| self.scope(state, parent.grant.scope));
        let input = Input {
            state,
            policy: policy.as_deref(),
            intent: &decided.intent,
            params: &params,
            parent_scope: parent_scope.as_ref(),
            facts: &decided.facts,
        };
        let decision = decide(&input);
        if let Some((grant, scope)) = decision.permit() {
            self.hold(state, grant.scope, scope);
        }
        if !is_attested_as_said(state, decided) {
            self.report.different.push(index);
            return Ok(());
        }
        if comes_out_as(decided, &input, decision) || was_without_bundle(decided, &input) {
            self.report.same += 1;
        } else {
            self.report.different.push(index);
        }
        Ok(())
    }

    /// Whether administration is governed is the bundle's to say.
    fn check_activation(&mut self, index: Index, activated: &PolicyActivated) {
        match self.policy(activated.bundle) {
            Some(policy) if policy.governs() == activated.governs => {}
            // Decisions under it are reported as such.
            None => {}
            Some(_) => self.report.different.push(index),
        }
    }

    /// What a search found is not looked for again: it was found in the state as it was earlier.
    fn check_answer(
        &mut self,
        state: &State,
        index: Index,
        answered: &Answered,
    ) -> Result<(), OpenError> {
        let payload = match self.sources.reader.payload(index)? {
            Payload::Present(bytes) => decode_question(&bytes),
            Payload::Erased => {
                self.report.erased.push(index);
                return Ok(());
            }
            Payload::Damaged | Payload::None => None,
        };
        let Some((salt, bytes, question)) = payload else {
            self.report.unreadable.push(index);
            return Ok(());
        };
        let policy = match state.policy().map(|active| active.bundle) {
            Some(bundle) => match self.policy(bundle) {
                Some(policy) => Some(policy),
                None => {
                    self.report.without_policy.push(index);
                    return Ok(());
                }
            },
            None => None,
        };
        let asking = Asking {
            state,
            policy: policy.as_deref(),
            question: &question,
            askers: std::slice::from_ref(&answered.asker),
            caller: &answered.caller,
            environment: &answered.environment,
            time: answered.time,
        };
        let committed = Commitment::to(Question::LABEL, &bytes, &salt);
        let again = |asking: &Asking<'_>| {
            let answer = placet_decision::answer(asking)?;
            Some(answer.into_record(asking, committed, answered.found))
        };
        let without = Asking {
            policy: None,
            ..asking
        };
        let same = |record: Option<Answered>| record.as_ref() == Some(answered);
        if same(again(&asking)) || same(again(&without)) {
            self.report.same += 1;
        } else {
            self.report.different.push(index);
        }
        Ok(())
    }

    fn policy(&mut self, bundle: Digest) -> Option<Arc<Policy>> {
        let bundles = self.sources.bundles;
        if self.policies.len() >= POLICIES_MAX && !self.policies.contains_key(&bundle) {
            self.policies.clear();
        }
        self.policies
            .entry(bundle)
            .or_insert_with(|| bundles.load(bundle).ok().map(Arc::new))
            .clone()
    }

    /// A scope that this run granted itself; one from before a loss of order is read from disk.
    fn scope(&mut self, state: &State, digest: Digest) -> Option<FixedScope> {
        if let Some(scope) = self.scopes.get(&digest) {
            return Some(scope.clone());
        }
        let scope = scopes::read(self.sources.blobs, digest)?;
        self.hold(state, digest, &scope);
        Some(scope)
    }

    /// What open executions hold stays: their children are decided by it.
    fn hold(&mut self, state: &State, digest: Digest, scope: &FixedScope) {
        if self.scopes.len() >= self.scopes_max {
            let open: BTreeSet<Digest> = state.executions().map(|(_, it)| it.grant.scope).collect();
            self.scopes.retain(|digest, _| open.contains(digest));
            self.scopes_max = self.scopes.len().saturating_add(SCOPES_MAX);
        }
        self.scopes.entry(digest).or_insert_with(|| scope.clone());
    }
}

/// Whether the gateway that the artifact is bound to signed what is recorded of its machine, where it did sign.
fn is_attested_as_said(state: &State, decided: &Decided) -> bool {
    let (domain, facts) = (&state.genesis().domain, &decided.facts);
    let verified = |it: &Attestation| it.verify(domain, &facts.environment, &facts.holder);
    facts
        .attestation
        .as_ref()
        .is_none_or(|it| verified(it).is_ok())
}

/// Equal records have equal bytes: a record has one encoding.
fn comes_out_as(decided: &Decided, input: &Input<'_>, decision: Decision) -> bool {
    let artifact = artifact_digest(input.state, &decision, decided);
    decision.into_record(decided.intent.clone(), decided.facts.clone(), artifact) == *decided
}

/// Whether it was denied because the bundle in force could not be loaded at the time, though it can
/// be loaded now.
fn was_without_bundle(decided: &Decided, input: &Input<'_>) -> bool {
    let for_want_of_policy = decided
        .denial
        .as_ref()
        .is_some_and(|denial| denial.code == DenialCode::PolicyError);
    let without = Input {
        policy: None,
        ..*input
    };
    for_want_of_policy && comes_out_as(decided, input, decide(&without))
}

/// Digest of the artifact that a decision leads to, computed from its claims.
fn artifact_digest(state: &State, decision: &Decision, decided: &Decided) -> Option<Digest> {
    let (grant, scope) = decision.permit()?;
    let genesis = state.genesis();
    let (intent, facts, policy) = (&decided.intent, &decided.facts, decision.policy());
    let claims = claims(&genesis.domain, intent, facts, grant, policy, scope).ok()?;
    let unsigned = Unsigned::new(&claims, &genesis.keys.artifact, Algorithm::EdDsa).ok()?;
    Some(unsigned.digest())
}
