//! The claims of an authorization artifact, typed, with one spelling.
//!
//! Claims are plain data: whoever reads them knows what an artifact says, and is authorized to
//! nothing by it. That takes [`crate::verify`].

use std::collections::BTreeSet;
use std::fmt;

use placet_types::{
    ActionName, Commitment, Digest, DomainName, ExecutionId, FixedScope, GatewayName, Millis,
    PrincipalId, ProfileName, ResourceRef,
};
pub use placet_types::{Thumbprint, ThumbprintSyntax};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

mod check;

pub use check::ClaimsError;

/// What an artifact says. Fields stand in the order of their JSON names, which is canonical.
///
/// `S` is another form of a scope only while claims are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims<S = FixedScope> {
    /// Who acts for `sub`, if `sub` does not act itself (RFC 8693, section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
    /// The gateway that may use the artifact.
    pub aud: GatewayName,
    /// What is authorized (RFC 9396): exactly one object.
    pub authorization_details: [Detail<S>; 1],
    /// The key that the presenter must hold (RFC 7800).
    pub cnf: Confirmation,
    /// Digest of the environment that was appraised.
    pub env: Digest,
    /// The execution that is authorized.
    pub exec: ExecutionId,
    /// The window ends before this time.
    pub exp: NumericDate,
    /// When it was decided.
    pub iat: NumericDate,
    /// Digest of the canonical intent that was decided.
    pub intent: Digest,
    /// The domain that decided.
    pub iss: DomainName,
    /// Name of this artifact.
    pub jti: ArtifactId,
    /// How the authority is kept alive while the execution runs.
    pub lease: Lease,
    /// The window begins at this time.
    pub nbf: NumericDate,
    /// Commitment to the parameters.
    pub params: Commitment,
    /// The execution that asked, if it is governed itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ExecutionId>,
    /// The policy that was decided under.
    pub policy: PolicyRef,
    /// The profile that the scope is enforced with.
    pub profile: ProfileName,
    /// Profiles that policy rerouted the execution to, in order.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rerouted: BTreeSet<ProfileName>,
    /// The principal on whose behalf this happens.
    pub sub: PrincipalId,
    /// The execution at the root of the lineage; the execution itself where it has no parent.
    pub txn: ExecutionId,
    /// How often the artifact counts: once.
    pub uses: u64,
}

/// One link of a delegation chain: the outermost acts now, the innermost acted first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Who acted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
    /// Who acts.
    pub sub: PrincipalId,
}

/// What is authorized: an element of `authorization_details`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail<S = FixedScope> {
    /// What may be done.
    pub action: ActionName,
    /// What it may be done to.
    pub resource: ResourceRef,
    /// What the execution may touch, limits included.
    pub scope: S,
    /// Which kind of object this is.
    #[serde(rename = "type")]
    pub kind: DetailKind,
}

/// The one kind of authorization detail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetailKind {
    /// `placet-execution`
    #[default]
    #[serde(rename = "placet-execution")]
    Execution,
}

/// The `cnf` claim: which key the presenter must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Thumbprint of the holder's key (RFC 7638, as in RFC 9449, section 6.1).
    pub jkt: Thumbprint,
}

/// How authority is kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The lease is renewed at least this often, in milliseconds.
    pub interval_ms: u64,
    /// The view of the log may be at most this old, in milliseconds.
    pub staleness_ms: u64,
}

/// The policy that was decided under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    /// Digest of the bundle.
    pub bundle: Digest,
    /// Ids of the policies that determined the permit, in order.
    pub determining: BTreeSet<String>,
}

/// Seconds since the Unix epoch, UTC (RFC 7519, section 2). Whole ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumericDate(u64);

/// Name of an artifact: `art_` and the digits of its execution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactId(ExecutionId);

impl Claims {
    /// The canonical JSON: what is signed.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] when the claims break a rule of their own, so that nothing is issued that
    /// would be refused everywhere.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimsError> {
        self.check()?;
        placet_types::canonical::to_bytes(self).map_err(|_| ClaimsError::Shape)
    }

    /// Reads claims from their canonical JSON.
    ///
    /// Writing what was read and comparing is at least as strict as reading with
    /// [`placet_types::canonical`], and takes half the time: types without free-form members leave
    /// no room for a duplicate, an unknown name or an inexact number, and every other spelling,
    /// such as `null` for a member that is absent, differs from the one that is written.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] names the rule that is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClaimsError> {
        Self::decode_knowing(bytes, None)
    }

    /// As [`Claims::decode`], where the scope may be one that was read before: that is most of the work. Which answer
    /// comes out does not depend on it.
    ///
    /// # Errors
    ///
    /// As for [`Claims::decode`].
    pub fn decode_knowing(bytes: &[u8], known: Option<&FixedScope>) -> Result<Self, ClaimsError> {
        let claims: Claims<&RawValue> =
            serde_json::from_slice(bytes).map_err(|_| ClaimsError::Shape)?;
        let claims = claims.with_scope(|text| match known {
            Some(known) if known.text() == text.get() => Ok(known.clone()),
            Some(_) | None => serde_json::from_str(text.get()).map_err(|_| ClaimsError::Shape),
        })?;
        if claims.encode()? == bytes {
            Ok(claims)
        } else {
            Err(ClaimsError::NotCanonical)
        }
    }

    /// What is authorized.
    #[must_use]
    pub fn detail(&self) -> &Detail {
        let [detail] = &self.authorization_details;
        detail
    }

    /// Who acts now: the outermost actor, or `sub` itself.
    #[must_use]
    pub fn actor(&self) -> &PrincipalId {
        self.act.as_ref().map_or(&self.sub, |actor| &actor.sub)
    }

    /// Everyone in the delegation chain: `sub`, then the actors, the current one first.
    ///
    /// Authority ends when any of them is suspended.
    pub fn principals(&self) -> impl Iterator<Item = &PrincipalId> {
        let actors = std::iter::successors(self.act.as_deref(), |actor| actor.act.as_deref());
        std::iter::once(&self.sub).chain(actors.map(|actor| &actor.sub))
    }
}

impl<S> Claims<S> {
    /// The same with another form of its scope.
    fn with_scope<T, E>(self, other: impl FnOnce(S) -> Result<T, E>) -> Result<Claims<T>, E> {
        let [detail] = self.authorization_details;
        let detail = Detail {
            action: detail.action,
            resource: detail.resource,
            scope: other(detail.scope)?,
            kind: detail.kind,
        };
        Ok(Claims {
            act: self.act,
            aud: self.aud,
            authorization_details: [detail],
            cnf: self.cnf,
            env: self.env,
            exec: self.exec,
            exp: self.exp,
            iat: self.iat,
            intent: self.intent,
            iss: self.iss,
            jti: self.jti,
            lease: self.lease,
            nbf: self.nbf,
            params: self.params,
            parent: self.parent,
            policy: self.policy,
            profile: self.profile,
            rerouted: self.rerouted,
            sub: self.sub,
            txn: self.txn,
            uses: self.uses,
        })
    }
}

impl NumericDate {
    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn new(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The same instant in milliseconds, saturating.
    #[must_use]
    pub const fn as_millis(self) -> Millis {
        Millis::new(self.0.saturating_mul(1000))
    }
}

impl ArtifactId {
    /// Name of the artifact of an execution.
    #[must_use]
    pub const fn of(exec: ExecutionId) -> Self {
        Self(exec)
    }

    /// The execution that it authorizes.
    #[must_use]
    pub const fn execution(self) -> ExecutionId {
        self.0
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.artifact_id())
    }
}

impl fmt::Debug for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ArtifactId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArtifactId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ExecutionId::parse_artifact_id(&String::deserialize(deserializer)?)
            .map(Self)
            .ok_or_else(|| {
                serde::de::Error::custom("an artifact is named art_ and 32 lower-case hex digits")
            })
    }
}
