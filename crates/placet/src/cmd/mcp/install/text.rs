//! A configuration as its user wrote it: only what changes is written anew, comments and order stay.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::{Map, Value};
use toml_edit::{Array, DocumentMut, Item, TableLike};

use super::clients::{Format, Manner};
use super::entry::Change;

/// What is done with one server: of which directory, of which name.
pub(super) type Each<'a> = dyn FnMut((Option<&str>, &str), &mut Map<String, Value>) -> Change + 'a;

/// The text with each server changed; `None` where it has none.
pub(super) fn change(
    text: &str,
    manner: Manner,
    each: &mut Each<'_>,
) -> Result<Option<String>, String> {
    match manner.format {
        Format::Json => json(text, manner, each),
        Format::Toml => toml(text, manner.member, each),
    }
}

fn json(text: &str, manner: Manner, each: &mut Each<'_>) -> Result<Option<String>, String> {
    let options = ParseOptions::default();
    let root = CstRootNode::parse(text, &options).map_err(|error| error.to_string())?;
    let whole = root.object_value().ok_or("it is no object")?;
    let mut holders = Vec::new();
    holders.extend(
        whole
            .object_value(manner.member)
            .map(|servers| (None, servers)),
    );
    let projects = manner.by_project.and_then(|name| whole.object_value(name));
    for project in projects.iter().flat_map(CstObject::properties) {
        let servers = project.object_value();
        let servers = servers.and_then(|it| it.object_value(manner.member));
        holders.extend(servers.map(|servers| (project.decoded_name(), servers)));
    }
    if holders.is_empty() {
        return Ok(None);
    }
    for (project, servers) in holders {
        for property in servers.properties() {
            let (Some(name), Some(server)) = (property.decoded_name(), property.object_value())
            else {
                continue;
            };
            let Some(Value::Object(before)) = server.to_serde_value() else {
                continue;
            };
            let mut after = before.clone();
            if each((project.as_deref(), &name), &mut after) == Change::Made {
                replace(&server, &before, &after);
            }
        }
    }
    Ok(Some(root.to_string()))
}

fn replace(server: &CstObject, before: &Map<String, Value>, after: &Map<String, Value>) {
    for (name, value) in after {
        match server.get(name) {
            Some(_) if before.get(name) == Some(value) => {}
            Some(property) => property.set_value(input(value)),
            None => drop(server.append(name, input(value))),
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        if let Some(property) = server.get(name) {
            property.remove();
        }
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => {
            let members = members.iter();
            CstInputValue::Object(members.map(|(n, v)| (n.clone(), input(v))).collect())
        }
    }
}

fn toml(text: &str, member: &str, each: &mut Each<'_>) -> Result<Option<String>, String> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| error.to_string())?;
    let Some(servers) = document.get_mut(member).and_then(Item::as_table_like_mut) else {
        return Ok(None);
    };
    for (name, server) in servers.iter_mut() {
        let Some(server) = server.as_table_like_mut() else {
            continue;
        };
        let mut seen = read(server);
        if each((None, name.get()), &mut seen) == Change::Made {
            write(server, &seen);
        }
    }
    Ok(Some(document.to_string()))
}

/// What of a server is looked at.
fn read(server: &dyn TableLike) -> Map<String, Value> {
    let text = |item: &Item| item.as_str().map(Value::from);
    let mut seen = Map::new();
    for name in ["command", "type", "url"] {
        seen.extend(
            server
                .get(name)
                .and_then(text)
                .map(|it| (name.to_owned(), it)),
        );
    }
    let args = server.get("args").and_then(Item::as_array);
    if let Some(args) = args {
        let args = args.iter().filter_map(|arg| arg.as_str().map(Value::from));
        seen.insert("args".to_owned(), Value::Array(args.collect()));
    }
    seen
}

fn write(server: &mut dyn TableLike, seen: &Map<String, Value>) {
    if let Some(command) = seen.get("command").and_then(Value::as_str) {
        put(server, "command", command.into());
    }
    if let Some(args) = seen.get("args").and_then(Value::as_array) {
        let args: Array = args.iter().filter_map(Value::as_str).collect();
        put(server, "args", args.into());
    }
}

/// In the place of what was there, with what stands around that.
fn put(server: &mut dyn TableLike, name: &str, mut value: toml_edit::Value) {
    match server.get_mut(name).and_then(Item::as_value_mut) {
        Some(known) => {
            *value.decor_mut() = known.decor().clone();
            *known = value;
        }
        None => drop(server.insert(name, Item::Value(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Gateway, unwrap};
    use super::*;
    use crate::cli::Client;

    fn there_and_back(client: Client, text: &str) -> String {
        let manner = client.manner();
        let gateway = Gateway {
            program: "/usr/bin/placet",
            config: (manner.format == Format::Json).then_some("/c.json"),
            principal: None,
            bare_url_is_old: manner.bare_url_is_old,
        };
        let wrap: &mut Each<'_> = &mut |place, server| gateway.wrap(place, server);
        let there = change(text, manner, wrap).unwrap().unwrap();
        let back = change(&there, manner, &mut |_, server| unwrap(server));
        assert_eq!(back.unwrap().unwrap(), text, "{there}");
        there
    }

    #[test]
    fn comments_and_order_stay_and_what_was_there_comes_back() {
        let zed = "{\n  // mine\n  \"theme\": \"dark\",\n  \"context_servers\": {\n    \"files\": {\n      \"command\": \"npx\", // runs it\n      \"args\": [\"-y\", \"fs\"],\n      \"env\": {},\n    },\n  },\n}\n";
        let there = there_and_back(Client::Zed, zed);
        assert!(
            there.contains("// mine") && there.contains("// runs it"),
            "{there}"
        );
        assert!(there.contains(r#""command": "/usr/bin/placet""#), "{there}");
        let codex = "# mine\nmodel = \"x\"\n\n[mcp_servers.files] # runs it\ncommand = \"npx\" # a runner\nargs = [\"-y\", \"fs\"]\nstartup_timeout_sec = 20\n\n[mcp_servers.files.env]\nA = \"1\"\n\n[mcp_servers.hub]\nurl = \"https://x/mcp\"\n";
        let there = there_and_back(Client::Codex, codex);
        for kept in [
            "# mine",
            "# runs it",
            "# a runner",
            "url = \"https://x/mcp\"",
            "command = \"/usr/bin/placet\"",
        ] {
            assert!(there.contains(kept), "{kept}: {there}");
        }
    }

    #[test]
    fn claude_code_has_servers_by_directory_too() {
        let text = r#"{"numStartups":3,"projects":{"/p":{"mcpServers":{"a":{"command":"x","args":[]}}},"/q":{}},"mcpServers":{"b":{"command":"y","args":["z"]}}}"#;
        let there = there_and_back(Client::ClaudeCode, text);
        assert_eq!(there.matches("/usr/bin/placet").count(), 2, "{there}");
        assert_eq!(
            change("{}", Client::ClaudeCode.manner(), &mut |_, _| {
                Change::Already
            }),
            Ok(None)
        );
        assert!(
            change("[1]", Client::ClaudeCode.manner(), &mut |_, _| {
                Change::Already
            })
            .is_err()
        );
    }
}
