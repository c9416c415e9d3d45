//! The servers of a client's configuration, in the format that clients share (`mcpServers`).
//!
//! Members that are not known belong to some client and are passed over. What decides which server is
//! spoken to is read strictly; comments are passed over, as clients do.

mod comments;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use placet_types::canonical::{Bounds, Json};
use placet_types::{PeerRule, ProfileName};

/// Longest configuration, in bytes.
const BYTES_MAX: usize = 4 << 20;
/// Servers that one gateway fronts.
const SERVERS_MAX: usize = 64;
/// Variables that would change the program that stands before the server, not only the server.
const NOT_FOR_SERVERS: [&str; 9] = [
    "LD_",
    "PLACET_",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "MALLOC_",
    "LOCPATH",
    "NLSPATH",
    "RES_OPTIONS",
    "HOSTALIASES",
];
/// Members that say where a server is, each as some clients call it.
const URLS: [&str; 3] = ["url", "httpUrl", "serverUrl"];
/// Headers that are the transport's own.
const NOT_FOR_HEADERS: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "accept",
    "last-event-id",
    "expect",
    "proxy-authorization",
];

/// Why a configuration is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not strict JSON.
    #[error("it is not strict JSON: {0}")]
    Json(String),
    /// No servers.
    #[error(
        "it names no such server: `mcpServers` must be an object with 1 to {SERVERS_MAX} of them"
    )]
    NoServers,
    /// One server is none.
    #[error("the server `{0}`: {1}")]
    Server(String, String),
}

/// A server, by what the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as policies and records use it.
    pub name: String,
    /// How it is reached.
    pub reach: Reach,
    /// Asked for as the scope of the server.
    pub profile: Option<ProfileName>,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A program on this machine.
    Program {
        /// Command and arguments.
        argv: Vec<String>,
        /// Variables that it may get where its profile passes them on.
        env: BTreeMap<String, String>,
        /// The directory that it works in; absent for the gateway's own.
        cwd: Option<PathBuf>,
    },
    /// An endpoint elsewhere.
    Elsewhere {
        /// Its URL.
        url: String,
        /// Headers of every request, with `${NAME}` where a credential or a variable stands.
        headers: BTreeMap<String, String>,
        /// Authorities that it is checked against, in PEM; absent for the system's.
        ca: Option<PathBuf>,
        /// How to log in to it.
        oauth: Login,
    },
}

/// How to log in to a server elsewhere. All of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// A client that the authorization server knows already.
    pub client_id: Option<String>,
    /// What it proves itself with, with `${NAME}` where a variable stands.
    pub client_secret: Option<String>,
    /// The port that the browser answers at; a free one where it is absent.
    pub port: Option<u16>,
    /// What to ask for.
    pub scope: Option<String>,
    /// Addresses that are not of the public internet, which may be asked all the same.
    pub reach: BTreeSet<PeerRule>,
}

/// Which servers of a configuration are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick<'a> {
    /// Only the one of this name.
    pub only: Option<&'a str>,
    /// Those that it has for this directory.
    pub project: Option<&'a str>,
}

/// Reads a configuration, or one server of it. `variable` gives the gateway's own variables.
///
/// # Errors
///
/// [`ConfigError`]
pub fn read(
    bytes: &[u8],
    Pick { only, project }: Pick<'_>,
    clean: impl Fn(&str) -> String,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Entry>, ConfigError> {
    let bounds = Bounds {
        bytes_max: BYTES_MAX,
        depth_max: 32,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| ConfigError::Json(error.to_string()))?;
    let plain = comments::without(text);
    let config = Json::parse(plain.as_bytes(), bounds)
        .map_err(|error| ConfigError::Json(error.to_string()))?;
    let holder = match project {
        None => Some(&config),
        Some(project) => config.get("projects").and_then(|all| all.get(project)),
    };
    let servers = ["mcpServers", "servers", "context_servers"]
        .iter()
        .find_map(|name| holder?.get(name));
    let Some(Json::Object(servers)) = servers else {
        return Err(ConfigError::NoServers);
    };
    let mut entries: Vec<Entry> = Vec::new();
    for (name, server) in servers {
        if only.is_some_and(|only| only != name && only != clean(name)) {
            continue;
        }
        if server.get("disabled") == Some(&Json::Bool(true)) {
            continue;
        }
        let bad = |what: String| ConfigError::Server(name.clone(), what);
        let entry = entry(clean(name), server, &variable).map_err(bad)?;
        if entries.iter().any(|other| other.name == entry.name) {
            return Err(bad(format!(
                "another one is called `{}` as well",
                entry.name
            )));
        }
        entries.push(entry);
    }
    if entries.is_empty() || entries.len() > SERVERS_MAX {
        return Err(ConfigError::NoServers);
    }
    Ok(entries)
}

fn entry(
    name: String,
    server: &Json,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Entry, String> {
    let own = server.get("placet");
    // Where `placet mcp install` has put this gateway in front of a server elsewhere, that one stands here.
    if let Some(behind) = own.and_then(|own| own.get("remote")) {
        return entry(name, behind, variable);
    }
    let profile = match own.and_then(|own| own.get("profile")) {
        None => None,
        Some(profile) => {
            let text = profile.as_str().ok_or("`placet.profile` must be a text")?;
            Some(ProfileName::parse(text).map_err(|error| error.to_string())?)
        }
    };
    let kind = text(server, "type")?;
    let is_elsewhere = match kind.as_deref() {
        None => URLS.iter().any(|url| server.get(url).is_some()),
        Some("stdio") => false,
        Some("http" | "streamable-http" | "streamableHttp") => true,
        Some("sse") => {
            return Err(
                "the transport `sse` is older than the revisions that this gateway speaks".into(),
            );
        }
        Some(other) => return Err(format!("`type` is `{other}`; it must be stdio or http")),
    };
    let reach = if is_elsewhere {
        elsewhere(server, own, variable)?
    } else {
        program(server, variable)?
    };
    Ok(Entry {
        name,
        reach,
        profile,
    })
}

fn text(of: &Json, name: &str) -> Result<Option<String>, String> {
    match of.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{name}` must be a text")),
    }
}

fn texts(of: &Json, name: &str) -> Result<BTreeMap<String, String>, String> {
    let Some(value) = of.get(name) else {
        return Ok(BTreeMap::new());
    };
    let Json::Object(members) = value else {
        return Err(format!("`{name}` must be an object of texts"));
    };
    let each = members.iter().map(|(key, value)| {
        let value = value.as_str();
        let value = value.ok_or_else(|| format!("`{name}` must be an object of texts"))?;
        Ok((key.clone(), value.to_owned()))
    });
    each.collect()
}

fn program(server: &Json, variable: &impl Fn(&str) -> Option<String>) -> Result<Reach, String> {
    if URLS.iter().any(|url| server.get(url).is_some()) {
        return Err("it has a `url` and is said to be a program".into());
    }
    let command = text(server, "command")?.ok_or("it has neither a `command` nor a `url`")?;
    let mut argv = vec![expanded(&command, variable)?];
    match server.get("args") {
        None => {}
        Some(Json::Array(args)) => {
            for arg in args {
                let arg = arg.as_str().ok_or("`args` must be a list of texts")?;
                argv.push(expanded(arg, variable)?);
            }
        }
        Some(_) => return Err("`args` must be a list of texts".into()),
    }
    let mut env = BTreeMap::new();
    for (name, value) in texts(server, "env")? {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`{name}` is no name of a variable"));
        }
        if NOT_FOR_SERVERS.iter().any(|own| name.starts_with(own)) {
            return Err(format!(
                "the variable `{name}` would change what stands before the server; it may not be set here"
            ));
        }
        env.insert(name, expanded(&value, variable)?);
    }
    let cwd = match text(server, "cwd")? {
        None => None,
        Some(cwd) => Some(PathBuf::from(expanded(&cwd, variable)?)),
    };
    Ok(Reach::Program { argv, env, cwd })
}

fn elsewhere(
    server: &Json,
    own: Option<&Json>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Reach, String> {
    if server.get("command").is_some() {
        return Err("it has a `command` and is said to be elsewhere".into());
    }
    let mut urls = URLS.iter().filter(|url| server.get(url).is_some());
    let url = match (urls.next(), urls.next()) {
        (Some(url), None) => text(server, url)?,
        (Some(_), Some(_)) => return Err("it has more than one URL".into()),
        (None, _) => None,
    };
    let url = url.ok_or("it has no `url`")?;
    let url = expanded(&url, variable)?;
    let headers = texts(server, "headers")?;
    for name in headers.keys() {
        let lower = name.to_lowercase();
        if NOT_FOR_HEADERS.contains(&lower.as_str()) || lower.starts_with("mcp-") {
            return Err(format!("the header `{name}` is the transport's own"));
        }
    }
    let ca = match own {
        None => None,
        Some(own) => text(own, "ca")?.map(PathBuf::from),
    };
    let oauth = match own.and_then(|own| own.get("oauth")) {
        None => Login::default(),
        Some(oauth) => login(oauth)?,
    };
    Ok(Reach::Elsewhere {
        url,
        headers,
        ca,
        oauth,
    })
}

fn login(oauth: &Json) -> Result<Login, String> {
    let Json::Object(members) = oauth else {
        return Err("`placet.oauth` must be an object".into());
    };
    const KNOWN: [&str; 5] = ["client_id", "client_secret", "port", "scope", "reach"];
    if let Some(name) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("`placet.oauth.{name}` is not known"));
    }
    let port = match oauth.get("port") {
        None => None,
        Some(Json::Number(port)) => Some(
            format!("{port}")
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or("`placet.oauth.port` is 1 to 65535")?,
        ),
        Some(_) => return Err("`placet.oauth.port` must be a number".into()),
    };
    let reach = match oauth.get("reach") {
        None => BTreeSet::new(),
        Some(Json::Array(rules)) => {
            let rule = |rule: &Json| {
                let text = rule
                    .as_str()
                    .ok_or("`placet.oauth.reach` is a list of texts")?;
                text.parse::<PeerRule>().map_err(|error| error.to_string())
            };
            rules.iter().map(rule).collect::<Result<_, String>>()?
        }
        Some(_) => return Err("`placet.oauth.reach` is a list of texts".into()),
    };
    Ok(Login {
        client_id: text(oauth, "client_id")?,
        client_secret: text(oauth, "client_secret")?,
        port,
        scope: text(oauth, "scope")?,
        reach,
    })
}

/// The text with `${NAME}` and `${NAME:-default}` put in, as clients do it.
///
/// # Errors
///
/// What is missing.
pub fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (inner, behind) = after.split_once('}').ok_or("`${` without `}`")?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let value = variable(name).or_else(|| default.map(str::to_owned));
        let missing = || {
            format!(
                "`${{{name}}}` is neither a credential that was granted nor a variable of the gateway"
            )
        };
        out.push_str(&value.ok_or_else(missing)?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<Entry>, ConfigError> {
        let variable = |name: &str| (name == "HOME").then(|| "/home/ann".to_owned());
        read(text.as_bytes(), Pick::default(), str::to_owned, variable)
    }

    #[test]
    fn a_client_s_configuration_is_read_as_clients_do() {
        let all = entries(
            r#"{"theme":"dark","mcpServers":{
                "files":{"command":"npx","args":["-y","fs","${HOME}/data","${X:-y}"],"env":{"A":"1"},"cwd":"${HOME}/work","alwaysAllow":[]},
                "hub":{"type":"http","url":"https://mcp.example.com/mcp","headers":{"Authorization":"Bearer ${TOKEN}"},
                       "placet":{"profile":"hub"}},
                "off":{"command":"x","disabled":true}}}"#,
        )
        .unwrap();
        let argv = ["npx", "-y", "fs", "/home/ann/data", "y"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(all.len(), 2);
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let cwd = Some(PathBuf::from("/home/ann/work"));
        assert_eq!(all[0].reach, Reach::Program { argv, env, cwd });
        let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer ${TOKEN}".to_owned())]);
        let url = "https://mcp.example.com/mcp".to_owned();
        assert_eq!(
            all[1].reach,
            Reach::Elsewhere {
                url,
                headers,
                ca: None,
                oauth: Login::default()
            }
        );
        assert_eq!(all[1].profile, ProfileName::parse("hub").ok());
    }

    #[test]
    fn servers_of_a_directory_and_under_other_names_are_found() {
        let text = r#"{ // mine
            "projects":{"/p":{"mcpServers":{"a":{"serverUrl":"https://a.example/mcp"},}}},
            "context_servers":{"b":{"command":"x"}} }"#;
        let read = |project| {
            let pick = Pick {
                only: None,
                project,
            };
            read(text.as_bytes(), pick, str::to_owned, |_| None)
        };
        assert_eq!(read(None).unwrap()[0].name, "b");
        let of_project = read(Some("/p")).unwrap();
        assert!(
            matches!(&of_project[0].reach, Reach::Elsewhere { url, .. } if url == "https://a.example/mcp")
        );
        assert_eq!(read(Some("/q")), Err(ConfigError::NoServers));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            r#"{"mcpServers":{"a":{"command":"x"},"a":{"command":"y"}}}"#,
            r#"{"mcpServers":{}}"#,
            r#"{"mcpServers":{"a":{"command":"x","url":"https://a.example"}}}"#,
            r#"{"mcpServers":{"a":{"type":"stdio","url":"https://a.example"}}}"#,
            r#"{"mcpServers":{"a":{"url":"https://a.example","httpUrl":"https://b.example"}}}"#,
            r#"{"mcpServers":{"a":{"command":"x","serverUrl":"https://b.example"}}}"#,
            r#"{"mcpServers":{"a":{"type":"sse","url":"https://a.example"}}}"#,
            r#"{"mcpServers":{"a":{"command":"x","env":{"LD_PRELOAD":"/tmp/x.so"}}}}"#,
            r#"{"mcpServers":{"a":{"url":"https://a.example","headers":{"Host":"b"}}}}"#,
            r#"{"mcpServers":{"a":{"url":"https://a.example","headers":{"MCP-Name":"b"}}}}"#,
            r#"{"mcpServers":{"a":{"command":"${NOT_SET}"}}}"#,
        ] {
            assert!(entries(bad).is_err(), "{bad}");
        }
    }
}
