//! Escapes of JSON strings: the one reader of them, for every reader of JSON here.

/// Why something is no escape, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    /// Not JSON.
    #[error("the text is not JSON, at byte {0}")]
    Syntax(usize),
    /// A surrogate without its pair.
    #[error("a string has a lone surrogate, at byte {0}")]
    LoneSurrogate(usize),
}

/// What the escape stands for that begins at byte `at`, with its backslash; and the byte behind it.
///
/// # Errors
///
/// [`EscapeError`]
pub fn escape(text: &str, at: usize) -> Result<(char, usize), EscapeError> {
    let bad = EscapeError::Syntax(at);
    let letter = text
        .get(at..)
        .and_then(|rest| rest.strip_prefix('\\'))
        .and_then(|rest| rest.bytes().next())
        .ok_or(bad)?;
    let behind = at.saturating_add(2);
    let plain = match letter {
        b'"' | b'\\' | b'/' => char::from(letter),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(text, at),
        _ => return Err(bad),
    };
    Ok((plain, behind))
}

fn unicode(text: &str, at: usize) -> Result<(char, usize), EscapeError> {
    let alone = EscapeError::LoneSurrogate(at);
    let first_end = at.saturating_add(6);
    let first = four_hex(text, at.saturating_add(2))?;
    let (code, end) = if (0xd800..=0xdbff).contains(&first) {
        let rest = text.get(first_end..).unwrap_or_default();
        if !rest.starts_with("\\u") {
            return Err(alone);
        }
        let second = four_hex(text, first_end.saturating_add(2))?;
        if !(0xdc00..=0xdfff).contains(&second) {
            return Err(alone);
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        (code, first_end.saturating_add(6))
    } else {
        (first, first_end)
    };
    Ok((char::from_u32(code).ok_or(alone)?, end))
}

fn four_hex(text: &str, at: usize) -> Result<u32, EscapeError> {
    let bad = EscapeError::Syntax(at);
    let digits = text
        .get(at..at.saturating_add(4))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or(bad)?;
    u32::from_str_radix(digits, 16).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_the_ordinary_reader_does_or_refused() {
        for text in [
            r#"\""#,
            r"\\",
            r"\/",
            r"\b",
            r"\f",
            r"\n",
            r"\r",
            r"\t",
            r"\u00e9",
            r"\uD83D\uDe00",
            r"\uFFFF",
            r"\x",
            r"\",
            "",
            "n",
            r"\u12",
            r"\u+123",
            r"\ud83d",
            r"\ud83dx",
            r"\ud83d\u0041",
            r"\ude00",
            r"\u\u00e9",
        ] {
            let read = escape(text, 0).map(|(c, end)| (c.to_string(), end));
            let ordinary: Option<String> = serde_json::from_str(&format!("\"{text}\"")).ok();
            let whole = ordinary
                .filter(|_| text.starts_with('\\'))
                .map(|c| (c, text.len()));
            assert_eq!(read.ok(), whole, "{text}");
        }
        assert_eq!(escape("a\\u00e9b", 1), Ok(('\u{e9}', 7)));
        assert_eq!(escape("\\ud83d", 0), Err(EscapeError::LoneSurrogate(0)));
    }
}
