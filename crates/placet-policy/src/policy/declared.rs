//! What a schema declares of contexts and entities, by name.
//!
//! Whoever asks a question may say more than a schema knows (AuthZEN: what is unknown is ignored). No
//! policy can look at what is not declared, so leaving it out changes no answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Names of attributes; `None` where the schema says it in a way that is not followed here, and
/// Cedar alone judges.
pub(crate) type Names = Option<BTreeMap<String, Plain>>;

/// What a value of an attribute is, where that needs no look at the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// `Bool`
    Bool,
    /// `Long`
    Long,
    /// `String`
    String,
    /// Anything else: the schema says how its JSON is read.
    No,
}

/// Attributes by action and by entity type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    contexts: BTreeMap<String, Names>,
    kinds: BTreeMap<String, Names>,
}

impl Declared {
    /// Adds what a fragment declares, as Cedar's JSON has it.
    pub(super) fn add(&mut self, fragment: &Value) {
        for (namespace, content) in fragment.as_object().into_iter().flatten() {
            let types = content.get("commonTypes").and_then(Value::as_object);
            for (name, kind) in part(content, "entityTypes") {
                let names = attributes(kind.get("shape"), types);
                let name = if namespace.is_empty() {
                    name.clone()
                } else {
                    format!("{namespace}::{name}")
                };
                self.kinds.insert(name, names);
            }
            // Only actions of the unnamed namespace can be asked about.
            for (name, action) in part(content, "actions").filter(|_| namespace.is_empty()) {
                let names = attributes(action.pointer("/appliesTo/context"), types);
                self.contexts.insert(name.clone(), names);
            }
        }
    }

    /// Whether an attribute of the context of this action can matter.
    pub(crate) fn in_context(&self, action: &str, name: &str) -> bool {
        has(self.contexts.get(action), name)
    }

    /// The attributes of the context of this action, where they are known.
    pub(crate) fn context(&self, action: &str) -> Option<&BTreeMap<String, Plain>> {
        self.contexts.get(action)?.as_ref()
    }

    /// Whether the schema has entities of this kind.
    pub(crate) fn has_kind(&self, kind: &str) -> bool {
        self.kinds.contains_key(kind)
    }

    /// What a value of an attribute of an entity of this kind is.
    pub(crate) fn plain(&self, kind: &str, name: &str) -> Plain {
        let names = self.kinds.get(kind).and_then(Option::as_ref);
        let plain = names.and_then(|names| names.get(name));
        plain.copied().unwrap_or(Plain::No)
    }

    /// Whether an attribute of an entity of this kind can matter.
    pub(crate) fn in_kind(&self, kind: &str, name: &str) -> bool {
        has(self.kinds.get(kind), name)
    }
}

fn has(names: Option<&Names>, name: &str) -> bool {
    names.is_some_and(|names| names.as_ref().is_none_or(|names| names.contains_key(name)))
}

fn part<'a>(content: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    content
        .get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// The attributes of a record, or of the common type that stands for one.
fn attributes(shape: Option<&Value>, types: Option<&Map<String, Value>>) -> Names {
    let Some(shape) = shape else {
        return Some(BTreeMap::new());
    };
    if let Some(attributes) = shape.get("attributes").and_then(Value::as_object) {
        let closed = !shape
            .get("additionalAttributes")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        return closed.then(|| named(attributes));
    }
    let text = |name: &str| shape.get(name).and_then(Value::as_str);
    let name = match text("type")? {
        "Record" => return Some(BTreeMap::new()),
        "EntityOrCommon" => text("name")?,
        name => name,
    };
    types?
        .get(name)?
        .get("attributes")
        .and_then(Value::as_object)
        .map(named)
}

fn named(attributes: &Map<String, Value>) -> BTreeMap<String, Plain> {
    let each = attributes.iter();
    each.map(|(name, of)| (name.clone(), plain(of))).collect()
}

fn plain(attribute: &Value) -> Plain {
    let text = |name: &str| attribute.get(name).and_then(Value::as_str);
    let kind = match text("type") {
        // Nobody can give these names another meaning.
        Some("EntityOrCommon") => text("name").map(|name| name.trim_start_matches("__cedar::")),
        kind => kind,
    };
    match kind {
        Some("Bool" | "Boolean") => Plain::Bool,
        Some("Long") => Plain::Long,
        Some("String") => Plain::String,
        Some(_) | None => Plain::No,
    }
}
