//! Refusals: which step failed, under which public code.

use std::fmt;
use std::str::FromStr;

use placet_types::{Denial, DenialCode};

/// The steps of verification, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The text is within its bound.
    Bounds,
    /// Three parts, canonical base64url, canonical JSON, the shape of claims.
    Parse,
    /// The header has the three members, and names the pinned key.
    Header,
    /// The signature verifies under the pinned key.
    Signature,
    /// The time lies in the window.
    Window,
    /// The domain is the pinned one.
    Issuer,
    /// The gateway is this one.
    Audience,
    /// The permit is in the log.
    Receipt,
    /// Nothing ended the authority early.
    Revocation,
    /// The call is the one that was decided.
    Intent,
    /// Its parameters are those that were decided.
    Params,
    /// The environment is the one that was appraised.
    Environment,
    /// The active policy is the one that was decided under.
    Policy,
    /// The presenter holds the key.
    Holder,
    /// The artifact is used for the first time.
    Replay,
}

/// A text that is no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown step of verification")]
pub struct UnknownStep;

/// An artifact was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} at {step}: {reason}")]
pub struct Refusal {
    /// The first step that failed.
    pub step: Step,
    /// The public code.
    pub code: DenialCode,
    /// What failed, in words that leak neither parameters nor the text of policies.
    pub reason: String,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 15] = [
        Self::Bounds,
        Self::Parse,
        Self::Header,
        Self::Signature,
        Self::Window,
        Self::Issuer,
        Self::Audience,
        Self::Receipt,
        Self::Revocation,
        Self::Intent,
        Self::Params,
        Self::Environment,
        Self::Policy,
        Self::Holder,
        Self::Replay,
    ];

    /// The name, as the specification and its vectors have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bounds => "bounds",
            Self::Parse => "parse",
            Self::Header => "header",
            Self::Signature => "signature",
            Self::Window => "window",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Receipt => "receipt",
            Self::Revocation => "revocation",
            Self::Intent => "intent",
            Self::Params => "params",
            Self::Environment => "environment",
            Self::Policy => "policy",
            Self::Holder => "holder",
            Self::Replay => "replay",
        }
    }
}

impl Refusal {
    pub(super) fn new(step: Step, code: DenialCode, reason: impl fmt::Display) -> Self {
        Self {
            step,
            code,
            reason: reason.to_string(),
        }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.reason)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        Self::ALL
            .into_iter()
            .find(|step| step.as_str() == text)
            .ok_or(UnknownStep)
    }
}
