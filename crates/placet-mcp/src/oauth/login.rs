//! One login: from asking who gives tokens to having some.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_fetch::{Client, Target};
use placet_types::Millis;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::OAuthError;
use super::form::{encode, one};
use super::metadata::{Server, discover, shown};
use super::register::client as registered;
use super::token::ask;
use super::tokens::{Hidden, Reached, Registered, Revocation, Tokens};

pub use super::register::Known;

/// Longest answer of a browser, in bytes.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// A login that waits for its person.
#[derive(Debug)]
pub struct Login {
    server: Server,
    resource: String,
    scope: Option<String>,
    client: Registered,
    redirect: String,
    /// Says that an answer is one to this login (CSRF).
    state: Hidden,
    /// Shows that whoever has the code is whoever asked for it (PKCE).
    verifier: Hidden,
}

/// What the browser brought: for one use.
#[derive(Debug)]
pub struct Code(Hidden);

impl Login {
    /// Finds out who gives tokens for a server, and becomes known there. `redirect` is where the browser will
    /// answer, exactly.
    ///
    /// # Errors
    ///
    /// [`OAuthError`]
    pub async fn begin(
        client: &Client,
        target: &Target,
        known: Option<Known>,
        scope: Option<String>,
        redirect: String,
    ) -> Result<Self, OAuthError> {
        let found = discover(client, target).await?;
        let as_whom = registered(client, &found.server, known, &redirect).await?;
        Ok(Self {
            scope: scope.or(found.scope).map(|it| lasting(&it, &found.server)),
            server: found.server,
            resource: found.resource,
            client: as_whom,
            redirect,
            state: random()?,
            verifier: random()?,
        })
    }

    /// Who is asked.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.server.issuer
    }

    /// Where a person goes to allow it.
    #[must_use]
    pub fn url(&self) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.expose().as_bytes()));
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", &self.client.id),
            ("redirect_uri", &self.redirect),
            ("state", self.state.expose()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", &self.resource),
        ];
        if let Some(scope) = &self.scope {
            pairs.push(("scope", scope));
            if scope.split(' ').any(|one| one == "offline_access") {
                pairs.push(("prompt", "consent"));
            }
        }
        let query = encode(pairs);
        let at = &self.server.authorization_endpoint;
        let join = if at.contains('?') { '&' } else { '?' };
        format!("{at}{join}{}", *query)
    }

    /// What came back: a code, if it is the answer to this login and from whom was asked.
    ///
    /// # Errors
    ///
    /// [`OAuthError::OtherAnswer`] says that somebody else answered, and the login waits on;
    /// [`OAuthError::Refused`] that it is over.
    pub fn answered(&self, query: &str) -> Result<Code, OAuthError> {
        let other = OAuthError::OtherAnswer;
        if query.len() > QUERY_BYTES_MAX {
            return Err(other("it is too long"));
        }
        let value = |name: &str| one(query, name).map_err(|()| other("it can be read in two ways"));
        let state = value("state")?.ok_or(other("it has no state"))?;
        let is_ours = state.as_bytes().ct_eq(self.state.expose().as_bytes());
        if !bool::from(is_ours) {
            return Err(other("it has another state"));
        }
        // RFC 9207: an answer of another server would have the code sent to the wrong one.
        match value("iss")? {
            Some(issuer) if issuer == self.server.issuer => {}
            Some(_) => return Err(other("it is from another issuer")),
            None if self.server.authorization_response_iss_parameter_supported => {
                return Err(other("it does not say who it is from"));
            }
            None => {}
        }
        if let Some(error) = value("error")? {
            return Err(OAuthError::Refused(
                "the authorization server",
                shown(&error),
            ));
        }
        let code = value("code")?.filter(|code| !code.is_empty());
        Ok(Code(Hidden::new(code.ok_or(other("it has no code"))?)))
    }

    /// Gives the code for tokens. It is used up, and so is the login. `reached` is how `client` reaches who gives
    /// them, for whoever gives them back.
    ///
    /// # Errors
    ///
    /// [`OAuthError`]
    pub async fn finish(
        self,
        client: &Client,
        code: Code,
        now: Millis,
        reached: Reached,
    ) -> Result<Tokens, OAuthError> {
        let Code(code) = code;
        let what = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &self.redirect),
            ("code_verifier", self.verifier.expose()),
            ("resource", &self.resource),
        ];
        let given = ask(client, &self.server.token_endpoint, &self.client, &what).await?;
        Ok(Tokens {
            expires: given.expires(now),
            access_token: given.access_token,
            client: self.client,
            issuer: self.server.issuer,
            refresh_token: given.refresh_token,
            resource: self.resource,
            revocation: self
                .server
                .revocation_endpoint
                .map(|endpoint| Revocation { endpoint, reached }),
            scope: given.scope.or(self.scope),
            token_endpoint: self.server.token_endpoint,
        })
    }
}

/// The scope, with what makes tokens last, where the server knows that.
fn lasting(scope: &str, server: &Server) -> String {
    const LASTING: &str = "offline_access";
    let knows = server.scopes_supported.iter().any(|one| one == LASTING);
    if knows && !scope.split(' ').any(|one| one == LASTING) {
        format!("{scope} {LASTING}")
    } else {
        scope.to_owned()
    }
}

fn random() -> Result<Hidden, OAuthError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| OAuthError::Random)?;
    Ok(Hidden::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

#[cfg(test)]
#[path = "login/tests.rs"]
mod tests;
