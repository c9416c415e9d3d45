//! The token endpoint: a code or an older token in, tokens out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use placet_fetch::{Answer, Ask, Client, Target};
use placet_types::Millis;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::OAuthError;
use super::form::{encode, escape};
use super::metadata::shown;
use super::tokens::{Hidden, Method, Registered, TOKEN_BYTES_MAX};

/// Longest answer, in bytes.
const BYTES_MAX: usize = 64 << 10;
const WHAT: &str = "the token endpoint";
const BACK: &str = "the revocation endpoint";

/// What it gives.
#[derive(Deserialize)]
pub(super) struct Given {
    pub(super) access_token: Hidden,
    token_type: String,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    pub(super) refresh_token: Option<Hidden>,
    #[serde(default)]
    pub(super) scope: Option<String>,
}

impl Given {
    /// When the access token is over, if it was said.
    pub(super) fn expires(&self, now: Millis) -> Option<u64> {
        let secs = self
            .expires_in
            .filter(|secs| (0.0..=3.2e9).contains(secs))?;
        let secs: u64 = format!("{:.0}", secs.floor()).parse().ok()?;
        Some(now.get().saturating_add(secs.saturating_mul(1000)))
    }
}

/// Asks for tokens.
pub(super) async fn ask(
    client: &Client,
    endpoint: &str,
    as_whom: &Registered,
    what: &[(&str, &str)],
) -> Result<Given, OAuthError> {
    let answer = post(client, (endpoint, WHAT), as_whom, what).await?;
    if answer.status != 200 {
        return Err(OAuthError::Refused(WHAT, refusal(&answer)));
    }
    // What is wrong with it could quote it.
    let bad = |why: &str| OAuthError::Document(WHAT, why.to_owned());
    let given: Given =
        serde_json::from_slice(&answer.body).map_err(|_| bad("it gave no tokens"))?;
    if !given.token_type.eq_ignore_ascii_case("bearer") {
        return Err(bad("it gave another kind of token than Bearer"));
    }
    let refresh = given.refresh_token.as_ref();
    let longest = refresh.map_or(0, |token| token.expose().len());
    let access = given.access_token.expose().len();
    if access == 0 || longest.max(access) > TOKEN_BYTES_MAX {
        return Err(bad("its token is empty or too long"));
    }
    Ok(given)
}

/// Gives a token back. One that is not known there is as good as given back, and one of a kind that is never taken
/// back goes by itself.
pub(super) async fn revoke(
    client: &Client,
    endpoint: &str,
    as_whom: &Registered,
    what: &[(&str, &str)],
) -> Result<(), OAuthError> {
    let answer = post(client, (endpoint, BACK), as_whom, what).await?;
    if answer.status == 200 {
        return Ok(());
    }
    match refusal(&answer).as_str() {
        "unsupported_token_type" => Ok(()),
        why => Err(OAuthError::Refused(BACK, why.to_owned())),
    }
}

/// Posts a form, as a client that proves itself.
async fn post(
    client: &Client,
    (endpoint, name): (&str, &'static str),
    as_whom: &Registered,
    what: &[(&str, &str)],
) -> Result<Answer, OAuthError> {
    let endpoint = Target::parse(endpoint).map_err(|error| OAuthError::Target(name, error))?;
    let mut pairs = what.to_vec();
    let mut header = None;
    match (as_whom.method, &as_whom.secret) {
        (Method::ClientSecretBasic, Some(secret)) => {
            header = Some(basic(&as_whom.id, secret.expose())?);
        }
        (Method::ClientSecretPost, Some(secret)) => {
            pairs.push(("client_id", &as_whom.id));
            pairs.push(("client_secret", secret.expose()));
        }
        (Method::None, _) | (_, None) => pairs.push(("client_id", &as_whom.id)),
    }
    let form = encode(pairs);
    let ask = Ask::Form(form.as_bytes(), header.as_ref());
    client
        .ask(&endpoint, ask, BYTES_MAX)
        .await
        .map_err(|error| OAuthError::Ask(name, error))
}

fn basic(id: &str, secret: &str) -> Result<HeaderValue, OAuthError> {
    let mut pair = Zeroizing::new(String::with_capacity(
        id.len().saturating_add(secret.len()).saturating_mul(3),
    ));
    escape(id, &mut pair);
    pair.push(':');
    escape(secret, &mut pair);
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| OAuthError::Document("the client's secret", "it fits no header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a refusal says: its code, and never its words, which may repeat what was asked.
pub(super) fn refusal(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(refusal) => shown(&refusal.error),
        Err(_) => format!("HTTP status {}", answer.status),
    }
}
