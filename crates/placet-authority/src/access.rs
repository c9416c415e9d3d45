//! Who a caller is, and which principals it may act as: by the principal records and nothing else.
//!
//! How an identity was proven is the server's business; what it may do follows from the state. One
//! that no principal record names is nobody.

use placet_evidence::{Caller, PrincipalStatus};
use placet_state::{Principal, State};
use placet_types::{PrincipalId, Thumbprint};

/// Group whose members are operators.
pub const OPERATORS: &str = "operators";

/// A caller, as far as it has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Public,
    /// Whoever holds the key of this thumbprint.
    Key(Thumbprint),
    /// A process of this Unix user, by the kernel's word.
    Unix(u32),
}

impl Identity {
    /// How it stands in records; `None` for the public, which submits nothing.
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        match self {
            Self::Public => None,
            Self::Key(key) => Some(Caller::Key(key.clone())),
            Self::Unix(uid) => Some(Caller::Unix(*uid)),
        }
    }

    /// Whether this principal's record names it, and the principal may act.
    #[must_use]
    pub fn is(&self, principal: &Principal) -> bool {
        let named = match self {
            Self::Public => false,
            Self::Key(key) => principal.keys.contains(key),
            Self::Unix(uid) => principal.uids.contains(uid),
        };
        named && principal.status == PrincipalStatus::Active
    }

    /// Whether it may act as the principal of this name.
    #[must_use]
    pub fn may_act_as(&self, state: &State, id: &PrincipalId) -> bool {
        state
            .principal(id)
            .is_some_and(|principal| self.is(principal))
    }

    /// Every principal that it may act as.
    #[must_use]
    pub fn principals(&self, state: &State) -> Vec<PrincipalId> {
        let own = state
            .principals()
            .filter(|(_, principal)| self.is(principal));
        own.map(|(id, _)| id.clone()).collect()
    }

    /// The operator that it is.
    #[must_use]
    pub fn operator(&self, state: &State) -> Option<PrincipalId> {
        state
            .principals()
            .find(|(_, principal)| principal.groups.contains(OPERATORS) && self.is(principal))
            .map(|(id, _)| id.clone())
    }
}
