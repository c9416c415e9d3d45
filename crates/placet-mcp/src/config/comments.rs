//! Comments and commas that end a list: some clients write them, and they mean nothing.

/// The text without them: blanks in their place, so that everything else stays where it was.
pub(super) fn without(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Where a comma may turn out to be the last of its list.
    let mut comma = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => string(rest),
            '/' if rest.starts_with("//") => {
                let length = rest.find('\n').unwrap_or(rest.len());
                blank(&mut out, &mut rest, length);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                let Some(end) = rest.get(2..).and_then(|behind| behind.find("*/")) else {
                    // Nobody ends it, and nothing reads what is left.
                    out.push_str(rest);
                    return out;
                };
                blank(&mut out, &mut rest, end.saturating_add(4));
                continue;
            }
            other => other.len_utf8(),
        };
        match first {
            ',' => comma = Some(out.len()),
            '}' | ']' => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
            }
            blank if blank.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        let (head, tail) = rest.split_at(taken);
        out.push_str(head);
        rest = tail;
    }
    out
}

/// How long the string is that begins here.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end.saturating_add(2))
}

fn blank(out: &mut String, rest: &mut &str, length: usize) {
    let (gone, tail) = rest.split_at(length);
    out.extend(
        gone.bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
    );
    *rest = tail;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_last_commas_go_and_texts_stay() {
        for (text, plain) in [
            ("{\"a\":1,// x\n}", "{\"a\":1_____\n}"),
            ("[1, /* , ] */ ]", "[1____________]"),
            ("[1,,2]", "[1,,2]"),
            ("[,]", "[_]"),
            ("/* \u{e9} */{}", "________{}"),
            ("{}/* never", "{}/* never"),
            ("/*/{}*/[]", "_______[]"),
        ] {
            assert_eq!(without(text), plain.replace('_', " "), "{text}");
        }
        let text = r#"{"a":"// no, \" /* no */,]"}"#;
        assert_eq!(without(text), text);
    }
}
