//! Exemptions from lints: each says why.

use super::Finding;
use super::tree::{Tree, line_at};

/// Every `expect(…)` and `allow(…)` attribute has a reason of some words.
pub(super) fn every_exemption_has_a_reason(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for opening in ["#[expect(", "#![expect(", "#[allow(", "#![allow("] {
            for (at, _) in file.code.match_indices(opening) {
                let code = file.code.get(at..).unwrap_or_default();
                let len = attribute_len(code);
                let text = file.text.get(at..at + len).unwrap_or_default();
                if !has_reason(text) {
                    let message = "an exemption without a reason: add `reason = \"…\"`";
                    findings.push(Finding::fails(&file.path, line_at(&file.text, at), message));
                }
            }
        }
    }
    findings
}

/// Bytes of an attribute. `code` is masked.
fn attribute_len(code: &str) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'[' | b'(' => depth += 1,
            b']' | b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && byte == b']' {
            return at + 1;
        }
    }
    code.len()
}

fn has_reason(attribute: &str) -> bool {
    let reason = attribute.split_once("reason").and_then(|(_, rest)| {
        let quoted = rest.trim_start().strip_prefix('=')?.trim_start();
        quoted.strip_prefix('"')?.split_once('"')
    });
    reason.is_some_and(|(reason, _)| reason.split_whitespace().count() >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        every_exemption_has_a_reason(&Tree::of(&[("a.rs", text)])).len()
    }

    #[test]
    fn a_reason_of_some_words_is_asked_for() {
        assert_eq!(
            found("#[expect(dead_code, reason = \"the kernel reads it\")]\nfn f() {}"),
            0
        );
        assert_eq!(
            found("#![expect(\n  clippy::a,\n  reason = \"test code\"\n)]"),
            0
        );
        assert_eq!(found("#[expect(dead_code)]\nfn f() {}"), 1);
        assert_eq!(
            found("#[expect(dead_code, reason = \"needed\")]\nfn f() {}"),
            1
        );
        assert_eq!(
            found("#[allow(dead_code)]\nfn f() { let reason = \"x y\"; }"),
            1
        );
    }
}
