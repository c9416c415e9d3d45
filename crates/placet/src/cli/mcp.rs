//! The MCP gateway, on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use placet_fetch::Target;
use placet_mcp::listen::PATH;
use placet_mcp::subject::MetaName;
use placet_types::{Digest, PrincipalId, ProfileName};

pub(crate) const EXAMPLES: &str = "\
In a client's configuration, a server changes by one word: its command becomes `placet`, and what was
the command comes after `mcp --`.

Examples:
  placet mcp --as agent:coder --name files --profile mcp-server -- mcp-server-filesystem .
  placet mcp --as agent:coder --config mcp.json   # several servers as one, programs and URLs
  placet mcp --as agent:coder --config mcp.json --listen 127.0.0.1:8700   # over Streamable HTTP
  placet mcp --config mcp.json --listen 127.0.0.1:8700 --resource https://mcp.example.org/mcp  # OAuth
  placet mcp install claude-code --dry-run   # every server of that client: what would change
  placet mcp install claude-code          # and with it changed; the file is copied before
  placet mcp login hub --config mcp.json  # tokens of a server elsewhere, by OAuth in a browser
  placet mcp diff files/read_file         # what a tool says it is, against what was approved
  placet mcp approve files/read_file --reason 'looked at it'";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Mcp {
    #[command(subcommand)]
    pub(crate) act: Option<McpAct>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// Act as this principal (default: $PLACET_PRINCIPAL, else user: and your login)
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub(crate) principal: Option<PrincipalId>,
    /// What policies and records call the server (default: from its command)
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What it is for; policies and auditors see it
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    /// Ask for at most the scope of this profile, for the server
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// A member of `_meta` that policies see, as `context.meta`, and that becomes a part of what is asked; may be
    /// repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) meta: Vec<MetaName>,
    /// Seconds that the server may take to stop what was ended, before it is ended as a whole
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) grace: u64,
    /// Seconds that a client's first request is held while the server itself needs an approval; after that it is told how
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) wait: u64,
    /// The directory that servers work in; their workspace is that, or the repository that holds it (default: where this is
    /// started; a configuration's `cwd` comes first)
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// The servers of this configuration of a client (`mcpServers`), instead of one command
    #[arg(long, value_name = "FILE", conflicts_with = "argv")]
    pub(crate) config: Option<PathBuf>,
    /// Only this server of the configuration
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) server: Option<String>,
    /// The servers that the configuration has for this directory (`projects`, as in Claude Code's)
    #[arg(long, value_name = "DIR", requires = "config")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) http: Http,
    /// The server's command and its arguments
    #[arg(last = true, value_name = "SERVER COMMAND")]
    pub(crate) argv: Vec<String>,
}

/// Getting tokens for a server elsewhere.
#[derive(Clone, Debug, Args)]
pub(crate) struct McpLogin {
    /// The server, by its name in the configuration
    pub(crate) server: String,
    /// The configuration of a client (`mcpServers`) that it stands in
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// What to ask for (default: what the server says that it needs)
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// Seconds to wait for the browser
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) wait: u64,
}

/// Streamable HTTP towards clients, instead of standard input and output.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Streamable HTTP")]
pub(crate) struct Http {
    /// Serve clients over HTTP at this address, under /mcp; beyond loopback only with --tls
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the token is that clients show (`Authorization: Bearer`); made, readable by you alone, where it is
    /// missing, and kept (default: a new one each time, in the domain directory)
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_file: Option<PathBuf>,
    /// Whoever shows the token in this file acts as this principal; may be repeated
    #[arg(long, value_name = "PRINCIPAL=FILE", requires = "listen", value_parser = caller)]
    pub(crate) caller: Vec<(PrincipalId, PathBuf)>,
    /// Take access tokens (OAuth) as well that are meant for this URL, by which clients know the gateway: those of the
    /// identity providers in `placet.toml` of the domain (`[[oidc]]`); who a bearer is say the bundle's rules
    #[arg(long, value_name = "URL", requires = "listen")]
    pub(crate) resource: Option<Resource>,
    /// What such a token must allow (its `scope`); may be repeated
    #[arg(long, value_name = "SCOPE", requires = "resource", value_parser = scope)]
    pub(crate) require_scope: Vec<String>,
    /// Speak TLS, with the certificate that `placet.toml` of the domain names (`[tls]`)
    #[arg(long, requires = "listen")]
    pub(crate) tls: bool,
    /// A name that clients call this host by, beside loopback and the `hosts` of `placet.toml`
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub(crate) host: Vec<String>,
    /// Sessions at once; each has servers of its own
    #[arg(long, value_name = "NUMBER", requires = "listen", default_value_t = 32)]
    pub(crate) sessions: usize,
    /// Seconds after which a session ends of which nothing is heard
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "listen",
        default_value_t = 1800
    )]
    pub(crate) idle: u64,
    /// Answer with a stream of events always, also what is there at once
    #[arg(long, requires = "listen")]
    pub(crate) streams: bool,
    /// Seconds for the head of a request, for a handshake, and between two requests of a connection
    #[arg(long, value_name = "SECONDS", requires = "listen", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) head_secs: u64,
    /// Seconds for the body of a request
    #[arg(long, value_name = "SECONDS", requires = "listen", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) body_secs: u64,
    /// Seconds after which a client is given up that does not read its answers
    #[arg(long, value_name = "SECONDS", requires = "listen", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) write_secs: u64,
}

/// The URL by which clients know a gateway, in the one spelling that tokens are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    origin: String,
    host: String,
}

impl Resource {
    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The host, as it stands in the URL.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let target = Target::parse(text).map_err(|error| error.to_string())?;
        let own = Self {
            origin: target.origin(),
            host: match target.host() {
                host if host.contains(':') => format!("[{host}]"),
                host => host.to_owned(),
            },
        };
        if own.to_string() == text {
            Ok(own)
        } else {
            Err(format!(
                "tokens are compared with it to the letter: it must be {own}"
            ))
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{PATH}", self.origin)
    }
}

/// A scope, as OAuth spells one (RFC 6749, 3.3): a space would make two of it, a quote would end it.
fn scope(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("one scope, without spaces and quotes, of at most 128 bytes".into())
    }
}

fn caller(text: &str) -> Result<(PrincipalId, PathBuf), String> {
    let (principal, file) = text.split_once('=').ok_or("it must be PRINCIPAL=FILE")?;
    let principal = PrincipalId::parse(principal).map_err(|error| error.to_string())?;
    Ok((principal, PathBuf::from(file)))
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpAct {
    /// Log in to a server elsewhere (OAuth): prints where to go, and keeps the tokens as a secret
    Login(McpLogin),
    /// Forget the tokens of a server elsewhere, and give them back to who gave them (revoke them)
    Logout {
        /// The server, by its name
        server: String,
    },
    /// List the definitions of tools that count
    Pins,
    /// Show how what a tool says it is differs from what counts
    Diff {
        /// The tool: SERVER/NAME
        tool: String,
    },
    /// Approve what a tool says it is now
    Approve {
        /// The tool: SERVER/NAME
        tool: String,
        /// Only if the definition has this digest
        #[arg(long, value_name = "DIGEST")]
        digest: Option<Digest>,
        /// Why; it stands in the log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Put the gateway in front of every server of a client
    Install {
        /// Act as this principal
        #[arg(long = "as", value_name = "PRINCIPAL")]
        principal: Option<PrincipalId>,
        #[command(flatten)]
        change: McpChange,
    },
    /// Take it away again
    Uninstall(McpChange),
}

/// Which configurations are changed.
#[derive(Clone, Debug, Args)]
pub(crate) struct McpChange {
    /// Which client
    pub(crate) client: Client,
    /// The client's configuration, where it is not in its usual place
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A client with a configuration of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code: `.mcp.json` of the working directory, and `~/.claude.json` with what it has by directory
    ClaudeCode,
    /// Claude Desktop
    ClaudeDesktop,
    /// Codex: `.codex/config.toml` of the working directory, and `~/.codex/config.toml`
    Codex,
    /// Copilot CLI
    Copilot,
    /// Cursor: `.cursor/mcp.json` of the working directory, and `~/.cursor/mcp.json`
    Cursor,
    /// Gemini CLI: `.gemini/settings.json` of the working directory, and `~/.gemini/settings.json`
    Gemini,
    /// VS Code: `.vscode/mcp.json` of the working directory, and the user's
    Vscode,
    /// Windsurf
    Windsurf,
    /// Zed: `.zed/settings.json` of the working directory, and the user's
    Zed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_one_spelling_and_a_scope_is_one() {
        for good in [
            "https://mcp.example.org/mcp",
            "https://mcp.example.org:8443/mcp",
            "http://127.0.0.1:8700/mcp",
            "http://[::1]:8700/mcp",
        ] {
            let resource: Resource = good.parse().unwrap();
            assert_eq!(resource.to_string(), good);
        }
        for bad in [
            "mcp.example.org/mcp",
            "http://mcp.example.org/mcp",
            "https://mcp.example.org",
            "https://mcp.example.org/mcp/",
            "https://mcp.example.org/team/mcp",
            "https://mcp.example.org/mcp?a",
            "https://mcp.example.org/mcp#a",
            "https://ann@mcp.example.org/mcp",
            "https://MCP.example.org/mcp",
            "https://mcp.example.org:443/mcp",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad}");
        }
        assert_eq!(scope("mcp:tools").unwrap(), "mcp:tools");
        for bad in ["", "a b", "a\"b", "a\\b", "\u{e4}"] {
            assert!(scope(bad).is_err(), "{bad}");
        }
    }
}
