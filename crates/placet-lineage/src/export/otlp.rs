//! OpenTelemetry spans. Ids are lower-case hex, enums are numbers, 64-bit numbers are strings.

use serde_json::{Value, json};

use placet_evidence::{Caller, Exit};
use placet_types::{ExecutionId, Millis};

use super::{Export, digits, set};
use crate::node::{Answer, Node, Status};

/// `SPAN_KIND_INTERNAL`.
const KIND_INTERNAL: u8 = 1;
/// `STATUS_CODE_UNSET`, `STATUS_CODE_OK`, `STATUS_CODE_ERROR`.
const STATUS_CODES: [u8; 3] = [0, 1, 2];

/// The attributes of a span, each key once.
#[derive(Default)]
struct Attributes(Vec<Value>);

pub(super) fn traces(export: &Export<'_>) -> Value {
    let spans: Vec<Value> = export
        .nodes
        .iter()
        .filter_map(|node| span(export, node))
        .collect();
    let mut resource = Attributes::default();
    resource.text("service.name", "placet");
    resource.text("placet.domain", export.domain.as_str());
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource.0 },
            "scopeSpans": [{
                "scope": { "name": "placet.lineage", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }],
    })
}

/// The span of something that is finished.
fn span(export: &Export<'_>, node: &Node) -> Option<Value> {
    let end = node.finished()?;
    let mut span = json!({
        "attributes": attributes(node),
        "endTimeUnixNano": nanos(end.time),
        "events": events(node),
        "kind": KIND_INTERNAL,
        "links": links(export, node),
        "name": node.action.as_str(),
        "spanId": span_id(node.exec),
        "startTimeUnixNano": nanos(node.decided.time),
        "status": status(node),
        "traceId": trace_id(node.root),
    });
    // A span's parent is of the same trace: a denial whose parent is not known is a root.
    if let Some(parent) = node.parent.filter(|_| node.root != node.exec) {
        set(&mut span, "parentSpanId", span_id(parent));
    }
    Some(span)
}

fn attributes(node: &Node) -> Vec<Value> {
    let mut out = Attributes::default();
    out.text("placet.execution.id", &node.exec.to_string());
    out.int("placet.decision.index", node.decided.index.get());
    out.text("placet.status", node.status().as_str());
    out.text("placet.principal", node.principal.as_str());
    out.text("placet.gateway", node.gateway.as_str());
    out.text("placet.resource.kind", &node.resource.kind);
    out.text("placet.resource.id", &node.resource.id);
    out.text("placet.intent.digest", &node.intent.to_string());
    if let Some(bundle) = node.bundle {
        out.text("placet.policy.bundle", &bundle.to_string());
    }
    out.list(
        "placet.policy.ids",
        node.policies.iter().map(String::as_str),
    );
    out.list(
        "placet.delegation",
        node.delegation.iter().map(|id| id.as_str()),
    );
    out.count("placet.signals", node.signals);
    out.count("placet.refused_attempts", node.refused);
    if let Some(code) = node.code() {
        out.text("placet.denial.code", code.as_str());
    }
    match &node.answer {
        Answer::Denied(denial) => out.int("placet.denial.check", u64::from(denial.check)),
        Answer::Permitted(permission) => {
            out.text("placet.artifact.digest", &permission.artifact.to_string());
            out.text("placet.profile", permission.profile.as_str());
        }
        Answer::Deferred(until) => out.text("placet.deferred.until", &until.to_string()),
    }
    out.end(node);
    out.0
}

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.0
            .push(json!({ "key": key, "value": { "stringValue": value } }));
    }

    fn int(&mut self, key: &str, value: u64) {
        // OTLP's integers are signed.
        let value = i64::try_from(value).unwrap_or(i64::MAX).to_string();
        self.0
            .push(json!({ "key": key, "value": { "intValue": value } }));
    }

    fn count(&mut self, key: &str, value: u64) {
        if value > 0 {
            self.int(key, value);
        }
    }

    fn list<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<Value> = values
            .map(|value| json!({ "stringValue": value }))
            .collect();
        if !values.is_empty() {
            self.0
                .push(json!({ "key": key, "value": { "arrayValue": { "values": values } } }));
        }
    }

    fn end(&mut self, node: &Node) {
        let Some(end) = &node.ended else { return };
        match end.exit {
            Some(Exit::Code(code)) => self.int("process.exit.code", u64::from(code)),
            Some(Exit::Signal(signal)) => self.int("placet.exit.signal", u64::from(signal)),
            None => {}
        }
        if let Some(usage) = end.usage {
            self.int("placet.usage.cpu_ms", usage.cpu_ms);
            self.int("placet.usage.rss_kib_max", usage.rss_kib_max);
            self.int("placet.usage.wall_ms", usage.wall_ms);
        }
    }
}

/// The start, apart from the decision that the span begins with.
fn events(node: &Node) -> Vec<Value> {
    let started = node.started.iter();
    started
        .map(|at| {
            let mut attributes = Attributes::default();
            attributes.int("placet.record.index", at.index.get());
            json!({
                "attributes": attributes.0,
                "name": "started",
                "timeUnixNano": nanos(at.time),
            })
        })
        .collect()
}

/// A governed execution that submitted the intent without being its parent.
fn links(export: &Export<'_>, node: &Node) -> Vec<Value> {
    let Caller::Execution(caller) = node.caller else {
        return Vec::new();
    };
    let caller = export
        .graph
        .get(&caller)
        .filter(|_| node.parent != Some(caller));
    caller
        .map(|caller| {
            let mut attributes = Attributes::default();
            attributes.text("placet.link", "submitted_by");
            json!({
                "attributes": attributes.0,
                "spanId": span_id(caller.exec),
                "traceId": trace_id(caller.root),
            })
        })
        .into_iter()
        .collect()
}

fn status(node: &Node) -> Value {
    let [unset, ok, error] = STATUS_CODES;
    match node.status() {
        Status::Completed => json!({ "code": ok }),
        Status::Lapsed
        | Status::Unseen
        | Status::Authorized
        | Status::Running
        | Status::Deferred => json!({ "code": unset }),
        status @ (Status::Denied | Status::Failed | Status::Terminated) => {
            let reason = match &node.answer {
                Answer::Denied(denial) => format!("{}: {}", denial.code, denial.reason),
                Answer::Permitted(_) | Answer::Deferred(_) => node
                    .code()
                    .map_or_else(|| status.as_str().to_owned(), |code| code.to_string()),
            };
            json!({ "code": error, "message": reason })
        }
    }
}

/// Nanoseconds as a string, saturating.
fn nanos(time: Millis) -> String {
    time.get().saturating_mul(1_000_000).to_string()
}

fn trace_id(root: ExecutionId) -> String {
    not_all_zero(digits(root))
}

fn span_id(exec: ExecutionId) -> String {
    not_all_zero(digits(exec).chars().take(16).collect())
}

/// The format has no id of zeros only. Ids are random, so none is lost by this.
fn not_all_zero(digits: String) -> String {
    if digits.bytes().any(|digit| digit != b'0') {
        return digits;
    }
    format!("{:0>1$}", 1, digits.len())
}
