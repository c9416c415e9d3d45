//! W3C PROV, in its JSON form.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use placet_types::digest::encode_hex;
use placet_types::{Digest, ExecutionId, Millis, PrincipalId, ResourceRef};

use super::{Export, digits, set};
use crate::node::{Answer, Node};

/// Sections of the document, by name; each holds elements or relations by their ids.
#[derive(Default)]
struct Document(BTreeMap<&'static str, Map<String, Value>>);

pub(super) fn document(export: &Export<'_>) -> Value {
    let ran: BTreeSet<ExecutionId> = export
        .nodes
        .iter()
        .filter(|node| node.started.is_some())
        .map(|node| node.exec)
        .collect();
    let authority = format!("domain:{}", local(export.domain.as_str()));
    let mut out = Document::default();
    out.prefixes(export.domain.as_str());
    out.add(
        "agent",
        &authority,
        json!({
            "prov:label": export.domain.as_str(),
            "prov:type": name("prov:SoftwareAgent"),
        }),
    );
    for node in &export.nodes {
        out.principal(&node.principal);
        out.decision(node, &authority);
        if node.started.is_some() {
            out.activity(node);
            out.delegation(node);
        }
        if let Some(parent) = node
            .parent
            .filter(|parent| ran.contains(parent) && ran.contains(&node.exec))
        {
            out.relate(
                "wasInformedBy",
                node,
                0,
                json!({
                    "prov:informed": activity_name(node.exec),
                    "prov:informant": activity_name(parent),
                }),
            );
        }
    }
    Value::Object(
        out.0
            .into_iter()
            .map(|(key, map)| (key.to_owned(), Value::Object(map)))
            .collect(),
    )
}

impl Document {
    /// What one domain calls its own stands below the domain's name; the rest is named alike anywhere.
    fn prefixes(&mut self, domain: &str) {
        let prefixes = [
            ("bundle", "urn:placet:bundle:sha256:".to_owned()),
            ("domain", "urn:placet:domain:".to_owned()),
            ("exec", "urn:placet:exec:".to_owned()),
            ("placet", "urn:placet:prov:".to_owned()),
            ("principal", format!("urn:placet:principal:{domain}:")),
            ("record", format!("urn:placet:record:{domain}:")),
            ("resource", format!("urn:placet:resource:{domain}:")),
        ];
        for (prefix, uri) in prefixes {
            self.add("prefix", prefix, uri.into());
        }
    }

    fn add(&mut self, section: &'static str, id: &str, value: Value) {
        self.0
            .entry(section)
            .or_default()
            .insert(id.to_owned(), value);
    }

    /// Adds a relation. Its id is a blank one: of the record, and a number for the next of its kind.
    fn relate(&mut self, section: &'static str, node: &Node, number: usize, value: Value) {
        let id = format!("_:{section}-{}-{number}", node.decided.index);
        self.add(section, &id, value);
    }

    fn principal(&mut self, id: &PrincipalId) {
        let label = json!({ "prov:label": id.as_str() });
        self.add("agent", &principal_name(id), label);
    }

    fn decision(&mut self, node: &Node, authority: &str) {
        let record = format!("record:{}", node.decided.index);
        let mut entity = json!({
            "placet:exec": node.exec.to_string(),
            "placet:intent": node.intent.to_string(),
            "prov:label": format!("decision on {}", node.action),
            "prov:type": name("placet:Decision"),
        });
        match &node.answer {
            Answer::Permitted(permission) => {
                set(&mut entity, "placet:outcome", "permit");
                set(&mut entity, "placet:profile", permission.profile.as_str());
            }
            Answer::Denied(denial) => {
                set(&mut entity, "placet:outcome", "deny");
                set(&mut entity, "placet:code", denial.code.as_str());
            }
            Answer::Deferred(_) => set(&mut entity, "placet:outcome", "defer"),
        }
        self.add("entity", &record, entity);
        self.relate(
            "wasGeneratedBy",
            node,
            0,
            json!({
                "prov:entity": record,
                "prov:time": time(node.decided.time),
            }),
        );
        self.relate(
            "wasAttributedTo",
            node,
            0,
            json!({
                "prov:agent": authority,
                "prov:entity": record,
            }),
        );
        self.relate(
            "wasInfluencedBy",
            node,
            0,
            json!({
                "prov:influencee": record,
                "prov:influencer": principal_name(&node.principal),
            }),
        );
        if let Some(bundle) = node.bundle {
            let bundle = self.bundle(bundle);
            self.relate(
                "wasDerivedFrom",
                node,
                0,
                json!({
                    "prov:generatedEntity": record,
                    "prov:usedEntity": bundle,
                }),
            );
        }
    }

    fn bundle(&mut self, digest: Digest) -> String {
        let id = format!("bundle:{}", digest.hex());
        let kind = json!({ "prov:type": [name("placet:PolicyBundle"), name("prov:Plan")] });
        self.add("entity", &id, kind);
        id
    }

    fn activity(&mut self, node: &Node) {
        let mut activity = json!({
            "placet:status": node.status().as_str(),
            "prov:label": node.action.as_str(),
        });
        if let Some(at) = node.started {
            set(&mut activity, "prov:startTime", time(at.time));
        }
        if let Some(end) = node.ended {
            set(&mut activity, "prov:endTime", time(end.at.time));
        }
        if let Some(cause) = node.code() {
            set(&mut activity, "placet:cause", cause.as_str());
        }
        let id = activity_name(node.exec);
        self.add("activity", &id, activity);
        let resource = self.resource(&node.resource);
        let decision = format!("record:{}", node.decided.index);
        for (number, entity) in [decision, resource].into_iter().enumerate() {
            let used = json!({ "prov:activity": id, "prov:entity": entity });
            self.relate("used", node, number, used);
        }
        let mut association = json!({
            "prov:activity": id,
            "prov:agent": principal_name(&node.principal),
        });
        if let Some(bundle) = node.bundle {
            set(&mut association, "prov:plan", self.bundle(bundle));
        }
        self.relate("wasAssociatedWith", node, 0, association);
    }

    /// Each principal of the chain acts for the next one above it.
    fn delegation(&mut self, node: &Node) {
        let mut delegate = &node.principal;
        for (number, responsible) in node.delegation.iter().enumerate() {
            if delegate != responsible {
                self.principal(responsible);
                self.relate(
                    "actedOnBehalfOf",
                    node,
                    number,
                    json!({
                        "prov:activity": activity_name(node.exec),
                        "prov:delegate": principal_name(delegate),
                        "prov:responsible": principal_name(responsible),
                    }),
                );
            }
            delegate = responsible;
        }
    }

    fn resource(&mut self, resource: &ResourceRef) -> String {
        let content = resource
            .digest
            .map(|digest| digest.to_string())
            .unwrap_or_default();
        let parts: [&[u8]; 5] = [
            resource.kind.as_bytes(),
            b"\0",
            content.as_bytes(),
            b"\0",
            resource.id.as_bytes(),
        ];
        let id = format!("resource:{}", Digest::of_parts(&parts).hex());
        let mut entity = json!({ "placet:kind": resource.kind, "prov:label": resource.id });
        if resource.digest.is_some() {
            set(&mut entity, "placet:digest", content);
        }
        self.add("entity", &id, entity);
        id
    }
}

fn activity_name(exec: ExecutionId) -> String {
    format!("exec:{}", digits(exec))
}

fn principal_name(id: &PrincipalId) -> String {
    format!("principal:{}", local(id.as_str()))
}

/// A value that is a qualified name.
fn name(qualified: &str) -> Value {
    json!({ "$": qualified, "type": "xsd:QName" })
}

/// RFC 3339, as `xsd:dateTime` wants it.
fn time(at: Millis) -> String {
    at.to_string()
}

/// The text as the local part of a qualified name: bytes that PROV-N would want escaped are
/// percent-encoded.
fn local(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&encode_hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}
