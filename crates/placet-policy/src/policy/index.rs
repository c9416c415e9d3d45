//! The index: which policies apply, by action, principal and resource of their scopes.
//!
//! Cedar looks at every policy on every request, at every part of its scope. A policy whose scope
//! does not match is false before its condition is touched, so leaving it out takes away neither a
//! reason nor an error. Policies with the same three scope constraints share a bucket; a request
//! visits exactly the buckets whose constraints its three entities satisfy, and the buckets that it
//! met, in order, name a slice of the set. In a slice every scope is satisfied, so policies stand in
//! it without theirs: only their conditions are left to evaluate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    PrincipalConstraint, ResourceConstraint, pst,
};

use super::cache::Cache;
use super::effort::Effort;
use super::mentions::Mentions;

/// Policies that apply to a request, as a set of their own.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) set: PolicySet,
    pub(crate) mentions: Mentions,
    pub(super) effort: Effort,
}

/// One constraint of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Unconstrained.
    Any,
    /// `is T`.
    Is(EntityTypeName),
    /// `== e`.
    Eq(EntityUid),
    /// `in e`.
    In(EntityUid),
    /// `is T in e`.
    IsIn(EntityTypeName, EntityUid),
}

/// Buckets of policies by their scopes.
#[derive(Debug, Default)]
pub(super) struct Index {
    actions: HashMap<Key, HashMap<Key, HashMap<Key, u32>>>,
    buckets: Vec<Vec<PolicyId>>,
}

/// Every constraint that the three entities of a request satisfy.
pub(super) struct Reach {
    action: Vec<Key>,
    principal: Vec<Key>,
    resource: Vec<Key>,
}

impl Index {
    pub(super) fn new(set: &PolicySet) -> Self {
        let mut index = Self::default();
        // In order of the ids, so that equal bundles give equal buckets.
        let policies: BTreeMap<&str, _> = set
            .policies()
            .map(|policy| (policy.id().as_ref(), policy))
            .collect();
        for policy in policies.values() {
            let principal = principal_key(policy.principal_constraint());
            let resource = resource_key(policy.resource_constraint());
            for action in action_keys(policy.action_constraint()) {
                index.insert(action, principal.clone(), resource.clone(), policy.id());
            }
        }
        index
    }

    fn insert(&mut self, action: Key, principal: Key, resource: Key, id: &PolicyId) {
        let next = u32::try_from(self.buckets.len()).unwrap_or(u32::MAX);
        let by_principal = self.actions.entry(action).or_default();
        let by_resource = by_principal.entry(principal).or_default();
        let bucket = *by_resource.entry(resource).or_insert(next);
        if bucket == next {
            self.buckets.push(Vec::new());
        }
        if let Some(ids) = self.buckets.get_mut(bucket as usize) {
            ids.push(id.clone());
        }
    }

    /// The buckets whose scopes match, in order.
    fn buckets(&self, reach: &Reach) -> Vec<u32> {
        let mut found = Vec::new();
        for by_principal in reach.action.iter().filter_map(|key| self.actions.get(key)) {
            for by_resource in reach
                .principal
                .iter()
                .filter_map(|key| by_principal.get(key))
            {
                found.extend(reach.resource.iter().filter_map(|key| by_resource.get(key)));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The slice for a request, made of `full` unless it is in `slices` already. `None` when
    /// something is not as expected: the caller then uses the full set.
    pub(super) fn slice(
        &self,
        reach: &Reach,
        full: &PolicySet,
        slices: &Cache<Vec<u32>, Arc<Slice>>,
    ) -> Option<Arc<Slice>> {
        let buckets = self.buckets(reach);
        if let Some(slice) = slices.get(&buckets) {
            return Some(slice);
        }
        let mut ids = BTreeSet::new();
        for bucket in &buckets {
            // A policy stands in one bucket for each action of its list.
            ids.extend(
                self.buckets
                    .get(*bucket as usize)?
                    .iter()
                    .map(AsRef::<str>::as_ref),
            );
        }
        let mut set = PolicySet::new();
        for id in ids {
            set.add(without_scope(full.policy(&PolicyId::new(id))?)?)
                .ok()?;
        }
        let mentions = Mentions::of(&set);
        let effort = Effort::of(&set);
        let slice = Arc::new(Slice {
            set,
            mentions,
            effort,
        });
        slices.insert(buckets, Arc::clone(&slice));
        Some(slice)
    }
}

/// The policy with its effect and conditions alone. Slots stand in scopes only, so that a template
/// link becomes an ordinary policy.
fn without_scope(policy: &Policy) -> Option<Policy> {
    let tree = policy.to_pst().ok()?;
    let mut body = tree.body().clone();
    body.id = policy.id().clone().into();
    body.principal = pst::PrincipalConstraint::Any;
    body.action = pst::ActionConstraint::Any;
    body.resource = pst::ResourceConstraint::Any;
    body.annotations.clear();
    let bare = pst::StaticPolicy::try_from(body).ok()?;
    Policy::from_pst(pst::Policy::Static(bare)).ok()
}

impl Reach {
    pub(super) fn new(
        action: &EntityUid,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> Self {
        Self {
            action: reach(action, entities),
            principal: reach(principal, entities),
            resource: reach(resource, entities),
        }
    }
}

fn reach(uid: &EntityUid, entities: &Entities) -> Vec<Key> {
    let kind = uid.type_name();
    let mut keys = vec![Key::Any, Key::Is(kind.clone()), Key::Eq(uid.clone())];
    // An entity is in itself.
    let ancestors = entities.ancestors(uid).into_iter().flatten();
    for outer in ancestors.chain([uid]) {
        keys.push(Key::In(outer.clone()));
        keys.push(Key::IsIn(kind.clone(), outer.clone()));
    }
    keys
}

fn principal_key(constraint: PrincipalConstraint) -> Key {
    match constraint {
        PrincipalConstraint::Any => Key::Any,
        PrincipalConstraint::Is(kind) => Key::Is(kind),
        PrincipalConstraint::Eq(uid) => Key::Eq(uid),
        PrincipalConstraint::In(uid) => Key::In(uid),
        PrincipalConstraint::IsIn(kind, uid) => Key::IsIn(kind, uid),
    }
}

fn resource_key(constraint: ResourceConstraint) -> Key {
    match constraint {
        ResourceConstraint::Any => Key::Any,
        ResourceConstraint::Is(kind) => Key::Is(kind),
        ResourceConstraint::Eq(uid) => Key::Eq(uid),
        ResourceConstraint::In(uid) => Key::In(uid),
        ResourceConstraint::IsIn(kind, uid) => Key::IsIn(kind, uid),
    }
}

/// `in [a, b]` is satisfied by what is in either.
fn action_keys(constraint: ActionConstraint) -> Vec<Key> {
    match constraint {
        ActionConstraint::Any => vec![Key::Any],
        ActionConstraint::Eq(uid) => vec![Key::Eq(uid)],
        ActionConstraint::In(uids) => uids.into_iter().map(Key::In).collect(),
    }
}

#[cfg(test)]
mod tests;
