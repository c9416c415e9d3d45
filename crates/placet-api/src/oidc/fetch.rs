//! Asking a provider: one GET or one form, over TLS but on loopback, within bounds, without redirects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderValue;
use placet_fetch::{Answer, Ask, Client as Fetch, Leads, Target, Trust, TrustError};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a provider could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An address that is none, or one that anybody could answer for.
    #[error("an identity provider is asked over https://, or over http:// on loopback")]
    Address,
    /// The authorities cannot be read.
    #[error("oidc: {0}")]
    Authorities(#[from] TrustError),
    /// No connection, no answer, or one that is too long.
    #[error("the identity provider: {0}")]
    Ask(#[from] placet_fetch::FetchError),
    /// Another answer than the document.
    #[error("the identity provider does not answer as it should")]
    Answer,
    /// No discovery document.
    #[error("the identity provider's discovery document does not read")]
    Discovery,
    /// The document of somebody else.
    #[error("the discovery document names another issuer")]
    OtherIssuer,
    /// No keys.
    #[error("the identity provider has no keys that can be used")]
    Keys,
    /// A provider by which nobody signs in.
    #[error("the identity provider has no endpoints to sign in by")]
    Endpoints,
    /// The secret of this client cannot be read.
    #[error("oidc: login.client_secret: {0}: {1}")]
    Secret(PathBuf, String),
    /// No randomness.
    #[error("oidc: no randomness")]
    Randomness,
}

/// Where to ask.
pub(crate) fn address(text: &str) -> Result<Target, FetchError> {
    Target::parse(text).map_err(|_| FetchError::Address)
}

/// What asks.
pub(super) struct Client(Fetch);

impl Client {
    /// Trusts these authorities, or the system's. Providers are named by the administrator of this node, so
    /// their names may lead anywhere.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, FetchError> {
        let trust = Trust::new(ca)?;
        Ok(Self(Fetch::new(trust, Leads::Anywhere, PATIENCE)))
    }

    /// What stands at an address.
    pub(super) async fn get(&self, at: &Target, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let mut answer = self.0.ask(at, Ask::Get, bytes_max).await?;
        if answer.status != 200 {
            return Err(FetchError::Answer);
        }
        Ok(std::mem::take(&mut *answer.body))
    }

    /// What an address answers to a form, with whatever status.
    pub(super) async fn post(
        &self,
        at: &Target,
        form: &str,
        credential: Option<&str>,
        bytes_max: usize,
    ) -> Result<Answer, FetchError> {
        let credential = credential.map(HeaderValue::from_str).transpose();
        let mut credential = credential.map_err(|_| FetchError::Address)?;
        if let Some(value) = &mut credential {
            value.set_sensitive(true);
        }
        let ask = Ask::Form(form.as_bytes(), credential.as_ref());
        Ok(self.0.ask(at, ask, bytes_max).await?)
    }
}
