//! `identities.toml`: which proven identities act as which principals.
//!
//! A rule names one kind of identity and one principal. A rule only ever adds: an identity may act as
//! each principal that some rule gives it, if that principal is registered and active; that is for
//! whoever asks to look at. There is no way to make a [`Mapping`] but to read a bundle.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use placet_evidence::{Caller, TokenIdentity};
use placet_types::{PrincipalId, SpiffeId, Thumbprint, TrustDomain};

pub(crate) use read::{FileIdentity, read};

pub(crate) const FILE: &str = "identities.toml";

/// Claims of one identity provider that all rules together may name.
pub(crate) const CLAIMS_MAX: usize = 32;
/// Rules that a bundle may have.
pub(crate) const RULES_MAX: usize = 2_000;

/// Values by the names of claims.
pub(crate) type Claims = BTreeMap<String, BTreeSet<String>>;

/// The rules of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    rules: Vec<MappingRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappingRule {
    /// Where it stands, from 1.
    pub(crate) line: u32,
    pub(crate) who: Who,
    pub(crate) principal: Named,
}

/// Which identities a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Key(Thumbprint),
    Unix(u32),
    Spiffe(Workloads),
    Token(Subjects),
}

/// Workloads of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Workloads {
    One(SpiffeId),
    /// Those one part below: `spiffe://example.org/ci/*`. The prefix ends with its `/`.
    Below(TrustDomain, String),
}

/// Subjects of an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subjects {
    pub(crate) issuer: String,
    /// One of them only.
    pub(crate) subject: Option<String>,
    /// Each of these claims has one of these values.
    pub(crate) claims: Claims,
}

/// The principal that a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Fixed(PrincipalId),
    /// `before{of}after`: what stands in the braces is a part of the identity.
    Made {
        before: String,
        of: Part,
        after: String,
    },
}

/// A part of an identity that can stand in a principal's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The subject of a token.
    Subject,
    /// The one value of a claim.
    Claim(String),
    /// What `*` stands for in a workload's id.
    Wildcard,
}

impl Mapping {
    /// The principals that this identity is, by the rules. Nobody, when no rule is about it.
    #[must_use]
    pub fn principals(&self, caller: &Caller) -> BTreeSet<PrincipalId> {
        let rules = self.rules.iter();
        rules.filter_map(|rule| rule.principal_of(caller)).collect()
    }

    /// Of the claims of a token, those that rules name, with the values that they name. The rest is
    /// nobody's business and not recorded.
    #[must_use]
    pub fn narrow(&self, identity: TokenIdentity) -> TokenIdentity {
        let mut kept = Claims::new();
        for rule in &self.rules {
            let Who::Token(subjects) = &rule.who else {
                continue;
            };
            if subjects.issuer != identity.issuer {
                continue;
            }
            for (name, wanted) in &subjects.claims {
                let given = identity.claims.get(name).into_iter().flatten();
                let named: Vec<_> = given.filter(|value| wanted.contains(*value)).collect();
                if !named.is_empty() {
                    let kept = kept.entry(name.clone()).or_default();
                    kept.extend(named.into_iter().cloned());
                }
            }
            if let Some(name) = rule.principal.claim()
                && let Some(values) = identity.claims.get(name)
            {
                kept.entry(name.to_owned())
                    .or_default()
                    .extend(values.iter().cloned());
            }
        }
        TokenIdentity {
            claims: kept,
            ..identity
        }
    }

    /// The identity providers that rules name.
    #[must_use]
    pub fn issuers(&self) -> BTreeSet<&str> {
        let mut issuers = BTreeSet::new();
        for rule in &self.rules {
            if let Who::Token(subjects) = &rule.who {
                issuers.insert(subjects.issuer.as_str());
            }
        }
        issuers
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn rules(&self) -> &[MappingRule] {
        &self.rules
    }
}

impl MappingRule {
    fn principal_of(&self, caller: &Caller) -> Option<PrincipalId> {
        match (&self.who, caller) {
            (Who::Key(own), Caller::Key(key)) if own == key => self.principal.fixed(),
            (Who::Unix(own), Caller::Unix(uid)) if own == uid => self.principal.fixed(),
            (Who::Spiffe(workloads), Caller::Spiffe(id)) => {
                let wildcard = workloads.hold(id)?;
                self.principal.of_workload(wildcard)
            }
            (Who::Token(subjects), Caller::Token(identity)) if subjects.hold(identity) => {
                self.principal.of_token(identity)
            }
            _ => None,
        }
    }
}

impl Workloads {
    /// What `*` stands for, when this is one of them; nothing, where there is no `*`.
    fn hold<'a>(&self, id: &'a SpiffeId) -> Option<&'a str> {
        match self {
            Self::One(own) => (own == id).then_some(""),
            Self::Below(_, prefix) => {
                let last = id.as_str().strip_prefix(prefix.as_str())?;
                (!last.contains('/')).then_some(last)
            }
        }
    }
}

impl Subjects {
    fn hold(&self, identity: &TokenIdentity) -> bool {
        let own = self.subject.as_ref();
        let has = |(name, wanted): (&String, &BTreeSet<String>)| {
            let given = identity.claims.get(name);
            given.is_some_and(|given| !given.is_disjoint(wanted))
        };
        self.issuer == identity.issuer
            && own.is_none_or(|own| *own == identity.subject)
            && self.claims.iter().all(has)
    }
}

impl Named {
    fn claim(&self) -> Option<&str> {
        match self {
            Self::Made {
                of: Part::Claim(name),
                ..
            } => Some(name),
            Self::Made { .. } | Self::Fixed(_) => None,
        }
    }

    fn fixed(&self) -> Option<PrincipalId> {
        match self {
            Self::Fixed(id) => Some(id.clone()),
            Self::Made { .. } => None,
        }
    }

    fn of_workload(&self, wildcard: &str) -> Option<PrincipalId> {
        match self {
            Self::Fixed(id) => Some(id.clone()),
            Self::Made {
                of: Part::Wildcard, ..
            } => self.made(wildcard),
            Self::Made { .. } => None,
        }
    }

    fn of_token(&self, identity: &TokenIdentity) -> Option<PrincipalId> {
        match self {
            Self::Fixed(id) => Some(id.clone()),
            Self::Made {
                of: Part::Subject, ..
            } => self.made(&identity.subject),
            Self::Made {
                of: Part::Claim(name),
                ..
            } => {
                // Of two values it cannot be said which one names the principal.
                let mut values = identity.claims.get(name)?.iter();
                match (values.next(), values.next()) {
                    (Some(value), None) => self.made(value),
                    _ => None,
                }
            }
            Self::Made { .. } => None,
        }
    }

    /// The name with this in it, where that is a name: nothing is trimmed, folded or escaped.
    fn made(&self, value: &str) -> Option<PrincipalId> {
        let Self::Made { before, after, .. } = self else {
            return None;
        };
        PrincipalId::parse(&format!("{before}{value}{after}")).ok()
    }
}

/// An identity as people read it.
pub(crate) fn in_words(caller: &Caller) -> String {
    match caller {
        Caller::Execution(exec) => exec.to_string(),
        Caller::Key(key) => format!("key {key}"),
        Caller::Spiffe(id) => id.to_string(),
        Caller::Token(identity) => format!("{} of {}", identity.subject, identity.issuer),
        Caller::Unix(uid) => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests;
