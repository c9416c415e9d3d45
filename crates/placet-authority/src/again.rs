//! Decides again what was permitted under another bundle than the one in force.

use placet_decision::{Input, decide_again};
use placet_evidence::{Attestation, Entry, Facts, Record};
use placet_log::{LogReader, Payload};
use placet_policy::Policy;
use placet_state::{Execution, State};
use placet_types::{DenialCode, ExecutionId, Millis};

use crate::blobs::Blobs;
use crate::payload::decode_payload;
use crate::scopes;
use crate::submission::SignalReport;

/// Everything that an earlier decision can be made from again.
pub(crate) struct Again<'a> {
    pub(crate) state: &'a State,
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) reader: &'a LogReader,
    pub(crate) blobs: &'a Blobs,
    pub(crate) now: Millis,
}

/// What a gateway attested last, and when it is judged.
#[derive(Clone, Copy)]
struct Last<'a> {
    attestation: &'a Attestation,
    then: Millis,
}

impl Again<'_> {
    /// What ends because the bundle in force permits it no longer, or because that cannot be told.
    pub(crate) fn withdrawn(&self) -> Vec<SignalReport> {
        let active = self.state.policy().map(|active| active.bundle);
        self.state
            .executions()
            // What has not started cannot under another bundle.
            .filter(|(_, execution)| execution.is_live() && Some(execution.bundle) != active)
            .filter_map(|(exec, execution)| {
                let reason = self.holds(execution, None).err()?;
                Some(withdrawal(*exec, &reason))
            })
            .collect()
    }

    /// What would not be permitted if nobody attested its environment any more, of what would be if somebody did.
    pub(crate) fn not_without(
        &self,
        execution: &Execution,
        (attestation, then): (&Attestation, Millis),
    ) -> Option<String> {
        let grown_old = Last { attestation, then };
        let reason = self.holds(execution, Some(grown_old)).err()?;
        self.holds(execution, None).ok().map(|()| reason)
    }

    /// The words say which check fails; they name no parameter. An attestation counts as old as it was when the permit was given,
    /// since its gateway has watched the claims from then on, unless another one is given.
    fn holds(&self, execution: &Execution, last: Option<Last<'_>>) -> Result<(), String> {
        let unreadable = || "what it was permitted for can no longer be read".to_owned();
        let entry = self.reader.entry(execution.decided);
        let record = Entry::from_bytes(entry.map_err(|_| unreadable())?).read();
        let Ok(Record::Decided(decided)) = record else {
            return Err(unreadable());
        };
        let Ok(Payload::Present(payload)) = self.reader.payload(execution.decided) else {
            return Err(unreadable());
        };
        let params = decode_payload(&payload).ok_or_else(unreadable)?;
        let granted = scopes::read(self.blobs, execution.grant.scope).ok_or_else(unreadable)?;
        let parent = execution.parent().and_then(|id| self.state.execution(&id));
        let parent_scope = parent.and_then(|it| scopes::read(self.blobs, it.grant.scope));
        let permitted = last.map_or(decided.facts.time, |last| last.then);
        let attestation = last.map(|last| last.attestation.clone());
        let facts = Facts {
            attestation: attestation.or(decided.facts.attestation),
            time: self.now.max(self.state.time()),
            ..decided.facts
        };
        let input = Input {
            state: self.state,
            policy: self.policy,
            intent: &decided.intent,
            params: &params,
            parent_scope: parent_scope.as_ref(),
            facts: &facts,
        };
        decide_again(&input, &granted, permitted)
            .map_err(|denial| format!("{}: {}", denial.code, denial.reason))
    }
}

fn withdrawal(exec: ExecutionId, reason: &str) -> SignalReport {
    SignalReport {
        exec,
        code: DenialCode::PolicyMismatch,
        count: 1,
        detail: format!("the bundle that came into force does not permit it: {reason}"),
        ends: true,
        // An act of the operators, not of the principal.
        kind: None,
        trip: None,
    }
}
