//! The token of a connection: shown with each request, renewed before it is over or when it is refused.
//!
//! Tokens that are renewed are used up (rotation), and to show a used one ends the login. So of all connections
//! to a server one renews at a time, looks first whether another has done so, and what it gets is kept before
//! it is used.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use hyper::header::HeaderValue;
use placet_authority::clock::Clock;
use placet_fetch::{Client, Target};
use placet_secrets::Secret;
use placet_types::Scope;
use tokio::sync::Mutex;

use super::OAuthError;
use super::token::ask;
use super::tokens::Tokens;

/// A token is renewed that would be over so soon, in milliseconds.
const MARGIN_MS: u64 = 30_000;

/// Keeps the tokens of a server. Each call may wait.
pub trait Keeper: Send + Sync {
    /// Waits until nobody else renews, which lasts as long as what it gives.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    fn alone(&self) -> Result<Box<dyn Any + Send>, String>;

    /// What is kept now.
    ///
    /// # Errors
    ///
    /// Why there is nothing.
    fn latest(&self) -> Result<Secret, String>;

    /// Keeps the successor.
    ///
    /// # Errors
    ///
    /// Why it is not kept.
    fn keep(&self, value: Secret) -> Result<(), String>;
}

/// What a bearer is given.
pub struct Given {
    /// What the connection was handed.
    pub tokens: Tokens,
    /// Where they are kept.
    pub keeper: Arc<dyn Keeper>,
    /// What asks for new ones, within the scope of the connection.
    pub client: Client,
    /// That scope.
    pub scope: Scope,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The token of a connection.
#[derive(Clone)]
pub struct Bearer(Arc<Inner>);

struct Inner {
    target: Target,
    given: Given,
    now: Mutex<Tokens>,
}

impl Bearer {
    /// The tokens of this server, and of no other.
    ///
    /// # Errors
    ///
    /// [`OAuthError::OtherBinding`]
    pub fn new(target: Target, given: Given) -> Result<Self, OAuthError> {
        given.tokens.check(&target)?;
        let now = Mutex::new(given.tokens.clone());
        Ok(Self(Arc::new(Inner { target, given, now })))
    }

    /// The header to show.
    pub(crate) async fn header(&self) -> Result<HeaderValue, OAuthError> {
        self.current(None).await
    }

    /// Another header than this one, which was refused.
    pub(crate) async fn other(&self, refused: &HeaderValue) -> Result<HeaderValue, OAuthError> {
        self.current(Some(refused.clone())).await
    }

    /// In a task of its own: whoever asked may be given up meanwhile, and what was renewed must be kept.
    async fn current(&self, refused: Option<HeaderValue>) -> Result<HeaderValue, OAuthError> {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move { inner.current(refused).await });
        task.await
            .map_err(|_| OAuthError::Keep("it was given up".to_owned()))?
    }
}

impl Inner {
    async fn current(
        self: &Arc<Self>,
        refused: Option<HeaderValue>,
    ) -> Result<HeaderValue, OAuthError> {
        let mut now = self.now.lock().await;
        let header = now.header()?;
        if refused.as_ref() != Some(&header) && !self.is_over(&now) {
            return Ok(header);
        }
        *now = self.renewed(&now).await?;
        now.header()
    }

    fn is_over(&self, tokens: &Tokens) -> bool {
        tokens.is_over(self.given.clock.wall(), MARGIN_MS)
    }

    async fn renewed(self: &Arc<Self>, used: &Tokens) -> Result<Tokens, OAuthError> {
        let _alone = self.kept(|keeper| keeper.alone()).await?;
        let latest = Tokens::open(&self.kept(|keeper| keeper.latest()).await?)?;
        // Whoever logged in again meanwhile may have done so elsewhere.
        latest.check(&self.target)?;
        if latest.access_token != used.access_token && !self.is_over(&latest) {
            return Ok(latest);
        }
        let next = self.asked(latest).await?;
        let secret = next.seal()?;
        self.kept(move |keeper| keeper.keep(secret)).await?;
        Ok(next)
    }

    /// Asks who gave them for the next ones.
    async fn asked(&self, last: Tokens) -> Result<Tokens, OAuthError> {
        let refresh = last.refresh_token.clone().ok_or(OAuthError::Over)?;
        let endpoint = Target::parse(&last.token_endpoint);
        endpoint
            .and_then(|endpoint| endpoint.within(&self.given.scope))
            .map_err(|error| OAuthError::Target("the token endpoint", error))?;
        let what = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
            ("resource", &last.resource),
        ];
        let client = &self.given.client;
        let given = ask(client, &last.token_endpoint, &last.client, &what).await?;
        Ok(Tokens {
            expires: given.expires(self.given.clock.wall()),
            access_token: given.access_token,
            refresh_token: given.refresh_token.or(Some(refresh)),
            scope: given.scope.or(last.scope),
            ..last
        })
    }

    async fn kept<T: Send + 'static>(
        &self,
        what: impl FnOnce(&dyn Keeper) -> Result<T, String> + Send + 'static,
    ) -> Result<T, OAuthError> {
        let keeper = Arc::clone(&self.given.keeper);
        let done = tokio::task::spawn_blocking(move || what(&*keeper)).await;
        done.map_err(|error| OAuthError::Keep(error.to_string()))?
            .map_err(OAuthError::Keep)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").finish_non_exhaustive()
    }
}
