//! What a refusal says about how to do better: `WWW-Authenticate` (RFC 6750, RFC 9728).

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

/// Longest header that is looked at, in bytes.
const BYTES_MAX: usize = 4096;

/// The challenge to bring a bearer token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) resource_metadata: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) error: Option<String>,
}

impl Challenge {
    /// The first one of the headers.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter();
        texts
            .filter_map(|value| value.to_str().ok())
            .find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let mut found: Option<Self> = None;
        for part in parts(text) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) if !name.trim().contains(' ') => (name.trim(), value.trim()),
                _ => {
                    // A scheme, with its first parameter behind it.
                    if found.is_some() {
                        break;
                    }
                    let (scheme, rest) = part.trim().split_once(' ').unwrap_or((part.trim(), ""));
                    if scheme.eq_ignore_ascii_case("bearer") {
                        found = Some(Self::default());
                    }
                    match rest.split_once('=') {
                        Some((name, value)) => (name.trim(), value.trim()),
                        None => continue,
                    }
                }
            };
            if let Some(challenge) = &mut found {
                challenge.set(name, unquoted(value));
            }
        }
        found
    }

    fn set(&mut self, name: &str, value: String) {
        let field = match name.to_ascii_lowercase().as_str() {
            "resource_metadata" => &mut self.resource_metadata,
            "scope" => &mut self.scope,
            "error" => &mut self.error,
            _ => return,
        };
        // Of two, the first counts.
        field.get_or_insert(value);
    }
}

/// What stands between commas, but for those in quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c: char| {
        let is_end = c == ',' && !is_quoted;
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' && is_quoted {
            is_escaped = true;
        } else if c == '"' {
            is_quoted = !is_quoted;
        }
        is_end
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn unquoted(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    let Some(inner) = inner else {
        return value.to_owned();
    };
    let mut is_escaped = false;
    inner
        .chars()
        .filter(|c| {
            let kept = is_escaped || *c != '\\';
            is_escaped = !is_escaped && *c == '\\';
            kept
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_wherever_it_stands() {
        let read = |text: &str| Challenge::parse(text);
        let expected = Challenge {
            resource_metadata: Some("https://a.example/.well-known/x".to_owned()),
            scope: Some("read, write".to_owned()),
            error: Some("invalid_token".to_owned()),
        };
        for text in [
            r#"Bearer error="invalid_token", scope="read, write", resource_metadata="https://a.example/.well-known/x""#,
            r#"Basic realm="a,b", bearer resource_metadata="https://a.example/.well-known/x",error=invalid_token,scope="read, write""#,
        ] {
            assert_eq!(read(text), Some(expected.clone()), "{text}");
        }
        assert_eq!(read("Bearer"), Some(Challenge::default()));
        assert_eq!(read(r#"Basic realm="Bearer x=y""#), None);
        let of_another = r#"Bearer scope="a", DPoP scope="b", error="x""#;
        assert_eq!(read(of_another).unwrap().scope.unwrap(), "a");
        assert_eq!(read(of_another).unwrap().error, None);
    }
}
