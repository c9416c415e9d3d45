//! How each record changes the state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use placet_evidence::{
    Approval, Decided, Ended, Genesis, Outcome, PolicyActivated, PrincipalRecord, PrincipalStatus,
    Record, Revoked, Selector, Signal, Started,
};
use placet_types::{DenialCode, Digest, ExecutionId, Index, Millis, PrincipalId, ResourceRef};

use crate::waits::Waits;
use crate::{
    ActivePolicy, Changes, Definitions, Execution, Phase, Principal, Secrets, ShadowPolicy, State,
};

/// Records between two histories that are relieved of what is past.
const SWEEP_EVERY: u64 = 16;

/// A record that cannot follow this state. A log that holds one is not a log of this system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// The record stands at another index than the next one.
    #[error("the record stands at index {found}, expected {expected}")]
    Index {
        /// The next index.
        expected: Index,
        /// Where the record stands.
        found: Index,
    },
    /// The first record is no genesis, or a later one is.
    #[error("a genesis record stands at index 0 and nowhere else")]
    Genesis,
    /// Time goes back.
    #[error("the record's time goes back from {before} to {after}")]
    Time {
        /// Time of the record before.
        before: Millis,
        /// Time of this record.
        after: Millis,
    },
    /// The revision does not rise.
    #[error("policy revision {found} does not rise above {active}")]
    Revision {
        /// The revision in force.
        active: u64,
        /// The revision of the record.
        found: u64,
    },
    /// The execution is not in the phase that the record needs.
    #[error("{exec} is not in the phase that a `{record}` record needs")]
    Phase {
        /// Which execution.
        exec: ExecutionId,
        /// Kind of the record.
        record: &'static str,
    },
    /// The store of secrets does not go from one state to the next, or the secret is not held.
    #[error("the change of secrets to version {found} cannot follow version {before}")]
    Secrets {
        /// Version before.
        before: u64,
        /// Version of the record.
        found: u64,
    },
    /// A permit lacks its grant, its artifact or its bundle, or a denial has one or lacks its code; or
    /// a deferral does not say what it waits for.
    #[error("the decision for {0} contradicts itself")]
    Decision(ExecutionId),
    /// No such intent waits, its time is up, or this approver has said something of it already.
    #[error("nothing waits for this approval of {0}")]
    Approval(ExecutionId),
    /// An act of administration that the bundle in force governs, without a decision that permits
    /// exactly this act, or with one that was used, has ended, or was made under another bundle.
    #[error("`{0}` without a permit for it")]
    Ungoverned(&'static str),
}

impl State {
    /// The state after a genesis record at index 0.
    ///
    /// # Errors
    ///
    /// [`FoldError::Genesis`] for any other record.
    pub fn begin(record: &Record) -> Result<Self, FoldError> {
        let Record::Genesis(genesis) = record else {
            return Err(FoldError::Genesis);
        };
        Ok(Self::after_genesis(genesis))
    }

    fn after_genesis(genesis: &Genesis) -> Self {
        Self {
            next: Index::new(1),
            time: genesis.time,
            genesis: genesis.clone(),
            halted: false,
            policy: None,
            shadow: None,
            revoked_nodes: BTreeSet::new(),
            revoked_policies: BTreeSet::new(),
            principals: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            swept: None,
            executions: BTreeMap::new(),
            children: BTreeMap::new(),
            ended_parents: BTreeMap::new(),
            secrets: Secrets::default(),
            definitions: Definitions::default(),
            waiting: BTreeMap::new(),
        }
    }

    /// Takes the record at `index`, advancing by exactly one.
    ///
    /// # Errors
    ///
    /// [`FoldError`] when the record cannot follow; the state is then unchanged.
    pub fn apply(&mut self, index: Index, record: &Record) -> Result<Changes, FoldError> {
        self.check_order(index, record)?;
        let permit = self.check_governed(record)?;
        let changes = self.apply_kind(index, record)?;
        // It is carried out with this record: the permit counts once.
        if let Some(exec) = permit {
            self.executions.remove(&exec);
        }
        self.next = index.next();
        self.time = record.time();
        if index.get().is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
        Ok(changes)
    }

    /// Relieves one history after the other of what is past every window: who does nothing any more
    /// costs no more than its name and what it was seen with.
    fn sweep(&mut self) {
        let after = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.ledgers.range_mut((after, Bound::Unbounded)).next();
        if let Some((id, ledger)) = next {
            ledger.forget(self.time);
            self.swept = Some(id.clone());
        }
    }

    fn check_order(&self, index: Index, record: &Record) -> Result<(), FoldError> {
        if index != self.next {
            return Err(FoldError::Index {
                expected: self.next,
                found: index,
            });
        }
        if record.time() < self.time {
            return Err(FoldError::Time {
                before: self.time,
                after: record.time(),
            });
        }
        Ok(())
    }

    fn apply_kind(&mut self, index: Index, record: &Record) -> Result<Changes, FoldError> {
        match record {
            Record::Genesis(_) => Err(FoldError::Genesis),
            Record::Principal(record) => Ok(self.apply_principal(record)),
            Record::Policy(record) => self.apply_policy(index, record),
            Record::Decided(record) => self.apply_decided(index, record),
            Record::Approval(record) => self.apply_approval(record),
            Record::Started(record) => self.apply_started(record),
            Record::Ended(record) => self.apply_ended(record),
            Record::Revoked(record) => Ok(self.apply_revoked(record)),
            Record::Halted(_) => {
                self.halted = true;
                Ok(self.end_where(DenialCode::Halted, |_, _| true))
            }
            Record::Resumed(record) => {
                match &record.node {
                    Some(node) => drop(self.revoked_nodes.remove(node)),
                    None => self.halted = false,
                }
                Ok(Changes::default())
            }
            Record::Secret(record) => {
                if !self.may_renew(record) {
                    return Err(FoldError::Ungoverned("renewed"));
                }
                self.secrets.apply(record).map(|()| Changes::default())
            }
            Record::Signal(record) => Ok(self.apply_signal(record)),
            Record::Definition(record) => {
                self.definitions.approved(record, index);
                Ok(Changes::default())
            }
            Record::Shadow(record) => {
                let bundle = record.bundle.clone();
                self.shadow = bundle.map(|bundle| ShadowPolicy {
                    bundle,
                    since: index,
                });
                Ok(Changes::default())
            }
            // Whoever only asks changes nothing: not even the history of whom it is about.
            Record::Answered(_)
            | Record::Refused(_)
            | Record::Connections(_)
            | Record::Born(_)
            | Record::Erased(_)
            | Record::Changes(_) => Ok(Changes::default()),
        }
    }

    fn apply_principal(&mut self, record: &PrincipalRecord) -> Changes {
        let principal = Principal {
            acts_for: record.acts_for.iter().cloned().collect(),
            groups: record.groups.iter().cloned().collect(),
            keys: record.keys.iter().cloned().collect(),
            status: record.status,
            uids: record.uids.iter().copied().collect(),
        };
        self.principals.insert(record.id.clone(), principal);
        match record.status {
            PrincipalStatus::Active => Changes::default(),
            PrincipalStatus::Suspended => self.end_principal(&record.id),
        }
    }

    fn apply_policy(
        &mut self,
        index: Index,
        record: &PolicyActivated,
    ) -> Result<Changes, FoldError> {
        if let Some(active) = &self.policy
            && record.revision <= active.revision
        {
            let (active, found) = (active.revision, record.revision);
            return Err(FoldError::Revision { active, found });
        }
        self.policy = Some(ActivePolicy {
            bundle: record.bundle,
            governs: record.governs,
            name: record.name.clone(),
            revision: record.revision,
            since: index,
        });
        // What came into force is no longer decided beside itself.
        if self
            .shadow
            .as_ref()
            .is_some_and(|it| it.bundle.digest == record.bundle)
        {
            self.shadow = None;
        }
        // A revocation names a policy of the bundle that it was spoken under.
        self.revoked_policies.clear();
        Ok(Changes::default())
    }

    fn apply_decided(&mut self, index: Index, record: &Decided) -> Result<Changes, FoldError> {
        let exec = record.facts.exec;
        // Nor is an id free while something is left below it: the tree must stay one.
        if self.executions.contains_key(&exec) || self.children.contains_key(&exec) {
            let record = "decided";
            return Err(FoldError::Phase { exec, record });
        }
        match record.outcome {
            Outcome::Deny => self.apply_denied(record)?,
            Outcome::Permit => self.apply_permitted(index, record)?,
            Outcome::Defer => self.apply_deferred(index, record)?,
        }
        Ok(Changes::default())
    }

    fn apply_denied(&mut self, record: &Decided) -> Result<(), FoldError> {
        if record.grant.is_some() || record.artifact.is_some() || record.denial.is_none() {
            return Err(FoldError::Decision(record.facts.exec));
        }
        // Only registered principals are remembered, which bounds the memory.
        if self.principals.contains_key(&record.intent.principal) {
            let now = record.facts.time;
            self.ledger(&record.intent.principal).denied(now);
        }
        Ok(())
    }

    fn apply_deferred(&mut self, index: Index, record: &Decided) -> Result<(), FoldError> {
        let contradicts = || FoldError::Decision(record.facts.exec);
        if record.grant.is_some() || record.artifact.is_some() || record.denial.is_some() {
            return Err(contradicts());
        }
        let waiting = record.waits.clone().ok_or_else(contradicts)?;
        let now = record.facts.time;
        self.waiting.retain(|_, waits| now < waits.waiting.until);
        let waits = Waits {
            decided: index,
            determining: record.policy.determining.clone(),
            exec: record.facts.exec,
            intent: record.intent.clone(),
            verdicts: BTreeMap::new(),
            waiting,
        };
        self.waiting.insert(record.intent.digest(), waits);
        Ok(())
    }

    fn apply_approval(&mut self, record: &Approval) -> Result<Changes, FoldError> {
        let waits = self
            .waiting
            .get_mut(&record.intent)
            .filter(|waits| record.time < waits.waiting.until && waits.exec == record.exec)
            .filter(|waits| !waits.verdicts.contains_key(&record.by))
            .ok_or(FoldError::Approval(record.exec))?;
        waits.verdicts.insert(record.by.clone(), record.verdict);
        Ok(Changes::default())
    }

    fn apply_permitted(&mut self, index: Index, record: &Decided) -> Result<(), FoldError> {
        let (exec, now) = (record.facts.exec, record.facts.time);
        let execution = permitted(index, record).ok_or(FoldError::Decision(exec))?;
        if let Some(parent) = execution.parent() {
            // An end above it that stands before it would never reach it.
            if !self.executions.get(&parent).is_some_and(Execution::is_live) {
                let (exec, record) = (parent, "decided");
                return Err(FoldError::Phase { exec, record });
            }
            self.children.entry(parent).or_default().insert(exec);
        }
        let resource = resource_digest(&record.intent.resource);
        let action = record.intent.action.as_str();
        self.ledger(execution.principal())
            .permitted((action, resource), now);
        self.definitions.permitted(&record.intent.resource, index);
        // Approvals count once.
        self.waiting.remove(&record.intent.digest());
        self.executions.insert(exec, execution);
        Ok(())
    }

    fn apply_started(&mut self, record: &Started) -> Result<Changes, FoldError> {
        let exec = record.exec;
        let execution = self
            .executions
            .get_mut(&exec)
            .filter(|execution| execution.phase == Phase::Authorized)
            .ok_or(FoldError::Phase {
                exec,
                record: "started",
            })?;
        execution.phase = Phase::Running(record.time);
        let (principal, ending) = (execution.intent.principal.clone(), execution.ending);
        self.ledger(&principal).started();
        self.secrets.used(&record.credentials, record.time);
        // Its authority may have ended between the decision and the start: say so once more, to
        // whoever began to watch it with this record.
        Ok(Changes {
            ending: ending.map(|cause| (exec, cause)).into_iter().collect(),
        })
    }

    fn apply_ended(&mut self, record: &Ended) -> Result<Changes, FoldError> {
        let exec = record.exec;
        let below = self.subtree(exec);
        let Some(execution) = self.executions.remove(&exec) else {
            return Err(FoldError::Phase {
                exec,
                record: "ended",
            });
        };
        if matches!(execution.phase, Phase::Running(_)) {
            let ledger = self.ledger(execution.principal());
            ledger.ended(record.outcome, record.time);
        }
        if let Some(parent) = execution.parent() {
            self.unlink(exec, parent);
        }
        // All of them at once, not level by level: a live execution never outlives an ancestor.
        Ok(self.end_these(DenialCode::LineageFragmented, &below))
    }

    /// Takes an ended execution out of the tree, once nothing is left below it: then, the ended
    /// ones above it that it was the last below.
    fn unlink(&mut self, exec: ExecutionId, parent: ExecutionId) {
        let (mut child, mut above) = (exec, Some(parent));
        while let Some(parent) = above {
            if self.children.contains_key(&child) {
                self.ended_parents.insert(child, parent);
                return;
            }
            if let Some(siblings) = self.children.get_mut(&parent) {
                siblings.remove(&child);
                if siblings.is_empty() {
                    self.children.remove(&parent);
                }
            }
            (child, above) = (parent, self.ended_parents.remove(&parent));
        }
    }

    /// Counts for whoever it runs as, and ends it where the record says so.
    fn apply_signal(&mut self, record: &Signal) -> Changes {
        let execution = self.executions.get(&record.exec);
        let principal = execution.map(|execution| execution.principal().clone());
        if let (Some(principal), Some(kind)) = (principal, record.kind) {
            let ledger = self.ledger(&principal);
            ledger.signalled(kind, record.count, record.time);
        }
        if record.ends {
            return self.end_these(record.code, [&record.exec]);
        }
        Changes::default()
    }

    fn apply_revoked(&mut self, record: &Revoked) -> Changes {
        match &record.selector {
            Selector::Artifact(exec) | Selector::Execution(exec) => {
                self.end_these(DenialCode::Revoked, [exec])
            }
            Selector::Everything => self.end_where(DenialCode::Revoked, |_, _| true),
            Selector::Group(group) => self.end_group(group),
            Selector::Node(machine) => {
                self.revoked_nodes.insert(*machine);
                self.end_where(DenialCode::Revoked, |_, e| e.machine == *machine)
            }
            Selector::Subtree(root) => {
                let tree = self.subtree(*root);
                self.end_these(DenialCode::Revoked, &tree)
            }
            Selector::Policy(policy) => {
                self.revoked_policies.insert(policy.clone());
                self.end_where(DenialCode::Revoked, |_, e| e.determining.contains(policy))
            }
            Selector::Principal(id) => {
                if let Some(principal) = self.principals.get_mut(id) {
                    principal.status = PrincipalStatus::Suspended;
                }
                self.end_principal(id)
            }
        }
    }

    /// Ends what a principal does itself and what others do on its behalf.
    fn end_principal(&mut self, id: &PrincipalId) -> Changes {
        self.end_where(DenialCode::Revoked, |_, execution| {
            execution.principal() == id || execution.grant.delegation.contains(id)
        })
    }

    /// Suspends whoever is in the group now, and ends what they do and what is done on their behalf.
    fn end_group(&mut self, group: &str) -> Changes {
        let mut members = BTreeSet::new();
        for (id, principal) in &mut self.principals {
            if principal.groups.contains(group) {
                principal.status = PrincipalStatus::Suspended;
                members.insert(id.clone());
            }
        }
        self.end_where(DenialCode::Revoked, |_, execution| {
            let mut actors = execution.grant.delegation.iter();
            members.contains(execution.principal()) || actors.any(|id| members.contains(id))
        })
    }

    /// Marks these executions for their end, in order of their ids. The first cause stays.
    ///
    /// By name, and not by a look at each that is there: every end of an execution comes here.
    fn end_these<'a>(
        &mut self,
        cause: DenialCode,
        ids: impl IntoIterator<Item = &'a ExecutionId>,
    ) -> Changes {
        let mut changes = Changes::default();
        for id in ids {
            if let Some(execution) = self.executions.get_mut(id)
                && execution.ending.is_none()
            {
                execution.ending = Some(cause);
                changes.ending.push((*id, cause));
            }
        }
        changes
    }

    /// Marks executions for their end. The first cause stays.
    fn end_where(
        &mut self,
        cause: DenialCode,
        ends: impl Fn(&ExecutionId, &Execution) -> bool,
    ) -> Changes {
        let mut changes = Changes::default();
        for (id, execution) in &mut self.executions {
            if execution.ending.is_none() && ends(id, execution) {
                execution.ending = Some(cause);
                changes.ending.push((*id, cause));
            }
        }
        changes
    }

    fn ledger(&mut self, principal: &PrincipalId) -> &mut crate::history::Ledger {
        self.ledgers.entry(principal.clone()).or_default()
    }
}

/// The execution that a permit begins, or `None` when the record contradicts itself.
fn permitted(index: Index, record: &Decided) -> Option<Execution> {
    if record.denial.is_some() {
        return None;
    }
    Some(Execution {
        artifact: record.artifact?,
        bundle: record.policy.bundle?,
        decided: index,
        determining: record.policy.determining.clone(),
        environment: record.facts.environment.digest(),
        ending: None,
        grant: record.grant.clone()?,
        intent: record.intent.clone(),
        machine: record.facts.environment.machine,
        phase: Phase::Authorized,
    })
}

/// What the history remembers a resource by.
#[must_use]
pub fn resource_digest(resource: &ResourceRef) -> Digest {
    digest_of(&resource.kind, &resource.id)
}

pub(crate) fn digest_of(kind: &str, id: &str) -> Digest {
    Digest::of_parts(&[kind.as_bytes(), b"\0", id.as_bytes()])
}
