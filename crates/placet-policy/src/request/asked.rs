//! What policies see of a question.

use std::collections::{BTreeMap, HashSet};

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression, Schema};
use placet_types::call::Members;
use placet_types::canonical::Json;
use serde_json::{Map, Value};

use super::{Builder, Unusable, call, common, entity, text, uid};
use crate::entities::Entities as BundleEntities;
use crate::policy::{Asked, Declared, Mentions, Parts, Plain, describe};

/// The attribute of the context that holds what the action is done with.
const ACTION: &str = "action";

/// The declared ones of: what the node knows, what the action is done with, what the asker says. What
/// the node knows is not the asker's to say.
pub(crate) fn asked_context(
    asked: &Asked<'_>,
    action: &EntityUid,
    declared: &Declared,
    schema: &Schema,
) -> Result<Context, Unusable> {
    let names = declared.context(asked.action);
    let wanted = names
        .into_iter()
        .flatten()
        .map(|(name, _)| (name.clone(), Parts::All));
    let wanted = Mentions::Some(wanted.collect::<BTreeMap<_, _>>());
    let mut builder = Builder::new(&wanted);
    common(&asked.facts, (&[], 0, None), &mut builder)?;
    let facts = builder.finish()?.to_json_value();
    let facts = facts.map_err(|error| Unusable::Value(describe(&error)))?;
    let Value::Object(mut members) = facts else {
        return Err(Unusable::Value("a context is a record".into()));
    };
    let is_free = |name: &str, members: &Map<String, Value>| {
        declared.in_context(asked.action, name) && !members.contains_key(name)
    };
    if !asked.action_properties.is_empty() && is_free(ACTION, &members) {
        let properties = Value::Object(call::plain_attributes(asked.action_properties)?);
        members.insert(ACTION.to_owned(), properties);
    }
    let said: Members = asked
        .context
        .iter()
        .filter(|(name, _)| is_free(name, &members))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    members.extend(call::plain_attributes(&said)?);
    Context::from_json_value(Value::Object(members), Some((schema, action)))
        .map_err(|error| Unusable::Value(describe(&error)))
}

/// An entity of which only plain values are known: made without a look at the schema, which it is held
/// to where entities are put together. `None` where the schema says how something is to be read.
pub(crate) fn plain(uid: &EntityUid, given: &Members, declared: &Declared) -> Option<Entity> {
    let kind = uid.type_name().to_string();
    let attributes = given
        .iter()
        .map(|(name, value)| {
            let expression = match (declared.plain(&kind, name), value) {
                (Plain::String, Json::String(value)) => text(value),
                (Plain::Bool, Json::Bool(value)) => RestrictedExpression::new_bool(*value),
                (Plain::Long, Json::Number(value)) => {
                    RestrictedExpression::new_long(call::whole(*value)?)
                }
                (Plain::String | Plain::Bool | Plain::Long | Plain::No, _) => return None,
            };
            Some((name.clone(), expression))
        })
        .collect::<Option<_>>()?;
    Entity::new(uid.clone(), attributes, HashSet::new()).ok()
}

/// An entity as the directory has it, with what was filled in.
pub(crate) fn described(
    kind: &str,
    id: &str,
    stored: Option<&Map<String, Value>>,
    filled: &Members,
    schema: &Schema,
) -> Result<Entity, Unusable> {
    let part = |name: &str| stored.and_then(|json| json.get(name)).cloned();
    let mut attributes = match part("attrs") {
        Some(Value::Object(attributes)) => attributes,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        )
        | None => Map::new(),
    };
    attributes.extend(call::plain_attributes(filled)?);
    let json = serde_json::json!({
        "uid": { "type": kind, "id": id },
        "attrs": attributes,
        "parents": part("parents").unwrap_or_else(|| Value::Array(Vec::new())),
    });
    Entity::from_json_value(json, Some(schema)).map_err(|error| Unusable::Value(describe(&error)))
}

/// A program that is asked about: by its path, without a digest.
pub(crate) fn program_at(path: &str, bundle: &BundleEntities) -> Result<Entity, Unusable> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let attributes: [(&'static str, RestrictedExpression); 2] =
        [("name", text(name)), ("path", text(path))];
    let toolsets = bundle.toolsets_of(path);
    entity(
        uid("Program", path)?,
        attributes,
        toolsets.map(|name| uid("Toolset", name)),
    )
}
