//! The pure crates: no clock, no I/O, no threads, no randomness, no order that changes by run.

use super::source::words;
use super::tree::{File, Tree, line_at};
use super::{Finding, layers};

/// Modules of `std` that reach the outside world.
const MODULES: &[&str] = &["fs", "net", "thread", "process", "env", "os"];
/// Names that do, wherever they come from.
const NAMES: &[&str] = &["SystemTime", "getrandom", "async"];
/// Crates that do.
const CRATES: &[&str] = &[
    "getrandom",
    "rand",
    "rustix",
    "libc",
    "nix",
    "tokio",
    "tempfile",
    "mio",
];
/// What walks a map in the order of its hashes.
const WALKS: &[&str] = &[
    "iter",
    "iter_mut",
    "keys",
    "values",
    "values_mut",
    "drain",
    "into_iter",
    "into_keys",
    "into_values",
    "retain",
];

/// Pure crates name nothing that reads a clock, a file, a socket, a variable or a random number.
pub(super) fn pure_crates_have_no_io(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.is_in(layers::PURE)) {
        findings.extend(names(file).map(|(at, name)| {
            let message = format!("a pure crate names `{name}`: take what it gives as an argument");
            Finding::fails(&file.path, line_at(&file.text, at), message)
        }));
    }
    for name in layers::PURE {
        let path = format!("crates/{name}/Cargo.toml");
        let Some(file) = tree.file(&path) else {
            continue;
        };
        for dependency in layers::dependencies(&file.text, &["dependencies"]) {
            if CRATES.contains(&dependency.as_str()) {
                let message = format!("a pure crate depends on `{dependency}`");
                findings.push(Finding::fails(&path, 1, message));
            }
        }
    }
    findings
}

fn names(file: &File) -> impl Iterator<Item = (usize, String)> {
    let code = &file.product;
    let mut found: Vec<(usize, String)> = NAMES
        .iter()
        .flat_map(|name| words(code, name).map(|at| (at, (*name).to_owned())))
        .collect();
    for at in words(code, "std") {
        let after = code.get(at + 3..).unwrap_or_default();
        let Some(path) = after.strip_prefix("::") else {
            continue;
        };
        found.extend(std_modules(path).map(|module| (at, format!("std::{module}"))));
    }
    found.into_iter()
}

/// Which of [`MODULES`] a path that goes on after `std::` names; also `time::Instant`.
fn std_modules(path: &str) -> impl Iterator<Item = &'static str> {
    let group = match path.strip_prefix('{') {
        Some(rest) => rest.split_once(';').map_or(rest, |(group, _)| group),
        None => path
            .split([';', ',', ')', '(', '<', ' ', '\n'])
            .next()
            .unwrap_or_default(),
    };
    let grouped = path.starts_with('{');
    // At the top of a group, or the first part of a single path.
    let named = move |module: &str| {
        words(group, module).any(|at| {
            let before = group.get(..at).unwrap_or_default().trim_end();
            before.is_empty() || (grouped && before.ends_with(['{', ',']))
        })
    };
    let instant = named("time") && words(group, "Instant").next().is_some();
    MODULES
        .iter()
        .copied()
        .filter(move |module| named(module))
        .chain(instant.then_some("time::Instant"))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Hash maps and sets of pure crates are only looked into: their order differs from run to run, and
/// would end up in what is hashed, signed or answered.
pub(super) fn pure_crates_never_iterate_hash_types(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.is_in(layers::PURE)) {
        for binding in hash_bindings(&file.product) {
            for at in walks(&file.product, binding) {
                let message = format!("`{binding}` is a hash type: its order is not ours to show");
                findings.push(Finding::fails(&file.path, line_at(&file.text, at), message));
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Names that are declared as, or bound to, a hash type.
fn hash_bindings(code: &str) -> Vec<&str> {
    let mut bindings = Vec::new();
    for name in ["HashMap", "HashSet"] {
        for at in words(code, name) {
            let before = code.get(..at).unwrap_or_default().trim_end();
            let before = before
                .strip_suffix("std::collections::")
                .unwrap_or(before)
                .trim_end();
            let Some(before) = before.strip_suffix([':', '=']) else {
                continue;
            };
            let before = before.trim_end();
            let begin = before
                .rfind(|char: char| !char.is_alphanumeric() && char != '_')
                .map_or(0, |at| at + 1);
            bindings.extend(before.get(begin..).filter(|name| !name.is_empty()));
        }
    }
    bindings.sort_unstable();
    bindings.dedup();
    bindings
}

/// Where `binding` is walked.
fn walks<'a>(code: &'a str, binding: &'a str) -> impl Iterator<Item = usize> + 'a {
    words(code, binding).filter(move |at| {
        let after = code
            .get(at + binding.len()..)
            .unwrap_or_default()
            .trim_start();
        let called = after
            .strip_prefix('.')
            .and_then(|call| call.split_once('('))
            .is_some_and(|(method, _)| WALKS.contains(&method.trim()));
        let looped = is_after_in(code.get(..*at).unwrap_or_default());
        called || (looped && after.starts_with('{'))
    })
}

/// Whether the text ends with the word `in`, past the owner of a field and a borrow.
fn is_after_in(before: &str) -> bool {
    let before = before
        .trim_end_matches(|char: char| char.is_alphanumeric() || matches!(char, '.' | '_'))
        .trim_end();
    let before = before.strip_suffix("&mut").unwrap_or(before);
    before.trim_end_matches('&').trim_end().ends_with(" in")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "crates/placet-state/src/lib.rs";

    fn io(text: &str) -> usize {
        pure_crates_have_no_io(&Tree::of(&[(AT, text)])).len()
    }

    fn hashes(text: &str) -> usize {
        pure_crates_never_iterate_hash_types(&Tree::of(&[(AT, text)])).len()
    }

    #[test]
    fn a_file_a_clock_a_thread_and_a_variable_are_found() {
        assert_eq!(io("use std::fs;"), 1);
        assert_eq!(io("use std::{collections::BTreeMap, net::IpAddr};"), 1);
        assert_eq!(io("let t = std::time::SystemTime::now();"), 1);
        assert_eq!(io("use std::time::Instant;"), 1);
        assert_eq!(io("std::thread::spawn(f); std::env::var(x);"), 2);
        assert_eq!(io("async fn f() {}"), 1);
    }

    #[test]
    fn values_and_tests_and_words_alike_are_not() {
        assert_eq!(
            io("use std::time::Duration; use crate::strict::Instant;"),
            0
        );
        assert_eq!(io("use std::collections::fs_like; fn process() {}"), 0);
        assert_eq!(io("// std::fs\nlet s = \"std::fs\";"), 0);
        assert_eq!(io("#[cfg(test)]\nmod tests { use std::fs; }"), 0);
        let edge = Tree::of(&[("crates/placet-log/src/lib.rs", "use std::fs;")]);
        assert_eq!(pure_crates_have_no_io(&edge), []);
    }

    #[test]
    fn a_dependency_that_reaches_outside_is_found() {
        let manifest =
            "[dependencies]\nrustix.workspace = true\n[dev-dependencies]\ntempfile = \"3\"";
        let tree = Tree::of(&[("crates/placet-state/Cargo.toml", manifest)]);
        assert_eq!(pure_crates_have_no_io(&tree).len(), 1);
    }

    #[test]
    fn walking_a_hash_map_is_found_and_looking_into_it_is_not() {
        assert_eq!(
            hashes("struct S { m: HashMap<u8, u8> } fn f(s: &S) { s.m.iter().next(); }"),
            1
        );
        assert_eq!(hashes("let m = HashMap::new(); for x in &m { }"), 1);
        assert_eq!(hashes("struct S { m: HashSet<u8> } for x in self.m { }"), 1);
        assert_eq!(
            hashes("let m: HashMap<u8, u8> = x; m.get(&1); m.insert(1, 2);"),
            0
        );
        assert_eq!(
            hashes("let m = BTreeMap::new(); m.iter(); for x in &m {}"),
            0
        );
    }
}
