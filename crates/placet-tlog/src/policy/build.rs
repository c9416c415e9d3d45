//! Building a policy: each step keeps the rules of C2SP tlog-policy, so that a finished policy has
//! no undefined name, no cycle and no key that counts twice.

use crate::note::{KeyName, SignatureKind, VerifierKey};
use crate::policy::{
    Group, Log, MAX_MEMBERS, Member, Policy, PolicyName, PolicyNameError, Quorum, Threshold,
    Witness,
};

/// A policy in the making. Names must be defined before they are used.
#[derive(Clone, Debug, Default)]
pub struct PolicyBuilder {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<Quorum>,
}

/// Why a log, a witness, a group or a quorum was not taken into a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More than [`MAX_MEMBERS`] logs, witnesses, or groups.
    #[error("a policy has at most {MAX_MEMBERS} logs, as many witnesses and as many groups")]
    TooMany,
    /// Not a name.
    #[error(transparent)]
    Name(#[from] PolicyNameError),
    /// A log's key is not of type 0x01, or a witness's not of type 0x04.
    #[error("a log signs with type 0x01 and a witness with type 0x04")]
    KeyKind,
    /// The public key stands in the policy already, as a log's or a witness's.
    #[error("the public key of {0} stands in the policy already")]
    DuplicateKey(KeyName),
    /// Another key of the policy has the same name and key id, so a line would not say whose it is.
    #[error("another key of the policy has the name and the key id of {0}")]
    AmbiguousKey(KeyName),
    /// The name is defined already.
    #[error("{0} is defined already")]
    DuplicateName(PolicyName),
    /// The name is not defined, or not yet.
    #[error("{0} is not defined on an earlier line")]
    Undefined(String),
    /// The name is a member of a group already; it could count twice.
    #[error("{0} is a member of a group already")]
    AlreadyMember(PolicyName),
    /// A group has no members.
    #[error("a group has at least one member")]
    EmptyGroup,
    /// The threshold is not from 1 to the number of members.
    #[error("a group of {members} members cannot have a threshold of {threshold}")]
    Threshold {
        /// As asked.
        threshold: usize,
        /// Number of members.
        members: usize,
    },
    /// A URL is empty, or holds ASCII space or control characters.
    #[error("a URL holds no space or control character")]
    Url,
    /// The quorum is given twice.
    #[error("a policy has one quorum line, not two")]
    SecondQuorum,
    /// The quorum is not given.
    #[error("a policy has exactly one quorum line")]
    NoQuorum,
}

impl PolicyBuilder {
    /// Adds a log.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] names the rule it breaks.
    pub fn log(mut self, key: VerifierKey, url: Option<&str>) -> Result<Self, PolicyError> {
        if key.kind() != SignatureKind::Ed25519 {
            return Err(PolicyError::KeyKind);
        }
        self.check_key(&key, self.logs.len())?;
        self.logs.push(Log {
            key,
            url: check_url(url)?,
        });
        Ok(self)
    }

    /// Adds a witness.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] names the rule it breaks.
    pub fn witness(
        mut self,
        name: &str,
        key: VerifierKey,
        url: Option<&str>,
    ) -> Result<Self, PolicyError> {
        if key.kind() != SignatureKind::CosignatureV1 {
            return Err(PolicyError::KeyKind);
        }
        let name = self.new_name(name)?;
        self.check_key(&key, self.witnesses.len())?;
        self.witnesses.push(Witness {
            name,
            key,
            url: check_url(url)?,
        });
        Ok(self)
    }

    /// Adds a group of witnesses and groups defined before.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] names the rule it breaks.
    pub fn group(
        mut self,
        name: &str,
        threshold: Threshold,
        members: &[&str],
    ) -> Result<Self, PolicyError> {
        let name = self.new_name(name)?;
        if self.groups.len() >= MAX_MEMBERS {
            return Err(PolicyError::TooMany);
        }
        let mut resolved = Vec::new();
        for text in members {
            let member = self.resolve(text)?;
            let listed = self
                .groups
                .iter()
                .flat_map(|group| &group.members)
                .chain(&resolved);
            if listed.into_iter().any(|other| *other == member) {
                return Err(PolicyError::AlreadyMember(PolicyName::parse(text)?));
            }
            resolved.push(member);
        }
        let threshold = check_threshold(threshold, resolved.len())?;
        self.groups.push(Group {
            name,
            threshold,
            members: resolved,
        });
        Ok(self)
    }

    /// Requires a witness or a group defined before to have witnessed.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Undefined`] or [`PolicyError::SecondQuorum`].
    pub fn quorum(self, name: &str) -> Result<Self, PolicyError> {
        let member = self.resolve(name)?;
        self.set_quorum(Quorum::Of(member))
    }

    /// Requires no cosignature: the log's word is taken.
    ///
    /// # Errors
    ///
    /// [`PolicyError::SecondQuorum`].
    pub fn no_quorum(self) -> Result<Self, PolicyError> {
        self.set_quorum(Quorum::NoneRequired)
    }

    /// The finished policy.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoQuorum`] when nothing was said about a quorum.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let Self {
            logs,
            witnesses,
            groups,
            quorum,
        } = self;
        let quorum = quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Policy {
            logs,
            witnesses,
            groups,
            quorum,
        })
    }

    fn set_quorum(mut self, quorum: Quorum) -> Result<Self, PolicyError> {
        if self.quorum.is_some() {
            return Err(PolicyError::SecondQuorum);
        }
        self.quorum = Some(quorum);
        Ok(self)
    }

    fn check_key(&self, key: &VerifierKey, already: usize) -> Result<(), PolicyError> {
        if already >= MAX_MEMBERS {
            return Err(PolicyError::TooMany);
        }
        let logs = self.logs.iter().map(|log| &log.key);
        let mut known = logs.chain(self.witnesses.iter().map(|witness| &witness.key));
        let clash =
            known.find(|other| other.public_key() == key.public_key() || other.clashes_with(key));
        match clash {
            None => Ok(()),
            Some(other) if other.public_key() == key.public_key() => {
                Err(PolicyError::DuplicateKey(key.name().clone()))
            }
            Some(_) => Err(PolicyError::AmbiguousKey(key.name().clone())),
        }
    }

    fn new_name(&self, text: &str) -> Result<PolicyName, PolicyError> {
        let name = PolicyName::parse(text)?;
        match self.find(text) {
            Some(_) => Err(PolicyError::DuplicateName(name)),
            None => Ok(name),
        }
    }

    fn resolve(&self, text: &str) -> Result<Member, PolicyError> {
        self.find(text)
            .ok_or_else(|| PolicyError::Undefined(text.to_owned()))
    }

    fn find(&self, text: &str) -> Option<Member> {
        let witness = self
            .witnesses
            .iter()
            .position(|witness| witness.name.as_str() == text);
        let group = || {
            self.groups
                .iter()
                .position(|group| group.name.as_str() == text)
        };
        witness
            .map(Member::Witness)
            .or_else(|| group().map(Member::Group))
    }
}

fn check_threshold(threshold: Threshold, members: usize) -> Result<usize, PolicyError> {
    if members == 0 {
        return Err(PolicyError::EmptyGroup);
    }
    let threshold = match threshold {
        Threshold::All => members,
        Threshold::Any => 1,
        Threshold::AtLeast(k) => k,
    };
    if (1..=members).contains(&threshold) {
        Ok(threshold)
    } else {
        Err(PolicyError::Threshold { threshold, members })
    }
}

fn check_url(url: Option<&str>) -> Result<Option<String>, PolicyError> {
    let bad = |byte: u8| byte <= b' ' || byte == 0x7f;
    match url {
        Some(text) if text.is_empty() || text.bytes().any(bad) => Err(PolicyError::Url),
        other => Ok(other.map(str::to_owned)),
    }
}
