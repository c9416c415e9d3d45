//! Signing a browser in by a provider (OpenID Connect Core, section 3.1; RFC 6749, RFC 7636, RFC 9207), and out.
//!
//! The browser proves a key of its own when it begins and again when it comes back with a code. What is
//! between the two stands in `state`, made with a secret of this process over that key: another browser can
//! do nothing with it, and strangers fill no memory here. From the same `state` come `nonce` and the PKCE
//! verifier. The code is exchanged by the node; no token ever reaches the browser.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use placet_types::canonical::{Bounds, Json};
use placet_types::{Denial, Millis, Thumbprint};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::fetch::FetchError;
use super::token::TokenError;

/// How long a sign-in may take, in seconds.
const BEGUN_SECS: u64 = 600;
/// Longest session, in seconds.
const SESSION_SECS_MAX: u64 = 12 * 60 * 60;
/// Longest answer of a token endpoint, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 1024;
/// Random bytes, seconds, number of the provider.
const HEAD_BYTES: usize = 16 + 8 + 1;

/// How browsers sign in by a provider, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The client that this node is to the provider.
    pub client_id: String,
    /// File with its secret; absent for a public client, which PKCE protects alone.
    pub client_secret: Option<PathBuf>,
    /// What people know the provider as (default: its issuer).
    pub name: Option<String>,
    /// Scopes to ask for, beside `openid`.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// How long a browser stays signed in, in seconds, at most twelve hours.
    #[serde(default = "eight_hours")]
    pub session_secs: u64,
    /// How far signing out goes.
    #[serde(default)]
    pub sign_out: SignOut,
}

/// How far signing out goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignOut {
    /// To the provider, which asks whether to end its own session, too.
    #[default]
    Provider,
    /// Here only: the provider's session is the provider's.
    Here,
}

const fn eight_hours() -> u64 {
    8 * 60 * 60
}

impl Login {
    /// What cannot stand, if something cannot.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let printable = |text: &str| text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        let id = &self.client_id;
        if id.is_empty() || id.len() > 255 || !id.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        {
            return Some("login.client_id is 1 to 255 printable characters");
        }
        let name = self.name.as_deref();
        if name
            .is_some_and(|name| !(1..=64).contains(&name.len()) || name.contains(char::is_control))
        {
            return Some("login.name is 1 to 64 bytes");
        }
        let scope = |scope: &String| {
            (1..=64).contains(&scope.len()) && printable(scope) && !scope.contains(['"', '\\'])
        };
        if self.scopes.len() > 16 || !self.scopes.iter().all(scope) {
            return Some("login.scopes are at most 16 words");
        }
        if !(60..=SESSION_SECS_MAX).contains(&self.session_secs) {
            return Some("login.session_secs is 60 to 43200");
        }
        None
    }

    /// The Authorization header of this client, where it has a secret.
    pub(super) fn credential(&self) -> Result<Option<Zeroizing<String>>, FetchError> {
        let Some(path) = &self.client_secret else {
            return Ok(None);
        };
        let secret = secret(path)?;
        let pair = format!("{}:{}", encoded(&self.client_id), encoded(&secret));
        let pair = Zeroizing::new(pair);
        let basic = format!("Basic {}", STANDARD.encode(pair.as_bytes()));
        Ok(Some(Zeroizing::new(basic)))
    }
}

/// The secret in a file that nobody else can read.
fn secret(path: &Path) -> Result<Zeroizing<String>, FetchError> {
    let bad = |what: &str| FetchError::Secret(path.to_owned(), what.to_owned());
    let about = std::fs::metadata(path).map_err(|error| bad(&error.to_string()))?;
    if about.mode() & 0o077 != 0 {
        return Err(bad(
            "others than its owner can read it; run `chmod 600` on it",
        ));
    }
    if about.len() > SECRET_BYTES_MAX {
        return Err(bad("it is too long for a secret"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    let text = Zeroizing::new(text);
    let secret = text.trim();
    if secret.is_empty() {
        return Err(bad("it is empty"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("no identity provider of this node signs browsers in under that issuer")]
    Issuer,
    #[error("{0}")]
    Unreachable(#[from] FetchError),
    #[error(
        "this browser did not begin that sign-in here, or it took more than ten minutes; begin again"
    )]
    State,
    #[error("the answer is not of the identity provider that was asked (iss)")]
    OtherIssuer,
    #[error("the identity provider takes the code no longer, or not from this node: {0}")]
    Refused(String),
    #[error("{}", .0.reason)]
    Token(Denial),
    #[error("too many sign-ins at once")]
    Busy,
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        Self::Token(error.denial())
    }
}

/// What makes and takes `state`.
pub(super) struct Seal(Zeroizing<[u8; 32]>);

/// A sign-in that was begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

impl Seal {
    pub(super) fn new() -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).ok()?;
        Some(Self(secret))
    }

    /// Begins a sign-in by this provider, for this key and this address to come back to.
    pub(super) fn begin(
        &self,
        provider: u8,
        key: &Thumbprint,
        back: &str,
        now: Millis,
    ) -> Option<Begun> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let secs = now.as_unix_secs().to_be_bytes();
        let head = [random.as_slice(), &secs, &[provider]].concat();
        let tag = self.mac("state", &head, key, back)?.finalize().into_bytes();
        let state = URL_SAFE_NO_PAD.encode([head.as_slice(), &tag].concat());
        self.begun(state, key, back)
    }

    /// What was begun under this state by this key, and the provider that it was begun with.
    pub(super) fn resume(
        &self,
        state: &str,
        key: &Thumbprint,
        back: &str,
        now: Millis,
    ) -> Option<(u8, Begun)> {
        let bytes = URL_SAFE_NO_PAD.decode(state).ok()?;
        let (head, tag) = bytes.split_at_checked(HEAD_BYTES)?;
        self.mac("state", head, key, back)?.verify_slice(tag).ok()?;
        let (_, rest) = head.split_at_checked(16)?;
        let (secs, provider) = rest.split_first_chunk::<8>()?;
        let begun = u64::from_be_bytes(*secs);
        let age = now.as_unix_secs().checked_sub(begun)?;
        if age >= BEGUN_SECS {
            return None;
        }
        let begun = self.begun(state.to_owned(), key, back)?;
        Some((*provider.first()?, begun))
    }

    fn begun(&self, state: String, key: &Thumbprint, back: &str) -> Option<Begun> {
        let derived = |purpose| {
            let mac = self.mac(purpose, state.as_bytes(), key, back)?;
            Some(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
        };
        Some(Begun {
            nonce: derived("nonce")?,
            verifier: derived("verifier")?,
            state,
        })
    }

    fn mac(
        &self,
        purpose: &str,
        head: &[u8],
        key: &Thumbprint,
        back: &str,
    ) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).ok()?;
        for part in [
            purpose.as_bytes(),
            head,
            key.to_string().as_bytes(),
            back.as_bytes(),
        ] {
            mac.update(&u64::try_from(part.len()).ok()?.to_be_bytes());
            mac.update(part);
        }
        Some(mac)
    }
}

/// Where the browser goes.
pub(super) fn address(endpoint: &str, login: &Login, back: &str, begun: &Begun) -> String {
    let mut scope = "openid".to_owned();
    for one in login.scopes.iter().filter(|one| *one != "openid") {
        scope.push(' ');
        scope.push_str(one);
    }
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(begun.verifier.as_bytes()));
    let query = form(&[
        ("response_type", "code"),
        ("client_id", &login.client_id),
        ("redirect_uri", back),
        ("scope", &scope),
        ("state", &begun.state),
        ("nonce", &begun.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    joined(endpoint, &query)
}

/// Where the browser goes to sign out at the provider, and comes back from. No token goes along, so the
/// provider asks whoever sits there first.
pub(super) fn away(endpoint: &str, login: &Login, back: &str) -> String {
    let query = form(&[
        ("client_id", &login.client_id),
        ("post_logout_redirect_uri", back),
    ]);
    joined(endpoint, &query)
}

fn joined(endpoint: &str, query: &str) -> String {
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{joint}{query}")
}

/// What the token endpoint is asked.
pub(super) fn question(login: &Login, back: &str, begun: &Begun, code: &str) -> String {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", back),
        ("code_verifier", &begun.verifier),
    ];
    if login.client_secret.is_none() {
        fields.push(("client_id", &login.client_id));
    }
    form(&fields)
}

/// The ID token of an answer, or the name of the error in its place.
pub(super) fn id_token(answer: &[u8], is_good: bool) -> Result<String, LoginError> {
    let bounds = Bounds {
        bytes_max: ANSWER_BYTES_MAX,
        depth_max: 8,
    };
    let answer = Json::parse(answer, bounds).map_err(|_| FetchError::Answer)?;
    let text = |name: &str| answer.get(name).and_then(Json::as_str);
    if is_good {
        return Ok(text("id_token").ok_or(FetchError::Answer)?.to_owned());
    }
    let error = text("error").unwrap_or("no reason");
    let plain = error
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let error = if plain && error.len() <= 64 {
        error
    } else {
        "no reason"
    };
    Err(LoginError::Refused(error.to_owned()))
}

/// application/x-www-form-urlencoded.
fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    fields.join("&")
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            break;
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
