//! Links between the documents, and from code to them.

use super::Finding;
use super::tree::{File, Tree, line_at};

/// Every link of a Markdown file to a file of this repository, or a heading in it, leads there.
pub(super) fn every_link_leads_somewhere(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension(".md") {
        for (at, target) in links(&file.text) {
            if let Some(why) = broken(tree, file, target) {
                let message = format!("the link `{target}` leads nowhere: {why}");
                findings.push(Finding::fails(&file.path, line_at(&file.text, at), message));
            }
        }
    }
    findings
}

/// The targets of inline links, with their offsets. Code is not read for links.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut fenced, mut begin) = (false, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line_links(line).map(|(at, target)| (begin + at, target)));
        }
        begin += line.len();
    }
    found
}

fn line_links(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.match_indices("](").filter_map(|(at, _)| {
        let in_code = line.get(..at)?.matches('`').count() % 2 == 1;
        let target = line.get(at + 2..)?.split([')', ' ']).next()?;
        (!in_code).then_some((at, target))
    })
}

fn broken(tree: &Tree, from: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        from.path.clone()
    } else {
        resolve(&from.path, path)?
    };
    if !tree.has(&path) {
        return Some(format!("there is no {path}"));
    }
    let to = tree.file(&path)?;
    let missing = !heading.is_empty() && path.ends_with(".md") && !has_heading(&to.text, heading);
    missing.then(|| format!("{path} has no such heading"))
}

/// A path relative to the directory of `from`, within the repository. Nothing above it.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn has_heading(text: &str, wanted: &str) -> bool {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| slug(line.trim_start_matches('#').trim()) == wanted)
}

/// A heading as GitHub names it in links.
fn slug(heading: &str) -> String {
    heading
        .chars()
        .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
        .map(|char| {
            if char == ' ' {
                '-'
            } else {
                char.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Every page and vector file under `spec/` that code or a document names exists.
pub(super) fn every_spec_that_is_named_exists(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for (at, path) in specs(&file.text) {
            if !tree.has(path) {
                let message = format!("names {path}, which is not there");
                findings.push(Finding::fails(&file.path, line_at(&file.text, at), message));
            }
        }
    }
    findings
}

/// Paths that begin with `spec/` and end with a file's name.
fn specs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices(concat!("spec", "/"))
        .filter_map(|(at, _)| {
            let before = text.get(..at)?;
            let own = !before
                .ends_with(|char: char| char.is_alphanumeric() || "-_./".contains(char))
                || before.ends_with("../");
            let rest = text.get(at..)?;
            let end =
                rest.find(|char: char| !char.is_ascii_alphanumeric() && !"-_./".contains(char));
            let path = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('.');
            let named = path.ends_with(".md") || path.ends_with(".json");
            (own && named).then_some((at, path))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        let files = [("docs/a.md", text), ("spec/log.md", "# Tiles & such, v1\n")];
        every_link_leads_somewhere(&Tree::of(&files)).len()
    }

    #[test]
    fn links_to_files_and_headings_are_followed() {
        assert_eq!(
            found("[a](../spec/log.md) [b](../spec) [c](https://x.example/y)"),
            0
        );
        assert_eq!(
            found("[a](../spec/log.md#tiles--such-v1) [b](#here)\n# Here"),
            0
        );
        assert_eq!(found("[a](spec/log.md)"), 1);
        assert_eq!(found("[a](../spec/log.md#leaves)"), 1);
        assert_eq!(found("`[a](b)`\n```\n[a](b)\n```\n"), 0);
    }

    #[test]
    fn a_spec_page_that_is_not_there_is_found_from_code() {
        let name = |page: &str| format!("//! See `{}/{page}`.", "spec");
        let tree = |text: &str| Tree::of(&[("src/a.rs", text), ("spec/log.md", "")]).found();
        assert_eq!(tree(&name("log.md")), 0);
        assert_eq!(tree(&name("gone.md")), 1);
        assert_eq!(tree("https://c2sp.example/spec/gone.md"), 0);
    }

    impl Tree {
        fn found(&self) -> usize {
            every_spec_that_is_named_exists(self).len()
        }
    }
}
