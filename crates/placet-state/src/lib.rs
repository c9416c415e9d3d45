//! The fold: what the evidence log says is true at index N.
//!
//! [`State::apply`] takes one record after the other; two states that took the same records are
//! equal. Nothing else writes to a state, so it can be thrown away and folded again at any time;
//! a saved one (a snapshot) is only a shortcut.
//!
//! Memory is proportional to what is active (registered principals, unfinished executions), not to
//! what has happened. Out of scope: the past; see `placet-lineage` and the log itself.

#![forbid(unsafe_code)]

mod administration;
mod apply;
mod definitions;
mod execution;
mod history;
mod risk;
mod secrets;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use placet_evidence::{Genesis, History, PrincipalStatus, Risk, ShadowBundle};
use placet_types::{DenialCode, Digest, ExecutionId, Index, Millis, PrincipalId, Thumbprint};

pub use apply::{FoldError, resource_digest};
pub use definitions::{DEFINITIONS_MAX, Definition, Definitions, Standing};
pub use execution::{Execution, Phase};
use history::Ledger;
pub use secrets::{HeldSecret, Secrets};
pub use waits::Waits;

/// Principals of one domain. One more is refused.
pub const PRINCIPALS_MAX: usize = 65_536;

/// What is true before the record at [`State::next`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    next: Index,
    time: Millis,
    genesis: Genesis,
    halted: bool,
    policy: Option<ActivePolicy>,
    /// Decided beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shadow: Option<ShadowPolicy>,
    /// Machines, as environments name them.
    #[serde(default)]
    revoked_nodes: BTreeSet<Digest>,
    revoked_policies: BTreeSet<String>,
    principals: BTreeMap<PrincipalId, Principal>,
    ledgers: BTreeMap<PrincipalId, Ledger>,
    /// The history that was last relieved of what no question can be about any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    swept: Option<PrincipalId>,
    executions: BTreeMap<ExecutionId, Execution>,
    /// What is below an execution, as far as it has not ended or something below it has not.
    children: BTreeMap<ExecutionId, BTreeSet<ExecutionId>>,
    /// Parents of ended executions that something is left below.
    ended_parents: BTreeMap<ExecutionId, ExecutionId>,
    #[serde(default)]
    secrets: Secrets,
    /// What tools may say they are.
    #[serde(default)]
    definitions: Definitions,
    /// Intents that wait for approvals, by their digests.
    waiting: BTreeMap<Digest, Waits>,
}

/// The bundle in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivePolicy {
    /// Digest of its manifest.
    pub bundle: Digest,
    /// Whether acts of administration need a decision.
    #[serde(default)]
    pub governs: bool,
    /// Its name.
    pub name: String,
    /// Its revision; the next one must be higher.
    pub revision: u64,
    /// The record that put it in force.
    pub since: Index,
}

/// The bundle that is decided beside the one in force. It authorizes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowPolicy {
    /// Which one.
    pub bundle: ShadowBundle,
    /// The record that says so.
    pub since: Index,
}

/// A registered principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Principals whose executions may start a child as this one.
    pub acts_for: BTreeSet<PrincipalId>,
    /// Groups it is in.
    pub groups: BTreeSet<String>,
    /// Keys whose holders may act as it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<Thumbprint>,
    /// Whether it may act.
    pub status: PrincipalStatus,
    /// Unix users that may act as it.
    pub uids: BTreeSet<u32>,
}

/// What one record changed for work that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Executions that must be ended now, each with the cause that is to be recorded.
    pub ending: Vec<(ExecutionId, DenialCode)>,
}

impl State {
    /// Index of the next record: how many this state has seen.
    #[must_use]
    pub fn next(&self) -> Index {
        self.next
    }

    /// Time of the last record. The next one is not earlier.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.time
    }

    /// Name and keys of the domain.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Whether the domain is halted.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// The bundle in force.
    #[must_use]
    pub fn policy(&self) -> Option<&ActivePolicy> {
        self.policy.as_ref()
    }

    /// The bundle that is decided beside it.
    #[must_use]
    pub fn shadow(&self) -> Option<&ShadowPolicy> {
        self.shadow.as_ref()
    }

    /// Whether authority from this policy was revoked under the bundle in force.
    #[must_use]
    pub fn is_policy_revoked(&self, id: &str) -> bool {
        self.revoked_policies.contains(id)
    }

    /// Whether the machine of this name, as environments have it, was revoked and not resumed since.
    #[must_use]
    pub fn is_node_revoked(&self, machine: &Digest) -> bool {
        self.revoked_nodes.contains(machine)
    }

    /// Machines that were revoked and not resumed since.
    pub fn revoked_nodes(&self) -> impl Iterator<Item = &Digest> {
        self.revoked_nodes.iter()
    }

    /// A registered principal.
    #[must_use]
    pub fn principal(&self, id: &PrincipalId) -> Option<&Principal> {
        self.principals.get(id)
    }

    /// Every registered principal, in order.
    pub fn principals(&self) -> impl Iterator<Item = (&PrincipalId, &Principal)> {
        self.principals.iter()
    }

    /// An execution that is authorized or runs.
    #[must_use]
    pub fn execution(&self, id: &ExecutionId) -> Option<&Execution> {
        self.executions.get(id)
    }

    /// Every execution that is authorized or runs, in order of their ids.
    pub fn executions(&self) -> impl Iterator<Item = (&ExecutionId, &Execution)> {
        self.executions.iter()
    }

    /// An intent that waits for approvals, by its digest.
    #[must_use]
    pub fn waits(&self, intent: &Digest) -> Option<&Waits> {
        self.waiting.get(intent)
    }

    /// Every intent that waits at `now`, in the order in which they were deferred.
    #[must_use]
    pub fn waiting(&self, now: Millis) -> Vec<(&Digest, &Waits)> {
        let mut waiting: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waits)| now < waits.waiting.until)
            .collect();
        waiting.sort_by_key(|(_, waits)| waits.decided);
        waiting
    }

    /// How many intents wait at `now`.
    #[must_use]
    pub fn waiting_count(&self, now: Millis) -> usize {
        let waits = |waits: &&Waits| now < waits.waiting.until;
        self.waiting.values().filter(waits).count()
    }

    /// The execution and everything below it, as far as it has not ended. Where the execution itself
    /// has, this is what is left to end below it.
    #[must_use]
    pub fn subtree(&self, root: ExecutionId) -> BTreeSet<ExecutionId> {
        let (mut tree, mut open) = (BTreeSet::new(), vec![root]);
        while let Some(exec) = open.pop() {
            // A permit needs a parent that was decided before it: there is no way back up.
            open.extend(self.children.get(&exec).into_iter().flatten());
            if self.executions.contains_key(&exec) {
                tree.insert(exec);
            }
        }
        tree
    }

    /// What the log says of a principal's recent past, at `now`, towards one action and one resource.
    #[must_use]
    pub fn history(
        &self,
        principal: &PrincipalId,
        towards: (&str, Digest),
        now: Millis,
    ) -> History {
        self.ledgers
            .get(principal)
            .map(|ledger| ledger.history(towards, now))
            .unwrap_or_default()
    }

    /// Whether one more principal of this name can be registered. Each has a history, so their number
    /// bounds what histories take; whoever is registered can always be changed.
    #[must_use]
    pub fn has_room_for(&self, principal: &PrincipalId) -> bool {
        self.principals.len() < PRINCIPALS_MAX || self.principals.contains_key(principal)
    }

    /// Risk of an intent, from the history alone.
    #[must_use]
    pub fn risk(&self, history: &History) -> Risk {
        risk::score(history)
    }

    /// The secrets that the domain holds: names, never values.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The definitions that count.
    #[must_use]
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// Bytes of a snapshot.
    ///
    /// # Errors
    ///
    /// Never in practice: every field is JSON.
    pub fn to_snapshot(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a snapshot. The caller has checked that the bytes are the ones that were saved for
    /// this size and root of the log.
    ///
    /// # Errors
    ///
    /// When the bytes have another shape, as after a change of version.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests;
