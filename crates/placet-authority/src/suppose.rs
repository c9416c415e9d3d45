//! Supposing: what another bundle would have changed in the recorded past.
//!
//! Each recorded decision is made again from its intent, parameters and facts, against the fold of what was
//! really recorded before it, with the supposed bundle in the place of the one that was in force. So each
//! difference stands for itself: what would have followed from an earlier one is not followed up.

use std::ops::ControlFlow;

use placet_decision::{Decision, Input, suppose};
use placet_evidence::{CheckedDenial, Decided, Entry, Outcome, Record, Waiting};
use placet_log::Payload;
use placet_policy::Policy;
use placet_state::State;
use placet_types::{DenialCode, Digest, ExecutionId, Index, Millis, PrincipalId};
use serde::{Deserialize, Serialize};

use crate::opening::OpenError;
use crate::payload::decode_payload;
use crate::replay::Sources;
use crate::scopes;

/// Differences that are listed; all are counted.
pub const LISTED_MAX: usize = 1000;

/// What is supposed, of which part of the past.
#[derive(Clone, Copy, Debug)]
pub struct Supposition<'a> {
    /// The bundle.
    pub policy: &'a Policy,
    /// Decisions from this record on.
    pub from: Index,
    /// Decisions from this time on.
    pub since: Millis,
}

/// What a bundle would have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supposed {
    /// Whether the whole log was looked at.
    pub complete: bool,
    /// The record after the last one that was looked at.
    pub through: Index,
    /// Decisions that were looked at.
    pub decisions: u64,
    /// Those that would have had the same answer.
    pub same: u64,
    /// Those that would not.
    pub different: u64,
    /// Of these, denied ones that would have been permitted.
    pub opened: u64,
    /// Of these, permitted ones that would not have been.
    pub closed: u64,
    /// Those that cannot be made again: their parameters were erased, or do not read.
    pub unknown: u64,
    /// Some of the differences, in log order: of a replay the first [`LISTED_MAX`], of a bundle that is
    /// decided beside the one in force the latest.
    pub listed: Vec<Difference>,
}

/// One decision that would have been another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Where it stands.
    pub index: Index,
    /// The execution that it is about.
    pub exec: ExecutionId,
    /// Who asked.
    pub principal: PrincipalId,
    /// For what.
    pub action: String,
    /// On what.
    pub resource: String,
    /// What was decided.
    pub was: Brief,
    /// What would have been.
    pub would_be: Brief,
}

/// A decision in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brief {
    /// The answer.
    pub outcome: Outcome,
    /// Why it is a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<DenialCode>,
    /// End of the window of a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Millis>,
    /// Which policies determined it.
    pub policies: Vec<String>,
    /// The profile of a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What failed, of a denial; whom it waits for, of what is deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the scope of a permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Digest>,
}

/// Goes through the log. `progress` is told of each record, and may end it there.
///
/// # Errors
///
/// [`OpenError`] when the log itself cannot be read or folded.
pub fn supposed(
    sources: Sources<'_>,
    supposition: Supposition<'_>,
    mut progress: impl FnMut(Index) -> ControlFlow<()>,
) -> Result<Supposed, OpenError> {
    let reader = sources.reader;
    let mut state = crate::opening::begin(reader)?;
    let mut found = Supposed::default();
    for entry in reader.entries(Index::new(1)..reader.size()) {
        let (index, bytes) = entry?;
        let record = Entry::from_bytes(bytes)
            .read()
            .map_err(|error| OpenError::Entry { index, error })?;
        if let Record::Decided(decided) = &record
            && index >= supposition.from
            && decided.facts.time >= supposition.since
        {
            let would_be = again(sources, supposition.policy, &state, index, decided)?;
            let differs = found.take(index, decided, would_be);
            if found.listed.len() < LISTED_MAX {
                found.listed.extend(differs);
            }
        }
        state
            .apply(index, &record)
            .map_err(|error| OpenError::Fold { index, error })?;
        found.through = index.next();
        if progress(index).is_break() {
            found.complete = false;
            return Ok(found);
        }
    }
    found.complete = true;
    Ok(found)
}

/// The decision under the supposed bundle, as far as it can be made again.
pub(crate) fn again(
    sources: Sources<'_>,
    policy: &Policy,
    state: &State,
    index: Index,
    decided: &Decided,
) -> Result<Option<Decision>, OpenError> {
    let Payload::Present(bytes) = sources.reader.payload(index)? else {
        return Ok(None);
    };
    let Some(params) = decode_payload(&bytes) else {
        return Ok(None);
    };
    let parent = decided.intent.parent.and_then(|id| state.execution(&id));
    let parent_scope = parent.and_then(|it| scopes::read(sources.blobs, it.grant.scope));
    Ok(Some(suppose(&Input {
        state,
        policy: Some(policy),
        intent: &decided.intent,
        params: &params,
        parent_scope: parent_scope.as_ref(),
        facts: &decided.facts,
    })))
}

impl Supposed {
    /// Adds the counts of records that follow.
    pub(crate) fn add(&mut self, more: &Self) {
        self.decisions += more.decisions;
        self.same += more.same;
        self.different += more.different;
        self.opened += more.opened;
        self.closed += more.closed;
        self.unknown += more.unknown;
    }

    /// Counts a decision, and gives it back if it would have been another.
    pub(crate) fn take(
        &mut self,
        index: Index,
        decided: &Decided,
        would_be: Option<Decision>,
    ) -> Option<Difference> {
        self.decisions += 1;
        let Some(decision) = would_be else {
            self.unknown += 1;
            return None;
        };
        let was = Brief::of(decided);
        let record = decision.into_record(decided.intent.clone(), decided.facts.clone(), None);
        let would_be = Brief::of(&record);
        if was.answers_as(&would_be) {
            self.same += 1;
            return None;
        }
        self.different += 1;
        match (was.outcome, would_be.outcome) {
            (Outcome::Deny | Outcome::Defer, Outcome::Permit) => self.opened += 1,
            (Outcome::Permit, Outcome::Deny | Outcome::Defer) => self.closed += 1,
            (Outcome::Permit, Outcome::Permit)
            | (Outcome::Deny | Outcome::Defer, Outcome::Deny | Outcome::Defer) => {}
        }
        Some(Difference {
            index,
            exec: decided.facts.exec,
            principal: decided.intent.principal.clone(),
            action: decided.intent.action.to_string(),
            resource: decided.intent.resource.id.clone(),
            was,
            would_be,
        })
    }
}

impl Brief {
    /// Which policy says so, and in which words, may differ while the answer does not.
    fn answers_as(&self, other: &Self) -> bool {
        let waits = |brief: &Self| match brief.outcome {
            Outcome::Defer => brief.reason.clone(),
            Outcome::Permit | Outcome::Deny => None,
        };
        let grants = |brief: &Self| (brief.profile.clone(), brief.scope, brief.not_after);
        (self.outcome, self.code, waits(self)) == (other.outcome, other.code, waits(other))
            && grants(self) == grants(other)
    }

    fn of(decided: &Decided) -> Self {
        let grant = decided.grant.as_ref();
        let denial = decided.denial.as_ref().map(|denial| denial.reason.clone());
        let waits = decided.waits.as_ref().map(Waiting::in_words);
        Self {
            outcome: decided.outcome,
            code: decided
                .denial
                .as_ref()
                .map(|CheckedDenial { code, .. }| *code),
            policies: decided.policy.determining.clone(),
            not_after: grant.map(|grant| grant.not_after),
            profile: grant.map(|grant| grant.profile.to_string()),
            reason: denial.or(waits),
            scope: grant.map(|grant| grant.scope),
        }
    }
}
