//! Rust source with everything blanked that is not code, so that a search finds code only.
//!
//! Not a parser: it knows comments, literals and matching brackets, which is what the checks need.
//! Blanking replaces bytes by spaces and keeps newlines, so offsets and lines stay what they were.

/// Blanks comments and the insides of string and character literals.
pub(super) fn mask(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, blanked) = token(rest, out.last().copied());
        let (head, tail) = rest.split_at_checked(kept + blanked).unwrap_or((rest, ""));
        for (at, byte) in head.bytes().enumerate() {
            out.push(if at < kept || byte == b'\n' {
                byte
            } else {
                b' '
            });
        }
        debug_assert!(!head.is_empty(), "no progress at {first:?}");
        rest = tail;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Lengths of the next piece: bytes to keep, then bytes to blank.
fn token(rest: &str, before: Option<u8>) -> (usize, usize) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (1, inside_string(rest.get(1..).unwrap_or_default()));
    }
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !in_word && let Some((opening, inside)) = raw_string(rest) {
        return (opening, inside);
    }
    if rest.starts_with('\'') {
        return char_literal(rest).map_or((1, 0), |inside| (1, inside));
    }
    // The closing quote of a string is blanked by none of these, and kept here.
    (first, 0)
}

/// Bytes of a block comment, which may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let here = rest.get(at..).unwrap_or_default();
        if here.is_empty() {
            return rest.len();
        }
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// Bytes of a string after its opening quote, with the closing one.
fn inside_string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// For `r"…"`, `r#"…"#`, `br"…"`: bytes of the opening and of what follows.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    let inside = after.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inside
        .find(&close)
        .map_or(inside.len(), |at| at + close.len());
    Some((rest.len() - inside.len(), end))
}

/// Bytes of a character literal after its first quote; nothing for a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        return inside.get(2..)?.find('\'').map(|at| at + 3);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

/// Blanks every item under `#[cfg(test)]`. `code` is masked.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(at) = code.get(from..).and_then(|rest| rest.find("#[cfg(test)]")) {
        let begin = from + at;
        let end = begin + item_len(code.get(begin..).unwrap_or_default());
        for byte in out.iter_mut().take(end).skip(begin) {
            *byte = if *byte == b'\n' { b'\n' } else { b' ' };
        }
        from = end.max(begin + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Bytes of an item with its attributes: to the first `;` outside brackets, or the end of its block.
pub(super) fn item_len(code: &str) -> usize {
    let mut round = 0_i32;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b';' if round == 0 => return at + 1,
            b'{' if round == 0 => return at + block_len(code.get(at..).unwrap_or_default()),
            _ => {}
        }
    }
    code.len()
}

/// Bytes from an opening brace to its match.
fn block_len(code: &str) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Offsets of `word` in masked code where it stands alone.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let in_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            !in_word(before) && !in_word(bytes.get(at + word.len()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text = "let a = \"x // y\"; // unsafe\n/* a /* b */\nc */ let b = 'z';";
        let code = mask(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.lines().count(), 3);
        assert!(!code.contains("unsafe") && !code.contains('y') && !code.contains('z'));
        assert!(code.contains("let a =") && code.contains("let b ="));
    }

    #[test]
    fn raw_strings_escapes_and_lifetimes_do_not_confuse_it() {
        let code =
            mask(r##"f(r#"a " b"#, "q\"r", '\'', '\u{e9}'); fn g<'a>(x: &'a str) { tail }"##);
        assert!(code.contains("fn g<'a>(x: &'a str) { tail }"), "{code}");
        assert!(!code.contains(" b\"") && !code.contains("q\\"));
        assert!(mask("let var\"\" = 1;").contains("= 1;"));
    }

    #[test]
    fn items_under_cfg_test_are_blanked_to_their_end() {
        let code =
            "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\n#[cfg(test)]\nmod c;\nfn d() {}";
        let product = without_tests(code);
        assert!(product.contains("fn a") && product.contains("fn d"));
        assert!(!product.contains("fn b") && !product.contains("mod c"));
        assert_eq!(product.lines().count(), 6);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(
            words("unsafe_code unsafe { } my_unsafe", "unsafe").collect::<Vec<_>>(),
            [12]
        );
    }
}
