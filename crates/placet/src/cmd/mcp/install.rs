//! The gateway in front of every server that a client's configuration names, and away again.
//!
//! A server is changed in place and back by the same rule, so what the user changes meanwhile stays. One
//! that is elsewhere stands, as it was, in the member `placet` of its entry, where the gateway reads it.
//! Before the first change the file is copied beside itself.

use std::fs;
use std::path::{Path, PathBuf};

use placet_types::PrincipalId;
use serde_json::{Map, Value, json};

use super::name::clean;
use crate::cli::Client;
use crate::context::program;
use crate::exit::{Failure, Status};
use crate::out::{DIM, GOOD, Out, WARN, paint};
use crate::show::{many, shown};

/// Ending of the copy.
const BACKUP: &str = "before-placet";

/// What became of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Made,
    /// It was so already.
    Already,
    /// It is of a kind that the gateway does not front.
    Other,
}

impl Client {
    /// Where its configuration is, the nearest first; and the member that holds the servers.
    fn files(self, home: &Path) -> (Vec<PathBuf>, &'static str) {
        let at = |path: &str| home.join(path);
        let here = |path: &str| PathBuf::from(path);
        match self {
            Self::ClaudeCode => (vec![here(".mcp.json"), at(".claude.json")], "mcpServers"),
            Self::ClaudeDesktop => (
                vec![
                    at(".config/Claude/claude_desktop_config.json"),
                    at("Library/Application Support/Claude/claude_desktop_config.json"),
                ],
                "mcpServers",
            ),
            Self::Cursor => (
                vec![here(".cursor/mcp.json"), at(".cursor/mcp.json")],
                "mcpServers",
            ),
            Self::Vscode => (
                vec![here(".vscode/mcp.json"), at(".config/Code/User/mcp.json")],
                "servers",
            ),
            Self::Windsurf => (vec![at(".codeium/windsurf/mcp_config.json")], "mcpServers"),
            Self::Gemini => (
                vec![here(".gemini/settings.json"), at(".gemini/settings.json")],
                "mcpServers",
            ),
        }
    }
}

pub(super) fn install(
    client: Client,
    principal: Option<&PrincipalId>,
    file: Option<&Path>,
    out: Out,
) -> Result<Status, Failure> {
    let program = program()?;
    let program = program
        .to_str()
        .ok_or_else(|| Failure::new("the path of this program is not text"))?;
    let (path, _) = find(client, file)?;
    let path = fs::canonicalize(path)?;
    let path = path
        .to_str()
        .ok_or_else(|| Failure::new("the path of the configuration is not text"))?;
    change(client, file, "put in front of", out, |name, server| {
        wrap(name, server, (program, path), principal)
    })
}

pub(super) fn uninstall(client: Client, file: Option<&Path>, out: Out) -> Result<Status, Failure> {
    change(client, file, "taken away from", out, |_, server| {
        unwrap(server)
    })
}

fn change(
    client: Client,
    file: Option<&Path>,
    what: &str,
    out: Out,
    each: impl Fn(&str, &mut Map<String, Value>) -> Change,
) -> Result<Status, Failure> {
    let (path, member) = find(client, file)?;
    let unread = |error: &dyn std::fmt::Display| {
        Failure::new(format!("{}: {error}", path.display()))
            .hint("comments are not JSON; change such a file by hand, as `placet mcp --help` shows")
    };
    let text = fs::read_to_string(&path).map_err(|error| unread(&error))?;
    let mut config: Value = serde_json::from_str(&text).map_err(|error| unread(&error))?;
    let servers = config.get_mut(member).and_then(Value::as_object_mut);
    let servers = servers.ok_or_else(|| unread(&format!("it has no `{member}`")))?;
    let mut changes = Vec::new();
    for (name, server) in servers.iter_mut() {
        if let Some(server) = server.as_object_mut() {
            changes.push((name.clone(), each(name, server)));
        }
    }
    let made = changes
        .iter()
        .filter(|(_, change)| *change == Change::Made)
        .count();
    if made > 0 {
        back_up(&path)?;
        let mut text = serde_json::to_string_pretty(&config)?;
        text.push('\n');
        replace(&path, &text)?;
    }
    let names = |wanted: Change| -> Vec<&str> {
        let of = changes.iter().filter(|(_, change)| *change == wanted);
        of.map(|(name, _)| name.as_str()).collect()
    };
    out.value(&json!({
        "file": path, "changed": names(Change::Made), "already": names(Change::Already),
        "left_alone": names(Change::Other),
    }));
    let count = many(u64::try_from(made).unwrap_or(u64::MAX), "server");
    out.line(format!(
        "{} {what} {count} in {}",
        paint(GOOD, "Placet"),
        path.display()
    ));
    for name in names(Change::Made) {
        out.line(format!("  {}", shown(name)));
    }
    for name in names(Change::Other) {
        let note = paint(WARN, "left alone: it has neither a command nor a URL");
        out.line(format!("  {} {note}", shown(name)));
    }
    if made > 0 {
        let copy = backup_of(&path);
        out.line(
            paint(
                DIM,
                format!("a copy from before the first change: {}", copy.display()),
            )
            .to_string(),
        );
        out.line(paint(DIM, "start the client again for it to count").to_string());
    }
    Ok(Status::Ok)
}

fn find(client: Client, file: Option<&Path>) -> Result<(PathBuf, &'static str), Failure> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let (files, member) = client.files(Path::new(&home));
    if let Some(file) = file {
        return Ok((file.to_owned(), member));
    }
    let found = files.iter().find(|path| path.is_file()).cloned();
    found.map(|path| (path, member)).ok_or_else(|| {
        let places: Vec<String> = files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Failure::new(format!(
            "there is no configuration at {}",
            places.join(" or ")
        ))
        .hint("name it with --file")
    })
}

/// The server as it is, behind the gateway.
fn wrap(
    name: &str,
    server: &mut Map<String, Value>,
    (program, path): (&str, &str),
    principal: Option<&PrincipalId>,
) -> Change {
    if is_wrapped(server) {
        return Change::Already;
    }
    if server.get("url").is_some_and(Value::is_string) && !server.contains_key("command") {
        return wrap_elsewhere(name, server, (program, path), principal);
    }
    let Some(command) = server.get("command").and_then(Value::as_str) else {
        return Change::Other;
    };
    let mut args = vec![json!("mcp"), json!("--name"), json!(clean(name))];
    if let Some(principal) = principal {
        args.extend([json!("--as"), json!(principal.as_str())]);
    }
    args.extend([json!("--"), json!(command)]);
    let own = server.get("args").and_then(Value::as_array);
    args.extend(own.into_iter().flatten().cloned());
    server.insert("command".to_owned(), json!(program));
    server.insert("args".to_owned(), Value::Array(args));
    Change::Made
}

/// A server elsewhere: as it was, inside of an entry that starts the gateway.
fn wrap_elsewhere(
    name: &str,
    server: &mut Map<String, Value>,
    (program, path): (&str, &str),
    principal: Option<&PrincipalId>,
) -> Change {
    if server.get("type").and_then(Value::as_str) == Some("sse") {
        return Change::Other;
    }
    let mut args = vec![json!("mcp"), json!("--config"), json!(path)];
    args.extend([json!("--server"), json!(name)]);
    if let Some(principal) = principal {
        args.extend([json!("--as"), json!(principal.as_str())]);
    }
    let was = std::mem::take(server);
    server.insert("command".to_owned(), json!(program));
    server.insert("args".to_owned(), Value::Array(args));
    server.insert("placet".to_owned(), json!({ "remote": was }));
    Change::Made
}

/// The server as it was.
fn unwrap(server: &mut Map<String, Value>) -> Change {
    let behind = server.get("placet").and_then(|own| own.get("remote"));
    if let (true, Some(was)) = (is_wrapped(server), behind.and_then(Value::as_object)) {
        *server = was.clone();
        return Change::Made;
    }
    if !server.contains_key("command") {
        return Change::Other;
    }
    if !is_wrapped(server) {
        return Change::Already;
    }
    let args = server.get("args").and_then(Value::as_array);
    let mut after = args
        .into_iter()
        .flatten()
        .skip_while(|arg| arg.as_str() != Some("--"))
        .skip(1)
        .cloned();
    let Some(command) = after.next() else {
        return Change::Already;
    };
    let args: Vec<Value> = after.collect();
    server.insert("command".to_owned(), command);
    server.insert("args".to_owned(), Value::Array(args));
    Change::Made
}

fn is_wrapped(server: &Map<String, Value>) -> bool {
    let command = server.get("command").and_then(Value::as_str);
    let is_ours = command
        .and_then(|command| Path::new(command).file_name())
        .is_some_and(|name| name == "placet");
    let first = server
        .get("args")
        .and_then(Value::as_array)
        .and_then(|args| args.first());
    is_ours && first.and_then(Value::as_str) == Some("mcp")
}

fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(BACKUP);
    name.into()
}

/// The copy is of what the user had: a later change does not replace it.
fn back_up(path: &Path) -> Result<(), Failure> {
    let copy = backup_of(path);
    if !copy.exists() {
        fs::copy(path, &copy)?;
    }
    Ok(())
}

/// In one step, with the permissions that it had.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let path = fs::canonicalize(path)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    fs::write(&partial, text)?;
    fs::set_permissions(&partial, fs::metadata(&path)?.permissions())?;
    fs::rename(&partial, &path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_wrapped_once_and_unwrapped_as_it_was() {
        let original = json!({
            "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/data"],
            "env": { "A": "1" }, "x": true,
        });
        let mut server = original.as_object().unwrap().clone();
        let agent = PrincipalId::parse("agent:coder").unwrap();
        let wrap = |server: &mut _| {
            wrap(
                "my files",
                server,
                ("/usr/bin/placet", "/home/ann/mcp.json"),
                Some(&agent),
            )
        };
        assert_eq!(wrap(&mut server), Change::Made);
        assert_eq!(server["command"], "/usr/bin/placet");
        let args = json!([
            "mcp",
            "--name",
            "my-files",
            "--as",
            "agent:coder",
            "--",
            "npx",
            "-y",
            "@modelcontextprotocol/server-filesystem",
            "/data",
        ]);
        assert_eq!(server["args"], args);
        assert_eq!(wrap(&mut server), Change::Already);
        assert_eq!(unwrap(&mut server), Change::Made);
        assert_eq!(Value::Object(server.clone()), original);
        assert_eq!(unwrap(&mut server), Change::Already);
        let remote = json!({ "type": "http", "url": "https://x", "headers": { "A": "${B}" } });
        let mut server = remote.as_object().unwrap().clone();
        assert_eq!(wrap(&mut server), Change::Made);
        let args = json!([
            "mcp",
            "--config",
            "/home/ann/mcp.json",
            "--server",
            "my files",
            "--as",
            "agent:coder",
        ]);
        assert_eq!(server["args"], args);
        assert_eq!(wrap(&mut server), Change::Already);
        assert_eq!(unwrap(&mut server), Change::Made);
        assert_eq!(Value::Object(server.clone()), remote);
        let mut other = json!({ "x": 1 }).as_object().unwrap().clone();
        assert_eq!(
            (wrap(&mut other), unwrap(&mut other)),
            (Change::Other, Change::Other)
        );
    }
}
