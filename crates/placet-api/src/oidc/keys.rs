//! Keys of a provider (JWK sets, RFC 7517), each with the one algorithm that it is for.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_types::canonical::{Bounds, Json};
use placet_types::{PublicKey, Signature};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Longest set of keys, in bytes.
pub(super) const SET_BYTES_MAX: usize = 256 << 10;
/// Keys that are kept of a set.
const KEYS_MAX: usize = 64;

/// Algorithms that are taken. `none` and those with a shared secret are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
}

/// A public key.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Ed25519(PublicKey),
    /// The point, uncompressed.
    P256(Vec<u8>),
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

/// The keys of a provider, by name and algorithm.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(BTreeMap<(Option<String>, Algorithm), Key>);

impl Algorithm {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa(..) => Algorithm::Rs256,
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }

    fn read(jwk: &Json) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Json::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        // A set may hold keys for other purposes, and with private parts by mistake of others.
        if text("use").is_some_and(|purpose| purpose != "sig") || jwk.get("d").is_some() {
            return None;
        }
        let key = match (text("kty")?, text("crv")) {
            ("RSA", _) => Self::Rsa(bytes("n")?, bytes("e")?),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                Self::P256([&[4], x.as_slice(), y.as_slice()].concat())
            }
            ("OKP", Some("Ed25519")) => Self::Ed25519(PublicKey::import(&bytes("x")?).ok()?),
            _ => return None,
        };
        let named = text("alg").map(Algorithm::parse);
        let fits = named.is_none_or(|algorithm| algorithm == Some(key.algorithm()));
        fits.then_some(key)
    }
}

impl Keys {
    /// Reads a set. Keys of other kinds are left out; of two with one name and algorithm, both.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bounds = Bounds {
            bytes_max: SET_BYTES_MAX,
            depth_max: 8,
        };
        let set = Json::parse(bytes, bounds).ok()?;
        let Some(Json::Array(all)) = set.get("keys") else {
            return None;
        };
        let (mut keys, mut twice) = (BTreeMap::new(), Vec::new());
        for jwk in all.iter().take(KEYS_MAX) {
            let Some(key) = Key::read(jwk) else {
                continue;
            };
            let kid = jwk.get("kid").and_then(Json::as_str).map(ToOwned::to_owned);
            let name = (kid, key.algorithm());
            if keys.insert(name.clone(), key).is_some() {
                twice.push(name);
            }
        }
        for name in twice {
            keys.remove(&name);
        }
        Some(Self(keys))
    }

    /// The key of this name, or the only one where a token names none.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        match kid {
            Some(kid) => self.0.get(&(Some(kid.to_owned()), algorithm)),
            None => {
                let mut fitting = self.0.iter().filter(|((_, own), _)| *own == algorithm);
                match (fitting.next(), fitting.next()) {
                    (Some((_, key)), None) => Some(key),
                    _ => None,
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
