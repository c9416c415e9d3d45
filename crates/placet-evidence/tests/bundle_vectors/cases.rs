//! What is altered: every member of a bundle, every member of what the domain signed, and parts that
//! are true in another place.

use std::collections::BTreeSet;

use placet_artifact::Claims;
use placet_evidence::KindName;
use placet_types::{Digest, ExecutionId};
use serde_json::{Value, json};

use crate::kinds;
use crate::world::{
    self, ARTIFACT, ATTESTED, DEFERRAL, DENIAL, END, LOG, PERMIT, RECORD, STRANGER, World,
    artifact_digest, entry, issue, log, log_by, sealed,
};

/// A bundle, what is altered in it, and the policy file that is trusted.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bundle: usize,
    pub(crate) policy: usize,
    pub(crate) edits: Vec<Value>,
}

pub(crate) fn all(world: &World, bundles: &[Value]) -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    for (at, name) in [
        "permit",
        "bare permit",
        "denial",
        "deferral",
        "end",
        "attested denial",
    ]
    .iter()
    .enumerate()
    {
        for policy in 0..world.policies().len() {
            cases.0.push(Case {
                name: format!("{name}, under policy {policy}"),
                bundle: at,
                policy,
                edits: Vec::new(),
            });
        }
    }
    cases.members(bundles);
    cases.characters(bundles);
    cases.swapped(bundles);
    cases.genesis(world);
    for (bundle, predicate) in [
        (PERMIT, &world.permit),
        (DENIAL, &world.denial),
        (DEFERRAL, &world.deferral),
        (ATTESTED, &world.attested),
    ] {
        cases.signed(world, bundle, predicate);
    }
    cases.statements(world);
    cases.related(world);
    cases.claims(world);
    cases.kinds(world);
    cases.0
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: impl Into<String>, bundle: usize, edits: Vec<Value>) {
        let name = name.into();
        self.0.push(Case {
            name,
            bundle,
            policy: 0,
            edits,
        });
    }

    /// Every member: missing, null, of another type; and one that nobody knows.
    fn members(&mut self, bundles: &[Value]) {
        for bundle in [PERMIT, DENIAL, END] {
            for pointer in pointers(&bundles[bundle]) {
                for value in [Value::Null, json!(7), json!([]), json!({}), json!("")] {
                    let name = format!("{pointer} is {value}, bundle {bundle}");
                    self.add(
                        name,
                        bundle,
                        vec![json!({ "pointer": pointer, "value": value })],
                    );
                }
                if !pointer.ends_with(char::is_numeric) {
                    let edit = json!({ "pointer": pointer, "remove": true });
                    self.add(
                        format!("{pointer} is missing, bundle {bundle}"),
                        bundle,
                        vec![edit],
                    );
                }
            }
        }
        for pointer in [
            "/zz",
            "/genesis/zz",
            "/record/zz",
            "/disclosed/zz",
            "/related/0/zz",
        ] {
            let edit = json!({ "pointer": pointer, "value": "x" });
            self.add(format!("an unknown member {pointer}"), PERMIT, vec![edit]);
        }
    }

    /// Characters of every text, at its beginning, in it, and at its end.
    fn characters(&mut self, bundles: &[Value]) {
        for (pointer, text) in texts(&bundles[PERMIT]) {
            // Of a proof every line counts, so there are more of them.
            let step = if pointer.ends_with("/proof") {
                17
            } else {
                text.len() / 3 + 1
            };
            for (at, old) in text.chars().enumerate().step_by(step) {
                let to = if old == 'A' { "B" } else { "A" };
                let edit = json!({ "pointer": pointer, "at": at, "to": to });
                self.add(
                    format!("character {at} of {pointer} is {to}"),
                    PERMIT,
                    vec![edit],
                );
            }
        }
    }

    /// What is true elsewhere.
    fn swapped(&mut self, bundles: &[Value]) {
        let parts = [
            "/genesis",
            "/record",
            "/record/proof",
            "/related/0",
            "/artifact",
            "/disclosed",
        ];
        for bundle in [PERMIT, DENIAL, END] {
            for to in parts {
                for from in [
                    "/genesis",
                    "/record",
                    "/related/1",
                    "/artifact",
                    "/disclosed",
                ] {
                    let fits =
                        bundles[bundle].pointer(to).is_some() || to.matches('/').count() == 1;
                    let Some(value) = bundles[PERMIT].pointer(from).filter(|_| fits) else {
                        continue;
                    };
                    if to == from && bundle == PERMIT {
                        continue;
                    }
                    let edit = json!({ "pointer": to, "value": value });
                    let name = format!("{from} of the permit as {to}, bundle {bundle}");
                    self.add(name, bundle, vec![edit]);
                }
            }
        }
    }

    /// First records that say something else, each in a log of its own.
    fn genesis(&mut self, world: &World) {
        let as_genesis = |text: String| {
            let [proven] = log(&[text]);
            vec![json!({ "pointer": "/genesis", "value": proven })]
        };
        let by_stranger = entry("genesis", &world.genesis, STRANGER);
        self.add(
            "a first record that a stranger signed",
            PERMIT,
            as_genesis(by_stranger),
        );
        let other_kind = entry("decided", &world.permit, RECORD);
        self.add(
            "a first record of another kind",
            PERMIT,
            as_genesis(other_kind),
        );
        for (name, altered) in alterations(&world.genesis) {
            let edits = as_genesis(entry("genesis", &altered, RECORD));
            self.add(format!("the first record: {name}"), PERMIT, edits);
        }
        for (role, other) in [("artifact", RECORD), ("artifact", LOG), ("log", STRANGER)] {
            let mut altered = world.genesis.clone();
            altered["keys"][role] = json!(world::key(other).public());
            let edits = as_genesis(entry("genesis", &altered, RECORD));
            self.add(
                format!("the first record: {role} key {other}"),
                PERMIT,
                edits,
            );
        }
        // Trusted by the policy file with both logs, and not the domain's.
        let [proven] = log_by(&[world.genesis_entry()], STRANGER);
        let edits = vec![json!({ "pointer": "/genesis", "value": proven })];
        self.0.push(Case {
            name: "a first record in a stranger's log".into(),
            bundle: PERMIT,
            policy: 2,
            edits,
        });
    }

    /// Decisions that the domain's own key signed, and that say something else.
    fn signed(&mut self, world: &World, bundle: usize, predicate: &Value) {
        for (name, altered) in alterations(predicate) {
            // What decisions have in common is altered in the permit.
            let own = ["/denial", "/waits", "/outcome", "/grant", "/artifact"];
            if bundle != PERMIT && !own.iter().any(|member| name.contains(member)) {
                continue;
            }
            let edits = as_record(world, entry("decided", &altered, RECORD));
            self.add(format!("decision {bundle}: {name}"), bundle, edits);
        }
        let edits = as_record(world, entry("decided", predicate, STRANGER));
        self.add(
            format!("decision {bundle}: signed by a stranger"),
            bundle,
            edits,
        );
    }

    /// Every kind of record, as it is and with one thing altered, signed by the domain's own key.
    fn kinds(&mut self, world: &World) {
        let all = kinds::all(&world.genesis, [&world.permit, &world.attested]);
        let mut seen = BTreeSet::new();
        for (kind, predicate) in &all {
            let name = format!("a record of kind {}", kind.as_str());
            let sealed = |value: &Value| entry(kind.as_str(), value, RECORD);
            let whole = as_record(world, sealed(predicate));
            self.add(format!("{name}, whole"), END, whole);
            // What all of its shapes have in common is altered in the first of them.
            let is_first = seen.insert(*kind);
            // Decisions and first records have cases of their own.
            let has_own = [KindName::Decided, KindName::Genesis].contains(kind);
            for (how, altered) in alterations(predicate) {
                let counts = if has_own && is_first {
                    how.matches('/').count() <= 1
                } else if has_own {
                    how.contains("/bearer")
                } else {
                    is_first || how.contains("/selector") || how.contains("/change")
                };
                if counts {
                    let edits = as_record(world, sealed(&altered));
                    self.add(format!("{name}: {how}"), END, edits);
                }
            }
        }
        for (kind, pointer, value) in kinds::silent() {
            let (_, predicate) = all.iter().find(|(own, _)| own.as_str() == kind).unwrap();
            let mut altered = predicate.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            altered.pointer_mut(parent).unwrap()[name] = value.clone();
            let edits = as_record(world, entry(kind, &altered, RECORD));
            self.add(
                format!("a record of kind {kind}: {pointer} is {value}"),
                END,
                edits,
            );
        }
    }

    /// Further records that are not about the same, or not the domain's.
    fn related(&mut self, world: &World) {
        let by_stranger = entry("started", &world.started, STRANGER);
        let mut other = world.ended.clone();
        other["exec"] = json!(ExecutionId::new([9; 16]));
        let other = entry("ended", &other, RECORD);
        for (name, text) in [("by a stranger", by_stranger), ("about another", other)] {
            let [proven] = log(&[text]);
            let edit = json!({ "pointer": "/related/1", "value": proven });
            self.add(format!("a further record {name}"), PERMIT, vec![edit]);
        }
    }

    /// Envelopes and statements that are not as they must be.
    fn statements(&mut self, world: &World) {
        let text = entry("ended", &world.ended, RECORD);
        let envelope: Value = serde_json::from_str(&text).unwrap();
        let spaced = serde_json::to_string_pretty(&envelope).unwrap();
        self.add(
            "an envelope that is not canonical",
            END,
            as_record(world, spaced),
        );
        for pointer in pointers(&envelope) {
            for value in [json!("x"), json!([]), Value::Null] {
                let mut altered = envelope.clone();
                *altered.pointer_mut(&pointer).unwrap() = value.clone();
                let edits = as_record(world, altered.to_string());
                self.add(format!("the envelope: {pointer} is {value}"), END, edits);
            }
        }
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicate": world.ended,
            "predicateType": "urn:placet:evidence:ended:v1",
            "subject": [{ "digest": { "sha256": Digest::of(b"another").hex() }, "name": world.ended["exec"] }],
        });
        self.add(
            "a statement about something else",
            END,
            as_record(world, sealed(&statement, RECORD)),
        );
        for (name, altered) in alterations(&statement) {
            if name.starts_with("/predicate/") {
                continue;
            }
            let edits = as_record(world, sealed(&altered, RECORD));
            self.add(format!("the statement: {name}"), END, edits);
        }
    }

    /// Artifacts that the domain's own key signed, each named by its decision, and one thing in them is
    /// not what was decided.
    fn claims(&mut self, world: &World) {
        let mut forge = |name: &str, change: fn(&mut Claims), seed: u8| {
            let mut claims = world.claims.clone();
            change(&mut claims);
            let artifact = issue(&claims, seed);
            let mut decided = world.permit.clone();
            decided["artifact"] = json!(artifact_digest(&artifact));
            let mut edits = as_record(world, entry("decided", &decided, RECORD));
            edits.push(json!({ "pointer": "/artifact", "value": artifact }));
            self.add(format!("an artifact with another {name}"), PERMIT, edits);
        };
        forge("key", |_| (), STRANGER);
        forge("key, the record's", |_| (), RECORD);
        forge(
            "execution",
            |claims| {
                let exec = ExecutionId::new([9; 16]);
                claims.exec = exec;
                claims.jti = placet_artifact::claims::ArtifactId::of(exec);
                claims.txn = exec;
            },
            ARTIFACT,
        );
        forge(
            "intent",
            |claims| claims.intent = Digest::of(b"x"),
            ARTIFACT,
        );
        forge(
            "environment",
            |claims| claims.env = Digest::of(b"x"),
            ARTIFACT,
        );
        forge(
            "policy",
            |claims| claims.policy.bundle = Digest::of(b"x"),
            ARTIFACT,
        );
        forge(
            "principal",
            |claims| claims.sub = placet_types::PrincipalId::parse("user:eve").unwrap(),
            ARTIFACT,
        );
        forge(
            "domain",
            |claims| claims.iss = placet_types::DomainName::parse("other").unwrap(),
            ARTIFACT,
        );
        forge(
            "commitment",
            |claims| {
                claims.params =
                    placet_types::Commitment::to("x", b"x", &placet_types::Salt::new([1; 32]));
            },
            ARTIFACT,
        );
        forge(
            "scope",
            |claims| {
                let [detail] = &mut claims.authorization_details;
                detail.scope = detail.scope.changed(|scope| scope.env.clear()).unwrap();
            },
            ARTIFACT,
        );
    }
}

/// This entry as the record of the bundle, in a log of its own after the domain's first record.
fn as_record(world: &World, text: String) -> Vec<Value> {
    let [_, proven] = log(&[world.genesis_entry(), text]);
    vec![json!({ "pointer": "/record", "value": proven })]
}

/// The value with one thing altered, for every member in it.
fn alterations(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for pointer in pointers(value) {
        let old = value.pointer(&pointer).unwrap();
        let other = match old {
            Value::String(text) => json!(other_text(text)),
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::Bool(is) => json!(!is),
            Value::Null | Value::Array(_) | Value::Object(_) => json!("x"),
        };
        let mut altered = value.clone();
        *altered.pointer_mut(&pointer).unwrap() = other.clone();
        found.push((format!("{pointer} is {other}"), altered));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut altered = value.clone();
        if let Some(Value::Object(members)) = altered.pointer_mut(parent) {
            members.remove(name);
            found.push((format!("no {pointer}"), altered));
        }
        if old.is_object() {
            let mut altered = value.clone();
            altered.pointer_mut(&pointer).unwrap()["zz"] = json!(1);
            found.push((format!("{pointer} with an unknown member"), altered));
        }
    }
    let mut altered = value.clone();
    altered["zz"] = json!(1);
    found.push(("an unknown member".into(), altered));
    found
}

/// A text of the same shape.
fn other_text(text: &str) -> String {
    let last = if text.ends_with('0') { "1" } else { "0" };
    let mut other = text.to_owned();
    other.pop();
    other + last
}

/// Pointers to everything that is in a value.
fn pointers(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, one)| (name.clone(), one))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, one)| (at.to_string(), one))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let below = |(name, one): (String, &Value)| {
        let mut all = vec![format!("/{name}")];
        all.extend(
            pointers(one)
                .into_iter()
                .map(|below| format!("/{name}{below}")),
        );
        all
    };
    inner.into_iter().flat_map(below).collect()
}

/// The texts in a value.
fn texts(value: &Value) -> Vec<(String, String)> {
    let text = |pointer: String| {
        let text = value.pointer(&pointer)?.as_str()?.to_owned();
        Some((pointer, text))
    };
    pointers(value).into_iter().filter_map(text).collect()
}
