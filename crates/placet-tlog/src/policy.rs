//! Trust policies (C2SP tlog-policy): which logs are known, and which witnesses must have
//! cosigned.
//!
//! A policy is data that was checked while it was built. [`Policy::evaluate`] is the only way to a
//! [`QuorumCheckpoint`]: a note that verifies is not a quorum, because a line of an unknown key is
//! ignored. Keys are counted by their public key, and no public key can stand in a policy twice.
//!
//! Stricter than the standard: the file is UTF-8, one public key cannot be a log and a witness,
//! logs sign with type 0x01 and witnesses with 0x04.

mod build;
mod evaluate;
mod parse;

use std::fmt;
use std::str::FromStr;

use crate::note::VerifierKey;

pub use build::{PolicyBuilder, PolicyError};
pub use evaluate::{Cosignature, PolicyViolation, QuorumCheckpoint};
pub use parse::PolicyParseError;

/// Largest policy file.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;

/// Most logs, most witnesses and most groups in a policy, each. The standard asks for 32.
pub const MAX_MEMBERS: usize = 64;

/// Longest name of a witness or a group.
pub const MAX_POLICY_NAME_BYTES: usize = 255;

/// Known logs, known witnesses, and the quorum.
///
/// INVARIANT: members refer to witnesses and earlier groups of this policy; no public key occurs
/// twice; thresholds are from 1 to the number of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A log whose checkpoints the policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    key: VerifierKey,
    url: Option<String>,
}

/// A witness, under the name that it has in this policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: PolicyName,
    key: VerifierKey,
    url: Option<String>,
}

/// Members of which at least `threshold` must have witnessed a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    name: PolicyName,
    threshold: usize,
    members: Vec<Member>,
}

/// How many members of a group must have witnessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Every one.
    All,
    /// At least one.
    Any,
    /// At least this many, from 1 to the number of members.
    AtLeast(usize),
}

/// The name of a witness or a group. It has no meaning outside its policy.
///
/// INVARIANT: not empty, at most [`MAX_POLICY_NAME_BYTES`], no ASCII space or control character,
/// not `none`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(String);

/// Not a name for a witness or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {MAX_POLICY_NAME_BYTES} bytes without ASCII space or control, not `none`")]
pub struct PolicyNameError;

/// A witness or a group, by its place in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    NoneRequired,
    Of(Member),
}

impl Policy {
    /// Starts a policy in code; [`Policy::parse`] reads one from its file.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The known logs.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The known witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// The witness or group that must have witnessed; `None` for `quorum none`.
    #[must_use]
    pub fn quorum(&self) -> Option<&PolicyName> {
        match self.quorum {
            Quorum::NoneRequired => None,
            Quorum::Of(member) => self.member_name(member),
        }
    }

    fn member_name(&self, member: Member) -> Option<&PolicyName> {
        match member {
            Member::Witness(at) => self.witnesses.get(at).map(|witness| &witness.name),
            Member::Group(at) => self.groups.get(at).map(|group| &group.name),
        }
    }
}

impl Log {
    /// Its key, named as its origin.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where to reach it.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

impl Witness {
    /// Its name in this policy.
    #[must_use]
    pub const fn name(&self) -> &PolicyName {
        &self.name
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where to reach it.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

impl PolicyName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`PolicyNameError`].
    pub fn parse(text: &str) -> Result<Self, PolicyNameError> {
        let bad = |byte: u8| byte <= b' ' || byte == 0x7f;
        let bounded = (1..=MAX_POLICY_NAME_BYTES).contains(&text.len());
        if !bounded || text == "none" || text.bytes().any(bad) {
            return Err(PolicyNameError);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyName {
    type Err = PolicyNameError;

    fn from_str(text: &str) -> Result<Self, PolicyNameError> {
        Self::parse(text)
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Policy {
    /// The policy file, in one form: logs, witnesses, groups, quorum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            write!(f, "log {}", log.key)?;
            write_url(f, log.url())?;
        }
        for witness in &self.witnesses {
            write!(f, "witness {} {}", witness.name, witness.key)?;
            write_url(f, witness.url())?;
        }
        for group in &self.groups {
            write!(f, "group {} ", group.name)?;
            match group.threshold {
                all if all == group.members.len() => f.write_str("all")?,
                1 => f.write_str("any")?,
                k => write!(f, "{k}")?,
            }
            for name in group
                .members
                .iter()
                .filter_map(|member| self.member_name(*member))
            {
                write!(f, " {name}")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "quorum {}",
            self.quorum().map_or("none", PolicyName::as_str)
        )
    }
}

fn write_url(f: &mut fmt::Formatter<'_>, url: Option<&str>) -> fmt::Result {
    match url {
        Some(url) => writeln!(f, " {url}"),
        None => writeln!(f),
    }
}

#[cfg(test)]
mod tests;
