//! Lineage: which execution led to which, as a projection of the evidence log.
//!
//! [`Graph::apply`] takes one record after the other and keeps a [`Node`] for each decided intent.
//! Denied ones are nodes too: they never ran, and are as much a part of what happened. An edge leads
//! from an execution to what it asked for. A parent always stands before its children in the log, so
//! the log's order is a topological order of the graph.
//!
//! The graph is queried ([`Query`]), drawn ([`Tree`], [`Graph::lanes`]) and exported ([`Export`]).
//! It proves nothing and authorizes nothing: whoever folds records into it has checked them, and
//! every node names the record that stands for it in the log. Throw it away, replay, and it is the
//! same again.
//!
//! Out of scope: what is in force (`placet-state`), proofs (`placet-tlog`), storage.

#![forbid(unsafe_code)]

mod export;
mod graph;
mod lanes;
mod node;
mod query;
mod tree;

pub use export::Export;
pub use graph::{FindError, Graph, GraphError};
pub use lanes::Placed;
pub use node::{Answer, At, End, Node, Permission, Status};
pub use query::Query;
pub use tree::{Charset, Plain, Role, Style, Tree};

#[cfg(test)]
mod tests;
