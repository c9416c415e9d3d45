//! Request proofs: DPoP (RFC 9449) with Ed25519 keys.
//!
//! A proof is a JWS that names the method and the address of one request, a time and an id, signed
//! by the key in its own header. It proves that the caller holds that key, for this request, now.
//! Everything is read strictly; the key decides the algorithm, and small-order keys are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use placet_types::canonical::{Bounds, Json};
use placet_types::{Denial, DenialCode, Millis, PublicKey, Signature, Thumbprint};

use crate::identity::Head;

/// Algorithms, as they stand in a challenge. RFC 9864 renames `EdDSA` to `Ed25519`.
pub(crate) const ALGORITHMS: &str = "EdDSA Ed25519";
/// Longest proof, in bytes.
const BYTES_MAX: usize = 4096;
/// How old a proof may be, in seconds.
pub(crate) const AGE_SECS_MAX: u64 = 60;
/// How far the caller's clock may be ahead, in seconds.
pub(crate) const AHEAD_SECS_MAX: u64 = 5;

/// A proof whose signature verifies. It says nothing yet about the request that it came with.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) thumbprint: Thumbprint,
    pub(crate) id: String,
    pub(crate) issued_secs: u64,
    method: String,
    address: String,
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofError {
    #[error("the DPoP proof is not a compact JWS of at most {BYTES_MAX} bytes")]
    Syntax,
    #[error(
        "the header of the DPoP proof must be exactly {{\"alg\":\"EdDSA\",\"jwk\":{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":…}},\"typ\":\"dpop+jwt\"}}"
    )]
    Header,
    #[error("the key of the DPoP proof is no Ed25519 public key")]
    Key,
    #[error("the signature of the DPoP proof does not verify")]
    Signature,
    #[error("the DPoP proof needs jti (1 to 128 characters), htm, htu, and iat (whole seconds)")]
    Claims,
    #[error("the DPoP proof is for another method (htm)")]
    Method,
    #[error("the DPoP proof is for another address (htu)")]
    Address,
    #[error("the DPoP proof is too old or from the future (iat); its window is 60 seconds")]
    Window,
    #[error("the DPoP proof was used before (jti)")]
    Replayed,
    #[error("too many proofs at once")]
    Overloaded,
}

impl ProofError {
    pub(crate) fn denial(self) -> Denial {
        let code = match self {
            Self::Signature => DenialCode::InvalidSignature,
            Self::Replayed => DenialCode::Replayed,
            Self::Overloaded => DenialCode::Overloaded,
            Self::Window => DenialCode::Expired,
            Self::Syntax
            | Self::Header
            | Self::Key
            | Self::Claims
            | Self::Method
            | Self::Address => DenialCode::IdentityUnverified,
        };
        Denial::new(code, self.to_string())
    }
}

impl Proof {
    /// Reads a proof and verifies its signature.
    pub(crate) fn verify(text: &[u8]) -> Result<Self, ProofError> {
        let text = std::str::from_utf8(text).map_err(|_| ProofError::Syntax)?;
        if text.len() > BYTES_MAX {
            return Err(ProofError::Syntax);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(ProofError::Syntax)?;
        let (header, claims) = signed.split_once('.').ok_or(ProofError::Syntax)?;
        let header = decoded(header).ok_or(ProofError::Syntax)?;
        let key = key(&header)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or(ProofError::Syntax)?;
        key.verify(signed.as_bytes(), &signature)
            .map_err(|_| ProofError::Signature)?;
        let claims = decoded(claims).ok_or(ProofError::Claims)?;
        Self::of(&key, &claims).ok_or(ProofError::Claims)
    }

    fn of(key: &PublicKey, claims: &Json) -> Option<Self> {
        let text = |name: &str| claims.get(name)?.as_str().map(ToOwned::to_owned);
        let id = text("jti").filter(|id| (1..=128).contains(&id.len()))?;
        let Some(Json::Number(issued)) = claims.get("iat") else {
            return None;
        };
        Some(Self {
            thumbprint: Thumbprint::of(key),
            id,
            issued_secs: whole_seconds(*issued)?,
            method: text("htm")?,
            address: text("htu")?,
        })
    }

    #[cfg(test)]
    pub(crate) fn for_test(thumbprint: Thumbprint, id: &str, issued_secs: u64) -> Self {
        Self {
            thumbprint,
            id: id.to_owned(),
            issued_secs,
            method: String::new(),
            address: String::new(),
        }
    }

    /// Whether it is about this request, and fresh.
    pub(crate) fn check(&self, head: &Head<'_>, now: Millis) -> Result<(), ProofError> {
        if self.method != head.method {
            return Err(ProofError::Method);
        }
        if !self.is_for(head) {
            return Err(ProofError::Address);
        }
        let now = now.as_unix_secs();
        let fresh = self.issued_secs <= now + AHEAD_SECS_MAX
            && now <= self.issued_secs.saturating_add(AGE_SECS_MAX);
        if fresh {
            Ok(())
        } else {
            Err(ProofError::Window)
        }
    }

    /// Compares scheme and host without regard to case, the path to the letter, and leaves the query
    /// out (RFC 9449, section 4.3).
    fn is_for(&self, head: &Head<'_>) -> bool {
        let end = self.address.find(['?', '#']).unwrap_or(self.address.len());
        let Some((scheme, rest)) = self
            .address
            .get(..end)
            .and_then(|address| address.split_once("://"))
        else {
            return false;
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(slash);
        let path = if path.is_empty() { "/" } else { path };
        let own = head.channel.scheme();
        scheme.eq_ignore_ascii_case(own)
            && bare(host, own).eq_ignore_ascii_case(bare(head.host, own))
            && path == head.path
    }
}

/// The host without the port that its scheme means anyway.
fn bare<'a>(host: &'a str, scheme: &str) -> &'a str {
    let usual = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(usual).unwrap_or(host)
}

fn decoded(part: &str) -> Option<Json> {
    let bounds = Bounds {
        bytes_max: BYTES_MAX,
        depth_max: 4,
    };
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    Json::parse(&bytes, bounds).ok()
}

/// The key in a header that has its three members and no other: no `crit`, no private part.
fn key(header: &Json) -> Result<PublicKey, ProofError> {
    let is =
        |json: &Json, name: &str, value: &str| json.get(name).and_then(Json::as_str) == Some(value);
    let members =
        |json: &Json, count: usize| matches!(json, Json::Object(all) if all.len() == count);
    let jwk = header.get("jwk").ok_or(ProofError::Header)?;
    let algorithm = ALGORITHMS.split(' ').any(|alg| is(header, "alg", alg));
    let shape = members(header, 3)
        && algorithm
        && is(header, "typ", "dpop+jwt")
        && members(jwk, 3)
        && is(jwk, "kty", "OKP")
        && is(jwk, "crv", "Ed25519");
    if !shape {
        return Err(ProofError::Header);
    }
    let x = jwk.get("x").and_then(Json::as_str).ok_or(ProofError::Key)?;
    let bytes = URL_SAFE_NO_PAD.decode(x).map_err(|_| ProofError::Key)?;
    PublicKey::import(&bytes).map_err(|_| ProofError::Key)
}

fn whole_seconds(number: f64) -> Option<u64> {
    // The strict reader lets no integer beyond 2^53 through.
    if number.fract() != 0.0 || !(0.0..=9.0e15).contains(&number) {
        return None;
    }
    format!("{number:.0}").parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use hyper::HeaderMap;
    use placet_types::SigningKey;
    use zeroize::Zeroizing;

    use super::*;
    use crate::identity::Channel;

    pub(crate) fn signer(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Zeroizing::new([seed; 32]))
    }

    fn encoded(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    fn header(key: &SigningKey) -> String {
        let x = URL_SAFE_NO_PAD.encode(key.public().as_bytes());
        format!(
            r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#
        )
    }

    fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", encoded(header), encoded(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).as_bytes());
        format!("{text}.{signature}")
    }

    const CLAIMS: &str =
        r#"{"jti":"a","htm":"POST","htu":"http://localhost:1/v1/halt","iat":1000}"#;

    fn checked(
        proof: &Proof,
        method: &str,
        host: &str,
        path: &str,
        now: u64,
    ) -> Option<ProofError> {
        let headers = HeaderMap::new();
        let head = Head {
            method,
            path,
            host,
            headers: &headers,
            channel: Channel::Unix { uid: 0 },
        };
        proof.check(&head, Millis::new(now * 1000)).err()
    }

    #[test]
    fn a_proof_is_for_one_method_one_address_and_one_minute() {
        let key = signer(1);
        let proof = Proof::verify(signed(&key, &header(&key), CLAIMS).as_bytes()).unwrap();
        assert_eq!(proof.thumbprint, Thumbprint::of(&key.public()));
        let (host, path) = ("LOCALHOST:1", "/v1/halt");
        assert_eq!(checked(&proof, "POST", host, path, 1000), None);
        assert_eq!(checked(&proof, "POST", host, path, 1060), None);
        assert_eq!(checked(&proof, "POST", host, path, 995), None);
        let late = Some(ProofError::Window);
        assert_eq!(checked(&proof, "POST", host, path, 1061), late);
        assert_eq!(checked(&proof, "POST", host, path, 994), late);
        assert_eq!(
            checked(&proof, "GET", host, path, 1000),
            Some(ProofError::Method)
        );
        let other = Some(ProofError::Address);
        assert_eq!(checked(&proof, "POST", "localhost:2", path, 1000), other);
        assert_eq!(checked(&proof, "POST", host, "/v1/Halt", 1000), other);
        assert_eq!(checked(&proof, "POST", host, "/v1/resume", 1000), other);
    }

    #[test]
    fn a_proof_that_is_not_exactly_one_is_refused_at_its_step() {
        let (key, other) = (signer(1), signer(2));
        let good = header(&key);
        let verify = |text: &str| Proof::verify(text.as_bytes()).err();
        assert_eq!(verify(&signed(&key, &good, CLAIMS)), None);
        assert_eq!(
            verify(&signed(&other, &good, CLAIMS)),
            Some(ProofError::Signature)
        );
        for (from, to) in [
            ("dpop+jwt", "JWT"),
            ("EdDSA", "none"),
            ("EdDSA", "HS256"),
            ("\"alg\"", "\"crit\":[],\"alg\""),
            ("\"kty\"", "\"d\":\"x\",\"kty\""),
            ("Ed25519", "X25519"),
        ] {
            let odd = good.replacen(from, to, 1);
            assert_eq!(
                verify(&signed(&key, &odd, CLAIMS)),
                Some(ProofError::Header),
                "{odd}"
            );
        }
        // A member twice is no JSON for the strict reader.
        let twice = good.replacen("\"alg\"", "\"alg\":\"EdDSA\",\"alg\"", 1);
        assert_eq!(
            verify(&signed(&key, &twice, CLAIMS)),
            Some(ProofError::Syntax)
        );
        let weak = r#"{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#;
        assert_eq!(verify(&signed(&key, weak, CLAIMS)), Some(ProofError::Key));
        for (from, to) in [
            ("\"jti\":\"a\",", ""),
            ("\"jti\":\"a\"", "\"jti\":\"\""),
            ("1000", "1000.5"),
            ("1000", "-1"),
            ("\"htm\":\"POST\",", ""),
        ] {
            let odd = CLAIMS.replacen(from, to, 1);
            assert_eq!(
                verify(&signed(&key, &good, &odd)),
                Some(ProofError::Claims),
                "{odd}"
            );
        }
        for text in ["", "a.b", "a.b.c", &"x".repeat(BYTES_MAX + 1)] {
            assert_eq!(verify(text), Some(ProofError::Syntax), "{text}");
        }
    }
}
