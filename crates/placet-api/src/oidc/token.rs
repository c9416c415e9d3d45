//! One token: read strictly, verified by a key that is known beforehand.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_types::Millis;
use placet_types::canonical::{Bounds, Json};

use super::Oidc;
use super::keys::{Algorithm, Key};

/// Longest token, in bytes.
const BYTES_MAX: usize = 8192;
/// Longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 255;
/// Types of tokens that are taken (RFC 9068, RFC 7519); a header without one is taken too.
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];
/// Members of a header that change what is verified, or bring a key along.
const REFUSED: [&str; 5] = ["crit", "jwk", "jku", "x5u", "b64"];

/// A token whose signature is not verified yet.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signed: &'a [u8],
    signature: Vec<u8>,
    claims: Json,
}

/// What a verified token says.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) until: Millis,
    /// Claims that are texts, truth values, or lists of texts.
    pub(super) texts: BTreeMap<String, BTreeSet<String>>,
}

/// Why a token does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token is not a compact JWS of at most {BYTES_MAX} bytes")]
    Syntax,
    #[error(
        "the token's header must name `alg`, perhaps `kid`, a `typ` of at+jwt or JWT, and no crit, jwk, jku, x5u or b64"
    )]
    Header,
    #[error("the token's algorithm must be RS256, ES256 or EdDSA, and that of the key it names")]
    Algorithm,
    #[error("the token's issuer (iss) is no identity provider of this node")]
    Issuer,
    #[error("the identity provider has no such key (kid) for signatures")]
    UnknownKey,
    #[error("the token's signature does not verify")]
    Signature,
    #[error("the token is meant for somebody else (aud)")]
    Audience,
    #[error("the token was issued to a client that is not taken here (azp)")]
    Party,
    #[error("the ID token answers another sign-in (nonce)")]
    Nonce,
    #[error("the token is bound to a key (cnf); only plain bearer tokens are taken")]
    Bound,
    #[error(
        "the token needs iss, sub (at most {SUBJECT_BYTES_MAX} bytes), aud and exp; times are whole seconds"
    )]
    Claims,
    #[error("the token has expired (exp)")]
    Expired,
    #[error("the token does not count yet (nbf, iat)")]
    NotYet,
    #[error(
        "the identity provider cannot be asked for its keys, and those that are known are older than their bound"
    )]
    Stale,
}

impl<'a> Signed<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > BYTES_MAX {
            return Err(TokenError::Syntax);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Syntax)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Syntax)?;
        let header = decoded(header).ok_or(TokenError::Syntax)?;
        let claims = decoded(claims).ok_or(TokenError::Syntax)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| TokenError::Syntax)?;
        if REFUSED.iter().any(|name| header.get(name).is_some()) {
            return Err(TokenError::Header);
        }
        if let Some(kind) = header.get("typ") {
            let kind = kind.as_str().ok_or(TokenError::Header)?;
            if !TYPES.iter().any(|own| kind.eq_ignore_ascii_case(own)) {
                return Err(TokenError::Header);
            }
        }
        let algorithm = header.get("alg").and_then(Json::as_str);
        let algorithm = algorithm.ok_or(TokenError::Header)?;
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(TokenError::Header)?.to_owned()),
        };
        Ok(Self {
            algorithm: Algorithm::parse(algorithm).ok_or(TokenError::Algorithm)?,
            kid,
            signed: signed.as_bytes(),
            signature,
            claims,
        })
    }

    /// The provider that it names. Nothing is proven by it: it says whose keys to look at.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Verifies an access token for this node.
    pub(super) fn verify(
        self,
        key: &Key,
        settings: &Oidc,
        now: Millis,
    ) -> Result<Claims, TokenError> {
        let issuer = self.proven(key, settings)?;
        self.meant(settings)?;
        self.claims(issuer, settings, now)
    }

    /// Verifies an ID token for this client, about this sign-in (OpenID Connect Core, 3.1.3.7).
    pub(super) fn verify_login(
        self,
        key: &Key,
        settings: &Oidc,
        client: &str,
        nonce: &str,
        now: Millis,
    ) -> Result<Claims, TokenError> {
        let issuer = self.proven(key, settings)?;
        self.meant_for(client, settings)?;
        if self.claims.get("nonce").and_then(Json::as_str) != Some(nonce) {
            return Err(TokenError::Nonce);
        }
        self.claims(issuer, settings, now)
    }

    /// The issuer, by whose key it is signed.
    fn proven(&self, key: &Key, settings: &Oidc) -> Result<String, TokenError> {
        if key.algorithm() != self.algorithm {
            return Err(TokenError::Algorithm);
        }
        if !key.verifies(self.signed, &self.signature) {
            return Err(TokenError::Signature);
        }
        let issuer = self.issuer().filter(|issuer| *issuer == settings.issuer);
        Ok(issuer.ok_or(TokenError::Issuer)?.to_owned())
    }

    fn claims(&self, issuer: String, settings: &Oidc, now: Millis) -> Result<Claims, TokenError> {
        if self.claims.get("cnf").is_some() {
            return Err(TokenError::Bound);
        }
        let until = self.times(settings, now)?;
        let subject = self.claims.get("sub").and_then(Json::as_str);
        let subject = subject
            .filter(|subject| (1..=SUBJECT_BYTES_MAX).contains(&subject.len()))
            .ok_or(TokenError::Claims)?
            .to_owned();
        Ok(Claims {
            issuer,
            subject,
            until,
            texts: texts(&self.claims),
        })
    }

    /// Whether it says to this client who signed in, and to nobody that is not known here.
    fn meant_for(&self, client: &str, settings: &Oidc) -> Result<(), TokenError> {
        let audience = values(self.claims.get("aud").ok_or(TokenError::Claims)?);
        let audience = audience.ok_or(TokenError::Claims)?;
        let known = |one: &String| one == client || settings.audience.contains(one);
        if !audience.contains(client) || !audience.iter().all(known) {
            return Err(TokenError::Audience);
        }
        match self.claims.get("azp") {
            None if audience.len() == 1 => Ok(()),
            Some(party) if party.as_str() == Some(client) => Ok(()),
            None | Some(_) => Err(TokenError::Party),
        }
    }

    /// Whether it is meant for this node, and was issued to somebody who may use it here.
    fn meant(&self, settings: &Oidc) -> Result<(), TokenError> {
        let audience = values(self.claims.get("aud").ok_or(TokenError::Claims)?);
        let audience = audience.ok_or(TokenError::Claims)?;
        if audience.is_disjoint(&settings.audience) {
            return Err(TokenError::Audience);
        }
        let party = match self.claims.get("azp") {
            None => None,
            Some(party) => Some(party.as_str().ok_or(TokenError::Claims)?),
        };
        // A token for several parties counts only where it is said whose tokens do.
        let any = settings.clients.is_empty() && audience.len() == 1;
        if any || party.is_some_and(|party| settings.clients.contains(party)) {
            Ok(())
        } else {
            Err(TokenError::Party)
        }
    }

    fn times(&self, settings: &Oidc, now: Millis) -> Result<Millis, TokenError> {
        let time = |name: &str| match self.claims.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => {
                whole_seconds(*number).map(Some).ok_or(TokenError::Claims)
            }
            Some(_) => Err(TokenError::Claims),
        };
        let (now, skew) = (now.as_unix_secs(), settings.skew_secs);
        let expires = time("exp")?.ok_or(TokenError::Claims)?;
        if now >= expires.saturating_add(skew) {
            return Err(TokenError::Expired);
        }
        for begins in [time("nbf")?, time("iat")?].into_iter().flatten() {
            if begins > now.saturating_add(skew) {
                return Err(TokenError::NotYet);
            }
        }
        let until = expires.saturating_add(skew).saturating_mul(1000);
        Ok(Millis::new(until))
    }
}

fn decoded(part: &str) -> Option<Json> {
    let bounds = Bounds {
        bytes_max: BYTES_MAX,
        depth_max: 8,
    };
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    let json = Json::parse(&bytes, bounds).ok()?;
    matches!(json, Json::Object(_)).then_some(json)
}

fn whole_seconds(number: f64) -> Option<u64> {
    // Some providers write fractions; what is left of them never makes a token count for longer.
    if !(0.0..=9.0e12).contains(&number) {
        return None;
    }
    format!("{:.0}", number.floor()).parse().ok()
}

/// A text, or a list of texts.
fn values(json: &Json) -> Option<BTreeSet<String>> {
    match json {
        Json::String(text) => Some(BTreeSet::from([text.clone()])),
        Json::Bool(value) => Some(BTreeSet::from([value.to_string()])),
        Json::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(ToOwned::to_owned))
            .collect(),
        Json::Null | Json::Number(_) | Json::Object(_) => None,
    }
}

fn texts(claims: &Json) -> BTreeMap<String, BTreeSet<String>> {
    let Json::Object(members) = claims else {
        return BTreeMap::new();
    };
    let texts = members.iter();
    let texts = texts.filter_map(|(name, value)| Some((name.clone(), values(value)?)));
    texts.collect()
}

#[cfg(test)]
mod tests;
