//! What policies see of an action that the bundle declares.
//!
//! The caller gives JSON; the bundle's schema says what it means. Where the schema says `decimal`,
//! `ipaddr`, `datetime` or `duration` the JSON is a string; a number with a fraction counts as one of
//! at most four digits behind the point. `null` is an absent attribute. What is not declared, is
//! missing or has another type makes the request unusable, and that denies.

use cedar_policy::{Context, Entity, RestrictedExpression, Schema};
use placet_types::canonical::Json;
use placet_types::{CallParams, ResourceRef};
use serde_json::{Map, Value, json};

use super::{Request, Unusable, arguments, uid};

/// Digits behind the point of Cedar's decimals.
pub(super) const DECIMAL_DIGITS: usize = 4;
/// Whole numbers below this are exact in a double (RFC 7493).
pub(super) const WHOLE_END: f64 = 9_007_199_254_740_992.0;

/// The common facts and the caller's attributes, held to the schema.
pub(super) fn context(
    request: &Request<'_>,
    params: &CallParams,
    common: &Context,
    schema: &Schema,
) -> Result<Context, Unusable> {
    let action = super::action(request.action)?;
    let common = common
        .to_json_value()
        .map_err(|error| Unusable::Value(error.to_string()))?;
    let Value::Object(mut members) = common else {
        return Err(Unusable::Value("a context is a record".into()));
    };
    for (name, id, _) in arguments::of(params) {
        let entity = json!({ "__entity": { "type": arguments::KIND, "id": id } });
        members.insert(name.to_owned(), entity);
    }
    for (name, value) in attributes(&params.context)? {
        // What the log says of the caller is not the caller's to say.
        if members.insert(name.clone(), value).is_some() {
            return Err(Unusable::Value(format!(
                "the attribute `{name}` is not the caller's to give"
            )));
        }
    }
    Context::from_json_value(Value::Object(members), Some((schema, &action)))
        .map_err(|error| Unusable::Value(error.to_string()))
}

/// The caller's attributes and arguments, if each is a text, a flag or a whole number.
pub(super) fn plain(
    params: &CallParams,
) -> Result<Option<Vec<(String, RestrictedExpression)>>, Unusable> {
    let mut all = Vec::with_capacity(params.context.len() + 1);
    for (name, value) in &params.context {
        let value = match value {
            Json::Bool(value) => RestrictedExpression::new_bool(*value),
            Json::String(text) => RestrictedExpression::new_string(text.clone()),
            Json::Number(value) => match number(*value)?.as_i64() {
                Some(whole) => RestrictedExpression::new_long(whole),
                None => return Ok(None),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => return Ok(None),
        };
        all.push((name.clone(), value));
    }
    for (name, id, _) in arguments::of(params) {
        if params.context.contains_key(name) {
            return Ok(None);
        }
        let uid = uid(arguments::KIND, id)?;
        all.push((name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
    }
    Ok(Some(all))
}

/// The resource as the caller describes it. It stands in no set.
pub(super) fn resource(
    resource: &ResourceRef,
    params: &CallParams,
    schema: &Schema,
) -> Result<Entity, Unusable> {
    let uid = uid(&resource.kind, &resource.id)?;
    let kind = uid.type_name().to_string();
    let entity = serde_json::json!({
        "uid": { "type": kind, "id": resource.id },
        "attrs": Value::Object(attributes(&params.resource)?),
        "parents": [],
    });
    Entity::from_json_value(entity, Some(schema))
        .map_err(|error| Unusable::Value(error.to_string()))
}

fn attributes(members: &placet_types::call::Members) -> Result<Map<String, Value>, Unusable> {
    members
        .iter()
        .filter(|(_, value)| **value != Json::Null)
        .map(|(name, value)| Ok((name.clone(), to_cedar(value)?)))
        .collect()
}

/// Attributes that came without [`CallParams`], which refuses reserved names.
pub(super) fn plain_attributes(
    members: &placet_types::call::Members,
) -> Result<Map<String, Value>, Unusable> {
    if CallParams::has_reserved(members) {
        let reason = "a name begins with `__`, which is reserved";
        return Err(Unusable::Value(reason.into()));
    }
    attributes(members)
}

/// The value as Cedar's JSON has it. Reserved names were refused when the parameters were read.
fn to_cedar(value: &Json) -> Result<Value, Unusable> {
    Ok(match value {
        Json::Null => return Err(Unusable::Value("Cedar has no null in a list".into())),
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => number(*value)?,
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(to_cedar).collect::<Result<_, _>>()?),
        Json::Object(members) => Value::Object(attributes(members)?),
    })
}

/// A whole number is Cedar's long. Any other is the text of a decimal, if it is one exactly.
fn number(value: f64) -> Result<Value, Unusable> {
    if let Some(whole) = whole(value) {
        return Ok(Value::from(whole));
    }
    let text = format!("{value:.DECIMAL_DIGITS$}");
    if value.abs() < WHOLE_END && text.parse() == Ok(value) {
        return Ok(Value::String(text));
    }
    Err(Unusable::Value(format!(
        "the number {value} is neither whole nor one of {DECIMAL_DIGITS} digits behind the point"
    )))
}

/// The number, if it is a whole one.
pub(super) fn whole(value: f64) -> Option<i64> {
    if value.fract() != 0.0 || value.abs() >= WHOLE_END {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within 53 bits, as was just seen"
    )]
    Some(value as i64)
}
