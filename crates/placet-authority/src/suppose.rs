//! Supposing: what another bundle would have changed in the recorded past.
//!
//! Each recorded decision is made again from its intent, parameters and facts, against the fold of what was
//! really recorded before it, with the supposed bundle in the place of the one that was in force. So each
//! difference stands for itself: what would have followed from an earlier one is not followed up.

use std::ops::ControlFlow;

use placet_decision::{Asking, Decision, EVALUATE, Input, SEARCH, suppose, suppose_answer};
use placet_evidence::{
    Answered, CheckedDenial, Decided, Entry, Outcome, QuestionOutcome, Record, Waiting,
};
use placet_log::Payload;
use placet_policy::Policy;
use placet_state::State;
use placet_types::{DenialCode, Digest, ExecutionId, Index, Millis, PrincipalId};
use serde::{Deserialize, Serialize};

use crate::draft::decode_question;
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
    /// Decisions that were looked at, answers to questions among them.
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
    /// The execution that it is about; absent where somebody only asked a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecutionId>,
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
        if index >= supposition.from && record.time() >= supposition.since {
            let policy = supposition.policy;
            let differs = found.look(sources, policy, (&state, index, &record))?;
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
fn again(
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

/// The answer to a question under the supposed bundle, as far as it can be given again. What a search finds is not looked for
/// again: only whether it may be asked is supposed.
fn answer_again(
    sources: Sources<'_>,
    policy: &Policy,
    state: &State,
    index: Index,
    answered: &Answered,
) -> Result<Option<Answered>, OpenError> {
    let Payload::Present(bytes) = sources.reader.payload(index)? else {
        return Ok(None);
    };
    let Some((_, _, question)) = decode_question(&bytes) else {
        return Ok(None);
    };
    let asking = Asking {
        state,
        policy: Some(policy),
        question: &question,
        askers: std::slice::from_ref(&answered.asker),
        caller: &answered.caller,
        environment: &answered.environment,
        time: answered.time,
    };
    let answer = suppose_answer(&asking);
    Ok(answer.map(|it| it.into_record(&asking, answered.question, answered.found)))
}

impl Supposed {
    /// Decides or answers again what a record decided or answered, counts it, and gives it back if it would have been another.
    pub(crate) fn look(
        &mut self,
        sources: Sources<'_>,
        policy: &Policy,
        (state, index, record): (&State, Index, &Record),
    ) -> Result<Option<Difference>, OpenError> {
        if let Record::Decided(decided) = record {
            let would_be = again(sources, policy, state, index, decided)?;
            return Ok(self.take(index, decided, would_be));
        }
        let Record::Answered(answered) = record else {
            return Ok(None);
        };
        let would_be = answer_again(sources, policy, state, index, answered)?;
        let would_be = would_be.as_ref().map(Brief::of_answer);
        let differs = self.compare(Brief::of_answer(answered), would_be);
        Ok(differs.map(|(was, would_be)| Difference {
            index,
            exec: None,
            principal: answered.asker.clone(),
            // Of whom and what it was about the record says nothing, since that is private.
            action: if answered.found.is_some() {
                SEARCH.to_owned()
            } else {
                EVALUATE.to_owned()
            },
            resource: "Question".to_owned(),
            was,
            would_be,
        }))
    }

    /// Adds the counts of records that follow.
    pub(crate) fn add(&mut self, more: &Self) {
        self.decisions += more.decisions;
        self.same += more.same;
        self.different += more.different;
        self.opened += more.opened;
        self.closed += more.closed;
        self.unknown += more.unknown;
    }

    fn take(
        &mut self,
        index: Index,
        decided: &Decided,
        would_be: Option<Decision>,
    ) -> Option<Difference> {
        let would_be = would_be.map(|decision| {
            let (intent, facts) = (decided.intent.clone(), decided.facts.clone());
            Brief::of(&decision.into_record(intent, facts, None))
        });
        let (was, would_be) = self.compare(Brief::of(decided), would_be)?;
        Some(Difference {
            index,
            exec: Some(decided.facts.exec),
            principal: decided.intent.principal.clone(),
            action: decided.intent.action.to_string(),
            resource: decided.intent.resource.id.clone(),
            was,
            would_be,
        })
    }

    /// Counts one, and gives both back if they differ.
    fn compare(&mut self, was: Brief, would_be: Option<Brief>) -> Option<(Brief, Brief)> {
        self.decisions += 1;
        let Some(would_be) = would_be else {
            self.unknown += 1;
            return None;
        };
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
        Some((was, would_be))
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

    /// Whoever may not ask is told no as well, for a reason of its own.
    fn of_answer(answered: &Answered) -> Self {
        let denial = answered.denial.as_ref();
        let (outcome, policies) = match answered.outcome {
            QuestionOutcome::Permit => (Outcome::Permit, &answered.policy.determining),
            QuestionOutcome::Deny => (Outcome::Deny, &answered.policy.determining),
            QuestionOutcome::Refused => (Outcome::Deny, &answered.asking),
        };
        Self {
            outcome,
            code: denial.map(|denial| denial.code),
            not_after: None,
            policies: policies.clone(),
            profile: None,
            reason: denial.map(|denial| denial.reason.clone()),
            scope: None,
        }
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
