//! `directory.json`: subjects and resources that questions may be about, with their attributes, as
//! Cedar's own JSON has entities.
//!
//! What the directory says of an entity stands; what whoever asks says of it only fills in what the
//! directory leaves out. A search looks through the directory and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Entities, Entity, EntityUid, Schema};
use placet_types::Question;
use placet_types::canonical::{Bounds, Json};
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::request::uid;

pub(crate) const FILE: &str = "directory.json";

/// Most entities of a directory.
pub const ENTITIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 << 20;
const DEPTH_MAX: usize = 16;
/// Kinds that are defined elsewhere: by the log, or by entities.toml.
const ELSEWHERE: [&str; 7] = [
    "Action",
    "Group",
    "Principal",
    "Program",
    "Question",
    "Toolset",
    "Wordlist",
];

/// The entities of a bundle's directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// By kind and id.
    kinds: BTreeMap<String, BTreeMap<String, Stored>>,
    entities: Option<Entities>,
}

/// One entity.
#[derive(Clone, Debug)]
struct Stored {
    /// As the file has it.
    json: Map<String, Value>,
    /// The entities of the directory that it names, which policies may look at through it.
    names: Vec<EntityUid>,
}

impl Directory {
    /// Reads the file against the schema; `base` holds what entities.toml defines.
    pub(crate) fn read(text: &str, schema: &Schema, base: &Entities) -> Result<Self, Vec<Problem>> {
        let bad = |message: String| vec![Problem::error(FILE, "directory", message)];
        let bounds = Bounds {
            bytes_max: BYTES_MAX,
            depth_max: DEPTH_MAX,
        };
        // No member twice, no number that readers read differently.
        Json::parse(text.as_bytes(), bounds).map_err(|error| bad(error.to_string()))?;
        let json: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let Value::Array(list) = json else {
            return Err(bad("the directory is an array of entities".into()));
        };
        if list.len() > ENTITIES_MAX {
            return Err(bad(format!("there are more than {ENTITIES_MAX} entities")));
        }
        let mut kinds: BTreeMap<String, BTreeMap<String, Stored>> = BTreeMap::new();
        for entity in &list {
            let (kind, id, stored) = stored(entity).map_err(bad)?;
            if kinds
                .entry(kind.clone())
                .or_default()
                .insert(id.clone(), stored)
                .is_some()
            {
                return Err(bad(format!("{kind}::\"{id}\" stands twice")));
            }
        }
        let entities = Entities::from_json_value(Value::Array(list), Some(schema))
            .map_err(|error| bad(crate::policy::describe(&error)))?;
        let mut directory = Self {
            kinds,
            entities: Some(entities),
        };
        directory.check_parents(base).map_err(bad)?;
        directory.keep_own_names();
        Ok(directory)
    }

    /// The entity of this kind and id.
    pub(crate) fn get(&self, uid: &EntityUid) -> Option<&Entity> {
        self.entities.as_ref()?.get(uid)
    }

    /// The entity as the file has it.
    pub(crate) fn json(&self, kind: &str, id: &str) -> Option<&Map<String, Value>> {
        self.stored(kind, id).map(|stored| &stored.json)
    }

    /// Names of the entities of a kind, in order, from the one at this place on.
    pub(crate) fn ids(&self, kind: &str, begin: usize) -> impl Iterator<Item = &str> {
        let ids = self.kinds.get(kind).into_iter().flatten();
        ids.map(|(id, _)| id.as_str()).skip(begin)
    }

    /// Everything of the directory that can be reached from these, these included.
    pub(crate) fn reached(&self, from: impl Iterator<Item = EntityUid>) -> BTreeSet<EntityUid> {
        let (mut open, mut seen): (Vec<EntityUid>, BTreeSet<EntityUid>) =
            (from.collect(), BTreeSet::new());
        while let Some(uid) = open.pop() {
            let Some(stored) = self.of(&uid) else {
                continue;
            };
            if seen.insert(uid) {
                open.extend(stored.names.iter().cloned());
            }
        }
        seen
    }

    fn of(&self, uid: &EntityUid) -> Option<&Stored> {
        self.stored(&uid.type_name().to_string(), uid.id().as_ref())
    }

    fn stored(&self, kind: &str, id: &str) -> Option<&Stored> {
        self.kinds.get(kind)?.get(id)
    }

    /// A parent that is not there would put nobody in nothing.
    fn check_parents(&self, base: &Entities) -> Result<(), String> {
        for (kind, ids) in &self.kinds {
            for (id, stored) in ids {
                for parent in parents(&stored.json) {
                    let parent = named(parent)
                        .ok_or_else(|| format!("a parent of {kind}::\"{id}\" is no entity"))?;
                    if base.get(&parent).is_none() && self.of(&parent).is_none() {
                        return Err(format!(
                            "{kind}::\"{id}\" stands in {parent}, which is not defined"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn keep_own_names(&mut self) {
        let known: BTreeSet<EntityUid> = self
            .entities
            .iter()
            .flat_map(Entities::iter)
            .map(Entity::uid)
            .collect();
        for stored in self.kinds.values_mut().flat_map(BTreeMap::values_mut) {
            stored.names.retain(|name| known.contains(name));
        }
    }
}

fn stored(entity: &Value) -> Result<(String, String, Stored), String> {
    let Value::Object(json) = entity else {
        return Err("an entity is an object with `uid`, `attrs` and `parents`".into());
    };
    if let Some(other) = json
        .keys()
        .find(|name| !["uid", "attrs", "parents"].contains(&name.as_str()))
    {
        return Err(format!(
            "an entity has `uid`, `attrs` and `parents`, and no `{other}`"
        ));
    }
    let uid = json.get("uid").ok_or("an entity lacks its `uid`")?;
    let text = |name: &str| {
        uid.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (kind, id) = (text("type"), text("id"));
    let kind_ok = (1..=Question::KIND_BYTES_MAX).contains(&kind.len());
    if !kind_ok || !(1..=Question::ID_BYTES_MAX).contains(&id.len()) {
        return Err(
            "a `uid` is `{\"type\": …, \"id\": …}`, of 1 to 128 and 1 to 4096 bytes".into(),
        );
    }
    if ELSEWHERE.contains(&kind.as_str()) {
        return Err(format!(
            "{kind}::\"{id}\": entities of this kind are not defined here"
        ));
    }
    let mut names = Vec::new();
    json.iter()
        .filter(|(name, _)| *name != "uid")
        .for_each(|(_, value)| collect_names(value, &mut names));
    let json = json.clone();
    Ok((kind, id, Stored { json, names }))
}

fn parents(json: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    json.get("parents")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Everything below that could be the name of an entity.
fn collect_names(value: &Value, to: &mut Vec<EntityUid>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, to)),
        Value::Object(members) => {
            to.extend(named(value));
            members
                .values()
                .for_each(|member| collect_names(member, to));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn named(value: &Value) -> Option<EntityUid> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    uid(text("type")?, text("id")?).ok()
}
