//! Arguments of any shape, as policies see them: an entity whose tags are the arguments by name.
//!
//! What no schema describes is still typed by what it is. A path is offered in the one form that says
//! where it leads, so that a policy that compares its beginning cannot be talked past with `..`.

use std::collections::BTreeMap;

use cedar_policy::{Entity, RestrictedExpression};
use placet_types::call::Members;
use placet_types::canonical::Json;
use placet_types::{CallParams, uri};

use super::call::{DECIMAL_DIGITS, WHOLE_END};
use super::{Unusable, text, uid};

/// Entity type of the arguments, and of what was said beside them.
pub(super) const KIND: &str = "Arguments";
/// Arguments of one call, those that are nested included.
const ARGUMENTS_MAX: usize = 1024;

/// What a call has of it: the attribute of the context, the id of the entity, and what becomes its tags.
pub(super) fn of(
    params: &CallParams,
) -> impl Iterator<Item = (&'static str, &'static str, &Members)> {
    [
        ("args", "call", &params.arguments),
        ("meta", "meta", &params.meta),
    ]
    .into_iter()
    .filter_map(|(name, id, given)| Some((name, id, given.as_ref()?)))
}

/// The entity that the arguments are.
pub(super) fn entity(
    id: &str,
    arguments: &Members,
    workspace: Option<&str>,
) -> Result<Entity, Unusable> {
    let mut tags = BTreeMap::new();
    collect("", arguments, workspace, &mut tags)?;
    Entity::new_with_tags(uid(KIND, id)?, [], [], tags)
        .map_err(|error| Unusable::Value(error.to_string()))
}

/// The directory that the gateway says a server works on.
pub(super) fn workspace(params: &CallParams) -> Option<&str> {
    params.context.get("workspace").and_then(Json::as_str)
}

fn collect(
    prefix: &str,
    members: &Members,
    workspace: Option<&str>,
    tags: &mut BTreeMap<String, RestrictedExpression>,
) -> Result<(), Unusable> {
    for (name, value) in members {
        let name = format!("{prefix}{name}");
        if tags.len() >= ARGUMENTS_MAX {
            return Err(Unusable::Value(format!(
                "more than {ARGUMENTS_MAX} arguments"
            )));
        }
        if let Json::Object(members) = value {
            collect(&format!("{name}."), members, workspace, tags)?;
        }
        let made = argument(value, workspace)?;
        if tags.insert(name.clone(), made).is_some() {
            // `{"a.b": 1}` beside `{"a": {"b": 1}}`: a policy could not tell which it looks at.
            return Err(Unusable::Value(format!("two arguments read as `{name}`")));
        }
    }
    Ok(())
}

fn argument(value: &Json, workspace: Option<&str>) -> Result<RestrictedExpression, Unusable> {
    let mut fields = vec![("kind", text(kind(value))), ("text", text(&shown(value)))];
    match value {
        Json::Number(number) => fields.extend(numbers(*number)),
        Json::Bool(flag) => fields.push(("flag", RestrictedExpression::new_bool(*flag))),
        Json::String(said) => fields.extend(place(path_of(said), workspace)),
        Json::Array(items) => fields.extend(of_list(items, workspace)),
        Json::Null | Json::Object(_) => {}
    }
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    RestrictedExpression::new_record(fields).map_err(|error| Unusable::Value(error.to_string()))
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::String(said) => said.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            String::from_utf8(value.to_canonical()).unwrap_or_default()
        }
    }
}

type Field = (&'static str, RestrictedExpression);

fn numbers(number: f64) -> Vec<Field> {
    let mut fields = Vec::new();
    if number.fract() == 0.0 && number.abs() < WHOLE_END {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within 53 bits, as was just seen"
        )]
        let whole = number as i64;
        fields.push(("whole", RestrictedExpression::new_long(whole)));
    }
    let decimal = format!("{number:.DECIMAL_DIGITS$}");
    // Cedar's decimals end below 2^63 / 10^4.
    if number.abs() < 9e14 && decimal.parse() == Ok(number) {
        fields.push(("number", RestrictedExpression::new_decimal(decimal)));
    }
    fields
}

fn of_list(items: &[Json], workspace: Option<&str>) -> Vec<Field> {
    let is_scalar = |item: &Json| !matches!(item, Json::Array(_) | Json::Object(_) | Json::Null);
    let mut fields = Vec::new();
    if items.iter().all(is_scalar) {
        let texts = items.iter().map(|item| text(&shown(item)));
        fields.push(("items", RestrictedExpression::new_set(texts)));
    }
    let paths: Option<Vec<String>> = items
        .iter()
        .map(|item| item.as_str().and_then(path_of))
        .collect();
    let common = paths.and_then(|paths| paths.into_iter().reduce(|a, b| above(&a, &b)));
    fields.extend(place(common, workspace));
    fields
}

/// Where it leads, and whether that is in the workspace.
fn place(path: Option<String>, workspace: Option<&str>) -> Vec<Field> {
    let Some(path) = path else { return Vec::new() };
    let inside = workspace.map(|workspace| is_in(&path, workspace));
    let inside = inside.map(|inside| ("in_workspace", RestrictedExpression::new_bool(inside)));
    [("path", text(&path))].into_iter().chain(inside).collect()
}

/// The deepest path that both are, or are below.
fn above(a: &str, b: &str) -> String {
    let same = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b);
    let parts: Vec<&str> = same.map(|(part, _)| part).collect();
    if parts.len() < 2 {
        "/".to_owned()
    } else {
        parts.join("/")
    }
}

/// Where an absolute path or a `file:` URI leads.
fn path_of(said: &str) -> Option<String> {
    uri::file_path(said).or_else(|| uri::normal_path(said))
}

fn is_in(path: &str, workspace: &str) -> bool {
    let rest = path.strip_prefix(workspace);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_of_paths_has_in_common() {
        for (a, b, common) in [
            ("/data/a/x", "/data/a/y", "/data/a"),
            ("/data/a", "/data/ab", "/data"),
            ("/data", "/etc", "/"),
            ("/data/a", "/data/a", "/data/a"),
            ("/", "/data", "/"),
        ] {
            assert_eq!(above(a, b), common, "{a} {b}");
        }
    }

    #[test]
    fn what_is_in_the_workspace() {
        for (path, expected) in [
            ("/srv/data/a", Some(true)),
            ("/srv/data", Some(true)),
            ("/srv/data/./a//b", Some(true)),
            ("file:///srv/data/a", Some(true)),
            ("/srv/database/a", Some(false)),
            ("/srv/data/../etc/passwd", Some(false)),
            ("/", Some(false)),
            ("a/b", None),
        ] {
            let inside = path_of(path).map(|path| is_in(&path, "/srv/data"));
            assert_eq!(inside, expected, "{path}");
        }
    }

    #[test]
    fn two_arguments_of_one_name_are_no_arguments() {
        let read = |text: &str| {
            let json = Json::parse(text.as_bytes(), placet_types::canonical::Bounds::MESSAGE);
            let Ok(Json::Object(members)) = json else {
                panic!("an object");
            };
            entity("call", &members, None)
        };
        assert!(read(r#"{"a.b":1,"a":{"b":2}}"#).is_err());
        assert!(read(r#"{"a.c":1,"a":{"b":2}}"#).is_ok());
    }
}
