//! Which clients there are, and where each keeps its servers.

use std::path::{Path, PathBuf};

use crate::cli::Client;

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON, which may have comments.
    Json,
    Toml,
}

/// How a client keeps its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) format: Format,
    /// The member that holds the servers.
    pub(super) member: &'static str,
    /// The member that has more of them, by directory.
    pub(super) by_project: Option<&'static str>,
    /// Whether a `url` without a `type` means the older transport.
    pub(super) bare_url_is_old: bool,
}

impl Client {
    /// Where its configurations are: those of the working directory, and the user's.
    pub(super) fn files(self, home: &Path) -> Vec<PathBuf> {
        let at = |path: &str| home.join(path);
        let here = |path: &str| PathBuf::from(path);
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
        match self {
            Self::ClaudeCode => {
                let own = set("CLAUDE_CONFIG_DIR").unwrap_or_else(|| home.to_owned());
                vec![here(".mcp.json"), own.join(".claude.json")]
            }
            Self::ClaudeDesktop => vec![
                at(".config/Claude/claude_desktop_config.json"),
                at("Library/Application Support/Claude/claude_desktop_config.json"),
            ],
            Self::Codex => {
                let own = set("CODEX_HOME").unwrap_or_else(|| at(".codex"));
                vec![here(".codex/config.toml"), own.join("config.toml")]
            }
            Self::Copilot => {
                let own = set("COPILOT_HOME").unwrap_or_else(|| at(".copilot"));
                vec![own.join("mcp-config.json")]
            }
            Self::Cursor => vec![here(".cursor/mcp.json"), at(".cursor/mcp.json")],
            Self::Gemini => vec![here(".gemini/settings.json"), at(".gemini/settings.json")],
            Self::Vscode => vec![
                here(".vscode/mcp.json"),
                at(".config/Code/User/mcp.json"),
                at("Library/Application Support/Code/User/mcp.json"),
            ],
            Self::Windsurf => vec![at(".codeium/windsurf/mcp_config.json")],
            Self::Zed => vec![here(".zed/settings.json"), at(".config/zed/settings.json")],
        }
    }

    pub(super) fn manner(self) -> Manner {
        let usual = Manner {
            format: Format::Json,
            member: "mcpServers",
            by_project: None,
            bare_url_is_old: false,
        };
        match self {
            Self::ClaudeCode => Manner {
                by_project: Some("projects"),
                ..usual
            },
            Self::Codex => Manner {
                format: Format::Toml,
                member: "mcp_servers",
                ..usual
            },
            Self::Gemini => Manner {
                bare_url_is_old: true,
                ..usual
            },
            Self::Vscode => Manner {
                member: "servers",
                ..usual
            },
            Self::Zed => Manner {
                member: "context_servers",
                ..usual
            },
            Self::ClaudeDesktop | Self::Copilot | Self::Cursor | Self::Windsurf => usual,
        }
    }
}
