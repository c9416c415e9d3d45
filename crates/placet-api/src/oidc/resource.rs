//! Access tokens for one resource that is not this node's own interface (RFC 6750, 9068, 9728): verified as the
//! node's are, and meant for exactly that resource.

use std::collections::BTreeSet;

use hyper::HeaderMap;
use placet_authority::clock::Clock;
use placet_evidence::TokenIdentity;
use placet_types::{Denial, Millis};
use serde_json::json;

use super::{FetchError, Oidc, Verifier, shown};

/// The claim that says what a token is for.
const SCOPE: &str = "scope";

/// Takes access tokens for one resource.
pub struct ResourceTokens {
    verifier: Verifier,
    resource: String,
}

/// What a token shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Who its bearer is. All its claims stand here: rules narrow them before anything is recorded.
    pub identity: TokenIdentity,
    /// What it allows.
    pub scopes: BTreeSet<String>,
    /// Until when it counts.
    pub until: Millis,
}

impl ResourceTokens {
    /// Takes tokens of these providers, for this resource and nothing else: what they are configured to take for the
    /// node is not looked at.
    ///
    /// # Errors
    ///
    /// [`FetchError`] names what cannot be used for asking a provider.
    pub fn new(all: &[Oidc], resource: &str) -> Result<Self, FetchError> {
        let meant = |one: &Oidc| Oidc {
            audience: BTreeSet::from([resource.to_owned()]),
            ..one.clone()
        };
        let all: Vec<Oidc> = all.iter().map(meant).collect();
        Ok(Self {
            verifier: Verifier::new(&all)?,
            resource: resource.to_owned(),
        })
    }

    /// What the bearer of a request shows; `None` without a token.
    ///
    /// # Errors
    ///
    /// Why the token does not hold.
    pub async fn of(
        &self,
        headers: &HeaderMap,
        clock: &dyn Clock,
    ) -> Result<Option<Shown>, Denial> {
        let Some(token) = shown(headers)? else {
            return Ok(None);
        };
        let verified = self.verifier.verify(token, clock).await;
        let claims = verified.map_err(super::TokenError::denial)?;
        let scopes = claims.texts.get(SCOPE).into_iter().flatten();
        let scopes = scopes.flat_map(|scope| scope.split(' '));
        Ok(Some(Shown {
            scopes: scopes
                .filter(|one| !one.is_empty())
                .map(str::to_owned)
                .collect(),
            until: claims.until,
            identity: TokenIdentity {
                claims: claims.texts,
                issuer: claims.issuer,
                subject: claims.subject,
            },
        }))
    }

    /// What the resource says of itself (RFC 9728).
    #[must_use]
    pub fn metadata(&self, scopes: &BTreeSet<String>) -> String {
        let issuers: Vec<&str> = self.verifier.issuers().collect();
        let document = json!({
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
            "resource": self.resource,
            "resource_name": "Placet",
            "scopes_supported": scopes,
        });
        document.to_string()
    }
}

impl std::fmt::Debug for ResourceTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceTokens")
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}
