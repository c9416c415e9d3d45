//! Changes to copies: what an execution did to the copy of its write trees, as a list that can be read,
//! and applied to the trees themselves.
//!
//! ```text
//! changes/exec_…/meta.json   which trees, since when
//! changes/exec_…/lock        held while the execution runs, or its changes are applied
//! changes/exec_…/N/upper     what tree N would have become, in the form of overlayfs
//! changes/exec_…/list.json   the list; its digest stands in the record of the end
//! ```
//!
//! Everything below `upper` was written by a governed program. It is read through descriptors of its
//! directories, no link in it is followed, and its list is checked against the record before it is used.

mod apply;
mod fit;
mod kept;
mod path;
mod read;
mod scan;
mod store;

use placet_types::canonical;
use placet_types::{AbsPath, Digest, ExecutionId, Writes};
use serde::{Deserialize, Serialize};

pub use apply::{ApplyError, Conflict, Staged};
pub use kept::{Kept, KeptError, KeptState};
pub use path::RawPath;
pub use read::Content;
pub(crate) use store::{Copies, Finished};

/// Changes that one list may have. A tree with more is not reviewed by anybody.
pub const CHANGES_MAX: usize = 200_000;
/// Deepest directory that is looked into.
const DEPTH_MAX: usize = 128;
/// How long changes are kept, in days.
pub const KEPT_DAYS: u64 = 14;

/// What an execution changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeList {
    /// In order of tree and path.
    pub changes: Vec<Change>,
    /// The execution.
    pub exec: ExecutionId,
    /// Random: the list's digest is public, and must not tell what can be guessed.
    pub nonce: String,
    /// The trees.
    pub trees: Vec<AbsPath>,
    /// Whether more than the list is kept.
    pub writes: Writes,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What is there after it; absent when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// What was there before; absent when it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// Below the tree.
    pub path: RawPath,
    /// Somebody else changed the original while the execution ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raced: bool,
    /// Which tree, counted from 0.
    pub tree: usize,
}

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

/// A file as a change leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// SHA-256 of the content of a regular file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Which kind.
    pub kind: FileKind,
    /// Permissions, with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Size of a regular file, in bytes.
    pub size: u64,
    /// What a symbolic link holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RawPath>,
}

/// A file as it was when the execution had ended: any later change shows in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Last change of the inode, nanoseconds since the epoch, as text: it does not fit a double.
    #[serde(with = "as_text")]
    pub ctime_ns: i64,
    /// Inode number, as text.
    #[serde(with = "as_text")]
    pub ino: u64,
    /// Which kind.
    pub kind: FileKind,
    /// Permissions, with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Last change of the contents, nanoseconds since the epoch, as text.
    #[serde(with = "as_text")]
    pub mtime_ns: i64,
    /// Size, in bytes.
    pub size: u64,
}

/// In a word, what a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Something new.
    Added,
    /// Content or permissions.
    Changed,
    /// Something is gone.
    Removed,
    /// A file of another kind stands in its place.
    Replaced,
}

impl ChangeList {
    /// Canonical bytes, and the digest that records name.
    ///
    /// # Errors
    ///
    /// Never for a list that was scanned or read.
    pub fn encode(&self) -> Result<(Vec<u8>, Digest), serde_json::Error> {
        let bytes = canonical::to_bytes(self)?;
        let digest = Digest::of(&bytes);
        Ok((bytes, digest))
    }

    /// Bytes of what was added and changed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self
            .changes
            .iter()
            .filter_map(|change| change.after.as_ref());
        sizes.fold(0, |sum, after| sum.saturating_add(after.size))
    }

    /// The list of only these changes.
    #[must_use]
    pub fn only(&self, changes: Vec<Change>) -> Self {
        Self {
            changes,
            ..self.clone()
        }
    }
}

impl Change {
    /// In a word.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match (&self.before, &self.after) {
            (None, _) => Effect::Added,
            (Some(_), None) => Effect::Removed,
            (Some(before), Some(after)) if before.kind == after.kind => Effect::Changed,
            (Some(_), Some(_)) => Effect::Replaced,
        }
    }

    /// Why somebody should look twice before this is applied: it runs code later, or leads elsewhere.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        let after = self.after.as_ref()?;
        if after.mode & 0o6000 != 0 && after.kind == FileKind::File {
            return Some("has a setuid or setgid bit, which is not applied");
        }
        if matches!(
            after.kind,
            FileKind::Fifo | FileKind::Socket | FileKind::Device
        ) {
            return Some("is no ordinary file and cannot be applied");
        }
        if let Some(why) = runs_later(self.path.as_bytes()) {
            return Some(why);
        }
        let leaves = |target: &RawPath| target.leads_out_of(&self.path);
        after
            .target
            .as_ref()
            .filter(|target| leaves(target))
            .map(|_| "is a link that leads out of the tree")
    }
}

/// Files that other programs take commands from.
fn runs_later(path: &[u8]) -> Option<&'static str> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    if let Some(git) = parts.iter().position(|part| *part == b".git") {
        let rest = parts.get(git + 1..).unwrap_or_default();
        if rest.is_empty() {
            return Some(
                "says which repository this is: git takes configuration and hooks from there",
            );
        }
        if rest.contains(&b"hooks".as_slice()) {
            return Some("is a hook, or near one: git runs it later, as you");
        }
        let names = [b"config".as_slice(), b"config.worktree", b"attributes"];
        if rest.last().is_some_and(|name| names.contains(name)) {
            return Some("configures git: it can name programs that git runs later, as you");
        }
    }
    let last = parts.last().copied().unwrap_or_default();
    let names = [
        b".envrc".as_slice(),
        b".bashrc",
        b".profile",
        b".bash_profile",
    ];
    names
        .contains(&last)
        .then_some("is read by a shell, which runs what it says")
}

/// Integers that a double may not hold, as text.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| serde::de::Error::custom("no integer"))
    }
}

#[cfg(test)]
mod tests;
