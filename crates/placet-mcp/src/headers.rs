//! Headers of Streamable HTTP that say what the body says (revision 2026-07-28): made of the body,
//! and compared with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_types::canonical::{Bounds as JsonBounds, Json};

use crate::frame::{Bounds, member, members, text_of};

/// Which session a request is of.
pub const SESSION: &str = "mcp-session-id";
/// Which revision a request is of.
pub const VERSION: &str = "mcp-protocol-version";
/// The method.
pub const METHOD: &str = "mcp-method";
/// What it is about.
pub const NAME: &str = "mcp-name";
/// Beginning of the headers that are arguments of a tool.
pub const PARAM: &str = "mcp-param-";
/// The member of `_meta` that names the revision.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Code of the error for headers and a body that disagree.
pub const MISMATCH: i64 = -32_020;
/// Members of a tool's schema that say which arguments are headers, in one tool.
const PARAMS_MAX: usize = 64;

/// An argument that is a header: its name, and where it stands.
pub type Mirrored = (String, Vec<String>);

/// The revision that the parameters of a request name, which is how a request without a session is
/// told from others.
#[must_use]
pub fn version_in(params: Option<&str>) -> Option<String> {
    let params = members(params?).ok()?;
    let meta = members(member(&params, "_meta")?).ok()?;
    text_of(member(&meta, META_VERSION)?).map(std::borrow::Cow::into_owned)
}

/// What `Mcp-Name` says of a request, where it says something.
#[must_use]
pub fn name_in(method: &str, params: Option<&str>) -> Option<String> {
    let name = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return None,
    };
    let params = members(params?).ok()?;
    text_of(member(&params, name)?).map(std::borrow::Cow::into_owned)
}

/// A value as a header.
#[must_use]
pub fn encoded(value: &str) -> String {
    let is_plain = value
        .bytes()
        .all(|byte| (0x20..=0x7e).contains(&byte) || byte == b'\t');
    let is_trimmed = value.trim_matches([' ', '\t']) == value;
    let is_marked = value.starts_with("=?base64?") && value.ends_with("?=");
    if is_plain && is_trimmed && !is_marked {
        return value.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(value))
}

/// The value that a header stands for.
#[must_use]
pub fn decoded(header: &str) -> Option<String> {
    match header
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
        None => Some(header.to_owned()),
    }
}

/// Which arguments of a tool are headers, by its definition; `None` of one that breaks a rule.
#[must_use]
pub fn mirrored(definition: &Json) -> Option<Vec<Mirrored>> {
    let mut found = Vec::new();
    if let Some(schema) = definition.get("inputSchema") {
        walk(schema, &mut Vec::new(), &mut found)?;
    }
    let mut names: Vec<String> = found.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    let whole = names.len();
    names.dedup();
    (names.len() == whole && whole <= PARAMS_MAX).then_some(found)
}

fn walk(schema: &Json, path: &mut Vec<String>, found: &mut Vec<Mirrored>) -> Option<()> {
    let Some(Json::Object(properties)) = schema.get("properties") else {
        return Some(());
    };
    for (name, property) in properties {
        path.push(name.clone());
        match property.get("x-mcp-header") {
            None => walk(property, path, found)?,
            Some(header) => {
                let header = header.as_str().filter(|header| is_token(header))?;
                let kind = property.get("type").and_then(Json::as_str)?;
                if !["string", "integer", "boolean"].contains(&kind) {
                    return None;
                }
                found.push((header.to_owned(), path.clone()));
            }
        }
        path.pop();
    }
    Some(())
}

fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(is_tchar)
}

/// The headers that the arguments of a call are.
#[must_use]
pub fn of_arguments(params: Option<&str>, mirrored: &[Mirrored]) -> Vec<(String, String)> {
    let bounds = JsonBounds {
        bytes_max: Bounds::REQUEST.bytes_max,
        depth_max: Bounds::REQUEST.depth_max,
    };
    let Some(Ok(params)) = params.map(|params| Json::parse(params.as_bytes(), bounds)) else {
        return Vec::new();
    };
    let value = |path: &[String]| {
        let begin = params.get("arguments");
        let found = path.iter().fold(begin, |at, name| at?.get(name))?;
        match found {
            Json::String(text) => Some(text.clone()),
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Number(_) => String::from_utf8(found.to_canonical()).ok(),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    };
    mirrored
        .iter()
        .filter_map(|(name, path)| {
            Some((
                format!("{PARAM}{name}").to_lowercase(),
                encoded(&value(path)?),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_headers_and_back() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encoded(value), header);
            assert_eq!(decoded(header).as_deref(), Some(value));
        }
        assert_eq!(decoded("=?base64?***?="), None);
    }

    #[test]
    fn arguments_are_headers_where_the_definition_says_so() {
        let json = |text: &str| {
            let bounds = JsonBounds {
                bytes_max: 10_000,
                depth_max: 20,
            };
            Json::parse(text.as_bytes(), bounds).unwrap()
        };
        let tool = json(
            r#"{"name":"q","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}}"#,
        );
        let found = mirrored(&tool).unwrap();
        let params = r#"{"name":"q","arguments":{"region":"é","deep":{"n":42.0},"other":1}}"#;
        let headers = of_arguments(Some(params), &found);
        assert!(headers.contains(&("mcp-param-region".into(), encoded("é"))));
        assert!(headers.contains(&("mcp-param-n".into(), "42".into())));
        for bad in [
            r#"{"inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}}"#,
            r#"{"inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A b"}}}}"#,
            r#"{"inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}}"#,
        ] {
            assert_eq!(mirrored(&json(bad)), None, "{bad}");
        }
    }
}
