//! Forms and queries: written in one way, read strictly.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// Pairs, percent-encoded. Wiped when it goes: a form may hold a code or a token.
pub(super) fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    // Room for all of it, so that nothing is left behind by growing.
    let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
    let bytes: usize = pairs
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len().saturating_mul(3)))
        .map(|length| length.saturating_add(2))
        .sum();
    let mut out = Zeroizing::new(String::with_capacity(bytes));
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        if at > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        escape(value, &mut out);
    }
    out
}

/// A value with everything escaped that RFC 3986 does not leave alone.
pub(super) fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A text takes whatever is written to it.
            write!(out, "%{byte:02X}").unwrap_or(());
        }
    }
}

/// The one value of a name; `Err` where it stands twice or is no text.
pub(super) fn one(query: &str, name: &str) -> Result<Option<String>, ()> {
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Another spelling of the name is the same name to somebody else.
        if decode(key).ok_or(())? == name {
            if found.is_some() {
                return Err(());
            }
            found = Some(decode(value).ok_or(())?);
        }
    }
    Ok(found)
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_stands_twice() {
        let query = encode([("code", "a b/+&=é"), ("state", "x")]);
        assert_eq!(one(&query, "code"), Ok(Some("a b/+&=é".to_owned())));
        assert_eq!(one(&query, "iss"), Ok(None));
        assert_eq!(one("code=1&code=2", "code"), Err(()));
        assert_eq!(one("code=1&%63ode=2", "code"), Err(()));
        assert_eq!(one("code=%zz", "code"), Err(()));
        assert_eq!(one("code=%ff", "code"), Err(()));
    }
}
