//! What operators and approvers do, on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use placet_types::{Digest, PrincipalId, SecretName, Thumbprint};

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// What waits, as `placet approvals` lists it; the beginning of its id is enough
    #[arg(value_name = "EXEC")]
    pub(crate) exec: String,
    /// Why; it stands in the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Say it as this principal (default: $PLACET_PRINCIPAL, else user: and your login)
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub(crate) principal: Option<PrincipalId>,
    /// Your key (default: $PLACET_KEY, else ~/.config/placet/key)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key of your own
    New {
        /// Where (default: $PLACET_KEY, else ~/.config/placet/key)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Show the thumbprint that an operator registers
    Show {
        /// Which (default: $PLACET_KEY, else ~/.config/placet/key)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Whose authority ends; see below
    pub(crate) selector: String,
    /// Why; public
    #[arg(long, value_name = "TEXT", default_value = "revoked by an operator")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Reason {
    /// Why; public
    #[arg(long, value_name = "TEXT", default_value = "by an operator")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Why; public
    #[arg(long, value_name = "TEXT", default_value = "by an operator")]
    pub(crate) reason: String,
    /// Only this node that was revoked: the digest that `placet revoke node:…` named
    #[arg(long, value_name = "DIGEST")]
    pub(crate) node: Option<Digest>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Changes {
    /// List what is kept, and dry runs
    List,
    /// Show what an execution changed
    Show {
        /// The execution, or the beginning of its id (default: the only one of which anything is kept)
        exec: Option<String>,
        /// Only how many lines each file gains and loses
        #[arg(long, conflicts_with = "name_only")]
        stat: bool,
        /// Only the paths
        #[arg(long)]
        name_only: bool,
    },
    /// Make the changes in the trees themselves: all that are chosen, or none
    Apply {
        /// The execution, or the beginning of its id (default: the only one of which anything is kept)
        exec: Option<String>,
        /// Only these paths and what is below them, as `show` prints them (default: everything)
        #[arg(value_name = "PATH")]
        paths: Vec<std::ffi::OsString>,
    },
    /// Destroy what is kept
    Discard {
        /// The execution (or the beginning of its id)
        #[arg(required_unless_present = "expired")]
        exec: Option<String>,
        /// Everything that has been kept past its time
        #[arg(long, conflicts_with = "exec")]
        expired: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Principal {
    /// List who is registered
    List,
    /// Register a principal, or change it
    Set {
        /// Its name, such as agent:coder
        id: PrincipalId,
        /// A group it is in (again for more)
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// A Unix user that may act as it (again for more) (default: you, unless a key is named)
        #[arg(long = "uid", value_name = "UID")]
        uids: Vec<u32>,
        /// JWK thumbprint of an Ed25519 key whose holder may act as it (again for more)
        #[arg(long = "key", value_name = "THUMBPRINT", allow_hyphen_values = true)]
        keys: Vec<Thumbprint>,
        /// A principal whose executions may start a child as this one (again for more)
        #[arg(long = "acts-for", value_name = "PRINCIPAL")]
        acts_for: Vec<PrincipalId>,
        /// Nobody may act as it but whom rules of the bundle say (identities.toml)
        #[arg(long, conflicts_with_all = ["uids", "keys"])]
        mapped: bool,
    },
    /// Let the holder of one more key act as a principal, beside what it already has
    AddKey {
        /// Its name
        id: PrincipalId,
        /// JWK thumbprint of an Ed25519 key
        #[arg(allow_hyphen_values = true)]
        key: Thumbprint,
    },
    /// Let the holder of a key act as a principal no longer
    RemoveKey {
        /// Its name
        id: PrincipalId,
        /// JWK thumbprint of the key
        #[arg(allow_hyphen_values = true)]
        key: Thumbprint,
    },
    /// Suspend a principal: what it runs is ended
    Suspend {
        /// Its name
        id: PrincipalId,
    },
    /// Let a suspended principal act again
    Restore {
        /// Its name
        id: PrincipalId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Give a secret a value: from standard input, or asked for at a terminal
    Set {
        /// Its name
        name: SecretName,
        /// Keep the newline at the end
        #[arg(long)]
        raw: bool,
    },
    /// Which secrets there are, when they were set and used, which profiles hand them over
    List,
    /// Take a secret away; what runs keeps what it was given
    Rm {
        /// Its name
        name: SecretName,
    },
    /// Encrypt all secrets anew, with a new key
    RotateKey,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Shadow {
    /// Test a bundle, sign it with the operator's key, and decide it beside the one in force from here on
    #[command(after_help = "\
Every intent is decided with the bundle in force, as before. Beside that, and with nobody waiting for it, each recorded
decision is made again with this bundle. `placet policy shadow show` lists what differs. It gives no authority.")]
    Set {
        /// The bundle's directory
        dir: PathBuf,
        /// Why; public
        #[arg(long, value_name = "TEXT", default_value = "by an operator")]
        reason: String,
    },
    /// What it would have changed so far
    Show,
    /// Decide no bundle beside the one in force any more
    Clear {
        /// Why; public
        #[arg(long, value_name = "TEXT", default_value = "by an operator")]
        reason: String,
    },
}
