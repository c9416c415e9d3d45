//! The rules that claims keep beyond their types. Issuer and verifier hold to the same ones.

use super::{Actor, ArtifactId, Claims};

/// Why claims are no claims of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Not the JSON of claims: a member is missing, unknown, repeated, or of another form.
    #[error("the claims do not have the shape of an artifact's claims")]
    Shape,
    /// Read, but spelled otherwise than in canonical form.
    #[error("the claims are not in canonical form (RFC 8785)")]
    NotCanonical,
    /// A number past 2⁵³ − 1, which JSON readers do not all read alike.
    #[error("a number in the claims is greater than 2^53 - 1")]
    Number,
    /// `jti` and `exec` do not share their digits.
    #[error("the artifact is named after another execution")]
    OtherExecution,
    /// The delegation chain has more than [`Claims::ACTORS_MAX`] actors.
    #[error("the delegation chain is longer than {} actors", Claims::ACTORS_MAX)]
    DelegationDepth,
    /// `parent` and `txn` contradict each other.
    #[error("the root of the lineage does not fit the parent")]
    Lineage,
    /// The window is empty, or ends before the decision was made.
    #[error("the window is empty")]
    Window,
    /// No determining policy, more than [`Claims::POLICIES_MAX`], or an id past its bound.
    #[error("the determining policies are out of bounds")]
    Policies,
    /// A resource name or kind out of bounds.
    #[error("the resource is out of bounds")]
    Resource,
    /// A scope whose write trees are no read trees.
    #[error("the scope is not in normal form")]
    Scope,
    /// A lease that is never renewed or bears no staleness at all.
    #[error("the lease has an empty interval")]
    Lease,
    /// Other than one use.
    #[error("an artifact counts once")]
    Uses,
}

/// Largest integer that every JSON reader reads alike (RFC 7493, section 2.2).
const EXACT_MAX: u64 = (1 << 53) - 1;

impl Claims {
    /// Most actors in a delegation chain.
    pub const ACTORS_MAX: usize = 8;
    /// Most determining policies.
    pub const POLICIES_MAX: usize = 64;
    /// Longest id of a policy, in bytes.
    pub const POLICY_ID_BYTES_MAX: usize = 128;

    pub(super) fn check(&self) -> Result<(), ClaimsError> {
        let rules = [
            (self.numbers_are_exact(), ClaimsError::Number),
            (
                self.jti == ArtifactId::of(self.exec),
                ClaimsError::OtherExecution,
            ),
            (
                self.principals().nth(Self::ACTORS_MAX + 1).is_none(),
                ClaimsError::DelegationDepth,
            ),
            (self.lineage_fits(), ClaimsError::Lineage),
            (
                self.nbf < self.exp && self.iat < self.exp,
                ClaimsError::Window,
            ),
            (self.policies_fit(), ClaimsError::Policies),
            (
                self.detail().resource.check().is_ok(),
                ClaimsError::Resource,
            ),
            (self.scope_is_normal(), ClaimsError::Scope),
            (
                self.lease.interval_ms > 0 && self.lease.staleness_ms > 0,
                ClaimsError::Lease,
            ),
            (self.uses == 1, ClaimsError::Uses),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn numbers_are_exact(&self) -> bool {
        let limits = self.detail().scope.limits;
        let numbers = [
            self.exp.get(),
            self.iat.get(),
            self.nbf.get(),
            self.lease.interval_ms,
            self.lease.staleness_ms,
            limits.cpu_secs,
            limits.file_size_bytes,
            limits.memory_bytes,
            limits.open_files,
            limits.processes,
            limits.tmp_bytes,
            limits.tree_cpu_percent.unwrap_or(0),
            limits.tree_memory_bytes.unwrap_or(0),
            limits.wall_secs,
        ];
        numbers.into_iter().all(|number| number <= EXACT_MAX)
    }

    /// A root is its own root; whatever has a parent has another root than itself.
    fn lineage_fits(&self) -> bool {
        match self.parent {
            None => self.txn == self.exec,
            Some(parent) => self.txn != self.exec && parent != self.exec,
        }
    }

    fn policies_fit(&self) -> bool {
        let ids = &self.policy.determining;
        (1..=Self::POLICIES_MAX).contains(&ids.len())
            && ids
                .iter()
                .all(|id| (1..=Self::POLICY_ID_BYTES_MAX).contains(&id.len()))
    }

    fn scope_is_normal(&self) -> bool {
        let scope = &self.detail().scope;
        scope.write.is_within(&scope.read)
    }
}

impl Actor {
    /// A chain of actors, the current one first; `None` for an empty list.
    ///
    /// A list that is too long for claims gives a chain that is too long for them, by one.
    #[must_use]
    pub fn chain(mut current_first: Vec<placet_types::PrincipalId>) -> Option<Box<Self>> {
        current_first.truncate(Claims::ACTORS_MAX + 1);
        current_first
            .into_iter()
            .rev()
            .fold(None, |act, sub| Some(Box::new(Self { act, sub })))
    }
}
