//! The graph: nodes in log order, and the edges between them.

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::{Decided, Ended, Record, Started};
use placet_types::{ExecutionId, Index};

use crate::node::{Answer, At, End, Node};
use crate::query::Query;

/// The execution graph. All of it, or the recent part in bounded memory.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// By the index of the decision: this order is topological.
    slots: BTreeMap<Index, Slot>,
    ids: BTreeMap<ExecutionId, Index>,
    last: Option<Index>,
    /// How many finished nodes to keep; all of them if absent.
    keep: Option<usize>,
    finished: usize,
    /// Finished nodes with nothing below them, by when they finished.
    forgettable: BTreeSet<(Index, Index)>,
}

/// A node and its edges.
#[derive(Clone, Debug)]
struct Slot {
    node: Node,
    above: Option<Index>,
    below: BTreeSet<Index>,
}

/// A record that cannot follow this graph. A log that holds one is not a log of this system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Records come in the order of the log.
    #[error("the record at index {found} comes after the one at {last}")]
    Order {
        /// Where the last record stands.
        last: Index,
        /// Where this one stands.
        found: Index,
    },
    /// An id was decided twice.
    #[error("{0} was decided before")]
    Repeated(ExecutionId),
    /// A permit lacks its grant or its artifact, or a denial has one or lacks its code.
    #[error("the decision for {0} contradicts itself")]
    Decision(ExecutionId),
    /// Something denied starts, or something starts or ends twice.
    #[error("{exec} is not in the phase that a `{record}` record needs")]
    Phase {
        /// Which execution.
        exec: ExecutionId,
        /// Kind of the record.
        record: &'static str,
    },
}

/// Why a text names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The text cannot be the beginning of an id.
    #[error("an execution is named by `exec_` and up to 32 lower-case hex digits")]
    Syntax,
    /// No node has an id that begins so.
    #[error("no execution is named so")]
    Unknown,
    /// Several have.
    #[error("{0} executions are named so; give more digits")]
    Ambiguous(usize),
}

impl Graph {
    /// A graph that keeps everything: memory grows with the log. For use offline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A graph that keeps the `finished` nodes that finished last, everything that is not finished,
    /// and whatever these have above them. The oldest finished ones with nothing below them are
    /// forgotten.
    #[must_use]
    pub fn recent(finished: usize) -> Self {
        Self {
            keep: Some(finished),
            ..Self::default()
        }
    }

    /// Takes the record at `index`. Records about nodes that the graph does not hold (they were
    /// forgotten, or it began later in the log) change nothing.
    ///
    /// # Errors
    ///
    /// [`GraphError`] when the record cannot follow; the graph is then unchanged.
    pub fn apply(&mut self, index: Index, record: &Record) -> Result<(), GraphError> {
        if let Some(last) = self.last.filter(|last| index <= *last) {
            return Err(GraphError::Order { last, found: index });
        }
        match record {
            Record::Decided(record) => self.apply_decided(index, record)?,
            Record::Started(record) => self.apply_started(index, record)?,
            Record::Ended(record) => self.apply_ended(index, record)?,
            Record::Signal(record) => {
                if let Some(node) = self.node_mut(&record.exec) {
                    node.signals = node.signals.saturating_add(record.count);
                }
            }
            Record::Born(record) => {
                if let Some(node) = self.node_mut(&record.exec) {
                    node.born = node.born.saturating_add(record.count);
                }
            }
            Record::Refused(record) => {
                if let Some(node) = record.exec.and_then(|exec| self.node_mut(&exec)) {
                    node.refused = node.refused.saturating_add(1);
                }
            }
            Record::Principal(_)
            | Record::Policy(_)
            | Record::Resumed(_)
            | Record::Erased(_)
            | Record::Secret(_)
            | Record::Definition(_) => self.apply_act(index, record)?,
            Record::Answered(_)
            | Record::Approval(_)
            | Record::Genesis(_)
            | Record::Revoked(_)
            | Record::Halted(_)
            | Record::Connections(_)
            | Record::Changes(_)
            | Record::Shadow(_) => {}
        }
        self.last = Some(index);
        Ok(())
    }

    fn apply_decided(&mut self, index: Index, record: &Decided) -> Result<(), GraphError> {
        let exec = record.facts.exec;
        let mut node = Node::decided(index, record).ok_or(GraphError::Decision(exec))?;
        if let Some(known) = self.ids.get(&exec).copied() {
            if !self.is_deferred(known) {
                return Err(GraphError::Repeated(exec));
            }
            // Approved or not, it is decided afresh, under the same id.
            self.forgettable.remove(&(known, known));
            self.forget(known);
        }
        let above = node
            .parent
            .and_then(|parent| self.ids.get(&parent).copied());
        if let Some(parent) = above.and_then(|above| self.slots.get_mut(&above)) {
            parent.below.insert(index);
            if let Answer::Denied(_) | Answer::Deferred(_) = node.answer {
                node.root = parent.node.root;
            }
            if let Some(at) = parent.node.finished() {
                self.forgettable
                    .remove(&(at.index, parent.node.decided.index));
            }
        }
        let finished = node.finished();
        let below = BTreeSet::new();
        self.slots.insert(index, Slot { node, above, below });
        self.ids.insert(exec, index);
        if let Some(at) = finished {
            self.finish(at.index, index);
        }
        Ok(())
    }

    fn is_deferred(&self, decided: Index) -> bool {
        self.slots
            .get(&decided)
            .is_some_and(|slot| matches!(slot.node.answer, Answer::Deferred(_)))
    }

    fn apply_started(&mut self, index: Index, record: &Started) -> Result<(), GraphError> {
        let Some(node) = self.node_mut(&record.exec) else {
            return Ok(());
        };
        if node.started.is_some() || node.finished().is_some() {
            let (exec, record) = (record.exec, "started");
            return Err(GraphError::Phase { exec, record });
        }
        node.started = Some(At::new(index, record.time));
        Ok(())
    }

    fn apply_ended(&mut self, index: Index, record: &Ended) -> Result<(), GraphError> {
        let Some(node) = self.node_mut(&record.exec) else {
            return Ok(());
        };
        if node.finished().is_some() {
            let (exec, record) = (record.exec, "ended");
            return Err(GraphError::Phase { exec, record });
        }
        node.ended = Some(End::of(index, record));
        let decided = node.decided.index;
        self.finish(index, decided);
        Ok(())
    }

    /// An act of administration is its own start and end.
    fn apply_act(&mut self, index: Index, record: &Record) -> Result<(), GraphError> {
        let node = record.decided_by().and_then(|exec| self.node_mut(&exec));
        let Some(node) = node else {
            return Ok(());
        };
        if node.started.is_some() || node.finished().is_some() {
            let (exec, record) = (node.exec, "act");
            return Err(GraphError::Phase { exec, record });
        }
        node.started = Some(At::new(index, record.time()));
        node.ended = Some(End::at_once(index, record.time()));
        let decided = node.decided.index;
        self.finish(index, decided);
        Ok(())
    }

    /// Counts a node as finished, and forgets as many as are now too many.
    fn finish(&mut self, finished: Index, decided: Index) {
        self.finished += 1;
        let Some(keep) = self.keep else { return };
        if self
            .slots
            .get(&decided)
            .is_some_and(|slot| slot.below.is_empty())
        {
            self.forgettable.insert((finished, decided));
        }
        while self.finished > keep {
            let Some((_, oldest)) = self.forgettable.pop_first() else {
                return;
            };
            self.forget(oldest);
        }
    }

    /// Takes out a finished node that has nothing below it.
    fn forget(&mut self, decided: Index) {
        let Some(slot) = self.slots.remove(&decided) else {
            return;
        };
        self.ids.remove(&slot.node.exec);
        self.finished -= 1;
        let Some(above) = slot.above else { return };
        let Some(parent) = self.slots.get_mut(&above) else {
            return;
        };
        parent.below.remove(&decided);
        if let Some(at) = parent.node.finished().filter(|_| parent.below.is_empty()) {
            self.forgettable.insert((at.index, above));
        }
    }

    fn node_mut(&mut self, exec: &ExecutionId) -> Option<&mut Node> {
        let index = self.ids.get(exec)?;
        self.slots.get_mut(index).map(|slot| &mut slot.node)
    }

    fn slot(&self, exec: &ExecutionId) -> Option<&Slot> {
        self.slots.get(self.ids.get(exec)?)
    }

    /// Index of the last record that it took.
    #[must_use]
    pub fn last(&self) -> Option<Index> {
        self.last
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The node of this id.
    #[must_use]
    pub fn get(&self, exec: &ExecutionId) -> Option<&Node> {
        self.slot(exec).map(|slot| &slot.node)
    }

    /// The one node whose id begins so: `exec_` (or `art_`, or nothing) and at least one hex digit.
    ///
    /// # Errors
    ///
    /// [`FindError`] when it is not exactly one.
    pub fn find(&self, beginning: &str) -> Result<&Node, FindError> {
        let digits = beginning
            .strip_prefix("exec_")
            .or_else(|| beginning.strip_prefix("art_"))
            .unwrap_or(beginning);
        let (first, last) = padded_range(digits).ok_or(FindError::Syntax)?;
        let mut found = self.ids.range(first..=last);
        match (found.next(), found.count()) {
            (Some((exec, _)), 0) => self.get(exec).ok_or(FindError::Unknown),
            (Some(_), more) => Err(FindError::Ambiguous(more.saturating_add(1))),
            (None, _) => Err(FindError::Unknown),
        }
    }

    /// Every node, in log order: parents before their children.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Node> {
        self.slots.values().map(|slot| &slot.node)
    }

    /// The nodes that have no parent in the graph, in log order.
    pub fn roots(&self) -> impl DoubleEndedIterator<Item = &Node> {
        let roots = self.slots.values().filter(|slot| slot.above.is_none());
        roots.map(|slot| &slot.node)
    }

    /// The parent, if the graph holds it.
    #[must_use]
    pub fn parent(&self, exec: &ExecutionId) -> Option<&Node> {
        self.slots
            .get(&self.slot(exec)?.above?)
            .map(|slot| &slot.node)
    }

    /// What the execution asked for itself, in log order.
    pub fn children(&self, exec: &ExecutionId) -> impl DoubleEndedIterator<Item = &Node> {
        let below = self.slot(exec).into_iter().flat_map(|slot| &slot.below);
        below
            .filter_map(|index| self.slots.get(index))
            .map(|slot| &slot.node)
    }

    /// The parent, its parent, and so on.
    pub fn ancestors(&self, exec: &ExecutionId) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.parent(exec), |node| self.parent(&node.exec))
    }

    /// Everything below the execution, in log order.
    pub fn descendants(&self, exec: &ExecutionId) -> impl DoubleEndedIterator<Item = &Node> {
        let mut all = BTreeMap::new();
        let mut open: Vec<&Node> = self.children(exec).collect();
        while let Some(node) = open.pop() {
            all.insert(node.decided.index, node);
            open.extend(self.children(&node.exec));
        }
        all.into_values()
    }

    /// The nodes that the query asks for, in log order.
    pub fn select<'g>(&'g self, query: &'g Query) -> impl DoubleEndedIterator<Item = &'g Node> {
        let within: Option<BTreeSet<Index>> = query.within.map(|top| {
            let tree = self.get(&top).into_iter().chain(self.descendants(&top));
            tree.map(|node| node.decided.index).collect()
        });
        self.iter().filter(move |node| {
            within
                .as_ref()
                .is_none_or(|tree| tree.contains(&node.decided.index))
                && query.matches(node)
        })
    }
}

/// The first and the last id that begin with these hex digits.
fn padded_range(digits: &str) -> Option<(ExecutionId, ExecutionId)> {
    if digits.is_empty() {
        return None;
    }
    let first = format!("exec_{digits:0<32}").parse().ok()?;
    let last = format!("exec_{digits:f<32}").parse().ok()?;
    Some((first, last))
}
