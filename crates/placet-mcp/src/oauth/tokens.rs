//! What a login gives: tokens, bound to the resource that they are for. A secret of the domain.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use hyper::header::HeaderValue;
use placet_fetch::{Client, Target};
use placet_secrets::Secret;
use placet_types::{Millis, PeerRule, SecretName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::OAuthError;
use super::token::revoke;

/// What the names of such secrets begin with. Nothing else is taken from them, and they go into no header of a
/// configuration.
pub const PREFIX: &str = "oauth.";
/// Longest token, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 16 << 10;

/// A text that is not shown, and wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

/// Tokens of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// What is shown to the server.
    pub(super) access_token: Hidden,
    /// As whom they were asked for.
    pub(super) client: Registered,
    /// When the access token is over, in milliseconds since 1970; absent where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// Who gave them.
    pub(super) issuer: String,
    /// What the next ones are asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<Hidden>,
    /// What they are for, and nothing else.
    pub(super) resource: String,
    /// Where they are given back; absent where the server takes none back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revocation: Option<Revocation>,
    /// What they allow, as it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    /// Where the next ones are asked for.
    pub(super) token_endpoint: String,
}

/// Where tokens are given back (RFC 7009), and how that is reached: as it was when they were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    pub(super) endpoint: String,
    pub(super) reached: Reached,
}

/// How the authorization server was reached beside the public internet, and who vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// A file of authorities, in the place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Peers that may be spoken to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub peers: BTreeSet<PeerRule>,
}

/// A client that an authorization server knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registered {
    pub(super) id: String,
    pub(super) method: Method,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Hidden>,
}

/// How a client proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

impl Hidden {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that it is meant for.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl Tokens {
    /// Reads what the store holds.
    ///
    /// # Errors
    ///
    /// [`OAuthError::Document`]
    pub fn open(secret: &Secret) -> Result<Self, OAuthError> {
        serde_json::from_slice(secret.expose())
            // What is wrong with it could quote it.
            .map_err(|_| OAuthError::Document("the secret", "it is no login".to_owned()))
    }

    /// What the store is to hold.
    ///
    /// # Errors
    ///
    /// [`OAuthError::Document`] for more than a secret can be.
    pub fn seal(&self) -> Result<Secret, OAuthError> {
        let bad = |error: String| OAuthError::Document("the login", error);
        // One buffer of the right size: one that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(placet_secrets::BYTES_MAX));
        serde_json::to_writer(&mut *bytes, self).map_err(|error| bad(error.to_string()))?;
        Secret::new(bytes).map_err(|error| bad(error.to_string()))
    }

    /// Whether they are for this server.
    ///
    /// # Errors
    ///
    /// [`OAuthError::OtherBinding`]
    pub fn check(&self, target: &Target) -> Result<(), OAuthError> {
        if covers(&self.resource, target) {
            return Ok(());
        }
        Err(OAuthError::OtherBinding {
            bound: self.resource.clone(),
            asked: target.url(),
        })
    }

    /// What they are for.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Who gave them.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What they allow, where it was said.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether they can be renewed without a person.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// How whoever takes them back is reached; `None` where nobody does.
    #[must_use]
    pub fn reached(&self) -> Option<&Reached> {
        self.revocation
            .as_ref()
            .map(|revocation| &revocation.reached)
    }

    /// Gives them back to who gave them (RFC 7009): what renews them, and then what is left.
    ///
    /// # Errors
    ///
    /// [`OAuthError`]: they may go on to be good.
    pub async fn revoke(&self, client: &Client) -> Result<(), OAuthError> {
        let Some(revocation) = &self.revocation else {
            return Ok(());
        };
        let kinds = [
            ("refresh_token", self.refresh_token.as_ref()),
            ("access_token", Some(&self.access_token)),
        ];
        for (kind, token) in kinds {
            if let Some(token) = token {
                let what = [("token", token.expose()), ("token_type_hint", kind)];
                revoke(client, &revocation.endpoint, &self.client, &what).await?;
            }
        }
        Ok(())
    }

    /// Whether the access token is over at this time, or about to be.
    pub(super) fn is_over(&self, now: Millis, margin_ms: u64) -> bool {
        self.expires
            .is_some_and(|expires| now.get().saturating_add(margin_ms) >= expires)
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> Result<HeaderValue, OAuthError> {
        let value = Zeroizing::new(format!("Bearer {}", self.access_token.expose()));
        let bad = || OAuthError::Document("the access token", "it fits no header".to_owned());
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The name of the secret that holds the tokens of a server.
#[must_use]
pub fn secret_of(server: &str) -> Option<SecretName> {
    let kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = server
        .chars()
        .map(|c| if kept(c) { c.to_ascii_lowercase() } else { '-' })
        .take(64 - PREFIX.len())
        .collect();
    SecretName::parse(&format!("{PREFIX}{name}")).ok()
}

/// Whether a token for this resource is one for that server: the same origin, and its path or one below.
pub(super) fn covers(resource: &str, target: &Target) -> bool {
    let Ok(bound) = Target::parse(resource) else {
        return false;
    };
    if bound.origin() != target.origin() {
        return false;
    }
    if bound.has_query() {
        return bound.path() == target.path();
    }
    let (prefix, path) = (
        bound.path_alone().trim_end_matches('/'),
        target.path_alone(),
    );
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens {
            access_token: Hidden::new("at-1".into()),
            client: Registered {
                id: "c".into(),
                method: Method::ClientSecretPost,
                secret: Some(Hidden::new("cs-1".into())),
            },
            expires: Some(1000),
            issuer: "https://as.example".into(),
            refresh_token: Some(Hidden::new("rt-1".into())),
            resource: "https://mcp.example/a".into(),
            revocation: Some(Revocation {
                endpoint: "https://as.example/revoke".into(),
                reached: Reached::default(),
            }),
            scope: None,
            token_endpoint: "https://as.example/token".into(),
        }
    }

    #[test]
    fn tokens_are_for_their_resource_and_nothing_else() {
        let is_for = |url: &str| tokens().check(&Target::parse(url).unwrap()).is_ok();
        for good in [
            "https://mcp.example/a",
            "https://MCP.example:443/a/b",
            "https://mcp.example/a?x",
        ] {
            assert!(is_for(good), "{good}");
        }
        for bad in [
            "https://mcp.example/",
            "https://mcp.example/ab",
            "https://mcp.example:8443/a",
            "https://evil.example/a",
            "https://mcp.example.evil.example/a",
            "http://127.0.0.1/a",
        ] {
            assert!(!is_for(bad), "{bad}");
        }
    }

    #[test]
    fn a_login_survives_its_store_and_is_never_shown() {
        let sealed = tokens().seal().unwrap();
        assert_eq!(Tokens::open(&sealed).unwrap(), tokens());
        let shown = format!("{:?} {sealed:?}", tokens());
        for secret in ["at-1", "rt-1", "cs-1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let other = Secret::new(Zeroizing::new(b"{\"access_token\":\"at-1\"}".to_vec())).unwrap();
        let error = Tokens::open(&other).unwrap_err().to_string();
        assert!(!error.contains("at-1"), "{error}");
    }

    #[test]
    fn every_server_has_a_name_for_its_secret() {
        assert_eq!(secret_of("Far.One").unwrap().as_str(), "oauth.far.one");
        assert!(secret_of(&"x".repeat(200)).is_some());
    }
}
