//! Who a caller is, and which principals it may act as: by the principal records and by the rules of
//! the bundle in force, and nothing else.
//!
//! How an identity was proven is the server's business; what it may do follows from the log. One
//! that neither a record nor a rule names is nobody. A rule gives a name; only a record makes the
//! principal of that name exist, and active.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use placet_evidence::{Caller, PrincipalStatus, TokenIdentity};
use placet_policy::Mapping;
use placet_state::{Principal, State};
use placet_types::{Digest, Millis, PrincipalId, SpiffeId, Thumbprint};

use crate::authority::Authority;

/// Group whose members are operators.
pub const OPERATORS: &str = "operators";
/// Group whose members see everything, and change nothing.
pub const AUDITORS: &str = "auditors";

/// A caller, as far as it has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Public,
    /// Whoever holds the key of this thumbprint.
    Key(Thumbprint),
    /// A workload, by a certificate that counts until then.
    Spiffe(SpiffeId, Millis),
    /// Whoever a token says, which counts until then. Of its claims, those that rules name.
    Token(Arc<TokenIdentity>, Millis),
    /// A process of this Unix user, by the kernel's word.
    Unix(u32),
    /// A browser that signed in, and whose key stands for whoever did.
    Session {
        /// Who.
        by: SignedIn,
        /// Its key, which proves each of its requests.
        key: Thumbprint,
        /// It counts until then.
        until: Millis,
    },
}

/// Who signed a browser in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// The subject of an identity provider's token. It is whom the rules say, whatever the key is
    /// registered for.
    Token(Arc<TokenIdentity>),
    /// This user of the machine, by a one-time link.
    Unix(u32),
}

/// What says who is who at one index of the log: the records, and the rules then in force.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    state: &'a State,
    mapping: Option<&'a Mapping>,
}

/// The rules of a bundle, by its digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(pub(crate) Option<Digest>, pub(crate) Arc<Mapping>);

impl<'a> Access<'a> {
    /// Rules of another bundle than the one in force count for nothing.
    pub(crate) fn new(state: &'a State, rules: &'a Rules) -> Self {
        let active = state.policy().map(|active| active.bundle);
        let mapping = (active.is_some() && rules.0 == active).then_some(rules.1.as_ref());
        Self { state, mapping }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &'a State {
        self.state
    }

    fn active(&self, id: &PrincipalId) -> Option<&'a Principal> {
        let principal = self.state.principal(id)?;
        (principal.status == PrincipalStatus::Active).then_some(principal)
    }
}

impl Authority {
    /// Looks at who is who: the durable state, with the rules of the bundle in force.
    pub fn with_access<R>(&self, look: impl FnOnce(&Access<'_>) -> R) -> R {
        let rules = self.rules();
        // A bundle that came in force meanwhile leaves no rules for this one look.
        self.with_state(|state| look(&Access::new(state, &rules)))
    }

    /// The rules of the bundle in force. One that cannot be read has none.
    fn rules(&self) -> Rules {
        let active = self.with_state(|state| state.policy().map(|active| active.bundle));
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != active {
            let mapping = active.and_then(|digest| self.bundles().mapping(digest).ok());
            *known = Rules(active, Arc::new(mapping.unwrap_or_default()));
        }
        known.clone()
    }

    /// Of a token's claims, what the rules in force name.
    #[must_use]
    pub fn narrowed(&self, identity: TokenIdentity) -> TokenIdentity {
        self.rules().1.narrow(identity)
    }
}

impl Identity {
    /// How it stands in records; `None` for the public, which submits nothing.
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        match self {
            Self::Public => None,
            Self::Key(key)
            | Self::Session {
                by: SignedIn::Unix(_),
                key,
                ..
            } => Some(Caller::Key(key.clone())),
            Self::Spiffe(id, _) => Some(Caller::Spiffe(id.clone())),
            Self::Token(identity, _)
            | Self::Session {
                by: SignedIn::Token(identity),
                ..
            } => Some(Caller::Token(Box::new(identity.as_ref().clone()))),
            Self::Unix(uid) => Some(Caller::Unix(*uid)),
        }
    }

    /// Whether what proved it still counts at `now`.
    #[must_use]
    pub fn counts_at(&self, now: Millis) -> bool {
        match self {
            Self::Spiffe(_, until) | Self::Token(_, until) | Self::Session { until, .. } => {
                now < *until
            }
            Self::Public | Self::Key(_) | Self::Unix(_) => true,
        }
    }

    /// Whether this principal's record names it.
    fn is_registered(&self, principal: &Principal) -> bool {
        match self {
            Self::Key(key) => principal.keys.contains(key),
            Self::Unix(uid) => principal.uids.contains(uid),
            Self::Session {
                by: SignedIn::Unix(uid),
                key,
                ..
            } => principal.uids.contains(uid) || principal.keys.contains(key),
            Self::Public
            | Self::Spiffe(..)
            | Self::Token(..)
            | Self::Session {
                by: SignedIn::Token(_),
                ..
            } => false,
        }
    }

    /// The principals that the rules in force give it, registered or not.
    #[must_use]
    pub fn mapped(&self, access: &Access<'_>) -> BTreeSet<PrincipalId> {
        let mapping = access.mapping.filter(|mapping| !mapping.is_empty());
        match (mapping, self.caller()) {
            (Some(mapping), Some(caller)) => mapping.principals(&caller),
            (None, _) | (_, None) => BTreeSet::new(),
        }
    }

    /// Whether it may act as the principal of this name.
    #[must_use]
    pub fn may_act_as(&self, access: &Access<'_>, id: &PrincipalId) -> bool {
        access.active(id).is_some_and(|principal| {
            self.is_registered(principal) || self.mapped(access).contains(id)
        })
    }

    /// Every principal that it may act as, in order of their names.
    #[must_use]
    pub fn principals(&self, access: &Access<'_>) -> Vec<PrincipalId> {
        self.own(access).map(|(id, _)| id.clone()).collect()
    }

    /// Whether it may act as anybody.
    #[must_use]
    pub fn is_somebody(&self, access: &Access<'_>) -> bool {
        self.own(access).next().is_some()
    }

    /// Whether it sees what is about anybody: operators and auditors.
    #[must_use]
    pub fn sees_everything(&self, access: &Access<'_>) -> bool {
        self.own(access).any(|(_, principal)| {
            let groups = &principal.groups;
            groups.contains(OPERATORS) || groups.contains(AUDITORS)
        })
    }

    /// The operator that it is.
    #[must_use]
    pub fn operator(&self, access: &Access<'_>) -> Option<PrincipalId> {
        self.own(access)
            .find(|(_, principal)| principal.groups.contains(OPERATORS))
            .map(|(id, _)| id.clone())
    }

    fn own<'a>(
        &'a self,
        access: &'a Access<'a>,
    ) -> impl Iterator<Item = (&'a PrincipalId, &'a Principal)> {
        let mapped = self.mapped(access);
        access.state.principals().filter(move |(id, principal)| {
            principal.status == PrincipalStatus::Active
                && (self.is_registered(principal) || mapped.contains(*id))
        })
    }
}
