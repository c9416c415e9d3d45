//! One server of a client, put behind the gateway and back: by rules that are each other's reverse.

use std::path::Path;

use placet_types::PrincipalId;
use serde_json::{Map, Value, json};

use super::super::name::clean;

/// What became of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Made,
    /// It was so already.
    Already,
    /// The gateway does not front it, and why.
    Other(&'static str),
}

/// What stands before a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gateway<'a> {
    /// This program.
    pub(super) program: &'a str,
    /// The configuration of the client, in which the gateway itself finds servers at a URL; `None` where it does not
    /// read it.
    pub(super) config: Option<&'a str>,
    /// As whom.
    pub(super) principal: Option<&'a PrincipalId>,
    /// Whether a `url` without a `type` is the older transport, to this client.
    pub(super) bare_url_is_old: bool,
}

/// Where an entry may say where its server is.
pub(super) const URLS: [&str; 3] = ["url", "httpUrl", "serverUrl"];

impl Gateway<'_> {
    /// The server as it is, behind the gateway. `project` is the directory that the client has it for.
    pub(super) fn wrap(
        self,
        (project, name): (Option<&str>, &str),
        server: &mut Map<String, Value>,
    ) -> Change {
        if is_wrapped(server) {
            return Change::Already;
        }
        let is_elsewhere = URLS
            .iter()
            .any(|url| server.get(*url).is_some_and(Value::is_string));
        if is_elsewhere && !server.contains_key("command") {
            return self.wrap_elsewhere((project, name), server);
        }
        let Some(command) = server.get("command").and_then(Value::as_str) else {
            return Change::Other("it has neither a command nor a URL");
        };
        let mut args = vec![json!("mcp"), json!("--name"), json!(clean(name))];
        self.as_whom(&mut args);
        args.extend([json!("--"), json!(command)]);
        let own = server.get("args").and_then(Value::as_array);
        args.extend(own.into_iter().flatten().cloned());
        server.insert("command".to_owned(), json!(self.program));
        server.insert("args".to_owned(), Value::Array(args));
        Change::Made
    }

    /// A server elsewhere: as it was, inside of an entry that starts the gateway.
    fn wrap_elsewhere(
        self,
        (project, name): (Option<&str>, &str),
        server: &mut Map<String, Value>,
    ) -> Change {
        let Some(config) = self.config else {
            return Change::Other(
                "it is at a URL: put it into a file with `mcpServers`, and `placet mcp --config` before it",
            );
        };
        let kind = server.get("type").and_then(Value::as_str);
        let is_bare = kind.is_none() && server.contains_key("url");
        if kind == Some("sse") || is_bare && self.bare_url_is_old {
            return Change::Other("it speaks the older transport, SSE");
        }
        let mut args = vec![json!("mcp"), json!("--config"), json!(config)];
        if let Some(project) = project {
            args.extend([json!("--project"), json!(project)]);
        }
        args.extend([json!("--server"), json!(name)]);
        self.as_whom(&mut args);
        let was = std::mem::take(server);
        server.insert("command".to_owned(), json!(self.program));
        server.insert("args".to_owned(), Value::Array(args));
        server.insert("placet".to_owned(), json!({ "remote": was }));
        Change::Made
    }

    fn as_whom(self, args: &mut Vec<Value>) {
        if let Some(principal) = self.principal {
            args.extend([json!("--as"), json!(principal.as_str())]);
        }
    }
}

/// The server as it was.
pub(super) fn unwrap(server: &mut Map<String, Value>) -> Change {
    let behind = server.get("placet").and_then(|own| own.get("remote"));
    if let (true, Some(was)) = (is_wrapped(server), behind.and_then(Value::as_object)) {
        *server = was.clone();
        return Change::Made;
    }
    if !server.contains_key("command") {
        return Change::Already;
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
        let gateway = Gateway {
            program: "/usr/bin/placet",
            config: Some("/home/ann/mcp.json"),
            principal: Some(&agent),
            bare_url_is_old: false,
        };
        let wrap = |server: &mut _| gateway.wrap((None, "my files"), server);
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
        assert!(matches!(wrap(&mut other), Change::Other(_)));
        assert_eq!(unwrap(&mut other), Change::Already);
    }

    #[test]
    fn where_a_server_is_each_client_says_in_its_way() {
        let gateway = Gateway {
            program: "/usr/bin/placet",
            config: Some("/c.json"),
            principal: None,
            bare_url_is_old: false,
        };
        let of = |entry: Value| entry.as_object().unwrap().clone();
        let project = Some("/home/ann/p");
        for url in ["httpUrl", "serverUrl"] {
            let was = of(json!({ url: "https://x/mcp", "timeout": 5 }));
            let mut server = was.clone();
            assert_eq!(gateway.wrap((project, "hub"), &mut server), Change::Made);
            let args = json!([
                "mcp",
                "--config",
                "/c.json",
                "--project",
                "/home/ann/p",
                "--server",
                "hub"
            ]);
            assert_eq!(server["args"], args);
            assert_eq!(unwrap(&mut server), Change::Made);
            assert_eq!(server, was);
        }
        // What it cannot front stays as it is.
        let older = Gateway {
            bare_url_is_old: true,
            ..gateway
        };
        let blind = Gateway {
            config: None,
            ..gateway
        };
        for (gateway, entry) in [
            (older, json!({ "url": "https://x/sse" })),
            (gateway, json!({ "type": "sse", "url": "https://x/sse" })),
            (blind, json!({ "url": "https://x/mcp" })),
            (gateway, json!({ "command": { "path": "x" } })),
        ] {
            let mut server = of(entry.clone());
            let change = gateway.wrap((None, "x"), &mut server);
            assert!(matches!(change, Change::Other(_)), "{entry}");
            assert_eq!(Value::Object(server), entry);
        }
    }
}
