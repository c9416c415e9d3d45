//! Verification: from a presented text to the proof that it authorizes one call, now.
//!
//! [`Verifier::verify`] takes fifteen steps in one order, the order of [`Step`]; the first that
//! fails names the refusal. It holds everything that does not change between calls: the domain, its
//! keys, its log. It reads no clock and asks nobody: time, the state of the domain and the call
//! itself are the caller's to say, in [`Expected`].
//!
//! Out of scope: the order of revocations against what runs, leases, and a replay guard that
//! survives its process.

use placet_tlog::Policy;
use placet_types::{
    Commitment, Digest, DomainName, GatewayName, Index, Intent, Millis, PublicKey, Salt, Seconds,
};

use crate::artifact::digest_of;
use crate::claims::Claims;
use crate::holder::Holder;
use crate::receipt::{KnownLog, Receipt};
use crate::replay::ReplayGuard;

mod bind;
mod read;
mod refusal;

pub use refusal::{Refusal, Step, UnknownStep};

/// Verifies the artifacts of one domain.
#[derive(Debug)]
pub struct Verifier {
    domain: DomainName,
    artifact_key: PublicKey,
    record_key: PublicKey,
    log: KnownLog,
    scope: read::LastScope,
}

/// What a verifier trusts.
#[derive(Clone, Debug)]
pub struct Pins {
    /// The domain: issuer of every artifact, origin of the log.
    pub domain: DomainName,
    /// The key that signs artifacts.
    pub artifact_key: PublicKey,
    /// The key that signs records.
    pub record_key: PublicKey,
    /// The log's key, and the cosignatures that a checkpoint needs.
    pub log: Policy,
}

/// Why pins make no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// The policy names no log, or one whose origin is not the domain.
    #[error("the log policy must name logs of the domain, and no others")]
    OtherLog,
    /// One key has two roles, so that whoever has it has both.
    #[error("a key is pinned for two roles")]
    SharedKey,
}

/// What a presenter brings. Nothing of it is believed.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The compact text.
    pub artifact: &'a str,
    /// The receipt of its decision.
    pub receipt: &'a Receipt,
    /// What shows that the presenter holds the key that the artifact is bound to.
    pub holder: Holder<'a>,
}

/// What the verifier knows by itself: the actual call, and the world as it is now.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The gateway that verifies.
    pub gateway: &'a GatewayName,
    /// The intent that the actual call amounts to.
    pub intent: &'a Intent,
    /// The parameters of the actual call.
    pub params: ActualParams<'a>,
    /// Digest of the environment as it is appraised now.
    pub environment: &'a Digest,
    /// Digest of the policy bundle that is active now.
    pub policy: &'a Digest,
    /// What the log says now about the standing of this authority.
    pub revocations: &'a dyn Revocations,
    /// The challenge that the holder had to sign: fresh for each presentation.
    pub challenge: &'a [u8],
    /// The time now.
    pub now: Millis,
    /// How far the clocks of issuer and verifier may be apart.
    pub skew: Skew,
}

/// The parameters of the actual call, opened against the commitment.
#[derive(Clone, Copy, Debug)]
pub enum ActualParams<'a> {
    /// The canonical bytes that will be carried out, and the salt of the commitment.
    Opening {
        /// The canonical bytes.
        payload: &'a [u8],
        /// The salt.
        salt: &'a Salt,
    },
    /// The commitment that the caller computed itself from the bytes that will be carried out.
    Committed(Commitment),
}

/// How far two clocks may be apart: at most [`Skew::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew(Seconds);

/// Says whether authority has ended early.
pub trait Revocations {
    /// The standing of this authority: of its execution, its ancestors, every principal in its
    /// chain, its policy, the domain.
    fn standing(&self, claims: &Claims) -> Standing;
}

/// The standing of an authority, by a view of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing ended it.
    Live,
    /// A revocation or a suspension ended it.
    Revoked,
    /// The domain is halted.
    Halted,
    /// The view is too old to say.
    Stale,
}

/// Proof that an artifact authorizes the expected call, once, now.
///
/// Made by [`Verifier::verify`] and by nothing else; it cannot be copied.
///
/// ```compile_fail
/// fn twice(verified: placet_artifact::Verified) {
///     let copy = verified.clone();
/// }
/// ```
///
/// ```compile_fail
/// fn forged(claims: placet_artifact::Claims) -> placet_artifact::Verified {
///     placet_artifact::Verified { claims, ..unimplemented!() }
/// }
/// ```
#[derive(Debug)]
#[must_use = "the artifact is used up now, whether or not anything is done with it"]
pub struct Verified {
    claims: Claims,
    digest: Digest,
    index: Index,
}

/// Proof that the domain issued an artifact and decided so in its log. Authorizes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    claims: Claims,
    digest: Digest,
    index: Index,
}

impl Verifier {
    /// A verifier that trusts these pins.
    ///
    /// # Errors
    ///
    /// [`PinError`] when the pins contradict each other.
    pub fn new(pins: Pins) -> Result<Self, PinError> {
        let Pins {
            domain,
            artifact_key,
            record_key,
            log,
        } = pins;
        let of_domain =
            |log: &placet_tlog::policy::Log| log.key().name().as_str() == domain.as_str();
        if log.logs().is_empty() || !log.logs().iter().all(of_domain) {
            return Err(PinError::OtherLog);
        }
        let shared = |key: &PublicKey| log.keys().any(|other| other.public_key() == key);
        if artifact_key == record_key || shared(&artifact_key) || shared(&record_key) {
            return Err(PinError::SharedKey);
        }
        Ok(Self {
            domain,
            artifact_key,
            record_key,
            log: KnownLog::new(log),
            scope: read::LastScope::default(),
        })
    }

    /// Verifies that what is presented authorizes what is expected, and uses it up.
    ///
    /// # Errors
    ///
    /// [`Refusal`] names the first step that failed and its public code. Nothing is used up then.
    pub fn verify(
        &self,
        presented: &Presented<'_>,
        expected: &Expected<'_>,
        replay: &mut dyn ReplayGuard,
    ) -> Result<Verified, Refusal> {
        let claims = read::signed_claims(presented.artifact, &self.artifact_key, &self.scope)?;
        let digest = digest_of(presented.artifact);
        bind::window(&claims, expected)?;
        read::issuer(&claims, &self.domain)?;
        bind::audience(&claims, expected)?;
        let index = read::receipt(presented.receipt, &digest, &self.log)?;
        bind::standing(&claims, expected)?;
        bind::intent(&claims, expected)?;
        bind::params(&claims, expected)?;
        bind::environment(&claims, expected)?;
        bind::policy(&claims, expected)?;
        bind::holder(&claims, &digest, presented.holder, expected)?;
        // Last, so that an artifact that is refused for another reason is not used up by it.
        bind::first_use(&claims, index, expected, replay)?;
        Ok(Verified {
            claims,
            digest,
            index,
        })
    }

    /// Verifies that the domain issued this artifact and that its permit is in the log.
    ///
    /// For reading evidence afterwards: no call, no clock and no holder; in exchange the record's
    /// own signature is checked too.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as for [`Self::verify`].
    pub fn audit(&self, artifact: &str, receipt: &Receipt) -> Result<Audited, Refusal> {
        let claims = read::signed_claims(artifact, &self.artifact_key, &self.scope)?;
        let digest = digest_of(artifact);
        read::issuer(&claims, &self.domain)?;
        let index = read::receipt(receipt, &digest, &self.log)?;
        read::record(receipt, &self.record_key)?;
        Ok(Audited {
            claims,
            digest,
            index,
        })
    }

    /// The domain whose artifacts are verified.
    #[must_use]
    pub const fn domain(&self) -> &DomainName {
        &self.domain
    }
}

impl Skew {
    /// The widest skew: one minute.
    pub const MAX: Self = Self(Seconds::new(60));
    /// Clocks that agree: issuer and verifier read the same one.
    pub const NONE: Self = Self(Seconds::new(0));

    /// A skew, cut to [`Self::MAX`].
    #[must_use]
    pub fn at_most(skew: Seconds) -> Self {
        Self(skew.min(Self::MAX.0))
    }

    /// In seconds.
    #[must_use]
    pub const fn as_seconds(self) -> Seconds {
        self.0
    }
}

impl<F: Fn(&Claims) -> Standing> Revocations for F {
    fn standing(&self, claims: &Claims) -> Standing {
        self(claims)
    }
}

impl Verified {
    /// What is authorized.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Digest of the artifact.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where in the log the decision stands.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }

    /// Gives up the proof for what it proved.
    #[must_use]
    pub fn into_claims(self) -> Claims {
        self.claims
    }
}

impl Audited {
    /// What was authorized.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Digest of the artifact.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where in the log the decision stands.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }
}
