//! A provider and its keys: fetched when they are needed, kept for a while, never for ever.
//!
//! Whoever needs a key while it is fetched waits for that one fetch. A name of a key that is not
//! known asks the provider again, at most once in [`GAP`], so that made-up names make no load. When
//! the provider cannot be asked, the keys that are known count until their bound; then nobody of it
//! is let in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use placet_fetch::Target;
use placet_types::canonical::{Bounds, Json};
use tokio::sync::Mutex;

use super::Oidc;
use super::fetch::{Client, FetchError, address};
use super::keys::{Key, Keys, SET_BYTES_MAX};
use super::login::{self, Begun, Login, LoginError};
use super::token::{Signed, TokenError};

/// Least time between two questions to a provider.
const GAP: Duration = Duration::from_secs(5);
/// Longest discovery document, in bytes.
const DISCOVERY_BYTES_MAX: usize = 64 << 10;

pub(super) struct Provider {
    settings: Oidc,
    client: Client,
    known: RwLock<Known>,
    /// Held by whoever asks the provider, with when it was asked last.
    asking: Mutex<Option<Duration>>,
    meters: Meters,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) accepted: AtomicU64,
    pub(crate) fetched: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Where browsers and this node sign in.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) authorization: String,
    token: Target,
    /// Whether its answers name it (RFC 9207).
    pub(super) names_itself: bool,
    /// Where browsers sign out (OpenID Connect RP-Initiated Logout 1.0), if they can.
    pub(super) end: Option<String>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Keys,
    /// Absent where it signs nobody in.
    endpoints: Option<Endpoints>,
    /// When they were fetched; absent before the first time.
    since: Option<Duration>,
}

/// What is known of a key.
enum Looked {
    /// It counts.
    Fresh(Key),
    /// It counts, and it is time to ask again.
    Aging(Key),
    /// There are keys, and none of this name.
    Missing,
    /// There are no keys that count.
    Stale,
}

impl Provider {
    pub(super) fn new(settings: Oidc) -> Result<Self, FetchError> {
        let client = Client::new(settings.ca.as_deref())?;
        Ok(Self {
            settings,
            client,
            known: RwLock::default(),
            asking: Mutex::new(None),
            meters: Meters::default(),
        })
    }

    pub(super) fn settings(&self) -> &Oidc {
        &self.settings
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The key that a token names.
    pub(super) async fn key(&self, signed: &Signed<'_>, now: Duration) -> Result<Key, TokenError> {
        match self.look(signed, now) {
            Looked::Fresh(key) => return Ok(key),
            Looked::Aging(key) => {
                // Somebody else asks already: these count as well until that is answered.
                let Ok(asked) = self.asking.try_lock() else {
                    return Ok(key);
                };
                self.ask(asked, now).await;
            }
            Looked::Missing | Looked::Stale => {
                let asked = self.asking.lock().await;
                // Whoever asked before may have brought it.
                if !matches!(self.look(signed, now), Looked::Fresh(_)) {
                    self.ask(asked, now).await;
                }
            }
        }
        match self.look(signed, now) {
            Looked::Fresh(key) | Looked::Aging(key) => Ok(key),
            Looked::Missing => Err(TokenError::UnknownKey),
            Looked::Stale => Err(TokenError::Stale),
        }
    }

    /// Where to sign in by it.
    pub(super) async fn endpoints(&self, now: Duration) -> Result<Endpoints, FetchError> {
        if self
            .age(now)
            .is_none_or(|age| age >= self.settings.refresh_secs)
        {
            let asked = self.asking.lock().await;
            self.ask(asked, now).await;
        }
        // Without keys that count, nobody would be let in anyway.
        self.age(now).ok_or(FetchError::Answer)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.endpoints.clone().ok_or(FetchError::Endpoints)
    }

    /// How old what is known is, in seconds, where it still counts.
    fn age(&self, now: Duration) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_sub(known.since?).as_secs();
        (age < self.settings.stale_secs).then_some(age)
    }

    /// The ID token that a code is worth.
    pub(super) async fn exchange(
        &self,
        login: &Login,
        endpoints: &Endpoints,
        back: &str,
        begun: &Begun,
        code: &str,
    ) -> Result<String, LoginError> {
        let credential = login.credential()?;
        let form = login::question(login, back, begun, code);
        let credential = credential.as_ref().map(|it| it.as_str());
        let bytes_max = login::ANSWER_BYTES_MAX;
        let answer = self
            .client
            .post(&endpoints.token, &form, credential, bytes_max)
            .await?;
        login::id_token(&answer.body, answer.status == 200)
    }

    fn look(&self, signed: &Signed<'_>, now: Duration) -> Looked {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let age = known.since.map(|since| now.saturating_sub(since));
        let Some(age) = age.filter(|age| age.as_secs() < self.settings.stale_secs) else {
            return Looked::Stale;
        };
        match known.keys.find(signed.kid(), signed.algorithm()) {
            None => Looked::Missing,
            Some(key) if age.as_secs() < self.settings.refresh_secs => Looked::Fresh(key.clone()),
            Some(key) => Looked::Aging(key.clone()),
        }
    }

    async fn ask(&self, mut asked: tokio::sync::MutexGuard<'_, Option<Duration>>, now: Duration) {
        if asked.is_some_and(|then| now.saturating_sub(then) < GAP) {
            return;
        }
        *asked = Some(now);
        match self.fetch().await {
            Ok((keys, endpoints)) => {
                self.meters.fetched.fetch_add(1, Ordering::Relaxed);
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Known {
                    keys,
                    endpoints,
                    since: Some(now),
                };
            }
            Err(_) => {
                self.meters.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Discovery, then the keys (OpenID Connect Discovery 1.0, section 4).
    async fn fetch(&self) -> Result<(Keys, Option<Endpoints>), FetchError> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let at = address(&format!("{issuer}/.well-known/openid-configuration"))?;
        let document = self.client.get(&at, DISCOVERY_BYTES_MAX).await?;
        let bounds = Bounds {
            bytes_max: DISCOVERY_BYTES_MAX,
            depth_max: 16,
        };
        let document = Json::parse(&document, bounds).map_err(|_| FetchError::Discovery)?;
        let text = |name: &str| document.get(name).and_then(Json::as_str);
        if text("issuer") != Some(self.settings.issuer.as_str()) {
            return Err(FetchError::OtherIssuer);
        }
        let at = address(text("jwks_uri").ok_or(FetchError::Discovery)?)?;
        let set = self.client.get(&at, SET_BYTES_MAX).await?;
        let keys = Keys::read(&set).filter(|keys| !keys.is_empty());
        Ok((keys.ok_or(FetchError::Keys)?, endpoints(&document)))
    }
}

/// The endpoints of a discovery document, where both can be used.
fn endpoints(document: &Json) -> Option<Endpoints> {
    let text = |name: &str| document.get(name).and_then(Json::as_str);
    let authorization = text("authorization_endpoint")?;
    address(authorization).ok()?;
    let named = document.get("authorization_response_iss_parameter_supported");
    let end = text("end_session_endpoint").filter(|end| address(end).is_ok());
    Some(Endpoints {
        authorization: authorization.to_owned(),
        end: end.map(str::to_owned),
        token: address(text("token_endpoint")?).ok()?,
        names_itself: matches!(named, Some(Json::Bool(true))),
    })
}
