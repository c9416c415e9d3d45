//! A gateway that stays: commands of one user, one after the other, in a process that is there already.
//!
//! `placet run` builds a cell in a process of its own. Where the domain offers it, a process of the same user waits instead, with the
//! next cell built, and `placet run` becomes its front: it hands over what a command has of its caller (arguments, environment, directory and
//! standard streams, by descriptor), passes signals on, and leaves with the status that it is told. The gateway that stays asks,
//! verifies, enforces, watches and records as `placet run` does by itself; it is the same code.
//!
//! # What it is not
//!
//! It has no authority: it acts as the user that it runs as, and serves nobody else. A caller that is not exactly [`Alike`], because
//! it is limited, confined or stands otherwise, is declined before anything is asked for, and runs by itself. So does one that finds nobody who
//! waits: a gateway works for one command at a time, and has a socket only while it waits.
//!
//! - **Architecture Invariant:** nothing of a caller is in a cell that waited before the caller came.

mod alike;
mod client;
mod host;

use std::collections::BTreeMap;

use placet_types::{ExecutionId, PrincipalId, ProfileName, Seconds};
use serde::{Deserialize, Serialize};

pub use alike::Alike;
pub use client::{Ended, hand_over, is_offered};
pub use host::{Parting, Slot, Taken, Visit, Waiting, detach};

/// Longest description of a command. A longer one runs by itself.
const OFFER_BYTES_MAX: usize = 4 << 20;

/// Variables that this program itself reads, or whose words depend on them: a gateway has them as its caller has them, or does
/// not work for it.
pub const OWN_VARIABLES: [&str; 12] = [
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "HOME",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NO_COLOR",
    "PLACET_ENVIRONMENT",
    "TERM",
    "TZ",
];

/// A command as its caller describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Whether refusals of single programs are said on standard error.
    pub announce: bool,
    /// The program's name and its arguments.
    pub argv: Vec<String>,
    /// Whether each program that it starts is decided as well.
    pub decide: bool,
    /// The environment, as far as it is text.
    pub env: BTreeMap<String, String>,
    /// Whether results and notes are JSON.
    pub json: bool,
    /// At most this long.
    pub lifetime: Option<Seconds>,
    /// Whether it is given up at once where approvals are needed.
    pub no_wait: bool,
    /// What no other process may read of the caller.
    pub own_only: BTreeMap<String, String>,
    /// Those of [`OWN_VARIABLES`] that the caller has. A shell of the gateway's changes its command's environment, not its own.
    pub own: BTreeMap<String, String>,
    /// The execution that it is a child of.
    pub parent: Option<ExecutionId>,
    /// Who asks.
    pub principal: PrincipalId,
    /// At most the scope of this profile.
    pub profile: Option<ProfileName>,
    /// What it is for.
    pub purpose: Option<String>,
}

/// What a gateway says to an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// From here on it is the gateway's: it runs, or there is an error.
    Taken,
    /// The caller runs by itself. Nothing was asked for.
    Declined,
}

/// How a front leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// Those of [`OWN_VARIABLES`] that this process has; `None` where one of them is no text.
#[must_use]
pub fn own_variables() -> Option<BTreeMap<String, String>> {
    let mut own = BTreeMap::new();
    for name in OWN_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            own.insert(name.to_owned(), value.into_string().ok()?);
        }
    }
    Some(own)
}
