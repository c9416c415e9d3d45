//! OpenLineage run events.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use placet_evidence::Exit;
use placet_types::{ExecutionId, Index};

use super::{Export, digits, set};
use crate::node::{Answer, At, Node, Status};

const PRODUCER: &str = concat!("urn:placet:producer:", env!("CARGO_PKG_VERSION"));
const RUN_EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const PARENT_FACET: &str =
    "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet";
const VERSION_FACET: &str = "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet";
const EXECUTION_FACET: &str = "urn:placet:openlineage:execution:v1";

pub(super) fn events(export: &Export<'_>) -> Vec<Value> {
    let mut events: BTreeMap<Index, Value> = BTreeMap::new();
    for node in &export.nodes {
        let Some(started) = node.started else {
            continue;
        };
        events.insert(started.index, event(export, node, "START", started));
        if let Some(end) = node.ended {
            let kind = match node.status() {
                Status::Completed => "COMPLETE",
                Status::Failed => "FAIL",
                Status::Terminated | Status::Lapsed => "ABORT",
                // How is not known, or there was no end.
                Status::Unseen
                | Status::Denied
                | Status::Deferred
                | Status::Authorized
                | Status::Running => "OTHER",
            };
            events.insert(end.at.index, event(export, node, kind, end.at));
        }
    }
    events.into_values().collect()
}

fn event(export: &Export<'_>, node: &Node, kind: &str, at: At) -> Value {
    let mut facets = json!({ "placet_execution": execution(node, at) });
    if let Some(parent) = export.graph.parent(&node.exec) {
        set(&mut facets, "parent", parent_facet(export, node, parent));
    }
    json!({
        "eventTime": at.time.to_string(),
        "eventType": kind,
        "inputs": [dataset(export, node)],
        "job": job(export, node),
        "outputs": [],
        "producer": PRODUCER,
        "run": { "facets": facets, "runId": run_id(node.exec) },
        "schemaURL": RUN_EVENT,
    })
}

/// What is done to what: the same job each time that the same is asked for.
fn job(export: &Export<'_>, node: &Node) -> Value {
    json!({
        "name": format!("{} {}", node.action, node.resource.id),
        "namespace": namespace(export),
    })
}

fn namespace(export: &Export<'_>) -> String {
    format!("placet://{}", export.domain)
}

/// The resource. Executions record what they were allowed to act on, not which data they made.
fn dataset(export: &Export<'_>, node: &Node) -> Value {
    let mut dataset = json!({
        "name": format!("{} {}", node.resource.kind, node.resource.id),
        "namespace": namespace(export),
    });
    if let Some(digest) = node.resource.digest {
        let version = json!({
            "_producer": PRODUCER,
            "_schemaURL": VERSION_FACET,
            "datasetVersion": digest.to_string(),
        });
        set(&mut dataset, "facets", json!({ "version": version }));
    }
    dataset
}

fn parent_facet(export: &Export<'_>, node: &Node, parent: &Node) -> Value {
    let run = |node: &Node| json!({ "runId": run_id(node.exec) });
    let mut facet = json!({
        "_producer": PRODUCER,
        "_schemaURL": PARENT_FACET,
        "job": job(export, parent),
        "run": run(parent),
    });
    if let Some(root) = export.graph.get(&node.root) {
        set(
            &mut facet,
            "root",
            json!({ "job": job(export, root), "run": run(root) }),
        );
    }
    facet
}

/// What Placet knows of the execution at this event.
fn execution(node: &Node, at: At) -> Value {
    let mut facet = json!({
        "_producer": PRODUCER,
        "_schemaURL": EXECUTION_FACET,
        "decisionIndex": node.decided.index.get(),
        "delegation": node.delegation,
        "execution": node.exec.to_string(),
        "intent": node.intent.to_string(),
        "policies": node.policies,
        "principal": node.principal.as_str(),
        "recordIndex": at.index.get(),
    });
    if let Answer::Permitted(permission) = &node.answer {
        set(&mut facet, "artifact", permission.artifact.to_string());
        set(&mut facet, "profile", permission.profile.as_str());
    }
    if let Some(end) = node.ended.filter(|end| end.at == at) {
        if let Some(cause) = end.cause {
            set(&mut facet, "cause", cause.as_str());
        }
        match end.exit {
            Some(Exit::Code(code)) => set(&mut facet, "exitCode", code),
            Some(Exit::Signal(signal)) => set(&mut facet, "exitSignal", signal),
            None => {}
        }
    }
    facet
}

/// The id as a UUIDv8 (RFC 9562, section 5.8): version and variant take six bits of it.
fn run_id(exec: ExecutionId) -> String {
    let mut out = String::with_capacity(36);
    for (at, digit) in digits(exec).chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(match (at, digit) {
            (12, _) => '8',
            (16, '0' | '4' | '8' | 'c') => '8',
            (16, '1' | '5' | '9' | 'd') => '9',
            (16, '2' | '6' | 'a' | 'e') => 'a',
            (16, _) => 'b',
            (_, digit) => digit,
        });
    }
    out
}
