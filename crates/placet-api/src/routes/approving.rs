//! Approvals in the stream of events: which records begin, carry on and end the wait of an intent, and
//! who is told of it without being an operator or whoever asked.

use std::collections::VecDeque;

use placet_evidence::{Outcome, Record, Waiting};
use placet_types::{DenialCode, ExecutionId, PrincipalId};

use crate::call::Shared;
use crate::identity::Identity;

/// Intents that one stream remembers as waiting: as many as can wait at once.
const REMEMBERED_MAX: usize = placet_decision::WAITING_MAX;

/// What a record means for the wait of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits from now on.
    Waiting,
    /// An approver said something of it.
    Said,
    /// It was permitted with its approvals, or denied for want of them.
    Resolved,
}

impl Stage {
    /// What this record means, if it is about an intent that waits, or waited.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        if let Record::Approval(_) = record {
            return Some(Self::Said);
        }
        let Record::Decided(decided) = record else {
            return None;
        };
        let (grant, denial) = (decided.grant.as_ref(), decided.denial.as_ref());
        match decided.outcome {
            Outcome::Defer => Some(Self::Waiting),
            Outcome::Permit => grant
                .is_some_and(|grant| !grant.approved_by.is_empty())
                .then_some(Self::Resolved),
            Outcome::Deny => denial
                .is_some_and(|denial| denial.code == DenialCode::ApprovalRequired)
                .then_some(Self::Resolved),
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Said => "said",
            Self::Resolved => "resolved",
        }
    }
}

/// What the caller of a stream may approve.
#[derive(Debug)]
pub(super) struct Approver {
    identity: Identity,
    /// What waits for one of the caller's principals, the oldest first.
    asked: VecDeque<ExecutionId>,
}

impl Approver {
    pub(super) const fn new(identity: Identity) -> Self {
        Self {
            identity,
            asked: VecDeque::new(),
        }
    }

    /// Whether the caller is asked to approve what this record is about.
    pub(super) fn is_asked(&mut self, shared: &Shared, record: &Record) -> bool {
        let (Some(stage), Some(exec)) = (Stage::of(record), record.exec()) else {
            return false;
        };
        match stage {
            Stage::Resolved => {
                let place = self.asked.iter().position(|one| *one == exec);
                let forgotten = place.and_then(|at| self.asked.remove(at));
                forgotten.is_some() || self.has_said(shared, record)
            }
            Stage::Said | Stage::Waiting if self.asked.contains(&exec) => true,
            Stage::Said | Stage::Waiting => {
                let asked = needs(shared, record, exec).is_some_and(|(asks, waiting)| {
                    let authority = shared.service.authority();
                    authority.may_approve(&self.identity, &asks, &waiting)
                });
                if asked {
                    if self.asked.len() >= REMEMBERED_MAX {
                        self.asked.pop_front();
                    }
                    self.asked.push_back(exec);
                }
                asked
            }
        }
    }

    /// A stream that began after the wait knows from the record itself.
    fn has_said(&self, shared: &Shared, record: &Record) -> bool {
        let Record::Decided(decided) = record else {
            return false;
        };
        let by = decided.grant.iter().flat_map(|grant| &grant.approved_by);
        let authority = shared.service.authority();
        authority.with_access(|access| {
            by.into_iter()
                .any(|id| self.identity.may_act_as(access, id))
        })
    }
}

/// Who asks, and what it waits for: from the record, else from what still waits.
fn needs(shared: &Shared, record: &Record, exec: ExecutionId) -> Option<(PrincipalId, Waiting)> {
    if let Record::Decided(decided) = record {
        return Some((decided.intent.principal.clone(), decided.waits.clone()?));
    }
    shared.service.authority().with_state(|state| {
        let mut all = state.waiting(state.time()).into_iter();
        let (_, waits) = all.find(|(_, waits)| waits.exec == exec)?;
        Some((waits.intent.principal.clone(), waits.waiting.clone()))
    })
}
