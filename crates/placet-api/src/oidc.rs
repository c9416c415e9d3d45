//! Bearer tokens of OpenID Connect providers (OpenID Connect Core, RFC 9068).
//!
//! A token names its provider; only providers of the configuration are asked for their keys. The
//! key decides the algorithm, never the token's header. What is checked, in this order: shape,
//! provider, key, signature, type, audience, authorized party, times, subject. Which principal the
//! subject is stands in the bundle's rules.

mod fetch;
mod keys;
mod login;
mod provider;
mod resource;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use placet_authority::clock::Clock;
use placet_authority::node::Service;
use placet_evidence::TokenIdentity;
use placet_types::{Denial, DenialCode, Millis, Thumbprint};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::ConfigError;
use crate::identity::{Identity, unverified};

pub use fetch::FetchError;
pub(crate) use login::LoginError;
pub use login::{Login, SignOut};
pub(crate) use provider::Meters;
pub use resource::{ResourceTokens, Shown};

use login::Seal;
use provider::Provider;
use token::{Claims, Signed, TokenError};

/// Providers that a configuration may name.
const PROVIDERS_MAX: usize = 16;
/// Codes that are exchanged at a time.
const EXCHANGES_MAX: usize = 8;

/// A provider, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// What tokens must be meant for: any of these.
    pub audience: BTreeSet<String>,
    /// Clients that tokens may be issued to (`azp`); empty for any, of tokens with one audience.
    #[serde(default)]
    pub clients: BTreeSet<String>,
    /// Authorities that the provider's certificate is checked against, in PEM; absent for the system's.
    pub ca: Option<PathBuf>,
    /// The provider, as it names itself: compared to the letter.
    pub issuer: String,
    /// How browsers sign in by it; absent where they do not.
    pub login: Option<Login>,
    /// How long keys are used before the provider is asked again, in seconds.
    #[serde(default = "five_minutes")]
    pub refresh_secs: u64,
    /// How far the clocks of provider and node may differ, in seconds.
    #[serde(default = "half_a_minute")]
    pub skew_secs: u64,
    /// How long keys count when the provider cannot be asked, in seconds.
    #[serde(default = "one_hour")]
    pub stale_secs: u64,
}

const fn five_minutes() -> u64 {
    300
}

const fn half_a_minute() -> u64 {
    30
}

const fn one_hour() -> u64 {
    3600
}

impl Oidc {
    /// Whether it can stand.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let bad = |what: &str| Err(ConfigError::Oidc(self.issuer.clone(), what.to_owned()));
        if let Err(error) = fetch::address(&self.issuer) {
            return bad(&error.to_string());
        }
        if self.issuer.contains(['?', '#']) {
            return bad("an issuer has no query");
        }
        if self.audience.is_empty() || self.audience.contains("") {
            return bad("`audience` names what tokens must be meant for");
        }
        if !(1..=86_400).contains(&self.refresh_secs) {
            return bad("refresh_secs is 1 to 86400");
        }
        if !(self.refresh_secs..=7 * 86_400).contains(&self.stale_secs) {
            return bad("stale_secs is at least refresh_secs, at most 604800");
        }
        if self.skew_secs > 300 {
            return bad("skew_secs is at most 300");
        }
        if let Some(problem) = self.login.as_ref().and_then(Login::problem) {
            return bad(problem);
        }
        Ok(())
    }
}

/// Checks all of them together.
pub(crate) fn check(all: &[Oidc]) -> Result<(), ConfigError> {
    let mut issuers = BTreeSet::new();
    for one in all {
        one.check()?;
        if !issuers.insert(&one.issuer) || issuers.len() > PROVIDERS_MAX {
            let what = format!("each issuer stands once, at most {PROVIDERS_MAX} of them");
            return Err(ConfigError::Oidc(one.issuer.clone(), what));
        }
    }
    Ok(())
}

/// Verifies tokens of these providers.
struct Verifier(BTreeMap<String, Provider>);

impl Verifier {
    fn new(all: &[Oidc]) -> Result<Self, FetchError> {
        let provider = |one: &Oidc| Ok((one.issuer.clone(), Provider::new(one.clone())?));
        all.iter()
            .map(provider)
            .collect::<Result<_, FetchError>>()
            .map(Self)
    }

    fn issuers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    async fn verify(&self, token: &str, clock: &dyn Clock) -> Result<Claims, TokenError> {
        let signed = Signed::read(token)?;
        let provider = signed.issuer().and_then(|issuer| self.0.get(issuer));
        let provider = provider.ok_or(TokenError::Issuer)?;
        let now: Duration = clock.monotonic();
        let key = provider.key(&signed, now).await?;
        let claims = signed.verify(&key, provider.settings(), clock.wall())?;
        provider.meters().accepted.fetch_add(1, Ordering::Relaxed);
        Ok(claims)
    }
}

/// The token that a request shows; `None` without one.
fn shown(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(credential) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(unverified("more than one Authorization header"));
    }
    if headers.contains_key("dpop") {
        let reason = "a request has a bearer token or a DPoP proof, not both";
        return Err(unverified(reason));
    }
    bearer(credential.as_bytes()).map(Some).ok_or_else(|| {
        unverified("the Authorization header must be `Bearer` and a token; a DPoP proof needs none")
    })
}

/// Proves identities by bearer tokens.
pub(crate) struct Tokens {
    verifier: Verifier,
    service: Service,
    /// What makes sign-ins by browsers.
    seal: Seal,
    /// Codes that are exchanged at a time.
    room: Semaphore,
}

/// Who signed in, whatever that is here, and until when at most.
pub(crate) struct Arrived {
    pub(crate) identity: Arc<TokenIdentity>,
    pub(crate) until: Millis,
}

impl Tokens {
    /// # Errors
    ///
    /// [`FetchError`] names what cannot be used for asking a provider.
    pub(crate) fn new(all: &[Oidc], service: Service) -> Result<Self, FetchError> {
        let verifier = Verifier::new(all)?;
        for one in all.iter().filter_map(|one| one.login.as_ref()) {
            one.credential()?;
        }
        Ok(Self {
            verifier,
            service,
            seal: Seal::new().ok_or(FetchError::Randomness)?,
            room: Semaphore::new(EXCHANGES_MAX),
        })
    }

    /// Providers by which browsers sign in: issuer, and what people know it as.
    pub(crate) fn logins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.verifier.0.iter().filter_map(|(issuer, provider)| {
            let login = provider.settings().login.as_ref()?;
            Some((issuer.as_str(), login.name.as_deref().unwrap_or(issuer)))
        })
    }

    /// Where a browser with this key goes to sign in by a provider. It comes back to `back`.
    pub(crate) async fn begin(
        &self,
        issuer: &str,
        key: &Thumbprint,
        back: &str,
    ) -> Result<String, LoginError> {
        let at = self.verifier.0.keys().position(|own| own == issuer);
        let at = at.and_then(|at| u8::try_from(at).ok());
        let (at, (_, provider, login)) = at
            .and_then(|at| Some((at, self.login(at)?)))
            .ok_or(LoginError::Issuer)?;
        let clock = self.service.clock();
        let endpoints = provider.endpoints(clock.monotonic()).await?;
        let begun = self.seal.begin(at, key, back, clock.wall());
        let begun = begun.ok_or(FetchError::Randomness)?;
        let address = login::address(&endpoints.authorization, login, back, &begun);
        Ok(address)
    }

    /// Who came back with a code. `issuer` is who answered, where the answer says so.
    pub(crate) async fn finish(
        &self,
        (state, code, issuer): (&str, &str, Option<&str>),
        key: &Thumbprint,
        back: &str,
    ) -> Result<Arrived, LoginError> {
        let clock = self.service.clock();
        let resumed = self.seal.resume(state, key, back, clock.wall());
        let (at, begun) = resumed.ok_or(LoginError::State)?;
        let (own, provider, login) = self.login(at).ok_or(LoginError::State)?;
        let place = self.room.try_acquire().map_err(|_| LoginError::Busy)?;
        let endpoints = provider.endpoints(clock.monotonic()).await?;
        let is_named = issuer.map_or(!endpoints.names_itself, |issuer| issuer == own);
        if !is_named {
            return Err(LoginError::OtherIssuer);
        }
        let token = provider
            .exchange(login, &endpoints, back, &begun, code)
            .await?;
        let signed = Signed::read(&token)?;
        let found = provider.key(&signed, clock.monotonic()).await?;
        let (settings, client, now) = (provider.settings(), &login.client_id, clock.wall());
        let claims = signed.verify_login(&found, settings, client, &begun.nonce, now)?;
        drop(place);
        provider.meters().accepted.fetch_add(1, Ordering::Relaxed);
        let until = Millis::new(
            now.get()
                .saturating_add(login.session_secs.saturating_mul(1000)),
        );
        Ok(Arrived {
            identity: Arc::new(self.narrowed(claims)),
            until,
        })
    }

    /// Where a browser that signed in by this provider signs out there, and comes back to `back` from.
    /// `None` where that is not wanted, the provider does not offer it, or cannot be asked.
    pub(crate) async fn away(&self, issuer: &str, back: &str) -> Option<String> {
        let provider = self.verifier.0.get(issuer)?;
        let login = provider.settings().login.as_ref()?;
        if login.sign_out == SignOut::Here {
            return None;
        }
        let now = self.service.clock().monotonic();
        let end = provider.endpoints(now).await.ok()?.end?;
        Some(login::away(&end, login, back))
    }

    /// The provider of this number, if browsers sign in by it.
    fn login(&self, at: u8) -> Option<(&str, &Provider, &Login)> {
        let (issuer, provider) = self.verifier.0.iter().nth(usize::from(at))?;
        let login = provider.settings().login.as_ref()?;
        Some((issuer.as_str(), provider, login))
    }

    /// Of what a token says, what the rules in force name.
    fn narrowed(&self, claims: Claims) -> TokenIdentity {
        self.service.authority().narrowed(TokenIdentity {
            claims: claims.texts,
            issuer: claims.issuer,
            subject: claims.subject,
        })
    }

    /// What was counted of each provider.
    pub(crate) fn meters(&self) -> impl Iterator<Item = (&str, &Meters)> {
        let all = self.verifier.0.iter();
        all.map(|(issuer, provider)| (issuer.as_str(), provider.meters()))
    }

    /// Who the bearer of the token is; nobody is there, when there is no token.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, Denial> {
        let Some(token) = shown(headers)? else {
            return Ok(None);
        };
        let verified = self.verifier.verify(token, self.service.clock()).await;
        let claims = verified.map_err(TokenError::denial)?;
        let until = claims.until;
        let identity = Arc::new(self.narrowed(claims));
        Ok(Some(Identity::Token(identity, until)))
    }
}

/// The token of a `Bearer` credential (RFC 6750).
fn bearer(credential: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(credential).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

impl TokenError {
    fn denial(self) -> Denial {
        let code = match self {
            Self::Signature => DenialCode::InvalidSignature,
            Self::Expired => DenialCode::Expired,
            Self::NotYet => DenialCode::NotYetValid,
            Self::Audience | Self::Party => DenialCode::AudienceMismatch,
            Self::Syntax
            | Self::Header
            | Self::Algorithm
            | Self::Issuer
            | Self::UnknownKey
            | Self::Nonce
            | Self::Bound
            | Self::Claims
            | Self::Stale => DenialCode::IdentityUnverified,
        };
        Denial::new(code, self.to_string())
    }
}
