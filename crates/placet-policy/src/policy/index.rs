//! The index: which policies can apply at all, by action, principal and resource of their scopes.
//!
//! Cedar looks at every policy on every request. A policy whose scope cannot match is false before
//! its condition is touched, so leaving it out takes away neither a reason nor an error. Policies
//! with the same three scope keys share a bucket; a request visits the buckets of its own three
//! entities and their ancestors, and the buckets that it met, in order, name a slice of the set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, PolicyId, PolicySet,
    PrincipalConstraint, ResourceConstraint,
};

use super::cache::Cache;
use super::mentions::Mentions;

/// Policies that can apply to a request, as a set of their own.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) set: PolicySet,
    pub(crate) mentions: Mentions,
}

/// One part of a scope, in the form that it is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Unconstrained.
    Any,
    /// `is T`.
    Type(EntityTypeName),
    /// `== e`, `in e`, `is T in e`.
    Entity(EntityUid),
}

/// Buckets of policies by their scopes.
#[derive(Debug, Default)]
pub(super) struct Index {
    actions: HashMap<Key, HashMap<Key, HashMap<Key, u32>>>,
    buckets: Vec<Vec<PolicyId>>,
}

/// What the scope of a request can match.
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

    /// The buckets whose scopes can match, in order.
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
        let mut set = PolicySet::new();
        for bucket in &buckets {
            for id in self.buckets.get(*bucket as usize)? {
                add(&mut set, full, id)?;
            }
        }
        let mentions = Mentions::of(&set);
        let slice = Arc::new(Slice { set, mentions });
        slices.insert(buckets, Arc::clone(&slice));
        Some(slice)
    }
}

/// Adds the policy `id` of `full`, with its template where it is a link.
fn add(set: &mut PolicySet, full: &PolicySet, id: &PolicyId) -> Option<()> {
    if set.policy(id).is_some() {
        // It stands in two buckets: one for each action of its list.
        return Some(());
    }
    let policy = full.policy(id)?;
    let (Some(template), Some(slots)) = (policy.template_id(), policy.template_links()) else {
        return set.add(policy.clone()).ok();
    };
    if set.template(template).is_none() {
        set.add_template(full.template(template)?.clone()).ok()?;
    }
    set.link(template.clone(), id.clone(), slots).ok()
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
    let ancestors = entities.ancestors(uid).into_iter().flatten().cloned();
    [
        Key::Any,
        Key::Type(uid.type_name().clone()),
        Key::Entity(uid.clone()),
    ]
    .into_iter()
    .chain(ancestors.map(Key::Entity))
    .collect()
}

fn principal_key(constraint: PrincipalConstraint) -> Key {
    match constraint {
        PrincipalConstraint::Any => Key::Any,
        PrincipalConstraint::Is(kind) => Key::Type(kind),
        PrincipalConstraint::In(uid)
        | PrincipalConstraint::Eq(uid)
        | PrincipalConstraint::IsIn(_, uid) => Key::Entity(uid),
    }
}

fn resource_key(constraint: ResourceConstraint) -> Key {
    match constraint {
        ResourceConstraint::Any => Key::Any,
        ResourceConstraint::Is(kind) => Key::Type(kind),
        ResourceConstraint::In(uid)
        | ResourceConstraint::Eq(uid)
        | ResourceConstraint::IsIn(_, uid) => Key::Entity(uid),
    }
}

fn action_keys(constraint: ActionConstraint) -> Vec<Key> {
    match constraint {
        ActionConstraint::Any => vec![Key::Any],
        ActionConstraint::Eq(uid) => vec![Key::Entity(uid)],
        ActionConstraint::In(uids) => uids.into_iter().map(Key::Entity).collect(),
    }
}

#[cfg(test)]
mod tests;
