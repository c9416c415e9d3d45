//! One answer of several.

use serde_json::{Map, Value, json};

use super::names::{Kind, Names};
use super::replaced;
use crate::emit;
use crate::frame::{items, member, members, text_of};
use crate::method::Listed;

/// The opening of all servers together: what any of them can do, in the oldest revision that one of them
/// chose.
pub(super) fn openings(results: &[(usize, &str)], names: &[&str], is_discovery: bool) -> String {
    let all: Vec<(usize, Value)> = results
        .iter()
        .filter_map(|(part, result)| Some((*part, serde_json::from_str(result).ok()?)))
        .collect();
    let mut merged = Map::new();
    let mut capabilities = Value::Object(Map::new());
    let mut instructions = String::new();
    for (part, one) in &all {
        if let Some(own) = one.get("capabilities") {
            join(&mut capabilities, own);
        }
        if let Some(own) = one.get("instructions").and_then(Value::as_str) {
            let name = names.get(*part).copied().unwrap_or_default();
            instructions.push_str(&format!("# {name}\n\n{own}\n\n"));
        }
    }
    merged.insert("capabilities".into(), capabilities);
    let own = json!({ "name": "placet", "version": env!("CARGO_PKG_VERSION") });
    merged.insert("serverInfo".into(), own);
    if !instructions.is_empty() {
        merged.insert("instructions".into(), json!(instructions.trim_end()));
    }
    if is_discovery {
        merged.insert("supportedVersions".into(), json!(common_versions(&all)));
        merged.insert("resultType".into(), json!("complete"));
        merged.insert("cacheScope".into(), json!("private"));
        let ttl = all
            .iter()
            .filter_map(|(_, one)| one.get("ttlMs")?.as_u64())
            .min();
        merged.insert("ttlMs".into(), json!(ttl.unwrap_or_default()));
    } else {
        let version = all
            .iter()
            .filter_map(|(_, one)| one.get("protocolVersion")?.as_str())
            .min();
        merged.insert("protocolVersion".into(), json!(version));
    }
    Value::Object(merged).to_string()
}

/// What both can do.
fn join(into: &mut Value, other: &Value) {
    match (into, other) {
        (Value::Object(into), Value::Object(other)) => {
            for (name, value) in other {
                match into.get_mut(name) {
                    Some(own) => join(own, value),
                    None => drop(into.insert(name.clone(), value.clone())),
                }
            }
        }
        (into @ Value::Bool(false), Value::Bool(true)) => *into = json!(true),
        _ => {}
    }
}

fn common_versions(all: &[(usize, Value)]) -> Vec<String> {
    let of = |one: &Value| -> Vec<String> {
        let list = one.get("supportedVersions").and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut each = all.iter().map(|(_, one)| of(one));
    let first = each.next().unwrap_or_default();
    let rest: Vec<Vec<String>> = each.collect();
    let common = |version: &String| rest.iter().all(|other| other.contains(version));
    first.into_iter().filter(common).collect()
}

/// One list of all, each item under the name that it is shown with.
pub(super) fn lists(results: &[(usize, &str)], listed: Listed, names: &Names) -> String {
    let kind = Kind::of(listed);
    let mut shown = Vec::new();
    let (mut ttl, mut is_cacheable, mut is_typed): (Option<u64>, bool, bool) = (None, false, false);
    for (part, result) in results {
        let page = members(result).unwrap_or_default();
        let list = member(&page, listed.member()).and_then(|list| items(list).ok());
        for item in list.unwrap_or_default() {
            shown.extend(renamed(item, *part, kind, names));
        }
        is_cacheable |= member(&page, "cacheScope").is_some();
        is_typed |= member(&page, "resultType").is_some();
        let own = member(&page, "ttlMs").and_then(|ttl| ttl.parse().ok());
        ttl = ttl.into_iter().chain(own).min();
    }
    let list = format!("[{}]", shown.join(","));
    let ttl = ttl.map(|ttl| ttl.to_string());
    let mut members = vec![(listed.member(), list.as_str())];
    if let Some(ttl) = &ttl {
        members.push(("ttlMs", ttl));
    }
    if is_cacheable {
        members.push(("cacheScope", "\"private\""));
    }
    if is_typed {
        members.push(("resultType", "\"complete\""));
    }
    emit::object(members)
}

fn renamed(item: &str, part: usize, kind: Kind, names: &Names) -> Option<String> {
    let all = members(item).ok()?;
    let own = text_of(member(&all, kind.member())?)?.into_owned();
    let shown = names.shown(kind, part, &own);
    if shown == own {
        return Some(item.to_owned());
    }
    replaced(Some(item), kind.member(), &json!(shown).to_string())
}
