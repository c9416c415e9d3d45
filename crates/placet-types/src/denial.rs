//! Denial codes: stable, public strings. The same words name why running work was ended.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines the codes: name, string, and what would have to change.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $remedy:literal;)*) => {
        /// Why an intent was denied, or an execution ended. The strings never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum DenialCode {
            $($(#[$doc])* $variant,)*
        }

        impl DenialCode {
            /// Every code, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The public string.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// What would have to change for the same intent to be permitted, in general words.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),* }
            }
        }
    };
}

codes! {
    /// Deny by default: no permit applies.
    NoPermit = "no_permit",
        "a policy would have to permit this; see `placet policy status` for the rules in force";
    /// A forbid policy applies.
    PolicyForbids = "policy_forbids",
        "a policy forbids this on purpose; ask whoever keeps the policy bundle";
    /// A policy failed to evaluate, or ran past its budget.
    PolicyError = "policy_error",
        "a policy failed while it was evaluated; its keeper must mend it (`placet policy check`)";
    /// The policy in force is not the one that was decided under, or permits this no longer.
    PolicyMismatch = "policy_mismatch",
        "the policy changed since the decision; submit the intent again";
    /// The principal is unknown, or the caller may not act as it.
    IdentityUnverified = "identity_unverified",
        "act as a principal that is registered for you (`placet principal list`)";
    /// The caller has proven who it is, and no rule of the bundle says which principal that is.
    IdentityUnmapped = "identity_unmapped",
        "add a rule for this identity to identities.toml of the bundle, and activate it";
    /// A signature does not verify.
    InvalidSignature = "invalid_signature",
        "the artifact is not what the authority signed; submit the intent again";
    /// The window is over.
    Expired = "expired",
        "the authority lasted for its window only; submit the intent again";
    /// The window has not begun.
    NotYetValid = "not_yet_valid",
        "the authority begins later; check the clocks of the gateway and the node";
    /// Authority was ended early.
    Revoked = "revoked",
        "an operator revoked this authority; ask for it anew";
    /// A single-use artifact was presented again.
    Replayed = "replayed",
        "an artifact counts once; submit the intent again";
    /// The call is not the one that was decided.
    IntentMismatch = "intent_mismatch",
        "the artifact is for another call; submit an intent for this one";
    /// More was asked than may be granted.
    ScopeExceeded = "scope_exceeded",
        "ask for less: what was asked goes beyond the profile or the parent's scope";
    /// A secret that would be handed over is not set.
    CredentialMissing = "credential_missing",
        "the profile hands over a secret that the domain does not hold; see `placet secret list`";
    /// A secret cannot be handed over as it is stored.
    CredentialUnavailable = "credential_unavailable",
        "the store of secrets cannot be used; `placet secret list` says what is wrong with it";
    /// The parent execution is unknown, has ended, or may not have this child.
    LineageFragmented = "lineage_fragmented",
        "the parent execution must be running and allow a child at this depth";
    /// The environment is not appraised as trusted.
    EnvironmentUntrusted = "environment_untrusted",
        "the machine does not match the bundle's reference values; see `placet explain`";
    /// A program or a definition changed after it was authorized.
    RuntimeIntegrity = "runtime_integrity",
        "the program changed after it was authorized; submit the intent again";
    /// The lease was not renewed.
    AuthorizationDiscontinuity = "authorization_discontinuity",
        "the authority could not be reached to renew the lease; start again once it can";
    /// The view of the log is too old.
    GovernanceDiscontinuity = "governance_discontinuity",
        "the view of the log is older than its bound; start again once the log can be read";
    /// The log cannot be written or read, so nothing may run.
    EvidenceUnavailable = "evidence_unavailable",
        "the evidence log cannot be written; see `placet log fsck` and the disk";
    /// The receipt does not prove the decision.
    ReceiptInvalid = "receipt_invalid",
        "the receipt does not prove that the decision is in the log; submit the intent again";
    /// Approvals are needed first.
    ApprovalRequired = "approval_required",
        "someone else must approve this first";
    /// The risk is higher than the policy accepts.
    RiskExceeded = "risk_exceeded",
        "the recent behaviour of this principal is too risky; wait, or ask an operator";
    /// The behaviour tripped a limit of the profile.
    Anomaly = "anomaly",
        "the execution behaved outside its profile's limits";
    /// The domain is halted.
    Halted = "halted",
        "an operator halted the domain; it continues with `placet resume`";
    /// Too much at once.
    Overloaded = "overloaded",
        "too many intents at once; try again a little later";
    /// The input does not parse strictly.
    Malformed = "malformed",
        "the intent breaks a rule of its format; the explanation names the rule";
    /// The artifact names another gateway.
    AudienceMismatch = "audience_mismatch",
        "the artifact is for another gateway";
    /// The artifact comes from another domain.
    WrongDomain = "wrong_domain",
        "the artifact was issued by another domain than this one";
    /// The presenter does not hold the key that the artifact is bound to.
    HolderMismatch = "holder_mismatch",
        "only the gateway that the artifact was issued to can use it";
    /// This machine cannot enforce a part of the scope.
    Unenforceable = "unenforceable",
        "this machine cannot enforce the scope; see `placet doctor`";
}

/// A text that is no denial code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown denial code")]
pub struct UnknownCode;

/// A denial as a value: not an error of the system, but its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The stable code.
    pub code: DenialCode,
    /// What failed, in words that leak neither parameters nor the text of policies.
    pub reason: String,
}

impl Denial {
    /// A denial with its reason.
    #[must_use]
    pub fn new(code: DenialCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl FromStr for DenialCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or(UnknownCode)
    }
}

impl Serialize for DenialCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DenialCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_string_and_reads_back() {
        let mut seen = std::collections::BTreeSet::new();
        for code in DenialCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }

    #[test]
    fn the_published_codes_are_all_here() {
        let published = [
            "no_permit",
            "policy_forbids",
            "policy_error",
            "policy_mismatch",
            "identity_unverified",
            "invalid_signature",
            "expired",
            "revoked",
            "replayed",
            "intent_mismatch",
            "scope_exceeded",
            "lineage_fragmented",
            "environment_untrusted",
            "runtime_integrity",
            "authorization_discontinuity",
            "governance_discontinuity",
            "evidence_unavailable",
            "approval_required",
            "risk_exceeded",
            "anomaly",
            "halted",
            "overloaded",
            "malformed",
        ];
        for text in published {
            assert!(text.parse::<DenialCode>().is_ok(), "{text}");
        }
    }
}
