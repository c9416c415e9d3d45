//! Lanes: where each node stands in a drawing whose other axis is the log.

use std::collections::{BTreeMap, BTreeSet};

use placet_types::Index;

use crate::graph::Graph;
use crate::node::Node;

/// A node and its lane.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'g> {
    /// The parent's lane, while the parent has it: where the edge comes from.
    pub from: Option<usize>,
    /// The lane, from 0.
    pub lane: usize,
    /// The node.
    pub node: &'g Node,
}

impl Graph {
    /// Assigns each node a lane, in log order.
    ///
    /// A node has its lane from its decision until it is finished; nobody else has it meanwhile. It
    /// takes the lowest free one, to the right of its parent's.
    #[must_use]
    pub fn lanes(&self) -> Vec<Placed<'_>> {
        let mut lanes = Lanes::default();
        self.iter().map(|node| lanes.place(self, node)).collect()
    }
}

#[derive(Default)]
struct Lanes {
    taken: BTreeSet<usize>,
    /// When which lane becomes free.
    ends: BTreeSet<(Index, usize)>,
    /// Lane of each node so far.
    of: BTreeMap<Index, usize>,
}

impl Lanes {
    fn place<'g>(&mut self, graph: &'g Graph, node: &'g Node) -> Placed<'g> {
        let now = node.decided.index;
        self.free_before(now);
        let parent = graph.parent(&node.exec);
        let from = parent
            .filter(|parent| parent.finished().is_none_or(|at| at.index > now))
            .and_then(|parent| self.of.get(&parent.decided.index).copied());
        let lane = self.lowest_free(from.map_or(0, |from| from.saturating_add(1)));
        self.taken.insert(lane);
        self.of.insert(now, lane);
        if let Some(at) = node.finished() {
            self.ends.insert((at.index, lane));
        }
        Placed { from, lane, node }
    }

    fn free_before(&mut self, now: Index) {
        while let Some((end, lane)) = self.ends.first().copied() {
            if end >= now {
                return;
            }
            self.ends.pop_first();
            self.taken.remove(&lane);
        }
    }

    fn lowest_free(&self, floor: usize) -> usize {
        let mut lane = floor;
        for taken in self.taken.range(floor..) {
            if *taken != lane {
                break;
            }
            lane = lane.saturating_add(1);
        }
        lane
    }
}
