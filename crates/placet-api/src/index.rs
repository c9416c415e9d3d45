//! The lineage index: a graph folded from the log, caught up when it is asked.

use std::sync::{PoisonError, RwLock};

use placet_evidence::Entry;
use placet_lineage::Graph;
use placet_log::LogReader;
use placet_types::{Denial, DenialCode, Index};

use crate::problem::Problem;

/// Finished executions that are kept. Older ones are in the log, and in `placet lineage`.
const FINISHED_MAX: usize = 100_000;
/// Records that are folded at a time before readers get a turn.
const STEP: u64 = 1024;

/// The graph of the recent past, in bounded memory.
#[derive(Debug)]
pub(crate) struct LineageIndex {
    graph: RwLock<Graph>,
}

impl LineageIndex {
    pub(crate) fn new() -> Self {
        Self {
            graph: RwLock::new(Graph::recent(FINISHED_MAX)),
        }
    }

    /// Looks at the graph as of now. May read the log: not for a thread that must not wait.
    pub(crate) fn look<R>(
        &self,
        reader: &LogReader,
        look: impl FnOnce(&Graph) -> R,
    ) -> Result<R, Problem> {
        let size = reader.size();
        loop {
            let graph = self.graph.read().unwrap_or_else(PoisonError::into_inner);
            if next(&graph) >= size {
                return Ok(look(&graph));
            }
            drop(graph);
            self.step(reader, size)?;
        }
    }

    fn step(&self, reader: &LogReader, size: Index) -> Result<(), Problem> {
        let mut graph = self.graph.write().unwrap_or_else(PoisonError::into_inner);
        let from = next(&graph);
        let to = Index::new(from.get().saturating_add(STEP)).min(size);
        for entry in reader.entries(from..to) {
            let (index, bytes) = entry?;
            let record = Entry::from_bytes(bytes).read().map_err(|_| damaged())?;
            graph.apply(index, &record).map_err(|_| damaged())?;
        }
        Ok(())
    }
}

fn next(graph: &Graph) -> Index {
    graph.last().map_or(Index::default(), Index::next)
}

pub(crate) fn damaged() -> Problem {
    Problem::of(&Denial::new(
        DenialCode::EvidenceUnavailable,
        "a record of the log does not read",
    ))
}
