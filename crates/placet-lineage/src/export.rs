//! The graph in other people's formats, for their tools.
//!
//! An export is a copy for reading: it carries indices of the log, by which each statement in it can
//! be proven, but no proof. It is a function of graph and domain alone, so two exports are equal.

mod openlineage;
mod otlp;
mod prov;

use std::collections::BTreeSet;

use serde_json::Value;

use placet_types::{DomainName, ExecutionId};

use crate::graph::Graph;
use crate::node::Node;
use crate::query::Query;

/// What to export.
#[derive(Clone, Debug)]
pub struct Export<'g> {
    domain: &'g DomainName,
    graph: &'g Graph,
    nodes: Vec<&'g Node>,
}

impl<'g> Export<'g> {
    /// All of a domain's graph.
    #[must_use]
    pub fn of(graph: &'g Graph, domain: &'g DomainName) -> Self {
        let nodes = graph.iter().collect();
        Self {
            domain,
            graph,
            nodes,
        }
    }

    /// What the query asks for.
    #[must_use]
    pub fn only(self, query: &Query) -> Self {
        let matching: BTreeSet<ExecutionId> =
            self.graph.select(query).map(|node| node.exec).collect();
        let mut export = self;
        export.nodes.retain(|node| matching.contains(&node.exec));
        export
    }

    /// These alone.
    #[must_use]
    pub fn these(self, execs: &BTreeSet<ExecutionId>) -> Self {
        let mut export = self;
        export.nodes.retain(|node| execs.contains(&node.exec));
        export
    }

    /// Spans in OTLP's JSON encoding, as one `TracesData` message.
    ///
    /// An execution is a span from its decision to its end, a denied intent one without length. What
    /// has not ended yet is left out: a span has an end. The trace id is the root's 16 bytes, the
    /// span id the first 8 of the execution's own.
    ///
    /// Format: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding> and
    /// <https://github.com/open-telemetry/opentelemetry-proto>, `opentelemetry/proto/trace/v1/trace.proto`.
    #[must_use]
    pub fn otlp(&self) -> Value {
        otlp::traces(self)
    }

    /// A PROV-JSON document.
    ///
    /// What started is an activity, associated with its principal and informed by its parent. Each
    /// decision, denials too, is an entity by the index of its record, attributed to the domain and
    /// derived from the policy bundle.
    ///
    /// Format: W3C Member Submission of 24 April 2013, <https://www.w3.org/submissions/prov-json/>;
    /// the model is PROV-DM, <https://www.w3.org/TR/prov-dm/>.
    #[must_use]
    pub fn prov(&self) -> Value {
        prov::document(self)
    }

    /// OpenLineage run events, in log order: one for each start, one for each end of what started.
    ///
    /// A run's id is the execution's id with the version and variant of a UUIDv8 (RFC 9562) written
    /// over six of its bits; the facet `placet_execution` has all of them. What never ran is no run,
    /// and left out.
    ///
    /// Format: <https://openlineage.io/spec/2-0-2/OpenLineage.json> and
    /// <https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json>.
    #[must_use]
    pub fn openlineage(&self) -> Vec<Value> {
        openlineage::events(self)
    }
}

/// The 32 hex digits of an id.
fn digits(exec: ExecutionId) -> String {
    let text = exec.to_string();
    text.strip_prefix("exec_").unwrap_or(&text).to_owned()
}

/// Sets a member of an object; anything else stays as it is.
fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(members) = object {
        members.insert(key.to_owned(), value.into());
    }
}
