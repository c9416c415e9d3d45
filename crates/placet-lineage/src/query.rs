//! What to look for in the graph.

use serde::{Deserialize, Serialize};

use placet_types::{ActionName, DenialCode, Digest, ExecutionId, Millis, PrincipalId};

use crate::node::{Node, Status};

/// A filter for nodes. All members that are given must hold; the empty query matches every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// This action.
    pub action: Option<ActionName>,
    /// Decided under this bundle.
    pub bundle: Option<Digest>,
    /// Denied or terminated with this code.
    pub code: Option<DenialCode>,
    /// Not finished before this time.
    pub from: Option<Millis>,
    /// Acting for this principal, which is that of an ancestor.
    pub on_behalf_of: Option<PrincipalId>,
    /// Determined by this policy, alone or with others.
    pub policy: Option<String>,
    /// Asked for by this principal itself.
    pub principal: Option<PrincipalId>,
    /// This resource, or one below it where names are paths: `/usr/bin` finds `/usr/bin/git`.
    pub resource: Option<String>,
    /// A resource of this kind.
    pub resource_kind: Option<String>,
    /// With at least this risk, 0 to 100, when it was decided.
    pub risk_min: Option<u32>,
    /// In this state.
    pub status: Option<Status>,
    /// Decided before this time.
    pub until: Option<Millis>,
    /// This execution and everything below it.
    pub within: Option<ExecutionId>,
}

impl Query {
    /// Whether a node has what is asked for, apart from its place in the graph: `within` is a matter
    /// of [`Graph::select`](crate::Graph::select).
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        holds(&self.action, |action| node.action == *action)
            && holds(&self.bundle, |bundle| node.bundle == Some(*bundle))
            && holds(&self.code, |code| node.code() == Some(*code))
            && holds(&self.on_behalf_of, |who| node.delegation.contains(who))
            && holds(&self.policy, |id| node.policies.contains(id))
            && holds(&self.principal, |who| node.principal == *who)
            && holds(&self.resource, |top| is_at_or_below(&node.resource.id, top))
            && holds(&self.resource_kind, |kind| node.resource.kind == *kind)
            && holds(&self.risk_min, |least| node.risk.score >= *least)
            && holds(&self.status, |status| node.status() == *status)
            && self.overlaps(node)
    }

    /// Whether the life of the node, from its decision to when it finished, touches the time.
    fn overlaps(&self, node: &Node) -> bool {
        holds(&self.until, |until| node.decided.time < *until)
            && holds(&self.from, |from| {
                node.finished().is_none_or(|at| at.time >= *from)
            })
    }
}

fn holds<T>(wanted: &Option<T>, is: impl Fn(&T) -> bool) -> bool {
    wanted.as_ref().is_none_or(is)
}

fn is_at_or_below(id: &str, top: &str) -> bool {
    let top = top.strip_suffix('/').unwrap_or(top);
    id.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
