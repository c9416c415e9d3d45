//! Patterns with `*`: any run of characters other than `/`, also none. Nothing else is special.

/// Whether `text` matches `pattern` as a whole. Takes time proportional to the product of lengths.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the literal part after the last `*` does not fit: that `*` takes one more.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(byte) {
            p += 1;
            t += 1;
        } else if let Some((star, taken)) = retry.filter(|(_, at)| text.get(*at) != Some(&b'/')) {
            retry = Some((star, taken + 1));
            p = star + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stays_within_one_part_of_a_path() {
        for (pattern, text) in [
            ("python3*", "python3"),
            ("python3*", "python3.11"),
            ("/home/*/.cargo/bin", "/home/a/.cargo/bin"),
            ("*.*.*", "6.1.0"),
            ("**", "x"),
            ("a*b*c", "a-b-b-c"),
            ("", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("python3*", "python"),
            ("/home/*/.cargo/bin", "/home/a/b/.cargo/bin"),
            ("*", "a/b"),
            ("a", "ab"),
            ("ab", "a"),
            ("a*b", "a/b"),
            ("*/x", "a/b/x"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
