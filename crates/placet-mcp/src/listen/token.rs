//! The token of one listener: whoever can read its file acts as the listener's principal.

use std::fmt;

use hyper::header::{AUTHORIZATION, HeaderMap};
use placet_types::PrincipalId;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::caller::{Caller, Callers, Resolving, Unproven};

/// How tokens that are made here begin, so that whoever finds one knows what it is.
const MARK: &str = "placet_mcp_";
/// Shortest and longest text that is taken for a token.
const BYTES: std::ops::RangeInclusive<usize> = 32..=512;

/// A secret, and as whom its holder acts.
pub struct Token {
    secret: Zeroizing<String>,
    principal: PrincipalId,
    /// Tells its sessions from those of other tokens.
    mark: String,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Too short to be a secret, too long, or with odd characters.
    #[error("a token is 32 to 512 letters, digits and -._~+/=")]
    Shape,
    /// The machine has no randomness.
    #[error("there is no randomness")]
    Random,
}

impl Token {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    ///
    /// [`TokenError::Random`]
    pub fn fresh(principal: PrincipalId) -> Result<Self, TokenError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *bytes).map_err(|_| TokenError::Random)?;
        let mut secret = Zeroizing::new(String::from(MARK));
        for byte in *bytes {
            secret.push_str(&format!("{byte:02x}"));
        }
        Self::new(secret, principal)
    }

    /// One that was kept.
    ///
    /// # Errors
    ///
    /// [`TokenError`]
    pub fn parse(text: &str, principal: PrincipalId) -> Result<Self, TokenError> {
        let text = text.trim_end();
        let is_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !BYTES.contains(&text.len()) || !text.bytes().all(is_one) {
            return Err(TokenError::Shape);
        }
        Self::new(Zeroizing::new(text.to_owned()), principal)
    }

    fn new(secret: Zeroizing<String>, principal: PrincipalId) -> Result<Self, TokenError> {
        let mut mark = [0_u8; 8];
        getrandom::fill(&mut mark).map_err(|_| TokenError::Random)?;
        Ok(Self {
            secret,
            principal,
            mark: format!("token {}", u64::from_le_bytes(mark)),
        })
    }

    /// The secret itself, for the file that it is kept in.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.secret
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(one), None) = (all.next(), all.next()) else {
            return false;
        };
        let Some((scheme, shown)) = one.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer")
            && bool::from(shown.as_bytes().ct_eq(self.secret.as_bytes()))
    }
}

impl Callers for Token {
    fn resolve<'a>(&'a self, headers: &'a HeaderMap) -> Resolving<'a> {
        let resolved = if self.is_shown(headers) {
            Ok(Caller {
                principal: self.principal.clone(),
                by: self.mark.clone(),
                good_for: None,
                identity: None,
            })
        } else {
            Err(Unproven::default())
        };
        Box::pin(std::future::ready(resolved))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_once_whole_and_as_a_bearer() {
        let principal = PrincipalId::parse("agent:coder").unwrap();
        let token = Token::fresh(principal.clone()).unwrap();
        assert!(!format!("{token:?}").contains(token.expose()));
        let kept = Token::parse(&format!("{}\n", token.expose()), principal.clone()).unwrap();
        let headers = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            headers
        };
        let good = format!("Bearer {}", token.expose());
        assert!(kept.is_shown(&headers(std::slice::from_ref(&good))));
        let short: String = good.chars().take(good.len() - 1).collect();
        for bad in [
            vec![],
            vec![short],
            vec![format!("{good}0")],
            vec![good.replace("Bearer", "Basic")],
            vec![token.expose().to_owned()],
            vec![good.clone(), good.clone()],
        ] {
            assert!(!kept.is_shown(&headers(&bad)), "{}", bad.len());
        }
        for bad in ["", "short", &"x y".repeat(20), &"x".repeat(600)] {
            assert!(Token::parse(bad, principal.clone()).is_err());
        }
    }
}
