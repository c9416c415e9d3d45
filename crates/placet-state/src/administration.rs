//! Governed administration: an act that changes policy, identities or what counts needs a permit of the
//! bundle in force, where that one governs it.
//!
//! Checked by the fold, so that a log in which an act stands without its permit is no log of this
//! system: whoever wrote it, however it came about.

use placet_evidence::{
    AdministrativeAct, PrincipalRecord, PrincipalStatus, Record, SecretChange, SecretRecord,
};
use placet_types::{ExecutionId, Millis};

use crate::{FoldError, Phase, State};

impl State {
    /// The act of administration that a record is of, if it needs a permit here.
    #[must_use]
    pub fn governed(&self, record: &Record) -> Option<AdministrativeAct> {
        self.policy.as_ref().filter(|active| active.governs)?;
        if let Record::Principal(record) = record
            && self.only_suspends(record)
        {
            return None;
        }
        AdministrativeAct::of(record)
    }

    /// Whether a secret that is said to be renewed is so by an execution that runs, as whom it acts for. Any
    /// other change is an operator's.
    #[must_use]
    pub fn may_renew(&self, record: &SecretRecord) -> bool {
        let SecretChange::Renewed { exec, .. } = &record.change else {
            return true;
        };
        self.executions.get(exec).is_some_and(|execution| {
            matches!(execution.phase, Phase::Running(_)) && execution.intent.principal == record.by
        })
    }

    /// Taking trust away is never governed.
    fn only_suspends(&self, record: &PrincipalRecord) -> bool {
        let same = |principal: &crate::Principal| {
            principal.acts_for.iter().eq(sorted(&record.acts_for))
                && principal.groups.iter().eq(sorted(&record.groups))
                && principal.keys.iter().eq(sorted(&record.keys))
                && principal.uids.iter().eq(sorted(&record.uids))
        };
        record.status == PrincipalStatus::Suspended
            && self.principals.get(&record.id).is_some_and(same)
    }

    /// The execution whose permit the record uses up.
    pub(crate) fn check_governed(&self, record: &Record) -> Result<Option<ExecutionId>, FoldError> {
        let Some(act) = self.governed(record) else {
            // What nobody decided names no decision.
            return match record.decided_by() {
                None => Ok(None),
                Some(_) => Err(FoldError::Ungoverned("decided_by")),
            };
        };
        if act
            .decided_by
            .is_some_and(|exec| self.permits(&act, exec, record.time()))
        {
            return Ok(act.decided_by);
        }
        Err(FoldError::Ungoverned(act.action))
    }

    /// Whether this permit is for exactly this act, and counts still.
    #[must_use]
    pub fn permits(&self, act: &AdministrativeAct, exec: ExecutionId, now: Millis) -> bool {
        let active = self.policy.as_ref().map(|active| active.bundle);
        self.executions.get(&exec).is_some_and(|permit| {
            permit.phase == Phase::Authorized
                && permit.ending.is_none()
                && now < permit.grant.not_after
                && Some(permit.bundle) == active
                && permit.intent.action.as_str() == act.action
                && permit.intent.principal == act.by
                && permit.intent.resource.digest == Some(act.digest)
        })
    }
}

/// As the fold keeps them: each once, in order.
fn sorted<T: Ord>(items: &[T]) -> impl Iterator<Item = &T> {
    let set: std::collections::BTreeSet<&T> = items.iter().collect();
    set.into_iter()
}
