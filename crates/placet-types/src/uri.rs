//! Where a path, or a `file:` URI, leads, by its text alone.
//!
//! Symbolic links are another matter: what is confined to a scope meets them there.

/// The path that a `file:` URI of this machine leads to, in normal form; `None` of any other text.
#[must_use]
pub fn file_path(uri: &str) -> Option<String> {
    let scheme = uri.get(..5)?;
    if !scheme.eq_ignore_ascii_case("file:") {
        return None;
    }
    normal_path(&decoded(uri.get(5..)?.strip_prefix("//")?)?)
}

/// An absolute path without `.`, `..`, doubled and trailing slashes; `None` of any other text.
#[must_use]
pub fn normal_path(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Percent-decoded, without query and fragment; `None` of what does not decode to text.
fn decoded(uri: &str) -> Option<String> {
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let mut bytes = uri.get(..end)?.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_where_it_leads_whatever_its_spelling() {
        for (said, leads) in [
            ("/data/a", "/data/a"),
            ("/data//./a/", "/data/a"),
            ("/data/../etc/passwd", "/etc/passwd"),
            ("/../../x", "/x"),
            ("/", "/"),
        ] {
            assert_eq!(normal_path(said).as_deref(), Some(leads), "{said}");
        }
        for said in ["data/a", "", "~/x", "/a\0b"] {
            assert_eq!(normal_path(said), None, "{said}");
        }
    }

    #[test]
    fn a_file_uri_is_the_path_that_it_decodes_to() {
        for (said, leads) in [
            ("file:///data/%2e%2e/etc?x#y", "/etc"),
            ("FILE:///data/a%20b", "/data/a b"),
        ] {
            assert_eq!(file_path(said).as_deref(), Some(leads), "{said}");
        }
        for said in [
            "file://host/x",
            "file:data",
            "file:///%zz",
            "file:///%ff",
            "file:///a%00b",
            "https://x/y",
            "/data",
            "é",
            "",
        ] {
            assert_eq!(file_path(said), None, "{said}");
        }
    }
}
