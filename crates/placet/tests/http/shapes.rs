//! Holds every reply that a test looks at to the OpenAPI document that the server itself gives out.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::client::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

/// Fails unless the reply has a status, a kind and a shape that the document has for this request.
pub(crate) fn hold(method: &str, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap();
    let Some((shown, operation)) = operation(method, path) else {
        assert!(
            [404, 405].contains(&answer.status),
            "{method} {path} is not documented and answers {}",
            answer.status
        );
        return;
    };
    let responses = &operation["responses"];
    let response = &responses[answer.status.to_string()];
    assert!(
        response.is_object(),
        "{method} {shown} answers {}, which is not documented: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    let Some(content) = response["content"].as_object() else {
        return;
    };
    let kind = answer.header("content-type").unwrap();
    let schema = content
        .get(kind)
        .or_else(|| content.get("*/*"))
        .unwrap_or_else(|| panic!("{method} {shown} answers {kind}"));
    if kind.ends_with("json") && answer.header("content-length") != Some("0") {
        let value = answer.json();
        if let Err(why) = fits(&value, &schema["schema"]) {
            panic!("{method} {shown}, {}: {why} in {value}", answer.status);
        }
    }
}

/// The operation of a request, by the templates of the document; the most literal one first.
fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let method = if method == "HEAD" { "GET" } else { method }.to_lowercase();
    let mut matching: Vec<_> = paths.iter().filter(|(one, _)| is_like(one, path)).collect();
    matching.sort_by_key(|(one, _)| one.matches('{').count());
    let (shown, methods) = matching.first()?;
    Some((shown.as_str(), methods.get(&method)?))
}

fn is_like(template: &str, path: &str) -> bool {
    if let Some(fixed) = template.strip_suffix("{tile}") {
        return path
            .strip_prefix(fixed)
            .is_some_and(|rest| !rest.is_empty());
    }
    let (mut one, mut other) = (template.split('/'), path.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(part), Some(own))
                if part == own || (part.starts_with('{') && !own.is_empty()) => {}
            _ => return false,
        }
    }
}

/// Whether a value has a shape. Knows the keywords that the document uses, and no other.
fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    if *schema == Value::Bool(true) {
        return Ok(());
    }
    let schema = schema.as_object().ok_or("a schema that is none")?;
    for (keyword, wanted) in schema {
        let holds = match keyword.as_str() {
            // A format is a hint (JSON Schema 2020-12, 7.2.1).
            "description" | "format" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().rsplit('/').next().unwrap();
                fits(value, &DOCUMENT["components"]["schemas"][name])?;
                true
            }
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "type" => match wanted.as_array() {
                Some(kinds) => kinds.iter().any(|kind| is_a(value, kind)),
                None => is_a(value, wanted),
            },
            "pattern" => value
                .as_str()
                .is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value
                .as_str()
                .is_none_or(|text| chars(text) >= wanted.as_u64()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| chars(text) <= wanted.as_u64()),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| Some(number) >= wanted.as_f64()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| Some(number) <= wanted.as_f64()),
            "oneOf" => {
                let all = wanted.as_array().unwrap().iter();
                all.filter(|one| fits(value, one).is_ok()).count() == 1
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(item, wanted)?;
                }
                true
            }
            "required" => value.as_object().is_none_or(|members| {
                let mut names = wanted.as_array().unwrap().iter();
                names.all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, shape) in wanted.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        fits(member, shape).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                others(value, schema, wanted)?;
                true
            }
            other => {
                return Err(format!(
                    "the keyword {other}, which this test does not know,"
                ));
            }
        };
        if !holds {
            return Err(format!("`{keyword}` does not hold: {wanted}"));
        }
    }
    Ok(())
}

fn chars(text: &str) -> Option<u64> {
    u64::try_from(text.chars().count()).ok()
}

fn others(value: &Value, schema: &Map<String, Value>, wanted: &Value) -> Result<(), String> {
    let known = schema.get("properties").and_then(Value::as_object);
    let unknown = value.as_object().into_iter().flatten();
    for (name, member) in
        unknown.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
    {
        if *wanted == Value::Bool(false) {
            return Err(format!("the member {name}, which is not documented,"));
        }
        fits(member, wanted)?;
    }
    Ok(())
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("a type that there is not: {other}"),
    }
}

#[test]
fn a_reply_of_another_shape_is_noticed() {
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["a"],
        "properties": { "a": { "type": "integer", "minimum": 1 }, "b": { "enum": ["x"] } },
    });
    let fits = |text: &str| fits(&serde_json::from_str(text).unwrap(), &schema).is_ok();
    assert!(fits(r#"{"a":1}"#) && fits(r#"{"a":2,"b":"x"}"#));
    for odd in [
        "[]",
        "{}",
        r#"{"a":0}"#,
        r#"{"a":"1"}"#,
        r#"{"a":1,"b":"y"}"#,
        r#"{"a":1,"c":1}"#,
    ] {
        assert!(!fits(odd), "{odd}");
    }
}
