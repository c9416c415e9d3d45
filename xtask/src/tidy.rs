//! `cargo xtask tidy`: checks of the source tree that neither the compiler nor clippy makes.
//!
//! Each check is a claim about the whole tree, and a function from the tree to what contradicts
//! it. What only deserves a second look is a note, and does not fail the run.

mod documents;
mod layers;
mod manifests;
mod promises;
mod purity;
mod reasons;
mod size;
mod source;
mod tree;
mod words;

use std::fmt;
use std::path::Path;

use tree::Tree;

/// Something in the tree that contradicts a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Path within the repository.
    path: String,
    /// Line, counted from 1.
    line: usize,
    /// What is wrong and what to do.
    message: String,
    severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Fails,
    Note,
}

type Check = fn(&Tree) -> Vec<Finding>;

/// Every check, with the claim that it checks.
const CHECKS: &[(&str, Check)] = &[
    ("pure_crates_have_no_io", purity::pure_crates_have_no_io),
    (
        "pure_crates_never_iterate_hash_types",
        purity::pure_crates_never_iterate_hash_types,
    ),
    (
        "crates_import_only_from_above",
        layers::crates_import_only_from_above,
    ),
    (
        "gateways_know_neither_each_other_nor_policy",
        layers::gateways_know_neither_each_other_nor_policy,
    ),
    (
        "every_unsafe_is_in_sandbox",
        words::every_unsafe_is_in_sandbox,
    ),
    (
        "every_other_crate_forbids_unsafe",
        words::every_other_crate_forbids_unsafe,
    ),
    ("nothing_is_left_undone", words::nothing_is_left_undone),
    (
        "no_machine_or_registry_is_named",
        words::no_machine_or_registry_is_named,
    ),
    (
        "every_exemption_has_a_reason",
        reasons::every_exemption_has_a_reason,
    ),
    ("files_are_short", size::files_are_short),
    ("functions_are_short", size::functions_are_short),
    (
        "every_crate_says_what_it_is",
        manifests::every_crate_says_what_it_is,
    ),
    (
        "every_link_leads_somewhere",
        documents::every_link_leads_somewhere,
    ),
    (
        "every_spec_that_is_named_exists",
        documents::every_spec_that_is_named_exists,
    ),
    (
        "every_promise_has_its_test",
        promises::every_promise_has_its_test,
    ),
];

/// Runs every check over the repository at `root`.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root).map_err(|error| format!("tidy: {error}"))?;
    let mut failed = 0;
    for (name, check) in CHECKS {
        failed += usize::from(!report(name, check(&tree)));
    }
    if failed == 0 {
        println!(
            "tidy: {} checks, {} files",
            CHECKS.len(),
            tree.files().len()
        );
        Ok(())
    } else {
        Err(format!("tidy: {failed} of {} checks failed", CHECKS.len()))
    }
}

/// Prints what a check found. Whether it passed.
fn report(name: &str, mut findings: Vec<Finding>) -> bool {
    findings.sort();
    for finding in &findings {
        match finding.severity {
            Severity::Fails => println!("{finding}\n    fails {name}"),
            Severity::Note => println!("{finding} (note)"),
        }
    }
    findings
        .iter()
        .all(|finding| finding.severity == Severity::Note)
}

impl Finding {
    fn fails(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
            severity: Severity::Fails,
        }
    }

    fn note(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::fails(path, line, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}
