//! Exports against the rules that their formats publish.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fixture::*;
use crate::*;

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no string in {value}"))
}

fn object<'v>(value: &'v Value, key: &str) -> &'v serde_json::Map<String, Value> {
    value[key]
        .as_object()
        .unwrap_or_else(|| panic!("{key} is no object in {value}"))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && text.bytes().any(|b| b != b'0')
}

/// RFC 3339 in UTC with milliseconds.
fn is_date_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00.000Z"
}

fn spans(otlp: &Value) -> &Vec<Value> {
    otlp["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap()
}

fn attribute<'v>(span: &'v Value, key: &str) -> Option<&'v Value> {
    let of = span["attributes"].as_array().unwrap();
    of.iter()
        .find(|pair| pair["key"] == key)
        .map(|pair| &pair["value"])
}

/// Rules of OTLP's JSON encoding and of `trace.proto`.
pub(super) fn check_otlp(otlp: &Value) {
    for span in spans(otlp) {
        let known = [
            "attributes",
            "endTimeUnixNano",
            "events",
            "kind",
            "links",
            "name",
            "parentSpanId",
            "spanId",
            "startTimeUnixNano",
            "status",
            "traceId",
        ];
        let keys = span.as_object().unwrap().keys();
        assert!(
            keys.clone().all(|key| known.contains(&key.as_str())),
            "{span}"
        );
        assert!(
            is_hex(text(span, "traceId"), 32) && is_hex(text(span, "spanId"), 16),
            "{span}"
        );
        if span.get("parentSpanId").is_some() {
            assert!(is_hex(text(span, "parentSpanId"), 16), "{span}");
            assert_ne!(span["parentSpanId"], span["spanId"]);
        }
        let nanos = |value: &Value, key: &str| text(value, key).parse::<u64>().unwrap();
        assert!(
            nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"),
            "{span}"
        );
        assert!(!text(span, "name").is_empty());
        assert_eq!(span["kind"], 1);
        let code = span["status"]["code"].as_u64().unwrap();
        assert!(code <= 2);
        assert_eq!(code == 2, span["status"].get("message").is_some(), "{span}");
        check_attributes(&span["attributes"]);
        for event in span["events"].as_array().unwrap() {
            assert!(nanos(event, "timeUnixNano") >= nanos(span, "startTimeUnixNano"));
            check_attributes(&event["attributes"]);
        }
        for link in span["links"].as_array().unwrap() {
            assert!(is_hex(text(link, "traceId"), 32) && is_hex(text(link, "spanId"), 16));
        }
    }
}

fn check_attributes(attributes: &Value) {
    let mut keys = BTreeSet::new();
    for pair in attributes.as_array().unwrap() {
        assert!(keys.insert(text(pair, "key")), "{pair} stands twice");
        let value = object(pair, "value");
        assert_eq!(value.len(), 1, "{pair}");
        match value.iter().next().unwrap() {
            (key, Value::String(_)) if key == "stringValue" => {}
            (key, Value::String(number)) if key == "intValue" => {
                number.parse::<i64>().unwrap();
            }
            (key, list) if key == "arrayValue" => assert!(list["values"].is_array(), "{pair}"),
            _ => panic!("{pair}"),
        }
    }
}

/// Sections, ids and required members of PROV-JSON.
pub(super) fn check_prov(prov: &Value) {
    let required: [(&str, &[&str]); 8] = [
        ("actedOnBehalfOf", &["prov:delegate", "prov:responsible"]),
        ("used", &["prov:activity", "prov:entity"]),
        ("wasAssociatedWith", &["prov:activity", "prov:agent"]),
        ("wasAttributedTo", &["prov:agent", "prov:entity"]),
        (
            "wasDerivedFrom",
            &["prov:generatedEntity", "prov:usedEntity"],
        ),
        ("wasGeneratedBy", &["prov:entity", "prov:time"]),
        ("wasInfluencedBy", &["prov:influencee", "prov:influencer"]),
        ("wasInformedBy", &["prov:informant", "prov:informed"]),
    ];
    let elements = ["activity", "agent", "entity"];
    let prefixes = object(prov, "prefix");
    let declared: BTreeSet<&String> = elements
        .iter()
        .filter_map(|section| prov[*section].as_object())
        .flat_map(|map| map.keys())
        .collect();
    for id in &declared {
        let (prefix, local) = id.split_once(':').unwrap();
        assert!(prefixes.contains_key(prefix), "{id}");
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_/%".contains(&b);
        assert!(!local.is_empty() && local.bytes().all(allowed), "{id}");
    }
    for (section, relations) in prov.as_object().unwrap() {
        if section == "prefix" || elements.contains(&section.as_str()) {
            continue;
        }
        let (_, members) = required.iter().find(|(name, _)| name == section).unwrap();
        for (id, relation) in relations.as_object().unwrap() {
            assert!(id.starts_with("_:"), "{id}");
            for member in *members {
                let value = text(relation, member);
                if *member == "prov:time" {
                    assert!(is_date_time(value), "{relation}");
                } else {
                    assert!(
                        declared.contains(&value.to_owned()),
                        "{value} is not declared"
                    );
                }
            }
        }
    }
    for activity in prov["activity"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.values())
    {
        assert!(is_date_time(text(activity, "prov:startTime")), "{activity}");
    }
}

/// Required members, the enumeration of types and the form of ids of OpenLineage 2-0-2.
pub(super) fn check_openlineage(events: &[Value]) {
    let mut runs: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for event in events {
        assert_eq!(
            event["schemaURL"],
            "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        );
        assert!(is_date_time(text(event, "eventTime")) && text(event, "producer").contains(':'));
        let run = text(&event["run"], "runId");
        check_uuid(run);
        runs.entry(run).or_default().push(text(event, "eventType"));
        for named in [&event["job"], &event["inputs"][0]] {
            assert!(!text(named, "name").is_empty() && !text(named, "namespace").is_empty());
        }
        for facet in object(&event["run"], "facets").values() {
            assert!(text(facet, "_producer").contains(':'));
            assert!(text(facet, "_schemaURL").contains(':'));
        }
        if let Some(parent) = event["run"]["facets"].get("parent") {
            check_uuid(text(&parent["run"], "runId"));
            assert!(!text(&parent["job"], "name").is_empty());
        }
    }
    for (run, types) in runs {
        let whole = matches!(
            types[..],
            ["START"] | ["START", "COMPLETE" | "FAIL" | "ABORT"]
        );
        assert!(whole, "{run}: {types:?}");
    }
}

/// RFC 9562: groups of hex digits, version 8, variant `10`.
fn check_uuid(id: &str) {
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
    assert!(is_hex(&id.replace('-', ""), 32), "{id}");
    let digit = |at: usize| id.chars().nth(at).unwrap();
    assert!(digit(14) == '8' && "89ab".contains(digit(19)), "{id}");
}

#[test]
fn otlp_follows_the_rules_of_its_format() {
    let (graph, domain) = (story().graph(), domain());
    let otlp = Export::of(&graph, &domain).otlp();
    check_otlp(&otlp);
    assert_eq!(
        spans(&otlp).len(),
        6,
        "all but the one that runs and the one that may start"
    );
}

#[test]
fn a_span_carries_its_lineage_and_its_reason() {
    let (graph, domain) = (story().graph(), domain());
    let otlp = Export::of(&graph, &domain).otlp();
    let span = |number: u8| {
        let id = exec(number).to_string();
        let is =
            |span: &&Value| attribute(span, "placet.execution.id").unwrap()["stringValue"] == id;
        spans(&otlp).iter().find(is).unwrap()
    };
    let (root, denied, ended) = (span(0xa1), span(0xa3), span(0xa2));
    assert_eq!(text(root, "traceId"), "a11111111111111111111111111111a1");
    assert_eq!(text(root, "spanId"), "a111111111111111");
    assert_eq!(
        (root.get("parentSpanId"), root["status"]["code"].as_u64()),
        (None, Some(1))
    );
    assert_eq!(
        (&denied["traceId"], &denied["parentSpanId"]),
        (&root["traceId"], &ended["spanId"])
    );
    assert_eq!(denied["startTimeUnixNano"], denied["endTimeUnixNano"]);
    assert_eq!(
        text(&denied["status"], "message"),
        "policy_forbids: a policy forbids it"
    );
    assert_eq!(text(&ended["status"], "message"), "revoked");
    assert_eq!(ended["events"][0]["name"], "started");
    assert_eq!(
        attribute(span(0xa4), "process.exit.code").unwrap()["intValue"],
        "2"
    );
    assert_eq!(attribute(span(0xc1), "process.exit.code"), None);
}

#[test]
fn an_intent_that_hides_its_submitter_links_to_it() {
    let mut log = Log::new();
    log.run(1, "user:alice", "sh", None);
    log.deny(2, "user:alice", "curl", Some(1));
    let placet_evidence::Record::Decided(mut decided) = log.records.pop().unwrap() else {
        panic!()
    };
    decided.intent = decided
        .intent
        .changed(|intent| intent.parent = None)
        .unwrap();
    log.records.push(placet_evidence::Record::Decided(decided));
    let (graph, domain) = (log.graph(), domain());
    let otlp = Export::of(&graph, &domain).otlp();
    check_otlp(&otlp);
    let [span] = &spans(&otlp)[..] else {
        panic!("{otlp}")
    };
    assert_eq!(text(&span["links"][0], "spanId"), "0111111111111111");
    assert_eq!(span.get("parentSpanId"), None);
}

#[test]
fn a_denial_below_an_unknown_parent_is_a_trace_of_its_own() {
    let mut log = Log::new();
    log.deny(2, "user:alice", "curl", Some(0x99));
    let (graph, domain) = (log.graph(), domain());
    let otlp = Export::of(&graph, &domain).otlp();
    let [span] = &spans(&otlp)[..] else {
        panic!("{otlp}")
    };
    assert_eq!(text(span, "traceId"), "02111111111111111111111111111102");
    assert_eq!(span.get("parentSpanId"), None);
}

#[test]
fn prov_follows_the_rules_of_its_format() {
    let (graph, domain) = (story().graph(), domain());
    let prov = Export::of(&graph, &domain).prov();
    check_prov(&prov);
    let count = |section: &str| object(&prov, section).len();
    assert_eq!(count("activity"), 4, "what started");
    assert_eq!(count("wasAttributedTo"), 8, "every decision, denials too");
    assert_eq!(count("wasInformedBy"), 2);
    let informed = object(&prov, "wasInformedBy").values().next().unwrap();
    assert_eq!(
        text(informed, "prov:informant"),
        "exec:a11111111111111111111111111111a1"
    );
    let delegations: Vec<&str> = object(&prov, "actedOnBehalfOf")
        .values()
        .map(|relation| text(relation, "prov:responsible"))
        .collect();
    assert_eq!(delegations, ["principal:agent%3Aplanner"; 2]);
}

#[test]
fn openlineage_follows_the_rules_of_its_format() {
    let (graph, domain) = (story().graph(), domain());
    let events = Export::of(&graph, &domain).openlineage();
    check_openlineage(&events);
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| text(event, "eventType"))
        .collect();
    assert_eq!(
        kinds,
        [
            "START", "START", "START", "START", "FAIL", "ABORT", "COMPLETE"
        ]
    );
    let child = &events[1]["run"];
    assert_eq!(text(child, "runId"), "a2111111-1111-8111-9111-1111111111a2");
    let parent = &child["facets"]["parent"];
    assert_eq!(
        parent["run"],
        serde_json::json!({ "runId": "a1111111-1111-8111-9111-1111111111a1" })
    );
    assert_eq!(parent["root"]["run"], parent["run"]);
    assert_eq!(
        text(&events[5]["run"]["facets"]["placet_execution"], "cause"),
        "revoked"
    );
}

#[test]
fn exports_are_deterministic_and_can_be_narrowed() {
    let (graph, again, domain) = (story().graph(), story().graph(), domain());
    let (one, other) = (Export::of(&graph, &domain), Export::of(&again, &domain));
    assert_eq!(one.otlp().to_string(), other.otlp().to_string());
    assert_eq!(one.prov().to_string(), other.prov().to_string());
    assert_eq!(one.openlineage(), other.openlineage());
    let query = Query {
        within: Some(exec(0xa2)),
        ..Query::default()
    };
    let narrow = Export::of(&graph, &domain).only(&query);
    check_prov(&narrow.prov());
    assert_eq!(spans(&narrow.otlp()).len(), 3);
    assert_eq!(narrow.openlineage().len(), 4);
}

#[test]
fn an_empty_graph_exports_nothing_but_its_frame() {
    let (graph, domain) = (Graph::new(), domain());
    let export = Export::of(&graph, &domain);
    assert!(spans(&export.otlp()).is_empty() && export.openlineage().is_empty());
    check_prov(&export.prov());
}
