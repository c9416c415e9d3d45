//! Words that the tree must not hold, or only in one place.

use super::source::words;
use super::tree::{Tree, line_at};
use super::{Finding, layers};

/// The one crate that may be unsafe.
const SANDBOX: &str = "placet-sandbox";

/// Directories of the machines that this was written on. Where users keep their tools is data, and
/// the starter bundle's business.
const MACHINES: &[&str] = &[concat!("/wo", "rk/"), concat!("/tmp/pla", "cet/")];

/// Hosts that packages are fetched from: which ones those are is for the user's settings to say.
const REGISTRIES: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("registry.npm", "js.org"),
    concat!("proxy.go", "lang.org"),
    concat!("deb.deb", "ian.org"),
];

/// `unsafe` stands only in the sandbox.
pub(super) fn every_unsafe_is_in_sandbox(tree: &Tree) -> Vec<Finding> {
    let elsewhere = tree.rust().filter(|file| !file.is_in(&[SANDBOX]));
    elsewhere
        .flat_map(|file| {
            words(&file.code, "unsafe").map(|at| {
                let message = format!("`unsafe` outside {SANDBOX}");
                Finding::fails(&file.path, line_at(&file.text, at), message)
            })
        })
        .collect()
}

/// Every crate but the sandbox forbids unsafe code in its root, where no lint setting undoes it.
pub(super) fn every_other_crate_forbids_unsafe(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tree.crates().filter(|name| *name != SANDBOX) {
        for root in ["lib.rs", "main.rs"] {
            let path = format!("crates/{name}/src/{root}");
            let forbids = |text: &str| text.contains("#![forbid(unsafe_code)]");
            if tree.file(&path).is_some_and(|file| !forbids(&file.code)) {
                findings.push(Finding::fails(&path, 1, "add #![forbid(unsafe_code)]"));
            }
        }
    }
    for name in layers::PURE
        .iter()
        .filter(|name| tree.has(&format!("crates/{name}")))
    {
        let path = format!("crates/{name}/src/lib.rs");
        if !tree.has(&path) {
            findings.push(Finding::fails(&path, 1, "a pure crate without a library"));
        }
    }
    findings
}

/// Nothing is a stub, ignored, or printed for debugging.
pub(super) fn nothing_is_left_undone(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for name in ["todo", "unimplemented", "dbg"] {
            findings.extend(
                words(&file.code, name)
                    .filter(|at| {
                        file.code
                            .get(at + name.len()..)
                            .is_some_and(|a| a.starts_with('!'))
                    })
                    .map(|at| {
                        Finding::fails(&file.path, line_at(&file.text, at), format!("`{name}!`"))
                    }),
            );
        }
        findings.extend(words(&file.code, "ignore").filter_map(|at| {
            let before = file.code.get(..at)?.trim_end();
            let attribute = before.ends_with("#[") || before.ends_with(',');
            let message = "a test is ignored: make it pass or take it out";
            (attribute && before.rfind("#[") > before.rfind(']'))
                .then(|| Finding::fails(&file.path, line_at(&file.text, at), message))
        }));
    }
    findings
}

/// No path of one machine, and no host of a package registry.
pub(super) fn no_machine_or_registry_is_named(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for name in MACHINES.iter().chain(REGISTRIES) {
            findings.extend(file.text.match_indices(name).map(|(at, _)| {
                let message = format!("names `{name}`");
                Finding::fails(&file.path, line_at(&file.text, at), message)
            }));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_the_sandbox_is_found_also_in_tests() {
        let text = "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }";
        let found = every_unsafe_is_in_sandbox(&Tree::of(&[
            ("crates/placet-sandbox/src/sys.rs", text),
            ("crates/placet-log/tests/a.rs", text),
        ]));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].path.as_str(), found[0].line),
            ("crates/placet-log/tests/a.rs", 2)
        );
    }

    #[test]
    fn a_crate_that_does_not_forbid_unsafe_is_found() {
        let tree = Tree::of(&[
            ("crates/placet-log/Cargo.toml", ""),
            ("crates/placet-log/src/lib.rs", "// #![forbid(unsafe_code)]"),
            ("crates/placet-sandbox/Cargo.toml", ""),
            ("crates/placet-sandbox/src/lib.rs", ""),
        ]);
        assert_eq!(every_other_crate_forbids_unsafe(&tree).len(), 1);
    }

    #[test]
    fn stubs_and_ignored_tests_are_found_and_words_alike_are_not() {
        let found = |text: &str| nothing_is_left_undone(&Tree::of(&[("a.rs", text)])).len();
        assert_eq!(
            found("fn f() { todo!() } fn g() { dbg!(1); unimplemented!(); }"),
            3
        );
        assert_eq!(found("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), 1);
        assert_eq!(found("#[cfg_attr(miri, ignore)]\nfn f() {}"), 1);
        assert_eq!(found("fn ignore() {} // todo!\nlet todo = [a, ignore];"), 0);
    }

    #[test]
    fn a_machine_or_a_registry_is_found_in_any_text() {
        let text = format!("see {}x and {}", MACHINES[0], REGISTRIES[2]);
        assert_eq!(
            no_machine_or_registry_is_named(&Tree::of(&[("a.md", &text)])).len(),
            2
        );
        assert_eq!(
            no_machine_or_registry_is_named(&Tree::of(&[("a.md", "/work /tmp/x")])),
            []
        );
    }
}
