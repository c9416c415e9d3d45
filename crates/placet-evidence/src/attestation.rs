//! Attestations: what a gateway says of its machine and itself, signed, and how that was appraised.
//!
//! In the words of RFC 9334: the claims are [`Environment`], what backs them is [`Backing`], the gateway
//! is the attester, the node the verifier. An [`Attestation`] goes beside the claims that it is about and holds what
//! else was signed, so that a record with both lets anybody check the signature. How fresh it is, the
//! node's [`Nonce`] says, never the attester's clock.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use placet_artifact::dsse::pae;
use placet_types::canonical::{self, Bounds, Malformed};
use placet_types::{DomainName, Fixed, Millis, PublicKey, Signature, SigningKey};

use crate::facts::Environment;

/// Payload type of what an attester signs (DSSE).
pub const ATTESTATION_TYPE: &str = "application/vnd.placet.attestation+json";

/// Longest attestation, in bytes.
pub const ATTESTATION_BYTES_MAX: usize = 8192;

/// Longest part of a quote, in bytes.
const QUOTE_BYTES_MAX: usize = 1024;

/// What a node gives out to be signed: the time by its clock, 16 random bytes, and 16 by which it knows its own again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce([u8; Self::BYTES]);

/// A text that is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is 40 bytes in base64url")]
pub struct NonceSyntax;

/// What stands behind the claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backing {
    /// The attester's word, and that it holds its key.
    SelfReported,
    /// A quote of a TPM 2.0. No verifier here can appraise one yet, so one that comes is refused.
    TpmQuote(TpmQuote),
}

/// A quote of a TPM 2.0, whose qualifying data is the digest of the statement without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmQuote {
    /// The attestation key, as `TPM2B_PUBLIC`.
    pub key: QuotePart,
    /// What was signed, as `TPMS_ATTEST`.
    pub quoted: QuotePart,
    /// The signature, as `TPMT_SIGNATURE`.
    pub signature: QuotePart,
}

/// One part of a quote: 1 to 1024 bytes, base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotePart(Vec<u8>);

/// What an attester signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationStatement {
    /// What stands behind the claims.
    pub backing: Backing,
    /// To whom it is said: it counts in no other domain.
    pub domain: DomainName,
    /// The claims.
    pub environment: Fixed<Environment>,
    /// When, by the attester's clock.
    pub issued: Millis,
    /// The node's nonce.
    pub nonce: Nonce,
}

/// An attestation without the claims and the domain, which stand beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// What stands behind the claims.
    pub backing: Backing,
    /// When, by the attester's clock.
    pub issued: Millis,
    /// The attester's own key: the one that the artifact is bound to.
    pub key: PublicKey,
    /// The node's nonce.
    pub nonce: Nonce,
    /// Of the key, over the [`AttestationStatement`].
    pub signature: Signature,
}

/// Why an attestation counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// Signed by another key than the gateway's own.
    #[error(
        "the attestation is signed by another key than the one that the artifact would be bound to"
    )]
    OtherKey,
    /// The signature does not verify over these claims, in this domain.
    #[error("the signature of the attestation does not verify over these claims")]
    BadSignature,
    /// What stands behind the claims cannot be appraised here.
    #[error("no verifier here can appraise a `{0}`; attest with `self_reported`")]
    Unsupported(&'static str),
}

/// How far an environment is trusted: the tiers of EAR (RFC 9334 attestation results).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppraisalStatus {
    /// Nothing can be said: nobody attested, or too long ago.
    None,
    /// A reference value rules it out.
    Contraindicated,
    /// It is accepted, with a warning.
    Warning,
    /// It is as the reference values want it.
    Affirming,
}

/// What reference values speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Machine architecture.
    Architecture,
    /// Image of the gateway's container.
    Container,
    /// Distribution and version.
    Distribution,
    /// The program that is to run.
    Executable,
    /// The gateway's own program.
    Gateway,
    /// Version of the gateway.
    GatewayVersion,
    /// Kernel release.
    Kernel,
    /// Landlock ABI.
    Landlock,
    /// The machine.
    Machine,
    /// Where it stands.
    Region,
    /// What can be enforced.
    Tier,
    /// Where it stands within the region.
    Zone,
}

/// How an attested environment was appraised against the reference values of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appraisal {
    /// Claims that a reference value affirms.
    pub affirming: BTreeSet<Claim>,
    /// Seconds since the node gave out the nonce; absent where nobody attested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_secs: Option<u64>,
    /// Claims that the reference values rule out.
    pub contraindicated: BTreeSet<Claim>,
    /// The whole.
    pub status: AppraisalStatus,
    /// Claims that are accepted with a warning.
    pub warning: BTreeSet<Claim>,
}

impl Nonce {
    /// Bytes of a nonce.
    pub const BYTES: usize = 40;

    /// From its parts.
    #[must_use]
    pub fn new(time: Millis, random: [u8; 16], mark: [u8; 16]) -> Self {
        let mut bytes = [0; Self::BYTES];
        let parts = time
            .get()
            .to_be_bytes()
            .into_iter()
            .chain(random)
            .chain(mark);
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// When the node gave it out, by the node's clock.
    #[must_use]
    pub fn time(&self) -> Millis {
        let first = self.0.first_chunk::<8>().copied().unwrap_or_default();
        Millis::new(u64::from_be_bytes(first))
    }

    /// What the mark is made of.
    #[must_use]
    pub fn marked(&self) -> &[u8] {
        self.0.get(..24).unwrap_or_default()
    }

    /// The mark.
    #[must_use]
    pub fn mark(&self) -> [u8; 16] {
        self.0.last_chunk::<16>().copied().unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, NonceSyntax> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NonceSyntax)?;
        bytes.try_into().map(Self).map_err(|_| NonceSyntax)
    }
}

impl Backing {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::SelfReported => "self_reported",
            Self::TpmQuote(_) => "tpm_quote",
        }
    }

    /// Appraises what stands behind the claims. Here a verifier of quotes will have its place.
    fn check(&self) -> Result<(), AttestationError> {
        match self {
            Self::SelfReported => Ok(()),
            Self::TpmQuote(_) => Err(AttestationError::Unsupported(self.word())),
        }
    }
}

impl AttestationStatement {
    /// The bytes that are signed: DSSE's encoding of the canonical statement.
    ///
    /// # Errors
    ///
    /// [`Malformed`] only if a field cannot be JSON, which no field of this type can cause.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, Malformed> {
        canonical::to_bytes(self)
            .map(|bytes| pae(ATTESTATION_TYPE, &bytes))
            .map_err(|error| Malformed::Shape(error.to_string()))
    }

    /// Signs it.
    ///
    /// # Errors
    ///
    /// As [`signed_bytes`](Self::signed_bytes).
    pub fn sign(self, key: &SigningKey) -> Result<Attestation, Malformed> {
        Ok(Attestation {
            signature: key.sign(&self.signed_bytes()?),
            backing: self.backing,
            issued: self.issued,
            key: key.public(),
            nonce: self.nonce,
        })
    }
}

impl Attestation {
    /// Reads one in its canonical spelling. Nothing is verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bounds = Bounds {
            bytes_max: ATTESTATION_BYTES_MAX,
            depth_max: 4,
        };
        canonical::from_bytes(bytes, bounds)
    }

    /// Checks that the gateway whose key has the thumbprint `holder` said this of `environment`, in `domain`, and that
    /// what stands behind it can be appraised. Whether the nonce is the node's own is for the node to say.
    ///
    /// # Errors
    ///
    /// [`AttestationError`]
    pub fn verify(
        &self,
        domain: &DomainName,
        environment: &Fixed<Environment>,
        holder: &str,
    ) -> Result<(), AttestationError> {
        if self.key.thumbprint() != holder {
            return Err(AttestationError::OtherKey);
        }
        self.backing.check()?;
        let statement = AttestationStatement {
            backing: self.backing.clone(),
            domain: domain.clone(),
            environment: environment.clone(),
            issued: self.issued,
            nonce: self.nonce,
        };
        let bytes = statement.signed_bytes();
        let bytes = bytes.map_err(|_| AttestationError::BadSignature)?;
        self.key
            .verify(&bytes, &self.signature)
            .map_err(|_| AttestationError::BadSignature)
    }
}

impl Appraisal {
    /// Of what nobody attested and no reference value speaks of.
    #[must_use]
    pub const fn unattested() -> Self {
        Self {
            affirming: BTreeSet::new(),
            age_secs: None,
            contraindicated: BTreeSet::new(),
            status: AppraisalStatus::None,
            warning: BTreeSet::new(),
        }
    }
}

impl Claim {
    /// Every claim, in order of their names.
    pub const ALL: [Self; 12] = [
        Self::Architecture,
        Self::Container,
        Self::Distribution,
        Self::Executable,
        Self::Gateway,
        Self::GatewayVersion,
        Self::Kernel,
        Self::Landlock,
        Self::Machine,
        Self::Region,
        Self::Tier,
        Self::Zone,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Architecture => "architecture",
            Self::Container => "container",
            Self::Distribution => "distribution",
            Self::Executable => "executable",
            Self::Gateway => "gateway",
            Self::GatewayVersion => "gateway_version",
            Self::Kernel => "kernel",
            Self::Landlock => "landlock",
            Self::Machine => "machine",
            Self::Region => "region",
            Self::Tier => "tier",
            Self::Zone => "zone",
        }
    }

    /// As people say it.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Container => "container image",
            Self::Gateway => "gateway program",
            Self::GatewayVersion => "gateway version",
            Self::Landlock => "Landlock ABI",
            Self::Architecture
            | Self::Distribution
            | Self::Executable
            | Self::Kernel
            | Self::Machine
            | Self::Region
            | Self::Tier
            | Self::Zone => self.as_str(),
        }
    }
}

impl AppraisalStatus {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Contraindicated => "contraindicated",
            Self::Warning => "warning",
            Self::Affirming => "affirming",
        }
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Nonce {
    type Err = NonceSyntax;

    fn from_str(text: &str) -> Result<Self, NonceSyntax> {
        Self::parse(text)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for QuotePart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for QuotePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?);
        let bytes = bytes
            .ok()
            .filter(|it| (1..=QUOTE_BYTES_MAX).contains(&it.len()));
        bytes.map(Self).ok_or_else(|| {
            serde::de::Error::custom("a part of a quote is 1 to 1024 bytes in base64url")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_types::Digest;
    use zeroize::Zeroizing;

    fn environment(kernel: &str) -> Fixed<Environment> {
        Fixed::new(Environment {
            arch: "x86_64".into(),
            boot: "b".into(),
            container: None,
            distribution: "debian 12".into(),
            gateway: "0.1.0".into(),
            gateway_digest: Some(Digest::of(b"gateway")),
            kernel: kernel.into(),
            landlock_abi: 7,
            machine: Digest::of(b"m"),
            region: None,
            tier: None,
            weaker: BTreeSet::new(),
            zone: None,
        })
        .unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Zeroizing::new([seed; 32]))
    }

    fn domain(name: &str) -> DomainName {
        DomainName::parse(name).unwrap()
    }

    fn statement(backing: Backing) -> AttestationStatement {
        AttestationStatement {
            backing,
            domain: domain("a.example/d"),
            environment: environment("6.18"),
            issued: Millis::new(5),
            nonce: Nonce::new(Millis::new(4), [1; 16], [2; 16]),
        }
    }

    #[test]
    fn an_attestation_counts_for_these_claims_this_key_and_this_domain_only() {
        let said = statement(Backing::SelfReported).sign(&key(1)).unwrap();
        let (here, holder) = (domain("a.example/d"), key(1).public().thumbprint());
        let of = |said: &Attestation, domain: &DomainName, kernel: &str, holder: &str| {
            said.verify(domain, &environment(kernel), holder)
        };
        assert_eq!(of(&said, &here, "6.18", &holder), Ok(()));
        let bad = Err(AttestationError::BadSignature);
        assert_eq!(of(&said, &here, "6.19", &holder), bad);
        assert_eq!(of(&said, &domain("b.example/d"), "6.18", &holder), bad);
        let other = key(2).public().thumbprint();
        assert_eq!(
            of(&said, &here, "6.18", &other),
            Err(AttestationError::OtherKey)
        );
        let later = Attestation {
            issued: Millis::new(6),
            ..said.clone()
        };
        assert_eq!(of(&later, &here, "6.18", &holder), bad);
        let fresher = Nonce::new(Millis::new(9), [1; 16], [2; 16]);
        assert_eq!(
            of(
                &Attestation {
                    nonce: fresher,
                    ..said
                },
                &here,
                "6.18",
                &holder
            ),
            bad
        );
    }

    #[test]
    fn a_quote_is_read_and_refused_and_another_kind_is_not_even_read() {
        let part = QuotePart(vec![1]);
        let quote = TpmQuote {
            key: part.clone(),
            quoted: part.clone(),
            signature: part,
        };
        let said = statement(Backing::TpmQuote(quote)).sign(&key(1)).unwrap();
        let bytes = canonical::to_bytes(&said).unwrap();
        assert_eq!(Attestation::decode(&bytes).unwrap(), said);
        let holder = key(1).public().thumbprint();
        let refused = said.verify(&domain("a.example/d"), &environment("6.18"), &holder);
        assert_eq!(refused, Err(AttestationError::Unsupported("tpm_quote")));
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("tpm_quote", "sev_report"),
            ("\"quoted\":\"AQ\"", "\"quoted\":\"\""),
            ("\"quoted\"", "\"extra\":1,\"quoted\""),
            ("\"issued\":5", "\"issued\": 5"),
            ("\"issued\":5", "\"issued\":5,\"later\":5"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text);
            Attestation::decode(other.as_bytes()).unwrap_err();
        }
        let long = text.replacen(
            "\"quoted\":\"AQ\"",
            &format!("\"quoted\":\"{}\"", "A".repeat(9000)),
            1,
        );
        Attestation::decode(long.as_bytes()).unwrap_err();
    }

    #[test]
    fn a_nonce_holds_its_time_and_its_mark() {
        let nonce = Nonce::new(Millis::new(1_795_262_400_000), [7; 16], [9; 16]);
        assert_eq!(nonce.time(), Millis::new(1_795_262_400_000));
        assert_eq!((nonce.mark(), nonce.marked().len()), ([9; 16], 24));
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
        assert_eq!("AAAA".parse::<Nonce>(), Err(NonceSyntax));
    }
}
